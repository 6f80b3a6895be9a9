package quay_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/pem"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/net/http2"

	"github.com/quaygen/quaygen/pkg/quaygen/quay"
)

// newTLSServer starts a server with HTTP/2 whose certificate is signed by nobody known, and returns the file that
// makes it known, and the number of connections it has had.
func newTLSServer(t *testing.T, h http.Handler) (*httptest.Server, string, *atomic.Int64) {
	t.Helper()
	var connections atomic.Int64
	server := httptest.NewUnstartedServer(h)
	server.EnableHTTP2 = true
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			connections.Add(1)
		}
	}
	server.StartTLS()
	t.Cleanup(server.Close)
	return server, caFile(t, server), &connections
}

func caFile(t *testing.T, server *httptest.Server) string {
	t.Helper()
	var b bytes.Buffer
	if err := pem.Encode(&b, &pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}); err != nil {
		t.Fatal(err)
	}
	return writeFile(t, "ca.pem", b.String())
}

func TestHundredCallsShareOneHTTP2ConnectionWithACAOfTheirOwn(t *testing.T) {
	var other atomic.Int64
	server, ca, connections := newTLSServer(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ProtoMajor != 2 || r.UserAgent() != "quaygen" {
			other.Add(1)
		}
		_, _ = io.WriteString(w, aRobot)
	}))
	c := client(t, nil, at(server, ca))
	get := func() {
		if _, _, err := c.GetRobot(t.Context(), robot(t, "acme", "ci")); err != nil {
			t.Error(err)
		}
	}
	for range 50 {
		get()
	}
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(get)
	}
	wg.Wait()
	if connections.Load() != 1 || other.Load() != 0 {
		t.Errorf("%d connections, %d calls without HTTP/2 or by a wrong name", connections.Load(), other.Load())
	}
}

func TestServerOfUnknownCAIsNotTalkedTo(t *testing.T) {
	server, _, _ := newTLSServer(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, aRobot) }))
	_, _, err := client(t, nil, at(server, ""), once).GetRobot(t.Context(), robot(t, "acme", "ci"))
	if !errors.Is(err, quay.ErrUnreachable) {
		t.Error(err)
	}
}

func TestPlainHTTPWorks(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, aRobot) }))
	defer server.Close()
	if _, answer, err := client(t, nil, at(server, "")).GetRobot(t.Context(), robot(t, "acme", "ci")); err != nil || answer.Date.IsZero() {
		t.Error(answer, err)
	}
}

func TestTokenDoesNotFollowARedirect(t *testing.T) {
	var reached atomic.Int64
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached.Add(1) }))
	defer elsewhere.Close()
	for _, status := range []int{301, 302, 303, 307, 308} {
		server := httptest.NewServer(http.RedirectHandler(elsewhere.URL, status))
		c := client(t, nil, at(server, ""))
		_, _, get := c.GetRobot(t.Context(), robot(t, "acme", "ci"))
		_, _, create := c.CreateRobot(t.Context(), robot(t, "acme", "ci"), quay.CreateOptions{})
		if !errors.Is(get, quay.ErrRedirect) || !errors.Is(create, quay.ErrRedirect) {
			t.Errorf("%d: %v, %v", status, get, create)
		}
		server.Close()
	}
	if reached.Load() != 0 {
		t.Error("a redirect was followed")
	}
}

// refusingServer speaks just enough HTTP/2 to answer every request with end, and counts the requests.
func refusingServer(t *testing.T, end func(*http2.Framer, uint32) error) (url, ca string, requests *atomic.Int64) {
	t.Helper()
	requests = new(atomic.Int64)
	server := httptest.NewUnstartedServer(http.NotFoundHandler())
	server.EnableHTTP2 = true
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	ca, tlsConfig := caFile(t, server), server.TLS.Clone()
	server.Close()

	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	t.Cleanup(func() { listener.Close(); wg.Wait() })
	wg.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			context.AfterFunc(t.Context(), func() { conn.Close() }) // the client would keep it
			wg.Go(func() {
				defer conn.Close()
				refuse(t, conn, tlsConfig, requests, end)
			})
		}
	})
	return "https://" + listener.Addr().String(), ca, requests
}

// The three ways in which a server can make net/http send a request a second time.
var refusals = map[string]func(*http2.Framer, uint32) error{
	"REFUSED_STREAM": func(f *http2.Framer, id uint32) error { return f.WriteRSTStream(id, http2.ErrCodeRefusedStream) },
	"PROTOCOL_ERROR": func(f *http2.Framer, id uint32) error { return f.WriteRSTStream(id, http2.ErrCodeProtocol) },
	"GOAWAY": func(f *http2.Framer, id uint32) error {
		return errors.Join(f.WriteGoAway(0, http2.ErrCodeNo, nil), io.EOF) // and hang up
	},
}

func TestConnectionTroubleReplaysNothingBehindTheClientsBack(t *testing.T) {
	for trouble, end := range refusals {
		for name, op := range operations(t) {
			t.Run(trouble+"/"+name, func(t *testing.T) {
				t.Parallel()
				url, ca, requests := refusingServer(t, end)
				c := client(t, nil, func(cfg *quay.Config) { cfg.URL, cfg.CAFile, cfg.Transport = url, ca, nil })
				if err := op.do(c); !errors.Is(err, quay.ErrUnreachable) {
					t.Error(err)
				}
				if n := requests.Load(); n != int64(op.sent) {
					t.Errorf("sent %d times, want %d", n, op.sent)
				}
			})
		}
	}
}

// The environment's proxy is read once in the life of a process, so the client runs in another one.
func TestProxyOfTheEnvironmentIsUsed(t *testing.T) {
	if os.Getenv("QUAYGEN_TEST_PROXIED") != "" {
		c := client(t, nil, func(cfg *quay.Config) { cfg.URL, cfg.Transport = "http://quay.test", nil })
		if _, _, err := c.GetRobot(t.Context(), robot(t, "acme", "ci")); err != nil {
			t.Fatal(err)
		}
		return
	}
	var asked atomic.Int64
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Host == "quay.test" {
			asked.Add(1)
		}
		_, _ = io.WriteString(w, aRobot)
	}))
	defer proxy.Close()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestProxyOfTheEnvironmentIsUsed$")
	cmd.Env = append(os.Environ(), "QUAYGEN_TEST_PROXIED=1", "HTTP_PROXY="+proxy.URL, "NO_PROXY=")
	if out, err := cmd.CombinedOutput(); err != nil || asked.Load() != 1 {
		t.Errorf("the proxy was asked %d times: %v\n%s", asked.Load(), err, out)
	}
}

func refuse(t *testing.T, conn net.Conn, cfg *tls.Config, requests *atomic.Int64, end func(*http2.Framer, uint32) error) {
	secured := tls.Server(conn, cfg)
	if err := secured.HandshakeContext(t.Context()); err != nil {
		return
	}
	if _, err := io.ReadFull(secured, make([]byte, len(http2.ClientPreface))); err != nil {
		return
	}
	f := http2.NewFramer(secured, secured)
	if f.WriteSettings() != nil {
		return
	}
	for {
		frame, err := f.ReadFrame()
		if err != nil {
			return
		}
		switch frame := frame.(type) {
		case *http2.SettingsFrame:
			if !frame.IsAck() {
				err = f.WriteSettingsAck()
			}
		case *http2.HeadersFrame:
			requests.Add(1)
			err = end(f, frame.StreamID)
		}
		if err != nil {
			return
		}
	}
}
