package rotation

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"
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
}

// Rotate brings about a rotation now and returns when the new generation is served. It is refused with an
// [*UnderWayError] while a superseded generation lives or the newest is not published (rule 20).
func (e *Engine) Rotate(ctx context.Context, name string) (*Lease, error) {
	if err := e.order(ctx, name, rotateOnce()); err != nil {
		return nil, err
	}
	return e.Current(name)
}

// rotateOnce returns the step of a rotation's order.
func rotateOnce() func(*Memory) (bool, error) {
	asked, from := false, int64(-1)
	return func(m *Memory) (bool, error) {
		if asked {
			return m.newestPublished() > from && m.servedNumber() == m.newestPublished(), nil
		}
		if err := m.underWay(); err != nil {
			return true, err
		}
		asked, from = true, m.newestPublished()
		m.Force()
		return false, nil
	}
}

// Revoke ends every generation up to through, without overlap, after a newer one is served; a negative through means
// everything that exists now. It returns the number it acted on, and success only when nothing up to it exists any
// more (rule 21). Repeating it with that number is harmless, and is what to do when the process ends before.
//
// Registry tokens that Quay issued before keep pulling for up to an hour (docs/quay-contract.md 6.5).
func (e *Engine) Revoke(ctx context.Context, name string, through int64) (int64, error) {
	var acted atomic.Int64
	acted.Store(through)
	err := e.order(ctx, name, revokeOnce(&acted))
	return acted.Load(), err
}

// ErrNoGeneration is returned when a revocation names a number that no generation can have yet.
var ErrNoGeneration = errors.New("no such generation")

// revokeOnce returns the step of a revocation's order. A negative through becomes the number it acts on: everything
// that was created before it was asked for, even if a list shows it only later.
func revokeOnce(through *atomic.Int64) func(*Memory) (bool, error) {
	var asked time.Time
	all := through.Load() < 0
	return func(m *Memory) (bool, error) {
		if asked.IsZero() {
			asked = m.at
			if newest := max(m.highest, minute(m.at)); through.Load() > newest {
				return true, fmt.Errorf("%w: %d is above the newest, %d", ErrNoGeneration, through.Load(), newest)
			}
		}
		if all {
			through.Store(max(through.Load(), m.newestExisting(asked)))
		}
		n := through.Load()
		m.Revoke(n)
		return m.newestPublished() > n && m.Revoked(n), nil
	}
}

func (e *Engine) order(ctx context.Context, name string, step func(*Memory) (bool, error)) error {
	c, err := e.chain(name)
	if err != nil {
		return err
	}
	spec := c.spec.Load()
	if spec.Strategy != Overlap {
		return fmt.Errorf("robot %q has the strategy %v: %w", name, spec.Strategy, ErrNotRotated)
	}
	e.mu.RLock()
	o := e.organizations[organizationKey{c.registry, spec.Base.Owner()}]
	e.mu.RUnlock()
	if o == nil {
		return ErrOrderLost
	}
	ord := &order{step: step, result: make(chan error, 1)}
	o.take(c, ord)
	select {
	case err := <-ord.result:
		return err
	case <-ctx.Done():
		return fmt.Errorf("waiting for robot %q: %w", name, ctx.Err())
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
	if r := c.memory.revoke; r != nil && c.memory.newestPublished() > r.through && c.memory.Revoked(r.through) {
		c.memory.revoke = nil
	}
}

// tell answers the orders that are done.
func (c *chain) tell() {
	for _, ord := range c.done {
		ord.result <- ord.err
	}
	c.done = nil
}

// underWay says why a plain rotation is refused now.
func (m *Memory) underWay() error {
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

func (m *Memory) servedNumber() int64 {
	if g, _, _ := m.servable(); g != nil {
		return g.Number
	}
	return -1
}

// newestExisting is the highest number of ours that exists and was created by then, published or not; -1: none.
func (m *Memory) newestExisting(then time.Time) int64 {
	n := int64(-1)
	for _, g := range m.ascending() {
		if g.Owned && !g.Created.After(then) {
			n = max(n, g.Number)
		}
	}
	return n
}
