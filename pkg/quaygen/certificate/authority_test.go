package certificate_test

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quaygen/quaygen/pkg/quaygen/certificate"
	"github.com/quaygen/quaygen/pkg/quaygen/certificate/certificatetest"
)

// A door is a server that asks for the certificates of clients.
type door struct {
	t         *testing.T
	dir       string
	authority *certificate.Authority
	config    *tls.Config
}

func newDoor(t *testing.T, bundle string) *door {
	t.Helper()
	d := &door{t: t, dir: t.TempDir()}
	own := certificatetest.Authority("server", certificatetest.ForServers("server"))
	d.write("tls.crt", string(own.CertPEM()))
	d.write("tls.key", string(own.KeyPEM()))
	d.write("ca.crt", bundle)
	p, err := certificate.Load(d.path("tls.crt"), d.path("tls.key"))
	check(t, err)
	d.authority, err = certificate.LoadAuthority(d.path("ca.crt"))
	check(t, err)
	d.config = p.TLSConfig(d.authority)
	return d
}

func (d *door) path(name string) string { return filepath.Join(d.dir, name) }

// write replaces a file and waits until the replacement is looked at.
func (d *door) write(name, content string) {
	d.t.Helper()
	check(d.t, os.WriteFile(d.path(name), []byte(content), 0o600))
	if d.config != nil {
		time.Sleep(2 * time.Second)
	}
}

// showing is a client that presents this certificate, whichever CAs the server says that it knows; nil: none.
func showing(c *tls.Certificate) *tls.Config {
	if c == nil {
		c = &tls.Certificate{}
	}
	return &tls.Config{
		InsecureSkipVerify:   true,
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return c, nil },
	}
}

// connect makes a connection over a socket of its own. No goroutine of it remains, so that time goes on inside a bubble.
func (d *door) connect(client *tls.Config) (theirs, ours *tls.Conn, err error) {
	d.t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	check(d.t, err)
	defer listener.Close()
	dialed, err := net.Dial("tcp", listener.Addr().String())
	check(d.t, err)
	accepted, err := listener.Accept()
	check(d.t, err)
	d.t.Cleanup(func() { _, _ = dialed.Close(), accepted.Close() })
	theirs, ours = tls.Client(dialed, client), tls.Server(accepted, d.config)
	outcome := make(chan error, 1)
	go func() {
		err := ours.Handshake()
		if err != nil {
			_ = accepted.Close()
		} else {
			_, err = ours.Write([]byte("!")) // with it come the tickets, if there are any
		}
		outcome <- err
	}()
	clientErr := theirs.Handshake()
	if clientErr == nil {
		_, clientErr = io.ReadFull(theirs, make([]byte, 1))
	} else {
		_ = dialed.Close()
	}
	err = <-outcome
	if (err == nil) != (clientErr == nil) {
		d.t.Errorf("the server says %v, the client %v", err, clientErr)
	}
	return theirs, ours, err
}

// who returns the verified name that a client has to the server, "" if it has none; false if it is turned away.
func (d *door) who(client *tls.Config) (string, bool) {
	d.t.Helper()
	_, ours, err := d.connect(client)
	if err != nil {
		return "", false
	}
	state := ours.ConnectionState()
	if len(state.VerifiedChains) == 0 {
		if len(state.PeerCertificates) > 0 {
			d.t.Error("a certificate was accepted without being verified")
		}
		return "", true
	}
	return state.VerifiedChains[0][0].Subject.CommonName, true
}

func TestAClientGetsInWithNoCertificateOrAGoodOne(t *testing.T) {
	ca, other := certificatetest.Authority("CA"), certificatetest.Authority("other CA")
	namesake := certificatetest.Authority("CA")
	intermediate := certificatetest.Authority("intermediate")
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		t.Run(tls.VersionName(version), func(t *testing.T) {
			d := newDoor(t, string(other.CertPEM())+"a comment\n"+string(ca.CertPEM()))
			for _, c := range []struct {
				what string
				show *tls.Certificate
				name string
				in   bool
			}{
				{"the right one", ca.Client("eso"), "eso", true},
				{"of the other CA of the bundle", other.Client("eso-too"), "eso-too", true},
				{"none", nil, "", true},
				{"of an unknown CA", certificatetest.Authority("unknown").Client("eso"), "", false},
				{"of a CA that only has the same name", namesake.Client("eso"), "", false},
				{"of an intermediate that is not sent", intermediate.Client("eso"), "", false},
				{"self-signed", certificatetest.SelfSigned("eso", ca.Key, certificatetest.ForClients).TLS(), "", false},
				{"expired", ca.Client("eso", certificatetest.Until(time.Now().Add(-time.Second))), "", false},
				{"not yet valid", ca.Client("eso", certificatetest.From(time.Now().Add(time.Minute))), "", false},
				{"for servers only", ca.Issue("eso", certificatetest.ForServers()).TLS(), "", false},
				{"for servers and clients", ca.Client("eso", certificatetest.ForServers()), "eso", true},
				{"the CA's own key with the leaf of another", &tls.Certificate{Certificate: ca.Client("eso").Certificate, PrivateKey: ca.Key}, "", false},
			} {
				client := showing(c.show)
				client.MinVersion, client.MaxVersion = version, version
				if name, in := d.who(client); name != c.name || in != c.in {
					t.Errorf("%s: it is %q, got in: %v", c.what, name, in)
				}
			}
		})
	}
}

func TestTheCAsAreThoseThatTheFileHoldsNow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		old, young := certificatetest.Authority("old"), certificatetest.Authority("young")
		d := newDoor(t, string(old.CertPEM()))
		oldClient, youngClient := showing(old.Client("old client")), showing(young.Client("young client"))
		expect := func(when string, oldIn, youngIn bool) {
			t.Helper()
			if _, in := d.who(oldClient); in != oldIn {
				t.Errorf("%s, the client of the old CA got in: %v", when, in)
			}
			if _, in := d.who(youngClient); in != youngIn {
				t.Errorf("%s, the client of the new CA got in: %v", when, in)
			}
			if _, in := d.who(showing(nil)); !in {
				t.Errorf("%s, a client without a certificate did not get in", when)
			}
		}
		expect("at first", true, false)
		d.write("ca.crt", string(old.CertPEM())+string(young.CertPEM()))
		expect("with both", true, true)
		d.write("ca.crt", string(young.CertPEM()))
		expect("in the end", false, true)
		if _, at, err := d.authority.Status(); err != nil || !at.Equal(young.Certificate.NotAfter) {
			t.Errorf("status: %v, %v", at, err)
		}
	})
}

func TestABundleThatCannotBeUsedLeavesTheOldOneInPlaceAndIsReported(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ca, other := certificatetest.Authority("CA"), certificatetest.Authority("other")
		d := newDoor(t, string(ca.CertPEM()))
		good, wrong := showing(ca.Client("eso")), showing(other.Client("eso"))
		for what, content := range bad(t, other) {
			d.write("ca.crt", content)
			if _, in := d.who(good); !in {
				t.Errorf("%s: the client of the CA before is turned away", what)
			}
			if _, in := d.who(wrong); in {
				t.Errorf("%s: a part of the file is in use", what)
			}
			if _, at, err := d.authority.Status(); err == nil || !strings.Contains(err.Error(), d.path("ca.crt")) || !at.Equal(ca.Certificate.NotAfter) {
				t.Errorf("%s: status %v, %v", what, at, err)
			}
		}
		check(t, os.Remove(d.path("ca.crt")))
		time.Sleep(2 * time.Second)
		if _, in := d.who(good); !in {
			t.Error("without a file the client is turned away")
		}
		if _, _, err := d.authority.Status(); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("without a file, status: %v", err)
		}
		d.write("ca.crt", string(other.CertPEM()))
		if _, in := d.who(wrong); !in {
			t.Error("the mended file is not in use")
		}
		if _, _, err := d.authority.Status(); err != nil {
			t.Errorf("mended, status: %v", err)
		}
	})
}

// bad returns bundles that cannot be used; this CA is in most of them.
func bad(t *testing.T, ca *certificatetest.Pair) map[string]string {
	t.Helper()
	leaf := ca.Issue("leaf", certificatetest.ForClients)
	key := leaf.KeyPEM()
	whole := string(ca.CertPEM())
	return map[string]string{
		"empty":                "",
		"no PEM":               "nothing\n",
		"half a certificate":   whole[:len(whole)/2],
		"one and a half":       whole + whole[:len(whole)/2],
		"half and one":         whole[:len(whole)/2] + "\n" + whole,
		"with a private key":   whole + string(key),
		"only a private key":   string(key),
		"with a leaf":          whole + string(leaf.CertPEM()),
		"with no certificate":  whole + string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("x")})),
		"larger than a bundle": whole + strings.Repeat("#", 1<<20),
	}
}

func TestABundleThatCannotBeUsedIsNoStart(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ca.crt")
	if _, err := certificate.LoadAuthority(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("without a file: %v", err)
	}
	for what, content := range bad(t, certificatetest.Authority("CA")) {
		check(t, os.WriteFile(path, []byte(content), 0o600))
		a, err := certificate.LoadAuthority(path)
		if err == nil || a != nil || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v", what, err)
		}
		if err != nil && len(err.Error()) > 300 {
			t.Errorf("%s: the file is quoted: %v", what, err)
		}
	}
}

// A session that was begun under a CA is not to be resumed after its end.
func TestASessionIsNeverResumedWhereCertificatesAreAskedFor(t *testing.T) {
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		t.Run(tls.VersionName(version), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ca, other := certificatetest.Authority("CA"), certificatetest.Authority("other")
				d := newDoor(t, string(ca.CertPEM()))
				client := showing(ca.Client("eso"))
				client.MinVersion, client.MaxVersion = version, version
				client.ServerName, client.ClientSessionCache = "server", tls.NewLRUClientSessionCache(8)
				for range 2 {
					_, ours, err := d.connect(client)
					check(t, err)
					if ours.ConnectionState().DidResume {
						t.Error("the session was resumed")
					}
				}
				d.write("ca.crt", string(other.CertPEM()))
				if name, in := d.who(client); in {
					t.Errorf("%q got in after the end of its CA", name)
				}
			})
		})
	}
}

// What TLSConfig says of established connections; who bounds their age relies on new ones being refused.
func TestAConnectionOutlivesTheCAThatLetItIn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ca, other := certificatetest.Authority("CA"), certificatetest.Authority("other")
		d := newDoor(t, string(ca.CertPEM()))
		client := showing(ca.Client("eso"))
		theirs, ours, err := d.connect(client)
		check(t, err)
		d.write("ca.crt", string(other.CertPEM()))
		if _, in := d.who(client); in {
			t.Error("a new connection got in")
		}
		_, err = theirs.Write([]byte("?"))
		check(t, err)
		if _, err := io.ReadFull(ours, make([]byte, 1)); err != nil {
			t.Errorf("the old connection has ended: %v", err)
		}
	})
}

func TestWithoutCAsNoCertificateIsAskedFor(t *testing.T) {
	ca := certificatetest.Authority("CA")
	d := newDoor(t, string(ca.CertPEM()))
	p, err := certificate.Load(d.path("tls.crt"), d.path("tls.key"))
	check(t, err)
	d.config = p.TLSConfig(nil)
	client := showing(nil)
	client.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		t.Error("the server asks for a certificate")
		return ca.Client("eso"), nil
	}
	if name, in := d.who(client); name != "" || !in {
		t.Errorf("it is %q, got in: %v", name, in)
	}
}

// A copy of the configuration that lost its way to the bundle must not fall back to the system's CAs.
func TestTheConfigurationItselfTrustsNobody(t *testing.T) {
	d := newDoor(t, string(certificatetest.Authority("CA").CertPEM()))
	if d.config.ClientCAs == nil || !d.config.ClientCAs.Equal(x509.NewCertPool()) || !d.config.SessionTicketsDisabled {
		t.Error("it would let in clients of some CA")
	}
}
