package rotation

import (
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/quaygen/quaygen/pkg/quaygen/quay"
)

// until lets time pass, in steps of one sync in which every replica syncs, as long as holds does not.
func (w *world) until(t *testing.T, limit time.Duration, holds func() bool, replicas ...*replica) {
	t.Helper()
	for end := w.now.Add(limit); !holds(); w.now = w.now.Add(30 * time.Second) {
		if w.now.After(end) {
			t.Fatalf("still not so after %v", limit)
		}
		for _, r := range replicas {
			r.sync()
		}
	}
	if len(w.broken) > 0 {
		t.Fatal(w.broken)
	}
}

// V1, V2: a replica that cannot prove the successor, or cannot reach Quay at all, must stop handing out the old
// generation before another one may delete it.
func TestAReplicaCutOffStopsServingBeforeOthersMayDelete(t *testing.T) {
	w := newWorld()
	a, b := w.newReplica("A", testSpec()), w.newReplica("B", testSpec())
	w.until(t, time.Minute, func() bool { return a.served() >= 0 && b.served() >= 0 }, a, b)
	first := b.served()
	b.cut = true
	w.until(t, time.Hour, func() bool { return w.find(first) == nil || !w.find(first).live() }, a, b)
	if b.served() >= 0 {
		t.Errorf("B still serves %d", b.served())
	}
}

// V1: whoever cannot log in adopts what others evidently published, long before its predecessor ends.
func TestAReplicaThatCannotProveAdoptsWhatOthersPublished(t *testing.T) {
	w := newWorld()
	a, b := w.newReplica("A", testSpec()), w.newReplica("B", testSpec())
	w.until(t, time.Minute, func() bool { return a.served() >= 0 && b.served() >= 0 }, a, b)
	first := a.served()
	b.noLogin = true
	w.until(t, time.Hour, func() bool { return a.served() != first && a.served() >= 0 }, a, b)
	w.until(t, testSpec().Overlap/2, func() bool { return b.served() == a.served() }, a, b)
}

// V3: a replica that resumes after a pause answers nothing before it has listed.
func TestAResumedReplicaAnswersNothingBeforeItsFirstList(t *testing.T) {
	w := newWorld()
	a := w.newReplica("A", testSpec())
	w.until(t, time.Minute, func() bool { return a.served() >= 0 }, a)
	w.now = w.now.Add(testSpec().Overlap)
	if a.served() >= 0 {
		t.Errorf("it serves %d from a list older than servable", a.served())
	}
}

// V4: a fresh replica takes a generation that was logged in with, and is complete, for published, and never serves the
// one before.
func TestAFreshReplicaServesTheNewestThatWasEvidentlyPublished(t *testing.T) {
	w := newWorld()
	a := w.newReplica("A", testSpec())
	w.until(t, time.Minute, func() bool { return a.served() >= 0 }, a)
	first := a.served()
	w.until(t, time.Hour, func() bool { return a.served() > first }, a)
	b := w.newReplica("B", testSpec())
	b.noLogin = true
	b.sync()
	if b.served() != a.served() {
		t.Errorf("the fresh replica serves %d, the other %d", b.served(), a.served())
	}
}

// V5, V10: a step that rests on a list older than the step deadline is not sent.
func TestAStepThatRestsOnAnOldListIsNotSent(t *testing.T) {
	w := newWorld()
	a := w.newReplica("A", testSpec())
	a.begin()
	a.look(0)
	if steps := a.steps(); len(steps) != 1 || !strings.HasPrefix(steps[0], "create") {
		t.Fatalf("planned %q", steps)
	}
	w.now = w.now.Add(testSpec().Safety.StepDeadline)
	a.work()
	if len(w.ever) > 0 {
		t.Error("it was sent")
	}
}

// V6: after a person deleted the newest generation its number is not given out again.
func TestANumberIsNotGivenOutAgainAfterAPersonDeletedTheNewest(t *testing.T) {
	w := newWorld()
	a := w.newReplica("A", testSpec())
	w.until(t, time.Minute, func() bool { return a.served() >= 0 }, a)
	first := a.served()
	w.end(w.find(first), "a person")
	w.until(t, 10*time.Minute, func() bool { return a.served() > first }, a)
	if len(w.ever) != 2 {
		t.Errorf("%d generations were made", len(w.ever))
	}
}

// V8, V15a: while grants fail, generations do not pile up, and the one before is served on.
func TestFailingGrantsNeverPileUpGenerations(t *testing.T) {
	w := newWorld()
	a := w.newReplica("A", testSpec())
	w.until(t, time.Minute, func() bool { return a.served() >= 0 }, a)
	first := a.served()
	w.grantsFail = true
	for end := w.now.Add(2 * time.Hour); w.now.Before(end); w.now = w.now.Add(30 * time.Second) {
		a.sync()
		if a.served() != first || w.unpublished() > 1 {
			t.Fatalf("serves %d with %d unpublished", a.served(), w.unpublished())
		}
	}
	w.grantsFail = false
	w.until(t, time.Hour, func() bool { return a.served() > first }, a)
}

// V12: a jump of Quay's clock, seen between two lists, neither creates nor deletes.
func TestAJumpOfTheClockCreatesAndDeletesNothing(t *testing.T) {
	w := newWorld()
	a := w.newReplica("A", testSpec())
	w.until(t, time.Minute, func() bool { return a.served() >= 0 }, a)
	made := len(w.ever)
	w.now, w.skew = w.now.Add(30*time.Second), 4*365*24*time.Hour
	a.sync()
	if len(w.ever) != made || len(w.generations()) != made {
		t.Errorf("%d generations, %d of them alive", len(w.ever), len(w.generations()))
	}
}

// V15b: a robot of a person's with a number above ours neither stalls the chain nor is touched.
func TestAStrangersNumberIsSteppedOver(t *testing.T) {
	w := newWorld()
	stranger, err := testBase.Generation(minute(w.now) + 1000)
	if err != nil {
		t.Fatal(err)
	}
	w.add(stranger.Short(), "made by hand", "a person")
	a := w.newReplica("A", testSpec())
	w.until(t, time.Minute, func() bool { return a.served() > minute(w.now)+900 }, a)
}

// V16: a list that lags behind and does not show the newest generation ends nothing.
func TestALaggingListEndsNothing(t *testing.T) {
	w := newWorld()
	a := w.newReplica("A", testSpec())
	w.until(t, time.Minute, func() bool { return a.served() >= 0 }, a)
	first, made := a.served(), len(w.ever)
	w.now = w.now.Add(10 * time.Second)
	a.begin()
	a.pass(time.Hour)
	if a.served() != first || len(w.ever) != made {
		t.Errorf("serves %d, %d generations made", a.served(), len(w.ever))
	}
}

// V17: the generations of one base are not those of a longer one.
func TestGenerationsOfOneBaseAreNotThoseOfAnother(t *testing.T) {
	longer := mustRobot("myorg", testBase.Short()+"_team")
	generation, err := longer.Generation(5)
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := generation.GenerationOf(testBase); ok {
		t.Errorf("%s counts as a generation of %s", generation, testBase)
	}
	spec := testSpec()
	spec.Base = mustRobot("myorg", "puller_g7851")
	problems := spec.Check()
	if len(problems) == 0 || problems[0].Field != "robot" {
		t.Errorf("a base that ends as a generation: %v", problems)
	}
}

// V7: two replicas that decide on the first generation in neighbouring minutes, each before it can see the other's, come
// to serve one of the two, whichever creation arrives first. The other one ends, and nobody ever gets it.
func TestTwoFirstGenerationsOfNeighbouringMinutesComeToOne(t *testing.T) {
	for _, lowerFirst := range []bool{true, false} {
		spec := testSpec()
		spec.Every = 10 * time.Hour
		w := newWorld()
		a, b := w.newReplica("A", spec), w.newReplica("B", spec)
		c := w.addConsumer(spec.MaxRefresh)
		w.now = w.now.Truncate(time.Minute).Add(time.Minute - time.Second)
		for _, r := range []*replica{a, b} {
			r.begin()
			r.look(0)
			w.now = w.now.Add(2 * time.Second)
		}
		first, second := a, b
		if !lowerFirst {
			first, second = b, a
		}
		first.work()
		w.now = w.now.Add(time.Second)
		second.work()
		gens := w.generations()
		if len(gens) != 2 || gens[0].number+1 != gens[1].number || gens[1].creator != "B" {
			t.Fatalf("made %s, not two in a row", w)
		}
		lower, higher := gens[0], gens[1]
		for end := w.now.Add(spec.Max + 5*time.Minute); w.now.Before(end); w.now = w.now.Add(30 * time.Second) {
			for _, r := range []*replica{a, b} {
				r.sync()
				if c.refresh(r) && c.holds != higher {
					t.Fatalf("lower first: %t; %s serves %s", lowerFirst, r.name, c.holds)
				}
			}
		}
		if lower.live() || !higher.live() || c.holds != higher || len(w.broken) > 0 {
			t.Errorf("lower first: %t; %s is left, the consumer holds %v: %q", lowerFirst, w, c.holds, w.broken)
		}
		if !lowerFirst && (len(lower.roles) > 0 || !lower.lastAccessed.IsZero()) {
			t.Errorf("the one that arrived after a higher one was granted %v and logged in with", lower.roles)
		}
	}
}

// V9: a generation leaks that the replica to which the operator turns has not seen yet. Success means that it is dead.
func TestARevocationReachesAGenerationThatTheReplicaHasNotSeen(t *testing.T) {
	w := newWorld()
	a, b := w.newReplica("A", testSpec()), w.newReplica("B", testSpec())
	w.until(t, time.Minute, func() bool { return a.served() >= 0 && b.served() == a.served() }, a, b)
	first := a.served()
	w.now = w.now.Add(2 * time.Minute)
	b.sync()
	a.order(rotateOnce())
	a.begin()
	for pass := 0; a.pass(0) && pass < 20; pass++ {
	}
	leaked := w.find(a.served())
	if leaked == nil || leaked.number == first || b.served() != first {
		t.Fatalf("A serves %d, B %d", a.served(), b.served())
	}
	w.now = w.now.Add(10 * time.Second)
	var through atomic.Int64
	through.Store(-1)
	ord := b.order(revokeOnce(&through))
	b.begin()
	b.pass(lag) // its list does not show the leaked one either
	if b.served() == leaked.number {
		t.Fatal("B has seen the leaked generation, and the test is worth nothing")
	}
	w.until(t, 10*time.Minute, func() bool { return len(ord.result) == 1 }, b, a)
	if err := <-ord.result; err != nil || leaked.live() || w.find(first) != nil {
		t.Errorf("the revocation through %d ends with %v; %s lives: %t", through.Load(), err, leaked, leaked.live())
	}
	if n := b.served(); n <= leaked.number || a.served() != n {
		t.Errorf("A serves %d, B %d", a.served(), n)
	}
}

// V9, mirrored: a second operator, who names the same leak at another replica, does not end what the first one's
// revocation published.
func TestASecondRevocationOfTheSameNumberEndsNothingMore(t *testing.T) {
	w := newWorld()
	a, b := w.newReplica("A", testSpec()), w.newReplica("B", testSpec())
	w.until(t, time.Minute, func() bool { return a.served() >= 0 && b.served() == a.served() }, a, b)
	leaked := a.served()
	w.now = w.now.Add(2 * time.Minute)
	for _, r := range []*replica{a, b} {
		var through atomic.Int64
		through.Store(leaked)
		ord := r.order(revokeOnce(&through))
		w.until(t, 10*time.Minute, func() bool { return len(ord.result) == 1 }, a, b)
		if err := <-ord.result; err != nil {
			t.Fatal(err)
		}
	}
	if len(w.ever) != 2 || a.served() <= leaked || b.served() != a.served() {
		t.Errorf("%d generations were made, A serves %d, B %d", len(w.ever), a.served(), b.served())
	}
}

// V11: a rollout shortens overlap. The replica that still has the long one serves the old generation from memory, for as
// long as the old generation's own overlap allows, and nobody deletes it before.
func TestARolloutThatChangesOverlapLeavesOldGenerationsTheirOwn(t *testing.T) {
	long := testSpec()
	long.Overlap, long.Max, long.Every = 2*long.Overlap, long.Max+long.Overlap, 30*time.Minute
	for _, tt := range []struct {
		what          string
		before, after Spec
	}{{"shorter", long, testSpec()}, {"longer", testSpec(), long}} {
		t.Run(tt.what, func(t *testing.T) {
			w := newWorld()
			a, b := w.newReplica("A", tt.before), w.newReplica("B", tt.before)
			w.until(t, time.Minute, func() bool { return a.served() >= 0 && b.served() == a.served() }, a, b)
			old := w.find(a.served())
			w.now = w.now.Add(2 * time.Minute)
			b.spec = tt.after
			a.sync()
			a.cut = true // it does not learn of the rotation
			b.order(rotateOnce())
			c := w.addConsumer(tt.before.MaxRefresh)
			started := w.now
			for old.live() && w.now.Sub(started) < 2*time.Hour {
				b.sync()
				if w.now.Sub(c.got) >= c.every || c.holds == nil {
					if !c.refresh(a) {
						c.refresh(b)
					}
				}
				w.now = w.now.Add(30 * time.Second)
			}
			if len(w.broken) > 0 {
				t.Fatal(w.broken)
			}
			if lived := w.now.Sub(started); lived < tt.before.Overlap || lived > tt.before.Overlap+tt.before.Quiet+5*time.Minute+tt.after.Max-tt.after.Overlap {
				t.Errorf("it lived for %v after its successor, of an overlap of %v", lived, tt.before.Overlap)
			}
			if c.holds == nil || c.holds == old || !c.holds.live() {
				t.Errorf("the consumer holds %v", c.holds)
			}
		})
	}
}

// V14: where Quay does not record logins, a null last_accessed does not mean unused: nothing ends before max.
func TestWithoutLastAccessedNothingEndsBeforeMax(t *testing.T) {
	w := newWorld()
	w.noAccess = true
	a := w.newReplica("A", testSpec())
	w.until(t, time.Minute, func() bool { return a.served() >= 0 }, a)
	first := w.find(a.served())
	w.until(t, time.Hour, func() bool { return a.served() > first.number }, a)
	second := w.find(a.served())
	w.until(t, time.Hour, func() bool { return !first.live() }, a)
	if lived := first.ended.Sub(second.born); lived < testSpec().Max {
		t.Errorf("it lived for %v after its successor was created; max is %v", lived, testSpec().Max)
	}
}

// V14: while Quay is read-only it records no logins, so that a generation in constant use looks quiet afterwards.
func TestAfterReadOnlyAGenerationInUseIsNotTakenForQuiet(t *testing.T) {
	spec := testSpec()
	spec.Max, spec.Every = 40*time.Minute, 45*time.Minute
	w := newWorld()
	a := w.newReplica("A", spec)
	w.until(t, time.Minute, func() bool { return a.served() >= 0 }, a)
	first := w.find(a.served())
	w.now = w.now.Add(2 * time.Minute)
	a.order(rotateOnce())
	w.until(t, 5*time.Minute, func() bool { return a.served() > first.number }, a)
	inUse := func(d time.Duration) {
		for end := w.now.Add(d); w.now.Before(end); w.now = w.now.Add(30 * time.Second) {
			if first.live() {
				w.login(first)
			}
			if w.readOnly {
				a.memory().Trouble() // as the loop does when Quay says so in its configuration
			}
			a.sync()
		}
	}
	inUse(spec.Overlap - time.Minute)
	w.readOnly = true
	inUse(spec.Quiet + 2*time.Minute)
	w.readOnly = false
	a.sync() // before the next login is recorded
	if !first.live() {
		t.Fatal("it was deleted at the end of read-only")
	}
	if quiet := w.quayNow().Sub(first.lastAccessed); quiet < spec.Quiet {
		t.Fatalf("it looks used %v ago, and the test is worth nothing", quiet)
	}
	inUse(5 * time.Minute)
	if !first.live() {
		t.Error("it was deleted although it is in use")
	}
	w.until(t, 5*time.Minute, func() bool { return !first.live() }, a) // now unused
}

// V15c: with two configurations that prune, in force at once during a rollout, one grants what the other would take away.
// Within the delay of prune nothing is taken away, and beyond it no more than once in each delay.
func TestTwoConfigurationsThatPruneDoNotFight(t *testing.T) {
	fewer := testSpec()
	fewer.Every = 10 * time.Hour
	fewer.Permissions.Prune = true
	more := fewer
	more.Permissions.Repositories = append(slices.Clone(fewer.Permissions.Repositories), RepositoryGrant{"extra", quay.RoleRead})
	w := newWorld()
	w.repositories["extra"] = true
	a, b := w.newReplica("A", fewer), w.newReplica("B", fewer)
	w.until(t, time.Minute, func() bool { return a.served() >= 0 && b.served() == a.served() }, a, b)
	f := w.find(a.served())
	b.spec = more
	started, taken, had := w.now, 0, false
	for w.now.Sub(started) < 10*fewer.pruneAfter() {
		b.sync()
		if !had && f.roles["extra"] == quay.RoleUnknown {
			t.Fatal("what is wanted is not granted at once")
		}
		a.sync()
		had = f.roles["extra"] != quay.RoleUnknown
		if !had {
			taken++
		}
		if !had && w.now.Sub(started) < fewer.pruneAfter() {
			t.Fatalf("taken away after %v of %v", w.now.Sub(started), fewer.pruneAfter())
		}
		w.now = w.now.Add(30 * time.Second)
	}
	if taken == 0 || taken > 10 {
		t.Errorf("taken away %d times within ten delays", taken)
	}
	a.spec = more // the rollout is over
	w.until(t, 2*fewer.pruneAfter(), func() bool { return w.now.Sub(started) > 11*fewer.pruneAfter() }, a, b)
	if f.roles["extra"] == quay.RoleUnknown {
		t.Error("taken away although both want it")
	}
	if len(w.broken) > 0 {
		t.Error(w.broken)
	}
}
