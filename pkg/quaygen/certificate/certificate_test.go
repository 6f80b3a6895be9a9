package certificate_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quaygen/quaygen/pkg/quaygen/certificate"
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

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func pair(t *testing.T, name string, ends time.Time) (cert, key []byte) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotAfter: ends}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	check(t, err)
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	check(t, err)
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})
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
		cert, key := pair(t, "first", ends)
		m.swap(cert, key)
		p, err := certificate.Load(m.path("tls.crt"), m.path("tls.key"))
		check(t, err)
		if got := shown(t, p); got != "first" {
			t.Fatalf("the first is %q", got)
		}
		if _, at, err := p.Status(); err != nil || !at.Equal(ends) {
			t.Errorf("it ends at %v, %v", at, err)
		}
		cert, key = pair(t, "second", ends.AddDate(1, 0, 0))
		m.swap(cert, key)
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
	cert, key := pair(t, "first", time.Now().Add(time.Hour))
	other, otherKey := pair(t, "other", time.Now().Add(time.Hour))
	for _, tt := range []struct {
		name      string
		cert, key []byte
	}{
		{"the key of another certificate", other, key},
		{"no certificate", []byte("nothing"), otherKey},
		{"no key", other, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newMount(t)
				m.swap(cert, key)
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
				m.swap(other, otherKey)
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
	cert, _ := pair(t, "first", time.Now().Add(time.Hour))
	_, key := pair(t, "second", time.Now().Add(time.Hour))
	if _, err := certificate.Load(m.path("tls.crt"), m.path("tls.key")); err == nil {
		t.Error("files that do not exist were loaded")
	}
	m.swap(cert, key)
	_, err := certificate.Load(m.path("tls.crt"), m.path("tls.key"))
	if err == nil || !strings.Contains(err.Error(), m.path("tls.key")) || strings.Contains(err.Error(), string(key)) {
		t.Errorf("a key of another certificate: %v", err)
	}
}
