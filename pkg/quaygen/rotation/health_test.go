package rotation_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quaygen/quaygen/pkg/quaygen/ledger"
	"github.com/quaygen/quaygen/pkg/quaygen/quay"
	"github.com/quaygen/quaygen/pkg/quaygen/quay/quaytest"
	"github.com/quaygen/quaygen/pkg/quaygen/rotation"
)

// measured returns all that the engine that was started last shows as metrics, by series: name{label="value",...}, labels in order.
func (s *scene) measured() map[string]float64 {
	s.t.Helper()
	families, err := s.registry.Gather()
	if err != nil {
		s.t.Fatal(err)
	}
	out := map[string]float64{}
	for _, family := range families {
		for _, m := range family.GetMetric() {
			var labels []string
			for _, l := range m.GetLabel() {
				labels = append(labels, fmt.Sprintf("%s=%q", l.GetName(), l.GetValue()))
			}
			slices.Sort(labels)
			series := family.GetName()
			if len(labels) > 0 {
				series += "{" + strings.Join(labels, ",") + "}"
			}
			out[series] = m.GetGauge().GetValue() + m.GetCounter().GetValue() // one of the two is nil
		}
	}
	return out
}

func TestTroubleWithTheLedgerShowsEverywhereUntilItIsOverAndEndsNoService(t *testing.T) {
	full := func(ledger.Record, bool) error { return errors.New("the disk is full") }
	for _, tt := range []struct {
		name      string
		down, up  func(*flaky)
		forgotten bool // the process has no ledger at all
		says      string
	}{
		{"it cannot be read", func(f *flaky) { f.down.Store(true) }, func(f *flaky) { f.down.Store(false) }, false, "the ledger is away"},
		{"it cannot be written", func(f *flaky) { f.fail.Store(&full) }, func(f *flaky) { f.fail.Store(nil) }, false, "the disk is full"},
		{"there is none", func(*flaky) {}, nil, true, "started without one"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			regenerated(t, func(t *testing.T, s *scene, store *flaky) {
				if tt.forgotten {
					s.ledger = nil
				}
				e, stop := s.start()
				defer stop()
				if up, known := s.measured()["quaygen_ledger_up"]; !known || (up == 1) == tt.forgotten {
					t.Errorf("before the first sync the metric is %v, %v", up, known)
				}
				first := s.calm(e)
				s.pass(s.spec.Every) // a rotation is due, or was just done
				s.calm(e)
				tt.down(store)
				s.pass(s.spec.Every)
				posts := s.posts()
				for range 10 {
					s.pass(s.spec.Sync/3 + time.Second)
					if !s.pulls(s.calm(e)) || s.posts() != posts {
						t.Fatal("without a ledger the token must be served, and stay")
					}
					status, h := e.Statuses()[0], e.Ledger()
					if !strings.Contains(status.Ledger, tt.says) || !strings.Contains(strings.Join(status.Plan.Warnings, " "), tt.says) {
						t.Fatalf("status: %q, warnings %q", status.Ledger, status.Plan.Warnings)
					}
					if h.Robots != 1 || h.Without != 1 || h.Err == nil || !strings.HasPrefix(h.Err.Error(), "puller: ") || !strings.Contains(h.Err.Error(), tt.says) || s.measured()["quaygen_ledger_up"] != 0 {
						t.Fatalf("health %+v, metric %v", h, s.measured()["quaygen_ledger_up"])
					}
				}
				if tt.up == nil {
					return
				}
				tt.up(store)
				s.known(e, s.await(e))
				synctest.Wait()
				if h := e.Ledger(); h.Without != 0 || h.Err != nil || e.Statuses()[0].Ledger != "" || s.measured()["quaygen_ledger_up"] != 1 {
					t.Errorf("with the ledger back: %+v, %q", h, e.Statuses()[0].Ledger)
				}
				if s.pulls(first) {
					t.Error("no rotation after the trouble")
				}
			})
		})
	}
}

func TestWithoutARobotThatNeedsALedgerNothingIsSaidOfIt(t *testing.T) {
	play(t, func(t *testing.T, s *scene) {
		e, stop := s.start()
		defer stop()
		s.calm(e)
		if _, known := s.measured()["quaygen_ledger_up"]; known || e.Ledger() != (rotation.LedgerHealth{}) {
			t.Errorf("%+v", e.Ledger())
		}
	})
}

func TestAnOrganizationThatQuayOnlySaysIsGoneIsServedOn(t *testing.T) {
	play(t, func(t *testing.T, s *scene) {
		e, stop := s.start()
		defer stop()
		first := s.calm(e)
		s.quay.Inject(quaytest.Fault{Operation: "robot.list", Status: 403, ContentType: "application/json", Body: `{"error_type":"insufficient_scope"}`})
		s.quay.Inject(quaytest.Fault{Operation: "organization.get", Status: 404, ContentType: "application/json", Body: `{"error_type":"not_found"}`})
		s.pass(3 * s.spec.Sync)
		if h := e.Health()[0]; h.Err == nil || !errors.Is(h.Err, quay.ErrNotFound) {
			t.Fatalf("health %+v", h)
		}
		if got := s.answered(e, first); got != same || s.quay.Calls().Counts()["registry.auth"] > 20 {
			t.Errorf("the answer is %s, calls %v", got, s.quay.Calls().Counts())
		}
	})
}

// Counters stand still from one try to the next, which a long sync makes hours; alerts need what is so meanwhile.
func TestWhatFailsIsShownFromOneTryToTheNext(t *testing.T) {
	const failing = `quaygen_robot_steps_failing{name="puller",step="grant"}`
	play(t, func(t *testing.T, s *scene) {
		s.spec.Sync = 3 * time.Hour
		e, stop := s.start()
		defer stop()
		first := s.calm(e)
		during := func(what string, series map[string]float64) {
			t.Helper()
			s.pass(s.spec.Sync)
			for range 6 {
				shown := s.measured()
				for name, want := range series {
					if got, ok := shown[name]; got != max(want, 0) || ok != (want != absent) {
						t.Errorf("%s: %s is %v, %v; want %v", what, name, got, ok, want)
					}
				}
				s.pass(s.spec.Sync / 2)
			}
		}
		during("all is well", map[string]float64{failing: absent, refusedMetric: 0, syncedMetric: 1})
		mended := s.quay.Inject(quaytest.Fault{Operation: "permission.put", Status: 500})
		s.quay.RemoveGrant("myorg", "app", first.Robot.Short())
		during("a grant fails", map[string]float64{failing: 1, refusedMetric: 0, syncedMetric: 1})
		mended()
		during("grants work", map[string]float64{failing: absent, refusedMetric: 0, syncedMetric: 1})
		mended = s.quay.Inject(quaytest.Fault{Status: 502})
		during("Quay is down", map[string]float64{failing: absent, refusedMetric: 0, syncedMetric: 0})
		mended()
		s.quay.RevokeTokens("admin")
		during("the token is refused", map[string]float64{failing: absent, refusedMetric: 1, syncedMetric: 0})
	})
}
