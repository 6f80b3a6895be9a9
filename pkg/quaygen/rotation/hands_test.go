package rotation_test

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quaygen/quaygen/pkg/quaygen/ledger"
	"github.com/quaygen/quaygen/pkg/quaygen/quay"
	"github.com/quaygen/quaygen/pkg/quaygen/rotation"
)

// What people and other programs do in Quay is noticed at the next sync. By then, and until all is well again, no credential is
// handed out of which it is known that it is dead.

var puller = rotation.Ref{Name: "puller"}

// An answer is what a request gets.
type answer string

const (
	same     answer = "the same credential"
	another  answer = "another credential"
	notReady answer = "503"
	refused  answer = "424"
)

// answered asks, and makes sure that no credential is handed out that is dead.
func (s *scene) answered(e *rotation.Engine, first *rotation.Lease) answer {
	s.t.Helper()
	l, err := e.Current(puller)
	why, ok := errors.AsType[*rotation.NotReadyError](err)
	switch {
	case err == nil && !s.pulls(l):
		s.t.Fatalf("%s is handed out, and does not pull", l.Robot)
	case err == nil && l.Robot == first.Robot && l.Token.Equal(first.Token):
		return same
	case err == nil:
		return another
	case !ok:
		s.t.Fatal(err)
	case why.Refused:
		return refused
	}
	return notReady
}

// calm waits for the credential, and until the engine has nothing left to do in this moment: a person who comes while
// it still works may be made up for at once.
func (s *scene) calm(e *rotation.Engine) *rotation.Lease {
	s.t.Helper()
	l := s.await(e)
	synctest.Wait()
	return l
}

// A hand is something that a person does, and what comes of it.
type hand struct {
	name   string
	before func(s *scene)                                            // settings, before the start; nil: none
	life   func(s *scene, e *rotation.Engine)                        // until the person comes; nil: until all is calm
	does   func(s *scene, first *rotation.Lease)                     // what the person does
	answer answer                                                    // at the next sync
	status []string                                                  // what the status says then; FIRST stands for the robot served before
	health []string                                                  // what is said of the organization then
	shows  map[string]float64                                        // what the metrics show then; of a counter, how much more than before
	later  func(s *scene, e *rotation.Engine, first *rotation.Lease) // what docs/rotation.md says of the time after
}

// absent stands for a metric that is not shown.
const absent = -1

const (
	servedMetric   = `quaygen_robot_generation{name="puller"}`
	missingMetric  = `quaygen_robot_generations{name="puller",state="missing"}`
	conflictMetric = `quaygen_robot_generations{name="puller",state="conflict"}`
	replacedMetric = `quaygen_rotations_total{name="puller",outcome="rotated_elsewhere"}`
	deletedMetric  = `quaygen_rotations_total{name="puller",outcome="deleted_elsewhere"}`
	driftMetric    = `quaygen_permission_drift_total{name="puller"}`
	syncedMetric   = `quaygen_quay_sync_ok{organization="myorg",registry="quay"}`
	refusedMetric  = `quaygen_quay_token_refused{organization="myorg",registry="quay"}`
	readOnlyMetric = `quaygen_quay_read_only{organization="myorg",registry="quay"}`
	disabledMetric = `quaygen_quay_robots_disabled{organization="myorg",registry="quay"}`
)

// told is all that the status of the robot and of the organization tell people.
func told(e *rotation.Engine) (status, health string) {
	s, h := e.Statuses()[0], e.Health()[0]
	for _, g := range s.Plan.Generations {
		status += fmt.Sprintf("%s is %s: %s\n", g.Robot.Short(), g.State, g.Note)
	}
	return fmt.Sprintf("%sserves %d, why %s\nwarnings %q", status, s.Current, s.Why, s.Plan.Warnings),
		fmt.Sprintf("error %v, read-only %t, disabled %t", h.Err, h.ReadOnly, h.Disabled)
}

// synced lets time pass until the next sync is over, be it that it fails. Two syncs may come within one interval and a second.
func (s *scene) synced(e *rotation.Engine) {
	s.t.Helper()
	for began := time.Now(); time.Since(began) <= s.spec.Sync && !e.Health()[0].At.After(began); {
		s.pass(time.Second)
	}
	synctest.Wait()
}

// check compares what status, health and metrics show with what they have to.
func (h hand) check(s *scene, e *rotation.Engine, first *rotation.Lease, before map[string]float64) {
	s.t.Helper()
	status, health := told(e)
	for _, want := range h.status {
		if want = strings.ReplaceAll(want, "FIRST", first.Robot.Short()); !strings.Contains(status, want) {
			s.t.Errorf("the status lacks %q:\n%s", want, status)
		}
	}
	for _, want := range h.health {
		if !strings.Contains(health, want) {
			s.t.Errorf("the organization's health lacks %q: %s", want, health)
		}
	}
	shown := s.measured()
	for series, want := range h.shows {
		got, ok := shown[series]
		if strings.Contains(series, "_total") {
			got -= before[series]
		}
		if !ok {
			got = absent
		}
		if got != want {
			s.t.Errorf("%s: %v, want %v", series, got, want)
		}
	}
}

func TestWhatPeopleDoIsNoticedMadeUpForAndShown(t *testing.T) {
	for _, h := range slices.Concat(handsOnRobots, handsOnQuay) {
		t.Run(h.name, func(t *testing.T) {
			play(t, func(t *testing.T, s *scene) {
				if h.before != nil {
					h.before(s)
				}
				e, stop := s.start()
				defer stop()
				if h.life != nil {
					h.life(s, e)
				}
				first := s.calm(e)
				before := s.measured()
				h.does(s, first)
				s.synced(e)
				if got := s.answered(e, first); got != h.answer {
					status, _ := told(e)
					t.Fatalf("the answer is %s, want %s\n%s", got, h.answer, status)
				}
				h.check(s, e, first, before)
				for range 6 {
					s.pass(s.spec.Sync / 3)
					s.answered(e, first)
				}
				h.later(s, e, first)
			})
		})
	}
}

// after waits until there is a credential again, and makes sure that it has another name than first.
func after(d time.Duration) func(s *scene, e *rotation.Engine, first *rotation.Lease) {
	return func(s *scene, e *rotation.Engine, first *rotation.Lease) {
		s.t.Helper()
		s.pass(d)
		s.calm(e)
		if l, err := e.Current(puller); err != nil || l.Robot == first.Robot || !s.pulls(l) {
			s.t.Errorf("after %s was deleted: %v, %v", first.Robot, l, err)
		}
	}
}

// grown lets the robot come near its rotation.
func (s *scene) grown(e *rotation.Engine, d time.Duration) {
	s.calm(e)
	s.pass(d)
}

func regenerates(s *scene, first *rotation.Lease) {
	s.quay.RegenerateRobot("myorg", first.Robot.Short())
}

// replaced is what comes of a token that somebody else replaced.
func replaced(s *scene, e *rotation.Engine, first *rotation.Lease) {
	s.t.Helper()
	if l := s.calm(e); l.Robot != first.Robot || s.pulls(first) {
		s.t.Errorf("%s is handed out after %s", l.Robot, first.Robot)
	}
}

var handsOnRobots = []hand{
	{
		name:   "the current generation is deleted",
		before: func(s *scene) { s.spec.Sync = 20 * time.Second }, // absence is believed only after several lists
		does:   func(s *scene, first *rotation.Lease) { s.quay.DeleteRobot("myorg", first.Robot.Short()) },
		answer: notReady,
		status: []string{"FIRST is missing: it was deleted by somebody else, seen at ", "serves -1", "FIRST was deleted by somebody else"},
		shows:  map[string]float64{missingMetric: 1, deletedMetric: 1, servedMetric: absent, syncedMetric: 1},
		later:  after(100 * time.Second),
	},
	{
		name:   "the newest of two generations is deleted",
		life:   func(s *scene, e *rotation.Engine) { s.rotated(e, s.calm(e)) },
		does:   func(s *scene, first *rotation.Lease) { s.quay.DeleteRobot("myorg", first.Robot.Short()) },
		answer: another, // its predecessor, which safely lives
		status: []string{"FIRST is missing: it was deleted by somebody else, seen at "},
		shows:  map[string]float64{missingMetric: 1, deletedMetric: 1},
		later: func(s *scene, e *rotation.Engine, first *rotation.Lease) {
			if l := s.await(e); float64(l.Generation) != s.measured()[servedMetric] {
				s.t.Errorf("generation %d is served, and the metric shows %v", l.Generation, s.measured()[servedMetric])
			}
			after(24*time.Hour)(s, e, first)
		},
	},
	{
		name: "the token is regenerated, strategy overlap",
		does: regenerates, answer: another,
		status: []string{"FIRST is current: its token was replaced by somebody else, seen at "},
		shows:  map[string]float64{replacedMetric: 1},
		later:  replaced,
	},
	{
		name:   "the token is regenerated, strategy none",
		before: func(s *scene) { s.spec.Strategy = rotation.None },
		does:   regenerates, answer: another,
		status: []string{"FIRST is current: its token was replaced by somebody else, seen at "},
		shows:  map[string]float64{replacedMetric: 1},
		later:  replaced,
	},
	{
		name: "the token is regenerated, strategy regenerate", // G6
		before: func(s *scene) {
			s.spec.Strategy, s.spec.Sync, s.ledger = rotation.Regenerate, 15*time.Minute, ledger.NewMemory()
		},
		life: func(s *scene, e *rotation.Engine) { s.grown(e, 150*time.Hour) },
		does: regenerates, answer: another,
		status: []string{"FIRST is current: its token was replaced by somebody else, seen at ", "serves 1"},
		shows:  map[string]float64{replacedMetric: 1, servedMetric: 1},
		later: func(s *scene, e *rotation.Engine, first *rotation.Lease) {
			replaced(s, e, first)
			second := s.calm(e)
			s.pass(170 * time.Hour) // 320 h after the first, 170 h after the person's
			if second.Generation != first.Generation+1 || s.posts() != 0 {
				s.t.Errorf("rotation %d is served, and the person's did not count", second.Generation)
			}
			s.rotated(e, second)
		},
	},
	{
		name: "a grant is removed",
		does: func(s *scene, first *rotation.Lease) {
			s.quay.RemoveGrant("myorg", "app", first.Robot.Short())
			if s.pulls(first) {
				s.t.Fatal("it still pulls")
			}
		},
		answer: same,
		status: []string{"FIRST is current: its permissions were set right: grant myorg+FIRST read on app, seen at "},
		shows:  map[string]float64{driftMetric: 1},
		later:  func(*scene, *rotation.Engine, *rotation.Lease) {},
	},
	{
		name:   "a role is lowered",
		before: func(s *scene) { s.spec.Permissions.Repositories[0].Role = quay.RoleWrite },
		does:   func(s *scene, first *rotation.Lease) { s.quay.Grant("myorg", "app", first.Robot.Short(), "read") },
		answer: same,
		status: []string{"FIRST is current: its permissions were set right: grant myorg+FIRST write on app, seen at "},
		shows:  map[string]float64{driftMetric: 1},
		later: func(s *scene, _ *rotation.Engine, first *rotation.Lease) {
			if r, _ := s.quay.Robot("myorg", first.Robot.Short()); r.Grants["app"] != "write" {
				s.t.Errorf("grants %v", r.Grants)
			}
		},
	},
	{
		name:   "a robot without a marker is made in the way",
		does:   func(s *scene, _ *rotation.Lease) { s.quay.AddRobot("myorg", "puller_g99999999", "made by hand") },
		answer: same,
		status: []string{"puller_g99999999 is conflict: it does not carry quaygen's marker", "robot myorg+puller_g99999999 is in the way"},
		shows:  map[string]float64{conflictMetric: 1},
		later: func(s *scene, e *rotation.Engine, first *rotation.Lease) {
			if l := s.await(e); !strings.Contains(strings.Join(l.Warnings, " "), "puller_g99999999") {
				s.t.Errorf("callers are told %q", l.Warnings)
			}
			if l := s.rotated(e, first); l.Generation <= 99999999 {
				s.t.Errorf("generation %d", l.Generation)
			}
			if r, ok := s.quay.Robot("myorg", "puller_g99999999"); !ok || len(r.Grants) > 0 {
				s.t.Error("a robot that is not ours was touched")
			}
		},
	},
}

// made makes the organization anew.
func (s *scene) made() {
	s.quay.AddOrganization("myorg", "admin")
	s.quay.AddRepository("myorg", "app")
}

var handsOnQuay = []hand{
	{
		name:   "robots are disabled for the whole registry",
		does:   func(s *scene, _ *rotation.Lease) { s.quay.SetRobotsDisallow(true) },
		answer: refused,
		status: []string{"serves -1, why Quay has disabled robot accounts"},
		health: []string{"disabled true"},
		shows:  map[string]float64{disabledMetric: 1, servedMetric: absent},
		later: func(s *scene, e *rotation.Engine, first *rotation.Lease) {
			s.quay.SetRobotsDisallow(true, first.Robot.Username()) // all but this one
			s.pass(2 * s.spec.Sync)
			s.quay.SetRobotsDisallow(false)
			s.pass(s.spec.Sync + time.Second)
			if got := s.answered(e, first); got != same || s.measured()[disabledMetric] != 0 {
				s.t.Errorf("after robots are enabled again the answer is %s", got)
			}
		},
	},
	{
		name:   "robots are disabled, except for ours",
		does:   func(s *scene, first *rotation.Lease) { s.quay.SetRobotsDisallow(true, first.Robot.Username()) },
		answer: same,
		health: []string{"disabled true"},
		shows:  map[string]float64{disabledMetric: 1},
		later:  func(*scene, *rotation.Engine, *rotation.Lease) {},
	},
	{
		name:   "the registry is made read-only",
		life:   func(s *scene, e *rotation.Engine) { s.grown(e, 170*time.Hour) },
		does:   func(s *scene, _ *rotation.Lease) { s.quay.SetReadOnly(true) },
		answer: same,
		health: []string{"error <nil>, read-only true"},
		shows:  map[string]float64{readOnlyMetric: 1, syncedMetric: 1},
		later: func(s *scene, e *rotation.Engine, first *rotation.Lease) {
			for range 48 {
				s.pass(time.Hour)
				s.calm(e)
				if got := s.answered(e, first); got != same {
					s.t.Fatalf("the answer is %s", got)
				}
			}
			s.quay.SetReadOnly(false)
			if second := s.rotated(e, first); !s.pulls(first) || !s.pulls(second) {
				s.t.Error("both must pull after the delayed rotation")
			}
			if s.measured()[readOnlyMetric] != 0 {
				s.t.Error("the metric still says read-only")
			}
		},
	},
	{
		name:   "the API token expires",
		does:   func(s *scene, _ *rotation.Lease) { s.quay.RevokeTokens("admin") },
		answer: same, // while it safely lives
		status: []string{"not accepted"},
		health: []string{"not accepted"},
		shows:  map[string]float64{syncedMetric: 0, refusedMetric: 1},
		later: func(s *scene, e *rotation.Engine, first *rotation.Lease) {
			s.pass(23 * time.Hour)
			got := s.answered(e, first)
			status, _ := told(e)
			if _, known := s.measured()[servedMetric]; got != refused || known || !strings.Contains(status, "serves -1") || !strings.Contains(status, "not accepted") {
				s.t.Errorf("a day later the answer is %s, and the status\n%s", got, status)
			}
			if err := os.WriteFile(s.tokenFile, []byte(s.quay.AddToken("admin", "org:admin", "repo:admin", "user:admin")), 0o600); err != nil {
				s.t.Fatal(err)
			}
			s.pass(2 * s.spec.Sync)
			got = s.answered(e, first)
			if _, health := told(e); got != same || !strings.Contains(health, "error <nil>") || s.measured()[syncedMetric] != 1 || s.measured()[refusedMetric] != 0 {
				s.t.Errorf("with another token the answer is %s, and %s", got, health)
			}
		},
	},
	{
		name:   "the organization is deleted",
		does:   func(s *scene, _ *rotation.Lease) { s.quay.DeleteOrganization("myorg") },
		answer: refused,
		status: []string{"serves -1, why myorg does not exist in Quay"},
		health: []string{"myorg does not exist in Quay"},
		shows:  map[string]float64{syncedMetric: 0, refusedMetric: 1, deletedMetric: 1, servedMetric: absent},
		later: func(s *scene, e *rotation.Engine, first *rotation.Lease) {
			s.made()
			after(3*s.spec.Sync)(s, e, first)
		},
	},
	{
		name: "the organization is deleted and made again",
		does: func(s *scene, _ *rotation.Lease) {
			s.quay.DeleteOrganization("myorg")
			s.made()
		},
		answer: notReady,
		status: []string{"FIRST is missing: it was deleted by somebody else", "serves -1"},
		health: []string{"error <nil>"},
		shows:  map[string]float64{missingMetric: 1, deletedMetric: 1, servedMetric: absent},
		later:  after(25 * time.Minute),
	},
}
