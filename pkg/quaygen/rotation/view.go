package rotation

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/quaygen/quaygen/pkg/quaygen/quay"
	"github.com/quaygen/quaygen/pkg/quaygen/secret"
)

// Listing is one list of a namespace's robots.
type Listing struct {
	At     time.Time // Quay's time: the Date of the answer (rule 1)
	Sent   time.Time // local time when the request left; the age of what it shows counts from here (rule 2)
	Robots []quay.RobotInfo
	Used   time.Time // the latest last_accessed of any robot of the namespace; zero: none, or not recorded
}

// newListing takes in an answer to a list.
func newListing(robots []quay.RobotInfo, answer quay.Answer) Listing {
	l := Listing{At: answer.Date, Sent: answer.Sent, Robots: robots}
	for _, info := range robots {
		if info.LastAccessed.After(l.Used) {
			l.Used = info.LastAccessed
		}
	}
	return l
}

// chains splits a listing by what its robots can be generations of: the base's short name. A robot also stands under its
// own name, for the strategy none and for templates.
func (l Listing) chains() map[string][]quay.RobotInfo {
	out := make(map[string][]quay.RobotInfo, len(l.Robots))
	for _, info := range l.Robots {
		short := info.Robot.Short()
		out[short] = append(out[short], info)
		if base, ok := quay.BaseOf(short); ok {
			out[base] = append(out[base], info)
		}
	}
	return out
}

// of narrows a listing to the robots that can belong to spec's chain.
func (l Listing) of(chains map[string][]quay.RobotInfo, spec Spec) Listing {
	l.Robots = chains[spec.Base.Short()]
	return l
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

// sight picks the robots of spec's chain out of a listing. With [None] and [Regenerate] the chain is the base robot
// itself, under number 0.
func sight(spec Spec, l Listing) []sighting {
	var out []sighting
	for _, info := range l.Robots {
		if !spec.names(info.Robot) {
			continue
		}
		number, _ := info.Robot.GenerationOf(spec.Base) // 0 for the base itself
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

const foreignInstance = "it belongs to the instance "

func ownership(spec Spec, number int64, description string) (timing, string) {
	m, ok := parseMarker(description)
	switch {
	case !ok:
		return timing{}, "it does not carry quaygen's marker"
	case m.Instance != spec.Instance:
		return timing{}, fmt.Sprintf(foreignInstance+"%q, not to %q", m.Instance, spec.Instance)
	case m.Robot != spec.Base.Short() || m.Generation != number:
		return timing{}, fmt.Sprintf("its marker names generation %d of %q", m.Generation, m.Robot)
	}
	return m.Timing, ""
}

// names reports whether a robot of spec's chain could be called r. A change of the strategy leaves behind what is called otherwise.
func (s Spec) names(r quay.Robot) bool {
	if s.Strategy.fixed() {
		return r == s.Base
	}
	_, ok := r.GenerationOf(s.Base)
	return ok
}

// strangers returns the robots in a listing that carry the marker of one of specs' instances and belong to none of
// specs: what an earlier configuration left behind.
func strangers(specs []Spec, l Listing) []quay.Robot {
	bases, instances := map[string]Spec{}, map[string]bool{}
	for _, s := range specs {
		bases[s.Base.Short()], instances[s.Instance] = s, true
	}
	var out []quay.Robot
	for _, info := range l.Robots {
		m, marked := parseMarker(info.Description)
		if !marked || !instances[m.Instance] {
			continue
		}
		if spec, ok := bases[m.Robot]; !ok || !spec.names(info.Robot) {
			out = append(out, info.Robot)
		}
	}
	slices.SortFunc(out, func(a, b quay.Robot) int { return cmp.Compare(a.Short(), b.Short()) })
	return out
}
