package rotation

import (
	"context"
	"errors"

	"github.com/quaygen/quaygen/pkg/quaygen/quay"
	"github.com/quaygen/quaygen/pkg/quaygen/secret"
)

// What others did to a robot is over as soon as it is made up for. So that people learn of it all the same, it is counted,
// and the last of it stays as a note on the generation.

// deletedElsewhere is the outcome of a generation that somebody else ended; a label of metrics, like [RecordKind].
const deletedElsewhere = "deleted_elsewhere"

// notice keeps that somebody else did something to g, for the metrics and for people.
func (m *Memory) notice(g *generation, outcome, text string) {
	m.noticed = append(m.noticed, outcome)
	m.note(g, text)
}

func (m *Memory) note(g *generation, text string) { g.hand = text + ", seen at " + clock(m.at) }

// learn makes token what is known of g's. With the strategy regenerate it may be another one by our own doing, and the
// ledger tells; with the others only somebody else replaces it.
func (m *Memory) learn(g *generation, token secret.String) {
	if m.spec.Strategy != Regenerate && !g.token.IsZero() && !g.token.Equal(token) {
		m.notice(g, string(RecordElsewhere), wasReplaced)
	}
	g.token, g.tokenRead = token, m.at
}

const wasReplaced = "its token was replaced by somebody else"

// overtaken reports whether a higher generation of ours is in use, so that this installation may have retired g.
func (m *Memory) overtaken(g *generation) bool {
	for _, h := range m.gens {
		if h.Number > g.Number && h.Owned && h.present && !h.accessed.IsZero() {
			return true
		}
	}
	return false
}

// did keeps for people what a step made up for.
func (m *Memory) did(s Step) {
	g := m.gens[s.Generation]
	switch s.Action {
	case Grant, Ungrant, Join, Leave:
		if g != nil && g.published {
			m.note(g, "its permissions were set right: "+s.String())
		}
	case Record:
		if s.Kind == RecordElsewhere && g != nil {
			m.note(g, wasReplaced)
		}
	default: // nobody else had a hand in it, or it is noticed where it is found
	}
}

// bereave finds out, when Quay says that the organization does not exist, whether what is served ended with it: then
// nothing is handed out any more. One robot that cannot log in stands for all.
func (o *organization) bereave(ctx context.Context, client *quay.Client, chains []*chain) {
	var witness *generation
	for _, c := range chains {
		// The same one each time: a login looks like use, and would keep alive what is idle.
		if g, _, _ := c.memory.servable(); g != nil && (witness == nil || g.Robot.Short() < witness.Robot.Short()) {
			witness = g
		}
	}
	if witness == nil {
		return
	}
	if _, err := client.Login(ctx, witness.Robot, witness.token, nil); !errors.Is(err, quay.ErrLoginRefused) {
		return
	}
	for _, c := range chains {
		for _, g := range c.memory.ascending() {
			if c.memory.eligible(g) {
				c.memory.Vanished(g.Number)
			}
		}
		c.lease.Store(nil)
	}
}
