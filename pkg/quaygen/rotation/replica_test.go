package rotation

import (
	"errors"
	"log/slog"
	"maps"
	"slices"
	"time"

	"github.com/quaygen/quaygen/pkg/quaygen/ledger"
	"github.com/quaygen/quaygen/pkg/quaygen/quay"
)

// A replica is a process that looks after the robot of a world: the real Memory, Plan and orders, with the work that the
// organization's loop does around them done by hand, so that anything can happen between any two moments of it.
type replica struct {
	w     *world
	name  string
	spec  Spec
	chain *chain
	clock *organization // compares Quay's clock with elapsed time, as the real one
	rules rules

	cut          bool // cannot reach Quay
	noLogin      bool // cannot reach /v2/auth
	denied       bool // its logins count, but pull is denied
	pausedUntil  time.Time
	listing      Listing
	behind       time.Duration // how far the last list was behind
	todo         []todo
	worked, rest bool // the pass did something; the rest of the current stage is left for the next list
	stage        int
	lease        *fake
	leaseSent    time.Time
	leaseFor     time.Duration
}

// rules are the ways in which a test makes a replica break a rule, to see that the checks notice.
type rules struct {
	plan        func(r *replica, p Plan) Plan
	see         func(r *replica, robots []quay.RobotInfo) []quay.RobotInfo
	noValidity  bool     // serves from memory for ever
	noDeadline  bool     // sends steps however old the list is
	serveSecond bool     // serves what comes before the newest it sees until it proved that itself
	serveOpen   bool     // serves the token while a rotation is open
	amid        []string // the faults of its histories; nil: any
}

type todo struct {
	step   Step
	stage  int
	within time.Duration
}

// testTiming is as tight as Check allows where settle and the step deadline are the real ones.
func testSpec() Spec {
	return Spec{
		Name: "puller", Instance: "test", Base: testBase, Strategy: Overlap,
		Every: 15 * time.Minute, Overlap: 390 * time.Second, Quiet: 2 * time.Minute, Max: 700 * time.Second,
		MaxRefresh: 3 * time.Minute, Sync: 30 * time.Second,
		Safety:      Safety{Settle: time.Minute, StepDeadline: 30 * time.Second, ClockAllowance: 5 * time.Second, AllowUnsafeTiming: true},
		Permissions: Permissions{Repositories: []RepositoryGrant{{"app", quay.RoleRead}, {"lib", quay.RoleWrite}}},
	}
}

func (w *world) newReplica(name string, spec Spec) *replica {
	r := &replica{w: w, name: name, spec: spec}
	r.restart()
	return r
}

// restart is what a crash leaves: nothing.
func (r *replica) restart() {
	r.chain = newChain(r.spec, "quay", nil, &organization{engine: &Engine{events: newEventLog(nil)}})
	r.clock = &organization{log: slog.New(slog.DiscardHandler), chains: map[quay.Robot]*chain{r.spec.Base: r.chain}}
	r.todo, r.lease, r.worked = nil, nil, false
}

func (r *replica) memory() *Memory { return r.chain.memory }

// begin starts a sync: what failed or was tried may be tried again.
func (r *replica) begin() {
	clear(r.chain.failed)
	clear(r.chain.tried)
}

// takeOrders is what happens before a list is sent.
func (r *replica) takeOrders() {
	r.chain.working = append(r.chain.working, r.chain.orders...)
	r.chain.orders = nil
}

// list is a list at Quay, sent at some earlier time and behind by so much.
func (r *replica) list(sent time.Time, behind time.Duration) (Listing, bool) {
	if r.cut {
		return Listing{}, false
	}
	r.behind = behind
	robots := r.w.list(behind)
	if r.rules.see != nil {
		robots = r.rules.see(r, robots)
	}
	return Listing{At: r.w.quayNow(), Sent: sent, Robots: robots}, true
}

// observe is what a replica does with a list's answer before it does anything in Quay.
func (r *replica) observe(l Listing) {
	r.see(l)
	r.decide()
}

// see takes in a list.
func (r *replica) see(l Listing) {
	m := r.memory()
	r.listing, r.worked, r.rest, r.stage = l, false, false, 0
	r.clock.compareClocks(l)
	m.SetSpec(r.spec)
	m.SetFrozen(r.clock.frozen)
	m.SetAccessTimes(!r.w.noConfig && !r.rules.serveSecond, !r.w.noAccess)
	m.Observe(l, r.wanted())
}

// decide plans.
func (r *replica) decide() {
	m := r.memory()
	r.chain.work()
	plan := m.Plan()
	if r.rules.plan != nil {
		plan = r.rules.plan(r, plan)
	}
	r.todo = nil
	for i, st := range stages(r.spec.Safety) {
		for _, s := range plan.Steps {
			if st.has(s.Action) {
				r.todo = append(r.todo, todo{s, i, st.within})
			}
		}
	}
	r.publish()
	r.chain.tell(nil)
}

// failList is what a replica does when a list fails.
func (r *replica) failList() {
	r.memory().Trouble()
	r.todo, r.worked = nil, false
}

func (r *replica) wanted() Wanted {
	w := Wanted{Grants: map[string]quay.Role{}, Teams: r.spec.Permissions.Teams}
	for _, p := range r.spec.Permissions.Repositories {
		if r.w.repositories[p.Pattern] {
			w.Grants[p.Pattern] = p.Role
		} else {
			w.Missing = append(w.Missing, p.Pattern)
		}
	}
	return w
}

// publish hands what the memory now says to readers, and notes for the world what counts as published.
func (r *replica) publish() {
	m := r.memory()
	r.lease = nil
	look := m
	if r.rules.serveOpen {
		look = m.clone()
		look.kept.record.Intent = ledger.Intent{}
	}
	if g, validity, _ := look.servable(); g != nil {
		r.leaseSent, r.leaseFor = m.sent, validity
		r.lease = r.byToken(g)
	}
	for _, g := range m.gens {
		if g.published && g.present {
			if f := r.w.find(g.Number); f != nil && f.published.IsZero() {
				f.published = r.w.now
				r.w.log("%s regards %s as published", r.name, f)
			}
		}
	}
	if r.rules.serveSecond {
		r.servePrevious()
	}
}

func (r *replica) byToken(g *generation) *fake {
	for _, f := range r.w.ever {
		if f.token.Equal(g.token) {
			return f
		}
	}
	return nil
}

// serve returns what a consumer gets now; nil if nothing.
func (r *replica) serve() *fake {
	if r.paused() || r.lease == nil {
		return nil
	}
	if r.w.now.Sub(r.leaseSent) >= r.leaseFor && !r.rules.noValidity {
		return nil
	}
	return r.lease
}

func (r *replica) paused() bool { return r.w.now.Before(r.pausedUntil) }

// shouldKnow reports whether the lists of r must have made it believe that f is gone: absence counts when it has lasted
// over settle.
func (r *replica) shouldKnow(f *fake) bool {
	asOf := r.listing.At.Add(-r.w.skew - r.behind)
	return asOf.Sub(f.ended) > r.spec.Safety.Settle+2*r.spec.Sync
}

// next returns the next step that may be sent now, if any.
func (r *replica) next() (Step, bool) {
	for len(r.todo) > 0 {
		t := r.todo[0]
		r.todo = r.todo[1:]
		if t.stage != r.stage {
			r.stage, r.rest = t.stage, false
		}
		key := t.step.String()
		if r.rest || r.chain.failed[key] != nil || r.chain.tried[key] {
			continue
		}
		if r.w.now.Sub(r.listing.Sent) >= t.within && !r.rules.noDeadline {
			r.rest = true
			continue
		}
		r.chain.tried[key] = true
		return t.step, true
	}
	return Step{}, false
}

// send begins a step. What it returns is what happens in Quay when the call arrives; that returns what the replica
// does with the answer.
func (r *replica) send(s Step) (arrive func() (answer func(lost bool))) {
	m := r.memory()
	r.w.log("%s: %s", r.name, s)
	if f := r.w.robots[s.Robot.Short()]; f != nil && (!f.owned || f.number < 0) && s.Action != Create {
		r.w.fail("%s does %q to a robot that is not ours", r.name, s)
	}
	switch s.Action {
	case Create:
		return func() func(bool) { return r.sendCreate(m, s) }
	case Delete:
		return r.sendDelete(s)
	case Prove:
		r.checkNotSuperseded(s)
	default:
	}
	return func() func(bool) {
		tell, err := r.effect(m, s)
		return func(lost bool) {
			if lost {
				tell, err = nil, quay.ErrUnreachable
				if s.Action == Prove {
					m.Proved(s.Generation, m.at, false, "no answer")
				}
			}
			if tell != nil {
				tell()
			}
			r.done(s, err)
		}
	}
}

func (r *replica) done(s Step, err error) {
	if err != nil {
		r.chain.failed[s.String()] = err
		if s.Action == Delete {
			r.memory().NotDeleted(s.Generation, err)
		}
		if errors.Is(err, quay.ErrReadOnly) {
			r.memory().Trouble()
		}
		r.w.log("%s: %s failed: %v", r.name, s, err)
		return
	}
	if s.Action == Verify {
		r.publish()
	}
	r.worked = true
}

func (r *replica) sendCreate(m *Memory, s Step) func(bool) {
	listing := r.listing
	mark := marker{Instance: r.spec.Instance, Robot: r.spec.Base.Short(), Generation: s.Generation, Timing: r.spec.timing()}
	f, err := r.w.create(s.Robot, mark.String(), r.name)
	if err == nil {
		r.w.log("%s exists now: %s", f, r.w)
	}
	return func(lost bool) {
		if lost {
			err = quay.ErrUnreachable
		}
		switch {
		case err == nil:
			m.Created(s.Generation, quay.RobotInfo{Robot: s.Robot, Created: f.created, Token: f.token}, r.w.now.Sub(listing.Sent) >= r.spec.Safety.StepDeadline)
		case errors.Is(err, quay.ErrRobotExists):
			m.Taken(s.Generation)
			err = nil
		case errors.Is(err, quay.ErrUnreachable):
			m.Taken(s.Generation)
		}
		r.done(s, err)
	}
}

func (r *replica) sendDelete(s Step) func() func(bool) {
	m, rests := r.memory(), r.listing.At.Add(-r.w.skew-r.behind-time.Second)
	why := "retired"
	switch {
	case s.Unused:
		why = "unused"
		if f := r.w.robots[s.Robot.Short()]; f == nil || !f.lastAccessed.IsZero() {
			return func() func(bool) { return func(bool) {} }
		}
	case m.revoke != nil && s.Generation <= m.revoke.through:
		why = "revoked"
	}
	return func() func(bool) {
		err := r.w.delete(s.Robot, why, r.name, rests)
		if err == nil {
			r.w.log("%s deleted g%d (%s): %s", r.name, s.Generation, why, r.w)
		}
		if errors.Is(err, quay.ErrRobotMissing) {
			err = nil
		}
		return func(bool) { r.done(s, err) }
	}
}

// checkNotSuperseded: a login as a generation that others moved on from would look like use. What a list can show no
// login rests on any more.
func (r *replica) checkNotSuperseded(s Step) {
	for _, f := range r.w.generations() {
		known := f.published
		if f.number > s.Generation && !known.IsZero() && r.w.now.Sub(known) > r.spec.Safety.Settle && r.w.now.Sub(f.born) > r.spec.Safety.Settle {
			r.w.fail("%s logs in as g%d, although %s is published for %v", r.name, s.Generation, f, r.w.now.Sub(known))
		}
	}
}

// effect is what a call other than a creation or deletion does in Quay, and what the answer tells the memory.
func (r *replica) effect(m *Memory, s Step) (tell func(), err error) {
	w := r.w
	f := w.robots[s.Robot.Short()]
	switch {
	case s.Action == Prove:
		return r.prove(m, s, f)
	case s.Action == Verify && f == nil:
		return func() { m.Vanished(s.Generation) }, nil
	case s.Action == Verify:
		return func() { m.Verified(s.Generation, f.token, !f.token.Equal(m.gens[s.Generation].token)) }, nil
	case f == nil:
		return nil, quay.ErrRobotMissing
	}
	switch s.Action {
	case Grant, Ungrant:
		switch {
		case w.readOnly:
			return nil, quay.ErrReadOnly
		case w.grantsFail || !w.repositories[s.Repository]:
			return nil, quay.ErrUnavailable
		case s.Action == Grant:
			f.roles[s.Repository] = s.Role
		default:
			delete(f.roles, s.Repository)
		}
		w.remember()
		return func() { m.Granted(s.Generation, s.Repository, s.Role) }, nil
	case ReadToken:
		return func() { m.TokenRead(s.Generation, f.token) }, nil
	case ReadRoles:
		roles := maps.Clone(f.roles)
		return func() { m.RolesRead(s.Generation, roles) }, nil
	default: // the others never get here
	}
	return nil, nil
}

func (r *replica) prove(m *Memory, s Step, f *fake) (tell func(), err error) {
	if f != nil && m.gens[s.Generation].token.IsZero() {
		m.TokenRead(s.Generation, f.token)
	}
	at := r.w.quayNow()
	switch {
	case r.noLogin:
		err = quay.ErrUnreachable
	case f == nil, !f.token.Equal(m.gens[s.Generation].token):
		err = quay.ErrLoginRefused
	default:
		r.w.login(f)
	}
	if err != nil {
		return func() { m.Proved(s.Generation, m.at, false, err.Error()) }, err
	}
	for _, repository := range s.Proof {
		if r.denied || f.roles[repository] == quay.RoleUnknown {
			return func() { m.Proved(s.Generation, at, true, "denied") }, errors.New("denied")
		}
	}
	return func() { m.Proved(s.Generation, at, true, "") }, nil
}

// sync is a whole sync that takes no time.
func (r *replica) sync() {
	r.begin()
	for pass := 0; r.pass(0) && pass < 20; pass++ {
	}
}

// pass lists once and does what that allows.
func (r *replica) pass(behind time.Duration) (again bool) {
	r.look(behind)
	return r.work()
}

// look lists and plans.
func (r *replica) look(behind time.Duration) {
	r.takeOrders()
	if l, ok := r.list(r.w.now, behind); ok {
		r.observe(l)
	} else {
		r.failList()
	}
}

// work does what the last list allows.
func (r *replica) work() (again bool) {
	for {
		s, ok := r.next()
		if !ok {
			r.publish()
			return r.worked
		}
		r.send(s)()(false)
	}
}

// steps returns what is planned and not yet done.
func (r *replica) steps() []string {
	var out []string
	for _, t := range r.todo {
		out = append(out, t.step.String())
	}
	return out
}

// served returns the number served now; -1: none.
func (r *replica) served() int64 {
	if f := r.serve(); f != nil {
		return f.number
	}
	return -1
}

// order gives the replica an order as an operator does.
func (r *replica) order(step func(*Memory) (bool, error)) *order {
	ord := &order{step: step, result: make(chan error, 1)}
	r.chain.orders = append(r.chain.orders, ord)
	return ord
}

// servePrevious is the first design's mistake: what the replica did not publish itself is not published, and the
// one before is served.
func (r *replica) servePrevious() {
	m := r.memory()
	gens := slices.DeleteFunc(m.ascending(), func(g *generation) bool { return !g.present || !g.Owned })
	if n := len(gens); n >= 2 && gens[n-1].proof != proven {
		g := gens[n-2]
		r.lease, r.leaseSent, r.leaseFor = r.w.find(g.Number), m.sent, m.timingOf(g).servable(m.spec.Safety)
	}
}
