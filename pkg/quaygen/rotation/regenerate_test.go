package rotation_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/quaygen/quaygen/pkg/quaygen/ledger"
	"github.com/quaygen/quaygen/pkg/quaygen/quay"
	"github.com/quaygen/quaygen/pkg/quaygen/quay/quaytest"
	"github.com/quaygen/quaygen/pkg/quaygen/rotation"
)

// A flaky ledger fails when it is told to, before or after a write.
type flaky struct {
	*ledger.Memory
	fail atomic.Pointer[func(r ledger.Record, done bool) error] // nil: never
	down atomic.Bool
	mute atomic.Bool // no call is answered
}

var errLedger = errors.New("the ledger is away")

func (f *flaky) Load(ctx context.Context, robot quay.Robot) (ledger.Record, ledger.Version, error) {
	if f.mute.Load() {
		<-ctx.Done()
		return ledger.Record{}, "", ctx.Err()
	}
	if f.down.Load() {
		return ledger.Record{}, "", errLedger
	}
	return f.Memory.Load(ctx, robot)
}

func (f *flaky) Create(ctx context.Context, r ledger.Record) (ledger.Version, error) {
	return f.write(r, func() (ledger.Version, error) { return f.Memory.Create(ctx, r) })
}

func (f *flaky) Replace(ctx context.Context, r ledger.Record, old ledger.Version) (ledger.Version, error) {
	return f.write(r, func() (ledger.Version, error) { return f.Memory.Replace(ctx, r, old) })
}

func (f *flaky) write(r ledger.Record, do func() (ledger.Version, error)) (ledger.Version, error) {
	if f.down.Load() {
		return "", errLedger
	}
	if fail := f.fail.Load(); fail != nil {
		if err := (*fail)(r, false); err != nil {
			return "", err
		}
	}
	v, err := do()
	if fail := f.fail.Load(); err == nil && fail != nil {
		if err := (*fail)(r, true); err != nil {
			return "", err
		}
	}
	return v, err
}

// regenerated plays a story with a robot that is given another token every 200 h.
func regenerated(t *testing.T, story func(t *testing.T, s *scene, store *flaky)) {
	t.Helper()
	play(t, func(t *testing.T, s *scene) {
		s.spec.Strategy, s.spec.Sync = rotation.Regenerate, 15*time.Minute
		store := &flaky{Memory: ledger.NewMemory()}
		s.ledger = store
		story(t, s, store)
	})
}

// posts counts what Quay was asked to regenerate.
func (s *scene) posts() int { return s.quay.Calls().Counts()["robot.regenerate"] }

func TestARobotIsGivenAnotherTokenWhenOneIsDueAndTheNameStays(t *testing.T) {
	regenerated(t, func(t *testing.T, s *scene, store *flaky) {
		e, stop := s.start()
		defer stop()
		first := s.await(e)
		if first.Robot.Short() != "puller" || first.Generation != 0 || !s.pulls(first) {
			t.Fatalf("%s, rotation %d", first.Robot, first.Generation)
		}
		second := s.rotated(e, first)
		if s.pulls(first) || !s.pulls(second) || second.Robot != first.Robot || s.posts() != 1 {
			t.Fatalf("after one rotation: %s, %d regenerations", second.Robot, s.posts())
		}
		s.rotated(e, second)
		r, _, err := store.Load(t.Context(), s.spec.Base)
		if err != nil || r.Rotations != 2 || !r.Intent.IsZero() || s.posts() != 2 {
			t.Errorf("the ledger has %+v, %v", r, err)
		}
	})
}

func TestALostOrEmptyLedgerNeverCausesARotation(t *testing.T) { // G7
	regenerated(t, func(t *testing.T, s *scene, _ *flaky) {
		for range 5 {
			s.ledger = ledger.NewMemory()
			e, stop := s.start()
			if !s.pulls(s.await(e)) {
				t.Error("it does not pull")
			}
			s.pass(150 * time.Hour)
			stop()
		}
		if s.posts() != 0 {
			t.Errorf("%d regenerations", s.posts())
		}
	})
}

func TestWithoutItsLedgerARobotIsServedButNotRotated(t *testing.T) { // G7
	regenerated(t, func(t *testing.T, s *scene, store *flaky) {
		store.down.Store(true)
		e, stop := s.start()
		defer stop()
		for range 20 {
			if !s.pulls(s.await(e)) {
				t.Fatal("it does not pull")
			}
			s.pass(20 * time.Hour)
		}
		if s.posts() != 0 {
			t.Errorf("%d regenerations without a ledger", s.posts())
		}
		store.down.Store(false)
		s.rotated(e, s.await(e))
	})
}

func TestALedgerThatAnswersNothingKeepsNobodyFromBeingServed(t *testing.T) { // G7
	for _, deadline := range []time.Duration{time.Second, 30 * time.Second} {
		t.Run(deadline.String(), func(t *testing.T) {
			regenerated(t, func(t *testing.T, s *scene, store *flaky) {
				s.spec.Sync, s.spec.Safety.StepDeadline = time.Minute, deadline
				store.mute.Store(true)
				e, stop := s.start()
				defer stop()
				s.pass(s.spec.Sync)
				for range 10 {
					if !s.pulls(s.await(e)) {
						t.Fatal("it does not pull")
					}
					s.pass(s.spec.Sync)
				}
			})
		})
	}
}

// A rotation has these moments; at each a process can end, and the next one has to make the best of it.
func TestACrashAtAnyStepOfARegenerationLeadsToNoSecondOne(t *testing.T) { // G1, G3
	intent := func(r ledger.Record) bool { return !r.Intent.IsZero() }
	for _, tt := range []struct {
		name  string
		fail  func(r ledger.Record, done bool) bool // of the ledger
		fault quaytest.Fault                        // of Quay
		posts int                                   // that took effect, until all is well again
	}{
		{"before the intent is written", func(r ledger.Record, done bool) bool { return intent(r) && !done }, quaytest.Fault{}, 1},
		{"after the intent is written", func(r ledger.Record, done bool) bool { return intent(r) && done }, quaytest.Fault{}, 1},
		{"before Quay did it", nil, quaytest.Fault{Operation: "robot.regenerate", Hang: true, Times: 1}, 1},
		{"after Quay did it", nil, quaytest.Fault{Operation: "robot.regenerate", Hang: true, LostAnswer: true, Times: 1}, 1},
		{"with the answer lost", nil, quaytest.Fault{Operation: "robot.regenerate", LostAnswer: true, Times: 1}, 1},
		{"before the result is written", func(r ledger.Record, done bool) bool { return !intent(r) && r.Rotations == 1 && !done }, quaytest.Fault{}, 1},
		{"after the result is written", func(r ledger.Record, done bool) bool { return !intent(r) && r.Rotations == 1 && done }, quaytest.Fault{}, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			regenerated(t, func(t *testing.T, s *scene, store *flaky) {
				e, stop := s.start()
				first := s.await(e)
				crashed := make(chan struct{})
				if tt.fail != nil {
					fail := func(r ledger.Record, done bool) error {
						if !tt.fail(r, done) {
							return nil
						}
						store.down.Store(true) // nothing it does from here on counts
						store.fail.Store(nil)
						close(crashed)
						return errLedger
					}
					store.fail.Store(&fail)
				} else {
					fault := tt.fault
					s.quay.Inject(fault)
				}
				before := s.tokens()
				if tt.fail != nil {
					<-crashed
				} else {
					for s.posts() == 0 {
						s.pass(time.Second)
					}
				}
				stop()
				store.down.Store(false)
				e, stop = s.start()
				defer stop()
				second := s.known(e, first)
				if !s.pulls(second) || s.pulls(first) {
					t.Error("the new token must pull, and the old one must not")
				}
				if n := s.tokens() - before; n != tt.posts {
					t.Errorf("the token changed %d times, want %d", n, tt.posts)
				}
				s.pass(50 * time.Hour)
				if n := s.tokens() - before; n != tt.posts {
					t.Errorf("later the token had changed %d times, want %d", n, tt.posts)
				}
			})
		})
	}
}

// known lets time pass until another token than that of old is served, through the minutes in which nobody can know what
// became of a rotation.
func (s *scene) known(e *rotation.Engine, old *rotation.Lease) *rotation.Lease {
	s.t.Helper()
	for end := time.Now().Add(s.spec.Every + time.Hour); time.Now().Before(end); s.pass(s.spec.Sync) {
		if l, err := e.Current(rotation.Ref{Name: "puller"}); err == nil && l.Generation != old.Generation {
			return l
		}
	}
	s.t.Fatal("no rotation within its time")
	return nil
}

// tokens counts how often Quay gave a robot another token, whoever asked for it.
func (s *scene) tokens() int {
	n := 0
	for _, entry := range s.quay.AuditLog("myorg") {
		if entry.Kind == "regenerate_robot_token" {
			n++
		}
	}
	return n
}

func TestWhileARotationIsOpenNobodyIsGivenTheOldToken(t *testing.T) { // G9
	regenerated(t, func(t *testing.T, s *scene, store *flaky) {
		e, stop := s.start()
		first := s.await(e)
		s.quay.Inject(quaytest.Fault{Operation: "robot.regenerate", Hang: true, Times: 1})
		for s.posts() == 0 {
			s.pass(time.Second)
		}
		stop() // the first process is gone, and nobody knows whether Quay did it
		other, stop := s.start()
		defer stop()
		s.pass(s.spec.Sync)
		if l, err := other.Current(rotation.Ref{Name: "puller"}); err == nil {
			t.Errorf("rotation %d is handed out while an intent is open", l.Generation)
		}
		if second := s.known(other, first); !s.pulls(second) {
			t.Error("the token served in the end does not pull")
		}
	})
}

func TestAReadOnlyQuayClosesTheIntentAndTheOldTokenStaysServed(t *testing.T) {
	regenerated(t, func(t *testing.T, s *scene, store *flaky) {
		e, stop := s.start()
		defer stop()
		first := s.await(e)
		s.pass(170 * time.Hour)
		s.quay.SetReadOnly(true)
		for range 40 {
			s.pass(time.Hour)
			if l := s.await(e); !s.pulls(l) || l.Generation != first.Generation {
				t.Fatal("the old token is not served although it is good")
			}
		}
		s.quay.SetReadOnly(false)
		if second := s.rotated(e, first); !s.pulls(second) || s.pulls(first) {
			t.Error("no rotation after the read-only time")
		}
	})
}

func TestTwoReplicasWithOneLedgerRotateOnce(t *testing.T) {
	regenerated(t, func(t *testing.T, s *scene, _ *flaky) {
		one, stopOne := s.start()
		defer stopOne()
		two, stopTwo := s.start()
		defer stopTwo()
		first := s.await(one)
		for n := range 5 {
			second := s.rotated(one, first)
			s.pass(s.spec.Sync + time.Minute)
			if other := s.await(two); other.Generation != second.Generation || !s.pulls(other) || s.posts() != n+1 {
				t.Fatalf("one serves rotation %d, the other %d, after %d regenerations", second.Generation, other.Generation, s.posts())
			}
			first = second
		}
	})
}

func TestAForcedRegenerationHappensOnceAndARevocationIsDoneWhenTheTokenIsGone(t *testing.T) {
	regenerated(t, func(t *testing.T, s *scene, _ *flaky) {
		e, stop := s.start()
		defer stop()
		first := s.await(e)
		ref := rotation.Ref{Name: "puller"}
		second, err := e.Rotate(t.Context(), ref)
		if err != nil || s.pulls(first) || !s.pulls(second) {
			t.Fatalf("rotating: %v", err)
		}
		through, err := e.Revoke(t.Context(), ref, -1)
		if err != nil || through != second.Generation || s.pulls(second) {
			t.Fatalf("revoking through %d: %v", through, err)
		}
		if _, err := e.Revoke(t.Context(), ref, through); err != nil || s.posts() != 2 {
			t.Errorf("revoking again: %v, %d regenerations", err, s.posts())
		}
		if _, err := e.Revoke(t.Context(), ref, 99); !errors.Is(err, rotation.ErrNoGeneration) {
			t.Errorf("revoking what cannot exist: %v", err)
		}
	})
}

// Repeating a revocation is what its caller is told to do when the process ends meanwhile. "No such generation" would read as if
// it were for nothing.
func TestARevocationThatIsRepeatedWhileTheLedgerIsAwayWaitsForIt(t *testing.T) {
	regenerated(t, func(t *testing.T, s *scene, f *flaky) {
		one, stopOne := s.start()
		first := s.await(one)
		ref := rotation.Ref{Name: "puller"}
		second, err := one.Rotate(t.Context(), ref)
		stopOne()
		if err != nil {
			t.Fatal(err)
		}
		f.down.Store(true)
		two, stopTwo := s.start()
		defer stopTwo()
		done := make(chan error, 1)
		go func() {
			_, err := two.Revoke(t.Context(), ref, second.Generation)
			done <- err
		}()
		s.pass(s.spec.Sync)
		f.down.Store(false)
		if err := <-done; err != nil || s.pulls(first) || s.pulls(second) || s.posts() != 2 {
			t.Errorf("revoking: %v, after %d regenerations", err, s.posts())
		}
	})
}

func TestAdoptingARobotKeepsWhatPeopleGranted(t *testing.T) {
	for _, prune := range []bool{false, true} {
		t.Run(fmt.Sprint("prune ", prune), func(t *testing.T) {
			regenerated(t, func(t *testing.T, s *scene, _ *flaky) {
				s.quay.AddRobot("myorg", "puller", "made by a person")
				s.quay.AddRepository("myorg", "extra")
				s.quay.Grant("myorg", "extra", "puller", "write")
				s.spec.Permissions.Prune = prune
				e, stop := s.start()
				defer stop()
				if !s.pulls(s.await(e)) {
					t.Error("the adopted robot does not pull")
				}
				s.pass(24 * time.Hour)
				robot, _ := s.quay.Robot("myorg", "puller")
				if _, has := robot.Grants["extra"]; has == prune {
					t.Errorf("grants %v", robot.Grants)
				}
			})
		})
	}
}

func TestARobotOfAnotherInstanceIsServedButNotRotated(t *testing.T) { // G8
	regenerated(t, func(t *testing.T, s *scene, _ *flaky) {
		other := s.spec
		e, stop := s.start()
		s.await(e)
		stop()
		other.Instance = "another"
		s.spec, s.ledger = other, ledger.NewMemory()
		e, stop = s.start()
		defer stop()
		for range 30 {
			if !s.pulls(s.await(e)) {
				t.Fatal("it does not pull")
			}
			s.pass(20 * time.Hour)
		}
		if s.posts() != 0 {
			t.Errorf("%d regenerations of another installation's robot", s.posts())
		}
	})
}
