package grpcapi

import (
	"context"
	"net"
	"slices"
	"strings"

	"go.opentelemetry.io/otel/attribute"
	otelcodes "go.opentelemetry.io/otel/codes"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"google.golang.org/genproto/googleapis/rpc/code"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"

	"github.com/quaygen/quaygen/pkg/quaygen"
	"github.com/quaygen/quaygen/pkg/quaygen/tracing"
)

// carrier is where a caller says which trace it belongs to. It is only read.
type carrier struct{ ctx context.Context } //nolint:containedctx // the metadata is in it

func (c carrier) Get(key string) string {
	if values := metadata.ValueFromIncomingContext(c.ctx, key); len(values) > 0 {
		return values[0]
	}
	return ""
}

func (carrier) Set(string, string) {}

func (carrier) Keys() []string { return nil }

// method is what OpenTelemetry calls a full method, "/quaygen.v1.PullSecrets/Get". The framework turns those away that do not exist.
func method(full string) string { return strings.TrimPrefix(full, "/") }

func attributes(ctx context.Context, full string) []attribute.KeyValue {
	out := []attribute.KeyValue{semconv.RPCSystemNameKey.String("grpc"), semconv.RPCMethod(method(full))}
	if from, ok := peer.FromContext(ctx); ok {
		if host, _, err := net.SplitHostPort(from.Addr.String()); err == nil {
			out = append(out, semconv.ClientAddress(host))
		}
	}
	return out
}

// known begins the span of a call whose caller is known, and returns the context for the answer.
func (c *call) known(ctx context.Context) context.Context {
	if c.traced == nil {
		return ctx
	}
	return c.traced.Known(ctx, method(c.method), carrier{ctx}, func() []attribute.KeyValue {
		return append(attributes(ctx, c.method), tracing.Client.String(c.caller.Name), tracing.ClientHow.String(c.caller.How))
	})
}

// stranger begins the span of any other call, if one is wanted and there is none yet.
func (c *call) stranger(ctx context.Context) context.Context {
	if c.traced == nil {
		return ctx
	}
	return c.traced.Stranger(ctx, method(c.method), func() []attribute.KeyValue { return attributes(ctx, c.method) })
}

// faults are the answers that are a server's failure.
var faults = []codes.Code{codes.Unknown, codes.DeadlineExceeded, codes.Unimplemented, codes.Internal, codes.Unavailable, codes.DataLoss}

// endTrace ends the span of a call, whose name is "other" unless it is a configured one.
func (c *call) endTrace(name string, answered codes.Code) {
	if c.traced == nil {
		return
	}
	span := c.traced.Span()
	if !span.IsRecording() {
		return
	}
	status := code.Code(answered).String() //nolint:gosec // there are 17 of them
	span.SetAttributes(semconv.RPCResponseStatusCode(status))
	if c.name != "" {
		span.SetAttributes(tracing.Name.String(name))
	}
	if quaygen.IsNamespace(c.namespace) {
		span.SetAttributes(tracing.Namespace.String(c.namespace))
	}
	if slices.Contains(faults, answered) {
		tracing.Failed(span, status)
		span.SetStatus(otelcodes.Error, "")
	}
	span.End()
}
