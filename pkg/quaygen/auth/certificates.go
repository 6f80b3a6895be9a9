package auth

import (
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"time"

	"github.com/quaygen/quaygen/pkg/quaygen/policy"
)

// CertificateClient is a client that is known by its TLS certificate. At least one of CommonName, DNSNames and URIs is
// given, and the certificate has to match each that is. Everything is compared as text; nothing is a pattern.
type CertificateClient struct {
	Name      string // required, unique
	Namespace string // the only one it may speak for; "" if its rules decide

	CommonName string   // the common name of the certificate's subject; "" if that does not matter
	DNSNames   []string // one of them is among the certificate's alternative names; none if those do not matter
	URIs       []string // likewise; a SPIFFE ID is a URI

	Operator     policy.Operator // what it may do with robots
	OperatorOnly bool            // it has nothing to do with pull secrets
}

// CertificateAuthenticator knows clients by certificates that the TLS layer has verified.
type CertificateAuthenticator struct {
	clients []CertificateClient
}

// Certificates checks clients that are known by their certificates. No clients is no error, and nobody is known.
func Certificates(clients []CertificateClient) (*CertificateAuthenticator, error) {
	a := &CertificateAuthenticator{}
	names := make(map[string]bool)
	var problems []error
	for i, c := range clients {
		if c.Name == "" || names[c.Name] {
			problems = append(problems, fmt.Errorf("certificate client %d: its name %q is empty or taken", i, c.Name))
		}
		names[c.Name] = true
		if err := c.check(); err != nil {
			problems = append(problems, fmt.Errorf("certificate client %q: %w", c.Name, err))
		}
		c.DNSNames, c.URIs = slices.Clone(c.DNSNames), slices.Clone(c.URIs)
		a.clients = append(a.clients, c)
	}
	if len(problems) > 0 {
		return nil, errors.Join(problems...)
	}
	return a, nil
}

func (c CertificateClient) check() error {
	if c.CommonName == "" && len(c.DNSNames) == 0 && len(c.URIs) == 0 {
		return errors.New("nothing says what its certificate is like")
	}
	// Certificates can hold empty names.
	if slices.Contains(c.DNSNames, "") || slices.Contains(c.URIs, "") {
		return errors.New("a name of its certificate is empty")
	}
	for _, uri := range c.URIs {
		switch u, err := url.Parse(uri); {
		case err != nil:
			return fmt.Errorf("a URI of its certificate: %w", err)
		case u.String() != uri: // which is what it is compared with
			return fmt.Errorf("a URI of its certificate is %q, which no certificate has: write %q", uri, u.String())
		}
	}
	return nil
}

// errNoCertificate is what every caller with a token alone runs into; it is not made anew each time.
var errNoCertificate = fmt.Errorf("%w: no client certificate", ErrNoCredential)

// Authenticate is the [Authenticator] of these clients. It declines without a certificate, and with one that no client
// here has (ErrNoCredential, in the latter case ErrRejected too). A certificate that two clients have, or a client's that
// is not valid at this moment, is ErrRejected alone: a connection may have been made while it was.
func (a *CertificateAuthenticator) Authenticate(p Presented) (policy.Caller, error) {
	if p.Certificate == nil {
		return policy.Caller{}, errNoCertificate
	}
	shown := namesOf(p.Certificate)
	found := -1
	for i := range a.clients {
		switch {
		case !shown.are(&a.clients[i]):
		case found >= 0:
			return policy.Caller{}, fmt.Errorf("%w: the client certificate is that of two clients, %q and %q", ErrRejected, a.clients[found].Name, a.clients[i].Name)
		default:
			found = i
		}
	}
	if found < 0 {
		return policy.Caller{}, fmt.Errorf("%w: %w: no client has this certificate", ErrNoCredential, ErrRejected)
	}
	c := &a.clients[found]
	switch now := time.Now(); {
	case now.Before(p.Certificate.NotBefore):
		return policy.Caller{}, fmt.Errorf("%w: the certificate of client %q is valid from %s", ErrRejected, c.Name, p.Certificate.NotBefore.UTC().Format(time.RFC3339))
	case now.After(p.Certificate.NotAfter):
		return policy.Caller{}, fmt.Errorf("%w: the certificate of client %q has expired at %s", ErrRejected, c.Name, p.Certificate.NotAfter.UTC().Format(time.RFC3339))
	}
	return policy.Caller{Name: c.Name, Namespace: c.Namespace, How: "certificate", Operator: c.Operator, OperatorOnly: c.OperatorOnly}, nil
}

// names are what a certificate says about whose it is.
type names struct {
	commonName string
	dns        []string
	uris       []string
}

func namesOf(c *x509.Certificate) names {
	n := names{commonName: commonName(c), dns: c.DNSNames}
	for _, u := range c.URIs {
		n.uris = append(n.uris, u.String())
	}
	return n
}

// commonName is "" too if the subject has several: the standard library would return the last.
func commonName(c *x509.Certificate) string {
	n := 0
	for _, attribute := range c.Subject.Names {
		if attribute.Type.Equal(oidCommonName) {
			n++
		}
	}
	if n != 1 {
		return ""
	}
	return c.Subject.CommonName
}

var oidCommonName = asn1.ObjectIdentifier{2, 5, 4, 3}

// are reports whether a certificate with these names is c's.
func (n names) are(c *CertificateClient) bool {
	return (c.CommonName == "" || c.CommonName == n.commonName) &&
		(len(c.DNSNames) == 0 || overlap(c.DNSNames, n.dns)) &&
		(len(c.URIs) == 0 || overlap(c.URIs, n.uris))
}

func overlap(a, b []string) bool {
	return slices.ContainsFunc(a, func(s string) bool { return slices.Contains(b, s) })
}
