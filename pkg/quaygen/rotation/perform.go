package rotation

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/quaygen/quaygen/pkg/quaygen/quay"
)

// A stage is a part of the work after one list.
type stage struct {
	has    func(Action) bool
	within time.Duration // of sending the list
}

// stages returns the parts in their order: deletions first while the list is fresh enough for them, then what
// publishes, then what creates (rule 24).
func stages(s Safety) []stage {
	return []stage{
		{func(a Action) bool { return a == Delete }, min(deleteFresh, s.StepDeadline)},
		{func(a Action) bool { return a < Create }, s.StepDeadline},
		{func(a Action) bool { return a == Create }, s.StepDeadline},
	}
}

// perform does the planned steps, stage by stage. It reports whether another list may show more to do, or let more be done.
func (o *organization) perform(ctx context.Context, client *quay.Client, l Listing, chains []*chain, plans []Plan) bool {
	if len(chains) == 0 {
		return false
	}
	var again atomic.Bool
	for _, st := range stages(chains[0].memory.spec.Safety) {
		var group errgroup.Group
		group.SetLimit(workers)
		for i, c := range chains {
			steps := slices.DeleteFunc(slices.Clone(plans[i].Steps), func(s Step) bool {
				return !st.has(s.Action) || o.engine.config.MintOnly && !c.memory.mints(s)
			})
			if len(steps) == 0 {
				continue
			}
			group.Go(func() error {
				did, stale := o.work(ctx, client, l, c, steps, st.within)
				c.busy = c.busy || did
				if did || stale {
					again.Store(true)
				}
				return nil
			})
		}
		_ = group.Wait() // what failed is kept with each chain
	}
	return again.Load()
}

// mints reports whether a step serves to have a first credential, and nothing else.
func (m *Memory) mints(s Step) bool {
	if s.Action == Create {
		return m.published() == nil
	}
	switch s.Action {
	case Delete, Ungrant, Leave, Record, Intend, RegenerateToken, Probe:
		return false
	default:
		return true
	}
}

// relisted marks in chain.tried that a stage found its list too old, and another list was asked for.
func relisted(within time.Duration) string { return "list again for what has " + within.String() }

// work does steps of one robot in turn, as long as the list they rest on is younger than within (rule 3). did says that Quay,
// or what is known of it, changed; stale that steps were left because the list had become too old.
func (o *organization) work(ctx context.Context, client *quay.Client, l Listing, c *chain, steps []Step, within time.Duration) (did, stale bool) {
	for _, s := range steps {
		key := s.String()
		if c.failed[key] != nil || c.tried[key] {
			continue
		}
		if ctx.Err() != nil {
			break
		}
		if elapsed(l.Sent) >= within {
			// Working out permissions, or what is before in the row, can take longer than a list stays fresh. What was learned
			// holds for this sync, so that a second list is followed by the steps at once; one more, no endless row.
			stale = !c.tried[relisted(within)]
			c.tried[relisted(within)] = true
			break
		}
		c.tried[key] = true
		done, err := o.traceStep(ctx, client, c, l, s)
		switch {
		case err == nil:
			delete(c.failing, s.topic())
		case ctx.Err() != nil:
			return did, stale
		default:
			c.fail(s, err)
			if errors.Is(err, quay.ErrReadOnly) {
				c.memory.Trouble() // logins are not recorded meanwhile
			}
			o.engine.metrics.failed(c.memory.spec.Name, s.Action)
			o.log.WarnContext(ctx, "a step failed", "robot", c.memory.spec.Name, "step", key, "error", err)
		}
		if s.Action == Delete && (done || err != nil) {
			c.memory.NotDeleted(s.Generation, err)
		}
		if s.Action == Delete && done {
			if c.deleted == nil {
				c.deleted = map[int64]string{}
			}
			c.deleted[s.Generation] = s.Why
		}
		did = did || done
		if done && err == nil {
			o.engine.metrics.did(c.memory, s)
			c.memory.did(s)
			o.log.InfoContext(ctx, "done", "robot", c.memory.spec.Name, "step", key, "why", s.Why)
		}
		if done && s.Action == Verify {
			c.publish(c.memory.Plan()) // what is known to be dead is not handed out until the pass is over
		}
	}
	return did, stale
}

// do performs one step and tells the memory. did says that Quay, or what is known of it, changed.
func (o *organization) do(ctx context.Context, client *quay.Client, m *Memory, l Listing, s Step) (did bool, err error) {
	switch s.Action {
	case Create:
		return o.create(ctx, client, m, l, s)
	case Delete:
		return o.delete(ctx, client, m, s)
	case Grant, Ungrant:
		return o.grant(ctx, client, m, s)
	case Join:
		err := client.AddTeamMember(ctx, o.key.owner, s.Team, s.Robot)
		return o.changed(m, s, err)
	case Leave:
		err := client.RemoveTeamMember(ctx, o.key.owner, s.Team, s.Robot)
		return o.changed(m, s, err)
	case ReadToken:
		return o.readToken(ctx, client, m, s)
	case ReadRoles:
		roles, err := o.resolver.roles(ctx, client, s.Robot, m.gens[s.Generation].Grants)
		if err != nil {
			return false, err
		}
		m.RolesRead(s.Generation, roles)
		return true, nil
	case Prove:
		return o.prove(ctx, client, m, s)
	case Verify:
		return o.verify(ctx, client, m, s)
	case Probe:
		return o.probe(ctx, client, m, s)
	case Record, Intend:
		return o.record(ctx, m, s)
	case RegenerateToken:
		return o.regenerate(ctx, client, m, s)
	}
	return false, fmt.Errorf("internal error: no way to perform %v", s.Action)
}

func (o *organization) create(ctx context.Context, client *quay.Client, m *Memory, l Listing, s Step) (bool, error) {
	mark := marker{Instance: m.spec.Instance, Robot: m.spec.Base.Short(), Generation: s.Generation, Timing: m.spec.timing()}
	info, _, err := client.CreateRobot(ctx, s.Robot, quay.CreateOptions{Description: mark.String(), Metadata: mark.metadata()})
	switch {
	case err == nil:
		late := elapsed(l.Sent) >= m.spec.Safety.StepDeadline
		m.Created(s.Generation, info, late)
		return o.changed(m, s, nil)
	case errors.Is(err, quay.ErrRobotExists):
		m.Taken(s.Generation) // another replica was first: the next list shows what it made
		return true, nil
	case errors.Is(err, quay.ErrUnreachable), errors.Is(err, quay.ErrUnavailable), errors.Is(err, quay.ErrMalformed):
		// It may have been created, or be created yet. The next list tells; until then its number is not tried again.
		if !m.spec.Strategy.fixed() {
			m.Taken(s.Generation)
		}
	}
	return false, err
}

func (o *organization) delete(ctx context.Context, client *quay.Client, m *Memory, s Step) (bool, error) {
	if s.Unused || s.Idle {
		info, _, err := client.GetRobot(ctx, s.Robot)
		switch {
		case errors.Is(err, quay.ErrRobotMissing):
			return true, nil
		case err != nil:
			return false, err
		case !info.LastAccessed.Equal(s.LastAccessed):
			return false, nil // somebody uses it after all; the next list shows it
		}
	}
	// What Quay answers is not believed either way: gone is what lists no longer show (rule 18).
	_, err := client.DeleteRobot(ctx, s.Robot)
	if errors.Is(err, quay.ErrRobotMissing) {
		return true, nil
	}
	return o.changed(m, s, err)
}

// changed returns what [organization.do] does of a step that Quay answered, and tells of one that was done.
func (o *organization) changed(m *Memory, s Step, err error) (did bool, _ error) {
	if err == nil {
		o.acted(m, s)
	}
	return err == nil, err
}

func (o *organization) grant(ctx context.Context, client *quay.Client, m *Memory, s Step) (bool, error) {
	repository, err := quay.NewRepository(o.key.owner, s.Repository)
	if err != nil {
		return false, err
	}
	if s.Action == Ungrant {
		err := client.RemoveGrant(ctx, repository, s.Robot)
		if err != nil && !errors.Is(err, quay.ErrNoPermission) {
			return false, err
		}
		m.Granted(s.Generation, s.Repository, quay.RoleUnknown)
		if err == nil {
			o.acted(m, s)
		}
		return true, nil
	}
	if err := client.SetGrant(ctx, repository, s.Robot, s.Role); err != nil {
		if errors.Is(err, quay.ErrNotFound) {
			m.NotThere(s.Repository)
		}
		return false, err
	}
	m.Granted(s.Generation, s.Repository, s.Role)
	return o.changed(m, s, nil)
}

func (o *organization) readToken(ctx context.Context, client *quay.Client, m *Memory, s Step) (bool, error) {
	info, _, err := client.GetRobot(ctx, s.Robot)
	if err != nil {
		return false, err
	}
	if info.Token.IsZero() {
		return false, fmt.Errorf("the API token does not show robots' tokens; it must be that of an administrator of %s: %w", o.key.owner, quay.ErrForbidden)
	}
	g := m.gens[s.Generation]
	changed := !g.token.Equal(info.Token)
	m.TokenRead(s.Generation, info.Token)
	return changed, nil
}

func (o *organization) prove(ctx context.Context, client *quay.Client, m *Memory, s Step) (bool, error) {
	g := m.gens[s.Generation]
	if g.token.IsZero() {
		if _, err := o.readToken(ctx, client, m, s); err != nil {
			return false, err
		}
	}
	repositories := make([]quay.Repository, 0, len(s.Proof))
	for _, name := range s.Proof {
		repository, err := quay.NewRepository(o.key.owner, name)
		if err != nil {
			return false, err
		}
		repositories = append(repositories, repository)
	}
	result, err := client.Login(ctx, s.Robot, g.token, repositories)
	if err != nil {
		m.Proved(s.Generation, m.at, false, err.Error())
		return false, err
	}
	for _, name := range s.Proof {
		if !result.Pull[name] {
			err := fmt.Errorf("pull from %s/%s is not granted, although the grant is there", o.key.owner, name)
			m.Proved(s.Generation, result.Date, true, err.Error())
			return false, err
		}
	}
	m.Proved(s.Generation, result.Date, true, "")
	return true, nil
}
