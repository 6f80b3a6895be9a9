package rotation

import (
	"strings"
	"time"
)

// eligible reports whether g may ever be granted, proven or served by this process.
func (m *Memory) eligible(g *generation) bool {
	if m.spec.Strategy.fixed() {
		return !g.gone
	}
	return g.Owned && !g.gone && !m.late(g) && !m.stray(g)
}

// late reports whether this process created g, but learned so too late to be sure that nobody had used the name before. Where
// nobody can see who uses it, others may serve it by now, so that it is taken as it is.
func (m *Memory) late(g *generation) bool { return g.late && m.tells(g) }

// overdue reports whether nobody is known to have published g within its window (rule 12), which is there for the consumers of
// another generation. Where there is none in use, or where Quay did not show uses, g is better published late than ended.
func (m *Memory) overdue(g *generation, at time.Time) bool {
	if !g.accessed.IsZero() || !m.tells(g) || at.Sub(g.Created) <= g.Timing.window() {
		return false
	}
	for _, h := range m.gens {
		if h != g && h.Owned && h.present && (h.published || !h.accessed.IsZero()) {
			return true
		}
	}
	return false
}

// stray reports whether g was created after a higher number and never used: a creation that was decided on before the
// higher one and arrived after it. Any replica may remove it (rule 4).
func (m *Memory) stray(g *generation) bool {
	if !g.accessed.IsZero() || g.proof == proven || g.published {
		return false
	}
	for _, h := range m.gens {
		// Only our own numbers are given out in order; a higher one that somebody else took says nothing.
		if h.Number > g.Number && h.present && h.Owned && !g.Created.Before(h.Created) {
			return true
		}
	}
	return false
}

// evaluate decides, lowest number first, which generations count as published here, and what is served.
func (m *Memory) evaluate() {
	if m.at.IsZero() {
		return
	}
	var prev *generation
	for _, g := range m.ascending() {
		g.serving = false
		if !m.eligible(g) {
			continue
		}
		if !g.published && g.present {
			m.publish(prev, g)
		}
		if g.published {
			prev = g
		}
	}
	if g, _, _ := m.servable(); g != nil {
		g.serving = true
	}
}

// publish applies rules 9, 10 and 12 to one generation: it counts as published when this process proved it itself, or
// when Quay shows that it was logged in with and its grants read back complete. Logins are attempted only after
// that, so somebody else proved it.
func (m *Memory) publish(prev, g *generation) {
	missing, needRoles := m.lacking(prev, g)
	complete := len(missing) == 0 && !needRoles
	used := !g.accessed.IsZero()
	if m.noAccess {
		// Nobody can see logins here; that others published it is a guess from its age.
		used = m.at.Sub(g.Created) >= m.spec.Adopt()
	}
	switch {
	case !complete || !used:
		g.evident = time.Time{}
	case g.evident.IsZero():
		g.evident = m.at
	}
	switch {
	case m.spec.Strategy.fixed():
		g.published = complete || used || m.at.Sub(g.Created) >= m.spec.Safety.Settle
	case g.proof == proven:
		g.published, g.alarm = true, ""
	case g.evident.IsZero():
	case g.proof == unproven:
		g.published = true
	case m.at.Sub(g.evident) >= m.spec.Adopt():
		g.published = true
		g.alarm = "served although its proof fails here (" + g.proofReason + "), because others evidently serve it"
	}
}

// servable returns the generation to hand out and for how long after the last list was sent; nil and the reason
// if there is none.
//
// It is the highest published one. A lower one is handed out, when the highest one's token could not be read yet,
// only while nobody can have deleted it: a replica deletes it no sooner than its overlap after its successor
// was published, which is not before the successor's creation. The same bound holds against a higher generation
// that was logged in with but is not published here.
func (m *Memory) servable() (*generation, time.Duration, string) {
	if m.at.IsZero() {
		return nil, 0, "Quay has not been listed yet"
	}
	why := "no generation is published yet"
	gens := m.ascending()
	passed := false // over one that should be served
	for i := len(gens) - 1; i >= 0; i-- {
		g := gens[i]
		if !g.published || !m.eligible(g) || m.revoke != nil && g.Number <= m.revoke.through && m.newestPublished() > m.revoke.through {
			continue
		}
		switch doubt := m.doubts(g); {
		case g.token.IsZero():
			why = "the token of " + g.Robot.Username() + " has not been read yet"
		case g.dead:
			why = g.Robot.Username() + " was deleted by somebody else"
		case passed && doubt != "" && !g.looked.Equal(m.sent):
			why = g.Robot.Username() + " is looked at before it is served: " + doubt
		default:
			why = ""
		}
		if why != "" {
			passed = true
			continue
		}
		if reason := m.unfit(g); reason != "" {
			return nil, 0, reason
		}
		validity := m.timingOf(g).servable(m.spec.Safety)
		switch m.spec.Strategy {
		case None:
			validity = fixedServable
		case Regenerate:
			if validity, why = m.regenerable(g); validity == 0 {
				return nil, 0, why
			}
		case Overlap:
			if m.idles(g) {
				validity = min(validity, m.wakeful(g))
			}
		}
		validity -= m.sent.Sub(g.seen) // a list that does not show it is no news of it
		for _, h := range gens[i+1:] {
			if h.Owned && (h.published || !h.accessed.IsZero() || !m.shows(h)) {
				validity = min(validity, m.safeBeside(g, h))
			}
		}
		if validity <= 0 {
			why = g.Robot.Username() + " may be retired by now, and its successor is not published"
			break
		}
		return g, validity, ""
	}
	if why == "no generation is published yet" {
		if top := m.top(); top != nil {
			why += m.holdup(top)
		}
	}
	return nil, 0, why
}

// fixedServable is for how long a robot that is never rotated here is served from memory. Nobody ends it; if it is
// regenerated elsewhere nothing here can tell before the next list.
const fixedServable = 24 * time.Hour

func (m *Memory) safeBeside(g, h *generation) time.Duration {
	t := m.timingOf(g)
	lives := t.Overlap
	if m.noAccess {
		lives = t.Max // rule 17: without last_accessed nothing is retired sooner
	}
	return h.Created.Add(lives).Sub(m.at) - t.MaxRefresh - m.spec.Safety.Settle - m.spec.Safety.ClockAllowance
}

func (m *Memory) timingOf(g *generation) timing {
	if m.spec.Strategy.fixed() || !g.Owned {
		return m.spec.timing()
	}
	return g.Timing
}

// top returns the highest generation that is ours to work on; nil if there is none.
func (m *Memory) top() *generation {
	gens := m.ascending()
	for i := len(gens) - 1; i >= 0; i-- {
		if m.eligible(gens[i]) {
			return gens[i]
		}
	}
	return nil
}

func (m *Memory) newestPublished() int64 {
	if g := m.published(); g != nil {
		return g.Number
	}
	return -1
}

// published returns the highest published generation; nil if there is none.
func (m *Memory) published() *generation {
	gens := m.ascending()
	for i := len(gens) - 1; i >= 0; i-- {
		if gens[i].published && m.eligible(gens[i]) {
			return gens[i]
		}
	}
	return nil
}

// before returns the highest published generation below g; nil if there is none.
func (m *Memory) before(g *generation) *generation {
	var prev *generation
	for _, h := range m.ascending() {
		if h.Number < g.Number && h.published && m.eligible(h) {
			prev = h
		}
	}
	return prev
}

// holdup says what keeps g from being published.
func (m *Memory) holdup(g *generation) string {
	missing, _ := m.lacking(m.before(g), g)
	switch {
	case len(missing) > 0:
		return ": " + g.Robot.Username() + " lacks " + strings.Join(missing, ", ")
	case g.proofReason != "":
		return ": " + g.Robot.Username() + " is not proven: " + g.proofReason
	}
	return ""
}
