package certificate_test

import (
	"crypto/tls"
	"crypto/x509"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quaygen/quaygen/pkg/quaygen/certificate"
	"github.com/quaygen/quaygen/pkg/quaygen/certificate/certificatetest"
)

// A mount is a directory as Kubernetes mounts a Secret: the files are links into "..data", which is a link that is swapped.
type mount struct {
	t    *testing.T
	dir  string
	next int
}

func newMount(t *testing.T) *mount {
	t.Helper()
	m := &mount{t: t, dir: t.TempDir()}
	for _, name := range []string{"tls.crt", "tls.key"} {
		if err := os.Symlink(filepath.Join("..data", name), filepath.Join(m.dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	return m
}

func (m *mount) path(name string) string { return filepath.Join(m.dir, name) }

// swap puts other contents in place, both files at once.
func (m *mount) swap(cert, key []byte) {
	m.t.Helper()
	m.next++
	version := m.path("..version" + string(rune('a'+m.next)))
	check(m.t, os.Mkdir(version, 0o700))
	check(m.t, os.WriteFile(filepath.Join(version, "tls.crt"), cert, 0o600))
	check(m.t, os.WriteFile(filepath.Join(version, "tls.key"), key, 0o600))
	link := m.path("..tmp")
	check(m.t, os.Symlink(filepath.Base(version), link))
	check(m.t, os.Rename(link, m.path("..data")))
}

func (m *mount) swapPair(p *certificatetest.Pair) {
	m.t.Helper()
	m.swap(p.CertPEM(), p.KeyPEM())
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// shown is the name in the certificate that the next handshake gets.
func shown(t *testing.T, p *certificate.Pair) string {
	t.Helper()
	c, err := p.TLSConfig(nil).GetCertificate(&tls.ClientHelloInfo{})
	check(t, err)
	leaf, err := x509.ParseCertificate(c.Certificate[0])
	check(t, err)
	return leaf.Subject.CommonName
}

func TestAHandshakeGetsTheCertificateThatIsThereNow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMount(t)
		ends := time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
		m.swapPair(certificatetest.Authority("first", certificatetest.Until(ends)))
		p, err := certificate.Load(m.path("tls.crt"), m.path("tls.key"))
		check(t, err)
		if got := shown(t, p); got != "first" {
			t.Fatalf("the first is %q", got)
		}
		if _, at, err := p.Status(); err != nil || !at.Equal(ends) {
			t.Errorf("it ends at %v, %v", at, err)
		}
		m.swapPair(certificatetest.Authority("second", certificatetest.Until(ends.AddDate(1, 0, 0))))
		time.Sleep(2 * time.Second)
		if got := shown(t, p); got != "second" {
			t.Errorf("after the swap it is %q", got)
		}
		if _, at, err := p.Status(); err != nil || !at.Equal(ends.AddDate(1, 0, 0)) {
			t.Errorf("it ends at %v, %v", at, err)
		}
	})
}

func TestWhatCannotBeUsedLeavesTheOldCertificateInPlaceAndIsReported(t *testing.T) {
	first, other := certificatetest.Authority("first"), certificatetest.Authority("other")
	for _, tt := range []struct {
		name      string
		cert, key []byte
	}{
		{"the key of another certificate", other.CertPEM(), first.KeyPEM()},
		{"no certificate", []byte("nothing"), other.KeyPEM()},
		{"no key", other.CertPEM(), nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newMount(t)
				m.swapPair(first)
				p, err := certificate.Load(m.path("tls.crt"), m.path("tls.key"))
				check(t, err)
				m.swap(tt.cert, tt.key)
				time.Sleep(2 * time.Second)
				if got := shown(t, p); got != "first" {
					t.Errorf("it shows %q", got)
				}
				if _, _, err := p.Status(); err == nil || !strings.Contains(err.Error(), m.path("tls.crt")) {
					t.Errorf("status: %v", err)
				}
				m.swapPair(other)
				time.Sleep(2 * time.Second)
				if got := shown(t, p); got != "other" {
					t.Errorf("mended, it shows %q", got)
				}
				if _, _, err := p.Status(); err != nil {
					t.Errorf("mended, status: %v", err)
				}
			})
		})
	}
}

func TestAPairThatCannotBeUsedIsNoStart(t *testing.T) {
	m := newMount(t)
	cert, key := certificatetest.Authority("first").CertPEM(), certificatetest.Authority("second").KeyPEM()
	if _, err := certificate.Load(m.path("tls.crt"), m.path("tls.key")); err == nil {
		t.Error("files that do not exist were loaded")
	}
	m.swap(cert, key)
	_, err := certificate.Load(m.path("tls.crt"), m.path("tls.key"))
	if err == nil || !strings.Contains(err.Error(), m.path("tls.key")) || strings.Contains(err.Error(), string(key)) {
		t.Errorf("a key of another certificate: %v", err)
	}
}
