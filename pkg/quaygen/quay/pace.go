package quay

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"
)

const (
	// defaultPause is the wait after a 429 that names none: Quay's own limiter never does (docs/quay-contract.md 5).
	defaultPause = time.Second
	// maxPause bounds the wait that a 429 may ask for.
	maxPause = 30 * time.Second
	// The first repeat of a call comes after about retryDelay, each later one after twice as long.
	retryDelay    = 200 * time.Millisecond
	maxRetryDelay = 5 * time.Second
)

// lane paces one class of calls.
type lane struct {
	name    string // for Config.Waited
	limiter *rate.Limiter
	until   atomic.Pointer[time.Time] // nothing is sent before; nil: no pause
}

func newLane(name string, qps float64, burst int) *lane {
	return &lane{name: name, limiter: rate.NewLimiter(rate.Limit(qps), burst)}
}

// wait returns when a call may be sent, or the context's error, at once if its deadline is too near.
func (l *lane) wait(ctx context.Context) error {
	for {
		if err := sleepUntil(ctx, l.pausedUntil()); err != nil {
			return err
		}
		if err := l.limiter.Wait(ctx); err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return context.DeadlineExceeded // the limiter foresees it
		}
		if !time.Now().Before(l.pausedUntil()) {
			return nil
		}
	}
}

// pause holds the lane's next calls back for d, and spends the saved-up burst so that they do not come all at once.
func (l *lane) pause(d time.Duration) {
	until := time.Now().Add(d)
	for {
		old := l.until.Load()
		if old != nil && !old.Before(until) {
			return
		}
		if l.until.CompareAndSwap(old, &until) {
			break
		}
	}
	now := time.Now()
	if n := int(l.limiter.TokensAt(now)); n > 0 {
		l.limiter.AllowN(now, n)
	}
}

func (l *lane) pausedUntil() time.Time {
	if until := l.until.Load(); until != nil {
		return *until
	}
	return time.Time{}
}

// pauseAfter returns how long to keep still after a 429.
func pauseAfter(e *APIError) time.Duration {
	if e.RetryAfter <= 0 {
		return defaultPause
	}
	return min(e.RetryAfter, maxPause)
}

// delay returns how long to wait before the repeat number n (1 is the first).
func delay(n int, err error) time.Duration {
	base := min(retryDelay<<min(n-1, 10), maxRetryDelay)
	d := base/2 + rand.N(base) //nolint:gosec // jitter is no secret
	var e *APIError
	if errors.As(err, &e) && e.Kind == KindRateLimited {
		d += pauseAfter(e)
	}
	return d
}

// sleepUntil waits until t, or returns the context's error, at once if its deadline comes before.
func sleepUntil(ctx context.Context, t time.Time) error {
	d := time.Until(t)
	if d <= 0 {
		return nil
	}
	if deadline, ok := ctx.Deadline(); ok && deadline.Before(t) {
		return context.DeadlineExceeded
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
