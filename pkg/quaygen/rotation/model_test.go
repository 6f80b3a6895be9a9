package rotation

import (
	"flag"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/quaygen/quaygen/pkg/quaygen/quay"
)

var (
	modelDepth  = flag.Int("model.depth", 0, "how many more of each scenario's disturbances the model tries, and how many more ticks")
	modelStates = flag.Int("model.states", 20_000, "how many states of each scenario the model visits, nearest first, and a twentieth of it with the strategy regenerate; 0: all")
)

// TestNoInterleavingBreaksAnInvariant tries every order in which two replicas can act, within small bounds:
// each scenario names what may go wrong, and how often, and everything goes wrong at every moment at which it can. The
// replicas are the real ones: Memory, Plan, orders, and what the engine makes of steps.
//
// The search is breadth-first, so that what a failure prints is one of the shortest ways to it.
func TestNoInterleavingBreaksAnInvariant(t *testing.T) {
	for _, sc := range slices.Concat(scenarios, ledgerScenarios) {
		t.Run(sc.name, func(t *testing.T) {
			t.Parallel()
			sc = sc.deeper(*modelDepth)
			states := *modelStates
			if sc.inPlace {
				states /= 20 // there each takes longer, since what becomes of it is tried too
			}
			if underRace {
				states = 500
			}
			found := sc.search(breach{}, states)
			t.Logf("%d states in %d ticks with %v%s", found.states, sc.ticks, sc.most, map[bool]string{true: ": there are more"}[found.more])
			if found.broken != "" {
				t.Errorf("%s\n%s", found.broken, strings.Join(found.trace, "\n"))
			}
		})
	}
}

// disturbances are how often what may go wrong does.
type disturbances struct {
	crash, pause, cut int // of a replica, which starts anew with nothing, or goes on whenever it does
	login             int // a replica cannot log in from then on
	grants            int // Quay takes no grants for a while
	lag               int // lists that show how things stood at the end of the last tick
	lost              int // answers, after what they answer was done
	strayed           int // creations that arrive after their answer was given up
	late              int // steps that passed the deadline's check before their process was stopped
	human             int // deletions of the newest generation by hand
	number            int // creations by hand of a robot with the next number
	force, revoke     int // orders, to either replica
	jump              int // of Quay's clock

	// Only with the strategy regenerate, where human, lost, strayed and late are about the regeneration and the ledger's writes.
	ledger  int // a replica cannot use the ledger for a while
	unread  int // a replica lists, but cannot read the robot itself, for a while
	stale   int // reads of the token that show the one before
	refused int // regenerations that Quay clearly refuses
	older   int // losses of the ledger, or restorations of what it was before the last write
}

func (d disturbances) String() string {
	var out []string
	for i, n := range d.counts() {
		if *n > 0 {
			out = append(out, fmt.Sprintf("%d %s", *n, reflect.TypeOf(d).Field(i).Name))
		}
	}
	return "{" + strings.Join(out, ", ") + "}"
}

// counts are pointers to d's fields, in their order.
func (d *disturbances) counts() []*int {
	return []*int{&d.crash, &d.pause, &d.cut, &d.login, &d.grants, &d.lag, &d.lost, &d.strayed, &d.late, &d.human, &d.number, &d.force, &d.revoke, &d.jump,
		&d.ledger, &d.unread, &d.stale, &d.refused, &d.older}
}

// A scenario bounds a search.
type scenario struct {
	name  string
	ticks int
	most  disturbances

	empty       bool // starts without any generation; else shortly before the first rotation is due
	lagging     bool // any list may lag
	overlaps    [2]time.Duration
	window      time.Duration // to publish a new generation in; 0 stands for 3 ticks
	skew        time.Duration // of Quay's clock
	unpublished int           // ahead of the newest published one; 0 stands for 1
	live        int           // 0 stands for 3
	calm        bool          // nothing goes wrong, and in the end everything is done

	inPlace bool          // with the strategy regenerate, in model_regenerate_test.go
	lead    int           // how many ticks before the rotation is due it starts
	amid    bool          // the ledger may be put back while a rotation is open
	beyond  time.Duration // by how much longer than promised a late regeneration may be on its way
}

const tick = time.Minute

// modelSpec is as tight as I1 allows with times in whole ticks, so that a bound missed by one tick shows. The
// inequalities that give slack and availability (I2, I3, I6) do not hold, and quiet is as good as always satisfied.
func modelSpec() Spec {
	return Spec{
		Name: "puller", Instance: "test", Base: testBase, Strategy: Overlap,
		Every: 12 * tick, Overlap: 5 * tick, Quiet: time.Second, Max: 8 * tick, MaxRefresh: tick, Sync: tick,
		Safety:      Safety{Settle: 100 * time.Second, StepDeadline: 30 * time.Second, ClockAllowance: 5 * time.Second, AllowUnsafeTiming: true},
		Permissions: Permissions{Repositories: []RepositoryGrant{{"app", quay.RoleRead}}},
	}
}

var scenarios = []scenario{
	{name: "S1 nothing goes wrong", ticks: 14, calm: true},
	{name: "S1b nothing goes wrong from the start on", ticks: 20, empty: true, calm: true},
	{name: "S2 lists lag", ticks: 10, lagging: true},
	{name: "S2b lists lag from the start on", ticks: 6, empty: true, lagging: true},
	{name: "S3 Quay's clock is ahead", ticks: 6, empty: true, skew: 3 * time.Hour},
	{name: "S4 grants fail for a while", ticks: 14, most: disturbances{grants: 1}},
	{name: "S5 one cannot log in", ticks: 10, most: disturbances{login: 1, lag: 1}},
	{name: "S6 one is cut off", ticks: 10, most: disturbances{cut: 1}},
	{name: "S6b one is cut off and has another overlap", ticks: 10, most: disturbances{cut: 1}, overlaps: [2]time.Duration{5 * tick, 7 * tick}},
	{name: "S6c grants fail, one is cut off", ticks: 8, most: disturbances{cut: 1, grants: 1}, window: tick},
	{name: "S7 one is paused", ticks: 10, most: disturbances{pause: 1}},
	{name: "S7b one is paused, a rotation is asked for", ticks: 8, most: disturbances{pause: 1, force: 1}},
	{name: "S7c one is paused, two revocations", ticks: 4, most: disturbances{pause: 1, revoke: 2}, live: 4, unpublished: 2},
	{name: "S7d a step is sent late, two revocations", ticks: 4, most: disturbances{pause: 1, late: 1, revoke: 2}, live: 5, unpublished: 3},
	{name: "S7e one is paused, a revocation, from the start on", ticks: 4, empty: true, most: disturbances{pause: 1, revoke: 1}, unpublished: 2},
	{name: "S8 one crashes", ticks: 9, most: disturbances{crash: 1}},
	{name: "S8b one crashes, one cannot log in", ticks: 9, most: disturbances{crash: 1, login: 1}},
	{name: "S8c one crashes, grants fail", ticks: 9, most: disturbances{crash: 1, grants: 1}},
	{name: "S8d one crashes, one is cut off", ticks: 9, most: disturbances{crash: 1, cut: 1}},
	{name: "S9 somebody deletes the newest", ticks: 9, most: disturbances{human: 1, lag: 1}},
	{name: "S9c somebody deletes the newest, one crashes", ticks: 9, most: disturbances{human: 1, crash: 1}},
	{name: "S9d somebody deletes the newest, one is paused", ticks: 9, most: disturbances{human: 1, pause: 1}},
	{name: "S10 rotations are asked for again and again", ticks: 8, most: disturbances{force: 3}},
	{name: "S11 a revocation, lists lag", ticks: 7, most: disturbances{revoke: 1, lag: 2}, live: 4, unpublished: 2},
	{name: "S11b two revocations", ticks: 6, most: disturbances{revoke: 2}, live: 4, unpublished: 2},
	{name: "S12 Quay's clock jumps", ticks: 9, most: disturbances{jump: 1, cut: 1}},
	{name: "S13 one is paused, one cannot log in", ticks: 9, most: disturbances{pause: 1, login: 1}},
	{name: "S14 answers are lost", ticks: 9, most: disturbances{lost: 2}},
	{name: "S15 creations arrive after they were given up", ticks: 5, empty: true, most: disturbances{strayed: 2, crash: 1}, unpublished: 2},
	{name: "S16 somebody takes the next number", ticks: 9, most: disturbances{number: 1, lag: 1}},
}

// deeper allows more of what the scenario allows at all.
func (sc scenario) deeper(by int) scenario {
	if by == 0 {
		return sc
	}
	sc.ticks += by
	for _, n := range sc.most.counts() {
		if *n > 0 {
			*n += by
		}
	}
	return sc
}

// start returns the state a search begins with.
func (sc scenario) start(b breach) *model {
	if sc.inPlace {
		return sc.startInPlace(b)
	}
	w := newWorld()
	w.skew = sc.skew
	s := &model{w: w, held: map[int64]time.Time{}, left: sc.most, scenario: &sc, breach: b}
	for i := range s.replicas {
		spec := modelSpec()
		if sc.overlaps[i] > 0 {
			spec.Overlap = sc.overlaps[i]
			spec.Max = spec.Overlap + 3*tick
			spec.Every = spec.Max + 4*tick
		}
		if sc.window > 0 {
			spec.Max = spec.Overlap + sc.window
		}
		r := w.newReplica(string(rune('A'+i)), spec)
		s.replicas[i] = &actor{replica: r, revoking: -1}
	}
	if !sc.empty {
		// The rules under test are broken only from here on.
		for start := w.now; ; w.now = w.now.Add(tick) {
			for _, a := range s.replicas {
				a.sync()
			}
			next := s.replicas[0].memory().Plan().Next // the first's is the earlier one
			if !next.IsZero() && w.now.After(start) && next.Sub(w.quayNow()) <= 2*tick {
				break
			}
		}
		w.now = w.now.Add(tick)
	}
	for i, a := range s.replicas {
		a.rules = b.rules
		s.replicas[i].phase = due
	}
	s.before = w.list(0)
	s.ends = w.now.Add(time.Duration(sc.ticks) * tick)
	return s
}

type finding struct {
	states int
	broken string
	trace  []string
	more   bool // there are more states than the search was allowed
}

// search visits every state that can be reached, nearest first, until an invariant is broken or it has seen most states
// (0: however many there are).
func (sc scenario) search(b breach, most int) finding {
	first := sc.start(b)
	type origin struct {
		from   int32
		choice uint8
	}
	seen := map[fingerprint]struct{}{first.key(): {}}
	origins := []origin{{-1, 0}}
	type reached struct {
		*model
		at int32
	}
	for front := []reached{{first, 0}}; len(front) > 0; {
		var next []reached
		for _, s := range front {
			for i, choose := range s.choices() {
				n := s.clone()
				choose(n)
				n.check()
				if len(n.w.broken) > 0 {
					path := []uint8{uint8(i)}
					for at := s.at; origins[at].from >= 0; at = origins[at].from {
						path = append(path, origins[at].choice)
					}
					slices.Reverse(path)
					return finding{states: len(origins), broken: n.w.broken[0], trace: sc.replay(b, path)}
				}
				key := n.key()
				if _, ok := seen[key]; ok {
					continue
				}
				seen[key] = struct{}{}
				next = append(next, reached{n, int32(len(origins))})
				origins = append(origins, origin{s.at, uint8(i)})
			}
		}
		if front = next; most > 0 && len(origins) > most {
			return finding{states: len(origins), more: true}
		}
	}
	return finding{states: len(origins)}
}

// replay tells what happens along a path of choices.
func (sc scenario) replay(b breach, path []uint8) (trace []string) {
	s := sc.start(b)
	began := s.w.now
	for _, i := range path {
		choose := s.choices()[i]
		s = s.clone() // as the search does
		s.w.log = func(format string, args ...any) {
			trace = append(trace, fmt.Sprintf("%2d  ", s.w.now.Sub(began)/tick)+fmt.Sprintf(format, args...))
		}
		choose(s)
		s.check()
	}
	return trace
}

// choices are all that can happen next.
func (s *model) choices() (out []func(*model)) {
	if s.book != nil {
		return s.choicesInPlace()
	}
	can := func(what func(*model)) { out = append(out, what) }
	for i, a := range s.replicas {
		act := func(what func(*model, *actor)) { can(func(n *model) { what(n, n.replicas[i]) }) }
		s.replicaChoices(a, act)
		if a.flying != nil {
			act((*model).arrive)
		}
	}
	if slices.ContainsFunc(s.replicas[:], func(a *actor) bool { return a.upcoming() == Grant && !a.paused() }) {
		switch { // whether grants fail shows only then
		case s.w.grantsFail:
			can(func(n *model) { n.w.grantsFail = false; n.w.log("grants work again") })
		case s.left.grants > 0:
			can(func(n *model) { n.disturb(&n.left.grants); n.w.grantsFail = true; n.w.log("grants fail") })
		}
	}
	if f := s.oldEnough(); f != nil && s.left.human > 0 {
		can((*model).deleteByHand)
	}
	if s.left.number > 0 {
		can((*model).takeNumber)
	}
	if s.left.jump > 0 {
		can(func(n *model) { n.jump(2 * time.Hour) })
		can(func(n *model) { n.jump(-2 * time.Hour) })
	}
	if s.mayTick() {
		can((*model).tick)
	}
	return out
}

func (s *model) replicaChoices(a *actor, act func(func(*model, *actor))) {
	if a.paused() {
		act((*model).resume)
		return
	}
	switch a.phase {
	case due, again:
		act(func(n *model, a *actor) { n.list(a, false) })
		if !a.cut && (s.scenario.lagging || s.left.lag > 0) && !sameRobots(s.before, s.w.list(0)) {
			act(func(n *model, a *actor) { n.list(a, true) })
		}
	case working:
		act(func(n *model, a *actor) { n.step(a, false) })
		if s.left.lost > 0 && !a.cut {
			act(func(n *model, a *actor) { n.disturb(&n.left.lost); n.step(a, true) })
		}
		if s.left.strayed > 0 && !a.cut && a.flying == nil && a.upcoming() == Create {
			act((*model).stray)
		}
		if s.left.late > 0 && a.listing.Sent.Before(s.w.now) {
			act((*model).stepLate)
		}
	case resting: // anything else might as well happen before its next list
		s.orderChoices(a, act)
		return
	case recalling, reading, begun, looked: // only with the strategy regenerate
	}
	if s.left.crash > 0 {
		act((*model).crash)
	}
	if s.left.pause > 0 {
		act((*model).pause)
	}
	switch {
	case s.left.cut > 0 && !a.cut:
		act(func(n *model, a *actor) { n.disturb(&n.left.cut); a.cut = true; n.w.log("%s is cut off", a.name) })
	case a.cut && a.phase == due:
		act(func(n *model, a *actor) { a.cut = false; n.w.log("%s reaches Quay again", a.name) })
	}
	if s.left.login > 0 && !a.noLogin && a.upcoming() == Prove {
		act(func(n *model, a *actor) {
			n.disturb(&n.left.login)
			a.noLogin = true
			n.w.log("%s cannot log in any more", a.name)
		})
	}
	if a.phase == due {
		s.orderChoices(a, act)
	}
}

// orderChoices are what operators may ask of a replica, which makes it list at once.
func (s *model) orderChoices(a *actor, act func(func(*model, *actor))) {
	if a.memory().at.IsZero() {
		return
	}
	if s.left.force > 0 && !a.forced {
		act(func(n *model, a *actor) {
			n.disturb(&n.left.force)
			a.forced = true
			n.w.log("an operator asks %s for a rotation", a.name)
		})
	}
	if s.left.revoke > 0 && a.revoking < 0 && s.w.newestPublished() != nil {
		act((*model).revoke)
	}
}

func sameRobots(a, b []quay.RobotInfo) bool {
	return slices.EqualFunc(a, b, func(x, y quay.RobotInfo) bool {
		return x.Robot == y.Robot && x.LastAccessed.Equal(y.LastAccessed) && slices.Equal(x.Repositories, y.Repositories)
	})
}

// upcoming returns what the next step of a's is, if it is still to be sent.
func (a *actor) upcoming() Action {
	for _, t := range a.todo {
		if key := t.step.String(); a.chain.failed[key] == nil && !a.chain.tried[key] {
			return t.step.Action
		}
	}
	return 0
}

func (s *model) disturb(left *int) { *left-- }

// list is a list, and what the replica makes of it.
func (s *model) list(a *actor, lagging bool) {
	if a.phase == due {
		a.begin()
	}
	if a.cut {
		s.w.log("%s: its list fails", a.name)
		a.failList()
		s.finish(a)
		return
	}
	l, _ := a.list(s.w.now, 0)
	if lagging {
		s.left.lag = max(0, s.left.lag-1)
		l.Robots, a.behind = s.before, tick
		if a.rules.see != nil {
			l.Robots = a.rules.see(a.replica, l.Robots)
		}
	}
	l.At = l.At.Add(s.breach.offsets[slices.Index(s.replicas[:], a)])
	revocation := s.takeOrders(a)
	a.observe(l)
	s.told(a, revocation)
	s.w.log("%s: %s shows %s, plans %v", a.name, map[bool]string{false: "a list", true: "a LAGGING list"}[lagging], numbers(l), a.steps())
	a.phase = working
	if a.upcoming() == 0 {
		s.finish(a)
	}
}

func numbers(l Listing) string {
	var out []string
	for _, info := range l.Robots {
		if n, ok := info.Robot.GenerationOf(testBase); ok {
			out = append(out, fmt.Sprintf("g%d", n))
		}
	}
	return "{" + strings.Join(out, " ") + "}"
}

// takeOrders makes the orders that operators wait for anew, which know nothing that the memory does not keep or the
// operator does not name. It returns that of a revocation.
func (s *model) takeOrders(a *actor) (revocation *order) {
	wait := func(step func(*Memory) (bool, error)) *order {
		o := &order{step: step, result: make(chan error, 1)}
		a.chain.working = append(a.chain.working, o)
		return o
	}
	if a.forced {
		a.forced = false
		rotate := rotateOnce
		if s.breach.force != nil {
			rotate = s.breach.force
		}
		wait(rotate())
	}
	if a.revoking >= 0 {
		var through atomic.Int64
		through.Store(a.revoking)
		return wait(revokeOnce(&through))
	}
	return nil
}

// told sees whether the order of a revocation is answered.
func (s *model) told(a *actor, o *order) {
	a.chain.working = nil
	if o == nil || len(o.result) == 0 {
		return
	}
	s.w.log("%s: the revocation of all up to g%d is done: %v", a.name, a.revoking, <-o.result)
	if a.leaked.live() {
		s.w.fail("G: the revocation of %s is done, although it lives", a.leaked)
	}
	a.revoking, a.leaked = -1, nil
}

// step sends the next step, whose answer comes at once or is lost.
func (s *model) step(a *actor, lost bool) {
	if a.upcoming() == s.breach.old {
		a.rules.noDeadline = true
	}
	step, ok := a.next()
	a.rules.noDeadline = s.breach.noDeadline
	switch {
	case !ok:
		s.w.log("%s: its list is too old to go on", a.name)
	case a.cut:
		s.w.log("%s: %s does not get through", a.name, step)
		a.giveUp(step)
	default:
		s.send(a, step, lost)
	}
	if a.upcoming() == 0 {
		s.finish(a)
	}
}

func (s *model) send(a *actor, step Step, lost bool) {
	if lost {
		s.w.log("the answer to the following gets lost")
	}
	f := s.w.robots[step.Robot.Short()]
	newest := s.w.newestPublished()
	a.send(step)()(lost)
	// A deletion amid the step deadline is beyond all care; one that was there to be seen is not.
	if step.Action == Delete && f != nil && !f.live() && f == newest {
		since := s.w.now.Add(-a.spec.Safety.StepDeadline - a.behind)
		if !s.w.humanDeleted(f.number, since) {
			s.w.fail("B: %s deletes %s, the newest published generation", a.name, f)
		}
	}
}

// giveUp is what becomes of a step that got no answer.
func (a *actor) giveUp(step Step) {
	switch step.Action {
	case Create:
		a.memory().Taken(step.Generation)
	case Prove:
		a.memory().Proved(step.Generation, a.memory().at, false, "no answer")
	default:
	}
	a.done(step, quay.ErrUnreachable)
}

// stray gives a creation up that arrives later.
func (s *model) stray(a *actor) {
	s.disturb(&s.left.strayed)
	if step, ok := a.next(); ok {
		s.w.log("%s: %s gets no answer", a.name, step)
		a.flying = &step
		a.giveUp(step)
	}
	if a.upcoming() == 0 {
		s.finish(a)
	}
}

func (s *model) arrive(a *actor) {
	step := *a.flying
	a.flying = nil
	mark := marker{Instance: a.spec.Instance, Robot: a.spec.Base.Short(), Generation: step.Generation, Timing: a.spec.timing()}
	_, err := s.w.create(step.Robot, mark.String(), a.name)
	s.w.log("%s of %s arrives: %v", step, a.name, err)
}

// stepLate sends a step although its list is too old by now: the process was stopped after it had looked.
func (s *model) stepLate(a *actor) {
	s.disturb(&s.left.late)
	a.rules.noDeadline = true
	step, ok := a.next()
	a.rules.noDeadline = s.breach.noDeadline
	if ok {
		s.w.log("what follows is LATE")
		s.send(a, step, false)
	}
	if a.upcoming() == 0 {
		s.finish(a)
	}
}

// finish ends what one list allowed.
func (s *model) finish(a *actor) {
	if a.phase == working {
		a.publish()
	}
	a.todo = nil
	switch {
	case a.worked:
		a.phase = again
		return
	case a.phase == working && a.listing.Sent.Before(s.w.now): // it was stopped meanwhile, and its next sync is overdue
		a.phase = due
	default:
		a.phase = resting
	}
	a.begin()
}

func (s *model) crash(a *actor) {
	s.disturb(&s.left.crash)
	s.w.log("%s crashes", a.name)
	a.restart()
	a.phase, a.forced, a.revoking, a.leaked = due, false, -1, nil
	a.pending, a.knows = nil, knowledge{}
	a.listing, a.leaseSent, a.leaseFor, a.behind = Listing{}, time.Time{}, 0, 0
}

func (s *model) pause(a *actor) {
	s.disturb(&s.left.pause)
	s.w.log("%s is stopped", a.name)
	a.pausedUntil = s.ends.Add(tick)
}

func (s *model) resume(a *actor) {
	s.w.log("%s goes on", a.name)
	a.pausedUntil = time.Time{}
	if a.phase == resting && a.memory().sent.Before(s.w.now) {
		a.phase = due
	}
}

// revoke asks for the end of what leaked: what is in use now, whatever the replica asked knows of it.
func (s *model) revoke(a *actor) {
	s.disturb(&s.left.revoke)
	a.leaked, a.phase = s.w.newestPublished(), due
	a.revoking = a.leaked.number
	if s.breach.revoke != nil {
		a.revoking = s.breach.revoke(a.memory())
	}
	s.w.log("an operator asks %s for the end of all up to g%d", a.name, a.revoking)
}

// oldEnough returns the newest generation, if nobody can have decided on its number for a new one any more.
func (s *model) oldEnough() *fake {
	gens := s.w.generations()
	if len(gens) == 0 {
		return nil
	}
	f := gens[len(gens)-1]
	if s.w.now.Sub(f.born) < 2*tick || f.number >= minute(s.w.quayNow()) {
		return nil
	}
	return f
}

func (s *model) deleteByHand() {
	s.disturb(&s.left.human)
	f := s.oldEnough()
	s.w.end(f, "human")
	s.w.log("somebody deletes %s: %s", f, s.w)
}

func (s *model) takeNumber() {
	s.disturb(&s.left.number)
	n := minute(s.w.quayNow())
	for _, f := range s.w.ever {
		n = max(n, f.number+1)
	}
	robot, err := testBase.Generation(n)
	if err != nil {
		panic(err)
	}
	s.w.add(robot.Short(), "somebody's own", "human")
	s.w.log("somebody creates %s", robot.Short())
}

func (s *model) jump(d time.Duration) {
	s.disturb(&s.left.jump)
	s.w.skew += d
	s.w.log("Quay's clock jumps by %v", d)
}

// mayTick reports whether nobody has to do anything before the time goes on.
func (s *model) mayTick() bool {
	if !s.w.now.Before(s.ends) {
		return false
	}
	for _, a := range s.replicas {
		if a.flying != nil || !a.paused() && a.phase != resting {
			return false
		}
	}
	return true
}

func (s *model) tick() {
	s.before = s.w.list(0)
	if slices.ContainsFunc(s.replicas[:], func(a *actor) bool { return a.serve() != nil }) {
		maps.DeleteFunc(s.held, func(_ int64, got time.Time) bool { return s.w.now.Sub(got) >= modelSpec().MaxRefresh })
	}
	s.w.now = s.w.now.Add(tick)
	for _, a := range s.replicas {
		if a.phase == resting {
			a.phase = due
		}
	}
	if s.scenario.calm {
		s.checkDue()
	}
}

// check looks at what must hold in every state, other than what the world notices itself (B and D).
//
// Every consumer that could be is there at once: whatever a replica would answer at this moment, somebody got, and
// holds until it must ask again and is answered.
func (s *model) check() {
	if s.book != nil {
		s.checkInPlace()
		return
	}
	for _, a := range s.replicas {
		f := a.serve()
		switch {
		case f == nil:
		case f.endedBy == "revoked" && !a.shouldKnow(f), f.endedBy == "human":
		case !f.live():
			s.w.fail("A: %s hands out %s, which is %s", a.name, f, f.endedBy)
		default:
			s.held[f.number] = s.w.now
		}
	}
	for _, f := range s.w.ever {
		if got, ok := s.held[f.number]; ok && (f.endedBy == "retired" || f.endedBy == "unused") {
			s.w.fail("A: a consumer holds %s since %v, and it is %s", f, s.w.now.Sub(got), f.endedBy)
		}
	}
	if n := s.w.unpublished(); n > max(1, s.scenario.unpublished) {
		s.w.fail("C: %d generations are unpublished: %s", n, s.w)
	}
	most := s.scenario.live
	if most == 0 {
		most = 3
	}
	if n := len(s.w.generations()); n > most {
		s.w.fail("E: %d generations live: %s", n, s.w)
	}
}

// checkDue looks at what must have happened where nothing goes wrong.
func (s *model) checkDue() {
	spec := s.replicas[0].spec
	newest := s.w.newestPublished()
	if newest == nil || s.w.now.Sub(newest.born) > spec.Every+tick {
		s.w.fail("F: %s is the newest published generation: %s", newest, s.w)
	}
	if n := len(s.w.generations()); n > 1 && s.w.now.Sub(newest.born) > spec.Overlap+2*tick {
		s.w.fail("F: %d generations live: %s", n, s.w)
	}
}
