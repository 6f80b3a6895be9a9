package httpapi_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quaygen/quaygen/pkg/quaygen/httpapi"
)

// pipes is a listener of connections in memory, which work inside a bubble.
type pipes struct {
	connections chan net.Conn
	closed      chan struct{}
	once        sync.Once
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.connections:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	p.once.Do(func() { close(p.closed) })
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)} }

// serve runs the server over pipes, with TLS if there is a configuration, and returns a way to connect.
func (w *world) serve(t testing.TB, config *tls.Config) (dial func() net.Conn) {
	t.Helper()
	p := &pipes{connections: make(chan net.Conn), closed: make(chan struct{})}
	var listener net.Listener = p
	server := httpapi.NewServer(w.handler, logTo(w.log))
	if config != nil {
		server.TLSConfig = config
		listener = tls.NewListener(p, config)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	}()
	t.Cleanup(func() {
		_ = server.Close()
		<-done
		time.Sleep(time.Second) // a server that has not read all waits before it closes
	})
	return func() net.Conn {
		ours, theirs := net.Pipe()
		p.connections <- theirs
		t.Cleanup(func() { _ = ours.Close() })
		return ours
	}
}

// untilClosed reads until the server closes, and returns what came and after how long.
func untilClosed(c net.Conn) (string, time.Duration) {
	start := time.Now()
	text, _ := io.ReadAll(c) // a pipe that the other end closes ends with an error or not
	return string(text), time.Since(start)
}

const get = "GET " + target + " HTTP/1.1\r\nHost: quaygen\r\nAuthorization: Bearer " + esoToken + "\r\n"

func TestSlowAndIdleConnectionsAreClosed(t *testing.T) {
	for _, test := range []struct {
		what, sent string
		within     time.Duration
		status     string
	}{
		{"nothing is sent", "", 5 * time.Second, ""},
		{"half a request line", "GET /v1/pu", 5 * time.Second, ""},
		{"headers without an end", get + "X: y\r\n", 5 * time.Second, ""},
		{"idle after an answer", get + "\r\n", 30 * time.Second, "HTTP/1.1 200 OK"},
		{"a body that does not come", strings.Replace(get, "GET", "POST", 1) + "Content-Length: 10\r\n\r\n", 30 * time.Second, "HTTP/1.1 405"},
	} {
		t.Run(test.what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.do("GET", target, esoToken) // mints
				c := w.serve(t, nil)()
				if _, err := io.WriteString(c, test.sent); err != nil {
					t.Fatal(err)
				}
				text, after := untilClosed(c)
				if after > test.within || !strings.HasPrefix(text, test.status) {
					t.Errorf("closed after %v, with %q", after, text)
				}
			})
		})
	}
}

// ESO's store validation connects and says nothing; with TLS it must not keep anything either.
func TestATLSConnectionWithoutAHandshakeIsClosed(t *testing.T) {
	config, _ := loopbackTLS(t)
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		if _, after := untilClosed(w.serve(t, config)()); after > 5*time.Second {
			t.Errorf("closed after %v", after)
		}
		if log := w.log.String(); strings.Contains(log, "level=ERROR") || strings.Contains(log, "level=WARN") {
			t.Errorf("the log makes a matter of it: %s", log)
		}
	})
}

func TestHTTP1OverTLSIsOneRequestPerConnection(t *testing.T) {
	config, roots := loopbackTLS(t)
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.do("GET", target, esoToken)
		for _, request := range []string{get, "GET /elsewhere HTTP/1.1\r\nHost: x\r\n", strings.Replace(get, "GET", "PUT", 1)} {
			raw := w.serve(t, config)()
			c := tls.Client(raw, &tls.Config{RootCAs: roots, ServerName: "127.0.0.1", NextProtos: []string{"http/1.1"}})
			if _, err := io.WriteString(c, request+"\r\n"); err != nil {
				t.Fatal(err)
			}
			text, after := untilClosed(c)
			if after > time.Second || !strings.Contains(text, "\r\nConnection: close\r\n") {
				t.Errorf("closed after %v: %q", after, text)
			}
		}
	})
}

// http2Client asks once, over a connection that it has or a new one, which it counts.
func http2Client(t *testing.T, roots *x509.CertPool, dial func() net.Conn) (ask func(), dials *int) {
	t.Helper()
	dials = new(int)
	transport := &http.Transport{
		ForceAttemptHTTP2: true,
		TLSClientConfig:   &tls.Config{RootCAs: roots, ServerName: "127.0.0.1"},
		DialContext: func(context.Context, string, string) (net.Conn, error) {
			*dials++
			return dial(), nil
		},
	}
	t.Cleanup(transport.CloseIdleConnections)
	return func() {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://127.0.0.1"+target, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer "+esoToken)
		a, err := transport.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		if a.ProtoMajor != 2 || a.StatusCode != http.StatusOK || a.Header.Get("Connection") != "" {
			t.Errorf("%s %s %v", a.Proto, a.Status, a.Header)
		}
		if _, err := io.Copy(io.Discard, a.Body); err != nil {
			t.Error(err)
		}
		a.Body.Close()
	}, dials
}

func TestHTTP2OverTLSKeepsItsConnection(t *testing.T) {
	config, roots := loopbackTLS(t)
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		ask, dials := http2Client(t, roots, w.serve(t, config))
		for range 3 {
			ask()
		}
		if *dials != 1 {
			t.Errorf("%d connections", *dials)
		}
	})
}

func TestMalformedRequests(t *testing.T) {
	long := strings.Repeat("x", 30<<10)
	for _, test := range []struct{ what, request, status string }{
		{"a template's unset variable, its blank unescaped", "GET /v1/pullsecrets/<no value>?namespace=prod-shop HTTP/1.1\r\nHost: x\r\n\r\n", "400"},
		{"an unset variable in the query", "GET /v1/pullsecrets/puller?namespace=<no value> HTTP/1.1\r\nHost: x\r\n\r\n", "400"},
		{"no target", "GET HTTP/1.1\r\nHost: x\r\n\r\n", "400"},
		{"a target without a slash", "GET v1/pullsecrets/puller HTTP/1.1\r\nHost: x\r\n\r\n", "400"},
		{"a bad escape", "GET /v1/pullsecrets/%zz HTTP/1.1\r\nHost: x\r\n\r\n", "400"},
		{"a control character", "GET /v1/pullsecrets/pul\x01ler HTTP/1.1\r\nHost: x\r\n\r\n", "400"},
		{"no host", "GET " + target + " HTTP/1.1\r\n\r\n", "400"},
		{"two hosts", "GET " + target + " HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", "400"},
		{"a header without a colon", get + "nonsense\r\n\r\n", "400"},
		{"a header name with a blank", get + "X : y\r\n\r\n", "400"},
		{"two lengths", get + "Content-Length: 1\r\nContent-Length: 2\r\n\r\n", "400"},
		{"a negative length", get + "Content-Length: -1\r\n\r\n", "400"},
		{"an unknown transfer encoding", get + "Transfer-Encoding: gzip\r\n\r\n", "501"},
		{"HTTP/2 without TLS", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "400"},
		{"HTTP/3.0", "GET / HTTP/3.0\r\nHost: x\r\n\r\n", "505"},
		{"TLS where there is none", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", "400"},
		{"headers beyond measure", get + "X: " + long + "\r\n\r\n", "431"},
		{"a URL beyond measure", "GET /" + long[:8<<10] + " HTTP/1.1\r\nHost: x\r\n\r\n", "414"},
		{"CONNECT", "CONNECT quay.test:443 HTTP/1.1\r\nHost: quay.test:443\r\n\r\n", "400"},
		{"a proxy's request", "GET http://quay.test/ HTTP/1.1\r\nHost: quay.test\r\n\r\n", "400"},
	} {
		t.Run(test.what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				c := w.serve(t, nil)()
				go func() { _, _ = io.WriteString(c, test.request) }() // the server may answer before it has read all
				a, err := http.ReadResponse(bufio.NewReader(c), nil)
				if err != nil {
					t.Fatal(err)
				}
				defer a.Body.Close()
				if !strings.HasPrefix(a.Status, test.status) || a.Header.Get("Location") != "" {
					t.Errorf("%s %v", a.Status, a.Header)
				}
				_ = c.Close() // ends the writer
			})
		})
	}
}

// A body is nothing that a read needs: it is neither waited for nor a reason to fail, and never read beyond a limit.
func TestBodiesDoNotMatter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.do("GET", target, esoToken)
		c := w.serve(t, nil)()
		if _, err := io.WriteString(c, get+"Content-Length: 4\r\n\r\nbody"+get+"\r\n"); err != nil {
			t.Fatal(err)
		}
		buffer := bufio.NewReader(c)
		for range 2 {
			a, err := http.ReadResponse(buffer, nil)
			if err != nil || a.StatusCode != http.StatusOK {
				t.Fatalf("%v %v", a, err)
			}
			if _, err := io.Copy(io.Discard, a.Body); err != nil {
				t.Error(err)
			}
			a.Body.Close()
		}
	})
}

// loopbackTLS returns a server's configuration and who vouches for it.
func loopbackTLS(t testing.TB) (*tls.Config, *x509.CertPool) {
	t.Helper()
	s := httptest.NewUnstartedServer(http.NotFoundHandler())
	s.StartTLS()
	defer s.Close()
	roots := x509.NewCertPool()
	roots.AddCert(s.Certificate())
	return &tls.Config{Certificates: s.TLS.Certificates, NextProtos: []string{"h2", "http/1.1"}, MinVersion: tls.VersionTLS12}, roots
}

// A slow listener notices that it is closed when it is closed once more.
type slow struct {
	net.Listener
	accepting, noticed chan struct{}
}

func (l *slow) Accept() (net.Conn, error) {
	close(l.accepting)
	<-l.noticed
	return l.Listener.Accept()
}

func (l *slow) Close() error {
	err := l.Listener.Close()
	if err != nil {
		close(l.noticed)
	}
	return err
}

func TestAListenerThatIsClosedAlreadyIsNoFailure(t *testing.T) {
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := &slow{Listener: inner, accepting: make(chan struct{}), noticed: make(chan struct{})}
	s := httpapi.NewServer(http.NotFoundHandler(), slog.New(slog.DiscardHandler))
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	<-l.accepting
	if err := s.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		t.Error(err)
	}
}
