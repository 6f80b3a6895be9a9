package rotation

import (
	"testing"
	"time"
)

// V12: after Quay's clock jumped, the time since a generation was created says nothing of how long others have had to
// learn of it: one that is cut off hands out its predecessor as long as it may. The model found this.
func TestAJumpOfTheClockDoesNotCutAnOverlapShort(t *testing.T) {
	spec := testSpec()
	spec.Every = 40 * time.Minute
	w := newWorld()
	a := w.newReplica("A", spec)
	w.until(t, time.Minute, func() bool { return a.served() >= 0 }, a)
	first := a.served()
	w.until(t, time.Hour, func() bool { return a.served() > first }, a)
	w.skew = spec.Max + time.Minute
	for end := w.now.Add(spec.Overlap - spec.Sync); w.now.Before(end); w.now = w.now.Add(spec.Sync) {
		a.sync()
		if w.find(first) == nil {
			t.Fatalf("%d is retired, although its overlap runs for another %v", first, end.Sub(w.now))
		}
	}
	w.until(t, time.Hour, func() bool { return w.find(first) == nil }, a)
}
