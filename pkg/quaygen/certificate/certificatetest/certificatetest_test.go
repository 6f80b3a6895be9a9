package certificatetest_test

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"testing"
	"time"

	"github.com/quaygen/quaygen/pkg/quaygen/certificate/certificatetest"
)

func TestWhatAnAuthoritySignsIsForWhatItSays(t *testing.T) {
	ca, other := certificatetest.Authority("CA"), certificatetest.Authority("CA")
	server := ca.Issue("server", certificatetest.ForServers("quaygen.test", "10.0.0.1"))
	both := ca.Issue("both", certificatetest.ForLoopback, certificatetest.ForClients)
	ended := ca.Issue("ended", certificatetest.ForClients, certificatetest.Until(time.Now().Add(-time.Second)))
	coming := ca.Issue("coming", certificatetest.ForClients, certificatetest.From(time.Now().Add(time.Minute)))
	own := certificatetest.SelfSigned("own", ca.Key, certificatetest.ForServers("quaygen.test"))
	for _, c := range []struct {
		what  string
		pair  *certificatetest.Pair
		roots *certificatetest.Pair
		host  string
		use   x509.ExtKeyUsage
		good  bool
	}{
		{"a server by its name", server, ca, "quaygen.test", x509.ExtKeyUsageServerAuth, true},
		{"a server by its address", server, ca, "10.0.0.1", x509.ExtKeyUsageServerAuth, true},
		{"a server by another name", server, ca, "quay.test", x509.ExtKeyUsageServerAuth, false},
		{"a server as a client", server, ca, "", x509.ExtKeyUsageClientAuth, false},
		{"a server to who trusts a namesake", server, other, "quaygen.test", x509.ExtKeyUsageServerAuth, false},
		{"both as a server", both, ca, "localhost", x509.ExtKeyUsageServerAuth, true},
		{"both as a client", both, ca, "", x509.ExtKeyUsageClientAuth, true},
		{"after its end", ended, ca, "", x509.ExtKeyUsageClientAuth, false},
		{"before its beginning", coming, ca, "", x509.ExtKeyUsageClientAuth, false},
		{"of its own", own, own, "quaygen.test", x509.ExtKeyUsageServerAuth, true},
		{"of its own, to who trusts the owner of the key", own, ca, "quaygen.test", x509.ExtKeyUsageServerAuth, false},
		{"what one of its own has signed", own.Issue("x"), own, "", x509.ExtKeyUsageAny, false},
	} {
		_, err := c.pair.Certificate.Verify(x509.VerifyOptions{Roots: c.roots.Pool(), DNSName: c.host, KeyUsages: []x509.ExtKeyUsage{c.use}})
		if (err == nil) != c.good {
			t.Errorf("%s: %v", c.what, err)
		}
	}
}

func TestTheFilesOfAPairAreThatPair(t *testing.T) {
	ca := certificatetest.Authority("CA")
	pair := ca.Issue("quaygen", certificatetest.ForLoopback)
	served, err := tls.X509KeyPair(pair.CertPEM(), pair.KeyPEM())
	if err != nil {
		t.Fatal(err)
	}
	ours, theirs := net.Pipe()
	server := tls.Server(ours, &tls.Config{Certificates: []tls.Certificate{served}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: ca.Pool()})
	client := tls.Client(theirs, &tls.Config{RootCAs: ca.Pool(), ServerName: "127.0.0.1", Certificates: []tls.Certificate{*ca.Client("eso")}})
	failed := make(chan error, 1)
	go func() { failed <- client.Handshake() }()
	if err := server.Handshake(); err != nil {
		t.Error(err)
	}
	if err := <-failed; err != nil {
		t.Error(err)
	}
	if name := server.ConnectionState().PeerCertificates[0].Subject.CommonName; name != "eso" {
		t.Errorf("the client is %q", name)
	}
}
