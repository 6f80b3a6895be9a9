// Package tracing names what quaygen traces, and begins and ends spans. It rests on OpenTelemetry's API alone: without a
// tracer, which a program may get from the package otlp, nothing is recorded, and what the other packages do costs the same.
//
// Spans hold names of robots, namespaces and clients as they are configured or were proven, and errors as they are logged. They
// hold no credential, and nothing that somebody sends who is not known.
package tracing

import (
	"context"
	"unicode/utf8"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"
)

// Scope is the name of our instrumentation.
const Scope = "github.com/quaygen/quaygen"

// The names of spans, or what they begin with; docs/tracing.md lists them. The span of a request is called by its method and
// route, or by its service and method.
const (
	Wait         = "wait"        // of a request or an order, for the sync that brings about what it is for
	TokenReview  = "TokenReview" // of a ServiceAccount's token
	Sync         = "sync"        // of one organization
	Pass         = "pass"        // one list, and what it allows to do
	StepPrefix   = "step "       // and the action
	QuayPrefix   = "quay "       // and the operation
	LedgerPrefix = "ledger "     // and load, create or replace
)

// The attributes that OpenTelemetry has no name for.
const (
	Client       = attribute.Key("quaygen.client")
	ClientHow    = attribute.Key("quaygen.client.how")
	Name         = attribute.Key("quaygen.name")
	Namespace    = attribute.Key("quaygen.namespace")
	Registry     = attribute.Key("quaygen.registry")
	Organization = attribute.Key("quaygen.organization")
	PassNumber   = attribute.Key("quaygen.pass")
	Robots       = attribute.Key("quaygen.robots")
	Again        = attribute.Key("quaygen.again")
	Done         = attribute.Key("quaygen.done")
	Generation   = attribute.Key("quaygen.generation")
	Robot        = attribute.Key("quaygen.robot")
	Repository   = attribute.Key("quaygen.repository")
	Team         = attribute.Key("quaygen.team")
	Why          = attribute.Key("quaygen.why")
	Operation    = attribute.Key("quaygen.operation")
	Subject      = attribute.Key("quaygen.subject")
	Attempt      = attribute.Key("quaygen.attempt")
	Paced        = attribute.Key("quaygen.paced")
	Outcome      = attribute.Key("quaygen.outcome")
)

// none is a span of which nothing is recorded.
var none trace.Span = noop.Span{}

// Begin begins a trace with a span that belongs to nothing; a nil tracer records nothing.
func Begin(ctx context.Context, tracer trace.Tracer, name string, attributes ...attribute.KeyValue) (context.Context, trace.Span) {
	if tracer == nil {
		return ctx, none
	}
	return tracer.Start(ctx, name, trace.WithNewRoot(), trace.WithAttributes(attributes...))
}

// Start begins a span below that of ctx. Where that is not recorded, or there is none, nothing is, and attributes is not called.
func Start(ctx context.Context, name string, attributes func() []attribute.KeyValue, options ...trace.SpanStartOption) (context.Context, trace.Span) {
	parent := trace.SpanFromContext(ctx)
	if !parent.IsRecording() {
		return ctx, none
	}
	if attributes != nil {
		options = append(options, trace.WithAttributes(attributes()...))
	}
	return parent.TracerProvider().Tracer(Scope).Start(ctx, name, options...)
}

// End ends a span, as failed if err is not nil.
func End(span trace.Span, err error) {
	if err != nil && span.IsRecording() {
		span.SetStatus(codes.Error, clip(err.Error()))
	}
	span.End()
}

// Failed says by what kind of error a span failed: one of few.
func Failed(span trace.Span, kind string) { span.SetAttributes(semconv.ErrorTypeKey.String(kind)) }

// Link refers to another trace; nil is none.
func Link(span trace.Span, to *trace.SpanContext) {
	if to != nil {
		span.AddLink(trace.Link{SpanContext: *to})
	}
}

// Reference is what others may link to: nil for a span that nobody gets to see.
func Reference(span trace.Span) *trace.SpanContext {
	if c := span.SpanContext(); c.IsSampled() {
		return &c
	}
	return nil
}

// Without returns a context below which nothing is recorded.
func Without(ctx context.Context) context.Context { return trace.ContextWithSpan(ctx, none) }

// maxText bounds an error: of several at once each has its line.
const maxText = 1000

func clip(s string) string {
	if len(s) <= maxText {
		return s
	}
	n := maxText
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n] + "..."
}
