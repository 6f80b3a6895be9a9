package httpapi_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/quaygen/quaygen/pkg/quaygen"
	"github.com/quaygen/quaygen/pkg/quaygen/audit"
	"github.com/quaygen/quaygen/pkg/quaygen/httpapi"
	"github.com/quaygen/quaygen/pkg/quaygen/tracing"
	"github.com/quaygen/quaygen/pkg/quaygen/tracing/otlp"
	"github.com/quaygen/quaygen/pkg/quaygen/tracing/otlp/otlptest"
)

// Each benchmark asks our handler and a bare one, which writes the same bytes, in turn, and reports the ratio of their
// speeds: 1 is as fast as bare. One run of both on one machine cancels out what the machine does besides.

func BenchmarkKeepAlive(b *testing.B) { compare(b, false) }

// The same with an audit trail in a file, written beside the requests.
func BenchmarkKeepAliveAudited(b *testing.B) {
	trail, err := audit.Open(audit.Config{File: filepath.Join(b.TempDir(), "audit.jsonl")})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := trail.Close(context.Background()); err != nil {
			b.Error(err) // a record that was lost would have cost nothing
		}
	})
	compare(b, false, func(s *quaygen.Service) { s.Audit(trail) })
}

// The handler with traces of every request, of one in ten, and of none, and another without, in turn. The collector is in this
// process and costs it something too.
func BenchmarkKeepAliveTraced(b *testing.B) {
	for name, share := range map[string]float64{"all": 1, "tenth": .1, "off": -1} {
		b.Run(name, func(b *testing.B) {
			var requests *tracing.Requests
			if share >= 0 {
				requests = tracedTo(b, otlptest.New(b, nil), share)
			}
			traced, untraced := newIdleWorld(b, func(c *httpapi.Config) { c.Traces = requests }), newIdleWorld(b) // each with its own limits
			traced.tireless()
			untraced.tireless()
			traced.start(b)
			untraced.start(b)
			traced.do("GET", target, esoToken)
			race(b, false, traced.handler, untraced.handler, len(untraced.do("GET", target, esoToken).Body.Bytes()), "untraced")
		})
	}
}

func tracedTo(b *testing.B, collector *otlptest.Receiver, share float64) *tracing.Requests {
	b.Helper()
	collector.Discard()
	traces, err := otlp.New(b.Context(), otlp.Config{Endpoint: collector.GRPC, Insecure: true, Sampling: share})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		_ = traces.Close(ctx) // what is left is of no interest
	})
	return tracing.NewRequests(traces.Tracer())
}

// What ESO does where a CA is configured: a new connection, with a full handshake, for each request.
func BenchmarkNewTLSConnection(b *testing.B) { compare(b, true) }

func compare(b *testing.B, withTLS bool, with ...func(*quaygen.Service)) {
	w := newIdleWorld(b)
	for _, f := range with {
		f(w.service)
	}
	w.compare(b, withTLS)
}

func (w *world) compare(b *testing.B, withTLS bool) {
	w.tireless()
	w.start(b)
	body := w.do("GET", target, esoToken).Body.Bytes()
	bare := http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("Content-Type", "application/json")
		rw.Header().Set("Content-Length", strconv.Itoa(len(body)))
		if r.TLS != nil {
			rw.Header().Set("Connection", "close")
		}
		_, _ = rw.Write(body)
	})
	race(b, withTLS, w.handler, bare, len(body), "bare")
}

// tireless has no limit that a benchmark could meet, and still looks whether there is one.
func (w *world) tireless() {
	s := settings()
	s.Limits = map[string]quaygen.Limits{"eso": {QPS: 1e9, Burst: 1e9, Concurrent: 1000, Namespaces: 1000}}
	w.service.Apply(s)
}

// race asks two handlers in turn.
func race(b *testing.B, withTLS bool, first, second http.Handler, length int, name string) {
	var config *tls.Config
	var roots *x509.CertPool
	scheme := "http://"
	if withTLS {
		config, roots = loopbackTLS(b)
		scheme = "https://"
	}
	ask := func(handler http.Handler) func() {
		address := listen(b, handler, config)
		client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, DisableKeepAlives: withTLS}}
		b.Cleanup(client.CloseIdleConnections)
		return func() { fetch(b, client, scheme+address+target, length) }
	}
	ours, theirs := ask(first), ask(second)
	ours()
	theirs()
	spend := func(ask func(), total *time.Duration) {
		start := time.Now()
		ask()
		*total += time.Since(start)
	}
	var spentOurs, spentOther time.Duration
	for oursFirst := true; b.Loop(); oursFirst = !oursFirst {
		if oursFirst {
			spend(ours, &spentOurs)
			spend(theirs, &spentOther)
			continue
		}
		spend(theirs, &spentOther)
		spend(ours, &spentOurs)
	}
	b.ReportMetric(float64(spentOther)/float64(spentOurs), "of-"+name)
	b.ReportMetric(float64(spentOurs.Nanoseconds())/float64(b.N), "ours-ns/op")
	b.ReportMetric(float64(spentOther.Nanoseconds())/float64(b.N), name+"-ns/op")
}

func listen(b *testing.B, handler http.Handler, config *tls.Config) string {
	b.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	address := listener.Addr().String()
	server := httpapi.NewServer(handler, logTo(&logBuffer{}))
	if config != nil {
		server.TLSConfig = config
		listener = tls.NewListener(listener, config)
	}
	go func() { _ = server.Serve(listener) }()
	b.Cleanup(func() { _ = server.Close() })
	return address
}

func fetch(b *testing.B, client *http.Client, url string, want int) {
	r, err := http.NewRequestWithContext(b.Context(), http.MethodGet, url, http.NoBody)
	if err != nil {
		b.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+esoToken)
	a, err := client.Do(r)
	if err != nil {
		b.Fatal(err)
	}
	n, err := io.Copy(io.Discard, a.Body)
	a.Body.Close()
	if err != nil || int(n) != want {
		b.Fatalf("%s, %d bytes, %v", a.Status, n, err)
	}
}
