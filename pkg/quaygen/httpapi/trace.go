package httpapi

import (
	"net"
	"net/http"
	"strconv"
	"strings"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"

	"github.com/quaygen/quaygen/pkg/quaygen"
	"github.com/quaygen/quaygen/pkg/quaygen/tracing"
)

// route is how OpenTelemetry writes it down. Path and query themselves are left out, since callers make them up.
const route = pullSecretsPath + "{name}"

// known begins the span of a request whose caller is known, and returns the request with its context.
func known(t *tracing.Request, r *http.Request, client, how string) *http.Request {
	return r.WithContext(t.Known(r.Context(), spanName(r), propagation.HeaderCarrier(r.Header), func() []attribute.KeyValue {
		return append(attributes(r), tracing.Client.String(client), tracing.ClientHow.String(how))
	}))
}

// stranger begins the span of any other request, if one is wanted and there is none yet.
func stranger(t *tracing.Request, r *http.Request) *http.Request {
	return r.WithContext(t.Stranger(r.Context(), spanName(r), func() []attribute.KeyValue { return attributes(r) }))
}

func spanName(r *http.Request) string {
	method := methodOf(r)
	if method == otherMethod {
		method = "HTTP"
	}
	if strings.HasPrefix(r.URL.Path, pullSecretsPath) {
		return method + " " + route
	}
	return method
}

const otherMethod = "_OTHER"

func methodOf(r *http.Request) string {
	switch r.Method {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions:
		return r.Method
	}
	return otherMethod
}

func attributes(r *http.Request) []attribute.KeyValue {
	scheme := "http"
	if r.TLS != nil {
		scheme = "https"
	}
	out := []attribute.KeyValue{
		semconv.HTTPRequestMethodKey.String(methodOf(r)), semconv.URLScheme(scheme), semconv.NetworkProtocolVersion(strconv.Itoa(r.ProtoMajor)),
	}
	if r.ProtoMajor == 1 {
		out[2] = semconv.NetworkProtocolVersion("1." + strconv.Itoa(r.ProtoMinor))
	}
	if strings.HasPrefix(r.URL.Path, pullSecretsPath) {
		out = append(out, semconv.HTTPRoute(route))
	}
	if host, _, err := net.SplitHostPort(r.RemoteAddr); err == nil {
		out = append(out, semconv.ClientAddress(host))
	}
	return out
}

// endTrace ends the span of a request, whose name is "other" unless it is a configured one.
func endTrace(t *tracing.Request, r *http.Request, request quaygen.Request, name string, code int) {
	_ = stranger(t, r) // there is nothing more to do for it
	span := t.Span()
	if !span.IsRecording() {
		return
	}
	span.SetAttributes(semconv.HTTPResponseStatusCode(code))
	if request.Name != "" {
		span.SetAttributes(tracing.Name.String(name))
	}
	if quaygen.IsNamespace(request.Namespace) {
		span.SetAttributes(tracing.Namespace.String(request.Namespace))
	}
	if code >= http.StatusInternalServerError {
		tracing.Failed(span, strconv.Itoa(code))
		span.SetStatus(codes.Error, "")
	}
	span.End()
}
