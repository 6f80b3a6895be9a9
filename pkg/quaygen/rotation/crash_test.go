package rotation_test

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quaygen/quaygen/pkg/quaygen/quay"
	"github.com/quaygen/quaygen/pkg/quaygen/quay/quaytest"
	"github.com/quaygen/quaygen/pkg/quaygen/rotation"
)

// writes are the calls that change something in Quay. A login is one: it moves last_accessed.
func writes(r *http.Request) bool { return r.Method != http.MethodGet || r.URL.Path == "/v2/auth" }

// A consumer holds a credential, and asks for it again only when maxRefresh has passed. What it holds must pull at any
// time.
type consumer struct {
	s     *scene
	holds *rotation.Lease
	got   time.Time
}

func (c *consumer) refresh(e *rotation.Engine) {
	if l, err := e.Current(puller); err == nil {
		c.holds, c.got = l, time.Now()
	}
}

// live lets time pass, pulling and asking.
func (c *consumer) live(e *rotation.Engine, d time.Duration) {
	c.s.t.Helper()
	for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(c.s.spec.MaxRefresh / 3) {
		if c.holds != nil && !c.s.pulls(c.holds) {
			c.s.t.Fatalf("%s does not pull, %v after the consumer got it", c.holds.Robot, time.Since(c.got))
		}
		if c.holds == nil || time.Since(c.got) >= c.s.spec.MaxRefresh {
			c.refresh(e)
		}
	}
}

// quick has times with which a life of two rotations takes few syncs.
func (s *scene) quick() {
	s.spec.Every, s.spec.Overlap, s.spec.Max = 12*time.Hour, 3*time.Hour, 9*time.Hour
	s.spec.MaxRefresh, s.spec.Sync = 30*time.Minute, 10*time.Minute
	s.quay.AddRepository("myorg", "web-svc")
}

// life is how long a robot is looked after: two rotations, and the end of the second generation.
const life = 31 * time.Hour

// settled checks that all has come to rest, by what Quay holds.
func (s *scene) settled(e *rotation.Engine) {
	s.t.Helper()
	lease := s.await(e)
	robots := s.quay.Robots("myorg")
	if len(robots) != 1 {
		s.t.Errorf("%d robots are left, not one", len(robots))
	}
	newest := robots[len(robots)-1]
	if newest.Short != lease.Robot.Short() || newest.Grants["app"] != "read" || newest.Grants["web-svc"] != "read" || !s.pulls(lease) {
		s.t.Errorf("%s is served; the newest is %s with %v", lease.Robot, newest.Short, newest.Grants)
	}
}

func TestACrashAtAnyWriteIsMadeGoodByTheNextProcess(t *testing.T) {
	var moments []string // the writes of an undisturbed life
	play(t, func(_ *testing.T, s *scene) {
		s.quick()
		remove := s.quay.Inject(quaytest.Fault{Match: func(r *http.Request) bool {
			if writes(r) {
				moments = append(moments, r.Method+" "+r.URL.Path)
			}
			return false
		}})
		e, stop := s.start()
		defer stop()
		s.await(e)
		time.Sleep(life)
		remove()
		s.settled(e)
	})
	// Two rotations: three robots created, granted twice and logged in with, and two deleted.
	if len(moments) != 3*4+2 {
		t.Fatalf("an undisturbed life has %d writes: %q", len(moments), moments)
	}
	for _, effect := range []bool{false, true} {
		for k, moment := range moments {
			what := "before"
			if effect {
				what = "after"
			}
			kind, _, _ := strings.Cut(moment, " ")
			t.Run(fmt.Sprintf("%s write %d (%s)", what, k+1, kind), func(t *testing.T) {
				play(t, func(t *testing.T, s *scene) {
					s.quick()
					crashAtWrite(t, s, k, effect)
				})
			})
		}
	}
}

// crashAtWrite ends the first engine in the middle of its write number k, which happens or not, and has another one
// carry on some minutes later.
func crashAtWrite(t *testing.T, s *scene, k int, effect bool) {
	reached, n := make(chan struct{}), 0
	s.quay.Inject(quaytest.Fault{Hang: true, LostAnswer: effect, Times: 1, Match: func(r *http.Request) bool {
		if !writes(r) {
			return false
		}
		n++
		if n == k+1 {
			close(reached)
		}
		return n == k+1
	}})
	// The consumer pulls by logging in itself, which would be counted; it starts after the crash.
	first, stop := s.start()
	select {
	case <-reached:
	case <-time.After(life):
		stop()
		t.Fatalf("the engine made %d writes only", n)
	}
	synctest.Wait() // what happens in Quay has happened
	c := &consumer{s: s}
	c.refresh(first)
	stop()
	time.Sleep(7 * time.Minute)
	second, stop := s.start()
	defer stop()
	c.live(second, 20*time.Minute)
	if c.holds == nil {
		t.Fatal("nothing is served")
	}
	if n := len(s.quay.Robots("myorg")); n > 3 {
		t.Errorf("%d robots are alive", n)
	}
	c.live(second, s.spec.Every+s.spec.Overlap)
	for time.Since(s.bubble(s.await(second).Created)) < s.spec.Overlap+s.spec.Quiet+time.Hour {
		c.live(second, time.Hour) // until the one before must have ended, and before the next comes
	}
	s.settled(second)
	if ever := len(s.quay.Ever("myorg")); ever > 6 {
		t.Errorf("%d robots were made", ever)
	}
}

// bubble turns Quay's time into the bubble's.
func (s *scene) bubble(quays time.Time) time.Time { return quays.Add(-27 * 365 * 24 * time.Hour) }

// Listing from a database that lags behind must neither make nor end anything twice.
func TestStaleListsChangeNothingButThePace(t *testing.T) {
	for _, behind := range []time.Duration{5 * time.Second, 20 * time.Second} {
		t.Run(behind.String(), func(t *testing.T) {
			play(t, func(t *testing.T, s *scene) {
				s.quick()
				fresh := s.quay.Inject(quaytest.Fault{Operation: "robot.list", StaleBy: behind})
				one, stopOne := s.start()
				defer stopOne()
				two, stopTwo := s.start()
				defer stopTwo()
				c := &consumer{s: s}
				c.live(one, life/2)
				c.live(two, life/2)
				fresh()
				c.live(one, 2*time.Hour)
				if a, b := s.await(one), s.await(two); a.Generation != b.Generation {
					t.Errorf("one serves %d, the other %d", a.Generation, b.Generation)
				}
				// Two rotations, and of each decision at most one stray.
				if ever := len(s.quay.Ever("myorg")); ever > 6 {
					t.Errorf("%d robots were made", ever)
				}
			})
		})
	}
}

func TestAQuayThatIsUnreachableAtTheStartIsFoundWithoutARestart(t *testing.T) {
	for _, f := range []struct {
		what  string
		fault quaytest.Fault
	}{
		{"connections break", quaytest.Fault{LostAnswer: true}},
		{"no answer", quaytest.Fault{Hang: true}},
		{"a proxy answers", quaytest.Fault{Status: http.StatusBadGateway}},
	} {
		t.Run(f.what, func(t *testing.T) {
			play(t, func(t *testing.T, s *scene) {
				heal := s.quay.Inject(f.fault)
				e, stop := s.start()
				defer stop()
				time.Sleep(time.Hour)
				if _, err := e.Current(puller); err == nil {
					t.Fatal("there is a credential")
				}
				if health := e.Health(); len(health) != 1 || health[0].Err == nil || !health[0].At.IsZero() {
					t.Errorf("health %+v", health)
				}
				heal()
				time.Sleep(s.spec.Sync + time.Minute)
				if lease, err := e.Current(puller); err != nil || !s.pulls(lease) {
					t.Errorf("a sync after Quay came back: %v", err)
				}
				if health := e.Health(); health[0].Err != nil || health[0].At.IsZero() {
					t.Errorf("health %+v", health)
				}
			})
		})
	}
}

func TestATokenWithoutAScopeIsReportedWithTheScopeAndTheOrganization(t *testing.T) {
	for _, tt := range []struct {
		has     []string
		missing []string
	}{
		{[]string{"org:admin"}, []string{"repo:admin"}},
		{[]string{"repo:admin"}, []string{"org:admin"}},
		{[]string{"user:read"}, []string{"repo:admin", "org:admin"}},
	} {
		t.Run(strings.Join(tt.has, " "), func(t *testing.T) {
			play(t, func(t *testing.T, s *scene) {
				s.retoken(s.quay.AddToken("admin", tt.has...))
				e, stop := s.start()
				defer stop()
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				_, err := e.Await(ctx, puller)
				if err == nil {
					t.Fatal("there is a credential")
				}
				for _, told := range []string{err.Error(), fmt.Sprint(e.Health()[0].Err), e.Statuses()[0].Why} {
					for _, word := range append(slices.Clone(tt.missing), "myorg") {
						if !strings.Contains(told, word) {
							t.Errorf("%q does not name %s", told, word)
						}
					}
					for _, word := range tt.has {
						if strings.Contains(told, word) {
							t.Errorf("%q names %s, which is not missing", told, word)
						}
					}
				}
				if n := len(s.quay.Ever("myorg")); n > 0 {
					t.Errorf("%d robots were made", n)
				}
				s.retoken(s.quay.AddToken("admin", "org:admin", "repo:admin"))
				e.Apply([]rotation.Assignment{{Spec: s.spec, Registry: "quay", Client: s.client}})
				time.Sleep(s.spec.Sync)
				if _, err := e.Current(puller); err != nil {
					t.Errorf("with a token that will do: %v", err)
				}
			})
		})
	}
}

// retoken makes a client with another API token.
func (s *scene) retoken(token string) {
	s.t.Helper()
	file := filepath.Join(s.t.TempDir(), "token")
	if err := os.WriteFile(file, []byte(token), 0o600); err != nil {
		s.t.Fatal(err)
	}
	client, err := quay.New(quay.Config{URL: "https://quay.test", TokenFile: file, QPS: 1e6, Burst: 1e6, Transport: s.quay.Transport()})
	if err != nil {
		s.t.Fatal(err)
	}
	s.client = client
}

// While Quay is read-only it records no logins. A generation that somebody uses every hour is not unused for 80 minutes,
// also where nothing was written meanwhile that Quay could have refused.
func TestUseWhileQuayIsReadOnlyIsNotMissed(t *testing.T) {
	play(t, func(t *testing.T, s *scene) {
		s.spec.Overlap, s.spec.Quiet, s.spec.MaxRefresh, s.spec.Sync = 167*time.Minute, 80*time.Minute, 30*time.Minute, 10*time.Minute
		e, stop := s.start()
		defer stop()
		first := s.await(e)
		start := time.Now()
		at := func(minutes int) { time.Sleep(time.Until(start.Add(time.Duration(minutes) * time.Minute))) }
		use := func() {
			if !s.pulls(first) {
				t.Fatalf("%v after the start a generation in use does not pull", time.Since(start))
			}
		}
		at(5)
		if _, err := e.Rotate(t.Context(), puller); err != nil {
			t.Fatal(err)
		}
		at(25)
		use()
		at(85)
		use()
		s.quay.SetReadOnly(true)
		at(145)
		use() // not recorded
		at(171)
		s.quay.SetReadOnly(false)
		at(205)
		use()
		at(265)
		use()
		at(265 + 80 + 20 + 10)
		if s.pulls(first) {
			t.Error("it is unused for longer than quiet, and pulls")
		}
	})
}
