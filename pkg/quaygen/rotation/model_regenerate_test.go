package rotation

import (
	"slices"
	"time"

	"github.com/quaygen/quaygen/pkg/quaygen/ledger"
	"github.com/quaygen/quaygen/pkg/quaygen/quay"
)

// The model of the strategy regenerate: one robot, whose tokens follow each other, and one ledger. What a replica does between
// two lists is taken apart further than with overlap, as a rotation can end anywhere in it: it lists, reads the ledger, reads the token,
// plans, does a step; and before it asks Quay it reads the token once more and looks at its lease.
//
// Three things are not in it, because nothing could prevent what follows (docs/rotation.md): a request that Quay
// carries out later than takeover after its intent was written, an earlier state of the ledger put back while a rotation is open, and a last look
// that does not show yet what a person did. The scenarios in hopeless show that the model finds each.

// underway is for how long a request may be on its way when its client is gone.
func underway(s Safety) time.Duration { return s.StepDeadline + s.workerTime() }

var ledgerScenarios = withRegenerate([]scenario{
	{name: "L1 nothing goes wrong", ticks: 14},
	{name: "L1b nothing goes wrong from the start on", ticks: 14, empty: true},
	{name: "L2 crashes", ticks: 8, most: disturbances{crash: 2}},
	{name: "L3 a pause", ticks: 8, most: disturbances{pause: 1}},
	{name: "L3a pauses", ticks: 8, most: disturbances{pause: 2}},
	{name: "L3b one is paused, one crashes", ticks: 8, most: disturbances{pause: 1, crash: 1}},
	{name: "L4 Quay is out of reach", ticks: 8, most: disturbances{cut: 2}},
	{name: "L4b the ledger is out of reach", ticks: 8, most: disturbances{ledger: 2}},
	{name: "L4c Quay and the ledger are out of reach", ticks: 8, most: disturbances{cut: 1, ledger: 1}},
	{name: "L4d the robot cannot be read, nor the ledger", ticks: 9, most: disturbances{unread: 1, ledger: 1}},
	{name: "L4e the ledger is out of reach, one is paused", ticks: 8, most: disturbances{ledger: 1, pause: 1}},
	{name: "L5 answers are lost", ticks: 8, most: disturbances{lost: 2}},
	{name: "L5b an answer is lost, one crashes", ticks: 8, most: disturbances{lost: 1, crash: 1}},
	{name: "L5c an answer is lost, one is paused", ticks: 8, most: disturbances{lost: 1, pause: 1}},
	{name: "L6 requests arrive after they were given up", ticks: 8, most: disturbances{strayed: 2}},
	{name: "L6b a request arrives after it was given up, one crashes", ticks: 8, most: disturbances{strayed: 1, crash: 1}},
	{name: "L6c a request arrives after it was given up, one is paused", ticks: 8, most: disturbances{strayed: 1, pause: 1}},
	{name: "L6d one is paused, then a request arrives after it was given up", ticks: 6, lead: 3, most: disturbances{strayed: 1, pause: 1}},
	{name: "L7 a regeneration is late", ticks: 8, most: disturbances{late: 1}},
	{name: "L7a a regeneration is late, one crashes", ticks: 8, most: disturbances{late: 1, crash: 1}},
	{name: "L7b a regeneration is late, one is paused", ticks: 8, most: disturbances{late: 1, pause: 1}},
	{name: "L8 reads are behind", ticks: 8, most: disturbances{stale: 3}},
	{name: "L8b reads are behind, an answer is lost", ticks: 8, most: disturbances{stale: 2, lost: 1}},
	{name: "L8c reads are behind, one crashes", ticks: 8, most: disturbances{stale: 3, crash: 1}},
	{name: "L8d a read is behind, one is paused", ticks: 8, most: disturbances{stale: 1, pause: 1}},
	{name: "L9 somebody regenerates", ticks: 8, most: disturbances{human: 2}},
	{name: "L9b somebody regenerates, one crashes", ticks: 8, most: disturbances{human: 1, crash: 1}},
	{name: "L9c somebody regenerates, one is paused", ticks: 8, most: disturbances{human: 1, pause: 1}},
	{name: "L9d somebody regenerates, an answer is lost", ticks: 8, most: disturbances{human: 1, lost: 1}},
	{name: "L9e somebody regenerates, a read is behind", ticks: 8, most: disturbances{human: 1, stale: 1}},
	{name: "L10 Quay refuses", ticks: 14, most: disturbances{refused: 2}},
	{name: "L10b Quay refuses, one crashes", ticks: 8, most: disturbances{refused: 1, crash: 1}},
	{name: "L10c Quay refuses, one is paused", ticks: 8, most: disturbances{refused: 1, pause: 1}},
	{name: "L11 the ledger is lost", ticks: 8, most: disturbances{older: 2}},
	{name: "L11b the ledger is lost, one crashes", ticks: 8, most: disturbances{older: 1, crash: 1}},
	{name: "L11c the ledger is lost, one is paused", ticks: 8, most: disturbances{older: 1, pause: 1}},
	{name: "L12 one cannot log in", ticks: 8, most: disturbances{login: 1, crash: 1}},
	{name: "L13 rotations are asked for", ticks: 7, most: disturbances{force: 2}},
	{name: "L13b a rotation is asked for, one crashes", ticks: 6, most: disturbances{force: 1, crash: 1}},
	{name: "L13c a revocation, one is paused", ticks: 6, most: disturbances{revoke: 1, pause: 1}},
	{name: "L14 Quay's clock jumps", ticks: 8, most: disturbances{jump: 1, pause: 1}},
})

// hopeless are scenarios in which Quay is asked twice, or a person's token ends, and nothing here can prevent it.
var hopeless = withRegenerate([]scenario{
	{name: "H1 a regeneration is on its way for too long", ticks: 8, most: disturbances{late: 1}, beyond: tick},
	{name: "H2 the ledger is put back while a rotation is open", ticks: 4, most: disturbances{older: 1}, amid: true},
	{name: "H3 the last look is behind", ticks: 4, most: disturbances{human: 1, stale: 1}},
})

func withRegenerate(scenarios []scenario) []scenario {
	for i := range scenarios {
		scenarios[i].inPlace = true
	}
	return scenarios
}

// A book is the ledger of a model, with what is on its way to it and to Quay.
type book struct {
	record  ledger.Record
	exists  bool
	writes  int           // there ever were; the record's version
	earlier ledger.Record // what it was before the last write; of no robot: there was none
	posts   []post
	pens    []pen
}

// A post is a regeneration on its way to Quay.
type post struct {
	by       string
	intended int64 // the token that its intent names
	seen     int64 // the one that Quay had at the last look
	behind   bool  // that was a read that did not show it
	asked    bool  // it need not be due: somebody asked for it
	until    time.Time
}

// A pen is a write that was given up and is on its way to the ledger.
type pen struct {
	record ledger.Record
	old    ledger.Version
}

// knowledge is what a replica has learned when it last told readers what to hand out.
type knowledge struct {
	newest int64     // the newest token that it has read, or of which the ledger told it
	open   bool      // a rotation is open, as far as the ledger told it
	read   time.Time // when it last read the token

	pass struct { // in the pass under way, which it has not told readers yet
		newest int64
		open   bool
	}
	look struct { // the last one before Quay is asked
		seen   int64
		behind bool
	}
}

func (b *book) clone() *book {
	if b == nil {
		return nil
	}
	c := *b
	c.posts, c.pens = slices.Clone(b.posts), slices.Clone(b.pens)
	return &c
}

func (sc scenario) startInPlace(b breach) *model {
	w := newWorld()
	w.skew, w.noAccess = sc.skew, true
	s := &model{w: w, left: sc.most, scenario: &sc, breach: b, book: &book{}, well: map[fingerprint]struct{}{}}
	spec := inPlaceSpec()
	mark := marker{Instance: spec.Instance, Robot: spec.Base.Short(), Timing: spec.timing()}
	first := w.add(spec.Base.Short(), mark.String(), "A")
	first.number, first.roles["app"] = 1, quay.RoleRead
	w.remember()
	for i := range s.replicas {
		s.replicas[i] = &actor{replica: w.newReplica(string(rune('A'+i)), spec), revoking: -1}
	}
	if !sc.empty {
		for {
			for _, a := range s.replicas {
				s.run(a)
			}
			next := s.replicas[0].memory().Plan().Next
			s.passTick()
			if !next.IsZero() && !next.After(w.quayNow().Add(time.Duration(sc.lead)*tick)) {
				break
			}
		}
	}
	for _, a := range s.replicas {
		a.rules = b.rules // broken only from here on
	}
	s.ends = w.now.Add(time.Duration(sc.ticks) * tick)
	return s
}

// run lets a replica do all that it does before the next tick, with nothing in its way.
func (s *model) run(a *actor) {
	for a.phase != resting {
		switch a.phase {
		case due, again:
			s.listInPlace(a)
		case recalling:
			s.recall(a)
		case reading:
			s.read(a, false)
		case looked:
			s.ask(a, arrives)
		default:
			s.act(a, arrives)
		}
	}
}

// choicesInPlace are all that can happen next.
func (s *model) choicesInPlace() (out []func(*model)) {
	can := func(what func(*model)) { out = append(out, what) }
	for i, a := range s.replicas {
		mine := len(out)
		s.actorInPlace(a, func(what func(*model, *actor)) { can(func(n *model) { what(n, n.replicas[i]) }) })
		if (a.phase == due || a.phase == again) && !a.paused() && s.left.jump == 0 {
			// What others do makes no difference to a list, nor the list to them: all that can happen before can happen after.
			return out[mine:]
		}
	}
	for i := range s.book.posts {
		can(func(n *model) {
			p := n.book.posts[i]
			n.book.posts = slices.Delete(n.book.posts, i, i+1)
			n.carryOut(p)
		})
	}
	for i := range s.book.pens {
		can(func(n *model) {
			p := n.book.pens[i]
			n.book.pens = slices.Delete(n.book.pens, i, i+1)
			n.w.log("a write that was given up arrives")
			_, _ = n.write(p.record, p.old)
		})
	}
	if s.left.human > 0 {
		can(func(n *model) {
			n.disturb(&n.left.human)
			n.replace("human")
		})
	}
	if s.left.older > 0 && s.book.exists {
		can(func(n *model) { n.lose(ledger.Record{}) })
		if e := s.book.earlier; !e.Robot.IsZero() && (s.scenario.amid || s.idle()) {
			can(func(n *model) { n.lose(e) })
		}
	}
	if s.left.jump > 0 {
		can(func(n *model) { n.jump(2 * time.Hour) })
		can(func(n *model) { n.jump(-2 * time.Hour) })
	}
	if s.mayTick() && !slices.ContainsFunc(s.book.posts, func(p post) bool { return !s.w.now.Before(p.until) }) {
		can(func(n *model) {
			n.passTick()
			n.checkEnd()
		})
	}
	return out
}

// idle reports whether no rotation is open, for anybody.
func (s *model) idle() bool {
	return s.book.record.Intent.IsZero() && len(s.book.posts) == 0 && len(s.book.pens) == 0 &&
		!slices.ContainsFunc(s.replicas[:], func(a *actor) bool { return a.pending != nil || a.upcoming() != 0 })
}

func (s *model) passTick() {
	s.w.now = s.w.now.Add(tick)
	for _, a := range s.replicas {
		if a.phase == resting {
			a.phase = due
		}
	}
}

// actorInPlace are the choices that a replica has, or that are had about it.
func (s *model) actorInPlace(a *actor, act func(func(*model, *actor))) {
	if a.paused() {
		act((*model).resume)
		return
	}
	switch a.phase {
	case due, again:
		act((*model).listInPlace)
	case recalling:
		act((*model).recall)
	case reading:
		act(func(n *model, a *actor) { n.read(a, false) })
		if s.mayLag(a) {
			act(func(n *model, a *actor) { n.read(a, true) })
		}
	case resting:
		s.ordersInPlace(a, act)
		return
	default:
		s.stepInPlace(a, act)
	}
	if s.left.crash > 0 {
		act((*model).crash)
	}
	if s.left.pause > 0 {
		act((*model).pause)
		if a.phase == working {
			act(func(n *model, a *actor) {
				if n.begin(a) {
					n.pause(a)
				}
			})
		}
	}
	for _, f := range []struct {
		name string
		left func(*disturbances) *int
		flag func(*actor) *bool
	}{
		{"Quay", func(d *disturbances) *int { return &d.cut }, func(a *actor) *bool { return &a.cut }},
		{"the ledger", func(d *disturbances) *int { return &d.ledger }, func(a *actor) *bool { return &a.noLedger }},
		{"the robot itself", func(d *disturbances) *int { return &d.unread }, func(a *actor) *bool { return &a.unread }},
		{"/v2/auth", func(d *disturbances) *int { return &d.login }, func(a *actor) *bool { return &a.noLogin }},
	} {
		switch off := *f.flag(a); {
		case !off && *f.left(&s.left) > 0:
			act(func(n *model, a *actor) {
				n.disturb(f.left(&n.left))
				*f.flag(a) = true
				n.w.log("%s cannot reach %s", a.name, f.name)
			})
		case off && a.phase == due:
			act(func(n *model, a *actor) {
				*f.flag(a) = false
				n.w.log("%s reaches %s again", a.name, f.name)
			})
		}
	}
	if a.phase == due {
		s.ordersInPlace(a, act)
	}
}

// mayLag reports whether a read of the token can show the one before.
func (s *model) mayLag(a *actor) bool {
	return s.left.stale > 0 && !a.cut && !a.unread && len(s.w.ever) > 1
}

// stepInPlace are the ways in which a step can go.
func (s *model) stepInPlace(a *actor, act func(func(*model, *actor))) {
	as := func(f fate) { act(func(n *model, a *actor) { n.act(a, f) }) }
	next := a.upcoming()
	if a.pending != nil {
		next = a.pending.Action
	}
	switch {
	case a.phase == looked:
		as = func(f fate) { act(func(n *model, a *actor) { n.ask(a, f) }) }
		as(arrives)
		if a.cut || !a.memory().askable(*a.pending, s.written(a)) {
			return
		}
		if s.left.refused > 0 {
			as(refuses)
		}
		if s.left.late > 0 {
			as(late)
		}
	case next == RegenerateToken:
		as(arrives)
		if s.mayLag(a) {
			as(behind)
		}
		return
	default:
		as(arrives)
		if next != Record && next != Intend {
			if s.left.lost > 0 && !a.cut {
				as(unanswered)
			}
			return
		}
		if a.noLedger {
			return
		}
	}
	if s.left.lost > 0 {
		as(unanswered)
		as(vanishes)
	}
	if s.left.strayed > 0 {
		as(strays)
	}
}

// ordersInPlace are what operators may ask of a replica.
func (s *model) ordersInPlace(a *actor, act func(func(*model, *actor))) {
	if a.memory().at.IsZero() {
		return
	}
	if s.left.force > 0 && !a.forced {
		act(func(n *model, a *actor) {
			n.disturb(&n.left.force)
			a.forced, a.phase = true, due
			n.w.log("an operator asks %s for a rotation", a.name)
		})
	}
	if s.left.revoke > 0 && a.revoking < 0 && a.serve() != nil {
		act(func(n *model, a *actor) {
			n.disturb(&n.left.revoke)
			a.leaked, a.revoking, a.phase = a.serve(), a.memory().kept.record.Rotations, due
			n.w.log("an operator asks %s for the end of token %d", a.name, a.leaked.number)
		})
	}
}
