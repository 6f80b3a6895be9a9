package tracing

import (
	"context"
	"log/slog"

	"go.opentelemetry.io/otel/trace"
)

// Logged returns a handler that adds to each record the trace and the span it belongs to, if those are recorded.
func Logged(to slog.Handler) slog.Handler { return logged{to} }

type logged struct{ slog.Handler }

// Handle adds trace_id and span_id, by which OpenTelemetry's logs are joined with traces too.
func (l logged) Handle(ctx context.Context, r slog.Record) error {
	if c := trace.SpanContextFromContext(ctx); c.IsSampled() {
		r = r.Clone()
		r.AddAttrs(slog.String("trace_id", c.TraceID().String()), slog.String("span_id", c.SpanID().String()))
	}
	return l.Handler.Handle(ctx, r)
}

func (l logged) WithAttrs(attributes []slog.Attr) slog.Handler {
	return logged{l.Handler.WithAttrs(attributes)}
}

func (l logged) WithGroup(name string) slog.Handler { return logged{l.Handler.WithGroup(name)} }
