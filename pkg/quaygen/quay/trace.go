package quay

import (
	"context"
	"strconv"
	"time"

	"go.opentelemetry.io/otel/attribute"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	"github.com/quaygen/quaygen/pkg/quaygen/tracing"
)

// trace begins the span of one attempt, which waited so long for our own limit before. The URL is left out: what of it is
// worth knowing the operation and its subject tell. Quay is not told of traces.
func (c *Client) trace(ctx context.Context, in call, n int, waited time.Duration) (context.Context, trace.Span) {
	return tracing.Start(ctx, tracing.QuayPrefix+in.op, func() []attribute.KeyValue {
		attributes := []attribute.KeyValue{
			semconv.HTTPRequestMethodKey.String(in.method), semconv.ServerAddress(c.url.Hostname()),
			tracing.Registry.String(c.registry), tracing.Operation.String(in.op), tracing.Attempt.Int(n), tracing.Paced.Float64(waited.Seconds()),
		}
		if port, err := strconv.Atoi(c.url.Port()); err == nil {
			attributes = append(attributes, semconv.ServerPort(port))
		}
		if in.subject != "" {
			attributes = append(attributes, tracing.Subject.String(in.subject))
		}
		if n > 1 {
			attributes = append(attributes, semconv.HTTPRequestResendCount(n-1))
		}
		return attributes
	}, trace.WithSpanKind(trace.SpanKindClient))
}

func traced(span trace.Span, status int, e *APIError) {
	if !span.IsRecording() {
		return
	}
	if status != 0 {
		span.SetAttributes(semconv.HTTPResponseStatusCode(status))
	}
	if e == nil {
		span.End()
		return
	}
	tracing.Failed(span, e.Kind.String())
	tracing.End(span, e)
}
