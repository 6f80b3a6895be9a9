package rotation

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/quaygen/quaygen/pkg/quaygen/quay"
)

// Problem is one thing wrong with a Spec.
type Problem struct {
	Field   string // the field's path in the configuration, relative to the robot, e.g. "rotation.overlap"; "/safety.settle" is from the root
	Message string // what is wrong, with the numbers, and what would do
	Warning bool   // the configuration works, but less well than its author probably thinks
}

// maxDescription is how long the marker may be (docs/quay-contract.md 2.2).
const maxDescription = 255

// Check returns every problem of s: names that cannot be told apart and times under which a rotation could
// break a pull. The inequalities I1 to I8 and I12 are those of docs/rotation.md.
func (s Spec) Check() []Problem {
	var c checker
	if s.Base.IsZero() {
		return nil // its own problem, reported where the name was parsed
	}
	c.names(s)
	if quay.LooksLikeGeneration(s.Base.Short()) {
		c.fail("robot", "%q ends like the name of a generation (_g and digits), which could not be told from a generation of a robot with the shorter name; choose a name that does not", s.Base.Short())
	}
	if s.Scope == PerNamespace && s.Strategy != Overlap {
		c.fail("scope", "namespace needs rotation.strategy overlap, not %s: the robots of namespaces come and go", s.Strategy)
		return c.problems
	}
	switch s.Strategy {
	case Overlap:
		c.safety(s.Safety)
		if c.positive(s) {
			c.inequalities(s)
			c.idle(s)
		}
	case Regenerate:
		c.safety(s.Safety)
		c.regenerate(s)
	case None:
	}
	return c.problems
}

// names makes sure that Quay takes every name and marker that s leads to.
func (c *checker) names(s Spec) {
	base := s.Base.Short()
	longest, what := base, "the instance "+strconv.Quote(s.Instance)
	if s.Scope == PerNamespace {
		most := longestOf(s.Base.Owner())
		if len(base) > most-hashedPart {
			c.fail("robot", "%q has %d characters; with scope namespace %d at most, so that a namespace's name, or a hash of it, fits behind it", base, len(base), most-hashedPart)
			return
		}
		longest, what = base+strings.Repeat("x", most-len(base)), what+" and a namespace's name"
	} else if _, err := s.Base.Generation(quay.MaxGeneration); err != nil && s.Strategy == Overlap {
		c.fail("robot", "%q is too long for a generation's number to fit behind it: %v", base, err)
	}
	mark := marker{Instance: s.Instance, Robot: longest, Generation: quay.MaxGeneration, Timing: s.timing()}
	if over := len(mark.String()) - maxDescription; over > 0 {
		c.fail("robot", "%q has %d characters; %d at most beside %s, so that the marker fits into Quay's description", base, len(base), len(base)-over, what)
	}
}

// idle checks I8: whoever serves a namespace makes its use visible long before it could look idle to anyone.
func (c *checker) idle(s Spec) {
	if s.Scope != PerNamespace {
		return
	}
	least := max(4*s.MaxRefresh, 8*s.Sync+time.Second)
	if !s.Safety.AllowUnsafeTiming {
		least = max(least, 8*time.Hour)
	}
	switch {
	case s.Idle < least:
		c.fail("idle", "%v is too short: four times maxRefresh (%v), more than eight times sync (%v) and 8h at least, so that the use that a namespace makes is seen in time; %v would do", s.Idle, s.MaxRefresh, s.Sync, suggest(least))
	case s.Idle < 24*time.Hour && !s.Safety.AllowUnsafeTiming:
		c.warn("idle", "%v means that a namespace whose nodes are off for a night gets a new robot; 24h or more is usual", s.Idle)
	}
}

// regenerate checks I12: the next rotation must not come while it may be unknown what became of the last.
func (c *checker) regenerate(s Spec) {
	for _, v := range []struct {
		field string
		d     time.Duration
	}{{"rotation.every", s.Every}, {"/sync", s.Sync}} {
		if v.d <= 0 {
			c.fail(v.field, "%v is not a positive duration", v.d)
			return
		}
	}
	if least := 10 * s.Safety.lease(); s.Every < least {
		c.fail("rotation.every", "%v is too short: after a crash it takes minutes to learn what became of a regeneration; ten times step deadline %v + settle %v + clock allowance %v = %v at least; %v would do",
			s.Every, s.Safety.StepDeadline, s.Safety.Settle, s.Safety.ClockAllowance, least, suggest(least))
	}
}

type checker struct{ problems []Problem }

func (c *checker) fail(field, format string, args ...any) {
	c.problems = append(c.problems, Problem{Field: field, Message: fmt.Sprintf(format, args...)})
}

func (c *checker) warn(field, format string, args ...any) {
	c.problems = append(c.problems, Problem{Field: field, Message: fmt.Sprintf(format, args...), Warning: true})
}

func (c *checker) safety(s Safety) {
	least := DefaultSafety()
	if !s.AllowUnsafeTiming {
		for _, v := range []struct {
			field      string
			got, least time.Duration
		}{
			{"/safety.settle", s.Settle, least.Settle},
			{"/safety.stepDeadline", s.StepDeadline, least.StepDeadline},
			{"/safety.clockAllowance", s.ClockAllowance, least.ClockAllowance},
		} {
			if v.got < v.least {
				c.fail(v.field, "%v is below the safe %v; lower values are accepted only together with safety.allowUnsafeTiming: true, for demos and tests", v.got, v.least)
			}
		}
	}
	if s.StepDeadline <= 0 {
		c.fail("/safety.stepDeadline", "%v is not a positive duration", s.StepDeadline)
	}
	if s.ClockAllowance <= 0 {
		c.fail("/safety.clockAllowance", "%v is not a positive duration", s.ClockAllowance)
	}
	// I7: what a delayed write created must show in a list before anything that rests on its absence happens.
	if s.Settle <= s.StepDeadline {
		c.fail("/safety.settle", "%v must be longer than safety.stepDeadline (%v); %v would do", s.Settle, s.StepDeadline, 2*s.StepDeadline)
	}
}

func (c *checker) positive(s Spec) bool {
	ok := true
	for _, v := range []struct {
		field string
		d     time.Duration
	}{
		{"rotation.every", s.Every},
		{"rotation.overlap", s.Overlap},
		{"rotation.drain.quiet", s.Quiet},
		{"rotation.drain.max", s.Max},
		{"maxRefresh", s.MaxRefresh},
		{"/sync", s.Sync},
	} {
		if v.d <= 0 {
			c.fail(v.field, "%v is not a positive duration", v.d)
			ok = false
		}
	}
	return ok
}

func (c *checker) inequalities(s Spec) {
	settle, clock := s.Safety.Settle, s.Safety.ClockAllowance
	allowances := s.MaxRefresh + settle + clock

	// I6 before I1, which contains it: adopt is derived, so that only a tiny overlap can break it.
	if s.Overlap/4 < 2*s.Sync {
		c.fail("rotation.overlap", "%v is too short for sync %v: a quarter of it must hold two syncs; %v would do", s.Overlap, s.Sync, 8*s.Sync)
	}
	// I1: a consumer that took the old credential from a replica that learned last must refresh in time.
	if least := allowances + s.Sync + s.Adopt(); s.Overlap < least {
		// A longer overlap comes with a longer adopt, which what would do must hold too.
		rest := allowances + s.Sync
		would := min(rest+max(2*s.Sync, maxAdopt), rest*4/3+1)
		c.fail("rotation.overlap", "%v is too short: maxRefresh %v + sync %v + adopt %v + settle %v + clock allowance %v = %v must pass before an old credential may go; %v would do",
			s.Overlap, s.MaxRefresh, s.Sync, s.Adopt(), settle, clock, least, suggest(would))
	}
	// I2: what is served from memory must outlast a few slow lists.
	servable := s.timing().servable(s.Safety)
	if servable < 3*s.Sync {
		c.fail("rotation.overlap", "%v leaves %v in which requests are answered from memory (overlap - maxRefresh %v - settle %v - clock allowance %v); three syncs (%v) at least, so %v would do",
			s.Overlap, servable, s.MaxRefresh, settle, clock, 3*s.Sync, suggest(allowances+3*s.Sync))
	} else if servable < time.Hour && !s.Safety.AllowUnsafeTiming {
		c.warn("rotation.overlap", "with %v, requests are answered for %v only while Quay is unreachable, then with 503; %v would give an hour", s.Overlap, servable, suggest(allowances+time.Hour))
	}
	c.drain(s)
	// I5: else generations pile up faster than they are retired.
	if least := s.Max + s.Sync + settle; s.Every < least {
		c.warn("rotation.every", "%v is shorter than drain.max %v + sync %v + settle %v: up to %d generations may live at once, and rotations wait for retirements beyond that; %v or more keeps it at three",
			s.Every, s.Max, s.Sync, settle, s.maxLive(), suggest(least))
	}
	if s.Every <= s.Overlap {
		c.fail("rotation.every", "%v is not longer than rotation.overlap (%v): each generation would be superseded before the one before it may go", s.Every, s.Overlap)
	}
}

func (c *checker) drain(s Spec) {
	// I3: publication needs room for retries between creation and the predecessor's latest end.
	leastWindow := 10 * s.Sync
	if !s.Safety.AllowUnsafeTiming {
		leastWindow = max(time.Hour, leastWindow)
	}
	window := s.timing().window()
	if window < leastWindow {
		c.fail("rotation.drain.max", "%v leaves %v after rotation.overlap (%v) to publish a new generation in; %v at least, and drain.quiet (%v) must fit too, so %v would do",
			s.Max, window, s.Overlap, leastWindow, s.Quiet, suggest(s.Overlap+max(leastWindow, s.Quiet)))
	} else if s.Quiet > window {
		c.fail("rotation.drain.quiet", "%v does not fit between rotation.overlap (%v) and drain.max (%v); %v or less would do, or a drain.max of %v", s.Quiet, s.Overlap, s.Max, window, suggest(s.Overlap+s.Quiet))
	}
	// I4: what Quay shows as unused may have been used for this much longer.
	if least := lastAccessedLag + s.Sync + s.Safety.ClockAllowance; s.Quiet < least && !s.Safety.AllowUnsafeTiming {
		c.fail("rotation.drain.quiet", "%v is too short: Quay's last_accessed lags by up to a minute and an hour of registry token, and sync %v + clock allowance %v come on top: %v; %v would do",
			s.Quiet, s.Sync, s.Safety.ClockAllowance, least, suggest(least))
	}
}

// suggest rounds up to what a person would write.
func suggest(d time.Duration) time.Duration {
	unit := time.Second
	switch {
	case d > 48*time.Hour:
		unit = time.Hour
	case d > time.Hour:
		unit = 10 * time.Minute
	case d > time.Minute:
		unit = time.Minute
	}
	return (d + unit - 1) / unit * unit
}
