package certificate_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/quaygen/quaygen/pkg/quaygen/certificate"
	"github.com/quaygen/quaygen/pkg/quaygen/certificate/certificatetest"
)

// files writes a pair with this key.
func files(t testing.TB, key crypto.Signer) (certFile, keyFile string) {
	t.Helper()
	own := certificatetest.SelfSigned("server", key, certificatetest.ForServers("server"))
	dir := t.TempDir()
	certFile, keyFile = filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")
	check(t, os.WriteFile(certFile, own.CertPEM(), 0o600))
	check(t, os.WriteFile(keyFile, own.KeyPEM(), 0o600))
	return certFile, keyFile
}

// handshake returns what a client and the server agree on.
func handshake(server, client *tls.Config) (tls.ConnectionState, error) {
	ours, theirs := net.Pipe()
	defer ours.Close()
	defer theirs.Close()
	done := make(chan struct{})
	go func() {
		defer close(done)
		s := tls.Server(ours, server)
		if s.Handshake() == nil {
			_, _ = io.Copy(io.Discard, s)
		}
		_ = ours.Close()
	}()
	c := tls.Client(theirs, client)
	err := c.Handshake()
	state := c.ConnectionState()
	_ = theirs.Close()
	<-done
	return state, err
}

func TestOnlyForwardSecrecyWithAuthenticatedEncryptionIsSpoken(t *testing.T) {
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	check(t, err)
	ecKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(t, err)
	for kind, key := range map[string]crypto.Signer{"RSA": rsaKey, "ECDSA": ecKey} {
		p, err := certificate.Load(files(t, key))
		check(t, err)
		server := p.TLSConfig(nil)
		good := 0
		for _, suite := range append(tls.CipherSuites(), tls.InsecureCipherSuites()...) {
			if suite.SupportedVersions[0] == tls.VersionTLS13 {
				continue
			}
			state, err := handshake(server, &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{suite.ID}})
			fine := strings.HasPrefix(suite.Name, "TLS_ECDHE_"+kind+"_") && (strings.Contains(suite.Name, "GCM") || strings.Contains(suite.Name, "POLY1305"))
			if (err == nil) != fine {
				t.Errorf("%s: %s: %v", kind, suite.Name, err)
			}
			if err == nil {
				good++
				if state.CipherSuite != suite.ID || state.Version != tls.VersionTLS12 {
					t.Errorf("%s: %s, asked for %s", kind, tls.CipherSuiteName(state.CipherSuite), suite.Name)
				}
			}
		}
		if good != 3 {
			t.Errorf("%s: %d suites", kind, good)
		}
		for version, spoken := range map[uint16]bool{tls.VersionTLS10: false, tls.VersionTLS11: false, tls.VersionTLS12: true, tls.VersionTLS13: true} {
			if _, err := handshake(server, &tls.Config{InsecureSkipVerify: true, MinVersion: version, MaxVersion: version}); (err == nil) != spoken {
				t.Errorf("%s: %s: %v", kind, tls.VersionName(version), err)
			}
		}
		// A client that may choose gets the newest.
		if state, err := handshake(server, &tls.Config{InsecureSkipVerify: true}); err != nil || state.Version != tls.VersionTLS13 {
			t.Errorf("%s: %v, %s", kind, err, tls.VersionName(state.Version))
		}
	}
}

func TestWhatIsSpokenIsTheSameWhereClientsShowCertificates(t *testing.T) {
	d := newDoor(t, string(certificatetest.Authority("CA").CertPEM()))
	inner, err := d.config.GetConfigForClient(nil)
	check(t, err)
	for _, c := range []*tls.Config{d.config, inner} {
		if len(c.CipherSuites) != 6 || c.MinVersion != tls.VersionTLS12 || c.InsecureSkipVerify {
			t.Errorf("%+v", c)
		}
	}
}

// BenchmarkHandshake is what the choice of a key costs: ESO makes a connection per call.
func BenchmarkHandshake(b *testing.B) {
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	check(b, err)
	ecKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(b, err)
	for _, c := range []struct {
		kind string
		key  crypto.Signer
	}{{"RSA-2048", rsaKey}, {"ECDSA-P256", ecKey}} {
		p, err := certificate.Load(files(b, c.key))
		check(b, err)
		server := p.TLSConfig(nil)
		b.Run(c.kind, func(b *testing.B) {
			for b.Loop() {
				if _, err := handshake(server, &tls.Config{InsecureSkipVerify: true}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
