package otlp_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace"

	"github.com/quaygen/quaygen/pkg/quaygen/tracing"
	"github.com/quaygen/quaygen/pkg/quaygen/tracing/otlp"
	"github.com/quaygen/quaygen/pkg/quaygen/tracing/otlp/otlptest"
)

// world is a provider that sends to a receiver, and what it says and counts.
type world struct {
	*otlp.Provider
	log      log
	registry *prometheus.Registry
}

type log struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *log) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(line)
}

func (l *log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func provide(t *testing.T, c otlp.Config) *world {
	t.Helper()
	t.Setenv("OTEL_BSP_SCHEDULE_DELAY", "20")
	w := &world{registry: prometheus.NewRegistry()}
	c.Log, c.Registerer = slog.New(slog.NewTextHandler(&w.log, nil)), w.registry
	p, err := otlp.New(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	w.Provider = p
	t.Cleanup(func() { _ = w.close(time.Second) }) // a second time where the test closes it
	return w
}

func (w *world) close(within time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	return w.Close(ctx)
}

func (w *world) span(name string, options ...trace.SpanStartOption) {
	_, span := w.Tracer().Start(context.Background(), name, options...)
	span.End()
}

// counted returns what became of the spans.
func (w *world) counted(t *testing.T) map[string]int {
	t.Helper()
	families, err := w.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]int{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			out[m.GetLabel()[0].GetValue()] = int(m.GetCounter().GetValue())
		}
	}
	return out
}

// ways are both protocols.
func ways(t *testing.T, f func(t *testing.T, r *otlptest.Receiver, c otlp.Config)) {
	for _, http := range []bool{false, true} {
		t.Run(fmt.Sprintf("http=%v", http), func(t *testing.T) {
			r := otlptest.New(t, nil)
			c := otlp.Config{Endpoint: r.GRPC, HTTP: http, Insecure: true, Sampling: 1, Version: "v1", Instance: "lab", Process: "pod-0"}
			if http {
				c.Endpoint = r.HTTP
			}
			f(t, r, c)
		})
	}
}

func named(name string) func([]otlptest.Span) bool {
	return func(spans []otlptest.Span) bool {
		for _, s := range spans {
			if s.Name == name {
				return true
			}
		}
		return false
	}
}

func TestSpansArriveWithWhatThisProcessIs(t *testing.T) {
	ways(t, func(t *testing.T, r *otlptest.Receiver, c otlp.Config) {
		t.Setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test")
		t.Setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-tenant=blue")
		t.Setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip")
		// These would contradict the configuration.
		t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "https://127.0.0.1:1/elsewhere")
		t.Setenv("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/json")
		t.Setenv("OTEL_EXPORTER_OTLP_INSECURE", "false")
		t.Setenv("OTEL_TRACES_SAMPLER", "always_off")
		w := provide(t, c)
		w.span("one")
		spans := r.Await(t, "the span", named("one"))
		if err := w.close(10 * time.Second); err != nil {
			t.Error(err)
		}
		for key, want := range map[string]string{
			"service.name": "quaygen", "service.version": "v1", "service.instance.id": "pod-0", "quaygen.instance": "lab", "deployment.environment.name": "test",
		} {
			if got := spans[0].Resource[key]; got != want {
				t.Errorf("%s is %q, want %q", key, got, want)
			}
		}
		if got := r.Header().Get("X-Tenant"); got != "blue" {
			t.Errorf("the header of the environment is %q", got)
		}
		if n := w.counted(t); n["exported"] != 1 || n["dropped"]+n["failed"] != 0 {
			t.Error(n)
		}
		if w.Err() != nil || w.log.String() != "" {
			t.Errorf("%v, %s", w.Err(), w.log.String())
		}
	})
}

func TestTheEnvironmentMayNameTheServiceOtherwise(t *testing.T) {
	r := otlptest.New(t, nil)
	t.Setenv("OTEL_SERVICE_NAME", "pull-secrets")
	w := provide(t, otlp.Config{Endpoint: r.GRPC, Insecure: true, Sampling: 1})
	w.span("one")
	if got := r.Await(t, "the span", named("one"))[0].Resource["service.name"]; got != "pull-secrets" {
		t.Errorf("service.name is %q", got)
	}
}

func TestACollectorThatHangsCostsNobodyAnythingButSpans(t *testing.T) {
	ways(t, func(t *testing.T, r *otlptest.Receiver, c otlp.Config) {
		hung := make(chan struct{})
		defer close(hung)
		r.Refuse(func(http.Header) error { <-hung; return nil })
		w := provide(t, c)
		const spans = 20_000
		start := time.Now()
		for range spans {
			w.span("one")
		}
		if took := time.Since(start); took > 10*time.Second {
			t.Errorf("%d spans took %v", spans, took)
		}
		n := w.counted(t)
		if n["dropped"] < spans-2*2048 {
			t.Errorf("of %d spans %v", spans, n)
		}
		start = time.Now()
		if err := w.close(200 * time.Millisecond); err == nil || !strings.Contains(err.Error(), "were not sent in time") {
			t.Errorf("closing: %v", err)
		}
		if took := time.Since(start); took > 5*time.Second {
			t.Errorf("closing took %v", took)
		}
		if n := w.counted(t); n["exported"] != 0 || n["dropped"] > spans {
			t.Error(n)
		}
	})
}

// Everything is in one of the three counters.
func TestEverySpanIsCountedOnce(t *testing.T) {
	r := otlptest.New(t, nil)
	hung := make(chan struct{})
	r.Refuse(func(http.Header) error { <-hung; return nil })
	w := provide(t, otlp.Config{Endpoint: r.GRPC, Insecure: true, Sampling: 1})
	const spans = 5000
	for range spans {
		w.span("one")
	}
	close(hung)
	if err := w.close(30 * time.Second); err != nil {
		t.Error(err)
	}
	n := w.counted(t)
	if n["exported"] != len(r.Spans()) || n["exported"] < 2048 || n["dropped"] == 0 || n["failed"] != 0 || n["exported"]+n["dropped"] != spans {
		t.Errorf("%v; %d arrived", n, len(r.Spans()))
	}
}

func TestWhatTheCollectorSaysIsNotRepeatedInTheLog(t *testing.T) {
	const word = "collector-token-0123456789"
	ways(t, func(t *testing.T, r *otlptest.Receiver, c otlp.Config) {
		t.Setenv("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20"+word)
		r.Refuse(func(header http.Header) error { return errors.New("I do not know " + header.Get("Authorization")) })
		w := provide(t, c)
		w.span("one")
		if err := w.close(10 * time.Second); err != nil {
			t.Error(err)
		}
		if got := r.Header().Get("Authorization"); got != "Bearer "+word {
			t.Errorf("the collector was sent %q", got)
		}
		said := w.log.String()
		if !strings.Contains(said, "traces could not be sent") || !strings.Contains(said, "nauth") || strings.Contains(said, word) {
			t.Errorf("the log says %s", strings.ReplaceAll(said, word, "THE TOKEN"))
		}
		if err := w.Err(); err == nil || strings.Contains(err.Error(), word) {
			t.Error("the last failure is not told, or tells too much")
		}
		if n := w.counted(t); n["failed"] != 1 || n["exported"] != 0 {
			t.Error(n)
		}
	})
}

func TestWhatOfTheEnvironmentCannotBeUsedIsNotRepeatedInTheLog(t *testing.T) {
	const word = "collector-token-0123456789"
	ways(t, func(t *testing.T, r *otlptest.Receiver, c otlp.Config) {
		t.Setenv("OTEL_EXPORTER_OTLP_HEADERS", word+",authorization=%zz"+word)
		t.Setenv("OTEL_RESOURCE_ATTRIBUTES", word)
		t.Setenv("OTEL_EXPORTER_OTLP_TIMEOUT", word)
		w := provide(t, c)
		w.span("one")
		r.Await(t, "the span", named("one"))
		if said := w.log.String(); !strings.Contains(said, "cannot be used") || !strings.Contains(said, "cannot use") || strings.Contains(said, word) {
			t.Errorf("the log says %s", strings.ReplaceAll(said, word, "THE TOKEN"))
		}
	})
}

func TestACollectorThatIsNotThereIsToldOfOnceUntilItIs(t *testing.T) {
	// What fails is not tried again by the exporter here, so that the test need not wait for its patience.
	r := otlptest.New(t, nil)
	r.Refuse(func(http.Header) error { return errors.New("not now") })
	w := provide(t, otlp.Config{Endpoint: r.GRPC, Insecure: true, Sampling: 1})
	for n := 1; n <= 3; n++ {
		w.span("one")
		await(t, func() bool { return w.counted(t)["failed"] == n })
	}
	r.Refuse(nil)
	w.span("two")
	r.Await(t, "the span", named("two"))
	if err := w.close(10 * time.Second); err != nil || w.Err() != nil {
		t.Error(err, w.Err())
	}
	if said := w.log.String(); strings.Count(said, "traces could not be sent") != 1 || strings.Count(said, "traces are sent again") != 1 {
		t.Error(said)
	}
}

func TestRequestsAreSampledAndAllElseIsTraced(t *testing.T) {
	r := otlptest.New(t, nil)
	w := provide(t, otlp.Config{Endpoint: r.GRPC, Insecure: true, Sampling: 0})
	for range 100 {
		w.span("request", trace.WithSpanKind(trace.SpanKindServer))
		w.span(tracing.Sync)
	}
	if err := w.close(10 * time.Second); err != nil {
		t.Error(err)
	}
	spans := r.Spans()
	if len(spans) != 100 || named("request")(spans) {
		t.Errorf("%d spans", len(spans))
	}
}

// await looks again and again.
func await(t *testing.T, holds func() bool) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	timeout := time.After(30 * time.Second)
	for !holds() {
		select {
		case <-tick.C:
		case <-timeout:
			t.Fatal("it does not come about")
		}
	}
}
