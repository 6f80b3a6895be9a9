package config

import (
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/quaygen/quaygen/pkg/quaygen/glob"
	"github.com/quaygen/quaygen/pkg/quaygen/policy"
)

// Client is a caller. It has a bearer token, a certificate, or both, of which either is enough; or it is the
// ServiceAccounts of a kind, each of which is confined to its own namespace.
type Client struct {
	Name            string
	BearerTokenFile string          // empty: it has no token
	Certificate     Certificate     // zero: it has no certificate
	ServiceAccount  ServiceAccount  // zero: it is not known by its ServiceAccount
	Namespace       string          // the one the client is confined to; empty: it says in each request whom it asks for
	Operator        policy.Operator // what it may do with robots over the API
	OperatorOnly    bool            // it asks for no pull secret: neither namespace nor namespaceFrom is written
	Limits          Limits          // what is not written is that of server.limits
	MaxNamespaces   int             // that may have robots of their own; default 1000
}

// Limits are how much a client may ask of one process.
type Limits struct {
	QPS        float64 // requests a second in the long run; default 1000
	Burst      int     // requests at once, after a pause; default 5000
	Concurrent int     // requests that are being answered at the same time; default 1000
}

// limits reads what is written over what it is else.
func (d *decoder) limits(v value, otherwise Limits) Limits {
	o := v.object()
	defer o.end()
	return Limits{
		QPS:        o.get("qps").number(otherwise.QPS, 1_000_000),
		Burst:      o.get("burst").whole(otherwise.Burst, 1_000_000),
		Concurrent: o.get("concurrent").whole(otherwise.Concurrent, 1_000_000),
	}
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

func (d *decoder) client(v value, limits Limits) Client {
	o := v.object()
	defer o.end()
	c := Client{Name: o.require("name", "the name by which rules refer to this client").name()}
	token, cert, account := o.get("bearerTokenFile"), o.get("certificate"), o.get("serviceAccount")
	c.BearerTokenFile = token.file(clientTokenFile)
	c.Certificate = d.certificate(cert)
	c.ServiceAccount = d.serviceAccount(account, o.has("operator"))
	switch {
	case account.written() && (token.written() || cert.written()):
		account.fail("its namespace comes from its token, so that it has no other credential; make two clients of it")
	case o.entries != nil && !token.written() && !cert.written() && !account.written():
		token.fail("is missing; write the path of a file that holds the client's token, or certificate: with what the client's TLS certificate says of it, or serviceAccount: for Kubernetes' own tokens")
	}
	c.Limits = d.limits(o.get("limits"), limits)
	c.MaxNamespaces = o.get("maxNamespaces").whole(defaultMaxNamespaces, 1_000_000)
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
	case account.written():
		for _, v := range []value{from, fixed} {
			if v.written() {
				v.fail("the namespace is that of the ServiceAccount; remove the key (serviceAccount.namespaces says which there may be)")
			}
		}
		c.OperatorOnly = operator.written()
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

// ServiceAccount is whose tokens the API server of Kubernetes has to vouch for.
type ServiceAccount struct {
	Audience   string   // that tokens are for
	Namespaces []string // patterns; none: all
	Names      []string // names, or "*"; none: all
}

// IsZero reports whether nothing is set.
func (s ServiceAccount) IsZero() bool {
	return s.Audience == "" && len(s.Namespaces) == 0 && len(s.Names) == 0
}

// serviceAccount reads whose tokens are a client's. For an operator, it has to be said: there is a ServiceAccount in each
// namespace, and no rule would stand in its way.
func (d *decoder) serviceAccount(v value, operator bool) ServiceAccount {
	o := v.object()
	defer o.end()
	audience, namespaces, names := o.require("audience", "the audience that tokens have to be for, such as quaygen"), o.get("namespaces"), o.get("names")
	s := ServiceAccount{
		Audience:   audience.literal(),
		Namespaces: unique(namespaces.nonEmpty("namespace").items(), value.wildNamespace),
		Names:      unique(names.nonEmpty("name").items(), value.accountName),
	}
	if strings.Contains(s.Audience, "kubernetes.default") {
		d.warn(audience.path, "is that of the API server: quaygen would get, and accept, tokens that pods use there; choose an audience of its own")
	}
	for _, key := range []value{namespaces, names} {
		if o.entries != nil && operator && !key.written() {
			key.fail("is missing; say which ServiceAccounts are operators")
		}
	}
	return s
}

func (v value) wildNamespace() string {
	return v.matching(wildNamespace, namespaceRule+", or such a name with * for any run of characters")
}

var accountNameRE = regexp.MustCompile(`\A(?:\*|[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?)\z`)

func (v value) accountName() string {
	return v.matching(accountNameRE, `the name of a ServiceAccount, or "*" for all`)
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
		d.checkServiceAccounts(path+".serviceAccount", client.ServiceAccount, c.Clients[:i])
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

// checkServiceAccounts refuses what are the ServiceAccounts of two clients for sure; what could be is refused when it comes.
func (d *decoder) checkServiceAccounts(path string, s ServiceAccount, before []Client) {
	for j, other := range before {
		o := other.ServiceAccount
		if s.Audience == "" || s.Audience != o.Audience {
			continue
		}
		if o.includes(s) || s.includes(o) {
			d.fail(path, "the ServiceAccounts are those of clients[%d], too, or some of them: nobody could tell the two apart; write another audience, or namespaces and names that only this client has", j)
			return
		}
	}
}

// includes reports whether every ServiceAccount that is like other is like s.
func (s ServiceAccount) includes(other ServiceAccount) bool {
	// A star in a pattern of some stands for itself here; what matches it by a star of its own matches all it stands for.
	among := func(all, some []string) bool {
		missing := func(pattern string) bool {
			return !slices.ContainsFunc(all, func(wider string) bool { return glob.Match(wider, pattern) })
		}
		return len(all) == 0 || len(some) > 0 && !slices.ContainsFunc(some, missing)
	}
	return among(s.Namespaces, other.Namespaces) && among(s.Names, other.Names)
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
