package rotation

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/quaygen/quaygen/pkg/quaygen/quay"
	"github.com/quaygen/quaygen/pkg/quaygen/secret"
)

// Listing is one list of a namespace's robots.
type Listing struct {
	At     time.Time // Quay's time: the Date of the answer (rule 1)
	Sent   time.Time // local time when the request left; the age of what it shows counts from here (rule 2)
	Robots []quay.RobotInfo
}

// epoch is where generation numbers start: they count minutes from here in Quay's time (rule 7).
var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// minute returns the generation number that t stands for; 0 before the epoch.
func minute(t time.Time) int64 {
	return max(0, int64(t.Sub(epoch)/time.Minute))
}

// sighting is one robot of a chain as a list showed it.
type sighting struct {
	Number       int64
	Robot        quay.Robot
	Created      time.Time
	LastAccessed time.Time // zero: never, or not recorded
	Owned        bool      // carries this installation's marker for this very generation
	Conflict     string    // why it is not ours, if not
	Timing       timing    // as recorded at creation
	Grants       []string  // repositories with a direct grant, sorted
	Teams        []string
	Token        secret.String // only where one list with tokens replaced many single reads
}

// sight picks the robots of spec's chain out of a listing. With [None] the chain is the base robot itself, under
// number 0.
func sight(spec Spec, l Listing) []sighting {
	var out []sighting
	for _, info := range l.Robots {
		var number int64
		switch spec.Strategy {
		case None:
			if info.Robot != spec.Base {
				continue
			}
		default:
			n, ok := info.Robot.GenerationOf(spec.Base)
			if !ok {
				continue
			}
			number = n
		}
		s := sighting{
			Number: number, Robot: info.Robot, Created: info.Created, LastAccessed: info.LastAccessed,
			Grants: slices.Sorted(slices.Values(info.Repositories)), Teams: info.Teams, Token: info.Token,
		}
		s.Timing, s.Conflict = ownership(spec, number, info.Description)
		s.Owned = s.Conflict == ""
		out = append(out, s)
	}
	slices.SortFunc(out, func(a, b sighting) int { return cmp.Compare(a.Number, b.Number) })
	return out
}

func ownership(spec Spec, number int64, description string) (timing, string) {
	m, ok := parseMarker(description)
	switch {
	case !ok:
		return timing{}, "it does not carry quaygen's marker"
	case m.Instance != spec.Instance:
		return timing{}, fmt.Sprintf("it belongs to the instance %q, not to %q", m.Instance, spec.Instance)
	case m.Robot != spec.Base.Short() || m.Generation != number:
		return timing{}, fmt.Sprintf("its marker names generation %d of %q", m.Generation, m.Robot)
	}
	return m.Timing, ""
}

// Strangers returns the robots of this instance in a listing that belong to none of specs: what an earlier
// configuration left behind. They are reported, never deleted (rule 19).
func Strangers(instance string, specs []Spec, l Listing) []quay.Robot {
	var out []quay.Robot
	for _, info := range l.Robots {
		m, ok := parseMarker(info.Description)
		if !ok || m.Instance != instance {
			continue
		}
		named := slices.ContainsFunc(specs, func(s Spec) bool {
			_, generation := info.Robot.GenerationOf(s.Base)
			return generation || info.Robot == s.Base
		})
		if !named {
			out = append(out, info.Robot)
		}
	}
	slices.SortFunc(out, func(a, b quay.Robot) int { return strings.Compare(a.Username(), b.Username()) })
	return out
}
