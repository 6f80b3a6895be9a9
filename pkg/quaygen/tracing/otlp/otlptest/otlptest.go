// Package otlptest is a collector in memory, for tests: it takes what is sent over OTLP, by gRPC and by HTTP, and keeps it.
package otlptest

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	common "go.opentelemetry.io/proto/otlp/common/v1"
	trace "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// Receiver is a collector. It lives as long as the test.
type Receiver struct {
	GRPC, HTTP string // host:port

	mu       sync.Mutex // guards what follows
	spans    []Span
	bytes    bytes.Buffer
	headers  http.Header
	attempts int
	refuse   func(header http.Header) error
	discard  bool
	heard    chan struct{} // closed and replaced whenever something was taken in, or turned away
}

// Span is one that was received.
type Span struct {
	Name, Trace, ID, Parent string
	Kind                    string            // such as SERVER
	Attributes              map[string]string // their values as text
	Failed                  bool
	Message                 string
	Links                   []Link
	Start, End              time.Time
	Resource                map[string]string
}

// Link is what a span refers to.
type Link struct{ Trace, ID string }

// New starts a receiver on loopback; with a nil config it speaks plaintext.
func New(t testing.TB, config *tls.Config) *Receiver {
	t.Helper()
	r := &Receiver{heard: make(chan struct{})}
	listener, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // closed by the server
	if err != nil {
		t.Fatal(err)
	}
	var options []grpc.ServerOption
	if config != nil {
		options = append(options, grpc.Creds(credentials.NewTLS(config)))
	}
	byGRPC := grpc.NewServer(options...)
	collector.RegisterTraceServiceServer(byGRPC, service{Receiver: r})
	go func() { _ = byGRPC.Serve(listener) }()
	byHTTP := httptest.NewUnstartedServer(http.HandlerFunc(r.serveHTTP))
	if config == nil {
		byHTTP.Start()
	} else {
		byHTTP.TLS = config.Clone()
		byHTTP.StartTLS()
	}
	r.GRPC, r.HTTP = listener.Addr().String(), byHTTP.Listener.Addr().String()
	t.Cleanup(func() {
		byGRPC.Stop()
		byHTTP.CloseClientConnections() // of a client that still waits
		byHTTP.Close()
	})
	return r
}

// Refuse makes the receiver ask before it takes anything in, and answer with the error; nil: it takes all.
func (r *Receiver) Refuse(refuse func(header http.Header) error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.refuse = refuse
}

// Discard makes the receiver take all in and keep nothing.
func (r *Receiver) Discard() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.discard = true
}

// Spans returns what was received so far, in the order in which it came.
func (r *Receiver) Spans() []Span {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.spans)
}

// Text is all that was received, as it was on the wire, but for compression.
func (r *Receiver) Text() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.bytes.String()
}

// Header is that of the last request; those of gRPC are in it too.
func (r *Receiver) Header() http.Header {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.headers.Clone()
}

// Attempts is how often something was sent.
func (r *Receiver) Attempts() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.attempts
}

// Await returns all spans as soon as they are what is waited for.
func (r *Receiver) Await(t testing.TB, what string, holds func([]Span) bool) []Span {
	t.Helper()
	timeout := time.After(30 * time.Second)
	for {
		r.mu.Lock()
		spans, heard := slices.Clone(r.spans), r.heard
		r.mu.Unlock()
		if holds(spans) {
			return spans
		}
		select {
		case <-heard:
		case <-timeout:
			t.Fatalf("no %s among %d spans:\n%s", what, len(spans), Tree(spans))
		}
	}
}

// Tree shows spans below their parents, for people.
func Tree(spans []Span) string {
	var b strings.Builder
	known := map[string]bool{}
	for _, s := range spans {
		known[s.ID] = true
	}
	var show func(parent string, depth int)
	show = func(parent string, depth int) {
		for _, s := range spans {
			if s.Parent == parent || depth == 0 && !known[s.Parent] && s.Parent != "" {
				fmt.Fprintf(&b, "%s%s %v\n", strings.Repeat("  ", depth), s.Name, s.Attributes)
				show(s.ID, depth+1)
			}
		}
	}
	show("", 0)
	return b.String()
}

func (r *Receiver) take(request *collector.ExportTraceServiceRequest, raw []byte, header http.Header) error {
	r.mu.Lock()
	r.attempts++
	r.headers = header
	refuse := r.refuse
	r.mu.Unlock()
	if refuse != nil {
		if err := refuse(header); err != nil {
			return err
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.discard {
		return nil
	}
	r.bytes.Write(raw)
	for _, of := range request.GetResourceSpans() {
		resource := values(of.GetResource().GetAttributes())
		for _, scope := range of.GetScopeSpans() {
			for _, s := range scope.GetSpans() {
				r.spans = append(r.spans, span(s, resource))
			}
		}
	}
	close(r.heard)
	r.heard = make(chan struct{})
	return nil
}

func span(s *trace.Span, resource map[string]string) Span {
	out := Span{
		Name: s.GetName(), Trace: fmt.Sprintf("%x", s.GetTraceId()), ID: fmt.Sprintf("%x", s.GetSpanId()), Parent: fmt.Sprintf("%x", s.GetParentSpanId()),
		Kind: strings.TrimPrefix(s.GetKind().String(), "SPAN_KIND_"), Attributes: values(s.GetAttributes()), Resource: resource,
		Failed: s.GetStatus().GetCode() == trace.Status_STATUS_CODE_ERROR, Message: s.GetStatus().GetMessage(),
		Start: time.Unix(0, int64(s.GetStartTimeUnixNano())), End: time.Unix(0, int64(s.GetEndTimeUnixNano())), //nolint:gosec // until 2262
	}
	for _, l := range s.GetLinks() {
		out.Links = append(out.Links, Link{fmt.Sprintf("%x", l.GetTraceId()), fmt.Sprintf("%x", l.GetSpanId())})
	}
	return out
}

func values(attributes []*common.KeyValue) map[string]string {
	out := map[string]string{}
	for _, a := range attributes {
		switch v := a.GetValue().GetValue().(type) {
		case *common.AnyValue_StringValue:
			out[a.GetKey()] = v.StringValue
		case *common.AnyValue_IntValue:
			out[a.GetKey()] = fmt.Sprint(v.IntValue)
		case *common.AnyValue_BoolValue:
			out[a.GetKey()] = fmt.Sprint(v.BoolValue)
		case *common.AnyValue_DoubleValue:
			out[a.GetKey()] = fmt.Sprint(v.DoubleValue)
		default:
			out[a.GetKey()] = a.GetValue().String()
		}
	}
	return out
}

type service struct {
	collector.UnimplementedTraceServiceServer
	*Receiver
}

// Export takes a request in.
func (s service) Export(ctx context.Context, request *collector.ExportTraceServiceRequest) (*collector.ExportTraceServiceResponse, error) {
	raw, err := proto.Marshal(request)
	if err != nil {
		return nil, status.Error(codes.Internal, err.Error())
	}
	received, _ := metadata.FromIncomingContext(ctx)
	header := http.Header{}
	for key, values := range received {
		header[http.CanonicalHeaderKey(key)] = values
	}
	if err := s.take(request, raw, header); err != nil {
		return nil, status.Error(codes.Unauthenticated, err.Error())
	}
	return &collector.ExportTraceServiceResponse{}, nil
}

func (r *Receiver) serveHTTP(w http.ResponseWriter, in *http.Request) {
	var body io.Reader = in.Body
	if in.Header.Get("Content-Encoding") == "gzip" {
		unpacked, err := gzip.NewReader(in.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		body = unpacked
	}
	raw, err := io.ReadAll(body)
	request := &collector.ExportTraceServiceRequest{}
	if err != nil || in.URL.Path != "/v1/traces" || in.Header.Get("Content-Type") != "application/x-protobuf" || proto.Unmarshal(raw, request) != nil {
		http.Error(w, "not of OTLP", http.StatusBadRequest)
		return
	}
	if err := r.take(request, raw, in.Header); err != nil {
		http.Error(w, err.Error(), http.StatusUnauthorized)
	}
}
