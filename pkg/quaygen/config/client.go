package config

import (
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/quaygen/quaygen/pkg/quaygen/policy"
)

// Client is a caller. It has a bearer token, a certificate, or both, of which either is enough.
type Client struct {
	Name            string
	BearerTokenFile string          // empty: it has no token
	Certificate     Certificate     // zero: it has no certificate
	Namespace       string          // the one the client is confined to; empty: it says in each request whom it asks for
	Operator        policy.Operator // what it may do with robots over the API
	OperatorOnly    bool            // it asks for no pull secret: neither namespace nor namespaceFrom is written
}

// Certificate is what a client's certificate is like: all that is set has to match, exactly.
type Certificate struct {
	CommonName string   // of the subject
	DNSNames   []string // one of them is among the certificate's
	URIs       []string // one of them is among the certificate's
}

// IsZero reports whether nothing is set.
func (c Certificate) IsZero() bool {
	return c.CommonName == "" && len(c.DNSNames) == 0 && len(c.URIs) == 0
}

func (d *decoder) client(v value) Client {
	o := v.object()
	defer o.end()
	c := Client{Name: o.require("name", "the name by which rules refer to this client").name()}
	token, cert := o.get("bearerTokenFile"), o.get("certificate")
	c.BearerTokenFile = token.file(clientTokenFile)
	c.Certificate = d.certificate(cert)
	if o.entries != nil && !token.written() && !cert.written() {
		token.fail("is missing; write the path of a file that holds the client's token, or certificate: with what the client's TLS certificate says of it")
	}
	operator := o.get("operator")
	switch operator.oneOf("", "view", "manage") {
	case "view":
		c.Operator = policy.OperatorView
	case "manage":
		c.Operator = policy.OperatorManage
	}
	from, fixed := o.get("namespaceFrom"), o.get("namespace")
	from.oneOf("", "request")
	c.Namespace = fixed.matching(namespaceRE, namespaceRule)
	switch {
	case from.written() && fixed.written():
		from.fail("the client's namespace is fixed by the key namespace; remove one of the two")
	case o.entries == nil || from.written() || fixed.written():
	case operator.written():
		c.OperatorOnly = true
	default:
		from.fail("is missing; write namespaceFrom: request for a client that asks for many namespaces, namespace: NAME for one that is confined to its own, or operator: view for one that asks for no pull secret")
	}
	return c
}

func (d *decoder) certificate(v value) Certificate {
	o := v.object()
	defer o.end()
	name, dns, uris := o.get("commonName"), o.get("dnsNames"), o.get("uris")
	c := Certificate{
		CommonName: name.literal(),
		DNSNames:   unique(dns.nonEmpty("DNS name").items(), value.dnsName),
		URIs:       unique(uris.nonEmpty("URI").items(), value.uri),
	}
	if o.entries != nil && !name.written() && !dns.written() && !uris.written() {
		v.fail("is empty; write commonName, dnsNames or uris, by which the client's certificate is known")
	}
	return c
}

// literal reads a name that is compared as it is. Certificates for many hosts have names with a star, but no client has
// such a one; somebody who writes it means a pattern.
func (v value) literal() string {
	s := v.str()
	if strings.Contains(s, "*") {
		v.fail("%q has a * in it, which stands for nothing else here: write the whole name as it is in the certificate", clip(s))
	}
	return s
}

var dnsNameRE = regexp.MustCompile(`\A[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,251}[A-Za-z0-9])?\z`)

func (v value) dnsName() string {
	s := v.literal()
	if s != "" && !strings.Contains(s, "*") && !dnsNameRE.MatchString(s) {
		v.fail("%q is not a DNS name", clip(s))
	}
	return s
}

// uri reads a URI in the form in which it is compared with those of certificates.
func (v value) uri() string {
	s := v.literal()
	if s == "" || strings.Contains(s, "*") {
		return s
	}
	switch u, err := url.Parse(s); {
	case err != nil || u.Scheme == "":
		v.fail("%q is not a URI; write one such as spiffe://cluster.local/ns/external-secrets/sa/external-secrets", clip(s))
	case u.String() != s:
		v.fail("%q can match no certificate; write %s", clip(s), clip(u.String()))
	}
	return s
}

func (d *decoder) checkClients(c *Config) *index {
	clients := newIndex("clients")
	tokens := make(map[string]int)
	for i, client := range c.Clients {
		path := item("clients", i)
		clients.add(d, path, client.Name)
		d.checkCertificates(path+".certificate", client.Certificate, c.Clients[:i])
		if client.BearerTokenFile == "" {
			continue
		}
		if j, taken := tokens[client.BearerTokenFile]; taken {
			d.fail(path+".bearerTokenFile", "is the file of clients[%d] already: nobody could tell the two apart; give each a token of its own", j)
			continue
		}
		tokens[client.BearerTokenFile] = i
	}
	if len(c.Clients) == 0 {
		d.warn("clients", "there are none: nobody will be able to ask for anything")
	}
	return clients
}

// checkCertificates refuses what is the certificate of two clients for sure; what could be is refused when it comes.
func (d *decoder) checkCertificates(path string, c Certificate, before []Client) {
	for j, other := range before {
		switch {
		case c.IsZero() || other.Certificate.IsZero():
		case other.Certificate.includes(c):
			d.fail(path, "every certificate like this is one of clients[%d], too: nobody could tell the two apart; write what only this client's certificate has", j)
			return
		case c.includes(other.Certificate):
			d.fail(path, "every certificate of clients[%d] is one like this, too: nobody could tell the two apart; write what only this client's certificate has", j)
			return
		}
	}
}

// includes reports whether every certificate that is like other is like c.
func (c Certificate) includes(other Certificate) bool {
	among := func(all, some []string) bool {
		missing := func(s string) bool { return !slices.Contains(all, s) }
		return len(all) == 0 || len(some) > 0 && !slices.ContainsFunc(some, missing)
	}
	return (c.CommonName == "" || c.CommonName == other.CommonName) && among(c.DNSNames, other.DNSNames) && among(c.URIs, other.URIs)
}

// checkNamed compares what a client is with whether a rule names it.
func (d *decoder) checkNamed(path string, c Client, named bool) {
	switch {
	case c.Name == "" || c.OperatorOnly:
	case !named && c.Operator == policy.OperatorNone:
		d.warn(path, "no rule names %q: it will be denied everything", clip(c.Name))
	case !named:
		d.warn(path, "no rule names %q: it will be denied every pull secret; remove namespaceFrom or namespace if it is to look after robots only", clip(c.Name))
	case c.Operator == policy.OperatorManage:
		d.warn(path+".operator", "whoever holds the credentials of %q gets pull secrets, and can revoke those of everybody else; make two clients of it", clip(c.Name))
	}
}
