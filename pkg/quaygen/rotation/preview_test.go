package rotation_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/quaygen/quaygen/pkg/quaygen/ledger"
	"github.com/quaygen/quaygen/pkg/quaygen/quay"
	"github.com/quaygen/quaygen/pkg/quaygen/quay/quaytest"
	"github.com/quaygen/quaygen/pkg/quaygen/rotation"
)

// preview looks at the scene's robot, and makes sure that looking is all.
func (s *scene) preview(from ledger.Reader) rotation.Status {
	s.t.Helper()
	before := len(s.quay.Calls().Entries())
	statuses, err := rotation.Preview(s.t.Context(), []rotation.Assignment{{Spec: s.spec, Registry: "quay", Client: s.client}}, from)
	if err != nil || len(statuses) != 1 {
		s.t.Fatalf("%d robots, %v", len(statuses), err)
	}
	for _, call := range s.quay.Calls().Entries()[before:] {
		if call.Method != "GET" || call.Operation == "auth" {
			s.t.Errorf("looking calls %s %s", call.Method, call.Path)
		}
	}
	return statuses[0]
}

// spelled is all that a plan says to people.
func spelled(p rotation.Plan) string {
	var lines []string
	for _, step := range p.Steps {
		lines = append(lines, "would "+step.String()+" because "+step.Why)
	}
	for _, text := range p.Waiting {
		lines = append(lines, "waiting: "+text)
	}
	for _, text := range p.Warnings {
		lines = append(lines, "warning: "+text)
	}
	return strings.Join(lines, "\n")
}

// reading counts the writes to a ledger, of which there must be none.
type reading struct {
	*ledger.Memory
	t *testing.T
}

func (r reading) Create(context.Context, ledger.Record) (ledger.Version, error) {
	r.t.Error("the ledger was written to")
	return "", errLedger
}

func (r reading) Replace(context.Context, ledger.Record, ledger.Version) (ledger.Version, error) {
	r.t.Error("the ledger was written to")
	return "", errLedger
}

func TestAPreviewShowsWhatTheLedgerSaysOfARobotThatIsRegenerated(t *testing.T) {
	for _, tt := range []struct {
		name   string
		record func(r ledger.Record, now time.Time) ledger.Record // what the ledger holds, instead of a rotation that is not due
		says   []string                                           // none: there is nothing to do
	}{
		{"nothing to do before the rotation is due", func(r ledger.Record, _ time.Time) ledger.Record { return r }, nil},
		{"a rotation that is due", func(r ledger.Record, now time.Time) ledger.Record {
			r.Changed = now.Add(-300 * time.Hour)
			return r
		}, []string{"would intend to regenerate myorg+puller", "because due since "}},
		{"a rotation that another process has begun", func(r ledger.Record, now time.Time) ledger.Record {
			r.Intent = ledger.Intent{ID: "x", Holder: "replica-7", Fingerprint: r.Fingerprint, At: now, Lease: time.Minute, Reason: "due"}
			return r
		}, []string{"waiting: nothing is served: a rotation is under way: due", "whether myorg+puller was regenerated is not known: replica-7 intended to"}},
		{"a rotation that is done and not recorded", func(r ledger.Record, now time.Time) ledger.Record {
			r.Fingerprint = "of the old one"
			r.Intent = ledger.Intent{ID: "x", Holder: "replica-7", Fingerprint: r.Fingerprint, At: now, Lease: time.Minute, Reason: "due"}
			return r
		}, []string{"waiting: nothing is served: a rotation is under way: due", "myorg+puller has another token; the rotation by replica-7 is its own to finish"}},
		{"a token that somebody else replaced", func(r ledger.Record, _ time.Time) ledger.Record {
			r.Fingerprint = "of the old one"
			return r
		}, []string{"would record myorg+puller rotated_elsewhere", "warning: the token of myorg+puller was replaced by somebody else"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			regenerated(t, func(t *testing.T, s *scene, store *flaky) {
				e, stop := s.start()
				s.await(e)
				stop()
				r, _, err := store.Load(t.Context(), s.spec.Base)
				if err != nil {
					t.Fatal(err)
				}
				holds := ledger.NewMemory()
				r = tt.record(r, time.Now().Add(ahead))
				if _, err := holds.Create(t.Context(), r); err != nil {
					t.Fatal(err)
				}
				status := s.preview(reading{holds, t})
				text := spelled(status.Plan)
				for _, want := range tt.says {
					if !strings.Contains(text, want) {
						t.Errorf("there is no %q in\n%s", want, text)
					}
				}
				if len(tt.says) == 0 && text != "" {
					t.Errorf("a robot that is well needs\n%s", text)
				}
				if status.Ledger != "" || len(status.Plan.Generations) != 1 || status.Plan.Generations[0].State != rotation.StateCurrent {
					t.Errorf("ledger %q, %+v", status.Ledger, status.Plan.Generations)
				}
				if due := r.Changed.Add(s.spec.Every); r.Intent.IsZero() && !strings.Contains(text, "record ") && (status.Plan.Next.After(due) || status.Plan.Next.Before(due.Add(-s.spec.Every/4))) {
					t.Errorf("the next rotation is at %v, due at %v", status.Plan.Next, due)
				}
			})
		})
	}
}

func TestAPreviewOfARobotThatTheLedgerDoesNotKnowIsThatItIsAdopted(t *testing.T) {
	regenerated(t, func(t *testing.T, s *scene, _ *flaky) {
		e, stop := s.start()
		s.await(e)
		stop()
		if text := spelled(s.preview(reading{ledger.NewMemory(), t}).Plan); !strings.HasPrefix(text, "would record myorg+puller adopted") || strings.Contains(text, "warning") {
			t.Errorf("it says\n%s", text)
		}
	})
}

func TestAPreviewThatCannotReadTheLedgerSaysSoOfEachRobotThatIsRegenerated(t *testing.T) {
	away := func(s *flaky) ledger.Reader { s.down.Store(true); return s }
	for _, tt := range []struct {
		name string
		from func(*flaky) ledger.Reader
		says string
	}{
		{"without one", func(*flaky) ledger.Reader { return nil }, "without one"},
		{"with one that fails", away, errLedger.Error()},
		{"with one that answers nothing", func(s *flaky) ledger.Reader { s.mute.Store(true); return s }, "it does not answer"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			regenerated(t, func(t *testing.T, s *scene, store *flaky) {
				if status := s.preview(tt.from(store)); len(status.Plan.Steps) == 0 || len(status.Plan.Warnings) != 0 {
					t.Errorf("of a robot that is still to be made it says\n%s", spelled(status.Plan))
				}
				store.down.Store(false)
				store.mute.Store(false)
				e, stop := s.start()
				s.await(e)
				stop()
				status := s.preview(tt.from(store))
				want := "warning: its rotations are in the ledger, which was not read: "
				if text := spelled(status.Plan); !strings.HasPrefix(text, want) || !strings.Contains(text, tt.says) || !strings.HasSuffix(text, "; see generator status") || strings.Contains(text, "\n") {
					t.Errorf("it says\n%s", text)
				}
				if status.Ledger == "" || !status.Plan.Next.IsZero() {
					t.Errorf("ledger %q, next rotation %v", status.Ledger, status.Plan.Next)
				}
				s.spec.Strategy = rotation.Overlap
				if status := s.preview(tt.from(store)); status.Ledger != "" || len(status.Plan.Warnings) != 0 {
					t.Errorf("of a robot that needs no ledger it says\n%s", spelled(status.Plan))
				}
			})
		})
	}
}

func TestAPreviewWaitsForALedgerThatAnswersNothingOnlyOnce(t *testing.T) {
	regenerated(t, func(t *testing.T, s *scene, store *flaky) {
		var all []rotation.Assignment
		for i := range 40 {
			spec := s.spec
			spec.Name = "puller-" + string(rune('a'+i/26)) + string(rune('a'+i%26))
			base, err := quay.NewRobot(s.spec.Base.Owner(), "puller_"+spec.Name[len("puller-"):])
			if err != nil {
				t.Fatal(err)
			}
			spec.Base = base
			s.quay.AddRobot("myorg", base.Short(), "")
			all = append(all, rotation.Assignment{Spec: spec, Registry: "quay", Client: s.client})
		}
		store.mute.Store(true)
		began := time.Now()
		statuses, err := rotation.Preview(t.Context(), all, store)
		if err != nil || len(statuses) != 40 || time.Since(began) > 15*time.Second {
			t.Fatalf("%d robots after %v, %v", len(statuses), time.Since(began), err)
		}
		for _, status := range statuses {
			if status.Ledger == "" {
				t.Errorf("%s: %s", status.Name, spelled(status.Plan))
			}
		}
	})
}

func TestAPreviewSaysWhereATokenCouldNotBeRead(t *testing.T) {
	regenerated(t, func(t *testing.T, s *scene, store *flaky) {
		e, stop := s.start()
		s.await(e)
		stop()
		s.quay.Inject(quaytest.Fault{Operation: "robot.get", Status: 500})
		status := s.preview(reading{store.Memory, t})
		if text := spelled(status.Plan); !strings.Contains(text, "warning: what is to be done is not known: read token myorg+puller: ") || len(status.Failures) != 1 {
			t.Errorf("%v, and it says\n%s", status.Failures, text)
		}
	})
}

func TestAPreviewThatIsInterruptedIsNone(t *testing.T) {
	regenerated(t, func(t *testing.T, s *scene, store *flaky) {
		e, stop := s.start()
		s.await(e)
		stop()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		store.mute.Store(true)
		if _, err := rotation.Preview(ctx, []rotation.Assignment{{Spec: s.spec, Registry: "quay", Client: s.client}}, store); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("it ends with %v", err)
		}
	})
}
