package rotation_test

import (
	"errors"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quaygen/quaygen/pkg/quaygen/rotation"
)

// What people and other programs do in Quay is noticed at the next sync. By then, and until all is well again, no credential is
// handed out of which it is known that it is dead.

var puller = rotation.Ref{Name: "puller"}

// noticed lets one sync pass, and returns what is handed out after it; nil if nothing is.
func (s *scene) noticed(e *rotation.Engine) *rotation.Lease {
	s.t.Helper()
	s.pass(s.spec.Sync + time.Second)
	l, err := e.Current(puller)
	if err == nil {
		return l
	}
	var notReady *rotation.NotReadyError
	if !errors.As(err, &notReady) {
		s.t.Fatal(err)
	}
	return nil
}

// calm waits for the credential, and until the engine has nothing left to do in this moment: a person who comes while
// it still works may be made up for at once.
func (s *scene) calm(e *rotation.Engine) *rotation.Lease {
	s.t.Helper()
	l := s.await(e)
	synctest.Wait()
	return l
}

func TestAGenerationThatAPersonDeletesIsNotHandedOutAfterTheNextSync(t *testing.T) {
	play(t, func(t *testing.T, s *scene) {
		s.spec.Sync = 20 * time.Second // absence is believed only after several lists
		e, stop := s.start()
		defer stop()
		first := s.calm(e)
		s.quay.DeleteRobot("myorg", first.Robot.Short())
		if l := s.noticed(e); l != nil && !s.pulls(l) {
			t.Fatalf("%s is handed out", l.Robot)
		}
		s.pass(5 * s.spec.Sync)
		if second := s.calm(e); second.Robot == first.Robot || !s.pulls(second) {
			t.Errorf("after %s was deleted %s is handed out", first.Robot, second.Robot)
		}
	})
}

func TestWhenTheNewestIsDeletedItsPredecessorIsHandedOutAtOnceIfItSafelyLives(t *testing.T) {
	play(t, func(t *testing.T, s *scene) {
		e, stop := s.start()
		defer stop()
		first := s.calm(e)
		second := s.rotated(e, first)
		s.quay.DeleteRobot("myorg", second.Robot.Short())
		l := s.noticed(e)
		if l == nil || !s.pulls(l) {
			t.Errorf("%v is handed out", l)
		}
		s.pass(24 * time.Hour)
		if third := s.calm(e); third.Robot == second.Robot || !s.pulls(third) {
			t.Errorf("a day later %s is handed out", third.Robot)
		}
	})
}

func TestATokenThatAPersonRegeneratesIsReplacedAtTheNextSync(t *testing.T) {
	for _, strategy := range []rotation.Strategy{rotation.Overlap, rotation.None} {
		t.Run(strategy.String(), func(t *testing.T) {
			play(t, func(t *testing.T, s *scene) {
				s.spec.Strategy = strategy
				e, stop := s.start()
				defer stop()
				first := s.calm(e)
				s.quay.RegenerateRobot("myorg", first.Robot.Short())
				second := s.noticed(e)
				if second == nil || second.Robot != first.Robot || !s.pulls(second) || s.pulls(first) {
					t.Errorf("%v is handed out", second)
				}
			})
		})
	}
}

func TestAGrantThatAPersonRemovesComesBackAtTheNextSync(t *testing.T) {
	play(t, func(t *testing.T, s *scene) {
		e, stop := s.start()
		defer stop()
		l := s.calm(e)
		s.quay.RemoveGrant("myorg", "app", l.Robot.Short())
		if s.pulls(l) {
			t.Fatal("it still pulls")
		}
		if l := s.noticed(e); l == nil || !s.pulls(l) {
			t.Errorf("%v is handed out", l)
		}
	})
}

func TestWhileQuayDisablesRobotsTheAnswerSaysThatQuayRefuses(t *testing.T) {
	play(t, func(t *testing.T, s *scene) {
		e, stop := s.start()
		defer stop()
		first := s.calm(e)
		s.quay.SetRobotsDisallow(true)
		if l := s.noticed(e); l != nil {
			t.Errorf("%s is handed out", l.Robot)
		}
		var notReady *rotation.NotReadyError
		if _, err := e.Current(puller); !errors.As(err, &notReady) || !notReady.Refused {
			t.Errorf("the answer is %v", err)
		}
		s.quay.SetRobotsDisallow(true, first.Robot.Username()) // all but this one
		s.pass(2 * s.spec.Sync)
		s.quay.SetRobotsDisallow(false)
		if l := s.noticed(e); l == nil || l.Robot != first.Robot {
			t.Errorf("after robots are enabled again %v is handed out", l)
		}
	})
}

func TestARobotThatQuayExceptsFromDisablingIsHandedOut(t *testing.T) {
	play(t, func(t *testing.T, s *scene) {
		e, stop := s.start()
		defer stop()
		first := s.calm(e)
		s.quay.SetRobotsDisallow(true, first.Robot.Username())
		if l := s.noticed(e); l == nil || l.Robot != first.Robot || !s.pulls(l) {
			t.Errorf("%v is handed out", l)
		}
	})
}

func TestAReadOnlyQuayIsServedFromAndNothingIsLost(t *testing.T) {
	play(t, func(t *testing.T, s *scene) {
		e, stop := s.start()
		defer stop()
		first := s.calm(e)
		s.pass(170 * time.Hour)
		s.quay.SetReadOnly(true)
		for range 48 {
			s.pass(time.Hour)
			if l := s.calm(e); !s.pulls(l) {
				t.Fatalf("%s is handed out", l.Robot)
			}
		}
		s.quay.SetReadOnly(false)
		if second := s.rotated(e, first); !s.pulls(first) || !s.pulls(second) {
			t.Error("both must pull after the delayed rotation")
		}
	})
}

func TestAnAPITokenThatEndsIsReportedAndANewOneTakenUp(t *testing.T) {
	play(t, func(t *testing.T, s *scene) {
		e, stop := s.start()
		defer stop()
		s.calm(e)
		s.quay.RevokeTokens("admin")
		if l := s.noticed(e); l == nil || !s.pulls(l) {
			t.Errorf("while it safely lives, %v is handed out", l)
		}
		if h := e.Health(); len(h) != 1 || h[0].Err == nil {
			t.Errorf("health %+v", h)
		}
		if err := os.WriteFile(s.tokenFile, []byte(s.quay.AddToken("admin", "org:admin", "repo:admin", "user:admin")), 0o600); err != nil {
			t.Fatal(err)
		}
		s.pass(2 * s.spec.Sync)
		if h := e.Health(); h[0].Err != nil {
			t.Errorf("with another token: %v", h[0].Err)
		}
	})
}

func TestAnOrganizationThatIsMadeAnewGetsNewNames(t *testing.T) {
	play(t, func(t *testing.T, s *scene) {
		e, stop := s.start()
		defer stop()
		first := s.calm(e)
		s.quay.DeleteOrganization("myorg")
		if l := s.noticed(e); l != nil && s.alive(l) {
			t.Fatalf("%s is alive in an organization that is gone", l.Robot)
		}
		s.quay.AddOrganization("myorg", "admin")
		s.quay.AddRepository("myorg", "app")
		s.pass(3 * s.spec.Sync)
		if second := s.calm(e); second.Robot == first.Robot || !s.pulls(second) {
			t.Errorf("%s was handed out, now %s", first.Robot, second.Robot)
		}
	})
}
