package rotation

import (
	queue "container/heap"
	"flag"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/quaygen/quaygen/pkg/quaygen/quay"
)

var (
	histories = flag.Int("histories", 1000, "how many random histories to try")
	history   = flag.Uint64("history", 0, "try this one history only, and print what happened")
)

// TestNoHistoryBreaksAnInvariant runs random histories: replicas work on one Quay in small moments that interleave, while
// processes crash and pause, lists lag, answers get lost, grants and logins fail, and people do things. After each
// moment the invariants of docs/rotation.md hold, and when trouble ends all comes to rest.
//
// A failure prints its number and everything that happened; -history N repeats it.
func TestNoHistoryBreaksAnInvariant(t *testing.T) {
	if *history != 0 {
		s := runHistory(*history, rules{}, t.Logf)
		for _, text := range s.w.broken {
			t.Error(text)
		}
		return
	}
	if seed := firstBroken(*histories, rules{}, ""); seed != 0 {
		var trace strings.Builder
		runHistory(seed, rules{}, func(format string, args ...any) { fmt.Fprintf(&trace, format+"\n", args...) })
		t.Fatalf("history %d (repeat it with -run %s -history %d):\n%s", seed, t.Name(), seed, trace.String())
	}
}

// firstBroken returns the number of a history, of the first n, that breaks an invariant whose text has finds in it; 0 if
// none does.
func firstBroken(n int, broken rules, finds string) uint64 {
	var next, found atomic.Uint64
	var group sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		group.Go(func() {
			for found.Load() == 0 {
				seed := next.Add(1)
				if seed > uint64(n) {
					return
				}
				s := runHistory(seed, broken, nil)
				if slices.ContainsFunc(s.w.broken, func(text string) bool { return strings.Contains(text, finds) }) {
					found.CompareAndSwap(0, seed)
				}
			}
		})
	}
	group.Wait()
	return found.Load()
}

// A sim is one history: a world and what happens in it, in the order of its time.
type sim struct {
	w        *world
	rng      *rand.Rand
	queue    eventQueue
	seq      int
	replicas []*simReplica
	kinds    []fault
	until    time.Time // trouble ends
	calm     bool      // trouble has ended
	lagging  bool
	losing   bool
	revokes  int
	orphans  int       // creations that arrived after their process had died, and another one went on
	checked  int       // version of the world
	strained time.Time // since when more generations are unpublished than should be; zero: they are not
}

// A simReplica is a replica whose moments are events.
type simReplica struct {
	*replica
	life   int // of the process: events of an earlier one are void
	passes int
	sent   time.Time
}

type event struct {
	at  time.Time
	seq int
	do  func()
}

type eventQueue []event

func (q eventQueue) Len() int { return len(q) }
func (q eventQueue) Less(i, j int) bool {
	return q[i].at.Before(q[j].at) || q[i].at.Equal(q[j].at) && q[i].seq < q[j].seq
}
func (q eventQueue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *eventQueue) Push(x any)   { *q = append(*q, x.(event)) }
func (q *eventQueue) Pop() any {
	old := *q
	e := old[len(old)-1]
	*q = old[:len(old)-1]
	return e
}

func (s *sim) after(d time.Duration, do func()) {
	s.seq++
	queue.Push(&s.queue, event{s.w.now.Add(d), s.seq, do})
}

// upTo returns a random duration below d, mostly a small part of it.
func (s *sim) upTo(d time.Duration) time.Duration {
	if s.rng.IntN(4) > 0 {
		d /= 20
	}
	return time.Duration(s.rng.Int64N(int64(d)))
}

func (s *sim) oneIn(n int) bool { return s.rng.IntN(n) == 0 }

const (
	troubleLasts = 50 * time.Minute
	calmLasts    = 25 * time.Minute
)

func runHistory(seed uint64, broken rules, log func(string, ...any)) *sim {
	s := &sim{w: newWorld(), rng: rand.New(rand.NewPCG(seed, 7))}
	if log != nil {
		s.w.log = func(format string, args ...any) {
			log("%8s "+format, append([]any{s.w.now.Sub(startOfTest).Round(time.Millisecond)}, args...)...)
		}
	}
	s.chooseFaults(broken.amid)
	spec := testSpec()
	for i := range 1 + s.rng.IntN(3) {
		r := &simReplica{replica: s.w.newReplica(string(rune('A'+i)), spec)}
		r.rules = broken
		s.replicas = append(s.replicas, r)
		s.after(s.upTo(2*time.Minute), func() { s.start(r) })
	}
	for range 1 + s.rng.IntN(3) {
		c := s.w.addConsumer(spec.MaxRefresh)
		s.after(s.upTo(2*time.Minute), func() { s.refresh(c) })
		if s.oneIn(2) {
			s.after(time.Minute, func() { s.pull(c) })
		}
	}
	s.until = s.w.now.Add(troubleLasts)
	s.after(troubleLasts, s.endTrouble)
	s.run(s.until.Add(calmLasts))
	if len(s.w.broken) == 0 {
		s.checkRest()
	}
	return s
}

func (s *sim) run(end time.Time) {
	for len(s.queue) > 0 && len(s.w.broken) == 0 {
		e := queue.Pop(&s.queue).(event)
		if e.at.After(end) {
			return
		}
		s.w.now = e.at
		e.do()
		s.check()
	}
}

// turn runs do after a random moment, in the same life of r, and not while r is paused.
func (s *sim) turn(r *simReplica, in time.Duration, do func()) {
	life := r.life
	var try func()
	try = func() {
		switch {
		case r.life != life:
		case r.paused():
			s.after(r.pausedUntil.Sub(s.w.now), try)
		default:
			do()
		}
	}
	s.after(in, try)
}

func (s *sim) start(r *simReplica) {
	r.begin()
	r.passes = 0
	s.list(r)
}

// list sends a list; it arrives at Quay, and its answer here, some moments later.
func (s *sim) list(r *simReplica) {
	r.takeOrders()
	life, sent := r.life, s.w.now
	s.after(s.upTo(4*time.Second), func() {
		if r.life != life {
			return
		}
		behind := time.Duration(0)
		if s.lagging && s.oneIn(2) {
			behind = time.Duration(s.rng.Int64N(int64(lag)))
		}
		l, ok := r.list(sent, behind)
		s.turn(r, s.upTo(4*time.Second), func() {
			if !ok || r.cut {
				r.failList()
				s.rest(r, s.w.now)
				return
			}
			r.sent = sent
			r.observe(l)
			s.turn(r, s.upTo(2*time.Second), func() { s.work(r) })
		})
	})
}

// rest waits for the next sync, as the loop does.
func (s *sim) rest(r *simReplica, sent time.Time) {
	interval := time.Duration(float64(r.spec.Sync) * (0.9 + 0.1*s.rng.Float64()))
	s.turn(r, max(0, interval-s.w.now.Sub(sent)), func() { s.start(r) })
}

// work sends the next step; its effect and its answer come some moments later, within Quay's and the client's time limit.
func (s *sim) work(r *simReplica) {
	step, ok := r.next()
	if !ok {
		r.publish()
		if r.passes++; r.worked && r.passes < 20 {
			s.list(r)
			return
		}
		s.rest(r, r.sent)
		return
	}
	arrive := r.send(step)
	life := r.life
	if r.cut {
		s.turn(r, s.upTo(15*time.Second), func() { r.done(step, fmt.Errorf("cut off")); s.work(r) })
		return
	}
	flight := s.upTo(14 * time.Second)
	if s.losing && s.oneIn(4) && step.Action == Create {
		// The client gives up and Quay creates all the same, later.
		s.after(flight+s.upTo(10*time.Second), func() { arrive() })
		s.turn(r, s.upTo(14*time.Second), func() {
			r.memory().Taken(step.Generation)
			r.done(step, quay.ErrUnreachable)
			s.work(r)
		})
		return
	}
	s.after(flight, func() {
		answer := arrive()
		lost := s.losing && s.oneIn(8)
		if r.life != life {
			if step.Action == Create {
				s.orphans++
			}
			return
		}
		s.turn(r, s.upTo(4*time.Second), func() { answer(lost); s.work(r) })
	})
}

func (s *sim) refresh(c *consumer) {
	for _, i := range s.rng.Perm(len(s.replicas)) {
		if c.refresh(s.replicas[i].replica) {
			early := time.Duration(0)
			if s.oneIn(3) {
				early = time.Duration(s.rng.Int64N(int64(c.every)))
			}
			s.after(c.every-early, func() { s.refresh(c) })
			return
		}
	}
	s.after(time.Second+s.upTo(5*time.Second), func() { s.refresh(c) })
}

// pull logs in with what the consumer holds.
func (s *sim) pull(c *consumer) {
	if c.holds != nil && c.holds.live() {
		s.w.login(c.holds)
	}
	s.after(s.upTo(4*time.Minute), func() { s.pull(c) })
}

// healthy reports whether some replica can work.
func (s *sim) healthy() bool {
	return slices.ContainsFunc(s.replicas, func(r *simReplica) bool {
		return !r.cut && !r.paused() && !r.noLogin && !r.denied && r.clock.frozen == ""
	}) && !s.w.readOnly && !s.w.grantsFail && !s.w.keepsDeleted
}

// check looks at what must hold at every moment.
func (s *sim) check() {
	if s.checked == s.w.version && s.strained.IsZero() {
		return
	}
	s.checked = s.w.version
	spec := testSpec()
	if live, most := len(s.w.generations()), spec.maxLive()+len(s.replicas)+s.revokes; live > most {
		s.w.fail("E: %d generations are alive: %s", live, s.w)
	}
	ahead := s.w.unpublished()
	// Of creations decided on in the same moment each may succeed; strays go soon.
	if most := len(s.replicas) + s.revokes + s.orphans; ahead > most {
		s.w.fail("C: %d generations are unpublished: %s", ahead, s.w)
	}
	switch {
	case ahead <= 1 || !s.healthy():
		s.strained = time.Time{}
	case s.strained.IsZero():
		s.strained = s.w.now
	case s.w.now.Sub(s.strained) > 3*time.Minute:
		s.w.fail("C: %d generations are unpublished since %v: %s", ahead, s.w.now.Sub(s.strained), s.w)
	}
}

// checkRest looks at what must hold when there has been no trouble for a long time.
func (s *sim) checkRest() {
	newest := s.w.newestPublished()
	switch {
	case newest == nil:
		s.w.fail("F: there is no published generation after %v without trouble", calmLasts)
		return
	case s.w.quayNow().Sub(newest.created) > s.replicas[0].spec.Every+3*time.Minute:
		s.w.fail("F: %s is the newest, although it is %v old", newest, s.w.quayNow().Sub(newest.created))
	}
	if n := len(s.w.generations()); n > 3 {
		s.w.fail("E: %d generations live after %v without trouble: %s", n, calmLasts, s.w)
	}
	for _, r := range s.replicas {
		if f := r.serve(); f == nil || f != newest && s.w.now.Sub(newest.published) > 2*time.Minute {
			_, _, why := r.memory().servable()
			s.w.fail("G: %s serves %v, not %s (%s)", r.name, f, newest, why)
		}
	}
	for _, c := range s.w.consumers {
		if c.holds == nil || !c.holds.live() || !c.onTime() {
			s.w.fail("G: %s holds %v since %v", c.name, c.holds, s.w.now.Sub(c.got))
		}
	}
}
