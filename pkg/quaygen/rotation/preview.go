package rotation

import (
	"context"
	"errors"
	"log/slog"

	"github.com/quaygen/quaygen/pkg/quaygen/ledger"
)

// Preview lists each organization once and returns what a process that starts now would do, without doing it. It knows
// nothing of what a running process has observed: what that may retire today, a new one retires an overlap later.
//
// With the strategy regenerate what is to be done is in the ledger, which is only read; nil: there is none to read. Where it
// could not be read the Status says so in Ledger, and its Plan is silent about rotations. A process begins with a login that
// shows whether the token works; nobody logs in here, so that the Plan takes it to.
func Preview(ctx context.Context, assignments []Assignment, from ledger.Reader) ([]Status, error) {
	config := Config{Log: slog.New(slog.DiscardHandler)}
	if from != nil {
		config.Ledger = readOnly{from}
	}
	e := New(config)
	e.Apply(assignments)
	for _, o := range e.organizations {
		chains, client := o.snapshot()
		listing, err := o.list(ctx, client, chains)
		if err != nil {
			return nil, err
		}
		if err := o.checkToken(ctx, client); err != nil {
			return nil, err
		}
		o.resolver.begin(1)
		o.resolver.look(ctx, client, o.log)
		chains = o.discover(listing, chains)
		split := listing.chains()
		o.resolver.seen(split, chains)
		for _, c := range chains {
			own := listing.of(split, c.memory.spec)
			c.memory.SetAccessTimes(o.resolver.accessKnown, !o.resolver.noAccessTimes)
			c.memory.Observe(own, o.resolver.resolve(ctx, client, c.memory.spec, own))
		}
		o.syncs = 1 // only now: the list needs no tokens
		o.recollect(ctx, client, chains)
		for _, c := range chains {
			c.memory.onlook()
			plan := c.memory.Plan()
			for _, f := range c.failing {
				plan.Warnings = append(plan.Warnings, "what is to be done is not known: "+f.String())
			}
			c.publish(plan)
		}
	}
	return e.Statuses(), ctx.Err()
}

// onlook makes plans those of somebody who only looks, when all that there is to be seen was.
func (m *Memory) onlook() {
	m.onlooker = true
	if g := m.gens[0]; m.spec.Strategy == Regenerate && g != nil && !g.token.IsZero() {
		g.proof = proven
		m.evaluate()
	}
}

// readOnly is a ledger that cannot be written.
type readOnly struct{ ledger.Reader }

var errReadOnlyLedger = errors.New("internal error: a ledger that is only looked at was to be written")

func (readOnly) Create(context.Context, ledger.Record) (ledger.Version, error) {
	return "", errReadOnlyLedger
}

func (readOnly) Replace(context.Context, ledger.Record, ledger.Version) (ledger.Version, error) {
	return "", errReadOnlyLedger
}

func (readOnly) Close() error { return nil }
