package certificate

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// An Authority is a bundle of CA certificates, read again when its file has changed: those that may have signed the
// certificates of clients. It is safe for concurrent use.
type Authority struct {
	file string

	mu      sync.Mutex
	content []byte // what loaded was made of
	loaded  *x509.CertPool
	last    *x509.Certificate // of those loaded, the one that ends last
	looked  time.Time
	failure error
}

// LoadAuthority reads a bundle for the first time; what cannot be used is an error. A bundle holds, as PEM, one CA
// certificate or several, and nothing else but text around them. One that has expired does no harm: nothing it signed is
// accepted.
func LoadAuthority(file string) (*Authority, error) {
	a := &Authority{file: file}
	if err := a.reload(); err != nil {
		return nil, err
	}
	return a, nil
}

// CheckAuthority says what keeps the content of a file from being used by [LoadAuthority], nil if nothing does.
func CheckAuthority(content []byte) error {
	_, _, err := parseBundle(content)
	return err
}

// Status returns when the CA certificate in use that ends last began, and when it ends, and why a newer file is not in use,
// if so.
func (a *Authority) Status() (notBefore, notAfter time.Time, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.last.NotBefore, a.last.NotAfter, a.failure
}

func (a *Authority) current(now time.Time) *x509.CertPool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if now.Sub(a.looked) >= recheck {
		a.looked = now
		a.failure = a.reload()
	}
	return a.loaded
}

// reload puts the file to use if its content is new; the mutex is held or nobody else knows a yet.
func (a *Authority) reload() error {
	content, err := readBundle(a.file)
	if err == nil && a.loaded != nil && bytes.Equal(content, a.content) {
		return nil
	}
	var pool *x509.CertPool
	var last *x509.Certificate
	if err == nil {
		pool, last, err = parseBundle(content)
	}
	if err != nil {
		return fmt.Errorf("loading the CA certificates of clients from %s: %w", a.file, err)
	}
	a.content, a.loaded, a.last = content, pool, last
	return nil
}

func readBundle(name string) ([]byte, error) {
	const most = 1 << 20 // bytes; the bundle of a whole public PKI is a quarter of it
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	content, err := io.ReadAll(io.LimitReader(f, most+1))
	if err := errors.Join(err, f.Close()); err != nil {
		return nil, err
	}
	if len(content) > most {
		return nil, fmt.Errorf("it is larger than %d bytes", most)
	}
	return content, nil
}

// parseBundle refuses what the standard library would pass over, since a CA less is clients less: blocks that are cut
// off or of another type. And what it would take for more than is meant: the certificate of a server or client.
func parseBundle(content []byte) (pool *x509.CertPool, last *x509.Certificate, err error) {
	const begin = "-----BEGIN "
	pool = x509.NewCertPool()
	n, rest := 0, content
	for {
		var block *pem.Block
		before := rest
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		n++
		if bytes.Count(before[:len(before)-len(rest)], []byte(begin)) != 1 {
			return nil, nil, fmt.Errorf("what is before the end of its PEM block %d is no PEM", n)
		}
		if block.Type != "CERTIFICATE" {
			return nil, nil, fmt.Errorf("its PEM block %d is of type %q, not CERTIFICATE", n, block.Type)
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, nil, fmt.Errorf("its certificate %d: %w", n, err)
		}
		if !c.IsCA {
			return nil, nil, fmt.Errorf("its certificate %d (%s) is not that of a CA", n, c.Subject)
		}
		pool.AddCert(c)
		if last == nil || c.NotAfter.After(last.NotAfter) {
			last = c
		}
	}
	switch {
	case bytes.Contains(rest, []byte(begin)):
		return nil, nil, fmt.Errorf("what follows its PEM block %d is cut off or no PEM", n)
	case n == 0:
		return nil, nil, errors.New("it holds no certificate in PEM form (-----BEGIN CERTIFICATE-----)")
	}
	return pool, last, nil
}

// suites are those of TLS 1.2: key exchange with forward secrecy, and authenticated encryption. Go's own default has the two
// with CBC and SHA-1 as well. TLS 1.3 has no others.
var suites = []uint16{
	tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
	tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
	tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
}

// TLSConfig returns a server configuration that asks p at each handshake. With clientCAs, clients may present a
// certificate, and are turned away in the handshake if it is not of one of these CAs as they are at that moment, for
// use by a client and valid; one that presents none gets in, since a token is the other way to say who it is. nil: no
// certificates are asked for.
//
// A connection stays what it was in the handshake. One that was let in by a CA that has been removed since lives until
// it is closed; whoever serves long-lived connections has to bound their age.
func (p *Pair) TLSConfig(clientCAs *Authority) *tls.Config {
	base := &tls.Config{
		MinVersion:   tls.VersionTLS12,
		CipherSuites: suites,
		NextProtos:   []string{"h2", "http/1.1"},
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			return p.current(time.Now())
		},
	}
	if clientCAs == nil {
		return base
	}
	base.ClientAuth = tls.VerifyClientCertIfGiven
	base.ClientCAs = x509.NewCertPool() // of nobody: without a pool it would be the system's
	// A ticket outlives the CA that let its owner in, and not every release of Go looks at the CAs again when a session
	// is resumed. Without tickets there is nothing to resume.
	base.SessionTicketsDisabled = true
	config := base.Clone()
	var last atomic.Pointer[tls.Config] // it is the same one while the CAs are
	config.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
		pool := clientCAs.current(time.Now())
		if c := last.Load(); c != nil && c.ClientCAs == pool {
			return c, nil
		}
		c := base.Clone()
		c.ClientCAs = pool
		last.Store(c)
		return c, nil
	}
	return config
}
