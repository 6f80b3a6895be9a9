package quay

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"os"
	"sync/atomic"
	"time"
)

// newTransport returns a transport that keeps one HTTP/2 connection: over HTTP/1.1 Quay closes each connection after
// its answer, and its limits are ten times narrower there (docs/quay-contract.md 5).
func newTransport(caFile string) (*http.Transport, error) {
	roots, err := loadRoots(caFile)
	if err != nil {
		return nil, err
	}
	return &http.Transport{
		Proxy:       proxyFromEnvironment,
		DialContext: (&net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
		// A TLS configuration of one's own turns HTTP/2 off unless it is asked for.
		ForceAttemptHTTP2:      true,
		TLSClientConfig:        &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout:    10 * time.Second,
		IdleConnTimeout:        5 * time.Minute,
		MaxIdleConnsPerHost:    2,
		MaxResponseHeaderBytes: 64 << 10,
		// Finds out that a firewall has forgotten the connection before a call does.
		HTTP2: &http.HTTP2Config{SendPingTimeout: 30 * time.Second, PingTimeout: 10 * time.Second},
	}, nil
}

// loadRoots adds the certificates of a file to the system's; nil means the system's alone.
func loadRoots(caFile string) (*x509.CertPool, error) {
	if caFile == "" {
		return nil, nil
	}
	pem, err := os.ReadFile(caFile)
	if err != nil {
		return nil, fmt.Errorf("reading the CA certificates: %w", err)
	}
	roots, err := x509.SystemCertPool()
	if err != nil {
		roots = x509.NewCertPool() // a container without certificates of its own
	}
	if !roots.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("reading the CA certificates: %s holds none in PEM form", caFile)
	}
	return roots, nil
}

// proxyFromEnvironment keeps the proxy's address, which may hold a password, out of errors.
func proxyFromEnvironment(req *http.Request) (*url.URL, error) {
	proxy, err := http.ProxyFromEnvironment(req)
	if err != nil {
		return nil, errors.New("the proxy in the environment (HTTPS_PROXY, HTTP_PROXY) is not a valid URL")
	}
	return proxy, nil
}

var errReplayed = errors.New("the connection failed while the call was under way")

// sendOnce returns a context in which a request goes out at most once. By itself net/http repeats a request that
// HTTP/2 reports as unprocessed (REFUSED_STREAM, GOAWAY), and one reset with PROTOCOL_ERROR, which need not be
// unprocessed; for a robot's creation, deletion or new token that would be a second call decided on by nobody. It also
// repeats without a bound, thousands of times within a timeout, which is not for a paced client even where it is safe.
// The context is cancelled, with cause errReplayed, when a connection is chosen after headers have been written.
func sendOnce(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	var written atomic.Bool
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		WroteHeaders: func() { written.Store(true) },
		GotConn: func(httptrace.GotConnInfo) {
			if written.Load() {
				cancel(errReplayed)
			}
		},
	})
	return ctx, func() { cancel(nil) }
}
