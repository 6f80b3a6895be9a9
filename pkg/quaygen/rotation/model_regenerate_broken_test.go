package rotation

import (
	"slices"
	"strings"
	"testing"
	"time"
)

// TestTheModelOfRegenerateNoticesEachBrokenRule is what TestTheModelNoticesEachBrokenRule is for the strategy overlap.
func TestTheModelOfRegenerateNoticesEachBrokenRule(t *testing.T) {
	for _, tt := range []struct {
		rule  string
		b     breach
		in    string
		finds string
	}{
		{"G1: acts at once on what others intend", breach{rules: rules{plan: replan((*Memory).neverWait)}}, "L6", "R1:"},
		{"G1: counts from before the ledger was read", breach{early: true}, "L6d", "R1:"},
		{"G2: asks however old its intent is", breach{noLease: true}, "L3", "R1:"},
		{"G3: believes one login", breach{rules: rules{plan: replan((*Memory).believeOneLogin)}}, "L7", "R1:"},
		{"G3: believes a read", breach{rules: rules{plan: replan((*Memory).believeReads)}}, "L8c", "R1:"},
		{"G4: writes whatever the ledger has", breach{noConflict: true}, "L1", "R1:"},
		{"G5: does not read the token again", breach{noLook: true}, "L9", "R6:"},
		{"G6: needs no login", breach{rules: rules{plan: replan((*Memory).believeTokens)}}, "L9", "R3:"},
		{"G6: keeps the proof of a token that the ledger does not name any more", breach{keepProof: true}, "L8", "R2:"},
		{"G6: a person's regeneration does not count", breach{rules: rules{plan: uncounted(RecordElsewhere)}}, "L9", "R4:"},
		{"G7: with an empty ledger a rotation is due", breach{rules: rules{plan: uncounted(RecordFirst)}}, "L11", ""},
		{"G9: hands out the token that is about to end", breach{rules: rules{serveOpen: true}}, "L1", "R2:"},
		{"13: serves from memory without end", breach{rules: rules{noValidity: true}}, "L4", "R2:"},
		{"13: takes a list for a read of the token", breach{rules: rules{plan: replan((*Memory).takeListsForReads)}}, "L4d", "R2:"},
		{"and what no rule prevents: a regeneration on its way for too long", breach{}, "H1", "R1:"},
		{"and what no rule prevents: the ledger put back amid a rotation", breach{}, "H2", "R1:"},
		{"and what no rule prevents: a person's token that the last look does not show", breach{strict: true}, "H3", "R6:"},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			if underRace {
				t.Skip("tens of thousands of states in one goroutine; the same search runs without the race detector")
			}
			t.Parallel()
			all := slices.Concat(ledgerScenarios, hopeless)
			i := slices.IndexFunc(all, func(sc scenario) bool { return strings.HasPrefix(sc.name, tt.in+" ") })
			found := all[i].search(tt.b, 0)
			if !strings.HasPrefix(found.broken, tt.finds) || found.broken == "" {
				t.Fatalf("%d states: %q; want %q\n%s", found.states, found.broken, tt.finds, strings.Join(found.trace, "\n"))
			}
			t.Logf("%d states: %s\n%s", found.states, found.broken, strings.Join(found.trace, "\n"))
		})
	}
}

func (m *Memory) neverWait() {
	if !m.kept.since.IsZero() {
		m.kept.since = m.sent.Add(-m.spec.Safety.takeover())
	}
}

func (m *Memory) believeOneLogin() { m.kept.undone = !m.kept.alive.IsZero() }

func (m *Memory) believeReads() {
	m.kept.undone = m.sent.Sub(m.kept.since) >= m.spec.Safety.takeover()
}

func (m *Memory) believeTokens() {
	for _, g := range m.gens {
		g.proof = proven
	}
	m.evaluate()
}

func (m *Memory) takeListsForReads() {
	for _, g := range m.gens {
		g.tokenRead = m.at
	}
	m.evaluate()
}

// uncounted makes records of a kind that leave a rotation due.
func uncounted(kind RecordKind) func(*replica, Plan) Plan {
	return func(r *replica, p Plan) Plan {
		for i, s := range p.Steps {
			if s.Action == Record && s.Kind == kind {
				p.Steps[i].Record.Changed = time.Time{}.Add(time.Hour)
			}
		}
		return p
	}
}
