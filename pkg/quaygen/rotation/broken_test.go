package rotation

import (
	"slices"
	"testing"
	"time"

	"github.com/quaygen/quaygen/pkg/quaygen/quay"
)

// TestTheChecksNoticeBrokenRules runs the histories with replicas that break one rule each. If nothing were found, the
// histories or the checks would be worth nothing.
func TestTheChecksNoticeBrokenRules(t *testing.T) {
	for _, tt := range []struct {
		name   string
		broken rules
		finds  string // the invariant
	}{
		{"serves from memory without end (rule 13)", rules{noValidity: true}, "A:"},
		{"serves what precedes the newest until it proved it (rule 9b)", rules{see: withoutAccess, serveSecond: true}, "A:"},
		{"deletes overlap after the successor's creation (rule 16)", rules{plan: deleteByAge}, "A:"},
		{"sends steps however old the list is (rule 3)", rules{noDeadline: true, amid: []string{"pauses", "revoked often"}}, ""},
		{"numbers on from what it sees (rule 7)", rules{plan: numberOn}, "D:"},
		{"mints although one is not published (engine rule 3)", rules{plan: mintAlways}, "C:"},
		{"deletes what is not used, the newest too (engine rule 1)", rules{plan: deleteUnused}, "B:"},
		{"deletes a generation as soon as it is superseded", rules{plan: deleteSuperseded}, "A:"},
		{"retires nothing", rules{plan: without(Delete)}, "F:"},
		{"rotates nothing", rules{plan: rotateNever}, "F:"},
		{"mends robots that are not ours", rules{plan: touchForeign}, "not ours"},
		{"logs in with superseded generations", rules{plan: proveAll}, "logs in"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			seed := firstBroken(*histories, tt.broken, tt.finds)
			if seed == 0 {
				t.Fatalf("%d histories found no %q", *histories, tt.finds)
			}
			t.Logf("history %d: %v", seed, runHistory(seed, tt.broken, nil).w.broken)
		})
	}
}

func withoutAccess(_ *replica, robots []quay.RobotInfo) []quay.RobotInfo {
	out := slices.Clone(robots)
	for i := range out {
		out[i].LastAccessed = time.Time{}
	}
	return out
}

func (r *replica) deleteIf(p Plan, end func(g, newest *generation) bool) Plan {
	m := r.memory()
	gens := slices.DeleteFunc(m.ascending(), func(g *generation) bool { return !g.present || !g.Owned })
	for _, g := range gens {
		if end(g, gens[len(gens)-1]) {
			p.Steps = append(p.Steps, Step{Action: Delete, Generation: g.Number, Robot: g.Robot})
		}
	}
	return p
}

func deleteByAge(r *replica, p Plan) Plan {
	m := r.memory()
	return r.deleteIf(p, func(g, newest *generation) bool {
		return g != newest && m.at.Sub(newest.Created) >= m.spec.Overlap
	})
}

func deleteUnused(r *replica, p Plan) Plan {
	m := r.memory()
	return r.deleteIf(p, func(g, _ *generation) bool {
		return !g.LastAccessed.IsZero() && m.at.Sub(g.LastAccessed) > 2*m.spec.Quiet
	})
}

func deleteSuperseded(r *replica, p Plan) Plan {
	return r.deleteIf(p, func(g, newest *generation) bool { return g != newest && newest.published })
}

func numberOn(r *replica, p Plan) Plan {
	highest := int64(-1)
	for _, info := range r.listing.Robots {
		if n, ok := info.Robot.GenerationOf(r.spec.Base); ok {
			highest = max(highest, n)
		}
	}
	for i, s := range p.Steps {
		if s.Action == Create {
			p.Steps[i].Generation = highest + 1
			p.Steps[i].Robot, _ = r.spec.Base.Generation(highest + 1)
		}
	}
	return p
}

func mintAlways(r *replica, p Plan) Plan {
	m := r.memory()
	if top := m.top(); top != nil && !top.published {
		n := max(m.highest+1, minute(m.at))
		robot, _ := r.spec.Base.Generation(n)
		p.Steps = append(p.Steps, Step{Action: Create, Generation: n, Robot: robot})
	}
	return p
}

func without(a Action) func(*replica, Plan) Plan {
	return func(_ *replica, p Plan) Plan {
		p.Steps = slices.DeleteFunc(p.Steps, func(s Step) bool { return s.Action == a })
		return p
	}
}

func rotateNever(r *replica, p Plan) Plan {
	if r.memory().published() != nil {
		return without(Create)(r, p)
	}
	return p
}

func touchForeign(r *replica, p Plan) Plan {
	for _, info := range r.listing.Robots {
		if _, ours := parseMarker(info.Description); !ours {
			p.Steps = append(p.Steps, Step{Action: Grant, Robot: info.Robot, Repository: "app", Role: quay.RoleRead})
		}
	}
	return p
}

func proveAll(r *replica, p Plan) Plan {
	for _, g := range r.memory().ascending() {
		if g.present && g.Owned {
			p.Steps = append(p.Steps, Step{Action: Prove, Generation: g.Number, Robot: g.Robot})
		}
	}
	return p
}
