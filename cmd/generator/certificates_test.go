package main

import (
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/quaygen/quaygen/pkg/quaygen/certificate/certificatetest"
)

// newProcessWithCertificates knows clients by the certificates of a CA.
func newProcessWithCertificates(t *testing.T) (*process, *certificatetest.Pair) {
	t.Helper()
	p, ca := newProcess(t), certificatetest.Authority("client CA")
	p.write("ca.crt", string(ca.CertPEM()))
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
	another := certificatetest.Authority("another CA")
	dns := func(name string) certificatetest.Change {
		return func(c *x509.Certificate) { c.DNSNames = []string{name} }
	}
	const noHandshake = 0
	for _, c := range []struct {
		what        string
		certificate *tls.Certificate
		token       string
		status      int
	}{
		{"the right one", ca.Client("eso"), "", http.StatusOK},
		{"a tenant's", ca.Client("", dns("tenant.test")), "", http.StatusOK},
		{"of a tenant of another namespace", ca.Client("", dns("stranger.test")), "", http.StatusForbidden},
		{"an operator's, although the rule is for all", ca.Client("admin"), "", http.StatusForbidden},
		{"nobody's", ca.Client("nobody"), "", http.StatusUnauthorized},
		{"two clients'", ca.Client("eso", dns("tenant.test")), "", http.StatusUnauthorized},
		{"none", nil, "", http.StatusUnauthorized},
		{"none, and a token", nil, p.token(), http.StatusOK},
		{"nobody's, and a token", ca.Client("nobody"), p.token(), http.StatusOK},
		{"the same client's, and a token", ca.Client("eso"), p.token(), http.StatusOK},
		{"another client's, and a token", ca.Client("other"), p.token(), http.StatusUnauthorized},
		{"of another CA", another.Client("eso"), "", noHandshake},
		{"of another CA, and a token", another.Client("eso"), p.token(), noHandshake},
		{"expired", ca.Client("eso", certificatetest.Until(time.Now().Add(-time.Second))), "", noHandshake},
		{"not yet valid", ca.Client("eso", certificatetest.From(time.Now().Add(time.Minute))), "", noHandshake},
		{"a server's", ca.Issue("eso", certificatetest.ForServers()).TLS(), "", noHandshake},
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
	young := certificatetest.Authority("young CA")
	oldClient, youngClient := old.Client("eso"), young.Client("eso")
	p.until("the client of the CA gets in", func() bool { status, _ := p.present(base, oldClient, ""); return status == http.StatusOK })
	if status, _ := p.present(base, youngClient, ""); status != 0 {
		t.Errorf("the client of a CA to come: %d", status)
	}
	p.write("ca.crt", string(young.CertPEM()))
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
	p.until("the client gets in", func() bool { status, _ := p.present(base, ca.Client("eso"), ""); return status == http.StatusOK })
	p.edit("certificate: {commonName: eso}", "certificate: {commonName: eso-2}")
	p.until("the client of the new configuration gets in", func() bool { status, _ := p.present(base, ca.Client("eso-2"), ""); return status == http.StatusOK })
	if status, _ := p.present(base, ca.Client("eso"), ""); status != http.StatusUnauthorized {
		t.Errorf("the client before: %d", status)
	}
}
