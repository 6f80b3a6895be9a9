package e2e

import (
	"testing"
	"time"
)

// In rotating, overlap and drain.max are 9 and 15 seconds, and a credential may be relied on for 2.
const (
	overlapAndMax = 24 * time.Second
	maxRefresh    = 2 * time.Second
)

// Story 7: a replica is stopped for longer than overlap and max together, while what it serves is rotated, superseded and retired by
// another one. It wakes up with requests waiting, and what it answers first is either nothing or what lives.
func TestAReplicaThatWasStoppedNeverHandsOutWhatWasRetiredMeanwhile(t *testing.T) {
	t.Parallel()
	s := emptyStage(t)
	s.configure(rotating)
	c := newCrew(t, s, nil, nil)
	first := c.agree()
	sleeper := c.members[0]
	c.pause(sleeper)
	stopped := time.Now()
	c.say(c.began, "%s is stopped; it serves %s", sleeper.name, first)

	c.until("what it serves is retired, and it was stopped for longer than overlap and max", func() bool {
		_, retired := c.register.gone(first)
		return retired && time.Since(stopped) > overlapAndMax
	})
	end, _ := c.register.gone(first)
	c.resume(sleeper)
	c.say(c.began, "%s goes on after %v; %s was retired %v before", sleeper.name, time.Since(stopped).Round(time.Second), first, time.Since(end).Round(time.Millisecond))
	c.agree()
	c.tell(promise{refresh: maxRefresh})
}
