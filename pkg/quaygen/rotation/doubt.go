package rotation

import (
	"github.com/quaygen/quaygen/pkg/quaygen/secret"
)

// People, and other programs, do to robots what they like. A list shows most of it, but may lag; so where one gives reason
// to doubt the generation that is served, that robot itself is looked at, in the same sync, before anything is concluded.

// seeToken takes in a token that a list showed.
func (m *Memory) seeToken(g *generation, token secret.String) {
	switch {
	case token.IsZero():
	case g.token.IsZero(), m.spec.Strategy == None:
		m.learn(g, token)
	case m.spec.Strategy == Overlap && !g.token.Equal(token):
		g.doubt = "the list shows another token"
	}
}

// doubts returns why the generation that is served has to be looked at itself; "" if there is no reason.
func (m *Memory) doubts(g *generation) string {
	switch {
	case g.dead:
		return ""
	case g.doubt != "":
		return g.doubt
	case !g.present:
		return "the list does not show it"
	case m.disabled && !g.barred && !g.token.IsZero():
		return "Quay says that robots are disabled"
	}
	return ""
}

// verify plans the look, at each that is served, or would be if those above it cannot.
func (p *planner) verify() {
	gens := p.ascending()
	for i := len(gens) - 1; i >= 0; i-- {
		g := gens[i]
		if !g.published || !p.eligible(g) {
			continue
		}
		if why := p.doubts(g); why != "" {
			p.step(Step{Action: Verify, Generation: g.Number, Robot: g.Robot, Why: why})
		}
		if !g.dead && !g.token.IsZero() {
			return
		}
	}
}

// Verified records that generation n exists and what token it has. replaced says that this token, and not the one known
// so far, was just logged in with.
func (m *Memory) Verified(n int64, token secret.String, replaced bool) {
	g := m.gens[n]
	if g == nil {
		return
	}
	g.doubt, g.looked = "", m.sent
	if replaced {
		m.learn(g, token)
	}
	m.evaluate()
}

// Vanished records that generation n, looked at itself, did not exist.
func (m *Memory) Vanished(n int64) {
	if g := m.gens[n]; g != nil && !g.dead {
		g.dead, g.doubt = true, ""
		if !m.ended(g) && !m.overtaken(g) { // else another replica may have ended it
			m.notice(g, deletedElsewhere, "it was deleted by somebody else")
		}
		m.evaluate()
	}
}

// Barred records that generation n may not log in because Quay has disabled robots.
func (m *Memory) Barred(n int64) {
	if g := m.gens[n]; g != nil {
		g.barred = true
		m.evaluate()
	}
}

// SetDisabled says whether Quay's configuration disables robots. It may except some, so that only a login tells.
func (m *Memory) SetDisabled(disabled bool) {
	m.disabled = disabled
	if !disabled {
		for _, g := range m.gens {
			g.barred = false
		}
	}
}

// unfit says why g must not be handed out although it is published.
func (m *Memory) unfit(g *generation) string {
	switch {
	case m.ended(g):
		return g.Robot.Username() + " was idle for so long that it may be gone by now"
	case m.idles(g) && m.wakeful(g) <= 0:
		return g.Robot.Username() + " was not used for so long that it is logged in with first"
	case g.barred:
		return "Quay has disabled robot accounts"
	}
	return ""
}
