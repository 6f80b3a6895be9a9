package rotation

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/quaygen/quaygen/pkg/quaygen/quay"
)

// Belongings is what an installation has in one organization. It ends with the installation, and not before: nothing here
// asks whether a robot is in use, or has a successor.
type Belongings struct {
	Registry string
	Owner    quay.Owner
	At       time.Time   // Quay's time of the list
	Robots   []Belonging // with this installation's marker, in the order in which End deletes them
	Stays    []Staying   // of a configured robot's name, or with another installation's marker
	Others   int         // that have nothing to do with any of this

	only   string // the configured robot that it is about; empty: all
	specs  []Spec // at least one
	client *quay.Client
	sent   time.Time // local time of the list
}

// Belonging is a robot of the installation.
type Belonging struct {
	Robot        quay.Robot
	Name         string // as configured; empty: the configuration does not name it any more
	Created      time.Time
	LastAccessed time.Time // zero: never, or not recorded

	generation int64
}

// Staying is a robot that is not deleted.
type Staying struct {
	Robot quay.Robot
	Why   string
}

// TakeStock lists each organization of the assignments once, and touches nothing. With the name of a configured robot it is about
// that one, and all others count as such.
func TakeStock(ctx context.Context, assignments []Assignment, only string) ([]*Belongings, error) {
	all := map[organizationKey]*Belongings{}
	var out []*Belongings
	for _, a := range assignments {
		key := organizationKey{a.Registry, a.Spec.Base.Owner()}
		if all[key] == nil {
			all[key] = &Belongings{Registry: key.registry, Owner: key.owner, client: a.Client, only: only}
			out = append(out, all[key])
		}
		all[key].specs = append(all[key].specs, a.Spec)
	}
	slices.SortFunc(out, func(a, b *Belongings) int {
		return cmp.Or(cmp.Compare(a.Registry, b.Registry), cmp.Compare(a.Owner.Name(), b.Owner.Name()))
	})
	for _, b := range out {
		if err := b.look(ctx); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// look lists the organization. In one that does not exist there is nothing.
func (b *Belongings) look(ctx context.Context) error {
	infos, answer, err := b.client.ListRobots(ctx, b.Owner, quay.ListOptions{})
	if errors.Is(err, quay.ErrForbidden) && !b.Owner.IsUser() {
		// Quay refuses the list of an organization that does not exist (docs/quay-contract.md 1.4).
		if exists, lookErr := b.client.OrganizationExists(ctx, b.Owner); lookErr == nil && !exists {
			infos, err = nil, nil
		}
	}
	switch {
	case err != nil:
		return fmt.Errorf("listing the robots of %s: %w", b.Owner, err)
	case answer.Date.IsZero() && len(infos) > 0:
		return fmt.Errorf("listing the robots of %s: the answer has no Date, and only Quay's own time can be trusted", b.Owner)
	}
	b.At, b.sent = answer.Date, answer.Sent
	b.Robots, b.Stays, b.Others = nil, nil, 0
	for _, info := range infos {
		b.sort(info)
	}
	slices.SortFunc(b.Robots, func(x, y Belonging) int {
		// Of each chain what is served comes last: if this is cut off, it is what is left.
		return cmp.Or(cmp.Compare(baseOf(x.Robot), baseOf(y.Robot)), cmp.Compare(x.generation, y.generation))
	})
	slices.SortFunc(b.Stays, func(x, y Staying) int { return cmp.Compare(x.Robot.Short(), y.Robot.Short()) })
	return nil
}

func baseOf(r quay.Robot) string {
	if base, ok := quay.BaseOf(r.Short()); ok {
		return base
	}
	return r.Short()
}

// sort finds out whose robot one is. Like everywhere, it is ours only if its marker names this instance and exactly this robot.
func (b *Belongings) sort(info quay.RobotInfo) {
	stays := func(format string, args ...any) {
		b.Stays = append(b.Stays, Staying{info.Robot, fmt.Sprintf(format, args...)})
	}
	name := b.named(info.Robot)
	m, marked := parseMarker(info.Description)
	switch {
	case (!marked || b.only != "") && name == "":
		b.Others++
	case !marked:
		stays("it does not carry quaygen's marker")
	case m.Instance != b.specs[0].Instance:
		stays(foreignInstance+"%q, not to %q", m.Instance, b.specs[0].Instance)
	case !m.names(info.Robot):
		stays("its marker names generation %d of %q", m.Generation, m.Robot)
	default:
		b.Robots = append(b.Robots, Belonging{info.Robot, name, info.Created, info.LastAccessed, m.Generation})
	}
}

// names reports whether the marker is that of this very robot: a generation, or one of a fixed name.
func (m marker) names(r quay.Robot) bool {
	base, err := quay.NewRobot(r.Owner(), m.Robot)
	if err != nil {
		return false
	}
	n, ok := r.GenerationOf(base)
	return ok && n == m.Generation || r == base && m.Generation == 0
}

// named returns the configured robot that one belongs to by its name; empty: none.
func (b *Belongings) named(r quay.Robot) string {
	for _, s := range b.specs {
		short := r.Short()
		if !s.Strategy.fixed() {
			base, ok := quay.BaseOf(short)
			if !ok {
				continue
			}
			short = base
		}
		_, tenant := namespacePart(s.Base, short)
		if s.Scope == Shared && short == s.Base.Short() || s.Scope == PerNamespace && tenant {
			return s.Name
		}
	}
	return ""
}

// End deletes the robots that were listed before, calls gone for each, and returns what is left and why. The error says why it
// was given up before the end. It does no more than was listed: what it finds besides, somebody else made meanwhile. A list is
// taken again and again, so that no deletion rests on an old one (rule 3). Repeating it is harmless.
func (b *Belongings) End(ctx context.Context, gone func(Belonging)) ([]Staying, error) {
	listed := slices.Clone(b.Robots)
	tried := map[quay.Robot]string{} // why it may still be there
	for {
		if err := b.look(ctx); err != nil {
			return remaining(listed, tried, nil), err
		}
		worked := false
		for _, r := range b.Robots {
			if _, done := tried[r.Robot]; done || !slices.ContainsFunc(listed, func(l Belonging) bool { return l.Robot == r.Robot && l.Created.Equal(r.Created) }) {
				continue
			}
			if worked && elapsed(b.sent) >= min(deleteFresh, b.specs[0].Safety.StepDeadline) {
				break
			}
			worked = true
			if err := b.end(ctx, r, tried); err != nil {
				return remaining(listed, tried, b.Robots), err
			}
			if tried[r.Robot] == stillListed {
				gone(r)
			}
		}
		if !worked {
			return b.left(tried), nil
		}
	}
}

const stillListed = "Quay says that it is deleted, and still lists it"

// end deletes one robot. An error means that there is no sense in going on.
func (b *Belongings) end(ctx context.Context, r Belonging, tried map[quay.Robot]string) error {
	settle := b.specs[0].Safety.Settle
	switch {
	case b.At.Sub(r.Created) < settle:
		tried[r.Robot] = fmt.Sprintf("it is younger than %v, and a delayed request could bring its name back; repeat this then", settle)
		return nil
	case r.generation >= minute(b.At):
		tried[r.Robot] = fmt.Sprintf("its number could be given out again until %s; repeat this then", clock(epoch.Add(time.Duration(r.generation+1)*time.Minute)))
		return nil
	}
	_, err := b.client.DeleteRobot(ctx, r.Robot)
	switch {
	case err == nil || errors.Is(err, quay.ErrRobotMissing):
		tried[r.Robot] = stillListed
		return nil
	case errors.Is(err, quay.ErrMirrorInUse), errors.Is(err, quay.ErrInvalid), errors.Is(err, quay.ErrNotFound):
		tried[r.Robot] = err.Error()
		return nil
	case errors.Is(err, quay.ErrUnreachable), errors.Is(err, quay.ErrUnavailable), errors.Is(err, quay.ErrMalformed):
		tried[r.Robot] = "it may be deleted or not, as Quay's answer did not come"
	}
	return err
}

// remaining is what is left when Quay could not be asked to the end: all but what it said to have deleted, or does not list.
func remaining(listed []Belonging, tried map[quay.Robot]string, last []Belonging) (left []Staying) {
	for _, r := range listed {
		why, begun := tried[r.Robot]
		switch {
		case why == stillListed:
		case begun:
			left = append(left, Staying{r.Robot, why})
		case last == nil || slices.ContainsFunc(last, func(l Belonging) bool { return l.Robot == r.Robot }):
			left = append(left, Staying{r.Robot, "its turn did not come"})
		}
	}
	return left
}

// left is what the last list shows of this installation after all was tried.
func (b *Belongings) left(tried map[quay.Robot]string) (left []Staying) {
	for _, r := range b.Robots {
		why := tried[r.Robot]
		if why == "" {
			why = "it was made meanwhile: a server of this installation still runs; stop it, and repeat this"
		}
		left = append(left, Staying{r.Robot, why})
	}
	return left
}
