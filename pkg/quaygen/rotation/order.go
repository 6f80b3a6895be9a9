package rotation

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/quaygen/quaygen/pkg/quaygen/tracing"
)

// ErrOrderLost is returned when the robot left the configuration, or the engine stopped, before an order was done.
var ErrOrderLost = errors.New("the robot is no longer looked after")

// ErrNotRotated is returned when a robot is not rotated by this installation.
var ErrNotRotated = errors.New("it is not rotated here")

// order is a rotation or revocation that an operator waits for. step is called by the loop after each list, until it
// returns done.
type order struct {
	step   func(m *Memory) (done bool, err error)
	result chan error // buffered
	err    error      // the result, once step is done

	traced *trace.SpanContext // of the pass in which it was done; nil: that is not
}

// Rotate brings about a rotation now and returns when the new generation is served. It is refused with an
// [*UnderWayError] while a superseded generation lives or the newest is not published (rule 20).
func (e *Engine) Rotate(ctx context.Context, ref Ref) (*Lease, error) {
	c, err := e.order(ctx, ref, rotateOnce())
	if err != nil {
		return nil, err
	}
	return c.current(ref)
}

// rotateOnce returns the step of a rotation's order.
func rotateOnce() func(*Memory) (bool, error) {
	asked, from := false, int64(-1)
	return func(m *Memory) (bool, error) {
		if asked {
			return m.newest() > from && m.servedNumber() == m.newest(), nil
		}
		if err := m.underWay(); err != nil {
			return true, err
		}
		asked, from = true, m.newest()
		m.Force()
		return false, nil
	}
}

// Revoke ends every generation up to through, without overlap, after a newer one is served; a negative through means
// everything that exists now. It returns the number it acted on, and success only when nothing up to it exists any
// more (rule 21). Repeating it with that number is harmless, and is what to do when the process ends before.
//
// Registry tokens that Quay issued before keep pulling for up to an hour (docs/quay-contract.md 6.5). With the strategy
// regenerate through counts rotations, and somebody who holds such a registry token can go on exchanging it as long as the
// robot's name and grants stay: only another robot name, or all grants taken away for more than an hour, ends that.
func (e *Engine) Revoke(ctx context.Context, ref Ref, through int64) (int64, error) {
	var acted atomic.Int64
	acted.Store(through)
	_, err := e.order(ctx, ref, revokeOnce(&acted))
	return acted.Load(), err
}

// Retire ends superseded generations, up to number, now instead of after their drain, and returns when nothing up to it
// exists any more. What is served, and what is ahead of it, is not ended this way: then it is refused with an
// [*InUseError]. ErrNoGeneration says that this process knows of none up to number; repeating what was done is harmless.
func (e *Engine) Retire(ctx context.Context, ref Ref, number int64) error {
	_, err := e.order(ctx, ref, retireUpTo(ref, number))
	return err
}

func retireUpTo(ref Ref, number int64) func(*Memory) (bool, error) {
	return func(m *Memory) (bool, error) {
		pub := m.newestPublished()
		switch {
		case m.spec.Strategy != Overlap:
			return true, fmt.Errorf("robot %q keeps its name with the strategy %v: %w", ref, m.spec.Strategy, ErrNoGeneration)
		case !slices.ContainsFunc(slices.Collect(maps.Values(m.gens)), func(g *generation) bool { return g.Owned && g.Number <= number }):
			return true, fmt.Errorf("%w: nothing is known of one up to %d", ErrNoGeneration, number)
		case number >= pub:
			return true, &InUseError{Name: ref.String(), Generation: number, Served: pub}
		}
		m.Revoke(number)
		return m.Revoked(number), nil
	}
}

// InUseError is returned when something is to be ended that is served, or may be soon.
type InUseError struct {
	Name       string
	Generation int64
	Served     int64 // the newest published generation; -1: none is
}

func (e *InUseError) Error() string {
	if e.Served < 0 {
		return fmt.Sprintf("generation %d of %s cannot be retired: none is published that could take its place", e.Generation, e.Name)
	}
	return fmt.Sprintf("generation %d of %s cannot be retired: %d is served; rotate with revoke to end that too", e.Generation, e.Name, e.Served)
}

// ErrNoGeneration is returned when a number is named that no generation has, or can have yet.
var ErrNoGeneration = errors.New("no such generation")

// revokeOnce returns the step of a revocation's order. A negative through becomes the number it acts on: everything
// that was created before it was asked for, even if a list shows it only later. Quay tells the second of a creation alone,
// so that what others made within that second counts as older too; what this process makes for the revocation does not.
func revokeOnce(through *atomic.Int64) func(*Memory) (bool, error) {
	var asked time.Time
	var made int64 // this process makes what is above it for the revocation
	all := through.Load() < 0
	return func(m *Memory) (bool, error) {
		if m.spec.Strategy == Regenerate && m.newest() < 0 {
			return false, nil // what there is to revoke is not known yet
		}
		if asked.IsZero() {
			asked, made = m.at, m.highest
			newest := max(m.highest, minute(m.at))
			if m.spec.Strategy == Regenerate {
				newest = m.kept.record.Rotations
			}
			if through.Load() > newest {
				return true, fmt.Errorf("%w: %d is above the newest, %d", ErrNoGeneration, through.Load(), newest)
			}
		}
		if all && (through.Load() < 0 || m.spec.Strategy == Overlap) {
			through.Store(max(through.Load(), m.newestExisting(asked, made)))
		}
		n := through.Load()
		m.Revoke(n)
		return m.newest() > n && m.Revoked(n), nil
	}
}

// order waits until an order for a robot that is looked after is done. It begins no robot: that is left to requests.
func (e *Engine) order(ctx context.Context, ref Ref, step func(*Memory) (bool, error)) (*chain, error) {
	c, ok := e.known(ref)
	if !ok {
		return nil, fmt.Errorf("%w: %q", ErrUnknownRobot, ref)
	}
	spec := c.spec.Load()
	if spec.Strategy == None {
		return nil, fmt.Errorf("robot %q has the strategy %v: %w", ref, spec.Strategy, ErrNotRotated)
	}
	if spec.Scope == PerNamespace {
		c.ask() // what is to be rotated does not end as idle meanwhile
	}
	ord := &order{step: step, result: make(chan error, 1)}
	_, span := traceWait(ctx, ref)
	c.organization.take(c, ord)
	select {
	case err := <-ord.result:
		tracing.Link(span, ord.traced)
		tracing.End(span, err)
		return c, err
	case <-ctx.Done():
		err := fmt.Errorf("waiting for robot %q: %w", ref, ctx.Err())
		tracing.End(span, err)
		return nil, err
	}
}

// work lets each order look at what the last list showed.
func (c *chain) work() {
	var left []*order
	for _, ord := range c.working {
		done, err := ord.step(c.memory)
		if done {
			ord.err = err
			c.done = append(c.done, ord)
			continue
		}
		left = append(left, ord)
	}
	c.working = left
	if r := c.memory.revoke; r != nil && c.memory.newest() > r.through && c.memory.Revoked(r.through) {
		c.memory.revoke = nil
	}
}

// tell answers the orders that are done, in the pass with this span.
func (c *chain) tell(traced *trace.SpanContext) {
	for _, ord := range c.done {
		ord.traced = traced
		ord.result <- ord.err
	}
	c.done = nil
}

// underWay says why a plain rotation is refused now.
func (m *Memory) underWay() error {
	if m.spec.Strategy == Regenerate {
		switch {
		case m.kept.trouble != "":
			return &UnderWayError{Name: m.spec.Name, Reason: "the ledger cannot be used: " + m.kept.trouble}
		case m.newest() < 0:
			return &UnderWayError{Name: m.spec.Name, Reason: "what became of the last one is not known yet"}
		case m.forced && m.forcedAt == m.newest() || m.revoke != nil:
			return &UnderWayError{Name: m.spec.Name, Reason: "another one was asked for"}
		}
		return nil
	}
	pub := m.published()
	if pub == nil {
		return &UnderWayError{Name: m.spec.Name, Reason: "the first generation is not published yet"}
	}
	if m.forced && m.forcedAt == pub.Number || m.revoke != nil {
		return &UnderWayError{Name: m.spec.Name, Reason: "another one was asked for"}
	}
	for _, g := range m.ascending() {
		switch {
		case !g.Owned || g == pub:
		case g.Number > pub.Number:
			return &UnderWayError{Name: m.spec.Name, Reason: g.Robot.Username() + " is not published yet"}
		default:
			latest := pub.Created.Add(lifetime(g.Timing, pub.Timing))
			return &UnderWayError{Name: m.spec.Name, Reason: g.Robot.Username() + " is still alive", Until: latest}
		}
	}
	return nil
}

// newest is the number of the newest published generation, or how often a token was replaced in place; -1: not known.
func (m *Memory) newest() int64 {
	if m.spec.Strategy == Regenerate {
		return m.rotations()
	}
	return m.newestPublished()
}

func (m *Memory) servedNumber() int64 {
	if g, _, _ := m.servable(); g != nil {
		return m.numberOf(g)
	}
	return -1
}

// numberOf is the number by which people and consumers know g.
func (m *Memory) numberOf(g *generation) int64 {
	if m.spec.Strategy == Regenerate {
		return m.kept.record.Rotations
	}
	return g.Number
}

// newestExisting is the highest number of ours that exists and was created by then, published or not, but for what this
// process made above a number; -1: none.
func (m *Memory) newestExisting(then time.Time, above int64) int64 {
	if m.spec.Strategy == Regenerate {
		return m.rotations()
	}
	n := int64(-1)
	for _, g := range m.ascending() {
		if g.Owned && !g.Created.After(then) && (!g.made || g.Number <= above) {
			n = max(n, g.Number)
		}
	}
	return n
}
