package rotation

import (
	"cmp"
	"fmt"
	"time"
)

// delete plans what ends. Each case names the generation that makes the other one dispensable; nothing is ever deleted
// that does not carry our marker, or that is younger than settle, not even for a revocation (rules 2 and 8).
func (p *planner) delete(gens []*generation) {
	pub := p.published()
	for _, g := range gens {
		if !g.Owned || !g.present {
			continue
		}
		end := p.end
		if g == pub {
			end = func(g, _ *generation) (*Step, string) { return p.idle(g) }
		}
		step, until := end(g, pub)
		if step == nil {
			if until != "" {
				p.wait("%s is kept: %s", g.Robot.Username(), until)
			}
			continue
		}
		step.Action, step.Generation, step.Robot = Delete, g.Number, g.Robot
		switch {
		case p.frozen != "":
			p.wait("%s is kept: %s", g.Robot.Username(), p.frozen)
		case step.Unused && p.at.Sub(p.trouble) <= p.spec.Safety.Settle+2*p.spec.Sync:
			p.wait("%s is kept: Quay may not have recorded its use until %s", g.Robot.Username(), clock(p.trouble))
		case p.at.Sub(g.Created) < p.spec.Safety.Settle:
			p.wait("%s is kept until it is %v old, so that no delayed creation can bring its name back", g.Robot.Username(), p.spec.Safety.Settle)
		case p.at.Before(g.kept):
			p.wait("%s is kept until %s, since Quay refused to delete it", g.Robot.Username(), clock(g.kept))
		case p.highestOf(g) && g.Number >= minute(p.at):
			p.wait("%s is kept until its number has passed, so that it cannot be given out again", g.Robot.Username())
		default:
			p.step(*step)
			return // one deletion per list and chain (rule 18)
		}
	}
}

// highestOf reports whether no robot of the chain has a higher number than g: without g, a process that starts now would
// count on from a lower one.
func (p *planner) highestOf(g *generation) bool {
	for _, h := range p.gens {
		if h.Number > g.Number && h.present {
			return false
		}
	}
	return true
}

// end decides whether g's life is over; if not, until says what it waits for.
func (p *planner) end(g, pub *generation) (step *Step, until string) {
	newer := pub != nil && pub.Number > g.Number && pub.present
	revoked := p.revoke != nil && g.Number <= p.revoke.through
	neverUsed := g.accessed.IsZero() && !g.published && p.tells(g)
	switch {
	case revoked && newer && pub.Number > p.revoke.through:
		return &Step{Why: fmt.Sprintf("revoked: everything up to generation %d ends", p.revoke.through)}, ""
	case revoked && neverUsed && p.outgrown(g):
		return &Step{Unused: true, Why: fmt.Sprintf("revoked: everything up to generation %d ends, and it was never used", p.revoke.through)}, ""
	case revoked:
		return nil, "it is revoked as soon as a newer generation is published"
	case p.late(g) && neverUsed:
		return &Step{Unused: true, Why: "its creation was answered too late to be sure that the name was unused"}, ""
	case p.stray(g) && neverUsed:
		return &Step{Unused: true, Why: "it was created after a higher number and never used"}, ""
	case !g.published && !g.gone && (pub == nil || g.Number > pub.Number):
		return p.giveUp(g)
	}
	return p.superseded(g)
}

// outgrown reports whether a higher generation of ours has been there for so long that every replica has seen it, and none
// logs in with g any more: until then somebody may just publish g, and serve it while it is deleted as unused.
func (p *planner) outgrown(g *generation) bool {
	for _, h := range p.gens {
		if h.Number > g.Number && h.Owned && h.present && p.at.Sub(h.Created) > p.spec.Safety.Settle {
			return true
		}
	}
	return false
}

// giveUp ends a generation that nobody could publish in time, so that the next number can be tried (rule 12).
func (p *planner) giveUp(g *generation) (*Step, string) {
	switch {
	case !p.overdue(g, p.at.Add(-p.spec.Safety.Settle)):
		return nil, "" // there is time, or others may serve it
	case p.at.Sub(p.first) < g.Timing.MaxRefresh+p.spec.Sync:
		return nil, "" // the process before this one may have served it, while Quay did not record that; who got it asks again by then
	}
	return &Step{Unused: true, Why: "it could not be published since " + clock(g.Created) + p.holdup(g)}, ""
}

// superseded ends g when one newer generation has been published here for g's overlap and g is unused, or when g's
// latest end has come (rules 16 and 17). All times are those recorded on the two, whatever the configuration says now.
func (p *planner) superseded(g *generation) (*Step, string) {
	t := p.timingOf(g)
	until := ""
	for _, h := range p.ascending() {
		if h.Number <= g.Number || !h.published || !h.present || !p.eligible(h) {
			continue
		}
		latest := h.Created.Add(lifetime(t, h.Timing))
		if h.accessed.IsZero() { // nobody can see when others published it (rule 17)
			if h.proof != proven {
				until = "this process has not logged in with its successor yet"
				continue
			}
			latest = h.proofAt.Add(lifetime(t, h.Timing))
		} else if h.unused.Sub(h.Created) > h.Timing.window() && h.accessed.Add(t.Overlap).After(latest) {
			latest = h.accessed.Add(t.Overlap) // it was published later than its window allows, see overdue
		}
		if end := p.shaken.Add(t.Overlap); !p.shaken.IsZero() && end.After(latest) {
			latest = end // Quay's clock moved: how long ago h was created is not known, and others may serve g meanwhile (rule 1)
		}
		p.expect(g, latest.Add(t.MaxRefresh+p.spec.Sync))
		over := !p.at.Before(latest)
		quiet, loud := p.quiet(g)
		switch {
		case h.regarded >= t.Overlap && (quiet || over):
			return &Step{Why: fmt.Sprintf("%s has taken over for %v, %s", h.Robot.Username(), t.Overlap, reason(quiet, p.spec.Quiet, latest))}, ""
		case over && h.served >= t.MaxRefresh+p.spec.Sync:
			return &Step{Why: fmt.Sprintf("%s has taken over and %s", h.Robot.Username(), reason(false, 0, latest))}, ""
		case h.regarded < t.Overlap:
			until = fmt.Sprintf("its overlap runs for another %v", (t.Overlap - h.regarded).Round(time.Second))
		default:
			until = fmt.Sprintf("%s; it ends at %s at the latest", loud, clock(latest))
		}
	}
	return nil, until
}

// expect notes by when a draining generation has to be gone: its latest end, and the time for which a process that has just
// started then still serves its successor (rule 16). Of several successors the first to allow it counts.
func (p *planner) expect(g *generation, deadline time.Time) {
	for i := range p.Generations {
		s := &p.Generations[i]
		if s.State == StateDraining && s.Robot == g.Robot && (s.Deadline.IsZero() || deadline.Before(s.Deadline)) {
			s.Deadline = deadline
		}
	}
}

// lifetime is how long after the creation of a generation with next's times one with t's lives at the most. Where a
// change of the configuration lies between the two, next may be published as late as its own window allows, and
// t's overlap follows.
func lifetime(t, next timing) time.Duration { return max(t.Max, next.Max, next.window()+t.Overlap) }

func reason(quiet bool, unused time.Duration, latest time.Time) string {
	if quiet {
		return fmt.Sprintf("and it has not been used for %v", unused)
	}
	return "its latest end was " + clock(latest)
}

// quiet reports whether Quay shows that g has not been used for spec.Quiet. A null last_accessed is not "unused" but
// "unknown", and what Quay showed while it was read-only or unreachable proves nothing (rule 17).
func (p *planner) quiet(g *generation) (bool, string) {
	switch {
	case p.noAccess || g.LastAccessed.IsZero():
		return false, "Quay does not show when it was last used"
	case p.at.Sub(g.LastAccessed) < p.spec.Quiet:
		return false, "it was used at " + clock(g.LastAccessed)
	case p.at.Sub(p.trouble) < p.spec.Quiet:
		return false, "its use could not be watched until " + clock(p.trouble)
	}
	return true, ""
}

// describe tells people where each generation is.
func (p *planner) describe(gens []*generation) {
	current := p.published()
	if served, _, why := p.servable(); served == nil && (current == nil || !current.token.IsZero()) {
		p.wait("nothing is served: %s", why)
	}
	for _, g := range gens {
		s := GenerationState{Number: p.numberOf(g), Robot: g.Robot, Created: g.Created, LastAccessed: g.LastAccessed}
		switch {
		case !g.present:
			s.State, s.Note = StateMissing, g.hand
		case g == current:
			s.State, s.Note = StateCurrent, cmp.Or(g.alarm, g.hand)
		case !p.eligible(g) && !g.Owned:
			s.State, s.Note = StateConflict, g.Conflict
			p.warn("robot %s is in the way: %s; it is left alone", g.Robot.Username(), g.Conflict)
		case !p.eligible(g):
			s.State = StateStray
		case !g.published:
			s.State = StatePending
			if hold := p.holdup(g); hold != "" {
				s.Note = hold[len(": "):]
			}
		default:
			s.State, s.Note = StateDraining, g.hand
		}
		if g == current && g.alarm != "" {
			p.warn("%s is %s", g.Robot.Username(), g.alarm)
		}
		p.Generations = append(p.Generations, s)
	}
}
