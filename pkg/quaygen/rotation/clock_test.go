package rotation_test

import (
	"testing"
	"time"
)

// Rule 1: the local clock may show anything. Two replicas live through two rotations, each time with the local clock wrong
// by another amount; what happens in Quay, and when, is the same.
func TestALocalClockThatIsWrongChangesNothing(t *testing.T) {
	const step = time.Minute
	type life struct{ created, retired time.Duration } // since the beginning; retired is 0 for who lives
	lives := func(t *testing.T, wrong time.Duration) (out []life) {
		playWith(t, ahead-wrong, func(t *testing.T, s *scene) {
			s.spec.Sync = step
			s.spec.Every, s.spec.Overlap, s.spec.Quiet, s.spec.Max, s.spec.MaxRefresh = 6*time.Hour, 2*time.Hour, 90*time.Minute, 5*time.Hour, 30*time.Minute
			begin := time.Now().Add(ahead - wrong)
			one, stopOne := s.start()
			defer stopOne()
			two, stopTwo := s.start()
			defer stopTwo()
			for range 2 {
				s.rotated(one, s.await(one))
			}
			s.pass(4 * time.Hour)
			if a, b := s.await(one), s.await(two); a.Generation != b.Generation || !s.pulls(a) {
				t.Errorf("with the clock wrong by %v one serves %d, the other %d", wrong, a.Generation, b.Generation)
			}
			for _, r := range s.quay.Ever("myorg") {
				l := life{created: r.Created.Sub(begin)}
				if !r.Deleted.IsZero() {
					l.retired = r.Deleted.Sub(begin)
				}
				out = append(out, l)
			}
		})
		return out
	}
	right := lives(t, 0)
	if len(right) != 3 || right[1].retired == 0 {
		t.Fatalf("two rotations left %v", right)
	}
	for _, wrong := range []time.Duration{-7 * time.Minute, 7 * time.Minute, 30 * time.Hour} {
		got := lives(t, wrong)
		if len(got) != len(right) {
			t.Errorf("with the clock wrong by %v there were %d generations, not %d", wrong, len(got), len(right))
			continue
		}
		for i, l := range got {
			// Each may come up to a sync later than its cause, and causes add up.
			within := time.Duration(2*i+2) * step
			if (l.created-right[i].created).Abs() > within || (l.retired-right[i].retired).Abs() > within {
				t.Errorf("with the clock wrong by %v generation %d lived from %v to %v, not from %v to %v", wrong, i, l.created, l.retired, right[i].created, right[i].retired)
			}
		}
	}
}
