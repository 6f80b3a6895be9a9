package rotation

import (
	"errors"
	"slices"
	"strconv"
	"time"

	"github.com/quaygen/quaygen/pkg/quaygen/ledger"
	"github.com/quaygen/quaygen/pkg/quaygen/quay"
)

// fate is what becomes of a request.
type fate int

const (
	arrives    fate = iota // and is answered
	unanswered             // it is carried out, but nobody is told
	vanishes               // it is not, and nobody is told
	strays                 // nobody is told, and it is carried out while or after its client gives up
	late                   // the same, but later than its client can know: its process is stopped, or something between holds it
	refuses                // Quay clearly says no
	behind                 // of a read: it shows the token before
)

var fateNames = [...]string{unanswered: " gets no answer", vanishes: " does not arrive", strays: " is given up", late: " is given up, and LATE", refuses: " is refused", behind: " shows what WAS"}

func (f fate) String() string { return fateNames[f] }

var errAway = errors.New("the ledger is out of reach")

// listInPlace is a list, and what a replica makes of it.
func (s *model) listInPlace(a *actor) {
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
	l.Robots = slices.Clone(l.Robots)
	for i := range l.Robots {
		l.Robots[i].Token = s.token().token
	}
	s.w.log("%s: a list", a.name)
	a.see(l)
	a.began, a.phase = s.w.now, recalling
	a.knows.pass.newest, a.knows.pass.open = 0, a.knows.open
}

// recall reads the ledger.
func (s *model) recall(a *actor) {
	var r ledger.Record
	var v ledger.Version
	var err error
	switch {
	case a.noLedger:
		err = errAway
	case !s.book.exists:
		err = ledger.ErrNotFound
	default:
		r, v = s.book.record, s.book.version()
	}
	at := s.w.now
	if s.breach.early {
		at = a.began
	}
	m := a.memory()
	was := m.gens[0].proof
	m.Remembered(r, v, err, at)
	if s.breach.keepProof {
		m.gens[0].proof = was
	}
	s.w.log("%s: the ledger has %s, %v", a.name, s.tell(r), err)
	if err == nil {
		a.knows.pass.open = !r.Intent.IsZero()
		a.knows.pass.newest = s.numberOf(r.Fingerprint)
	}
	a.phase = reading
}

// read reads the token and plans.
func (s *model) read(a *actor, lag bool) {
	step := Step{Action: ReadToken, Robot: a.spec.Base}
	if err := s.readToken(a, lag); err != nil {
		a.chain.failed[step.String()] = err
	}
	revocation := s.takeOrders(a)
	a.decide()
	s.told(a, revocation)
	s.publishes(a)
	s.w.log("%s: plans %v", a.name, a.steps())
	a.phase = working
	if a.upcoming() == 0 {
		s.finish(a)
	}
}

// publishes keeps what a replica knows at the moment at which it tells readers what to hand out.
func (s *model) publishes(a *actor) {
	k := &a.knows
	k.newest, k.open = max(k.newest, k.pass.newest), k.pass.open
}

func (s *model) readToken(a *actor, lag bool) error {
	if a.cut || a.unread {
		s.w.log("%s: the token cannot be read", a.name)
		return quay.ErrUnreachable
	}
	f := s.token()
	if lag {
		s.disturb(&s.left.stale)
		f = s.w.ever[len(s.w.ever)-2]
	}
	s.w.log("%s: reads token %d%s", a.name, f.number, map[bool]string{true: behind.String()}[lag])
	a.memory().TokenRead(0, f.token)
	a.knows.pass.newest, a.knows.read = max(a.knows.pass.newest, f.number), s.w.now
	return nil
}

// begin takes up the next step, if there is one for which the list is not too old.
func (s *model) begin(a *actor) bool {
	step, ok := a.next()
	if !ok {
		s.w.log("%s: its list is too old to go on", a.name)
		if a.upcoming() == 0 {
			s.finish(a)
		}
		return false
	}
	a.pending, a.began, a.phase = &step, s.w.now, begun
	return true
}

// act does the next step.
func (s *model) act(a *actor, f fate) {
	if a.phase == working && !s.begin(a) {
		return
	}
	step := *a.pending
	s.w.log("%s: %s%s", a.name, step, f)
	switch step.Action {
	case RegenerateToken:
		a.knows.look.seen, a.knows.look.behind = s.token().number, f == behind
		if !s.breach.noLook {
			if err := s.readToken(a, f == behind); err != nil {
				s.did(a, false, err)
				return
			}
		}
		a.phase = looked
	case Record, Intend:
		s.record(a, step, f)
	case Prove, Probe:
		s.login(a, step, f)
	default:
		s.w.fail("%s plans %s", a.name, step)
	}
}

func (s *model) login(a *actor, step Step, f fate) {
	m, robot := a.memory(), s.token()
	if f == unanswered {
		s.disturb(&s.left.lost)
	}
	if step.Action == Prove {
		tell, err := func() {}, quay.ErrUnreachable
		if !a.cut {
			tell, err = a.prove(m, step, robot)
		}
		if a.cut || f == unanswered {
			tell, err = func() { m.Proved(0, m.at, false, "no answer") }, quay.ErrUnreachable
		} else if err == nil && robot.published.IsZero() {
			robot.published = s.w.now // its first login
		}
		tell()
		s.did(a, err == nil, err)
		return
	}
	var err error
	switch {
	case a.cut, a.noLogin, f == unanswered:
		err = quay.ErrUnreachable
	case !m.gens[0].token.Equal(robot.token):
		err = quay.ErrLoginRefused
	}
	err = m.Probed(a.began, err)
	s.did(a, err == nil, err)
}

// record writes into the ledger, as keep.go does.
func (s *model) record(a *actor, step Step, f fate) {
	m := a.memory()
	if step.Action == Intend {
		step.Record.Intent.ID, step.Record.Intent.Holder = "id", "a replica"
	}
	var v ledger.Version
	err := errAway
	switch {
	case a.noLedger:
	case f == vanishes:
		s.disturb(&s.left.lost)
	case f == strays:
		s.disturb(&s.left.strayed)
		s.book.pens = append(s.book.pens, pen{step.Record, m.kept.version})
	default:
		v, err = s.write(step.Record, m.kept.version)
		if f == unanswered {
			s.disturb(&s.left.lost)
			v, err = "", errAway
		}
	}
	did, err := m.Written(step.Record, v, err, a.began)
	if v != "" {
		a.knows.pass.open = !step.Record.Intent.IsZero()
	}
	s.did(a, did, err)
}

// write is what the ledger does with a write in place of the version old; "": of none.
func (s *model) write(r ledger.Record, old ledger.Version) (ledger.Version, error) {
	b := s.book
	switch {
	case s.breach.noConflict:
	case old == "" && b.exists:
		return "", ledger.ErrExists
	case old != "" && (!b.exists || old != b.version()):
		s.w.log("the ledger has changed meanwhile")
		return "", ledger.ErrConflict
	}
	if err := r.Check(); err != nil {
		s.w.fail("%v", err)
	}
	f := s.w.ever[s.numberOf(r.Fingerprint)-1]
	if f.published.IsZero() {
		s.w.fail("R3: token %d is recorded, with which nobody has logged in", f.number)
	}
	if b.exists {
		b.earlier = b.record
	}
	b.writes++
	b.record, b.exists = r, true
	s.w.log("the ledger has %s now", s.tell(r))
	return b.version(), nil
}

// lose makes the ledger what it was, or nothing.
func (s *model) lose(r ledger.Record) {
	s.disturb(&s.left.older)
	b := s.book
	b.writes++
	b.record, b.exists, b.earlier = r, !r.Robot.IsZero(), ledger.Record{}
	s.w.log("the ledger is LOST and has %s", s.tell(r))
}

func (b *book) version() ledger.Version { return ledger.Version(strconv.Itoa(b.writes)) }

// did ends a step.
func (s *model) did(a *actor, worked bool, err error) {
	if err != nil {
		a.chain.failed[a.pending.String()] = err
		if errors.Is(err, quay.ErrReadOnly) {
			a.memory().Trouble()
		}
		s.w.log("%s: that failed: %v", a.name, err)
	}
	a.worked = a.worked || worked
	a.pending, a.phase = nil, working
	if a.upcoming() == 0 {
		s.finish(a)
		s.publishes(a)
	}
}

// written is the age of a replica's intent.
func (s *model) written(a *actor) time.Duration {
	if s.breach.noLease {
		return 0
	}
	return s.w.now.Sub(a.memory().kept.mine)
}

// ask has Quay regenerate, if the last look allows it.
func (s *model) ask(a *actor, f fate) {
	m, safety := a.memory(), a.spec.Safety
	if !m.askable(*a.pending, s.written(a)) {
		s.w.log("%s: the last look forbids it", a.name)
		s.did(a, true, nil)
		return
	}
	why := m.kept.record.Intent.Reason
	p := post{by: a.name, intended: s.numberOf(a.pending.Token), seen: a.knows.look.seen, behind: a.knows.look.behind, asked: why == whyForced || why == whyRevoked}
	m.Posting()
	s.w.log("%s: asks Quay to regenerate%s", a.name, f)
	err := quay.ErrUnreachable
	switch {
	case a.cut:
	case f == arrives:
		s.carryOut(p)
		err = nil
	case f == unanswered:
		s.disturb(&s.left.lost)
		s.carryOut(p)
	case f == vanishes:
		s.disturb(&s.left.lost)
	case f == refuses:
		s.disturb(&s.left.refused)
		err = quay.ErrReadOnly
	case f == strays:
		s.disturb(&s.left.strayed)
		p.until = s.w.now.Add(underway(safety))
		s.book.posts = append(s.book.posts, p)
	case f == late:
		s.disturb(&s.left.late)
		p.until = m.kept.mine.Add(safety.takeover() + s.scenario.beyond)
		s.book.posts = append(s.book.posts, p)
	}
	s.did(a, true, m.Answered(err))
}

// carryOut is what Quay does with a regeneration of ours.
func (s *model) carryOut(p post) {
	ends := s.token()
	for _, f := range s.w.ever[p.intended:] {
		switch {
		case f.creator != "human":
			s.w.fail("R1: %s has Quay replace token %d, and it is token %d already, made for %s", p.by, p.intended, ends.number, f.creator)
		case f.number <= p.seen && (!p.behind || s.breach.strict):
			s.w.fail("R6: %s has Quay replace token %d, and there was a person's already when it last looked", p.by, p.intended)
		}
	}
	spec := inPlaceSpec()
	if age := s.w.now.Sub(ends.born); ends.number == p.intended && !p.asked && s.left.jump == s.scenario.most.jump && age < spec.Every-spec.early() {
		s.w.fail("R4: %s has Quay replace token %d after %v", p.by, ends.number, age)
	}
	s.replace(p.by)
}

// replace gives the robot another token.
func (s *model) replace(by string) {
	old := s.token()
	s.w.end(old, map[bool]string{true: "human", false: "retired"}[by == "human"])
	f := s.w.add(old.robot.Short(), old.description, by)
	f.number, f.created, f.roles = old.number+1, old.created, old.roles
	s.w.remember()
	s.w.log("Quay has token %d now, made for %s", f.number, by)
}

// token is the one that Quay has.
func (s *model) token() *fake { return s.w.ever[len(s.w.ever)-1] }

// numberOf is the token with a fingerprint.
func (s *model) numberOf(fingerprint string) int64 {
	for _, f := range s.w.ever {
		if f.token.Fingerprint() == fingerprint {
			return f.number
		}
	}
	return 0
}
