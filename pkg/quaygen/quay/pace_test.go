package quay_test

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quaygen/quaygen/pkg/quaygen/quay"
)

const aRobot = `{"name": "acme+ci"}`

func TestCallsArePaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := client(t, answering(200, asJSON, aRobot), func(cfg *quay.Config) { cfg.QPS, cfg.Burst = 5, 2 })
		start := time.Now()
		for range 12 {
			if _, _, err := c.GetRobot(t.Context(), robot(t, "acme", "ci")); err != nil {
				t.Fatal(err)
			}
		}
		if got := time.Since(start).Round(time.Millisecond); got != 2*time.Second {
			t.Errorf("2 at once and 10 at 5 per second took %v", got)
		}
	})
}

func TestWhoMeasuresIsToldHowLongEachCallWaitedAlsoWhereItWasNotSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var waits []time.Duration
		c := client(t, answering(200, asJSON, aRobot), func(cfg *quay.Config) {
			cfg.QPS, cfg.Burst = 1, 1
			cfg.Waited = func(lane string, waited time.Duration) {
				if lane != "calls" {
					t.Errorf("it waited in the lane %q", lane)
				}
				waits = append(waits, waited.Round(time.Millisecond))
			}
		})
		for range 3 {
			if _, _, err := c.GetRobot(t.Context(), robot(t, "acme", "ci")); err != nil {
				t.Fatal(err)
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond) // its turn is in a second
		defer cancel()
		if _, _, err := c.GetRobot(ctx, robot(t, "acme", "ci")); !errors.Is(err, quay.ErrRateLimited) {
			t.Fatalf("a call whose turn comes too late: %v", err)
		}
		if want := []time.Duration{0, time.Second, time.Second, 0}; !slices.Equal(waits, want) {
			t.Errorf("told of %v, not %v", waits, want)
		}
	})
}

// Rotation rests on lists being fresh: a thousand waiting creations must not hold one up.
func TestListsDoNotWaitForOtherCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rt := &fake{answer: func(_ int, r *http.Request) *http.Response {
			if r.URL.Path == "/api/v1/organization/acme/robots" {
				return response(200, asJSON, `{"robots": []}`)
			}
			return response(200, asJSON, `{"name": "acme"}`)
		}}
		c := client(t, rt, func(cfg *quay.Config) { cfg.QPS, cfg.Burst = 1, 1 })
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		for range 100 {
			wg.Go(func() { _, _, _ = c.GetRobot(ctx, robot(t, "acme", "ci")) })
		}
		synctest.Wait()
		start := time.Now()
		_, answer, err := c.ListRobots(t.Context(), organization(t, "acme"), quay.ListOptions{})
		if err != nil || !answer.Sent.Equal(start) || time.Since(start) != 0 {
			t.Errorf("sent after %v, answered after %v, %v", answer.Sent.Sub(start), time.Since(start), err)
		}
		// The next list waits for its own limit, and says when it was sent.
		if _, answer, err = c.ListRobots(t.Context(), organization(t, "acme"), quay.ListOptions{}); err != nil || answer.Sent.Sub(start) != time.Second {
			t.Errorf("second list sent after %v, %v", answer.Sent.Sub(start), err)
		}
		cancel()
		wg.Wait()
	})
}

func TestCallThatCannotHaveItsTurnIsNotSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rt := answering(200, asJSON, aRobot)
		c := client(t, rt, func(cfg *quay.Config) { cfg.QPS, cfg.Burst = 0.1, 1 })
		if _, _, err := c.GetRobot(t.Context(), robot(t, "acme", "ci")); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		start := time.Now()
		_, _, err := c.CreateRobot(ctx, robot(t, "acme", "ci"), quay.CreateOptions{})
		var e *quay.APIError
		if !errors.As(err, &e) || !errors.Is(err, quay.ErrRateLimited) || !errors.Is(err, context.DeadlineExceeded) || e.Status != 0 {
			t.Error(err)
		}
		if time.Since(start) != 0 || len(rt.requests()) != 1 {
			t.Errorf("after %v, %d requests", time.Since(start), len(rt.requests()))
		}
	})
}

func TestTooManyRequestsSlowsDown(t *testing.T) {
	for header, want := range map[string]time.Duration{"": time.Second, "0": time.Second, "7": 7 * time.Second, "3600": 30 * time.Second} {
		synctest.Test(t, func(t *testing.T) {
			rt := &fake{answer: func(n int, _ *http.Request) *http.Response {
				if n > 1 {
					return response(200, asJSON, aRobot)
				}
				resp := response(429, asHTML, limited)
				if header != "" {
					resp.Header.Set("Retry-After", header)
				}
				return resp
			}}
			c := client(t, rt)
			start := time.Now()
			_, answer, err := c.GetRobot(t.Context(), robot(t, "acme", "ci"))
			if waited := answer.Sent.Sub(start); err != nil || waited < want || waited > want+time.Second {
				t.Errorf("Retry-After %q: repeated after %v, %v", header, waited, err)
			}
		})
	}
}

func TestTooManyRequestsHoldsOtherCallsBackToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rt := &fake{answer: func(n int, _ *http.Request) *http.Response {
			if n == 1 {
				resp := response(429, asHTML, limited)
				resp.Header.Set("Retry-After", "4")
				return resp
			}
			return response(200, asJSON, aRobot)
		}}
		c := client(t, rt, func(cfg *quay.Config) { cfg.QPS, cfg.Burst = 1, 10 })
		start := time.Now()
		if _, err := c.DeleteRobot(t.Context(), robot(t, "acme", "ci")); !errors.Is(err, quay.ErrRateLimited) {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, _, err := c.GetRobot(ctx, robot(t, "acme", "ci")); !errors.Is(err, quay.ErrRateLimited) || len(rt.requests()) != 1 {
			t.Errorf("a call in the pause: %v", err)
		}
		if _, answer, err := c.GetRobot(t.Context(), robot(t, "acme", "ci")); err != nil || answer.Sent.Sub(start) < 4*time.Second {
			t.Errorf("sent after %v, %v", answer.Sent.Sub(start), err)
		}
	})
}

func TestEachAttemptHasItsOwnTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rt := &fake{answer: func(n int, r *http.Request) *http.Response {
			if n < 3 {
				<-r.Context().Done()
			}
			return response(200, asJSON, aRobot)
		}}
		c := client(t, rt, func(cfg *quay.Config) { cfg.Timeout = 10 * time.Second })
		start := time.Now()
		_, answer, err := c.GetRobot(t.Context(), robot(t, "acme", "ci"))
		if waited := answer.Sent.Sub(start); err != nil || waited < 20*time.Second || waited > 22*time.Second {
			t.Errorf("answered after %v, %v", waited, err)
		}
	})
}

func TestTimeoutIsNotTheCallersDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rt := &fake{answer: func(_ int, r *http.Request) *http.Response { <-r.Context().Done(); return nil }}
		c := client(t, rt, func(cfg *quay.Config) { cfg.Timeout = 10 * time.Second })
		start := time.Now()
		_, _, err := c.CreateRobot(t.Context(), robot(t, "acme", "ci"), quay.CreateOptions{})
		if !errors.Is(err, quay.ErrUnreachable) || errors.Is(err, context.DeadlineExceeded) || time.Since(start) != 10*time.Second {
			t.Errorf("after %v: %v", time.Since(start), err)
		}

		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, _, err = c.GetRobot(ctx, robot(t, "acme", "ci")); !errors.Is(err, quay.ErrUnreachable) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("the caller's deadline: %v", err)
		}
		ctx, cancelNow := context.WithCancel(t.Context())
		cancelNow()
		if _, _, err = c.GetRobot(ctx, robot(t, "acme", "ci")); !errors.Is(err, context.Canceled) {
			t.Errorf("a cancelled caller: %v", err)
		}
	})
}

func TestRepeatsDoNotOutliveTheCaller(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rt := &fake{answer: func(int, *http.Request) *http.Response {
			resp := response(429, asHTML, limited)
			resp.Header.Set("Retry-After", "20")
			return resp
		}}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		start := time.Now()
		_, _, err := client(t, rt).GetRobot(ctx, robot(t, "acme", "ci"))
		var e *quay.APIError
		if !errors.As(err, &e) || e.Status != 429 || time.Since(start) != 0 {
			t.Errorf("after %v: %v", time.Since(start), err)
		}
	})
}
