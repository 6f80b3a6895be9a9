package auth_test

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quaygen/quaygen/pkg/quaygen/auth"
	"github.com/quaygen/quaygen/pkg/quaygen/policy"
)

// guarded is a guard over an authenticator that knows the token "good" only.
type guarded struct {
	authenticate auth.Authenticator
	mu           sync.Mutex
	failed       map[string]int
	flooded      []string
}

func newGuarded(inner auth.Authenticator) *guarded {
	g := &guarded{failed: map[string]int{}}
	guard := auth.NewGuard(auth.GuardConfig{
		Failed: func(outcome string) {
			g.mu.Lock()
			defer g.mu.Unlock()
			g.failed[outcome]++
		},
		Flooded: func(from string) {
			g.mu.Lock()
			defer g.mu.Unlock()
			g.flooded = append(g.flooded, from)
		},
	})
	g.authenticate = guard.Over(inner)
	return g
}

func knowsGood(p auth.Presented) (policy.Caller, error) {
	switch {
	case len(p.Authorization) == 0:
		return policy.Caller{}, auth.ErrNoCredential
	case p.Authorization[0] == "good":
		return policy.Caller{Name: "eso"}, nil
	case p.Authorization[0] == "unsure":
		return policy.Caller{}, auth.ErrUnavailable
	}
	return policy.Caller{}, fmt.Errorf("%w: %w", auth.ErrNoCredential, auth.ErrRejected)
}

// try presents something from an address n times, and returns how often it was called a guess.
func (g *guarded) try(t *testing.T, from, what string, n int) (guesses int) {
	t.Helper()
	p := auth.Presented{From: from}
	if what != "" {
		p.Authorization = []string{what}
	}
	for range n {
		caller, err := g.authenticate(p)
		if (caller.Name == "eso") != (what == "good") || (err == nil) != (what == "good") {
			t.Fatalf("%q: %+v, %v", what, caller, err)
		}
		if errors.Is(err, auth.ErrGuessing) {
			guesses++
		}
	}
	return guesses
}

const (
	here  = "192.0.2.1:1000"
	there = "192.0.2.2:1000"
)

func TestOnlyFailuresOfAnAddressAreLimited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGuarded(knowsGood)
		if n := g.try(t, here, "good", 1000) + g.try(t, here, "unsure", 1000); n != 0 {
			t.Errorf("%d were called guesses", n)
		}
		if n := g.try(t, here, "bad", 40) + g.try(t, here, "", 20); n != 0 {
			t.Errorf("%d of the first 60 were called guesses", n)
		}
		if n := g.try(t, "192.0.2.1:2000", "bad", 50) + g.try(t, here, "", 50); n != 100 {
			t.Errorf("%d of the next 100 were called guesses", n)
		}
		if n := g.try(t, here, "good", 100) + g.try(t, there, "bad", 60) + g.try(t, here, "unsure", 10); n != 0 {
			t.Errorf("%d of what is good, unsure or elsewhere were called guesses", n)
		}
		time.Sleep(auth.GuessAfter)
		if n := g.try(t, here, "bad", 2); n != 1 {
			t.Errorf("a second later %d of 2 were called guesses", n)
		}
		time.Sleep(time.Hour)
		if n := g.try(t, here, "bad", 61); n != 1 {
			t.Errorf("an hour later %d of 61 were called guesses", n)
		}
		if !slices.Equal(g.flooded, []string{"192.0.2.1/32", "192.0.2.1/32"}) {
			t.Errorf("the operator was told of %v", g.flooded)
		}
		want := map[string]int{auth.FailedUnavailable: 1010, auth.FailedRejected: 40 + 60 + 1 + 60, auth.FailedNone: 20, auth.FailedLimited: 102}
		if fmt.Sprint(g.failed) != fmt.Sprint(want) {
			t.Errorf("%v, want %v", g.failed, want)
		}
	})
}

func TestAnAddressIsWhatOnePartyHas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, c := range []struct {
			what, one, other string
			same             bool
		}{
			{"ports", "192.0.2.1:1", "192.0.2.1:2", true},
			{"addresses of IPv4", "192.0.2.1:1", "192.0.2.3:1", false},
			{"an address in either form", "192.0.2.1:1", "[::ffff:192.0.2.1]:1", true},
			{"one network of IPv6", "[2001:db8::1]:1", "[2001:db8::ffff:0:1]:1", true},
			{"two networks of IPv6", "[2001:db8::1]:1", "[2001:db8:0:1::1]:1", false},
			{"zones", "[fe80::1%a]:1", "[fe80::1%b]:1", true},
			{"what is no address", "pipe", "@", true},
		} {
			g := newGuarded(knowsGood)
			g.try(t, c.one, "bad", 60)
			if n := g.try(t, c.other, "bad", 1); (n == 1) != c.same {
				t.Errorf("%s: taken for the same: %t", c.what, n == 1)
			}
		}
	})
}

func TestAddressesThatAreRememberedAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGuarded(knowsGood)
		for i := range 10_000 {
			g.try(t, fmt.Sprintf("10.%d.%d.%d:1", i>>16, i>>8&255, i&255), "bad", 2)
		}
		if n := g.try(t, here, "bad", 61); n != 1 {
			t.Errorf("of one more, %d of 61 were called guesses", n)
		}
		if n := g.try(t, there, "bad", 1); n != 1 {
			t.Errorf("yet another is not counted with it")
		}
		if n := g.try(t, "10.0.0.1:1", "bad", 58) + g.try(t, there, "good", 10); n != 0 {
			t.Errorf("%d of one that is remembered, or good, were called guesses", n)
		}
		time.Sleep(time.Minute)
		if n := g.try(t, there, "bad", 60); n != 0 {
			t.Errorf("when others are forgotten %d of 60 were called guesses", n)
		}
	})
}

// Guesses from one address leave the API server's time to others, and a good token from there still gets its turn.
func TestGuessesAreReviewedAtAPaceOfTheirOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, r := newCluster(t)
		g := newGuarded(accounts(t, r, ci).Authenticate)
		later := time.Now().Add(time.Hour).Unix()
		present := func(from, token string) string {
			p := request("Bearer " + token)
			p.From = from
			_, err := g.authenticate(p)
			if errors.Is(err, auth.ErrGuessing) {
				return "guess"
			}
			return verdict(err)
		}
		for range 61 { // which are no ServiceAccount's
			present(here, esoToken)
		}
		var callers sync.WaitGroup
		for i := range 500 {
			callers.Go(func() {
				if said := present(here, jwt("system:serviceaccount:ci-1:builder", later, fmt.Sprint("guess-", i), "quaygen")); said != "guess" && said != "unknown" && said != "unavailable" {
					t.Error(said)
				}
			})
		}
		synctest.Wait()
		for i := range 20 {
			start := time.Now()
			if said := present(there, c.issue(fmt.Sprintf("ci-%d", i), "builder", time.Hour, "quaygen")); said != "accepted" || time.Since(start) > 0 {
				t.Errorf("from elsewhere meanwhile: %s after %v", said, time.Since(start))
			}
		}
		callers.Wait()
		if n := c.reviews() - 20; n > 2+2*3+1 {
			t.Errorf("%d guesses were reviewed", n)
		}
		if said := present(here, c.issue("ci-99", "builder", time.Hour, "quaygen")); said != "accepted" {
			t.Errorf("a good token from there: %s", said)
		}
	})
}
