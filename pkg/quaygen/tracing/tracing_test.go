package tracing_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/propagation"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/quaygen/quaygen/pkg/quaygen/tracing"
)

// recorder keeps every span that ended.
func recorder() (*tracetest.SpanRecorder, trace.Tracer) {
	r := tracetest.NewSpanRecorder()
	return r, sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(r)).Tracer(tracing.Scope)
}

func nothing() []attribute.KeyValue { return nil }

func TestWithoutATracerNothingIsRecordedAndNothingAllocated(t *testing.T) {
	if tracing.NewRequests(nil) != nil {
		t.Error("there are requests to trace without a tracer")
	}
	var requests *tracing.Requests
	ctx := t.Context()
	called := false
	attributes := func() []attribute.KeyValue { called = true; return nil }
	n := testing.AllocsPerRun(100, func() {
		r := requests.Begin(time.Time{})
		if r.Reviewed() != nil || r.Known(ctx, "GET", nil, attributes) != ctx || r.Stranger(ctx, "GET", attributes) != ctx || r.In(ctx) != ctx {
			t.Error("it is not left alone")
		}
		below, span := tracing.Start(ctx, tracing.Wait, attributes)
		tracing.Link(span, nil)
		tracing.End(span, nil)
		if below != ctx {
			t.Error("the context is not left alone")
		}
	})
	if n != 0 || called {
		t.Errorf("%v allocations; attributes asked for: %v", n, called)
	}
}

func TestTheEndOfASpanBelowNoneIsNotTheEndOfAnother(t *testing.T) {
	r, tracer := recorder()
	ctx, outer := tracer.Start(t.Context(), "outer")
	_, span := tracing.Start(tracing.Without(ctx), "inner", nothing)
	tracing.End(span, errors.New("failed"))
	if len(r.Ended()) != 0 {
		t.Error("the outer span was ended")
	}
	outer.End()
	if ended := r.Ended(); len(ended) != 1 || ended[0].Status().Description != "" {
		t.Errorf("%d spans", len(ended))
	}
}

func TestALongErrorIsCutBetweenCharacters(t *testing.T) {
	r, tracer := recorder()
	_, span := tracing.Begin(t.Context(), tracer, "long")
	tracing.End(span, errors.New(strings.Repeat("ä", 5000)))
	if said := r.Ended()[0].Status().Description; len(said) > 1010 || !utf8.ValidString(said) || !strings.HasSuffix(said, "...") {
		t.Errorf("%d bytes", len(said))
	}
}

// A caller's word counts only when it is known who it is, and with its own flag.
func TestWhatACallerSaysOfItsTraceCountsOnceItIsKnown(t *testing.T) {
	const id = "4bf92f3577b34da6a3ce929d0e0e4736"
	says := func(flag string) propagation.HeaderCarrier {
		return propagation.HeaderCarrier(http.Header{"Traceparent": {"00-" + id + "-00f067aa0ba902b7-" + flag}, "Tracestate": {"a=b"}})
	}
	for what, c := range map[string]struct {
		begin    func(*tracing.Request, context.Context) context.Context
		recorded bool
		inTrace  bool
	}{
		"known, sampled": {func(r *tracing.Request, ctx context.Context) context.Context {
			return r.Known(ctx, "GET", says("01"), nothing)
		}, true, true},
		"known, not sampled": {func(r *tracing.Request, ctx context.Context) context.Context {
			return r.Known(ctx, "GET", says("00"), nothing)
		}, false, true},
		"known, nonsense": {func(r *tracing.Request, ctx context.Context) context.Context {
			return r.Known(ctx, "GET", says("zz"), nothing)
		}, true, false},
		"known, none": {func(r *tracing.Request, ctx context.Context) context.Context {
			return r.Known(ctx, "GET", propagation.HeaderCarrier{}, nothing)
		}, true, false},
		"a stranger": {func(r *tracing.Request, ctx context.Context) context.Context { return r.Stranger(ctx, "GET", nothing) }, true, false},
	} {
		_, tracer := recorder()
		r := tracing.NewRequests(tracer).Begin(time.Now())
		got := trace.SpanContextFromContext(c.begin(r, t.Context()))
		if got.IsSampled() != c.recorded || (got.TraceID().String() == id) != c.inTrace || got.TraceState().Len() != 0 {
			t.Errorf("%s: %+v", what, got)
		}
	}
}

func TestOfStrangersFewAreTracedHoweverManyCome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, tracer := recorder()
		requests := tracing.NewRequests(tracer)
		const seconds = 30
		for range seconds {
			for range 1000 {
				request := requests.Begin(time.Now())
				request.Stranger(t.Context(), "GET", nothing)
				request.Stranger(t.Context(), "GET", nothing) // once more at its end
				request.Span().End()
			}
			time.Sleep(time.Second)
		}
		if n := len(r.Ended()); n < seconds || n > seconds+10 {
			t.Errorf("%d spans of %d requests", n, seconds*1000)
		}
	})
}

func TestLinesOfTheLogNameTheirTraceIfItIsRecorded(t *testing.T) {
	var text bytes.Buffer
	log := slog.New(tracing.Logged(slog.NewTextHandler(&text, nil))).With("a", 1)
	log.Info("without")
	_, tracer := recorder()
	ctx, span := tracing.Begin(t.Context(), tracer, tracing.Sync)
	log.InfoContext(ctx, "with")
	off := sdktrace.NewTracerProvider(sdktrace.WithSampler(sdktrace.NeverSample())).Tracer(tracing.Scope)
	unseen, _ := tracing.Begin(t.Context(), off, tracing.Sync)
	log.InfoContext(unseen, "unseen")
	lines := strings.Split(text.String(), "\n")
	if strings.Contains(lines[0], "trace_id") || !strings.HasSuffix(lines[1], "msg=with a=1 trace_id="+span.SpanContext().TraceID().String()+" span_id="+span.SpanContext().SpanID().String()) || strings.Contains(lines[2], "trace_id") {
		t.Error(text.String())
	}
}
