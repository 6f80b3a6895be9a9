package rotation

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/quaygen/quaygen/pkg/quaygen/ledger"
	"github.com/quaygen/quaygen/pkg/quaygen/quay"
)

// ledgerTimeout bounds one call to the ledger: however long that is silent, what is read leaves time for the steps that
// rest on the list before it (rule 3).
func (s Safety) ledgerTimeout() time.Duration { return min(10*time.Second, s.StepDeadline/3) }

var (
	errNoLedger     = errors.New("this process was started without one")
	errSilentLedger = errors.New("it does not answer")
)

// recollect reads, for each robot that is regenerated, what the ledger holds and then the robot's token, in this order: a
// rotation by another process in between shows as a changed record when this one writes.
func (o *organization) recollect(ctx context.Context, client *quay.Client, chains []*chain) {
	var group errgroup.Group
	group.SetLimit(workers)
	for _, c := range chains {
		if c.memory.spec.Strategy != Regenerate || c.collected == o.syncs && !c.busy {
			continue
		}
		again := c.collected == o.syncs
		c.collected = o.syncs
		group.Go(func() error {
			o.remembered(ctx, c.memory, again)
			g := c.memory.gens[0]
			if g == nil || !g.present {
				return nil
			}
			step := Step{Action: ReadToken, Robot: g.Robot}
			if _, err := o.readToken(ctx, client, c.memory, step); err != nil && ctx.Err() == nil {
				c.fail(step, err)
			}
			return nil
		})
	}
	_ = group.Wait() // what failed is kept with each chain
}

// remembered reads what the ledger holds; again says that it is read for this robot again in the same sync.
func (o *organization) remembered(ctx context.Context, m *Memory, again bool) {
	before := m.ledgerTrouble()
	r, v, err := ledger.Record{}, ledger.Version(""), errNoLedger
	switch store := o.engine.config.Ledger; {
	case store == nil:
	case !again && o.silentLedger.Load() == int64(o.syncs): // waiting once for each of many robots would take all the time there is
		err = errSilentLedger
	default:
		ctx, cancel := context.WithTimeout(ctx, m.spec.Safety.ledgerTimeout())
		defer cancel()
		ctx, span := o.traceLedger(ctx, "load", m)
		r, v, err = store.Load(ctx, m.spec.Base)
		endLedger(span, err)
		if err != nil && errors.Is(ctx.Err(), context.DeadlineExceeded) {
			o.silentLedger.Store(int64(o.syncs))
			err = errSilentLedger
		}
	}
	m.Remembered(r, v, err, time.Now()) // not before: what it shows may have been written while it was under way (G1)
	if trouble := m.ledgerTrouble(); trouble != "" && trouble != before {
		o.log.WarnContext(ctx, "the ledger cannot be used; nothing is rotated meanwhile", "robot", m.spec.Name, "error", trouble)
	}
}

// record writes into the ledger.
func (o *organization) record(ctx context.Context, m *Memory, s Step) (bool, error) {
	store := o.engine.config.Ledger
	if store == nil {
		return false, fmt.Errorf("the ledger: %w", errNoLedger)
	}
	if s.Action == Intend {
		s.Record.Intent.ID, s.Record.Intent.Holder = rand.Text(), o.engine.config.Holder
	}
	// An intent that was found a moment ago must not be cut off by the end of the process: what is known is written.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), m.spec.Safety.ledgerTimeout())
	defer cancel()
	before := time.Now()
	var v ledger.Version
	var err error
	if m.kept.version == "" {
		ctx, span := o.traceLedger(ctx, "create", m)
		v, err = store.Create(ctx, s.Record)
		endLedger(span, err)
	} else {
		ctx, span := o.traceLedger(ctx, "replace", m)
		v, err = store.Replace(ctx, s.Record, m.kept.version)
		endLedger(span, err)
	}
	if err == nil && s.Action == Record {
		o.acted(m, s)
	}
	return m.Written(s.Record, v, err, before)
}

// regenerate asks Quay for another token. Quay cannot be told to do so only if the token is still the one that was meant, so
// that is looked at, and the lease, last thing before asking (G2, G5).
func (o *organization) regenerate(ctx context.Context, client *quay.Client, m *Memory, s Step) (bool, error) {
	if _, err := o.readToken(ctx, client, m, s); err != nil {
		return false, err
	}
	if !m.askable(s, elapsed(m.kept.mine)) {
		return true, nil // the next pass sees what there is to do instead
	}
	// Whatever becomes of this process meanwhile: a request that was sent is better answered than wondered about.
	m.Posting()
	o.acted(m, s)
	// But it is over when the lease reckons with it: behind others, or while Quay asks for patience, it is not sent at all.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), m.spec.Safety.StepDeadline)
	defer cancel()
	_, _, err := client.RegenerateRobot(ctx, s.Robot, m.spec.Safety.StepDeadline/2)
	return true, m.Answered(err)
}

// probe logs in with the token that was to end.
func (o *organization) probe(ctx context.Context, client *quay.Client, m *Memory, s Step) (bool, error) {
	g, at := m.gens[s.Generation], time.Now()
	_, err := client.Login(ctx, s.Robot, g.token, nil)
	err = m.Probed(at, err)
	return err == nil, err
}

// verify looks at one robot itself (see doubt.go).
func (o *organization) verify(ctx context.Context, client *quay.Client, m *Memory, s Step) (bool, error) {
	g := m.gens[s.Generation]
	info, _, err := client.GetRobot(ctx, s.Robot)
	switch {
	case errors.Is(err, quay.ErrRobotMissing):
		m.Vanished(s.Generation)
		return true, nil
	case err != nil:
		return false, err
	}
	token := info.Token
	if token.IsZero() {
		token = g.token
	}
	replaced := !token.Equal(g.token)
	if replaced || m.disabled {
		_, err := client.Login(ctx, s.Robot, token, nil)
		switch {
		case errors.Is(err, quay.ErrRobotsDisabled):
			m.Barred(s.Generation)
			return true, nil
		case err != nil:
			return false, err
		}
	}
	m.Verified(s.Generation, token, replaced && m.spec.Strategy != Regenerate)
	return true, nil
}
