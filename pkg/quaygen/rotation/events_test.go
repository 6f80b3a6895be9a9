package rotation_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/quaygen/quaygen/pkg/quaygen/quay/quaytest"
	"github.com/quaygen/quaygen/pkg/quaygen/rotation"
)

// follow collects all events from now until the bubble's story ends.
func (s *scene) follow(e *rotation.Engine) (events func() []rotation.Entry) {
	s.t.Helper()
	var mu sync.Mutex
	var all []rotation.Entry
	w, _, err := e.Watch("")
	if err != nil {
		s.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			entries, err := w.Next(ctx)
			if err != nil {
				return
			}
			mu.Lock()
			all = append(all, entries...)
			mu.Unlock()
		}
	}()
	s.t.Cleanup(func() { cancel(); <-done })
	return func() []rotation.Entry {
		synctest.Wait()
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(all)
	}
}

// inShort writes events down in short: g1 is the first generation that they name, and so on.
func inShort(entries []rotation.Entry) []string {
	names := map[string]string{}
	var out []string
	for _, e := range entries {
		text := e.Type.String()
		if e.Robot != "" {
			if names[e.Robot] == "" {
				names[e.Robot] = fmt.Sprintf("g%d", len(names)+1)
			}
			text += " " + names[e.Robot]
		}
		if e.Name == "" {
			text += " " + e.Owner.Name()
		}
		out = append(out, text)
	}
	return out
}

func expect(t *testing.T, entries []rotation.Entry, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, inShort(entries)); diff != "" {
		t.Errorf("events (-want +got):\n%s\n%+v", diff, entries)
	}
}

func TestARotationIsToldInItsOrder(t *testing.T) {
	play(t, func(t *testing.T, s *scene) {
		e := s.engine()
		events := s.follow(e)
		defer s.run(e)()
		s.rotated(e, s.await(e))
		s.pass(48 * time.Hour)
		expect(t, events(), "published g1", "published g2", "superseded g1", "retired g1")
		if why := events()[3].Reason; !strings.Contains(why, "has taken over for 24h0m0s") {
			t.Errorf("retired, because %q", why)
		}
	})
}

func TestAnotherReplicaTellsTheSameAndNotThatItDidIt(t *testing.T) {
	play(t, func(t *testing.T, s *scene) {
		one, stopOne := s.start()
		defer stopOne()
		s.await(one)
		two, stopTwo := s.start()
		defer stopTwo()
		told := []func() []rotation.Entry{s.follow(one), s.follow(two)}
		s.rotated(one, s.await(one))
		s.pass(48 * time.Hour)
		for i, events := range told {
			var types []rotation.EventType
			for _, e := range events() {
				types = append(types, e.Type)
			}
			if i == 1 && types[0] == rotation.EventPublished && len(types) == 4 {
				types = types[1:] // of its own start
			}
			if diff := cmp.Diff([]rotation.EventType{rotation.EventPublished, rotation.EventSuperseded, rotation.EventRetired}, types); diff != "" {
				t.Errorf("replica %d (-want +got):\n%s", i, diff)
			}
		}
	})
}

func TestAStepThatFailsIsToldOnceUntilItWorks(t *testing.T) {
	play(t, func(t *testing.T, s *scene) {
		mended := s.quay.Inject(quaytest.Fault{Operation: "robot.create", Status: 503})
		e := s.engine()
		events := s.follow(e)
		defer s.run(e)()
		s.pass(10 * s.spec.Sync)
		expect(t, events(), "failed")
		if status := e.Statuses()[0]; len(status.Failures) != 1 || !strings.HasPrefix(status.Failures[0].Step, "create ") {
			t.Errorf("failures %v", status.Failures)
		}
		mended()
		s.pass(10 * s.spec.Sync)
		expect(t, events(), "failed", "recovered", "published g1")
		if status := e.Statuses()[0]; len(status.Failures) > 0 {
			t.Errorf("failures %v", status.Failures)
		}
	})
}

func TestAnOrganizationThatCannotBeWorkedWithIsToldOnce(t *testing.T) {
	play(t, func(t *testing.T, s *scene) {
		e, stop := s.start()
		defer stop()
		s.await(e)
		events := s.follow(e)
		up := s.quay.Inject(quaytest.Fault{Status: 502})
		s.pass(3 * time.Hour)
		expect(t, events(), "failed myorg")
		up()
		s.pass(time.Hour)
		expect(t, events(), "failed myorg", "recovered myorg")
	})
}

func TestAGenerationThatAPersonDeletesIsToldAsNotHandedOutAndThenAsGone(t *testing.T) {
	play(t, func(t *testing.T, s *scene) {
		s.spec.Sync = 20 * time.Second
		e, stop := s.start()
		defer stop()
		first := s.calm(e)
		events := s.follow(e)
		s.quay.DeleteRobot("myorg", first.Robot.Short())
		s.pass(time.Hour)
		expect(t, events(), "failed g1", "retired g1", "published g2")
		if why := events()[1].Reason; !strings.Contains(why, "a person") {
			t.Errorf("retired, because %q", why)
		}
	})
}

func TestARobotThatLeavesTheConfigurationIsToldAsRemoved(t *testing.T) {
	play(t, func(t *testing.T, s *scene) {
		e, stop := s.start()
		defer stop()
		s.await(e)
		events := s.follow(e)
		e.Apply(nil)
		s.pass(time.Hour)
		expect(t, events(), "removed")
		if left := e.Statuses(); len(left) > 0 {
			t.Errorf("%v is still known", left)
		}
	})
}

// A watcher that is cut off again and again, also in the middle of what it gets, and that goes on from the last position
// that it took in.
func TestAWatchThatIsCutOffMissesNothingAndSeesNothingTwice(t *testing.T) {
	play(t, func(t *testing.T, s *scene) {
		rng := rand.New(rand.NewPCG(1, 2))
		s.spec.Sync = time.Hour // years pass
		e := s.engine()
		everything := s.follow(e)
		first, _, err := e.Watch("")
		if err != nil {
			t.Fatal(err)
		}
		_, position := first.List()
		defer s.run(e)()
		var seen []rotation.Entry
		for end := time.Now().Add(2000 * time.Hour); time.Now().Before(end); {
			w, restart, err := e.Watch(position)
			if err != nil || restart != rotation.RestartNone {
				t.Fatalf("going on from %q: %v, %v", position, restart, err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Duration(rng.Int64N(int64(300*time.Hour))))
			entries, err := w.Next(ctx)
			cancel()
			if err != nil {
				continue
			}
			entries = entries[:rng.IntN(len(entries)+1)] // the connection breaks
			for _, entry := range entries {
				seen, position = append(seen, entry), entry.Position
			}
		}
		w, _, err := e.Watch(position)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		rest, err := w.Next(ctx)
		if err != nil && !errors.Is(err, context.DeadlineExceeded) {
			t.Fatal(err)
		}
		seen = append(seen, rest...)
		want := everything()
		if len(want) < 20 {
			t.Fatalf("only %d events happened", len(want))
		}
		if diff := cmp.Diff(inShort(want), inShort(seen)); diff != "" || seen[0].Position != want[0].Position {
			t.Errorf("what the watcher saw (-all +seen):\n%s", diff)
		}
	})
}

// What a listing shows and what the events after it say is together what is so.
func TestAListingAndTheEventsAfterItFitTogether(t *testing.T) {
	play(t, func(t *testing.T, s *scene) {
		rng := rand.New(rand.NewPCG(3, 4))
		s.spec.Sync = time.Hour
		e, stop := s.start()
		defer stop()
		failing := func() {}
		for range 30 {
			s.pass(time.Duration(rng.Int64N(int64(40 * time.Hour))))
			if rng.IntN(3) == 0 {
				failing = s.quay.Inject(quaytest.Fault{Operation: []string{"robot.create", "permission.put", "robot.delete"}[rng.IntN(3)], Status: 503})
			}
			w, _, err := e.Watch("")
			if err != nil {
				t.Fatal(err)
			}
			listed, _ := w.List()
			s.pass(time.Duration(rng.Int64N(int64(300 * time.Hour))))
			failing()
			current, failures := listed[0].Current, len(listed[0].Failures)
			ctx, cancel := context.WithTimeout(t.Context(), time.Nanosecond)
			entries, _ := w.Next(ctx) // none may have happened
			cancel()
			for _, entry := range entries {
				switch {
				case entry.Type == rotation.EventPublished:
					current = entry.Generation
				case entry.Type == rotation.EventFailed && entry.Generation < 0:
					failures++
				case entry.Type == rotation.EventRecovered:
					failures--
				case entry.Type == rotation.EventFailed:
					current = -1
				}
			}
			if now := e.Statuses()[0]; now.Current != current || len(now.Failures) != failures {
				t.Fatalf("the listing and %d events make generation %d and %d failures, but it is %d and %v", len(entries), current, failures, now.Current, now.Failures)
			}
		}
	})
}

func TestAPositionThatCannotBeGoneOnFromIsAnsweredWithTheReason(t *testing.T) {
	play(t, func(t *testing.T, s *scene) {
		e, stop := s.start()
		defer stop()
		s.await(e)
		w, restart, err := e.Watch("")
		if err != nil || restart != rotation.RestartNoPosition {
			t.Fatalf("without a position: %v, %v", restart, err)
		}
		_, position := w.List()
		if _, restart, err := e.Watch(position); err != nil || restart != rotation.RestartNone {
			t.Errorf("from where it is: %v, %v", restart, err)
		}
		other, stopOther := s.start()
		defer stopOther()
		if _, restart, err := other.Watch(position); err != nil || restart != rotation.RestartOtherProcess {
			t.Errorf("from another process: %v, %v", restart, err)
		}
		epoch, _, _ := strings.Cut(position, "-")
		for _, garbage := range []string{"x", "-", "1", epoch, epoch + "-", epoch + "--1", epoch + "-999999", epoch + "-1x", "short-1", position + "0"} {
			if _, _, err := e.Watch(garbage); !errors.Is(err, rotation.ErrPosition) {
				t.Errorf("%q: %v", garbage, err)
			}
		}
	})
}
