package auth_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"

	"github.com/quaygen/quaygen/pkg/quaygen/auth"
	"github.com/quaygen/quaygen/pkg/quaygen/policy"
)

func accounts(t *testing.T, r *auth.Reviewer, clients ...auth.ServiceAccountClient) *auth.ServiceAccountAuthenticator {
	t.Helper()
	a, err := auth.ServiceAccounts(clients, r)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

var ci = auth.ServiceAccountClient{Name: "ci", Audience: "quaygen", Namespaces: []string{"ci-*"}, Names: []string{"builder", "tester"}}

// verdict says in a word what an authenticator made of a token.
func verdict(err error) string {
	switch {
	case err == nil:
		return "accepted"
	case errors.Is(err, auth.ErrUnavailable) && !errors.Is(err, auth.ErrRejected) && !errors.Is(err, auth.ErrNoCredential):
		return "unavailable"
	case errors.Is(err, auth.ErrUnavailable):
		return "both unavailable and refused"
	case errors.Is(err, auth.ErrNoCredential) && errors.Is(err, auth.ErrRejected):
		return "unknown"
	case errors.Is(err, auth.ErrNoCredential):
		return "none"
	case errors.Is(err, auth.ErrRejected):
		return "rejected"
	}
	return err.Error()
}

func ask(t *testing.T, authenticate auth.Authenticator, token string) (policy.Caller, string) {
	t.Helper()
	caller, err := authenticate(request("Bearer " + token))
	if err != nil && (strings.Contains(err.Error(), token) || strings.Contains(err.Error(), "signature")) {
		t.Errorf("the error holds the token: %v", err)
	}
	return caller, verdict(err)
}

func TestAServiceAccountIsConfinedToItsOwnNamespace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, r := newCluster(t)
		a := accounts(t, r, ci,
			auth.ServiceAccountClient{Name: "any", Audience: "any"},
			auth.ServiceAccountClient{Name: "ops", Audience: "quaygen", Namespaces: []string{"ops"}, Names: []string{"*"}, Operator: policy.OperatorManage, OperatorOnly: true})
		for _, is := range []struct {
			token string
			want  policy.Caller
		}{
			{c.issue("ci-1", "builder", time.Hour, "quaygen"), policy.Caller{Name: "ci", Namespace: "ci-1", How: "serviceAccount", Account: "builder"}},
			{c.issue("ci-2", "tester", time.Hour, "other", "quaygen"), policy.Caller{Name: "ci", Namespace: "ci-2", How: "serviceAccount", Account: "tester"}},
			{c.issue("prod", "any.one", time.Hour, "any"), policy.Caller{Name: "any", Namespace: "prod", How: "serviceAccount", Account: "any.one"}},
			{c.issue("ops", "x", time.Hour, "quaygen"), policy.Caller{Name: "ops", Namespace: "ops", How: "serviceAccount", Account: "x", Operator: policy.OperatorManage, OperatorOnly: true}},
		} {
			if got, said := ask(t, a.Authenticate, is.token); got != is.want {
				t.Errorf("%+v, %s; want %+v", got, said, is.want)
			}
		}
	})
}

// The API server must not learn of tokens that are none of its own, nor be asked what is certain without it.
func TestTheAPIServerIsAskedOnlyAboutTokensThatCouldBeAClients(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, r := newCluster(t)
		a := accounts(t, r, ci)
		later := time.Now().Add(time.Hour).Unix()
		builder := "system:serviceaccount:ci-1:builder"
		for what, token := range map[string]string{
			"an ordinary token":          esoToken,
			"three parts of nothing":     "a.b.c",
			"no signature":               jwt(builder, later, "", "quaygen"),
			"no end":                     jwt(builder, 0, "x", "quaygen"),
			"no audience":                jwt(builder, later, "x"),
			"another audience":           jwt(builder, later, "x", "https://kubernetes.default.svc"),
			"an audience that begins so": jwt(builder, later, "x", "quaygen2"),
			"expired":                    jwt(builder, time.Now().Unix(), "x", "quaygen"),
			"a person":                   jwt("jane", later, "x", "quaygen"),
			"another namespace":          jwt("system:serviceaccount:prod:builder", later, "x", "quaygen"),
			"another name":               jwt("system:serviceaccount:ci-1:default", later, "x", "quaygen"),
			"too many parts of a name":   jwt("system:serviceaccount:ci-1:builder:x", later, "x", "quaygen"),
			"no name":                    jwt("system:serviceaccount:ci-1:", later, "x", "quaygen"),
			"a node":                     jwt("system:node:ci-1:builder", later, "x", "quaygen"),
			"four parts":                 jwt(builder, later, "x", "quaygen") + ".x",
		} {
			if caller, said := ask(t, a.Authenticate, token); said != "none" && said != "unknown" || caller != (policy.Caller{}) {
				t.Errorf("%s: %+v, %s", what, caller, said)
			}
		}
		for _, p := range []auth.Presented{request(), request("Basic x"), request("Bearer <no value>"), request("Bearer a", "Bearer b")} {
			if _, err := a.Authenticate(p); !errors.Is(err, auth.ErrNoCredential) && !errors.Is(err, auth.ErrRejected) {
				t.Errorf("%v: %v", p.Authorization, err)
			}
		}
		if n := c.reviews(); n != 0 {
			t.Errorf("the API server was asked %d times", n)
		}
	})
}

func TestOnlyWhatTheAPIServerVouchesForCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, r := newCluster(t)
		a := accounts(t, r, ci, auth.ServiceAccountClient{Name: "twice", Audience: "second"})
		later := time.Now().Add(time.Hour).Unix()
		builder := "system:serviceaccount:ci-1:builder"
		good := authenticationv1.TokenReviewStatus{Authenticated: true, User: authenticationv1.UserInfo{Username: builder}, Audiences: []string{"quaygen"}}
		for i, is := range []struct {
			what   string
			change func(*authenticationv1.TokenReviewStatus)
			want   string
		}{
			{"a good one", func(*authenticationv1.TokenReviewStatus) {}, "accepted"},
			{"made up", func(s *authenticationv1.TokenReviewStatus) { *s = authenticationv1.TokenReviewStatus{} }, "unknown"},
			{"not authenticated", func(s *authenticationv1.TokenReviewStatus) { s.Authenticated = false }, "unknown"},
			{"an error beside it", func(s *authenticationv1.TokenReviewStatus) { s.Error = "no" }, "unknown"},
			{"another audience", func(s *authenticationv1.TokenReviewStatus) { s.Audiences = []string{"other"} }, "unknown"},
			{"no audience, as of servers that know of none", func(s *authenticationv1.TokenReviewStatus) { s.Audiences, s.Error = nil, "" }, "unknown"},
			{"an audience that was not asked about", func(s *authenticationv1.TokenReviewStatus) { s.Audiences = []string{"everything"} }, "unknown"},
			{"somebody else than it says", func(s *authenticationv1.TokenReviewStatus) {
				s.User.Username = "system:serviceaccount:prod:builder"
			}, "unknown"},
			{"a person", func(s *authenticationv1.TokenReviewStatus) { s.User.Username = "jane" }, "unknown"},
			{"two clients", func(s *authenticationv1.TokenReviewStatus) { s.Audiences = []string{"quaygen", "second"} }, "rejected"},
		} {
			status := good
			is.change(&status)
			token := jwt(builder, later, fmt.Sprint("signature-", i), "quaygen", "second")
			c.set(func() { c.tokens[token] = status })
			if caller, said := ask(t, a.Authenticate, token); said != is.want || (caller.Name == "ci") != (is.want == "accepted") {
				t.Errorf("%s: %+v, %s; want %s", is.what, caller, said, is.want)
			}
		}
	})
}

func TestAnswersCountForAShortTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, r := newCluster(t)
		a := accounts(t, r, ci)
		token := c.issue("ci-1", "builder", time.Hour, "quaygen")
		short := c.issue("ci-1", "builder", 30*time.Second, "quaygen")
		early := jwt("system:serviceaccount:ci-1:builder", time.Now().Add(time.Hour).Unix(), "early", "quaygen")
		expect := func(what, token, want string, reviews int) {
			t.Helper()
			before := c.reviews()
			if _, said := ask(t, a.Authenticate, token); said != want || c.reviews()-before != reviews {
				t.Errorf("%s: %s after %d reviews; want %s after %d", what, said, c.reviews()-before, want, reviews)
			}
		}
		expect("new", token, "accepted", 1)
		expect("new", short, "accepted", 1)
		expect("new", early, "unknown", 1)
		c.set(func() {
			delete(c.tokens, token) // its ServiceAccount is deleted
			c.tokens[early] = authenticationv1.TokenReviewStatus{
				Authenticated: true, User: authenticationv1.UserInfo{Username: "system:serviceaccount:ci-1:builder"}, Audiences: []string{"quaygen"},
			}
		})
		time.Sleep(10*time.Second - 1)
		expect("a refusal counts for 10 s", early, "unknown", 0)
		time.Sleep(time.Nanosecond)
		expect("and no longer", early, "accepted", 1)
		time.Sleep(20*time.Second - 1)
		expect("until its own end", short, "accepted", 0)
		time.Sleep(time.Nanosecond)
		expect("and no longer", short, "unknown", 0)
		time.Sleep(30*time.Second - 1)
		expect("an acceptance counts for 60 s", token, "accepted", 0)
		time.Sleep(time.Nanosecond)
		expect("and no longer", token, "unknown", 1)
	})
}

func TestWithoutTheAPIServerKnownCallersGoOnAndOthersAreToldToComeAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, r := newCluster(t)
		a := accounts(t, r, ci)
		token, other := c.issue("ci-1", "builder", time.Hour, "quaygen"), c.issue("ci-2", "builder", time.Hour, "quaygen")
		ask(t, a.Authenticate, token)
		for what, fail := range map[string]func(){
			"away":      func() { c.down = true },
			"broken":    func() { c.status = 500 },
			"busy":      func() { c.status = 429 },
			"forbidden": func() { c.status = 403 },
			"strange":   func() { c.status = 201 },
		} {
			c.set(fail)
			if _, said := ask(t, a.Authenticate, token); said != "accepted" {
				t.Errorf("%s: a known caller: %s", what, said)
			}
			if _, said := ask(t, a.Authenticate, other); said != "unavailable" {
				t.Errorf("%s: another caller: %s", what, said)
			}
			if r.Err() == nil || strings.Contains(r.Err().Error(), other) || strings.Contains(r.Err().Error(), "forbidden: quaygen") != (what == "forbidden") {
				t.Errorf("%s: reported %v", what, r.Err())
			}
			c.set(func() { c.down, c.status = false, 0 })
		}
		time.Sleep(time.Minute)
		c.set(func() { c.down = true })
		if _, said := ask(t, a.Authenticate, token); said != "unavailable" {
			t.Errorf("when its time is over: %s", said)
		}
		c.set(func() { c.down = false })
		if _, said := ask(t, a.Authenticate, other); said != "accepted" || r.Err() != nil {
			t.Errorf("when it is back: %s, %v", said, r.Err())
		}
	})
}

func TestAnAPIServerThatHangsIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, r := newCluster(t)
		a := accounts(t, r, ci)
		c.set(func() { c.holding = make(chan struct{}) })
		start := time.Now()
		if _, said := ask(t, a.Authenticate, c.issue("ci-1", "builder", time.Hour, "quaygen")); said != "unavailable" || time.Since(start) != 3*time.Second {
			t.Errorf("%s after %v", said, time.Since(start))
		}
	})
}

func TestRequestsWithOneTokenShareOneReview(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, r := newCluster(t)
		a := accounts(t, r, ci)
		token := c.issue("ci-1", "builder", time.Hour, "quaygen")
		hold := make(chan struct{})
		c.set(func() { c.holding = hold })
		var callers sync.WaitGroup
		for range 100 {
			callers.Go(func() {
				if caller, said := ask(t, a.Authenticate, token); caller.Name != "ci" {
					t.Error(said)
				}
			})
		}
		synctest.Wait()
		close(hold)
		callers.Wait()
		if n := c.reviews(); n != 1 {
			t.Errorf("%d reviews", n)
		}
	})
}

func TestWhoMakesUpTokensCannotFloodTheAPIServerOrOurMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, r := newCluster(t)
		a := accounts(t, r, ci)
		token := c.issue("ci-1", "builder", time.Hour, "quaygen")
		ask(t, a.Authenticate, token)
		later := time.Now().Add(time.Hour).Unix()
		start := time.Now()
		var callers sync.WaitGroup
		for i := range 5000 {
			callers.Go(func() {
				_, said := ask(t, a.Authenticate, jwt("system:serviceaccount:ci-1:builder", later, fmt.Sprint("guess-", i), "quaygen"))
				if said != "unknown" && said != "unavailable" {
					t.Error(said)
				}
			})
		}
		synctest.Wait()
		if _, said := ask(t, a.Authenticate, token); said != "accepted" {
			t.Errorf("a known caller meanwhile: %s", said)
		}
		callers.Wait()
		took := time.Since(start)
		if n := c.reviews(); took > 3*time.Second || n > 40+20*3+1 {
			t.Errorf("%d reviews, %v", n, took)
		}
		// One that gets its turn in the last moment does not get to the API server any more.
		if c.counts[auth.ReviewLimited]+c.counts[auth.ReviewFailed] != 5000-(c.reviews()-1) {
			t.Errorf("%v", c.counts)
		}
		if _, said := ask(t, a.Authenticate, c.issue("ci-1", "tester", time.Hour, "quaygen")); said != "accepted" {
			t.Errorf("a new caller afterwards: %s", said)
		}
	})
}

func TestAnswersThatAreKeptAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, r := newCluster(t)
		a := accounts(t, r, ci)
		for i := range auth.MaxVerdicts + 500 {
			token := jwt("system:serviceaccount:ci-1:builder", time.Now().Add(time.Hour).Unix(), fmt.Sprint("guess-", i), "quaygen")
			if i%2 == 0 {
				token = c.issue("ci-1", "builder", time.Hour, "quaygen")
			}
			ask(t, a.Authenticate, token)
			time.Sleep(50 * time.Millisecond)
		}
		if n := r.Verdicts(); n > auth.MaxVerdicts || c.reviews() != auth.MaxVerdicts+500 {
			t.Errorf("%d are kept of %d", n, c.reviews())
		}
	})
}

func TestATokenInAClientsFileIsNobodyElsesAffair(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, r := newCluster(t)
		bearer, _, _ := fixture(t)
		both := auth.Chain(bearer.Authenticate, accounts(t, r, ci).Authenticate)
		for token, want := range map[string]string{esoToken: "eso", teamToken: "team-a", newToken: "", c.issue("ci-1", "builder", time.Hour, "quaygen"): "ci"} {
			if caller, said := ask(t, both, token); caller.Name != want {
				t.Errorf("%+v, %s; want %q", caller, said, want)
			}
		}
		if c.reviews() != 1 {
			t.Errorf("%d reviews", c.reviews())
		}
	})
}

func TestServiceAccountClientsAreChecked(t *testing.T) {
	_, r := newCluster(t)
	for what, clients := range map[string][]auth.ServiceAccountClient{
		"no name":     {{Audience: "a"}},
		"same name":   {{Name: "a", Audience: "a"}, {Name: "a", Audience: "b"}},
		"no audience": {{Name: "a"}},
	} {
		if _, err := auth.ServiceAccounts(clients, r); err == nil {
			t.Errorf("%s: accepted", what)
		}
	}
	if _, err := auth.ServiceAccounts([]auth.ServiceAccountClient{ci}, nil); err == nil {
		t.Error("nobody to review: accepted")
	}
	if _, said := ask(t, accounts(t, nil).Authenticate, jwt("system:serviceaccount:a:b", 1<<40, "x", "quaygen")); said != "none" {
		t.Error(said)
	}
}

func FuzzNoTokenThatNobodyVouchesForIsAccepted(f *testing.F) {
	for _, seed := range []string{"", "a.b.c", esoToken, jwt("system:serviceaccount:ci-1:builder", 1<<40, "x", "quaygen"), "e30.e30.e30", "."} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, token string) {
		_, r := newCluster(t)
		a := accounts(t, r, ci)
		caller, err := a.Authenticate(request("Bearer " + token))
		if said := verdict(err); caller != (policy.Caller{}) || said != "none" && said != "unknown" && said != "rejected" {
			t.Errorf("%+v, %v", caller, err)
		}
	})
}
