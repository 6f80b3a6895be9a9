package quaytest_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/quaygen/quaygen/pkg/quaygen/quay/quaytest"
)

// Tests of what only the double has: its transport, faults, clock and switches. What a real Quay must do as well is in
// the contract suite.

func newDouble(t *testing.T, o quaytest.Options) (*quaytest.Server, client) {
	t.Helper()
	s := quaytest.New(o)
	s.AddUser("alice")
	s.AddOrganization("acme", "alice")
	s.AddRepository("acme", "app")
	token := s.AddToken("alice", "org:admin", "repo:admin", "user:admin")
	return s, client{t: t, base: "https://quay.test", token: token, http: &http.Client{Transport: s.Transport(), CheckRedirect: stay}}
}

func TestAHangingRequestEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, c := newDouble(t, quaytest.Options{})
		remove := s.Inject(quaytest.Fault{Operation: "robot.list", Hang: true})
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		started := time.Now()
		err := c.fail(ctx, "GET", "/api/v1/organization/acme/robots")
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(started) != time.Minute {
			t.Errorf("after %v: %v", time.Since(started), err)
		}
		remove()
		c.get("/api/v1/organization/acme/robots").status(200)
	})
}

func TestALostAnswerHappenedAllTheSame(t *testing.T) {
	s, c := newDouble(t, quaytest.Options{})
	s.Inject(quaytest.Fault{Operation: "robot.create", LostAnswer: true, Times: 1})
	if err := c.fail(t.Context(), "PUT", "/api/v1/organization/acme/robots/build"); !errors.Is(err, io.EOF) {
		t.Errorf("error %v", err)
	}
	if _, exists := s.Robot("acme", "build"); !exists {
		t.Error("the robot was not made")
	}
	calls := s.Calls().Entries()
	if len(calls) != 1 || calls[0].Status != http.StatusCreated || calls[0].Operation != "robot.create" {
		t.Errorf("calls %+v", calls)
	}
}

func TestAFaultSaysWhenItHappensAndCallsAreCountedByTheirAnswers(t *testing.T) {
	s, c := newDouble(t, quaytest.Options{})
	hits := 0
	s.Inject(quaytest.Fault{Operation: "robot.list", Status: 502, Times: 2, Hit: func() { hits++ }})
	c.get("/api/v1/organization/acme").status(200)
	for _, want := range []int{502, 502, 200} {
		c.get("/api/v1/organization/acme/robots").status(want)
	}
	if hits != 2 {
		t.Errorf("%d hits", hits)
	}
	s.Inject(quaytest.Fault{Operation: "robot.create", LostAnswer: true})
	_ = c.fail(t.Context(), "PUT", "/api/v1/organization/acme/robots/build")
	for status, want := range map[int]map[string]int{502: {"robot.list": 2}, 200: {"robot.list": 1, "organization.get": 1}, 201: {"robot.create": 1}, 503: {}} {
		if diff := cmp.Diff(want, s.Calls().Answered(status)); diff != "" {
			t.Errorf("answered %d (-want +got):\n%s", status, diff)
		}
	}
	s.Calls().Reset()
	if got := s.Calls().Answered(200); len(got) != 0 {
		t.Errorf("after a reset: %v", got)
	}
}

func TestAFaultStatusHasNoEffect(t *testing.T) {
	s, c := newDouble(t, quaytest.Options{})
	s.Inject(quaytest.Fault{Operation: "robot.create", Status: 502, Times: 1})
	c.put("/api/v1/organization/acme/robots/build", nil).status(502).html()
	if n := len(s.Robots("acme")); n != 0 {
		t.Errorf("%d robots", n)
	}
	c.put("/api/v1/organization/acme/robots/build", nil).status(201)
}

func TestADelayedRequestOfAClientThatLeftHasNoEffectUnlessLate(t *testing.T) {
	for _, late := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			s, c := newDouble(t, quaytest.Options{})
			s.Inject(quaytest.Fault{Operation: "robot.create", Delay: time.Minute, Late: late, Times: 1})
			ctx, cancel := context.WithTimeout(t.Context(), 15*time.Second)
			defer cancel()
			if err := c.fail(ctx, "PUT", "/api/v1/organization/acme/robots/build"); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("error %v", err)
			}
			time.Sleep(44 * time.Second)
			synctest.Wait()
			if _, exists := s.Robot("acme", "build"); exists {
				t.Error("the robot was made before its time")
			}
			time.Sleep(2 * time.Second)
			synctest.Wait()
			if _, exists := s.Robot("acme", "build"); exists != late {
				t.Errorf("late %v: robot exists %v", late, exists)
			}
		})
	}
}

func TestAnAnswerDelayComesAfterTheEffect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, c := newDouble(t, quaytest.Options{})
		s.Inject(quaytest.Fault{AnswerDelay: time.Minute})
		ctx, cancel := context.WithTimeout(t.Context(), 15*time.Second)
		defer cancel()
		if err := c.fail(ctx, "PUT", "/api/v1/organization/acme/robots/build"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error %v", err)
		}
		if _, exists := s.Robot("acme", "build"); !exists {
			t.Error("no effect")
		}
	})
}

func TestACutBodyBreaksWhileReading(t *testing.T) {
	s, c := newDouble(t, quaytest.Options{})
	listener := httptest.NewServer(s)
	defer listener.Close()
	s.Inject(quaytest.Fault{CutBody: true})
	over := map[string]*http.Client{"https://quay.test": c.http, listener.URL: listener.Client()}
	for base, hc := range over {
		c.base = base
		resp, err := hc.Do(c.request(t.Context(), "GET", "/api/v1/organization/acme", nil))
		if err != nil {
			t.Fatal(err)
		}
		_, err = io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%s: error %v", base, err)
		}
	}
}

func TestALostAnswerBreaksRealConnectionsToo(t *testing.T) {
	s, c := newDouble(t, quaytest.Options{})
	listener := httptest.NewServer(s)
	defer listener.Close()
	s.Inject(quaytest.Fault{LostAnswer: true})
	c.base = listener.URL
	if resp, err := listener.Client().Do(c.request(t.Context(), "PUT", "/api/v1/organization/acme/robots/build", nil)); err == nil {
		_ = resp.Body.Close()
		t.Errorf("answered %s", resp.Status)
	}
	if _, exists := s.Robot("acme", "build"); !exists {
		t.Error("no effect")
	}
}

func TestStaleListsShowThePast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, c := newDouble(t, quaytest.Options{})
		s.AddRobot("acme", "old", "")
		s.Grant("acme", "app", "old", "read")
		time.Sleep(time.Minute)
		s.DeleteRobot("acme", "old")
		s.AddRobot("acme", "new", "")
		s.Grant("acme", "app", "new", "write")
		s.AddRepository("acme", "lib")
		time.Sleep(time.Minute)

		names := func() []string { return c.get("/api/v1/organization/acme/robots").status(200).names("robots") }
		if got := names(); !cmp.Equal(got, []string{"acme+new"}) {
			t.Errorf("now %v", got)
		}
		defer s.Inject(quaytest.Fault{StaleBy: 90 * time.Second})()
		if got := names(); !cmp.Equal(got, []string{"acme+old"}) {
			t.Errorf("then %v", got)
		}
		grants := c.get("/api/v1/repository/acme/app/permissions/user/").status(200).object("permissions")
		if !cmp.Equal(sortedKeys(grants), []string{"acme+old", "alice"}) {
			t.Errorf("grants then %v", grants)
		}
		if got := c.get("/api/v1/repository?namespace=acme").status(200).names("repositories"); !cmp.Equal(got, []string{"app"}) {
			t.Errorf("repositories then %v", got)
		}
	})
}

func TestDateIsTheServersClock(t *testing.T) {
	at := time.Date(2031, 2, 3, 4, 5, 6, 0, time.FixedZone("", 3600))
	_, c := newDouble(t, quaytest.Options{Now: func() time.Time { return at }})
	if got := c.get("/api/v1/organization/acme").header.Get("Date"); got != "Mon, 03 Feb 2031 03:05:06 GMT" {
		t.Errorf("Date %q", got)
	}
}

// docs/quay-contract.md 5: 50 requests a second and a burst of 100 on one HTTP/2 connection.
func TestRateLimitPerConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, c := newDouble(t, quaytest.Options{})
		s.SetRateLimits(true)
		passed := 0
		for range 300 {
			if c.get("/api/v1/organization/acme").code == 200 {
				passed++
			}
		}
		if passed != 101 {
			t.Errorf("%d of 300 at once passed", passed)
		}
		c.get("/api/v1/organization/acme").status(429).html()
		time.Sleep(time.Second)
		c.get("/api/v1/organization/acme").status(200)
		other := c
		other.http = &http.Client{Transport: s.Transport()}
		other.get("/api/v1/organization/acme").status(200)
	})
}

func TestEverRemembersTheDeadAndTokensRemembersAll(t *testing.T) {
	s, _ := newDouble(t, quaytest.Options{})
	first := s.AddRobot("acme", "build", "mine")
	s.Grant("acme", "app", "build", "write")
	second := s.RegenerateRobot("acme", "build")
	s.DeleteRobot("acme", "build")
	ever := s.Ever("acme")
	if len(ever) != 1 || ever[0].Deleted.IsZero() || ever[0].Grants["app"] != "write" || ever[0].Token.Reveal() != second {
		t.Errorf("ever %+v", ever)
	}
	all := strings.Join(s.Tokens(), " ")
	if !strings.Contains(all, first) || !strings.Contains(all, second) {
		t.Error("a token is forgotten")
	}
	kinds := []string{}
	for _, e := range s.AuditLog("acme") {
		kinds = append(kinds, e.Kind)
	}
	if want := []string{"create_robot", "change_repo_permission", "regenerate_robot_token", "delete_robot"}; !cmp.Equal(kinds, want) {
		t.Errorf("audit log %v", kinds)
	}
}

// newRecorder asks over HTTP/1.1, which the in-process transport does not.
func newRecorder(s *quaytest.Server, method, path string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	s.ServeHTTP(w, httptest.NewRequest(method, path, nil))
	return w
}
