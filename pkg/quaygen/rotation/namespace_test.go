package rotation_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/quaygen/quaygen/pkg/quaygen/quay"
	"github.com/quaygen/quaygen/pkg/quaygen/quay/quaytest"
	"github.com/quaygen/quaygen/pkg/quaygen/rotation"
)

func owner(t *testing.T, name string) quay.Owner {
	t.Helper()
	o, err := quay.ParseOrganization(name)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func TestNoTwoNamespacesEverShareARobotAndQuayTakesEveryName(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	const letters, inner = "abgh0123456789", "abgh0123456789---"
	legal := func() string {
		n := 1 + random.IntN(63)
		b := make([]byte, n)
		for i := range b {
			b[i] = inner[random.IntN(len(inner))]
		}
		b[0], b[n-1] = letters[random.IntN(len(letters))], letters[random.IntN(len(letters))]
		return string(b)
	}
	namespaces := []string{"a", "g1", "g469980", "g", "h", "0", "a--b", "a-b", "a---b", "1-2", "x-g5", "h-0123456789abcdef0123", strings.Repeat("a", 63), strings.Repeat("a", 62) + "b"}
	for range 20_000 {
		namespaces = append(namespaces, legal())
	}
	for _, org := range []string{"myorg", strings.Repeat("o", 100), strings.Repeat("o", 190)} {
		base, err := quay.NewRobot(owner(t, org), "k8s_own")
		if err != nil {
			t.Fatal(err)
		}
		seen := map[string]string{}
		for _, ns := range namespaces {
			robot, err := rotation.NamespaceRobot(base, ns)
			if err != nil {
				t.Fatalf("%s: %v", ns, err)
			}
			if other, taken := seen[robot.Short()]; taken && other != ns {
				t.Fatalf("%s and %s share %s", other, ns, robot)
			}
			seen[robot.Short()] = ns
			if _, err := robot.Generation(quay.MaxGeneration); err != nil {
				t.Fatalf("%s: its generations: %v", ns, err)
			}
			if quay.LooksLikeGeneration(robot.Short()) {
				t.Fatalf("%s: %s looks like a generation", ns, robot)
			}
			if !rotation.IsNamespaceRobot(base, robot.Short()) {
				t.Fatalf("%s: %s is not known as a namespace's robot again", ns, robot)
			}
		}
	}
}

func TestWhatIsNoNamespaceGetsNoRobot(t *testing.T) {
	base, err := quay.NewRobot(owner(t, "myorg"), "k8s")
	if err != nil {
		t.Fatal(err)
	}
	for _, ns := range []string{"", "A", "a_b", "-a", "a-", "a.b", "a b", strings.Repeat("a", 64), "a\n"} {
		if robot, err := rotation.NamespaceRobot(base, ns); err == nil {
			t.Errorf("%q gets %s", ns, robot)
		}
	}
}

// namespaced plays a story with a robot for each namespace, which ends after 30 days without use.
func namespaced(t *testing.T, story func(t *testing.T, s *scene)) {
	t.Helper()
	play(t, func(t *testing.T, s *scene) {
		s.spec.Scope, s.spec.Idle, s.spec.Sync = rotation.PerNamespace, 30*24*time.Hour, 15*time.Minute
		s.spec.Every = 70 * 24 * time.Hour
		story(t, s)
	})
}

func (s *scene) ask(e *rotation.Engine, namespace string) *rotation.Lease {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), time.Minute)
	defer cancel()
	lease, err := e.Await(ctx, rotation.Ref{Name: "puller", Namespace: namespace})
	if err != nil {
		s.t.Fatal(err)
	}
	return lease
}

func (s *scene) robots() (shorts []string) {
	for _, r := range s.quay.Robots("myorg") {
		shorts = append(shorts, r.Short)
	}
	return shorts
}

func TestANamespaceGetsARobotOfItsOwnWhenItFirstAsks(t *testing.T) {
	namespaced(t, func(t *testing.T, s *scene) {
		e, stop := s.start()
		defer stop()
		s.pass(time.Hour)
		if robots := s.robots(); len(robots) != 0 {
			t.Fatalf("nobody asked, and there are %v", robots)
		}
		a, b, odd := s.ask(e, "team-a"), s.ask(e, "team-b"), s.ask(e, "a--b")
		if !strings.HasPrefix(a.Robot.Short(), "puller_team-a_g") || !strings.HasPrefix(b.Robot.Short(), "puller_team-b_g") || !strings.HasPrefix(odd.Robot.Short(), "puller_h_") {
			t.Errorf("robots %s, %s, %s", a.Robot, b.Robot, odd.Robot)
		}
		if again := s.ask(e, "team-a"); again.Robot != a.Robot || !s.pulls(a) || !s.pulls(b) || !s.pulls(odd) {
			t.Errorf("asked again, %s, then %s", a.Robot, again.Robot)
		}
		if len(s.robots()) != 3 {
			t.Errorf("robots %v", s.robots())
		}
	})
}

func TestAnotherReplicaServesTheSameRobotsAndMintsNone(t *testing.T) {
	namespaced(t, func(t *testing.T, s *scene) {
		one, stopOne := s.start()
		a, odd := s.ask(one, "team-a"), s.ask(one, "a--b")
		stopOne()
		two, stopTwo := s.start()
		defer stopTwo()
		s.pass(time.Minute)
		if len(two.Statuses()) != 2 {
			t.Errorf("a new process knows of %d robots", len(two.Statuses()))
		}
		if b := s.ask(two, "team-a"); b.Robot != a.Robot {
			t.Errorf("%s, then %s", a.Robot, b.Robot)
		}
		if b := s.ask(two, "a--b"); b.Robot != odd.Robot {
			t.Errorf("%s, then %s", odd.Robot, b.Robot)
		}
	})
}

func TestAnIdleNamespacesRobotEndsAndOneThatComesBackGetsANewName(t *testing.T) {
	namespaced(t, func(t *testing.T, s *scene) {
		e, stop := s.start()
		defer stop()
		a := s.ask(e, "team-a")
		s.pass(s.spec.Idle - 2*time.Hour)
		if !s.pulls(a) {
			t.Fatal("it ended before idle")
		}
		s.pass(s.spec.Idle + 3*time.Hour)
		if len(s.robots()) != 0 {
			t.Fatalf("after idle there is %v", s.robots())
		}
		s.pass(time.Hour)
		if n := len(e.Statuses()); n != 0 {
			t.Errorf("%d robots are still looked after", n)
		}
		b := s.ask(e, "team-a")
		if b.Robot == a.Robot || !s.pulls(b) {
			t.Errorf("%s came back as %s", a.Robot, b.Robot)
		}
	})
}

// V13: what one replica is asked says nothing of the others; only Quay does.
func TestANamespaceThatAnotherReplicaServesNeverLooksIdle(t *testing.T) {
	namespaced(t, func(t *testing.T, s *scene) {
		asked, stopAsked := s.start()
		defer stopAsked()
		_, stopOther := s.start() // is never asked, and works all the same
		defer stopOther()
		first := s.ask(asked, "team-a")
		for range 4 * 30 * 12 { // four times idle, without a single pull: the nodes have the images
			s.pass(2 * time.Hour)
			if l := s.ask(asked, "team-a"); !s.alive(l) {
				t.Fatalf("%s was handed out dead", l.Robot)
			}
		}
		if last := s.ask(asked, "team-a"); last.Robot == first.Robot {
			t.Error("it was never rotated")
		}
	})
}

// alive reports whether a robot exists, without any use of it.
func (s *scene) alive(l *rotation.Lease) bool {
	r, ok := s.quay.Robot("myorg", l.Robot.Short())
	return ok && r.Token.Equal(l.Token)
}

// Clusters make namespaces without end; what is kept of each that ended is nothing.
func TestNamespacesThatEndedAreForgotten(t *testing.T) {
	namespaced(t, func(t *testing.T, s *scene) {
		s.quay.Inject(quaytest.Fault{Operation: "robot.create", Status: http.StatusBadGateway})
		e, stop := s.start()
		defer stop()
		for i := range 2000 {
			if _, err := e.Current(rotation.Ref{Name: "puller", Namespace: fmt.Sprintf("preview-%d", i)}); err == nil {
				t.Fatal("there is a credential")
			}
			s.pass(time.Minute)
		}
		if n := rotation.Kept(e, "puller"); n > 200 {
			t.Errorf("%d namespaces are kept", n)
		}
	})
}

// A request that came to know the robot before a reload took it away begins nothing after it.
func TestANamespaceOfARobotThatAReloadTookAwayIsNotBegun(t *testing.T) {
	namespaced(t, func(t *testing.T, s *scene) {
		e, stop := s.start()
		defer stop()
		begin := rotation.Beginning(e, rotation.Ref{Name: "puller", Namespace: "team-a"})
		other := s.spec
		other.Name = "other"
		base, err := quay.NewRobot(s.spec.Base.Owner(), "other")
		if err != nil {
			t.Fatal(err)
		}
		other.Base = base
		e.Apply([]rotation.Assignment{{Spec: other, Registry: "quay", Client: s.client}})
		if begin() {
			t.Error("it was begun")
		}
		s.pass(time.Hour)
		if robots := s.robots(); len(robots) > 0 {
			t.Errorf("robots %v", robots)
		}
	})
}

func TestAnIdleRobotIsNotRotated(t *testing.T) {
	namespaced(t, func(t *testing.T, s *scene) {
		s.spec.Every, s.spec.Idle = 10*24*time.Hour, 60*24*time.Hour
		e, stop := s.start()
		defer stop()
		s.ask(e, "team-a")
		s.pass(55 * 24 * time.Hour)
		if n := len(s.quay.Ever("myorg")); n != 1 {
			t.Errorf("%d robots were made for a namespace that never asked again", n)
		}
		s.pass(6 * 24 * time.Hour)
		if len(s.robots()) != 0 {
			t.Errorf("after idle there is %v", s.robots())
		}
	})
}

func TestWhereQuayDoesNotRecordUseNothingEndsByBeingIdle(t *testing.T) {
	namespaced(t, func(t *testing.T, s *scene) {
		s.quay.SetLastAccessed(false)
		e, stop := s.start()
		defer stop()
		s.ask(e, "team-a")
		s.pass(3 * s.spec.Idle)
		if len(s.robots()) == 0 {
			t.Error("it ended")
		}
	})
}

// What was done while Quay did not record it is in no list, whoever has watched; afterwards it is.
func TestWhenQuayBeginsToRecordUseNoRobotInUseIsTakenForIdle(t *testing.T) {
	for _, restarted := range []bool{false, true} {
		t.Run(fmt.Sprintf("restarted %v", restarted), func(t *testing.T) {
			namespaced(t, func(t *testing.T, s *scene) {
				s.spec.Idle = 10 * time.Hour
				s.quay.SetLastAccessed(false)
				e, stop := s.start()
				defer func() { stop() }()
				for range 40 {
					s.ask(e, "team-a")
					s.pass(s.spec.MaxRefresh)
				}
				held := s.ask(e, "team-a")
				s.quay.SetLastAccessed(true)
				if restarted {
					stop()
					e, stop = s.start()
				}
				for range 60 {
					for range 4 {
						s.pass(s.spec.MaxRefresh / 4)
						if !s.alive(held) {
							t.Fatalf("%s ended while its namespace held it", held.Robot)
						}
					}
					now := s.ask(e, "team-a")
					if now.Robot != held.Robot && !restarted {
						t.Fatalf("%s takes the place of %s, which this process knows to be in use", now.Robot, held.Robot)
					}
					held = now
				}
			})
		})
	}
}

// cuttable passes requests on to Quay until it is cut off.
type cuttable struct {
	http.RoundTripper
	cut atomic.Bool
}

func (c *cuttable) RoundTrip(r *http.Request) (*http.Response, error) {
	if c.cut.Load() {
		return nil, errors.New("no route to host")
	}
	return c.RoundTripper.RoundTrip(r)
}

// Who cannot reach Quay serves from memory, and cannot make it visible there.
func TestAProcessThatStartsEndsNothingIdleThatAnotherMayServeFromMemory(t *testing.T) {
	namespaced(t, func(t *testing.T, s *scene) {
		s.spec.Idle = 10 * time.Hour
		s.quay.SetLastAccessed(false)
		way := &cuttable{RoundTripper: s.quay.Transport()}
		var err error
		if s.client, err = quay.New(quay.Config{URL: "https://quay.test", TokenFile: s.tokenFile, QPS: 1e6, Burst: 1e6, Transport: way}); err != nil {
			t.Fatal(err)
		}
		one, stopOne := s.start()
		defer stopOne()
		s.ask(one, "team-a")
		s.pass(40 * time.Hour)
		way.cut.Store(true)
		s.quay.SetLastAccessed(true)
		s.client = s.paced()
		_, stopTwo := s.start()
		defer stopTwo()
		served := 0
		for range 30 * 4 {
			s.pass(15 * time.Minute)
			if l, err := one.Current(rotation.Ref{Name: "puller", Namespace: "team-a"}); err == nil {
				served++
				if !s.alive(l) {
					t.Fatalf("%s is handed out, %d quarters of an hour after its process was cut off, and was deleted", l.Robot, served)
				}
			}
		}
		if served < 20*4 || len(s.robots()) > 0 {
			t.Errorf("it was served for %d quarters of an hour, and there is %v", served, s.robots())
		}
	})
}

func TestWhenQuayBeginsToRecordUseWhatIsServedIsNotTakenForNeverUsed(t *testing.T) {
	play(t, func(t *testing.T, s *scene) {
		s.quay.SetLastAccessed(false)
		e, stop := s.start()
		held := s.await(e)
		s.pass(s.spec.Max)
		s.quay.SetLastAccessed(true)
		stop()
		e, stop = s.start()
		defer stop()
		s.pass(time.Hour)
		if now := s.await(e); !s.pulls(held) || now.Robot != held.Robot {
			t.Errorf("%s was held, and now there is %s", held.Robot, now.Robot)
		}
	})
}

func TestAReadOnlyTimeEndsNoNamespacesRobotThatIsInUse(t *testing.T) {
	namespaced(t, func(t *testing.T, s *scene) {
		e, stop := s.start()
		defer stop()
		_, stopOther := s.start()
		defer stopOther()
		s.ask(e, "team-a")
		s.quay.SetReadOnly(true)
		for range 20 * 12 {
			s.pass(2 * time.Hour)
			s.ask(e, "team-a")
		}
		s.quay.SetReadOnly(false)
		for range 20 * 12 {
			s.pass(2 * time.Hour)
			if l := s.ask(e, "team-a"); !s.alive(l) {
				t.Fatalf("%s was handed out dead", l.Robot)
			}
		}
	})
}

func TestWhoWaitsForAMintBlocksNobody(t *testing.T) {
	namespaced(t, func(t *testing.T, s *scene) {
		e, stop := s.start()
		defer stop()
		s.ask(e, "team-a")
		s.quay.Inject(quaytest.Fault{Operation: "robot.create", Hang: true})
		ctx, cancel := context.WithTimeout(t.Context(), 8*time.Second)
		defer cancel()
		waiting := make(chan error, 50)
		for i := range 50 {
			go func() {
				_, err := e.Await(ctx, rotation.Ref{Name: "puller", Namespace: fmt.Sprintf("new-%d", i)})
				waiting <- err
			}()
		}
		began := time.Now()
		for range 1000 {
			if _, err := e.Current(rotation.Ref{Name: "puller", Namespace: "team-a"}); err != nil {
				t.Fatal(err)
			}
		}
		if took := time.Since(began); took > 0 {
			t.Errorf("a thousand requests took %v", took)
		}
		var notReady *rotation.NotReadyError
		for range 50 {
			if err := <-waiting; !errors.As(err, &notReady) {
				t.Errorf("a mint that hangs: %v", err)
			}
		}
	})
}
