package rotation

import (
	"crypto/sha256"
	"fmt"
	"slices"
	"time"

	"github.com/quaygen/quaygen/pkg/quaygen/ledger"
)

// tell renders a record.
func (s *model) tell(r ledger.Record) string {
	switch {
	case r.Robot.IsZero():
		return "nothing"
	case r.Intent.IsZero():
		return fmt.Sprintf("token %d", s.numberOf(r.Fingerprint))
	}
	return fmt.Sprintf("token %d and the intent to end %d", s.numberOf(r.Fingerprint), s.numberOf(r.Intent.Fingerprint))
}

// checkInPlace looks at what replicas hand out.
func (s *model) checkInPlace() {
	for _, a := range s.replicas {
		f := a.serve()
		switch {
		case f == nil:
		case f.published.IsZero():
			s.w.fail("R3: %s hands out token %d, with which nobody has logged in", a.name, f.number)
		case f.number < a.knows.newest:
			s.w.fail("R2: %s hands out token %d, and knows of token %d", a.name, f.number, a.knows.newest)
		case a.knows.open:
			s.w.fail("R2: %s hands out token %d, and knows that its end is intended", a.name, f.number)
		case f.endedBy == "retired" && s.expected() && s.w.now.Sub(a.knows.read) >= 3*a.spec.Sync:
			s.w.fail("R2: %s hands out token %d, which ended, and read it last %v ago", a.name, f.number, s.w.now.Sub(a.knows.read))
		}
	}
}

// expected reports whether every replica knows when the next rotation is due: until then it may serve from memory. None was
// asked for, no ledger that was lost while a rotation was open counts from a later moment, and Quay's clock did not jump.
func (s *model) expected() bool {
	most := s.scenario.most
	return s.left.force == most.force && s.left.revoke == most.revoke && s.left.older == most.older && s.left.jump == most.jump
}

// calmTicks is within how many ticks all is well once nothing goes wrong any more: a refused rotation is tried again, an
// open one is taken over and proven not to be done, and another one is due.
const calmTicks = refusalSyncs + 8

// checkEnd sees what happens if nothing goes wrong from here on.
func (s *model) checkEnd() {
	if len(s.w.broken) > 0 {
		return
	}
	wrong, passed := s.end(func(string, ...any) {})
	if wrong == "" {
		for _, key := range passed {
			s.well[key] = struct{}{}
		}
		return
	}
	s.w.log("and if nothing goes wrong from here on:")
	_, _ = s.end(s.w.log)
	s.w.fail("%s", wrong)
}

// end says what is wrong long after nothing goes wrong any more, and through which states it came there.
func (s *model) end(log func(string, ...any)) (wrong string, passed []fingerprint) {
	n := s.clone()
	n.w.log = log
	for _, a := range n.replicas {
		a.pausedUntil, a.cut, a.noLedger, a.noLogin, a.unread = time.Time{}, false, false, false, false
	}
	for len(n.book.posts) > 0 {
		p := n.book.posts[0]
		n.book.posts = n.book.posts[1:]
		n.carryOut(p)
	}
	n.book.pens, n.left = nil, disturbances{}
	for i := range calmTicks + 3 {
		key := n.key()
		if _, ok := s.well[key]; ok {
			return "", passed
		}
		passed = append(passed, key)
		for _, a := range n.replicas {
			n.run(a)
			n.checkInPlace()
		}
		if len(n.w.broken) > 0 {
			return n.w.broken[0], nil
		}
		if i >= calmTicks { // a rotation that is just under way may take another tick
			if wrong = n.unwell(); wrong == "" {
				return "", passed
			}
		}
		n.passTick()
	}
	return "R5: long after trouble has ended " + wrong, nil
}

// unwell says what is not as it shall be when nothing has gone wrong for a while.
func (s *model) unwell() string {
	r, spec := s.book.record, inPlaceSpec()
	switch {
	case !s.book.exists || s.numberOf(r.Fingerprint) != s.token().number:
		return "the ledger has " + s.tell(r)
	case !r.Intent.IsZero():
		return "a rotation is open"
	case s.w.quayNow().Sub(r.Changed) > spec.Every-spec.early()+2*tick:
		return "a rotation is overdue"
	}
	for _, a := range s.replicas {
		if f := a.serve(); f != s.token() {
			return fmt.Sprintf("%s hands out %v, not the token that Quay has", a.name, f)
		}
	}
	return ""
}

// keyInPlace is the state's fingerprint.
func (s *model) keyInPlace() fingerprint {
	b := s.book
	e := make(encoding, 0, 4096)
	e.add(s.w.now, s.w.skew, s.left, b.exists, essence(b.record), len(b.posts))
	for _, p := range b.posts {
		e.add(p.intended, p.seen, p.behind, p.asked, p.until)
	}
	for _, p := range b.pens {
		e.add(essence(p.record), s.rank(p.old))
	}
	if s.left.older > 0 {
		e.add(essence(b.earlier))
	}
	for _, f := range s.w.ever {
		e.add(f.published.IsZero(), f.creator == "human")
	}
	e.add(s.token().born)
	var each [2]encoding
	for i, a := range s.replicas {
		r := &each[i]
		r.add(s.known(a), a.phase, a.forced, a.revoking, s.index(a.leaked), a.cut, a.noLogin, a.noLedger, a.unread, a.paused())
		r.add(a.clock.at, a.clock.sent, a.clock.frozen, a.clock.agreed, a.listing.At, a.listing.Sent)
		r.add(a.knows.newest, a.knows.open, since(s.w.now, a.knows.read, 3*a.spec.Sync))
		if a.lease != nil {
			r.add(s.index(a.lease), a.leaseSent, a.leaseFor)
		}
		switch a.phase {
		case recalling:
			r.add(a.began)
		case looked:
			r.add(a.knows.look)
		default:
		}
		if a.phase != due && a.phase != resting {
			r.add(a.chain.failed, a.chain.tried, a.worked, a.knows.pass)
		}
		if a.phase == working || a.pending != nil {
			r.add(len(a.todo), a.rest, a.stage, a.pending != nil)
			for _, t := range a.todo {
				r.add(t.step.Action, t.step.Token, essence(t.step.Record))
			}
			if a.pending != nil {
				r.add(a.pending.Action, a.pending.Token, essence(a.pending.Record), a.began)
			}
		}
	}
	slices.SortFunc(each[:], func(a, b encoding) int { return slices.Compare(a, b) })
	sum := sha256.Sum256(append(append(e, each[0]...), each[1]...))
	return fingerprint(sum[:16])
}

// known is what a replica knows, without what makes no difference.
func (s *model) known(a *actor) Memory {
	c := a.memory().canonical()
	c.first, c.trouble, c.troubled, c.shaken = time.Time{}, time.Time{}, false, time.Time{}
	for n, g := range c.gens {
		h := *g
		h.regarded, h.served, h.evident, h.proofAt = 0, 0, time.Time{}, time.Time{}
		h.tokenRead = a.memory().gens[n].tokenRead
		c.gens[n] = &h
	}
	k, safety := &c.kept, a.spec.Safety
	until := func(t time.Time, most time.Duration) time.Time {
		if t.IsZero() || c.sent.Sub(t) <= most {
			return t
		}
		return c.sent.Add(-most - tick)
	}
	k.since, k.mine, k.alive = until(k.since, safety.takeover()), until(k.mine, safety.lease()), until(k.alive, safety.Settle)
	k.version, k.record = s.rank(k.version), essence(k.record)
	return c
}

// rank is all that counts of a version: whether it is the one that the ledger has.
func (s *model) rank(v ledger.Version) ledger.Version {
	switch {
	case v == "":
		return ""
	case s.book.exists && v == s.book.version():
		return "this"
	}
	return "another"
}

// essence is a record without what is only for people.
func essence(r ledger.Record) ledger.Record {
	if i := &r.Intent; !i.IsZero() {
		asked := i.Reason == whyForced || i.Reason == whyRevoked
		*i = ledger.Intent{ID: "id", Fingerprint: i.Fingerprint, Reason: map[bool]string{true: whyForced, false: ""}[asked]}
	}
	return r
}
