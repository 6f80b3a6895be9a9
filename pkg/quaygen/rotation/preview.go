package rotation

import (
	"context"
	"log/slog"
)

// Preview lists each organization once and returns what a process that starts now would do, without doing it. It knows
// nothing of what a running process has observed: what that may retire today, a new one retires an overlap later.
func Preview(ctx context.Context, assignments []Assignment) ([]Status, error) {
	e := New(Config{Log: slog.New(slog.DiscardHandler)})
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
			c.publish(c.memory.Plan())
		}
	}
	return e.Statuses(), nil
}
