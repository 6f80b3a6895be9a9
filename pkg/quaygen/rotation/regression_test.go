package rotation

import (
	"strings"
	"testing"
	"time"
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
