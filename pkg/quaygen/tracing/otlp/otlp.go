// Package otlp sends spans to a collector that speaks the OpenTelemetry protocol (OTLP), over gRPC or HTTP.
//
// Nobody waits for the collector. Spans that have ended wait in a queue of fixed length; what finds it full, and what the
// collector does not take, is counted and lost.
package otlp

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	"github.com/quaygen/quaygen/pkg/quaygen/tracing"
)

// Config says where spans go, and which.
type Config struct {
	Endpoint string // host:port of the collector; required
	HTTP     bool   // OTLP over HTTP, with protobuf, instead of gRPC
	Insecure bool   // no TLS
	CAFile   string // PEM, trusted besides the system's; read once; empty: those alone
	CertFile string // PEM, our own certificate, which follows its file; empty: none is shown
	KeyFile  string // PEM

	Sampling float64 // the share of requests that begin a trace, 0 to 1

	Version  string // of the program
	Instance string // of the installation
	Process  string // tells its processes apart

	Log        *slog.Logger          // nil: nothing is logged
	Registerer prometheus.Registerer // nil: nothing is measured
}

const (
	queueLength = 2048 // spans that wait, or are on their way
	valueLength = 1024 // characters of an attribute, unless the environment says otherwise

	instanceKey = attribute.Key("quaygen.instance")
)

// Provider makes tracers whose spans are sent.
type Provider struct {
	sdk    *sdktrace.TracerProvider
	sender *sender
}

// New connects nothing yet: a collector that cannot be reached is no error. What the configuration does not say is taken
// from the environment as OpenTelemetry defines it. It takes over what OpenTelemetry reports in this process.
func New(ctx context.Context, c Config) (*Provider, error) {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	otel.SetLogger(logr.FromSlogHandler(reports{c.Log}))
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) {
		// Of the text nobody knows what it quotes.
		c.Log.Warn("OpenTelemetry reports a problem", "type", fmt.Sprintf("%T", err))
	}))
	exporter, err := c.exporter(ctx)
	if err != nil {
		return nil, fmt.Errorf("tracing: %w", err)
	}
	described, err := resource.New(ctx,
		resource.WithTelemetrySDK(),
		resource.WithAttributes(semconv.ServiceName("quaygen"), semconv.ServiceVersion(c.Version), semconv.ServiceInstanceID(c.Process), instanceKey.String(c.Instance)),
		resource.WithFromEnv(),
	)
	if described == nil {
		return nil, fmt.Errorf("tracing: describing this process: %w", err)
	}
	if err != nil { // it quotes the environment
		c.Log.Warn("tracing: a part of OTEL_RESOURCE_ATTRIBUTES cannot be used")
	}
	limits := sdktrace.NewSpanLimits()
	if limits.AttributeValueLengthLimit < 0 {
		limits.AttributeValueLengthLimit = valueLength
	}
	s := newSender(exporter, c.Log, c.Registerer)
	sdk := sdktrace.NewTracerProvider(
		sdktrace.WithResource(described), sdktrace.WithRawSpanLimits(limits), sdktrace.WithSampler(newSampler(c.Sampling)), sdktrace.WithSpanProcessor(s.processor()),
	)
	return &Provider{sdk: sdk, sender: s}, nil
}

// Tracer returns the tracer for all of quaygen.
func (p *Provider) Tracer() trace.Tracer { return p.sdk.Tracer(tracing.Scope) }

// Err returns why the collector did not take what was last sent; nil if it did, or nothing was. It is for health reports.
func (p *Provider) Err() error {
	if err := p.sender.problem.Load(); err != nil {
		return *err
	}
	return nil
}

// Close sends what waits, until ctx ends; the rest is lost, and an error.
func (p *Provider) Close(ctx context.Context) error {
	err := p.sdk.Shutdown(ctx)
	p.sender.stop()
	if left := p.sender.pending.Load(); left > 0 || err != nil {
		return fmt.Errorf("tracing: %d spans were not sent in time", left)
	}
	return nil
}

// newSampler begins a trace with a share of the requests, and with all else: there is a sync twice a minute, and each
// of its calls to Quay waits for our own limits. A request that waits for a sync so always finds it.
func newSampler(share float64) sdktrace.Sampler {
	return sdktrace.ParentBased(bySource{requests: sdktrace.TraceIDRatioBased(share)})
}

type bySource struct{ requests sdktrace.Sampler }

// ShouldSample is asked about spans without a parent.
func (s bySource) ShouldSample(p sdktrace.SamplingParameters) sdktrace.SamplingResult {
	if p.Kind == trace.SpanKindServer {
		return s.requests.ShouldSample(p)
	}
	return sdktrace.AlwaysSample().ShouldSample(p)
}

// Description tells OpenTelemetry's own log what it is.
func (s bySource) Description() string { return "requests:" + s.requests.Description() }

// reports passes on what OpenTelemetry logs as an error, without the values: they are the environment's, headers with tokens
// among them.
type reports struct{ log *slog.Logger }

// Enabled leaves out what is no error.
func (reports) Enabled(_ context.Context, level slog.Level) bool { return level >= slog.LevelError }

// Handle logs the message alone.
func (r reports) Handle(ctx context.Context, record slog.Record) error {
	r.log.WarnContext(ctx, "OpenTelemetry cannot use a part of the environment (OTEL_...)", "what", record.Message)
	return nil
}

// WithAttrs drops them.
func (r reports) WithAttrs([]slog.Attr) slog.Handler { return r }

// WithGroup drops it.
func (r reports) WithGroup(string) slog.Handler { return r }

// sender passes spans on to an exporter, and counts what becomes of them. It lets so many in that the batching between never has to
// drop any by itself.
type sender struct {
	to      sdktrace.SpanExporter
	batches sdktrace.SpanProcessor
	log     *slog.Logger
	closing context.Context
	stop    context.CancelFunc
	problem atomic.Pointer[error]
	pending atomic.Int64

	exported, full, failed prometheus.Counter
}

func newSender(to sdktrace.SpanExporter, log *slog.Logger, registerer prometheus.Registerer) *sender {
	spans := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "quaygen_trace_spans_total", Help: "Spans that were sampled, by what became of them: exported, dropped because the queue was full, or failed to be exported.",
	}, []string{"outcome"})
	if registerer != nil {
		registerer.MustRegister(spans)
	}
	s := &sender{
		to: to, log: log, exported: spans.WithLabelValues("exported"), full: spans.WithLabelValues("dropped"), failed: spans.WithLabelValues("failed"),
	}
	s.closing, s.stop = context.WithCancel(context.Background())
	return s
}

// processor begins the batching in between.
func (s *sender) processor() sdktrace.SpanProcessor {
	s.batches = sdktrace.NewBatchSpanProcessor(exports{s}, sdktrace.WithMaxQueueSize(queueLength))
	return queue{s}
}

// queue is the way in.
type queue struct{ *sender }

// OnStart does nothing.
func (queue) OnStart(context.Context, sdktrace.ReadWriteSpan) {}

// OnEnd takes a span in if there is room.
func (q queue) OnEnd(span sdktrace.ReadOnlySpan) {
	if !span.SpanContext().IsSampled() {
		return
	}
	if q.pending.Add(1) > queueLength {
		q.pending.Add(-1)
		q.full.Inc()
		return
	}
	q.batches.OnEnd(span)
}

// Shutdown sends what waits.
func (q queue) Shutdown(ctx context.Context) error { return q.batches.Shutdown(ctx) }

// ForceFlush sends what waits.
func (q queue) ForceFlush(ctx context.Context) error { return q.batches.ForceFlush(ctx) }

// exports is the way out.
type exports struct{ *sender }

// ExportSpans never fails: whoever could be told would log it each time, with what the collector said.
func (e exports) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(e.closing, cancel)() //nolint:contextcheck // either end ends it
	err := e.to.ExportSpans(ctx, spans)
	e.pending.Add(-int64(len(spans)))
	e.told(err, len(spans))
	return nil
}

func (e exports) told(err error, spans int) {
	before := e.problem.Load()
	if err == nil {
		e.exported.Add(float64(spans))
		if e.problem.Store(nil); before != nil {
			e.log.Info("traces are sent again")
		}
		return
	}
	e.failed.Add(float64(spans))
	err = told(err)
	e.problem.Store(&err)
	if before == nil || (*before).Error() != err.Error() {
		e.log.Warn("traces could not be sent", "spans", spans, "error", err)
	}
}

// Shutdown closes the connection.
func (e exports) Shutdown(ctx context.Context) error {
	if err := e.to.Shutdown(ctx); err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}
