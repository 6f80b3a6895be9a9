package rotation

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/quaygen/quaygen/pkg/quaygen/quay"
)

// Ref names the credential that somebody asks for. The namespace matters only for robots with the scope [PerNamespace].
type Ref struct {
	Name      string // the robot's configured name
	Namespace string
}

func (r Ref) String() string {
	if r.Namespace == "" {
		return r.Name
	}
	return r.Name + " for namespace " + r.Namespace
}

var (
	// A namespace of Kubernetes is a DNS label: it holds no '_', so that what does is none.
	namespaceRE = regexp.MustCompile(`\A[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?\z`)
	numberRE    = regexp.MustCompile(`\Ag[0-9]+\z`)
	hashedRE    = regexp.MustCompile(`\Ah_[0-9a-f]{20}\z`)
)

const (
	// maxShort keeps marker and generation within what Quay takes (docs/quay-contract.md 2.1, 2.2).
	maxShort = 76
	// generationDigits is the length of "_g" and the largest number.
	generationDigits = 2 + 12
	// hashedPart is the length of "_h_" and the hash.
	hashedPart = 3 + 20
)

// longestOf is how long a robot's short name may be before its generation's number.
func longestOf(owner quay.Owner) int { return min(maxShort, 255-len(owner.Name())-1-generationDigits) }

// NamespaceRobot returns the base name of a namespace's robot: that of base, "_" and the namespace. Where Quay would refuse
// that, or could mistake it for a generation, a hash stands for the namespace: "_h_" and 20 hexadecimal digits, which no
// namespace is called. So two namespaces never have the same robot.
func NamespaceRobot(base quay.Robot, namespace string) (quay.Robot, error) {
	if !namespaceRE.MatchString(namespace) {
		return quay.Robot{}, fmt.Errorf("%q cannot be a namespace of Kubernetes", namespace)
	}
	short := base.Short() + "_" + namespace
	if strings.Contains(namespace, "--") || numberRE.MatchString(namespace) || len(short) > longestOf(base.Owner()) {
		sum := sha256.Sum256([]byte(namespace))
		short = base.Short() + "_h_" + hex.EncodeToString(sum[:10])
	}
	return quay.NewRobot(base.Owner(), short)
}

// namespaceBase is NamespaceRobot, also for what namespacePart returns of a robot whose namespace is not known.
func namespaceBase(base quay.Robot, namespace string) (quay.Robot, error) {
	if hashedRE.MatchString(namespace) {
		return quay.NewRobot(base.Owner(), base.Short()+"_"+namespace)
	}
	return NamespaceRobot(base, namespace)
}

// namespacePart returns what stands for the namespace in the base name of a robot that NamespaceRobot could have returned.
func namespacePart(base quay.Robot, short string) (string, bool) {
	part, ok := strings.CutPrefix(short, base.Short()+"_")
	if !ok || !hashedRE.MatchString(part) && (!namespaceRE.MatchString(part) || numberRE.MatchString(part)) {
		return "", false
	}
	return part, true
}

// IsNamespaceRobot reports whether short could be the robot of one of base's namespaces, or one of its generations.
func IsNamespaceRobot(base quay.Robot, short string) bool {
	_, ok := namespacePart(base, short)
	return ok
}

// forNamespace returns what s comes to for the namespace whose robot is base.
func (s Spec) forNamespace(base quay.Robot) Spec {
	s.Base = base
	return s
}

// found returns the base names of namespaces' robots of spec that a listing shows, with this instance's marker.
func (s Spec) found(l Listing) []quay.Robot {
	var out []quay.Robot
	for _, info := range l.Robots {
		m, ok := parseMarker(info.Description)
		if !ok || m.Instance != s.Instance {
			continue
		}
		if _, ok := namespacePart(s.Base, m.Robot); !ok {
			continue
		}
		base, err := quay.NewRobot(s.Base.Owner(), m.Robot)
		if err != nil {
			continue
		}
		if n, ok := info.Robot.GenerationOf(base); ok && n == m.Generation {
			out = append(out, base)
		}
	}
	slices.SortFunc(out, func(a, b quay.Robot) int { return strings.Compare(a.Short(), b.Short()) })
	return slices.Compact(out)
}

// A namespace's robot ends when Quay shows no use of it for Idle. What one replica is asked says nothing of the others, so
// asking is made visible in Quay: whoever serves a namespace logs in as its robot before it could look idle to anyone (rule 23).

// grace is how long before and after idle nobody may serve, and nobody delete: between the two every replica has listed.
func (t timing) grace() time.Duration { return min(time.Hour, t.Idle/8) }

// proofTime is how long after its creation a login proves a generation rather than uses it.
func (t timing) proofTime() time.Duration { return min(15*time.Minute, t.Idle/8) }

// idles reports whether g can end by being idle.
func (m *Memory) idles(g *generation) bool {
	return m.spec.Scope == PerNamespace && m.timingOf(g).Idle > 0 && m.shows(g)
}

// lastUse is when Quay saw g used last, its creation if never.
func (m *Memory) lastUse(g *generation) time.Time {
	if m.inUse(g) {
		return g.LastAccessed
	}
	return g.Created
}

// unusedSince is since when g may be unused: what was done while Quay did not record it, nobody knows.
func (m *Memory) unusedSince(g *generation) time.Time {
	used := m.lastUse(g)
	if m.blind.After(used) {
		return m.blind
	}
	return used
}

// inUse reports whether somebody logged in as g since it was proven.
func (m *Memory) inUse(g *generation) bool {
	return g.LastAccessed.After(g.Created.Add(m.timingOf(g).proofTime()))
}

// ended reports whether g has been idle for so long that no replica serves it any more.
func (m *Memory) ended(g *generation) bool {
	t := m.timingOf(g)
	return m.idles(g) && m.at.Sub(m.unusedSince(g)) > t.Idle-t.grace()
}

// wakeful returns for how long g may be served before it has to be logged in with again.
func (m *Memory) wakeful(g *generation) time.Duration {
	used := m.lastUse(g)
	if g.touched.After(used) {
		used = g.touched
	}
	return m.timingOf(g).Idle/2 - m.at.Sub(used)
}

// Requested records how long ago somebody asked for the credential; negative: nobody did since this process started.
func (m *Memory) Requested(ago time.Duration) { m.requested = ago }

// requestTime is for how long a request stands that could not be answered. Who is served asks again within maxRefresh.
const requestTime = 10 * time.Minute

// asking reports whether somebody asked this process a short time ago.
func (m *Memory) asking() bool {
	return m.requested >= 0 && m.requested <= max(requestTime, 2*m.spec.Sync)
}

// wantedNow reports whether a robot has to exist: a namespace's only if it asked a short time ago.
func (m *Memory) wantedNow() bool {
	return m.spec.Scope == Shared || m.asking()
}

// touch plans the login by which Quay shows that a namespace that asks is not idle.
func (p *planner) touch() {
	g := p.published()
	if g == nil || !g.present || !p.idles(g) || p.ended(g) || !p.asking() {
		return
	}
	due := !p.at.Before(p.due(g)) && !p.inUse(g) // nothing is rotated that nobody uses
	if p.at.Sub(p.lastUse(g)) > p.timingOf(g).Idle/4 || due {
		p.step(Step{Action: Prove, Generation: g.Number, Robot: g.Robot, Why: "its namespace asks for it, and Quay shall show that it is not idle"})
	}
}

// idle plans the end of a namespace's last generation.
func (p *planner) idle(g *generation) (step *Step, until string) {
	t := p.timingOf(g)
	end := p.unusedSince(g).Add(t.Idle + t.grace())
	switch {
	case !p.idles(g) || p.at.Before(end):
		return nil, ""
	case p.alive() > 1:
		return nil, "it is idle, and ends when it is the last"
	case p.at.Sub(p.first) < t.Overlap:
		return nil, "it is idle, but this process has not watched for an overlap yet" // as long as others may serve it from memory
	case p.at.Sub(p.trouble) < t.grace():
		return nil, "it is idle, but its use could not be watched until " + clock(p.trouble)
	}
	return &Step{Idle: true, LastAccessed: g.LastAccessed, Why: "its namespace has not used it since " + clock(p.unusedSince(g))}, ""
}
