// Package certificatetest makes certificates, for tests and for the tools that run quaygen on loopback. What it signs is trusted by
// nobody who was not given its authority.
//
// Nothing here returns an error: only a certificate that makes no sense can fail, and that is a mistake in the call. It panics.
package certificatetest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"time"
)

// By default a certificate outlasts any test, those whose clocks run ahead as well, and lets a clock step back.
const (
	backdate = time.Hour
	validity = 10 * 365 * 24 * time.Hour
)

// A Pair is a certificate with its key.
type Pair struct {
	Certificate *x509.Certificate
	Key         crypto.Signer
}

// A Change is what is different about a certificate: those below, which go together, or a function of the caller's own.
type Change func(*x509.Certificate)

// Authority returns what signs others, and itself.
func Authority(name string, changes ...Change) *Pair {
	return sign(nil, newKey(), name, append([]Change{forAuthorities}, changes...))
}

// Issue returns a certificate that p has signed. Without changes it is for any use, and of no host.
func (p *Pair) Issue(name string, changes ...Change) *Pair { return sign(p, newKey(), name, changes) }

// Client returns what a client presents in a handshake whose certificate p has signed.
func (p *Pair) Client(name string, changes ...Change) *tls.Certificate {
	return p.Issue(name, append([]Change{ForClients}, changes...)...).TLS()
}

// SelfSigned returns a certificate of this key that is trusted by who trusts it, and signs nothing.
func SelfSigned(name string, key crypto.Signer, changes ...Change) *Pair {
	return sign(nil, key, name, changes)
}

// ForServers makes it a certificate of servers, of these hosts: names or addresses.
func ForServers(hosts ...string) Change {
	return func(c *x509.Certificate) {
		c.ExtKeyUsage = append(c.ExtKeyUsage, x509.ExtKeyUsageServerAuth)
		for _, host := range hosts {
			if ip := net.ParseIP(host); ip != nil {
				c.IPAddresses = append(c.IPAddresses, ip)
			} else {
				c.DNSNames = append(c.DNSNames, host)
			}
		}
	}
}

// ForLoopback makes it a certificate of servers on this machine.
func ForLoopback(c *x509.Certificate) { ForServers("localhost", "127.0.0.1", "::1")(c) }

// ForClients makes it a certificate of clients.
func ForClients(c *x509.Certificate) {
	c.ExtKeyUsage = append(c.ExtKeyUsage, x509.ExtKeyUsageClientAuth)
}

// From sets when it begins to be valid.
func From(t time.Time) Change { return func(c *x509.Certificate) { c.NotBefore = t } }

// Until sets when it ends.
func Until(t time.Time) Change { return func(c *x509.Certificate) { c.NotAfter = t } }

func forAuthorities(c *x509.Certificate) {
	c.IsCA, c.BasicConstraintsValid = true, true
	c.KeyUsage |= x509.KeyUsageCertSign
}

func newKey() crypto.Signer {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	return must(key, err)
}

func sign(by *Pair, key crypto.Signer, name string, changes []Change) *Pair {
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: must(rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))), Subject: pkix.Name{CommonName: name},
		NotBefore: now.Add(-backdate), NotAfter: now.Add(validity), KeyUsage: x509.KeyUsageDigitalSignature,
	}
	for _, change := range changes {
		change(template)
	}
	if by == nil {
		by = &Pair{template, key}
	}
	der := must(x509.CreateCertificate(rand.Reader, template, by.Certificate, key.Public(), by.Key))
	return &Pair{must(x509.ParseCertificate(der)), key}
}

// CertPEM is the certificate as a file holds it.
func (p *Pair) CertPEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: p.Certificate.Raw})
}

// KeyPEM is the key as a file holds it.
func (p *Pair) KeyPEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: must(x509.MarshalPKCS8PrivateKey(p.Key))})
}

// TLS is the pair as one side of a handshake presents it.
func (p *Pair) TLS() *tls.Certificate {
	return &tls.Certificate{Certificate: [][]byte{p.Certificate.Raw}, PrivateKey: p.Key, Leaf: p.Certificate}
}

// Pool trusts the certificate, and what it has signed.
func (p *Pair) Pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(p.Certificate)
	return pool
}

func must[T any](value T, err error) T {
	if err != nil {
		panic(fmt.Sprintf("certificatetest: %v", err))
	}
	return value
}
