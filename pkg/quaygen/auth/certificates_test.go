package auth_test

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quaygen/quaygen/pkg/quaygen/auth"
	"github.com/quaygen/quaygen/pkg/quaygen/certificate/certificatetest"
	"github.com/quaygen/quaygen/pkg/quaygen/policy"
)

const spiffe = "spiffe://cluster.local/ns/external-secrets/sa/external-secrets"

// leaf returns a certificate with these names, as a client would present it. Who signed it is the TLS layer's business.
func leaf(t testing.TB, commonNames, dnsNames, uris []string) auth.Presented {
	t.Helper()
	return auth.Presented{Certificate: certificatetest.Authority("", func(c *x509.Certificate) {
		c.DNSNames = dnsNames
		for _, name := range commonNames {
			c.Subject.ExtraNames = append(c.Subject.ExtraNames, pkix.AttributeTypeAndValue{Type: []int{2, 5, 4, 3}, Value: name})
		}
		for _, uri := range uris {
			u, err := url.Parse(uri)
			if err != nil {
				t.Fatal(err)
			}
			c.URIs = append(c.URIs, u)
		}
	}).Certificate}
}

func certificates(t testing.TB, clients ...auth.CertificateClient) auth.Authenticator {
	t.Helper()
	a, err := auth.Certificates(clients)
	if err != nil {
		t.Fatal(err)
	}
	return a.Authenticate
}

func TestACertificateHasToMatchEverythingThatIsAsked(t *testing.T) {
	list := func(s string) []string { return strings.Fields(s) }
	for _, c := range []struct {
		what   string
		client auth.CertificateClient
		cn     []string
		dns    []string
		uris   []string
		want   bool
	}{
		{"common name", auth.CertificateClient{CommonName: "eso"}, list("eso"), nil, nil, true},
		{"another common name", auth.CertificateClient{CommonName: "eso"}, list("eso2"), nil, nil, false},
		{"other case", auth.CertificateClient{CommonName: "eso"}, list("ESO"), nil, nil, false},
		{"blank behind", auth.CertificateClient{CommonName: "eso"}, []string{"eso "}, nil, nil, false},
		{"no common name", auth.CertificateClient{CommonName: "eso"}, nil, list("eso"), nil, false},
		{"a common name is no pattern", auth.CertificateClient{CommonName: "*"}, list("eso"), nil, nil, false},
		{"two common names", auth.CertificateClient{CommonName: "eso"}, list("other eso"), nil, nil, false},
		{"the same two", auth.CertificateClient{CommonName: "eso"}, list("eso eso"), nil, nil, false},
		{"a DNS name", auth.CertificateClient{DNSNames: list("a.test b.test")}, nil, list("x.test b.test"), nil, true},
		{"no DNS name of them", auth.CertificateClient{DNSNames: list("a.test b.test")}, nil, list("x.test"), nil, false},
		{"the common name is no DNS name", auth.CertificateClient{DNSNames: list("a.test")}, list("a.test"), nil, nil, false},
		{"a DNS name is no common name", auth.CertificateClient{CommonName: "a.test"}, nil, list("a.test"), nil, false},
		{"a wildcard certificate is not all hosts", auth.CertificateClient{DNSNames: list("a.test")}, nil, list("*.test"), nil, false},
		{"a DNS name is no pattern", auth.CertificateClient{DNSNames: list("*.test")}, nil, list("a.test"), nil, false},
		{"a host below", auth.CertificateClient{DNSNames: list("a.test")}, nil, list("b.a.test"), nil, false},
		{"a URI", auth.CertificateClient{URIs: list("urn:x " + spiffe)}, nil, nil, list(spiffe), true},
		{"a URI below", auth.CertificateClient{URIs: list(spiffe)}, nil, nil, list(spiffe + "/x"), false},
		{"a URI above", auth.CertificateClient{URIs: list(spiffe)}, nil, nil, list("spiffe://cluster.local/ns/external-secrets/sa"), false},
		{"a URI of another trust domain", auth.CertificateClient{URIs: list(spiffe)}, nil, nil, list(strings.Replace(spiffe, "cluster", "custer", 1)), false},
		{"all three", auth.CertificateClient{CommonName: "eso", DNSNames: list("a.test"), URIs: list("urn:x")}, list("eso"), list("a.test"), list("urn:x"), true},
		{"two of three", auth.CertificateClient{CommonName: "eso", DNSNames: list("a.test"), URIs: list("urn:x")}, list("eso"), list("a.test"), nil, false},
		{"the other two", auth.CertificateClient{CommonName: "eso", DNSNames: list("a.test"), URIs: list("urn:x")}, list("eso"), nil, list("urn:x"), false},
		{"not the common name", auth.CertificateClient{CommonName: "eso", DNSNames: list("a.test"), URIs: list("urn:x")}, list("x"), list("a.test"), list("urn:x"), false},
		{"more than is asked", auth.CertificateClient{CommonName: "eso"}, list("eso"), list("a.test"), list("urn:x"), true},
	} {
		client := c.client
		client.Name, client.Namespace, client.Operator, client.OperatorOnly = "it", "ns", policy.OperatorView, true
		caller, err := certificates(t, client)(leaf(t, c.cn, c.dns, c.uris))
		want := policy.Caller{}
		if c.want {
			want = policy.Caller{Name: "it", Namespace: "ns", How: "certificate", Operator: policy.OperatorView, OperatorOnly: true}
		}
		if caller != want || (err == nil) != c.want {
			t.Errorf("%s: %+v, %v", c.what, caller, err)
		}
		if err != nil && (!errors.Is(err, auth.ErrRejected) || !errors.Is(err, auth.ErrNoCredential)) {
			t.Errorf("%s: a bearer token could not decide: %v", c.what, err)
		}
	}
}

func TestNoCertificateIsNoCredential(t *testing.T) {
	a := certificates(t, auth.CertificateClient{Name: "eso", CommonName: "eso"})
	if caller, err := a(auth.Presented{}); !errors.Is(err, auth.ErrNoCredential) || errors.Is(err, auth.ErrRejected) || caller.Name != "" {
		t.Errorf("%+v, %v", caller, err)
	}
	if caller, err := certificates(t)(leaf(t, []string{"eso"}, nil, nil)); !errors.Is(err, auth.ErrNoCredential) || !errors.Is(err, auth.ErrRejected) || caller.Name != "" {
		t.Errorf("without clients: %+v, %v", caller, err)
	}
}

func TestACertificateOfTwoClientsIsNeithers(t *testing.T) {
	a := certificates(t,
		auth.CertificateClient{Name: "red", CommonName: "red"},
		auth.CertificateClient{Name: "other", CommonName: "other"},
		auth.CertificateClient{Name: "blue", DNSNames: []string{"blue.test"}})
	caller, err := a(leaf(t, []string{"red"}, []string{"blue.test"}, nil))
	if !errors.Is(err, auth.ErrRejected) || errors.Is(err, auth.ErrNoCredential) || caller.Name != "" ||
		!strings.Contains(err.Error(), `"red"`) || !strings.Contains(err.Error(), `"blue"`) {
		t.Errorf("%+v, %v", caller, err)
	}
	if caller, err := a(leaf(t, []string{"red"}, []string{"green.test"}, nil)); err != nil || caller.Name != "red" {
		t.Errorf("%+v, %v", caller, err)
	}
}

// Connections of gRPC live for long; the handshake alone says nothing about later requests.
func TestACertificateThatExpiresDuringAConnectionIsRefusedFromThenOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := certificates(t, auth.CertificateClient{Name: "eso", CommonName: "eso"})
		p := leaf(t, []string{"eso"}, nil, nil)
		p.Certificate.NotAfter = time.Now().Add(time.Hour)
		for _, step := range []struct {
			wait time.Duration
			want string
		}{{0, "eso"}, {time.Hour, "eso"}, {time.Nanosecond, ""}, {1000 * time.Hour, ""}} {
			time.Sleep(step.wait)
			caller, err := a(p)
			if caller.Name != step.want || (err == nil) != (step.want != "") {
				t.Errorf("at %v: %+v, %v", time.Now(), caller, err)
			}
			if err != nil && (!errors.Is(err, auth.ErrRejected) || errors.Is(err, auth.ErrNoCredential) || !strings.Contains(err.Error(), `"eso"`)) {
				t.Errorf("at %v: %v", time.Now(), err)
			}
		}
		p.Certificate.NotBefore = time.Now().Add(time.Second)
		p.Certificate.NotAfter = time.Now().Add(time.Hour)
		if caller, err := a(p); !errors.Is(err, auth.ErrRejected) || errors.Is(err, auth.ErrNoCredential) || caller.Name != "" {
			t.Errorf("before it is valid: %+v, %v", caller, err)
		}
	})
}

func TestCertificatesRefusesToStart(t *testing.T) {
	for what, clients := range map[string][]auth.CertificateClient{
		"no name":           {{CommonName: "x"}},
		"same name":         {{Name: "a", CommonName: "x"}, {Name: "a", CommonName: "y"}},
		"nothing to match":  {{Name: "a"}},
		"empty lists":       {{Name: "a", DNSNames: []string{}, URIs: []string{}}},
		"empty DNS name":    {{Name: "a", DNSNames: []string{"a.test", ""}}},
		"empty URI":         {{Name: "a", CommonName: "x", URIs: []string{""}}},
		"no URI":            {{Name: "a", URIs: []string{"spiffe://a b/\x00"}}},
		"URI never written": {{Name: "a", URIs: []string{"SPIFFE://a/b"}}},
	} {
		if a, err := auth.Certificates(clients); err == nil || a != nil {
			t.Errorf("%s: accepted", what)
		}
	}
}

// What a configuration does with its slices later is not ours.
func TestCertificateClientsAreCopied(t *testing.T) {
	clients := []auth.CertificateClient{{Name: "eso", DNSNames: []string{"a.test"}}}
	a := certificates(t, clients...)
	clients[0].Name, clients[0].DNSNames[0] = "other", "b.test"
	if caller, err := a(leaf(t, nil, []string{"a.test"}, nil)); err != nil || caller.Name != "eso" {
		t.Errorf("%+v, %v", caller, err)
	}
}

func BenchmarkAuthenticateBearerOrCertificate(b *testing.B) {
	var clients []auth.CertificateClient
	for i := range 10 {
		clients = append(clients, auth.CertificateClient{Name: fmt.Sprint("client-", i), URIs: []string{fmt.Sprint(spiffe, i)}})
	}
	path := b.TempDir() + "/token"
	write(b, path, esoToken)
	bearer, err := auth.Bearer([]auth.BearerClient{{Name: "eso", TokenFile: path}})
	if err != nil {
		b.Fatal(err)
	}
	both := auth.Agreed(bearer.Authenticate, certificates(b, clients...))
	for what, p := range map[string]auth.Presented{"bearer": request("Bearer " + esoToken), "certificate": leaf(b, nil, nil, []string{spiffe + "5"})} {
		b.Run(what, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := both(p); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
