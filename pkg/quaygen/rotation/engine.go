package rotation

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace"

	"github.com/quaygen/quaygen/pkg/quaygen/ledger"
	"github.com/quaygen/quaygen/pkg/quaygen/quay"
	"github.com/quaygen/quaygen/pkg/quaygen/tracing"
)

// Assignment is one robot to look after, and where.
type Assignment struct {
	Spec     Spec
	Registry string // the configured registry's name
	Client   *quay.Client
}

// Config is what an Engine needs.
type Config struct {
	Instance   string
	Log        *slog.Logger          // nil: nothing is logged
	Registerer prometheus.Registerer // nil: nothing is measured
	Ledger     ledger.Store          // for the strategy regenerate; nil: such robots are served, but not rotated
	Holder     string                // names this process in the ledger, for people
	MintOnly   bool                  // create and grant what is missing, rotate and delete nothing: for one-shot use

	// Tracer begins a trace with every sync; nil: none.
	Tracer trace.Tracer

	// Acted is told of every event, and of every step of this process that changed something outside of it, in their order
	// for each robot; nil: nobody is. Locks are held meanwhile: it returns at once, and asks nothing of the engine.
	Acted func(Act)
}

// Engine looks after robots: it lists their organizations, plans and performs. Readers get credentials from memory
// and never wait for Quay once a robot is known.
type Engine struct {
	config  Config
	metrics *metrics
	events  *eventLog

	mu            sync.RWMutex
	launch        func(*organization) // starts its loop; set while running
	organizations map[organizationKey]*organization
	robots        map[string]*configured
	running       sync.WaitGroup
}

// configured is one robot of the configuration: one chain, or one for each namespace that has asked.
type configured struct {
	assignment   Assignment
	organization *organization
	shared       *chain // nil with the scope PerNamespace

	mu         sync.RWMutex
	namespaces map[string]*chain // by namespace; among them some that have ended
	sweepAt    int               // how many there may be before those are dropped
}

type organizationKey struct {
	registry string
	owner    quay.Owner
}

// New returns an engine that looks after nothing yet.
func New(config Config) *Engine {
	if config.Log == nil {
		config.Log = slog.New(slog.DiscardHandler)
	}
	e := &Engine{config: config, events: newEventLog(config.Acted), organizations: map[organizationKey]*organization{}, robots: map[string]*configured{}}
	e.metrics = newMetrics(config.Registerer, e)
	return e
}

// Apply makes the engine look after exactly these robots. Those it knew already keep what is known of them, with their
// new settings; those no longer named are left alone in Quay (rule 19). Names must be unique.
func (e *Engine) Apply(assignments []Assignment) {
	e.mu.Lock()
	defer e.mu.Unlock()
	robots := map[string]*configured{}
	byOrganization := map[organizationKey][]Assignment{}
	for _, a := range assignments {
		key := organizationKey{a.Registry, a.Spec.Base.Owner()}
		byOrganization[key] = append(byOrganization[key], a)
	}
	for key, here := range byOrganization {
		o := e.organizations[key]
		if o == nil {
			o = newOrganization(e, key)
			e.organizations[key] = o
		}
		for name, r := range o.apply(here) {
			robots[name] = r
		}
		if o.cancel == nil { // only now that it has a client and robots
			if e.launch != nil {
				e.launch(o)
			}
		}
	}
	for key, o := range e.organizations {
		if _, ok := byOrganization[key]; !ok {
			o.stop()
			delete(e.organizations, key)
		}
	}
	e.robots = robots
}

// Run works until ctx ends, and returns when all work has stopped.
func (e *Engine) Run(ctx context.Context) error {
	e.mu.Lock()
	e.launch = func(o *organization) {
		ctx, cancel := context.WithCancel(ctx)
		o.cancel = cancel
		e.running.Go(func() { o.loop(ctx) })
	}
	for _, o := range e.organizations {
		e.launch(o)
	}
	e.mu.Unlock()
	<-ctx.Done()
	e.mu.Lock()
	e.launch = nil
	e.mu.Unlock()
	e.running.Wait()
	return nil
}

func (e *Engine) robot(name string) (*configured, error) {
	e.mu.RLock()
	defer e.mu.RUnlock()
	r := e.robots[name]
	if r == nil {
		return nil, fmt.Errorf("%w: %q", ErrUnknownRobot, name)
	}
	return r, nil
}

// chain returns what a request is about, and remembers that there was one. The robot of a namespace that never asked is begun.
func (e *Engine) chain(ref Ref) (*chain, error) {
	r, err := e.robot(ref.Name)
	if err != nil {
		return nil, err
	}
	if r.shared != nil {
		return r.shared, nil
	}
	r.mu.RLock()
	c := r.namespaces[ref.Namespace]
	r.mu.RUnlock()
	if c != nil && c.ask() {
		return c, nil
	}
	base, err := NamespaceRobot(r.assignment.Spec.Base, ref.Namespace)
	if err != nil {
		return nil, fmt.Errorf("robot %q: %w", ref.Name, err)
	}
	if c = r.organization.begin(ref.Name, base, ref.Namespace); c == nil {
		return nil, fmt.Errorf("%w: %q", ErrUnknownRobot, ref.Name) // any more
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.namespaces) >= r.sweepAt { // clusters make namespaces without end
		maps.DeleteFunc(r.namespaces, func(_ string, c *chain) bool { return c.ended.Load() })
		r.sweepAt = 2*len(r.namespaces) + 64
	}
	r.namespaces[ref.Namespace] = c
	return c, nil
}

// Current returns the credential to hand out for a robot now. The error is ErrUnknownRobot or a [*NotReadyError], or says
// what is wrong with the namespace.
func (e *Engine) Current(ref Ref) (*Lease, error) {
	c, err := e.chain(ref)
	if err != nil {
		return nil, err
	}
	return c.current(ref)
}

func (c *chain) current(ref Ref) (*Lease, error) {
	if l := c.lease.Load(); l != nil && l.Valid() {
		return l, nil
	}
	status := c.status.Load()
	notReady := &NotReadyError{Name: ref.String(), Reason: notListed, RetryAfter: time.Second}
	if status != nil {
		notReady.Reason, notReady.Refused = status.Why, status.Refused
		notReady.RetryAfter = max(time.Second, min(status.Spec.Sync, time.Minute))
		if status.Current >= 0 {
			notReady.Reason = "Quay could not be listed for so long that the credential may be retired by now"
			if status.Trouble {
				notReady.Reason += ": " + status.Why
			}
		}
	}
	return nil, notReady
}

// Await returns the credential to hand out, waiting until ctx ends for one that is being minted. It does not wait
// where waiting is pointless: for a name it does not know, and while Quay cannot be worked with.
func (e *Engine) Await(ctx context.Context, ref Ref) (*Lease, error) {
	ctx, span := traceWait(ctx, ref)
	lease, err := e.await(ctx, ref)
	if err == nil {
		tracing.Link(span, lease.traced)
	}
	tracing.End(span, err)
	return lease, err
}

func (e *Engine) await(ctx context.Context, ref Ref) (*Lease, error) {
	c, err := e.chain(ref)
	if err != nil {
		return nil, err
	}
	for first := true; ; first = false {
		changed := c.wait()
		lease, err := c.current(ref)
		if err == nil {
			return lease, nil
		}
		if first && c.spec.Load().Scope == PerNamespace {
			c.organization.poke() // nothing is done for a namespace before it asks
		}
		if s := c.status.Load(); s != nil && (s.Trouble || len(s.Failures) > 0) {
			return nil, err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, err
		}
	}
}

// Looks reports whether a robot is looked after: of a namespace's, whether it was asked for, or a list showed it. Unlike a
// request it begins nothing.
func (e *Engine) Looks(ref Ref) bool {
	r, err := e.robot(ref.Name)
	if err != nil || r.shared != nil {
		return err == nil
	}
	r.mu.RLock()
	c := r.namespaces[ref.Namespace]
	r.mu.RUnlock()
	if c != nil && !c.ended.Load() {
		return true
	}
	c, ok := e.known(ref)
	return ok && !c.ended.Load()
}

// A Tenant is a namespace whose robot is looked after.
type Tenant struct {
	Namespace string // or the hash that stands for it, which no namespace is called, until it asks
	Minting   bool   // Quay was listed and has none of its robots: the first is being made
}

// Tenants returns the namespaces for which a robot is looked after, in no order; none for one with the scope [Shared].
func (e *Engine) Tenants(name string) []Tenant {
	r, err := e.robot(name)
	if err != nil || r.shared != nil {
		return nil
	}
	o := r.organization
	health := o.health.Load()
	listed := health != nil && !health.At.IsZero()
	o.mu.Lock()
	defer o.mu.Unlock()
	var out []Tenant
	for _, c := range o.chains {
		if c.ended.Load() || c.spec.Load().Name != name {
			continue
		}
		status := c.status.Load()
		out = append(out, Tenant{Namespace: c.whose(), Minting: listed && (status == nil || len(status.Plan.Generations) == 0)})
	}
	return out
}

// Statuses returns what is known of every robot, those of namespaces included, ordered by name and namespace.
func (e *Engine) Statuses() []Status { return e.events.all() }

// Status returns what is known of one robot. Unlike a request it begins nothing. A namespace can be named by the hash that
// stands for it.
func (e *Engine) Status(ref Ref) (Status, bool) {
	c, ok := e.known(ref)
	if !ok {
		return Status{}, false
	}
	return e.events.of(c)
}

// known returns the chain of a robot that is looked after already. Until a namespace asks, its robot may be known by a hash
// alone, so that it is found by its name in Quay.
func (e *Engine) known(ref Ref) (*chain, bool) {
	r, err := e.robot(ref.Name)
	if err != nil {
		return nil, false
	}
	if r.shared != nil {
		return r.shared, ref.Namespace == ""
	}
	base, err := namespaceBase(r.assignment.Spec.Base, ref.Namespace)
	if err != nil {
		return nil, false
	}
	return r.organization.find(base)
}

// assignments returns the robots of the configuration in use, in no order.
func (e *Engine) assignments() []Assignment {
	e.mu.RLock()
	defer e.mu.RUnlock()
	out := make([]Assignment, 0, len(e.robots))
	for _, r := range e.robots {
		out = append(out, r.assignment)
	}
	return out
}

// all returns every chain, in no order.
func (e *Engine) all() []*chain {
	e.mu.RLock()
	defer e.mu.RUnlock()
	var out []*chain
	for _, o := range e.organizations {
		o.mu.Lock()
		out = slices.AppendSeq(out, maps.Values(o.chains))
		o.mu.Unlock()
	}
	return out
}
