package rotation

import (
	"slices"
	"strings"
	"testing"
	"time"
)

// A breach is a rule of docs/rotation.md that the replicas of a model do not keep.
type breach struct {
	rules
	old     Action                             // steps that are sent however old the list is
	offsets [2]time.Duration                   // how far the clocks that they go by are ahead of Quay's
	force   func() func(*Memory) (bool, error) // instead of the order to rotate
	revoke  func(*Memory) int64                // what they revoke, whatever they are asked to

	noConflict bool // the ledger takes every write
	noLook     bool // the token is not read again before Quay is asked
	noLease    bool // nor is the lease looked at
	early      bool // what the ledger has counts as seen from before it was read
	keepProof  bool // a proof outlives that the ledger names another token
	strict     bool // not a rule: the last look is held to be right
}

// TestTheModelNoticesEachBrokenRule: a rule without which the search found nothing would be there for nothing, or the
// search would.
func TestTheModelNoticesEachBrokenRule(t *testing.T) {
	for _, tt := range []struct {
		rule  string
		b     breach
		in    string // the scenario that shows it
		finds string // the invariant
	}{
		{"1: goes by its own clock", breach{offsets: [2]time.Duration{0, 9 * tick}}, "S6", "C:"},
		{"1: goes on although Quay's clock jumps", breach{rules: rules{plan: replan((*Memory).neverFrozen)}}, "S12", "C:"},
		{"3: creates however old the list is", breach{old: Create}, "S7e", "D:"},
		{"6: believes at once that something is gone", breach{rules: rules{plan: replan((*Memory).believeAbsence)}}, "S11", ""},
		{"7: numbers on from what it sees", breach{rules: rules{plan: numberOn}}, "S9", "D:"},
		{"8: deletes what is young", breach{rules: rules{plan: deleteYoung}}, "S7e", "D:"},
		{"9: serves what precedes the newest until it proved that itself", breach{rules: rules{see: withoutAccess, serveSecond: true}}, "S5", "A:"},
		{"12: publishes however late", breach{rules: rules{plan: publishLate}}, "S6c", "A:"},
		{"13: serves from memory without end, cut off", breach{rules: rules{noValidity: true}}, "S6", "A:"},
		{"13: serves from memory without end, after a pause", breach{rules: rules{noValidity: true}}, "S7", "A:"},
		{"15: uses its own times, not those recorded", breach{rules: rules{plan: replan((*Memory).ownTimes)}}, "S6b", "A:"},
		{"16: counts the overlap from the successor's creation", breach{rules: rules{plan: deleteByAge}}, "S4", "B:"},
		{"16: deletes however old the list is", breach{old: Delete}, "S9d", ""},
		{"20: rotates although a rotation is under way", breach{force: alwaysForce}, "S10", "E:"},
		{"21: revokes what it knows, not what is named", breach{revoke: (*Memory).newestPublished}, "S11b", "G:"},
		{"mints although one is not published", breach{rules: rules{plan: mintAlways}}, "S1", "C:"},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			if underRace {
				t.Skip("up to a million states in one goroutine; the same search runs without the race detector")
			}
			t.Parallel()
			i := slices.IndexFunc(scenarios, func(sc scenario) bool { return strings.HasPrefix(sc.name, tt.in+" ") })
			found := scenarios[i].search(tt.b, 0)
			if !strings.HasPrefix(found.broken, tt.finds) || found.broken == "" {
				t.Fatalf("%d states: %q; want %q", found.states, found.broken, tt.finds)
			}
			t.Logf("%d states: %s\n%s", found.states, found.broken, strings.Join(found.trace, "\n"))
		})
	}
}

// replan plans anew after something was done to the memory.
func replan(do func(*Memory)) func(*replica, Plan) Plan {
	return func(r *replica, _ Plan) Plan {
		do(r.memory())
		return r.memory().Plan()
	}
}

func (m *Memory) neverFrozen() {
	m.SetFrozen("")
	m.shaken = time.Time{}
}

func (m *Memory) believeAbsence() {
	for n, g := range m.gens {
		if !g.present {
			delete(m.gens, n)
		}
	}
	m.claimed = -1
	m.evaluate()
}

func (m *Memory) ownTimes() {
	for _, g := range m.gens {
		g.Timing = m.spec.timing()
	}
	m.evaluate()
}

// deleteYoung ends what is revoked as soon as there is a newer one, at whatever age.
func deleteYoung(r *replica, p Plan) Plan {
	m := r.memory()
	return r.deleteIf(p, func(g, newest *generation) bool {
		return m.revoke != nil && g.Number <= m.revoke.through && newest.published && newest.Number > m.revoke.through
	})
}

// publishLate proves the newest at any age, never gives it up, and forgets that it was late.
func publishLate(r *replica, _ Plan) Plan {
	m := r.memory()
	for _, g := range m.gens {
		g.unused = time.Time{}
	}
	top := m.top()
	if top != nil && top.proof == failed && strings.Contains(top.proofReason, "later than created") {
		top.proof = proven
		m.evaluate()
	}
	p := without(Delete)(r, m.Plan())
	for _, s := range m.Plan().Steps {
		if s.Action == Delete && !s.Unused {
			p.Steps = append(p.Steps, s)
		}
	}
	if missing, _ := m.lacking(m.before(top), top); !top.published && len(missing) == 0 && !top.Created.Equal(m.at) {
		p.Steps = append(p.Steps, Step{Action: Prove, Generation: top.Number, Robot: top.Robot, Proof: []string{"app"}})
	}
	return p
}

func alwaysForce() func(*Memory) (bool, error) {
	return func(m *Memory) (bool, error) {
		m.Force()
		return true, nil
	}
}
