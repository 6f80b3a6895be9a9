package rotation

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/quaygen/quaygen/pkg/quaygen/quay"
)

// An organization is one namespace of one Quay, listed and worked on by one loop.
type organization struct {
	engine *Engine
	key    organizationKey
	log    *slog.Logger
	cancel context.CancelFunc // ends the loop; guarded by the engine's mu
	health atomic.Pointer[Health]
	kick   chan struct{} // capacity 1: sync now

	mu        sync.Mutex // guards what follows, and each chain's orders
	client    *quay.Client
	chains    map[quay.Robot]*chain // by base name
	templates []Assignment          // the robots with the scope PerNamespace

	// What follows belongs to the loop.
	traced   *trace.SpanContext // of the pass; nil: it is not
	worked   []*chain           // as last taken up
	syncs    int
	at       time.Time // Quay's time of the last list
	sent     time.Time // local time of the last list
	frozen   string
	agreed   int // lists in a row whose times agree
	resolver resolver
	begun    bool         // no robot in use is awaited any more
	checked  int          // the sync in which the token was last found sufficient; 0: never
	tokened  int          // the sync in which tokens were last listed
	audited  int          // the sync in which roles were last read back
	strange  []quay.Robot // robots of this instance that no configuration names, as reported last

	silentLedger atomic.Int64 // the sync in which the ledger did not answer in time; workers use it
}

// How many syncs pass between two looks at what rarely changes.
const rareSyncs = 20

// How many Quay calls for different robots are under way at once: calls take about 0.4 s each, and the client's
// limiter sets the pace.
const workers = 4

// deleteFresh is how old the list may be that a deletion rests on; it is taken immediately before (rule 16).
const deleteFresh = 5 * time.Second

// Passes bounds how often one sync lists again because something was done.
const maxPasses = 50

func newOrganization(e *Engine, key organizationKey) *organization {
	return &organization{
		engine: e, key: key, log: e.config.Log.With("registry", key.registry, "organization", key.owner.Name()),
		kick: make(chan struct{}, 1), chains: map[quay.Robot]*chain{}, resolver: newResolver(key.owner),
	}
}

// apply sets the robots to look after and returns them by name.
func (o *organization) apply(robots []Assignment) map[string]*configured {
	o.mu.Lock()
	defer o.mu.Unlock()
	out := map[string]*configured{}
	chains := map[quay.Robot]*chain{}
	// keep takes over what is known of a robot, unless it would mean something else now.
	keep := func(a Assignment, base quay.Robot, namespace *string) *chain {
		spec := a.Spec.forNamespace(base)
		c := o.chains[base]
		if c == nil || c.spec.Load().Strategy != spec.Strategy || c.spec.Load().Instance != spec.Instance || c.registry != a.Registry {
			c = newChain(spec, a.Registry, namespace, o)
		}
		c.spec.Store(&spec)
		chains[base] = c
		return c
	}
	o.templates = nil
	for _, a := range robots {
		o.client = a.Client
		r := &configured{assignment: a, organization: o}
		out[a.Spec.Name] = r
		if a.Spec.Scope == Shared {
			r.shared = keep(a, a.Spec.Base, nil)
			continue
		}
		o.templates = append(o.templates, a)
		r.namespaces = map[string]*chain{}
		for base, c := range o.chains {
			if _, ok := namespacePart(a.Spec.Base, base.Short()); ok && c.spec.Load().Scope == PerNamespace {
				keep(a, base, c.namespace.Load())
			}
		}
	}
	for base, c := range o.chains {
		if chains[base] != c {
			c.lose()
		}
	}
	o.chains = chains
	o.poke()
	return out
}

// begin returns the chain of a namespace's robot for a request, and makes it if there is none; nil if by now the configuration
// has no robot of that name here.
func (o *organization) begin(name string, base quay.Robot, namespace string) *chain {
	o.mu.Lock()
	defer o.mu.Unlock()
	i := slices.IndexFunc(o.templates, func(a Assignment) bool {
		_, ours := namespacePart(a.Spec.Base, base.Short())
		return a.Spec.Name == name && ours
	})
	if i < 0 {
		return nil
	}
	a := o.templates[i]
	c := o.chains[base]
	if c == nil || !c.ask() {
		c = newChain(a.Spec.forNamespace(base), a.Registry, &namespace, o)
		c.ask()
		o.chains[base] = c
	}
	c.namespace.Store(&namespace) // until now it may have been known by its hash
	return c
}

// find returns the chain of a namespace's robot.
func (o *organization) find(base quay.Robot) (*chain, bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	c, ok := o.chains[base]
	return c, ok && c.spec.Load().Scope == PerNamespace
}

// discover adds the chains of namespaces' robots that a list shows: made by other replicas, or by earlier processes.
func (o *organization) discover(l Listing, chains []*chain) []*chain {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, a := range o.templates {
		for _, base := range a.Spec.found(l) {
			if o.chains[base] != nil {
				continue
			}
			part, _ := namespacePart(a.Spec.Base, base.Short())
			c := newChain(a.Spec.forNamespace(base), a.Registry, &part, o)
			o.chains[base] = c
			chains = append(chains, c)
		}
	}
	o.worked = chains
	return chains
}

// forget drops the chains of namespaces of which nothing is left and that nobody asks for.
func (o *organization) forget() {
	o.mu.Lock()
	defer o.mu.Unlock()
	idle := func(c *chain) bool {
		ago := c.sinceAsked()
		return ago < 0 || ago > requestTime
	}
	for base, c := range o.chains {
		if c.spec.Load().Scope != PerNamespace || c.memory.at.IsZero() || !c.memory.empty() || !idle(c) {
			continue
		}
		c.ended.Store(true)
		if !idle(c) { // somebody asked just now, and may have seen that it was not ended
			c.ended.Store(false)
			continue
		}
		delete(o.chains, base)
		c.lose()
	}
}

// lose ends the orders of a chain that is no longer looked after; the loop ends those it has taken up.
func (c *chain) lose() {
	c.lost = true
	c.events.end(c)
	for _, ord := range c.orders {
		ord.result <- ErrOrderLost
	}
	c.orders = nil
}

func (o *organization) stop() {
	if o.cancel != nil {
		o.cancel()
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.templates = nil
	for _, c := range o.chains {
		c.lose()
	}
}

func (o *organization) poke() {
	select {
	case o.kick <- struct{}{}:
	default:
	}
}

func (o *organization) take(c *chain, ord *order) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if c.lost {
		ord.result <- ErrOrderLost
		return
	}
	c.orders = append(c.orders, ord)
	o.poke()
}

// snapshot returns the chains to work on, with their orders taken up and their settings brought up to date.
func (o *organization) snapshot() ([]*chain, *quay.Client) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, c := range o.worked {
		if c.lost {
			c.abandon()
		}
	}
	chains := make([]*chain, 0, len(o.chains))
	for _, c := range o.chains { // in random order, so that replicas do not queue for the same robot
		c.memory.SetSpec(*c.spec.Load())
		c.working = append(c.working, c.orders...)
		c.orders = nil
		chains = append(chains, c)
	}
	o.worked = chains
	return chains, o.client
}

func (o *organization) loop(ctx context.Context) {
	for {
		interval := o.sync(ctx)
		// Never more than the sync interval from one list to the next, since more would not count (rule 16).
		wait := time.Duration(float64(interval) * (0.9 + 0.1*rand.Float64())) //nolint:gosec // jitter, not a secret
		timer := time.NewTimer(max(0, wait-time.Since(o.sent)))
		if o.sent.IsZero() || time.Since(o.sent) >= wait {
			timer.Reset(wait) // the last list failed; sent is that of an earlier one
		}
		select {
		case <-ctx.Done():
			timer.Stop()
			o.finish()
			return
		case <-timer.C:
		case <-o.kick:
			timer.Stop()
		}
	}
}

// finish tells those who still wait that nothing will come.
func (o *organization) finish() {
	chains, _ := o.snapshot()
	for _, c := range chains {
		c.abandon()
	}
}

// abandon ends the orders that the loop has taken up.
func (c *chain) abandon() {
	for _, ord := range append(c.working, c.done...) {
		ord.result <- ErrOrderLost
	}
	c.working, c.done = nil, nil
}

// sync lists and works until nothing is left to do now, and returns the interval to the next sync.
func (o *organization) sync(ctx context.Context) time.Duration {
	ctx, span := o.traceSync(ctx)
	defer span.End()
	o.syncs++
	chains, client := o.snapshot()
	for _, c := range chains {
		clear(c.failed)
		clear(c.tried)
	}
	interval := o.common().Sync
	o.resolver.begin(o.syncs)
	for n := range maxPasses {
		if ctx.Err() != nil {
			return interval
		}
		again, err := o.tracePass(ctx, n+1, client, chains)
		if err != nil {
			o.trouble(ctx, client, chains, err)
			return interval
		}
		if !again {
			break
		}
		chains, client = o.snapshot()
	}
	if health := *o.health.Load(); health.Awaited > 0 {
		o.begun, health.Awaited = true, 0
		o.health.Store(&health)
	}
	return interval
}

// common returns the settings that all robots of a configuration share.
func (o *organization) common() Spec {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, c := range o.chains {
		return *c.spec.Load()
	}
	for _, a := range o.templates {
		return a.Spec
	}
	return Spec{Sync: time.Minute, Safety: DefaultSafety()} // nothing to look after, for a moment during a reload
}

func (o *organization) trouble(ctx context.Context, client *quay.Client, chains []*chain, err error) {
	if ctx.Err() != nil {
		return
	}
	if errors.Is(err, quay.ErrNotFound) {
		o.bereave(ctx, client, chains)
	}
	health := o.healthNow()
	health.Err = err
	old := o.health.Load()
	if old != nil {
		health.At, health.Awaited = old.At, old.Awaited
	}
	o.health.Store(&health)
	for _, c := range chains {
		c.memory.Trouble()
		var plan Plan
		if s := c.status.Load(); s != nil {
			plan = s.Plan
		}
		c.publishStatus(plan, err)
		o.engine.metrics.noticed(c.memory)
	}
	if old == nil || old.Err == nil || old.Err.Error() != err.Error() {
		o.log.ErrorContext(ctx, "working with Quay failed", "error", err)
	}
	if old == nil || old.Err == nil || refused(old.Err) != refused(err) {
		o.engine.events.add(o.event(EventFailed, err.Error()))
	}
}

// event says that something happened to the organization as a whole.
func (o *organization) event(t EventType, reason string) Event {
	return Event{Type: t, Registry: o.key.registry, Owner: o.key.owner, Generation: -1, Reason: reason}
}

// pass lists once, plans for every robot and performs what that list allows. again says that something was done, so
// that another list may show more to do.
func (o *organization) pass(ctx context.Context, client *quay.Client, chains []*chain) (again bool, err error) {
	// What takes time and does not rest on the list comes before it.
	if err := o.checkToken(ctx, client); err != nil {
		return false, err
	}
	o.resolver.look(ctx, client, o.log)
	listing, err := o.list(ctx, client, chains)
	if err != nil {
		return false, err
	}
	o.compareClocks(listing)
	chains = o.discover(listing, chains)
	plans := make([]Plan, len(chains))
	split := listing.chains()
	o.resolver.seen(split, chains)
	o.reportStrangers(listing, chains)
	for _, c := range chains {
		own := listing.of(split, c.memory.spec)
		c.memory.SetFrozen(o.frozen)
		c.memory.SetAccessTimes(o.resolver.accessKnown, !o.resolver.noAccessTimes)
		if o.resolver.readOnly {
			c.memory.Trouble() // logins are not recorded meanwhile
		}
		c.memory.SetDisabled(o.resolver.disabled)
		c.memory.Requested(c.sinceAsked())
		c.memory.Observe(own, o.resolver.resolve(ctx, client, c.memory.spec, own))
	}
	o.recollect(ctx, client, chains)
	for i, c := range chains {
		c.busy = false
		c.work()
		plans[i] = c.memory.Plan()
		c.drop(plans[i])
		c.publish(plans[i])
		c.tell(o.traced)
	}
	health := o.healthNow()
	health.At, health.Awaited = listing.Sent, o.stillAwaited(chains, plans)
	if old := o.health.Swap(&health); old != nil && old.Err != nil {
		o.engine.events.add(o.event(EventRecovered, "Quay can be worked with again"))
	}
	again = o.perform(ctx, client, listing, chains, plans) || o.audit(ctx, client, listing, chains)
	for i, c := range chains {
		if again {
			plans[i] = c.memory.Plan()
		}
		c.publish(plans[i])
		o.engine.metrics.noticed(c.memory)
	}
	if health.Awaited > 0 {
		after := health
		after.Awaited = o.stillAwaited(chains, plans)
		o.health.Store(&after)
	}
	o.forget()
	return again, nil
}
