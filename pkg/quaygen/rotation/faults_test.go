package rotation

import (
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/quaygen/quaygen/pkg/quaygen/quay"
)

// A fault is a kind of trouble. It comes now and then as long as there is trouble.
type fault struct {
	name  string
	every time.Duration // on average
	do    func(s *sim, r *simReplica)
	whole func(s *sim) // instead: it is so for the whole history
	alone bool         // only with others that are not alone
}

var faults = []fault{
	{name: "crashes", every: 8 * time.Minute, do: (*sim).crash},
	{name: "many crashes", every: 90 * time.Second, do: (*sim).crash},
	{name: "pauses", every: 8 * time.Minute, do: (*sim).pause},
	{name: "cut off", every: 15 * time.Minute, do: (*sim).cutOff},
	{name: "no login", every: 10 * time.Minute, do: (*sim).loseLogin},
	{name: "denied", every: 10 * time.Minute, do: (*sim).deny},
	{name: "grants fail", every: 15 * time.Minute, do: (*sim).breakGrants},
	{name: "lagging lists", whole: func(s *sim) { s.lagging = true }},
	{name: "lost answers", whole: func(s *sim) { s.losing = true }},
	{name: "people delete", every: 20 * time.Minute, do: (*sim).deleteNewest},
	{name: "people delete any", every: 20 * time.Minute, do: (*sim).deleteAny},
	{name: "foreign robots", every: 10 * time.Minute, do: (*sim).addForeign},
	{name: "people grant", every: 10 * time.Minute, do: (*sim).regrant},
	{name: "forced", every: 6 * time.Minute, do: (*sim).force},
	{name: "revoked", every: 12 * time.Minute, do: (*sim).revoke},
	{name: "revoked often", every: 2 * time.Minute, do: (*sim).revoke},
	{name: "rollout", every: 12 * time.Minute, do: (*sim).rollOut},
	{name: "read-only", every: 15 * time.Minute, do: (*sim).readOnly},
	{name: "no last_accessed", whole: func(s *sim) { s.w.noAccess = true }},
	{name: "/config is not answered", whole: func(s *sim) { s.w.noConfig = true }},
	{name: "a mirror uses it", every: 15 * time.Minute, do: (*sim).mirror},
	{name: "deletions do nothing", every: 15 * time.Minute, do: (*sim).keepDeleted},
	{name: "repository goes", every: 15 * time.Minute, do: (*sim).dropRepository},
	{name: "clock jumps", every: 20 * time.Minute, do: (*sim).jump, alone: true},
}

// chooseFaults takes up to four kinds, or those named.
func (s *sim) chooseFaults(named []string) {
	for _, k := range faults {
		if slices.Contains(named, k.name) {
			s.choose(k)
		}
	}
	for range s.rng.IntN(5) {
		if named != nil {
			return
		}
		k := faults[s.rng.IntN(len(faults))]
		if k.alone && len(s.kinds) > 0 || len(s.kinds) > 0 && s.kinds[0].alone {
			continue
		}
		s.choose(k)
	}
}

func (s *sim) choose(k fault) {
	s.kinds = append(s.kinds, k)
	s.w.log("fault: %s", k.name)
	if k.whole != nil {
		k.whole(s)
		return
	}
	s.strike(k)
}

func (s *sim) strike(k fault) {
	s.after(time.Duration(s.rng.ExpFloat64()*float64(k.every)), func() {
		if s.calm {
			return
		}
		k.do(s, s.replicas[s.rng.IntN(len(s.replicas))])
		s.strike(k)
	})
}

// forSome undoes something after a random time, or when trouble ends.
func (s *sim) forSome(most time.Duration, undo func()) {
	d := min(s.upTo(4*most)/2, most)
	s.after(min(d, s.until.Sub(s.w.now)), undo)
}

func (s *sim) endTrouble() {
	s.w.log("-- no trouble from here on --")
	s.calm, s.lagging, s.losing = true, false, false
}

func (s *sim) crash(r *simReplica) {
	s.w.log("%s crashes", r.name)
	r.life++
	r.restart()
	r.pausedUntil = time.Time{}
	s.turn(r, s.upTo(time.Minute), func() { s.start(r) })
}

func (s *sim) pause(r *simReplica) {
	d := s.upTo(30 * time.Minute)
	s.w.log("%s is stopped for %v", r.name, d)
	r.pausedUntil = s.w.now.Add(min(d, s.until.Sub(s.w.now)))
}

func (s *sim) cutOff(r *simReplica) {
	s.w.log("%s cannot reach Quay", r.name)
	r.cut = true
	s.forSome(30*time.Minute, func() { r.cut = false; s.w.log("%s reaches Quay again", r.name) })
}

func (s *sim) loseLogin(r *simReplica) {
	s.w.log("%s cannot log in", r.name)
	r.noLogin = true
	s.forSome(30*time.Minute, func() { r.noLogin = false; s.w.log("%s can log in again", r.name) })
}

func (s *sim) deny(r *simReplica) {
	s.w.log("%s is denied pull", r.name)
	r.denied = true
	s.forSome(30*time.Minute, func() { r.denied = false; s.w.log("%s is granted pull again", r.name) })
}

func (s *sim) breakGrants(*simReplica) {
	s.w.log("grants fail")
	s.w.grantsFail = true
	s.forSome(25*time.Minute, func() { s.w.grantsFail = false; s.w.log("grants work again") })
}

func (s *sim) readOnly(*simReplica) {
	s.w.log("Quay is read-only")
	s.w.readOnly = true
	s.forSome(25*time.Minute, func() { s.w.readOnly = false; s.w.log("Quay is writable again") })
}

func (s *sim) keepDeleted(*simReplica) {
	s.w.log("deletions do nothing")
	s.w.keepsDeleted = true
	s.forSome(25*time.Minute, func() { s.w.keepsDeleted = false; s.w.log("deletions work again") })
}

// mirror has a repository mirror use a generation, which keeps it from being deleted (docs/quay-contract.md 2.6).
func (s *sim) mirror(*simReplica) {
	if gens := s.w.generations(); len(gens) > 0 {
		f := gens[s.rng.IntN(len(gens))]
		s.w.log("a mirror uses %s", f)
		f.mirror = true
		s.forSome(25*time.Minute, func() { f.mirror = false; s.w.log("no mirror uses %s any more", f) })
	}
}

func (s *sim) dropRepository(*simReplica) {
	if !s.w.repositories["lib"] {
		return
	}
	s.w.log("repository lib is deleted")
	delete(s.w.repositories, "lib")
	for _, f := range s.w.robots {
		delete(f.roles, "lib")
	}
	s.w.remember()
	s.forSome(25*time.Minute, func() { s.w.repositories["lib"] = true; s.w.log("repository lib is there again") })
}

// grown are the generations old enough that their numbers lie in the past.
func (s *sim) grown() []*fake {
	var out []*fake
	for _, f := range s.w.generations() {
		if s.w.now.Sub(f.born) > 2*time.Minute && f.number < minute(s.w.quayNow()) {
			out = append(out, f)
		}
	}
	return out
}

func (s *sim) deleteNewest(*simReplica) {
	if gens := s.grown(); len(gens) > 0 {
		s.deleteByHand(gens[len(gens)-1])
	}
}

func (s *sim) deleteAny(*simReplica) {
	if gens := s.grown(); len(gens) > 0 {
		s.deleteByHand(gens[s.rng.IntN(len(gens))])
	}
}

func (s *sim) deleteByHand(f *fake) {
	s.w.end(f, "human")
	s.w.log("somebody deletes %s: %s", f, s.w)
}

// addForeign makes robots that are in the way: one of the chain's names without a marker, and others.
func (s *sim) addForeign(*simReplica) {
	n := minute(s.w.quayNow()) + int64(s.rng.IntN(20))
	short := fmt.Sprintf("%s_g%d", s.w.base.Short(), n)
	if s.oneIn(3) {
		short = fmt.Sprintf("%s_x_g%d", s.w.base.Short(), n)
	}
	for _, f := range s.w.ever {
		if f.robot.Short() == short {
			return
		}
	}
	s.w.log("somebody creates %s", short)
	s.w.add(short, "somebody's own", "human")
}

// regrant has people change grants of the newest generation.
func (s *sim) regrant(*simReplica) {
	f := s.w.newestPublished()
	if f == nil {
		return
	}
	switch s.rng.IntN(3) {
	case 0:
		s.w.log("somebody takes app away from %s", f)
		delete(f.roles, "app")
	case 1:
		s.w.log("somebody grants %s write on extra", f)
		s.w.repositories["extra"] = true
		f.roles["extra"] = quay.RoleWrite
	case 2:
		s.w.log("somebody makes %s an administrator of app", f)
		f.roles["app"] = quay.RoleAdmin
	}
	s.w.remember()
}

func (s *sim) force(r *simReplica) {
	s.w.log("an operator rotates at %s", r.name)
	r.order(rotateOnce())
}

func (s *sim) revoke(r *simReplica) {
	var through atomic.Int64
	through.Store(-1)
	s.w.log("an operator revokes at %s", r.name)
	leaked := s.w.newestPublished()
	s.revokes++
	step := revokeOnce(&through)
	asked := s.w.now
	r.order(func(m *Memory) (bool, error) {
		done, err := step(m)
		if done && leaked != nil && leaked.live() && err == nil {
			s.w.fail("G: the revocation of %s is done, although it lives (asked %v ago, through %d)", leaked, s.w.now.Sub(asked), through.Load())
		}
		return done, err
	})
}

func (s *sim) rollOut(r *simReplica) {
	if s.oneIn(2) {
		r.spec = testSpec()
	} else {
		r.spec.Overlap, r.spec.Max = 2*r.spec.Overlap, r.spec.Max+r.spec.Overlap
		r.spec.Every = max(r.spec.Every, r.spec.Max+2*time.Minute)
	}
	if r.spec.Overlap > 40*time.Minute {
		r.spec = testSpec()
	}
	s.w.log("%s has overlap %v now", r.name, r.spec.Overlap)
}

// jump moves Quay's clock. Jumps below the allowance are within what the margins cover.
func (s *sim) jump(*simReplica) {
	d := time.Duration(s.rng.Int64N(int64(48*time.Hour))) - 24*time.Hour
	if s.oneIn(2) {
		d = s.upTo(8*time.Second) - 4*time.Second
	}
	s.w.skew += d
	s.w.log("Quay's clock jumps by %v", d)
}
