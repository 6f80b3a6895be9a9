package rotation_test

import (
	"testing"
	"time"

	"github.com/quaygen/quaygen/pkg/quaygen/ledger"
	"github.com/quaygen/quaygen/pkg/quaygen/quay"
	"github.com/quaygen/quaygen/pkg/quaygen/quay/quaytest"
	"github.com/quaygen/quaygen/pkg/quaygen/rotation"
)

// A list alone is not all that it takes to hand out what other processes hand out already.
func TestARobotInUseIsAwaitedUntilAProcessThatStartsCanHandItOut(t *testing.T) {
	for _, tt := range []struct {
		name   string
		slow   string // what takes its time when the process starts
		before func(s *scene)
		life   func(s *scene, e *rotation.Engine)
	}{
		{"its token has to be logged in with", "auth",
			func(s *scene) {
				s.spec.Strategy, s.spec.Sync, s.ledger = rotation.Regenerate, 15*time.Minute, ledger.NewMemory()
			},
			func(s *scene, e *rotation.Engine) { s.calm(e) }},
		{"its roles have to be read", "robot.permissions",
			func(s *scene) { s.spec.Permissions.Repositories[0].Role = quay.RoleWrite },
			func(s *scene, e *rotation.Engine) {
				first := s.calm(e)
				s.rotated(e, first)
				for range 30 { // beyond the overlap; who still uses the first keeps it alive
					s.pass(time.Hour)
					s.pulls(first)
				}
				s.calm(e)
			}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			play(t, func(t *testing.T, s *scene) {
				tt.before(s)
				e, stop := s.start()
				tt.life(s, e)
				stop()
				s.quay.Inject(quaytest.Fault{Operation: tt.slow, Delay: 10 * time.Second})
				e, stop = s.start()
				defer stop()
				awaited := 0
				for {
					h := e.Health()[0]
					awaited += h.Awaited
					if h.Err == nil && h.Awaited == 0 {
						break
					}
					s.pass(100 * time.Millisecond)
				}
				if _, err := e.Current(rotation.Ref{Name: "puller"}); err != nil || awaited == 0 {
					t.Errorf("when nothing is awaited any more, after %d looks: %v", awaited, err)
				}
			})
		})
	}
}

func TestWhatCannotBeHandedOutIsNotAwaitedForEver(t *testing.T) {
	for name, fault := range map[string]quaytest.Fault{
		"its token cannot be logged in with": {Operation: "auth", Status: 503},
		"no login is answered":               {Operation: "auth", Hang: true},
	} {
		t.Run(name, func(t *testing.T) {
			regenerated(t, func(t *testing.T, s *scene, _ *flaky) {
				e, stop := s.start()
				s.calm(e)
				stop()
				s.quay.Inject(fault)
				e, stop = s.start()
				defer stop()
				s.pass(2 * time.Minute)
				if h := e.Health()[0]; h.Awaited != 0 || h.Serving != 0 {
					t.Errorf("%d are awaited, %d are served", h.Awaited, h.Serving)
				}
			})
		})
	}
}

func TestANewRobotIsNotAwaited(t *testing.T) {
	play(t, func(t *testing.T, s *scene) {
		s.quay.Inject(quaytest.Fault{Operation: "robot.create", Delay: 10 * time.Second})
		e, stop := s.start()
		defer stop()
		for e.Health()[0].Err != nil {
			s.pass(100 * time.Millisecond)
		}
		for range 200 {
			if h := e.Health()[0]; h.Awaited != 0 {
				t.Fatalf("%d are awaited", h.Awaited)
			}
			s.pass(100 * time.Millisecond)
		}
		s.calm(e)
	})
}
