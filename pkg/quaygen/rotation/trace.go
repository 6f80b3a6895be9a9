package rotation

import (
	"context"
	"errors"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"

	"github.com/quaygen/quaygen/pkg/quaygen/ledger"
	"github.com/quaygen/quaygen/pkg/quaygen/quay"
	"github.com/quaygen/quaygen/pkg/quaygen/tracing"
)

func (o *organization) traceSync(ctx context.Context) (context.Context, trace.Span) {
	return tracing.Begin(ctx, o.engine.config.Tracer, tracing.Sync, tracing.Registry.String(o.key.registry), tracing.Organization.String(o.key.owner.Name()))
}

// tracePass is [organization.pass], the n-th of a sync, with a span.
func (o *organization) tracePass(ctx context.Context, n int, client *quay.Client, chains []*chain) (again bool, err error) {
	ctx, span := tracing.Start(ctx, tracing.Pass, func() []attribute.KeyValue {
		return []attribute.KeyValue{
			tracing.Registry.String(o.key.registry), tracing.Organization.String(o.key.owner.Name()), tracing.PassNumber.Int(n), tracing.Robots.Int(len(chains)),
		}
	})
	o.traced = tracing.Reference(span)
	again, err = o.pass(ctx, client, chains)
	o.traced = nil
	span.SetAttributes(tracing.Again.Bool(again))
	tracing.End(span, err)
	return again, err
}

// traceStep is [organization.do] with a span.
func (o *organization) traceStep(ctx context.Context, client *quay.Client, c *chain, l Listing, s Step) (did bool, err error) {
	ctx, span := tracing.Start(ctx, tracing.StepPrefix+s.Action.String(), func() []attribute.KeyValue {
		attributes := []attribute.KeyValue{tracing.Name.String(c.memory.spec.Name), tracing.Robot.String(s.Robot.Username())}
		for key, value := range map[attribute.Key]string{
			tracing.Namespace: c.whose(), tracing.Repository: s.Repository, tracing.Team: s.Team, tracing.Why: s.Why,
		} {
			if value != "" {
				attributes = append(attributes, key.String(value))
			}
		}
		if c.memory.spec.Strategy == Overlap {
			attributes = append(attributes, tracing.Generation.Int64(s.Generation))
		}
		return attributes
	})
	did, err = o.do(ctx, client, c.memory, l, s)
	span.SetAttributes(tracing.Done.Bool(did))
	tracing.End(span, err)
	return did, err
}

func (o *organization) traceLedger(ctx context.Context, operation string, m *Memory) (context.Context, trace.Span) {
	return tracing.Start(ctx, tracing.LedgerPrefix+operation, func() []attribute.KeyValue {
		return []attribute.KeyValue{tracing.Name.String(m.spec.Name), tracing.Robot.String(m.spec.Base.Username())}
	})
}

// endLedger ends the span of a call to the ledger. That it knows nothing, or somebody else was faster, is no failure.
func endLedger(span trace.Span, err error) {
	for _, answer := range []error{ledger.ErrNotFound, ledger.ErrExists, ledger.ErrConflict} {
		if errors.Is(err, answer) {
			span.SetAttributes(tracing.Outcome.String(answer.Error()))
			err = nil
		}
	}
	tracing.End(span, err)
}

// traceWait begins the span of somebody who waits for what a sync brings about.
func traceWait(ctx context.Context, ref Ref) (context.Context, trace.Span) {
	return tracing.Start(ctx, tracing.Wait, func() []attribute.KeyValue {
		attributes := []attribute.KeyValue{tracing.Name.String(ref.Name)}
		if ref.Namespace != "" {
			attributes = append(attributes, tracing.Namespace.String(ref.Namespace))
		}
		return attributes
	})
}
