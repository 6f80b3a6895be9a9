// Package await waits, in programs whose work is bound by a context.
package await

import (
	"context"
	"time"
)

// Time returns after d, or with the context's error when that ends first.
func Time(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// True asks again after each interval, until the answer is true. The error is the context's.
func True(ctx context.Context, interval time.Duration, until func() bool) error {
	for !until() {
		if err := Time(ctx, interval); err != nil {
			return err
		}
	}
	return nil
}
