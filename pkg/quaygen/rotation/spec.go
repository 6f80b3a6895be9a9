package rotation

import (
	"fmt"
	"hash/fnv"
	"time"

	"github.com/quaygen/quaygen/pkg/quaygen/quay"
)

// Strategy is how a robot's credential is replaced. The zero value is invalid.
type Strategy int

const (
	// Overlap mints a new generation beside the old one and retires the old one after consumers have moved.
	Overlap Strategy = iota + 1
	// None keeps one robot of the base name itself, with its permissions right, and serves whatever token it
	// has now. Nothing is ever rotated or deleted.
	None
	// Regenerate keeps one robot of the base name itself and gives it another token when one is due. The old token ends
	// at that moment. When that was lives in a ledger, since Quay does not tell.
	Regenerate
)

// fixed reports whether the robot is one of the base name, not a row of generations.
func (s Strategy) fixed() bool { return s == None || s == Regenerate }

func (s Strategy) String() string {
	switch s {
	case Overlap:
		return "overlap"
	case None:
		return "none"
	case Regenerate:
		return "regenerate"
	}
	return fmt.Sprintf("Strategy(%d)", int(s))
}

// Scope is for whom a robot is.
type Scope int

const (
	// Shared is one robot for all who ask. The zero value.
	Shared Scope = iota
	// PerNamespace is a robot for each namespace that asks, made when it first does and ended when it is idle.
	PerNamespace
)

func (s Scope) String() string {
	if s == PerNamespace {
		return "namespace"
	}
	return "shared"
}

// Spec is what one configured robot shall be. It is comparable by value except for Permissions.
type Spec struct {
	Name     string     // what callers ask for
	Instance string     // marks robots as this installation's; replicas and clusters may share it
	Base     quay.Robot // generations are named after it
	Strategy Strategy
	Scope    Scope

	Every      time.Duration // from one generation to the next
	Overlap    time.Duration // how long a superseded generation certainly lives
	Quiet      time.Duration // after Overlap: unused for so long means retired
	Max        time.Duration // after so long since its successor's creation it is retired, used or not
	MaxRefresh time.Duration // the longest time a consumer keeps a credential without asking again (R)
	Sync       time.Duration // the interval between two lists of an organization (S)
	Idle       time.Duration // with PerNamespace: unused for so long, a namespace's robot ends

	Safety      Safety
	Permissions Permissions
}

// Safety holds the allowances for what cannot be known: lag, slow answers, clocks.
type Safety struct {
	Settle            time.Duration // how long absence must last to be believed; no generation younger than this is deleted. Default 60 s.
	StepDeadline      time.Duration // a write is not sent when the list it rests on is older. Default 30 s.
	ClockAllowance    time.Duration // how far Quay's clock and elapsed local time may drift apart between two lists. Default 5 min.
	AllowUnsafeTiming bool          // accept values that are safe only where nothing depends on the pulls: demos and tests
}

// DefaultSafety returns the values used where the configuration says nothing.
func DefaultSafety() Safety {
	return Safety{Settle: time.Minute, StepDeadline: 30 * time.Second, ClockAllowance: 5 * time.Minute}
}

// Permissions is what a robot may do. Grants come from Repositories and From together; the higher role wins.
type Permissions struct {
	Repositories []RepositoryGrant
	Teams        []string
	From         quay.Robot // copy the direct grants of this robot; zero: none
	Prune        bool       // remove direct grants and team memberships that nothing here asks for
}

// RepositoryGrant asks for a role on the repositories whose name matches Pattern: an exact name, or one with "*",
// which stands for any run of characters.
type RepositoryGrant struct {
	Pattern string
	Role    quay.Role
}

// Quay writes last_accessed at most once per threshold, and a registry token lives an hour after the login that is
// recorded: a credential unused for less may still be in use (docs/quay-contract.md 2.10).
const lastAccessedLag = time.Minute + time.Hour

// maxAdopt bounds how long a replica that cannot prove a generation itself waits before it believes the others.
const maxAdopt = 10 * time.Minute

// pruneAfter is how long this process must have seen a grant unlisted before it removes it, so that replicas
// with an older configuration, during a rollout, do not fight those with the new one (rule 11).
const pruneAfter = 10 * time.Minute

// Adopt returns how long a generation that others evidently published, but that this replica cannot prove, is
// held back before it is served all the same (rule 10, I6).
func (s Spec) Adopt() time.Duration {
	return min(s.Overlap/4, max(2*s.Sync, maxAdopt))
}

// pruneAfter is shortened with the other times where unsafe timing is allowed.
func (s Spec) pruneAfter() time.Duration {
	if s.Safety.AllowUnsafeTiming {
		return min(pruneAfter, s.Overlap)
	}
	return pruneAfter
}

// early is by how much this robot's rotations come before Every has passed: a fixed share of up to a tenth, so
// that robots minted together are not due together (rule 24).
func (s Spec) early() time.Duration {
	tenth := s.Every / 10
	if tenth <= 0 {
		return 0
	}
	h := fnv.New64a()
	_, _ = h.Write([]byte(s.Base.Username()))
	return time.Duration(h.Sum64() % uint64(tenth)) //nolint:gosec // the remainder fits, tenth is positive
}

// maxLive is how many generations may live before a scheduled rotation waits for retirements (I5).
func (s Spec) maxLive() int {
	return 2 + int((s.Max+s.Every-1)/s.Every)
}

// timing is the part of a Spec that is recorded on each generation when it is created and that every replica,
// whatever its own configuration, then uses for it (rule 15).
type timing struct {
	Overlap, Max, MaxRefresh time.Duration
	Idle                     time.Duration // 0: it does not end by being idle
}

func (s Spec) timing() timing {
	t := timing{Overlap: s.Overlap, Max: s.Max, MaxRefresh: s.MaxRefresh}
	if s.Scope == PerNamespace {
		t.Idle = s.Idle
	}
	return t
}

// servable is how long after its last good list a replica may hand out a generation with these times from memory:
// until then nobody can have deleted it, and R later every consumer has moved on (rule 13).
func (t timing) servable(s Safety) time.Duration {
	return t.Overlap - t.MaxRefresh - s.Settle - s.ClockAllowance
}

// window is W: a generation that is not published within it after its creation is given up, so that its
// predecessor's latest end, created + Max, leaves consumers Overlap to move (rule 12).
func (t timing) window() time.Duration { return t.Max - t.Overlap }
