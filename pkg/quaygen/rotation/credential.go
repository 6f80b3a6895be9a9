package rotation

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/quaygen/quaygen/pkg/quaygen/quay"
	"github.com/quaygen/quaygen/pkg/quaygen/secret"
)

// Credential is what a consumer gets. Its content never changes; equal pointers mean equal content, so that what is
// rendered from one can be kept.
type Credential struct {
	Name       string
	Registry   string // the configured registry's name
	Generation int64  // 0 with the strategy none; with regenerate how often the token was seen to change
	Robot      quay.Robot
	Token      secret.String
	Created    time.Time // Quay's time
	RefreshAt  time.Time // Quay's time when the next generation is due; zero if never
	Warnings   []string

	Repositories []string // what it may pull, sorted, as the last list showed
	InTeams      bool     // it may pull what its teams may as well, which no list shows

	traced *trace.SpanContext // of the pass that first handed it out like this; nil: it was not
}

// Lease is a credential together with the time for which it may be handed out (rule 13).
type Lease struct {
	*Credential
	sent     time.Time
	validity time.Duration
}

// Valid reports whether the credential may still be handed out. Ask when the answer is written, not before: a process
// that was stopped for a while holds leases that have ended.
func (l *Lease) Valid() bool { return elapsed(l.sent) < l.validity }

// ends is the local time from which on it is not Valid.
func (l *Lease) ends() time.Time { return l.sent.Round(0).Add(l.validity) }

// elapsed is the time since t, a local time with a monotonic reading. The monotonic clock stands still while a machine
// is suspended and the wall clock may be set back; the larger of the two is the safe one.
func elapsed(t time.Time) time.Duration {
	now := time.Now()
	return max(now.Sub(t), now.Round(0).Sub(t.Round(0)))
}

// ErrUnknownRobot is returned for a name that no configured robot has.
var ErrUnknownRobot = errors.New("no such robot")

// NotReadyError says why there is no credential to hand out now.
type NotReadyError struct {
	Name       string
	Reason     string
	Refused    bool          // Quay refuses this installation: its token, organization or robots; waiting alone will not help
	RetryAfter time.Duration // when asking again makes sense
}

func (e *NotReadyError) Error() string {
	return fmt.Sprintf("no credential for %s: %s", e.Name, e.Reason)
}

// UnderWayError is returned when a rotation is refused because another one is not over (rule 20).
type UnderWayError struct {
	Name   string
	Reason string
	Until  time.Time // Quay's time when it is over at the latest; zero: not known
}

func (e *UnderWayError) Error() string {
	text := fmt.Sprintf("a rotation of %s is under way: %s", e.Name, e.Reason)
	if !e.Until.IsZero() {
		text += ", until " + clock(e.Until) + " at the latest"
	}
	return text
}

// refused reports whether err means that Quay does not let this installation work, rather than that it is busy.
func refused(err error) bool {
	return errors.Is(err, quay.ErrTokenRejected) || errors.Is(err, quay.ErrForbidden) || errors.Is(err, quay.ErrRobotsDisabled) ||
		errors.Is(err, quay.ErrNotFound)
}

// credential is the content to hand out for g.
func (m *Memory) credential(g *generation, registry string, warnings []string) *Credential {
	c := &Credential{
		Name: m.spec.Name, Registry: registry, Generation: m.numberOf(g), Robot: g.Robot, Token: g.token, Created: g.Created, Warnings: warnings, Repositories: g.Grants, InTeams: len(g.Teams) > 0,
	}
	switch m.spec.Strategy {
	case Overlap:
		c.RefreshAt = m.due(g)
	case Regenerate:
		if m.kept.version != "" {
			c.Created = m.kept.record.Changed
			c.RefreshAt = c.Created.Add(m.spec.Every - m.spec.early())
		}
	case None:
	}
	return c
}

func (c *Credential) equal(d *Credential) bool {
	return c.Name == d.Name && c.Registry == d.Registry && c.Generation == d.Generation && c.Robot == d.Robot && c.Token.Equal(d.Token) &&
		c.Created.Equal(d.Created) && c.RefreshAt.Equal(d.RefreshAt) && slices.Equal(c.Warnings, d.Warnings) && slices.Equal(c.Repositories, d.Repositories) && c.InTeams == d.InTeams
}
