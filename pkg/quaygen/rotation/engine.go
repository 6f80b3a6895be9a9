package rotation

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/quaygen/quaygen/pkg/quaygen/quay"
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
	MintOnly   bool                  // create and grant what is missing, rotate and delete nothing: for one-shot use
}

// Engine looks after robots: it lists their organizations, plans and performs. Readers get credentials from memory
// and never wait for Quay once a robot is known.
type Engine struct {
	config  Config
	metrics *metrics

	mu            sync.RWMutex
	launch        func(*organization) // starts its loop; set while running
	organizations map[organizationKey]*organization
	chains        map[string]*chain
	running       sync.WaitGroup
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
	e := &Engine{config: config, organizations: map[organizationKey]*organization{}, chains: map[string]*chain{}}
	e.metrics = newMetrics(config.Registerer, e)
	return e
}

// Apply makes the engine look after exactly these robots. Those it knew already keep what is known of them, with their
// new settings; those no longer named are left alone in Quay (rule 19). Names must be unique.
func (e *Engine) Apply(assignments []Assignment) {
	e.mu.Lock()
	defer e.mu.Unlock()
	chains := map[string]*chain{}
	byOrganization := map[organizationKey][]Assignment{}
	for _, a := range assignments {
		key := organizationKey{a.Registry, a.Spec.Base.Owner()}
		byOrganization[key] = append(byOrganization[key], a)
	}
	for key, robots := range byOrganization {
		o := e.organizations[key]
		if o == nil {
			o = newOrganization(e, key)
			e.organizations[key] = o
		}
		for name, c := range o.apply(robots) {
			chains[name] = c
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
	e.chains = chains
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

func (e *Engine) chain(name string) (*chain, error) {
	e.mu.RLock()
	defer e.mu.RUnlock()
	c := e.chains[name]
	if c == nil {
		return nil, fmt.Errorf("%w: %q", ErrUnknownRobot, name)
	}
	return c, nil
}

// Current returns the credential to hand out for a robot now. The error is ErrUnknownRobot or a [*NotReadyError].
func (e *Engine) Current(name string) (*Lease, error) {
	c, err := e.chain(name)
	if err != nil {
		return nil, err
	}
	return c.current(name)
}

func (c *chain) current(name string) (*Lease, error) {
	if l := c.lease.Load(); l != nil && l.Valid() {
		return l, nil
	}
	status := c.status.Load()
	notReady := &NotReadyError{Name: name, Reason: "Quay has not been listed yet", RetryAfter: time.Second}
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
func (e *Engine) Await(ctx context.Context, name string) (*Lease, error) {
	c, err := e.chain(name)
	if err != nil {
		return nil, err
	}
	for {
		changed := c.wait()
		lease, err := c.current(name)
		if err == nil {
			return lease, nil
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

// Statuses returns what is known of every robot, ordered by name.
func (e *Engine) Statuses() []Status {
	e.mu.RLock()
	defer e.mu.RUnlock()
	var out []Status
	for name, c := range e.chains {
		if s := c.status.Load(); s != nil {
			out = append(out, *s)
		} else {
			out = append(out, Status{Name: name, Registry: c.registry, Current: -1, Why: "Quay has not been listed yet"})
		}
	}
	slices.SortFunc(out, func(a, b Status) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// Health is how work with one organization goes.
type Health struct {
	Registry string
	Owner    quay.Owner
	At       time.Time // local time of the last good list; zero: none yet
	Err      error     // what is wrong now: Quay, its token, the organization; nil: nothing
	Serving  int       // robots whose credential can be handed out now
}

// Health returns how work with each organization goes, ordered by registry and name.
func (e *Engine) Health() []Health {
	e.mu.RLock()
	defer e.mu.RUnlock()
	var out []Health
	serving := map[organizationKey]int{}
	for _, c := range e.chains {
		if l := c.lease.Load(); l != nil && l.Valid() {
			serving[organizationKey{c.registry, c.spec.Load().Base.Owner()}]++
		}
	}
	for key, o := range e.organizations {
		h := Health{Registry: key.registry, Owner: key.owner, Err: errNotListed}
		if known := o.health.Load(); known != nil {
			h = *known
		}
		h.Serving = serving[key]
		out = append(out, h)
	}
	slices.SortFunc(out, func(a, b Health) int {
		return strings.Compare(a.Registry+"/"+a.Owner.Name(), b.Registry+"/"+b.Owner.Name())
	})
	return out
}

var errNotListed = errors.New("not listed yet")
