package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net/http"
	"strings"
	"testing"
	"time"
)

// A clientCA signs the certificates of clients.
type clientCA struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newClientCA(t *testing.T) *clientCA {
	t.Helper()
	template := &x509.Certificate{Subject: pkix.Name{CommonName: "client CA"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	cert, key := sign(t, template, nil, nil)
	return &clientCA{t: t, cert: cert, key: key}
}

// sign makes a certificate that is valid for an hour if it says nothing else; without a parent it signs itself.
func sign(t *testing.T, template, parent *x509.Certificate, by *ecdsa.PrivateKey) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template.SerialNumber = big.NewInt(time.Now().UnixNano())
	if template.NotBefore.IsZero() {
		template.NotBefore = time.Now().Add(-time.Hour)
	}
	if template.NotAfter.IsZero() {
		template.NotAfter = time.Now().Add(time.Hour)
	}
	if parent == nil {
		parent, by = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), by)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert, key
}

func (ca *clientCA) pem() string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca.cert.Raw}))
}

// issue returns a certificate for use by a client with what change makes of it.
func (ca *clientCA) issue(name string, change func(*x509.Certificate)) *tls.Certificate {
	ca.t.Helper()
	template := &x509.Certificate{Subject: pkix.Name{CommonName: name}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	if change != nil {
		change(template)
	}
	cert, key := sign(ca.t, template, ca.cert, ca.key)
	return &tls.Certificate{Certificate: [][]byte{cert.Raw}, PrivateKey: key}
}

// newProcessWithCertificates knows clients by the certificates of a CA.
func newProcessWithCertificates(t *testing.T) (*process, *clientCA) {
	t.Helper()
	p, ca := newProcess(t), newClientCA(t)
	p.write("ca.crt", ca.pem())
	p.edit("keyFile: ./tls.key", "keyFile: ./tls.key, clientCAFile: ./ca.crt")
	p.edit("clients: [{name: eso, bearerTokenFile: ./eso, namespaceFrom: request}]", `clients:
- {name: eso, bearerTokenFile: ./eso, certificate: {commonName: eso}, namespaceFrom: request}
- {name: other, certificate: {commonName: other}, namespaceFrom: request}
- {name: tenant, certificate: {dnsNames: [tenant.test]}, namespace: prod-a}
- {name: stranger, certificate: {dnsNames: [stranger.test]}, namespace: prod-b}
- {name: admin, certificate: {commonName: admin}, operator: manage}`)
	p.edit("clients: [eso]", `clients: ["*"]`)
	return p, ca
}

// present asks over a connection of its own for which the client has this certificate, and says so whatever the server
// asks for; nil: it has none. The status is 0 where the handshake fails.
func (p *process) present(base string, certificate *tls.Certificate, token string) (status int, body string) {
	p.t.Helper()
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(p.read("tls.crt")))
	config := &tls.Config{RootCAs: roots}
	if certificate != nil {
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return certificate, nil }
	}
	client := &http.Client{Timeout: patience, Transport: &http.Transport{TLSClientConfig: config, DisableKeepAlives: true}}
	return p.fetchAs(client, base+"/v1/pullsecrets/puller?namespace=prod-a", token, certificate != nil || token != "", nil)
}

func TestAClientIsKnownByItsCertificate(t *testing.T) {
	p, ca := newProcessWithCertificates(t)
	p.start()
	p.ready()
	base := p.logged(`msg=serving .*http=(\S+)`)
	p.until("there is a pull secret", func() bool { status, _ := p.ask(p.token()); return status == http.StatusOK })
	dns := func(name string) func(*x509.Certificate) {
		return func(c *x509.Certificate) { c.DNSNames = []string{name} }
	}
	const noHandshake = 0
	for _, c := range []struct {
		what        string
		certificate *tls.Certificate
		token       string
		status      int
	}{
		{"the right one", ca.issue("eso", nil), "", http.StatusOK},
		{"a tenant's", ca.issue("", dns("tenant.test")), "", http.StatusOK},
		{"of a tenant of another namespace", ca.issue("", dns("stranger.test")), "", http.StatusForbidden},
		{"an operator's, although the rule is for all", ca.issue("admin", nil), "", http.StatusForbidden},
		{"nobody's", ca.issue("nobody", nil), "", http.StatusUnauthorized},
		{"two clients'", ca.issue("eso", dns("tenant.test")), "", http.StatusUnauthorized},
		{"none", nil, "", http.StatusUnauthorized},
		{"none, and a token", nil, p.token(), http.StatusOK},
		{"nobody's, and a token", ca.issue("nobody", nil), p.token(), http.StatusOK},
		{"the same client's, and a token", ca.issue("eso", nil), p.token(), http.StatusOK},
		{"another client's, and a token", ca.issue("other", nil), p.token(), http.StatusUnauthorized},
		{"of another CA", newClientCA(t).issue("eso", nil), "", noHandshake},
		{"of another CA, and a token", newClientCA(t).issue("eso", nil), p.token(), noHandshake},
		{"expired", ca.issue("eso", func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Second) }), "", noHandshake},
		{"not yet valid", ca.issue("eso", func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Minute) }), "", noHandshake},
		{"a server's", ca.issue("eso", func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} }), "", noHandshake},
	} {
		status, body := p.present(base, c.certificate, c.token)
		if status != c.status {
			t.Errorf("%s: %d %.200s", c.what, status, body)
		}
		if hasSecret := strings.Contains(body, `"robot":"myorg+k8s_puller_g`); hasSecret != (c.status == http.StatusOK) {
			t.Errorf("%s: a pull secret came: %v", c.what, hasSecret)
		}
	}
	p.logged(`msg="caller not authenticated".*two clients, \\"eso\\" and \\"tenant\\"`)
	p.logged(`msg="caller not authenticated".*two clients, \\"eso\\" and \\"other\\"`)
}

func TestAReplacedCAIsTakenUpWithoutARestart(t *testing.T) {
	p, old := newProcessWithCertificates(t)
	p.start()
	p.ready()
	base := p.logged(`msg=serving .*http=(\S+)`)
	young := newClientCA(t)
	oldClient, youngClient := old.issue("eso", nil), young.issue("eso", nil)
	p.until("the client of the CA gets in", func() bool { status, _ := p.present(base, oldClient, ""); return status == http.StatusOK })
	if status, _ := p.present(base, youngClient, ""); status != 0 {
		t.Errorf("the client of a CA to come: %d", status)
	}
	p.write("ca.crt", young.pem())
	p.until("the client of the new CA gets in", func() bool { status, _ := p.present(base, youngClient, ""); return status == http.StatusOK })
	if status, _ := p.present(base, oldClient, ""); status != 0 {
		t.Errorf("the client of the CA before: %d", status)
	}
	p.write("ca.crt", "broken")
	p.until("it says that the file is not in use", func() bool {
		if status, _ := p.present(base, youngClient, ""); status != http.StatusOK {
			t.Fatalf("with a broken file the client gets %d", status)
		}
		status, body := p.admin("/readyz?verbose")
		return status == http.StatusOK && strings.Contains(body, "client-ca/http") && strings.Contains(body, "an earlier one is in use")
	})
	if _, metrics := p.admin("/metrics"); !strings.Contains(metrics, `quaygen_client_ca_expiry_timestamp_seconds{listener="http"}`) {
		t.Error("when the CA ends is not measured")
	}
}

func TestClientsAreReplacedWithTheConfiguration(t *testing.T) {
	p, ca := newProcessWithCertificates(t)
	p.start()
	p.ready()
	base := p.logged(`msg=serving .*http=(\S+)`)
	p.until("the client gets in", func() bool { status, _ := p.present(base, ca.issue("eso", nil), ""); return status == http.StatusOK })
	p.edit("certificate: {commonName: eso}", "certificate: {commonName: eso-2}")
	p.until("the client of the new configuration gets in", func() bool { status, _ := p.present(base, ca.issue("eso-2", nil), ""); return status == http.StatusOK })
	if status, _ := p.present(base, ca.issue("eso", nil), ""); status != http.StatusUnauthorized {
		t.Errorf("the client before: %d", status)
	}
}
