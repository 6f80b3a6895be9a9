package quay

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// ErrName is wrapped by every error about a name that Quay would refuse.
var ErrName = errors.New("invalid name")

// Quay's rule for organizations and robots (docs/quay-contract.md 2.1), without the trailing newline that
// Quay's own expression lets through.
var nameRE = regexp.MustCompile(`\A[a-z0-9]+(?:[._-][a-z0-9]+)*\z`)

// Quay's rule for one segment of a repository name (docs/quay-contract.md 3.4).
var segmentRE = regexp.MustCompile(`\A[a-z0-9][a-z0-9._-]*\z`)

// maxName is the width in bytes of Quay's username column; it holds "<owner>+<robot>" as well.
const maxName = 255

func checkName(what, name string) error {
	switch {
	case len(name) < 2 || len(name) > maxName:
		return fmt.Errorf("%w: %s %q must have 2 to %d characters", ErrName, what, clip(name), maxName)
	case !nameRE.MatchString(name):
		return fmt.Errorf("%w: %s %q must be lower-case letters and digits, in groups joined by single '.', '_' or '-'", ErrName, what, clip(name))
	}
	return nil
}

func clip(s string) string {
	if len(s) > 80 {
		return s[:80] + "..."
	}
	return s
}

// Owner is a validated namespace of Quay: an organization, or a user. The zero value is no owner.
type Owner struct {
	name string
	user bool
}

// ParseOrganization validates the name of an organization.
func ParseOrganization(name string) (Owner, error) {
	return Owner{name: name}, checkName("organization", name)
}

// ParseUser validates the name of a user whose own namespace is meant.
func ParseUser(name string) (Owner, error) {
	return Owner{name: name, user: true}, checkName("user", name)
}

// Name returns the namespace, as it stands before the slash in an image name.
func (o Owner) Name() string { return o.name }

// IsUser reports whether the namespace is a user's.
func (o Owner) IsUser() bool { return o.user }

// IsZero reports whether o names nobody.
func (o Owner) IsZero() bool { return o.name == "" }

func (o Owner) String() string { return o.name }

// Robot is the validated name of a robot account. The zero value is no robot.
type Robot struct {
	owner Owner
	short string
}

// NewRobot validates the short name of a robot of owner: Quay's name rule, and room for "<owner>+<short>"
// in 255 bytes.
func NewRobot(owner Owner, short string) (Robot, error) {
	if owner.IsZero() {
		return Robot{}, fmt.Errorf("%w: robot %q has no owner", ErrName, clip(short))
	}
	if err := checkName("robot", short); err != nil {
		return Robot{}, err
	}
	if n := maxName - len(owner.name) - 1; len(short) > n {
		return Robot{}, fmt.Errorf("%w: robot %q of %s must have at most %d characters", ErrName, clip(short), owner, n)
	}
	return Robot{owner: owner, short: short}, nil
}

// Owner returns the namespace the robot belongs to.
func (r Robot) Owner() Owner { return r.owner }

// Short returns the name without its owner, as it stands in API paths.
func (r Robot) Short() string { return r.short }

// Username returns "<owner>+<short>", the name a registry client logs in with.
func (r Robot) Username() string { return r.owner.name + "+" + r.short }

// IsZero reports whether r names no robot.
func (r Robot) IsZero() bool { return r.short == "" }

func (r Robot) String() string { return r.Username() }

// MaxGeneration is the largest generation number that is understood; larger ones in Quay are somebody else's.
const MaxGeneration = 999_999_999_999

// Generation returns the robot that realizes generation number n of r, "<r>_g<n>".
func (r Robot) Generation(n int64) (Robot, error) {
	if n < 0 || n > MaxGeneration {
		return Robot{}, fmt.Errorf("%w: generation %d of %s is not within 0 to %d", ErrName, n, r, int64(MaxGeneration))
	}
	return NewRobot(r.owner, r.short+"_g"+strconv.FormatInt(n, 10))
}

// GenerationOf returns the number of the generation of base that r realizes. It accepts exactly the names
// that [Robot.Generation] makes: no leading zeros, nothing above [MaxGeneration].
func (r Robot) GenerationOf(base Robot) (int64, bool) {
	if r.owner != base.owner {
		return 0, false
	}
	digits, ok := strings.CutPrefix(r.short, base.short+"_g")
	if !ok {
		return 0, false
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || n < 0 || n > MaxGeneration || strconv.FormatInt(n, 10) != digits {
		return 0, false
	}
	return n, true
}

var generationRE = regexp.MustCompile(`_g[0-9]+\z`)

// LooksLikeGeneration reports whether a short name ends as a generation's does. Such a name cannot be the base of a
// robot: its own generations and those of the shorter base could not be told apart.
func LooksLikeGeneration(short string) bool { return generationRE.MatchString(short) }

// BaseOf returns the short name of the base that a robot with this short name looks like a generation of.
func BaseOf(short string) (base string, ok bool) {
	at := generationRE.FindStringIndex(short)
	if at == nil {
		return "", false
	}
	return short[:at[0]], true
}

// Repository is the validated name of a repository. The zero value is no repository.
type Repository struct {
	owner string
	name  string
}

// NewRepository validates a repository name below owner; it may have several segments joined by '/'.
func NewRepository(owner Owner, name string) (Repository, error) {
	if owner.IsZero() {
		return Repository{}, fmt.Errorf("%w: repository %q has no owner", ErrName, clip(name))
	}
	if len(name) == 0 || len(name) > maxName {
		return Repository{}, fmt.Errorf("%w: repository %q must have 1 to %d characters", ErrName, clip(name), maxName)
	}
	for segment := range strings.SplitSeq(name, "/") {
		if !segmentRE.MatchString(segment) {
			return Repository{}, fmt.Errorf("%w: repository %q: each part between '/' starts with a lower-case letter or digit, then has those, '.', '_' or '-'", ErrName, clip(name))
		}
	}
	return Repository{owner: owner.name, name: name}, nil
}

// Name returns the name without its owner.
func (r Repository) Name() string { return r.name }

// OwnerName returns the namespace the repository belongs to.
func (r Repository) OwnerName() string { return r.owner }

func (r Repository) String() string { return r.owner + "/" + r.name }

// Role is what a grant allows on a repository. Roles are ordered: a higher one includes the lower.
type Role int

// The roles of Quay. RoleUnknown is the zero value: a grant of which only the existence is known.
const (
	RoleUnknown Role = iota
	RoleRead
	RoleWrite
	RoleAdmin
)

var roleNames = [...]string{RoleUnknown: "unknown", RoleRead: "read", RoleWrite: "write", RoleAdmin: "admin"}

// ParseRole reads "read", "write" or "admin".
func ParseRole(s string) (Role, error) {
	for r := RoleRead; r <= RoleAdmin; r++ {
		if roleNames[r] == s {
			return r, nil
		}
	}
	return RoleUnknown, fmt.Errorf("%w: role %q is none of read, write, admin", ErrName, clip(s))
}

func (r Role) String() string {
	if r < 0 || int(r) >= len(roleNames) {
		return "Role(" + strconv.Itoa(int(r)) + ")"
	}
	return roleNames[r]
}
