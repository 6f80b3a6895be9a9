// Package certificate serves a TLS certificate, and checks those of clients against CAs, that follow their files:
// cert-manager and the kubelet replace them under a running process.
package certificate

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"
)

// A Pair is a certificate and its key, read again when either file has changed. It is safe for concurrent use.
type Pair struct {
	certFile, keyFile string

	mu      sync.Mutex
	loaded  *tls.Certificate
	stamp   stamp
	looked  time.Time
	failure error
}

// recheck is how long a look at the files is good for: handshakes come in bursts.
const recheck = time.Second

// Load reads a pair for the first time; what cannot be used is an error.
func Load(certFile, keyFile string) (*Pair, error) {
	p := &Pair{certFile: certFile, keyFile: keyFile}
	if err := p.reload(); err != nil {
		return nil, err
	}
	return p, nil
}

// stamp tells whether files changed without reading them.
type stamp struct{ cert, key os.FileInfo }

// equal compares the files themselves too: two of the same length can be written within one tick of the file system's clock.
func (s stamp) equal(o stamp) bool { return same(s.cert, o.cert) && same(s.key, o.key) }

func same(a, b os.FileInfo) bool {
	return os.SameFile(a, b) && a.ModTime().Equal(b.ModTime()) && a.Size() == b.Size()
}

func (p *Pair) stat() (stamp, error) {
	cert, err := os.Stat(p.certFile)
	if err != nil {
		return stamp{}, err
	}
	key, err := os.Stat(p.keyFile)
	if err != nil {
		return stamp{}, err
	}
	return stamp{cert, key}, nil
}

// reload reads the files if they changed; the mutex is held or nobody else knows p yet. Between the replacement of the
// one and the other file they do not fit; the old pair is kept until they do.
func (p *Pair) reload() error {
	s, err := p.stat()
	if err == nil && p.loaded != nil && s.equal(p.stamp) {
		return nil
	}
	if err == nil {
		var pair tls.Certificate
		if pair, err = tls.LoadX509KeyPair(p.certFile, p.keyFile); err == nil {
			p.loaded, p.stamp = &pair, s
			return nil
		}
	}
	return fmt.Errorf("loading the TLS certificate %s with its key %s: %w", p.certFile, p.keyFile, err)
}

func (p *Pair) current(now time.Time) (*tls.Certificate, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if now.Sub(p.looked) >= recheck {
		p.looked = now
		p.failure = p.reload()
	}
	return p.loaded, nil
}

// ForClient is for [tls.Config].GetClientCertificate: the pair as it is now, whatever the server asks for.
func (p *Pair) ForClient(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
	return p.current(time.Now())
}

// Status returns when the certificate in use began and ends, and why newer files are not in use, if so.
func (p *Pair) Status() (notBefore, notAfter time.Time, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	leaf := p.loaded.Leaf
	if leaf == nil {
		return time.Time{}, time.Time{}, errors.Join(p.failure, x509.ErrUnsupportedAlgorithm)
	}
	return leaf.NotBefore, leaf.NotAfter, p.failure
}
