package rotation_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/quaygen/quaygen/pkg/quaygen/ledger"
	"github.com/quaygen/quaygen/pkg/quaygen/quay"
	"github.com/quaygen/quaygen/pkg/quaygen/quay/quaytest"
	"github.com/quaygen/quaygen/pkg/quaygen/rotation"
)

// A scene is a Quay in memory and what engines there are in front of it, in a bubble of its own time.
type scene struct {
	t      *testing.T
	quay   *quaytest.Server
	client *quay.Client
	spec   rotation.Spec
	ledger ledger.Store

	registry  *prometheus.Registry // of the engine that was started last
	tokenFile string               // of the API token
}

// ahead is how far Quay's clock is ahead of the local one in most tests: a bubble's clock starts in the year 2000, and
// generations are numbered from 2026.
const ahead = 27 * 365 * 24 * time.Hour

func play(t *testing.T, story func(t *testing.T, s *scene)) {
	t.Helper()
	playWith(t, ahead, story)
}

// playWith plays a story with Quay's clock so far ahead of the local one.
func playWith(t *testing.T, ahead time.Duration, story func(t *testing.T, s *scene)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		server := quaytest.New(quaytest.Options{Now: func() time.Time { return time.Now().Add(ahead) }})
		server.AddUser("admin")
		server.AddOrganization("myorg", "admin")
		server.AddRepository("myorg", "app")
		file := filepath.Join(t.TempDir(), "token")
		if err := os.WriteFile(file, []byte(server.AddToken("admin", "org:admin", "repo:admin", "user:admin")), 0o600); err != nil {
			t.Fatal(err)
		}
		client, err := quay.New(quay.Config{URL: "https://quay.test", TokenFile: file, QPS: 1e6, Burst: 1e6, Transport: server.Transport()})
		if err != nil {
			t.Fatal(err)
		}
		owner, err := quay.ParseOrganization("myorg")
		if err != nil {
			t.Fatal(err)
		}
		base, err := quay.NewRobot(owner, "puller")
		if err != nil {
			t.Fatal(err)
		}
		s := &scene{t: t, quay: server, client: client, tokenFile: file, spec: rotation.Spec{
			Name: "puller", Instance: "test", Base: base, Strategy: rotation.Overlap,
			Every: 200 * time.Hour, Overlap: 24 * time.Hour, Quiet: 2 * time.Hour, Max: 168 * time.Hour, MaxRefresh: time.Hour,
			Sync: 5 * time.Minute, Safety: rotation.DefaultSafety(),
			Permissions: rotation.Permissions{Repositories: []rotation.RepositoryGrant{{Pattern: "app", Role: quay.RoleRead}, {Pattern: "*-svc", Role: quay.RoleRead}}},
		}}
		story(t, s)
		names := map[string]bool{}
		for _, r := range server.Ever("myorg") {
			if names[r.Short] {
				t.Errorf("the name %s was used twice", r.Short)
			}
			names[r.Short] = true
		}
	})
}

// start runs an engine until the returned function is called.
func (s *scene) start() (*rotation.Engine, func()) {
	e := s.engine()
	return e, s.run(e)
}

// engine makes an engine that does not run yet.
func (s *scene) engine() *rotation.Engine {
	s.registry = prometheus.NewRegistry()
	e := rotation.New(rotation.Config{Ledger: s.ledger, Holder: "test", Registerer: s.registry})
	e.Apply([]rotation.Assignment{{Spec: s.spec, Registry: "quay", Client: s.client}})
	return e
}

func (s *scene) run(e *rotation.Engine) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- e.Run(ctx) }()
	return func() {
		cancel()
		if err := <-done; err != nil {
			s.t.Error(err)
		}
	}
}

// pass lets the bubble's time go by.
func (s *scene) pass(d time.Duration) { time.Sleep(d) }

func (s *scene) await(e *rotation.Engine) *rotation.Lease {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), time.Minute)
	defer cancel()
	lease, err := e.Await(ctx, rotation.Ref{Name: "puller"})
	if err != nil {
		s.t.Fatal(err)
	}
	return lease
}

// rotated lets time pass until another generation than that of old is served.
func (s *scene) rotated(e *rotation.Engine, old *rotation.Lease) *rotation.Lease {
	s.t.Helper()
	for end := time.Now().Add(s.spec.Every + time.Hour); time.Now().Before(end); s.pass(s.spec.Sync) {
		if l := s.await(e); l.Generation != old.Generation {
			return l
		}
	}
	s.t.Fatal("no rotation within its time")
	return nil
}

// pulls reports whether a credential is good for a pull from app now.
func (s *scene) pulls(l *rotation.Lease) bool {
	s.t.Helper()
	repository, err := quay.NewRepository(l.Robot.Owner(), "app")
	if err != nil {
		s.t.Fatal(err)
	}
	result, err := s.client.Login(s.t.Context(), l.Robot, l.Token, []quay.Repository{repository})
	return err == nil && result.Pull["app"]
}

func TestARotationLeavesTheOldCredentialItsOverlapAndThenEndsIt(t *testing.T) {
	play(t, func(t *testing.T, s *scene) {
		e, stop := s.start()
		defer stop()
		first := s.await(e)
		second := s.rotated(e, first)
		if second.Generation <= first.Generation || !s.pulls(first) || !s.pulls(second) {
			t.Fatalf("generation %d, then %d; both must pull", first.Generation, second.Generation)
		}
		s.pass(20 * time.Hour)
		if !s.pulls(first) {
			t.Fatal("the old credential ended within its overlap")
		}
		s.pass(12 * time.Hour)
		if s.pulls(first) || !s.pulls(second) {
			t.Error("after overlap and quiet the old credential must be dead and the new one alive")
		}
	})
}

func TestForcedRotationsAreRefusedOneUponAnotherAndPossibleAgainLater(t *testing.T) {
	play(t, func(t *testing.T, s *scene) {
		e, stop := s.start()
		defer stop()
		first := s.await(e)
		second, err := e.Rotate(t.Context(), rotation.Ref{Name: "puller"})
		if err != nil || second.Generation <= first.Generation || !s.pulls(first) {
			t.Fatalf("rotated to %v, %v", second, err)
		}
		if _, err := e.Rotate(t.Context(), rotation.Ref{Name: "puller"}); !isUnderWay(err) {
			t.Fatalf("a rotation upon another: %v", err)
		}
		s.pass(60 * time.Hour)
		third, err := e.Rotate(t.Context(), rotation.Ref{Name: "puller"})
		if err != nil || third.Generation <= second.Generation {
			t.Errorf("a later rotation: %v, %v", third, err)
		}
	})
}

func isUnderWay(err error) bool {
	_, ok := errors.AsType[*rotation.UnderWayError](err)
	return ok
}

func TestARevocationPublishesFirstAndSucceedsWhenAllIsGone(t *testing.T) {
	play(t, func(t *testing.T, s *scene) {
		e, stop := s.start()
		defer stop()
		first := s.await(e)
		s.pass(time.Hour)
		through, err := e.Revoke(t.Context(), rotation.Ref{Name: "puller"}, -1)
		if err != nil || through < first.Generation {
			t.Fatalf("revoked through %d, not %d: %v", through, first.Generation, err)
		}
		if s.pulls(first) || !s.pulls(s.await(e)) {
			t.Error("the revoked credential must be dead and another one served")
		}
		if _, err := e.Revoke(t.Context(), rotation.Ref{Name: "puller"}, through); err != nil {
			t.Errorf("repeating it: %v", err)
		}
		// Quay's times have whole seconds, and here all of it happens within one.
		if ever := s.quay.Ever("myorg"); len(ever) != 2 {
			t.Errorf("it made %d robots, not one", len(ever)-1)
		}
	})
}

func TestWhileQuayIsDownAnswersComeFromMemoryUntilItsEndIsPossible(t *testing.T) {
	play(t, func(t *testing.T, s *scene) {
		e, stop := s.start()
		defer stop()
		s.await(e)
		up := s.quay.Inject(quaytest.Fault{Status: 502})
		servable := s.spec.Overlap - s.spec.MaxRefresh - s.spec.Safety.Settle - s.spec.Safety.ClockAllowance
		s.pass(servable - 2*s.spec.Sync)
		if _, err := e.Current(rotation.Ref{Name: "puller"}); err != nil {
			t.Fatalf("still servable: %v", err)
		}
		s.pass(3 * s.spec.Sync)
		_, err := e.Current(rotation.Ref{Name: "puller"})
		if notReady, ok := errors.AsType[*rotation.NotReadyError](err); !ok || notReady.Refused {
			t.Fatalf("past its end: %v", err)
		}
		up()
		s.pass(3 * s.spec.Sync)
		if _, err := e.Current(rotation.Ref{Name: "puller"}); err != nil {
			t.Errorf("with Quay back: %v", err)
		}
	})
}

func TestDriftIsMendedAndNewRepositoriesAreGrantedAtTheNextSync(t *testing.T) {
	play(t, func(t *testing.T, s *scene) {
		e, stop := s.start()
		defer stop()
		lease := s.await(e)
		s.quay.RemoveGrant("myorg", "app", lease.Robot.Short())
		s.quay.AddRepository("myorg", "new-svc")
		s.pass(2 * s.spec.Sync)
		robot, _ := s.quay.Robot("myorg", lease.Robot.Short())
		if robot.Grants["app"] != "read" || robot.Grants["new-svc"] != "read" {
			t.Errorf("grants %v", robot.Grants)
		}
	})
}

func TestALostAnswerToACreationIsSettledByReading(t *testing.T) {
	play(t, func(t *testing.T, s *scene) {
		s.quay.Inject(quaytest.Fault{Operation: "robot.create", LostAnswer: true, Times: 1})
		e, stop := s.start()
		defer stop()
		s.pass(5 * s.spec.Sync)
		if lease := s.await(e); !s.pulls(lease) || len(s.quay.Ever("myorg")) != 1 {
			t.Errorf("%d robots were made", len(s.quay.Ever("myorg")))
		}
	})
}

func TestTwoReplicasAgreeThroughQuayAlone(t *testing.T) {
	play(t, func(t *testing.T, s *scene) {
		one, stopOne := s.start()
		defer stopOne()
		two, stopTwo := s.start()
		defer stopTwo()
		if a, b := s.await(one), s.await(two); a.Generation != b.Generation {
			t.Fatalf("one serves %d, the other %d", a.Generation, b.Generation)
		}
		s.rotated(one, s.await(one))
		s.pass(time.Hour)
		if a, b := s.await(one), s.await(two); a.Generation != b.Generation || len(s.quay.Robots("myorg")) != 2 {
			t.Errorf("after a rotation one serves %d, the other %d, of %d robots", a.Generation, b.Generation, len(s.quay.Robots("myorg")))
		}
	})
}

func TestASteadyStateCostsOneListAndOneLookAtTheConfigurationAndAtMostOneRoleReadPerSync(t *testing.T) {
	play(t, func(t *testing.T, s *scene) {
		s.spec.Permissions.Repositories = s.spec.Permissions.Repositories[:1] // a pattern costs a list of repositories too
		e, stop := s.start()
		defer stop()
		s.await(e)
		s.pass(2 * s.spec.Sync)
		s.quay.Calls().Reset()
		s.pass(10 * s.spec.Sync)
		calls := s.quay.Calls().Counts()
		if calls["robot.list"] > 12 || calls["robot.permissions"] > calls["robot.list"] || calls["config"] > calls["robot.list"] {
			t.Errorf("%v", calls)
		}
		for operation, n := range calls {
			if operation != "robot.list" && operation != "config" && operation != "robot.permissions" && n > 0 {
				t.Errorf("%d calls of %s", n, operation)
			}
		}
	})
}

func TestAnotherInstancesRobotInTheWayIsLeftAloneAndReported(t *testing.T) {
	play(t, func(t *testing.T, s *scene) {
		s.quay.AddRobot("myorg", "puller_g99999999", "made by hand")
		e, stop := s.start()
		defer stop()
		lease := s.await(e)
		if lease.Generation <= 99999999 || !strings.Contains(strings.Join(lease.Warnings, " "), "puller_g99999999") {
			t.Errorf("generation %d, warnings %q", lease.Generation, lease.Warnings)
		}
		s.pass(400 * time.Hour)
		if robot, ok := s.quay.Robot("myorg", "puller_g99999999"); !ok || len(robot.Grants) > 0 {
			t.Error("a robot that is not ours was touched")
		}
	})
}

func TestRetiringEndsWhatIsSupersededAndNothingElse(t *testing.T) {
	play(t, func(t *testing.T, s *scene) {
		s.spec.Sync = 20 * time.Second
		e, stop := s.start()
		defer stop()
		first := s.await(e)
		second, err := e.Rotate(t.Context(), puller)
		if err != nil {
			t.Fatal(err)
		}
		for _, number := range []int64{second.Generation, second.Generation + 1} {
			if err := e.Retire(t.Context(), puller, number); !isInUse(err) {
				t.Errorf("retiring %d, with %d served: %v", number, second.Generation, err)
			}
		}
		if err := e.Retire(t.Context(), puller, first.Generation-1); !errors.Is(err, rotation.ErrNoGeneration) {
			t.Errorf("retiring what never was: %v", err)
		}
		if !s.pulls(first) {
			t.Fatal("a refused retirement ended the old credential")
		}
		for range 2 { // once more is harmless
			if err := e.Retire(t.Context(), puller, first.Generation); err != nil {
				t.Fatal(err)
			}
			if s.pulls(first) || !s.pulls(s.await(e)) || len(s.quay.Robots("myorg")) != 1 {
				t.Fatalf("after the retirement there are %d robots", len(s.quay.Robots("myorg")))
			}
		}
	})
}

func isInUse(err error) bool {
	_, ok := errors.AsType[*rotation.InUseError](err)
	return ok
}
