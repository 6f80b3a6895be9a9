package tracing

import (
	"context"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
	"golang.org/x/time/rate"
)

// How many requests of people who are not known are traced, whatever comes in.
const (
	strangersPerSecond = 1
	strangersAtOnce    = 10
)

// Requests traces requests. nil traces none.
//
// Who is not known decides nothing: what a caller says of its own trace counts only when it has shown who it is. A request
// of somebody else is the beginning of a trace, and there are few of those.
type Requests struct {
	tracer    trace.Tracer
	strangers *rate.Limiter
}

// NewRequests returns nil for a nil tracer.
func NewRequests(tracer trace.Tracer) *Requests {
	if tracer == nil {
		return nil
	}
	return &Requests{tracer: tracer, strangers: rate.NewLimiter(strangersPerSecond, strangersAtOnce)}
}

// Begin takes in a request, and returns nil if requests are not traced. Its span begins only when it is known whose it is.
func (t *Requests) Begin(start time.Time) *Request {
	if t == nil {
		return nil
	}
	return &Request{of: t, start: start, span: none}
}

// A Request is one that is being answered. Of nil all but Span may be asked, and do nothing.
type Request struct {
	of      *Requests
	start   time.Time
	begun   bool
	span    trace.Span
	reviews []review
}

type review struct {
	start, end time.Time
	outcome    string
}

// Reviewed returns what is to be told of a review of the caller's token, which comes before it is known; nil: nobody is.
func (r *Request) Reviewed() func(start time.Time, outcome string) {
	if r == nil {
		return nil
	}
	return func(start time.Time, outcome string) {
		r.reviews = append(r.reviews, review{start, time.Now(), outcome})
	}
}

// Known begins the span of a caller that has shown who it is, below the one that it says it has, and returns the context for
// the answer.
func (r *Request) Known(ctx context.Context, name string, says propagation.TextMapCarrier, attributes func() []attribute.KeyValue) context.Context {
	if r == nil {
		return ctx
	}
	// What else a caller hands down, its tracestate and baggage, goes nowhere from here.
	parent := trace.SpanContextFromContext(propagation.TraceContext{}.Extract(context.Background(), says))
	ctx = trace.ContextWithRemoteSpanContext(ctx, parent.WithTraceState(trace.TraceState{}))
	return r.begin(ctx, name, attributes)
}

// Stranger begins the span of somebody who has not, unless there were too many of late.
func (r *Request) Stranger(ctx context.Context, name string, attributes func() []attribute.KeyValue) context.Context {
	if r == nil || r.begun {
		return ctx
	}
	if !r.of.strangers.Allow() {
		r.begun = true
		return ctx
	}
	return r.begin(ctx, name, attributes, trace.WithNewRoot())
}

func (r *Request) begin(ctx context.Context, name string, attributes func() []attribute.KeyValue, options ...trace.SpanStartOption) context.Context {
	r.begun = true
	options = append(options, trace.WithTimestamp(r.start), trace.WithSpanKind(trace.SpanKindServer))
	ctx, r.span = r.of.tracer.Start(ctx, name, options...)
	if !r.span.IsRecording() {
		return ctx
	}
	r.span.SetAttributes(attributes()...)
	for _, v := range r.reviews {
		_, span := r.of.tracer.Start(ctx, TokenReview, trace.WithTimestamp(v.start), trace.WithSpanKind(trace.SpanKindClient), trace.WithAttributes(Outcome.String(v.outcome)))
		span.End(trace.WithTimestamp(v.end))
	}
	return ctx
}

// In returns ctx with the span that was begun, for the log.
func (r *Request) In(ctx context.Context) context.Context {
	if r == nil {
		return ctx
	}
	return trace.ContextWithSpan(ctx, r.span)
}

// Span is what was begun; none is recorded if nothing was.
func (r *Request) Span() trace.Span { return r.span }
