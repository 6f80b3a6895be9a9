package e2e

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/quaygen/quaygen/e2e/parts"
	"github.com/quaygen/quaygen/e2e/product"
)

// wrong is by how much the clocks of a story are wrong: by more than any of its times.
const wrong = 7 * time.Minute

// Story 8: one replica's clock is right, one's is 7 minutes ahead and then 7 minutes behind, one's the other way round. Generations
// are made, served and retired as if all were right.
func TestReplicasWithWrongClocksRotateAsIfTheyWereRight(t *testing.T) {
	t.Parallel()
	programs := offClockPrograms(t)
	s := emptyStage(t)
	s.programs = programs
	s.configure(rotating)
	const ahead, behind = parts.WallClock + "=7m,10s,-7m", parts.WallClock + "=-7m,10s,7m"
	c := newCrew(t, s, nil, []string{ahead}, []string{behind})
	c.agree()
	for range 2 {
		c.changed(c.register.newest())
		c.say(c.began, "all serve %s", c.agree())
	}
	c.until("the first generation is retired", func() bool {
		robots, err := c.quay.Robots(c.ctx)
		check(t, err)
		return !robots[0].Deleted.IsZero()
	})
	c.say(c.began, "the first generation is retired")
	for i, want := range []time.Duration{0, wrong, -wrong} {
		m := c.members[i]
		if first, last := c.clockOff(m); (first-want).Abs() > time.Minute || (last+want).Abs() > time.Minute {
			t.Errorf("the clock of %s is %v ahead at first and %v later; want %v and %v", m.name, first, last, want, -want)
		}
	}
	robots, err := c.quay.Robots(c.ctx)
	check(t, err)
	for _, problem := range punctual(robots) {
		t.Error(problem)
	}
	c.tell(promise{refresh: maxRefresh})
}

// clockOff returns how far a replica's clock was ahead when it printed its first line,
// and when it last listed Quay.
func (c *crew) clockOff(m *member) (first, last time.Duration) {
	c.t.Helper()
	log, err := m.process.Log()
	check(c.t, err)
	text, _, _ := strings.Cut(log, "\n")
	var line struct {
		Time time.Time `json:"time"`
	}
	check(c.t, json.Unmarshal([]byte(text), &line))

	_, metrics, err := m.process.Ask(c.ctx, "/metrics")
	check(c.t, err)
	_, rest, _ := strings.Cut(metrics, "\nquaygen_quay_last_sync_timestamp_seconds{")
	_, rest, _ = strings.Cut(rest, "} ")
	number, _, _ := strings.Cut(rest, "\n")
	seconds, err := strconv.ParseFloat(number, 64)
	check(c.t, err)
	return line.Time.Sub(c.began), time.Until(time.Unix(int64(seconds), 0))
}

// punctual looks at a chain's generations, oldest first, with the times of rotating: what is not as it would be by Quay's
// clock alone. Quay tells whole seconds, and a rotation is due up to a tenth early.
func punctual(robots []product.Robot) (problems []string) {
	const every, overlap, most = 20 * time.Second, 9 * time.Second, 15 * time.Second
	const slack = 5 * time.Second // some syncs, on a machine that is busy
	complain := func(format string, args ...any) { problems = append(problems, fmt.Sprintf(format, args...)) }
	epoch := time.Date(2026, time.January, 1, 0, 0, 0, 0, time.UTC)
	for i, r := range robots {
		_, digits, _ := strings.Cut(r.Name, "_g")
		number, err := strconv.ParseInt(digits, 10, 64)
		// Each number is the minute of its creation by Quay's clock, or one more than the one before.
		if minute := int64(r.Created.Sub(epoch) / time.Minute); err != nil || number < minute-1 || number > minute+int64(len(robots)) {
			complain("%s was made in the minute %d", r.Name, minute)
		}
		if i == 0 {
			continue
		}
		before := robots[i-1]
		if after := r.Created.Sub(before.Created); after < every-every/10-time.Second || after > every+slack {
			complain("%s was made %v after %s", r.Name, after, before.Name)
		}
		if lived := before.Deleted.Sub(r.Created); !before.Deleted.IsZero() && (lived < overlap || lived > most+slack) {
			complain("%s was retired %v after %s was made", before.Name, lived, r.Name)
		}
	}
	return problems
}
