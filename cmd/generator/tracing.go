package main

import (
	"context"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace"

	"github.com/quaygen/quaygen/pkg/quaygen/config"
	"github.com/quaygen/quaygen/pkg/quaygen/httpapi"
	"github.com/quaygen/quaygen/pkg/quaygen/tracing"
	"github.com/quaygen/quaygen/pkg/quaygen/tracing/otlp"
)

// flushTime is how long the last spans may take to be sent.
const flushTime = 3 * time.Second

// openTracing returns nil where no traces are configured, or the environment says that there are to be none.
func openTracing(ctx context.Context, cfg *config.Config, registerer prometheus.Registerer, log *slog.Logger) (*otlp.Provider, error) {
	c := cfg.Tracing.OTLP
	switch {
	case !cfg.Tracing.Enabled():
		return nil, nil //nolint:nilnil // no traces are what was asked for
	case strings.EqualFold(os.Getenv("OTEL_SDK_DISABLED"), "true"): //nolint:forbidigo // a program, and docs/tracing.md says so
		log.Warn("there are no traces: OTEL_SDK_DISABLED is set")
		return nil, nil //nolint:nilnil // as above
	}
	process, err := os.Hostname() // the name of the pod
	if err != nil {
		process = "unknown"
	}
	return otlp.New(ctx, otlp.Config{
		Endpoint: c.Endpoint, HTTP: c.Protocol == config.ProtocolHTTP, Insecure: c.Insecure, CAFile: c.CAFile, CertFile: c.CertFile, KeyFile: c.KeyFile,
		Sampling: cfg.Tracing.Sampling, Version: currentBuild().Version, Instance: cfg.Instance, Process: process, Log: log, Registerer: registerer,
	})
}

// endTracing sends what waits, for a while.
func endTracing(ctx context.Context, traces *otlp.Provider, log *slog.Logger) {
	if traces == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), flushTime)
	defer cancel()
	if err := traces.Close(ctx); err != nil {
		log.Warn("the last traces are lost", "error", err)
	}
}

func tracerOf(traces *otlp.Provider) trace.Tracer {
	if traces == nil {
		return nil
	}
	return traces.Tracer()
}

// withTraces makes each line of the log say to which trace it belongs.
func withTraces(log *slog.Logger, traces *otlp.Provider) *slog.Logger {
	if traces == nil {
		return log
	}
	return slog.New(tracing.Logged(log.Handler()))
}

// tracingChecks says whether traces arrive. That they do not makes no replica unready.
func tracingChecks(traces *otlp.Provider) []httpapi.Check {
	if traces == nil {
		return nil
	}
	c := httpapi.Check{Name: "tracing"}
	if err := traces.Err(); err != nil {
		c.Note = "the last ones could not be sent: " + firstLine(err)
	}
	return []httpapi.Check{c}
}
