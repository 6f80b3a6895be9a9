package rotation

import (
	"cmp"
	"errors"
	"slices"
	"time"

	"github.com/quaygen/quaygen/pkg/quaygen/quay"
	"github.com/quaygen/quaygen/pkg/quaygen/secret"
)

// Memory is what one process knows of one robot's chain of generations. It is filled from lists ([Memory.Observe])
// and from the answers to the process's own calls. Losing it is safe: a fresh Memory only waits longer before it
// deletes. A Memory is not safe for concurrent use.
type Memory struct {
	spec   Spec
	wanted Wanted

	at       time.Time // Quay's time of the last list; zero before the first
	sent     time.Time // when that list was sent, local
	highest  int64     // of all numbers ever seen, asked for or created; -1: none (rule 5)
	gens     map[int64]*generation
	trouble  time.Time // Quay's time up to which lists failed or Quay was read-only (rule 17)
	troubled bool      // there was trouble since the last list
	frozen   string    // why nothing may be created or deleted now; "": it may (rule 1)
	shaken   time.Time // Quay's time of the last list with which it was so; zero: it never was
	noAccess bool      // Quay does not record last_accessed (rule 17)
	blind    time.Time // Quay's time of the last list with which it was so; zero: it never was
	recorded bool      // Quay says that it records last_accessed; false: it does not, or that is not known

	claimed   int64                // a number that exists or may yet come to exist, and that no list has shown; -1: none
	claimAt   time.Time            // Quay's time of the list before it was claimed
	first     time.Time            // Quay's time of the first list
	used      time.Time            // the latest last_accessed that any list showed of any robot
	forced    bool                 // a rotation was asked for
	forcedAt  int64                // the generation that was the newest published one then
	revoke    *revocation          // a revocation is under way
	kept      kept                 // the robot's record in the ledger; only with the strategy regenerate
	onlooker  bool                 // this process only looks at what another one does; see [Preview]
	requested time.Duration        // how long ago somebody asked; negative: never
	disabled  bool                 // Quay says that robots may not log in
	noticed   []string             // what others were seen to do since it was last counted, by outcome
	unlisted  map[string]time.Time // extra grant or team → Quay's time when this process first saw it unlisted (rule 11)
	missing   map[string]time.Time // repository that is shown as granted, and that Quay said does not exist → when, in Quay's time
}

// A revocation ends every generation up to through (rule 21).
type revocation struct{ through int64 }

type generation struct {
	sighting
	present bool      // in the last list
	seen    time.Time // when the last list that showed it was sent, local
	missing time.Time // Quay's time of the first list without it since it was last present
	gone    bool      // its absence is believed; never served again, even if it comes back (rules 6 and 14)
	made    bool      // created by this process
	late    bool      // created by this process, but too late to be sure that the name was unused (rule 4)

	roles     map[string]quay.Role // as granted by this process or read back; nil: not known
	rolesRead time.Time            // Quay's time of the last read-back; zero: never
	token     secret.String
	tokenRead time.Time // Quay's time when the token was last read

	proof       proof
	proofAt     time.Time // Quay's time of the last own login
	proofReason string    // why it failed

	published bool
	alarm     string        // why it was published without an own proof, if that is worrying
	accessed  time.Time     // Quay's time when last_accessed was first seen set
	unused    time.Time     // Quay's time of the last list that showed it without
	evident   time.Time     // Quay's time since when rule 9b has held without interruption
	regarded  time.Duration // listing time for which this process has regarded it as published (rule 16)
	served    time.Duration // listing time for which it was what this process serves
	kept      time.Time     // Quay's time until which its deletion is not tried again, because Quay refused it
	serving   bool

	touched time.Time // Quay's time of the last own login after it was published

	hand   string    // what happened to it last that is not our doing, or made up for that; with its time, for people
	doubt  string    // why it has to be looked at itself; "": no reason
	looked time.Time // when the list was sent after which it was looked at last, local
	dead   bool      // looked at itself it was not there; it is not served, but only its lasting absence is believed
	barred bool      // its login was refused because robots are disabled
}

type proof int

const (
	unproven proof = iota
	proven
	denied // logged in, but pull was not granted everywhere
	failed // the login was refused or did not happen
)

// NewMemory returns a memory that knows nothing.
func NewMemory(spec Spec) *Memory {
	return &Memory{spec: spec, highest: -1, requested: -1, claimed: -1, gens: map[int64]*generation{}, unlisted: map[string]time.Time{}, missing: map[string]time.Time{}}
}

// SetSpec changes what the robot shall be, for a new configuration. What was seen and published stays known.
func (m *Memory) SetSpec(spec Spec) { m.spec = spec }

// Observe takes in a list and what the configuration's permissions come to now, and advances the clocks that run
// in listing time: time between two lists counts for at most one sync interval (rule 16).
func (m *Memory) Observe(l Listing, wanted Wanted) {
	m.wanted = wanted
	first := m.at.IsZero()
	elapsed := time.Duration(0)
	if !first {
		elapsed = min(max(0, l.At.Sub(m.at)), m.spec.Sync)
	}
	if first {
		m.first = l.At
	}
	if l.Used.After(m.used) {
		m.used = l.Used
	}
	if first || m.troubled {
		m.trouble, m.troubled = l.At, false // whatever happened lasted until now, for all this process knows
	}
	for _, g := range m.gens {
		if g.published && g.present {
			g.regarded += elapsed
		}
		if g.serving {
			g.served += elapsed
		}
	}
	m.at, m.sent = l.At, l.Sent
	if m.frozen != "" {
		m.shaken = m.at
	}
	if m.noAccess {
		m.blind = m.at
	}
	m.merge(sight(m.spec, l))
	m.noteUnlisted()
	m.evaluate()
}

func (m *Memory) merge(seen []sighting) {
	for _, g := range m.gens {
		g.present = false
	}
	for _, s := range seen {
		m.highest = max(m.highest, s.Number) // unmarked ones included
		g := m.gens[s.Number]
		if g == nil {
			g = &generation{}
			m.gens[s.Number] = g
		}
		if g.Created.IsZero() || g.Created.Equal(s.Created) {
			g.roles = keep(g.roles, s.Grants)
		} else {
			// The same name with another creation time is another robot: nothing known of the old one holds.
			*g = generation{gone: true}
		}
		if m.spec.Strategy.fixed() {
			g.gone = false // the name is all there is; whoever made it anew meant it
		}
		g.sighting, g.present, g.seen, g.dead, g.missing = s, true, m.sent, false, time.Time{}
		if s.Number >= m.claimed {
			m.claimed = -1
		}
		m.seeToken(g, s.Token)
		if s.LastAccessed.IsZero() {
			g.unused = m.at
		} else if g.accessed.IsZero() {
			g.accessed = m.at
		}
		if !g.accessed.IsZero() && g.proof == unproven {
			g.late = false // somebody published it; it is theirs now
		}
	}
	for _, g := range m.gens {
		switch {
		case g.present || g.gone:
		case g.missing.IsZero():
			g.missing = m.at
		case m.at.Sub(g.missing) > m.spec.Safety.Settle: // rule 6
			g.gone, g.published, g.serving, g.regarded, g.served = true, false, false, 0, 0
			g.token = secret.String{}
		}
	}
}

// keep drops the roles on repositories that are no longer granted.
func keep(roles map[string]quay.Role, grants []string) map[string]quay.Role {
	for repository := range roles {
		if _, ok := slices.BinarySearch(grants, repository); !ok {
			delete(roles, repository)
		}
	}
	return roles
}

// noteUnlisted keeps, for each grant that only people asked for, since when this process has seen it unlisted (rule 11).
func (m *Memory) noteUnlisted() {
	extra := map[string]bool{}
	for _, g := range m.gens {
		if !g.present || !g.Owned && !m.spec.Strategy.fixed() {
			continue
		}
		for _, key := range m.extras(g) {
			extra[key] = true
			if _, ok := m.unlisted[key]; !ok {
				m.unlisted[key] = m.at
			}
		}
	}
	for key := range m.unlisted {
		if !extra[key] {
			delete(m.unlisted, key)
		}
	}
}

// Trouble records that a list failed or that Quay answered read-only: while it does not record logins, an old
// last_accessed says nothing (rule 17).
func (m *Memory) Trouble() { m.troubled = true }

// SetFrozen says why nothing may be created or deleted for now, or with "" that it may (rule 1).
func (m *Memory) SetFrozen(why string) { m.frozen = why }

// SetAccessTimes says whether Quay records last_accessed at all (rule 17), if that is known.
func (m *Memory) SetAccessTimes(known, recorded bool) {
	if m.noAccess && known && recorded {
		m.Trouble() // what was done until now is in no list
	}
	m.noAccess, m.recorded = known && !recorded, known && recorded
}

// tells reports whether Quay would show it if somebody had ever logged in as g: it says that it records logins, or has
// been seen to since g exists, and was not seen not to meanwhile. Whoever serves what Quay does not show to be in use logs in
// again; so what is not shown an overlap after Quay was last seen not to record uses is served by nobody.
func (m *Memory) tells(g *generation) bool {
	return m.shows(g) && (g.Created.After(m.blind) || m.at.Sub(m.blind) > m.timingOf(g).Overlap)
}

// shows reports whether Quay would show it if somebody logged in as g now.
func (m *Memory) shows(g *generation) bool {
	return !m.noAccess && (m.recorded || m.used.After(g.Created))
}

// Created records the answer to the creation of generation n. late says that the answer came later than the step
// deadline after the list that the creation rested on (rule 4).
func (m *Memory) Created(n int64, info quay.RobotInfo, late bool) {
	m.highest = max(m.highest, n)
	m.gens[n] = &generation{
		sighting: sighting{Number: n, Robot: info.Robot, Created: info.Created, Owned: true, Timing: m.spec.timing()},
		token:    info.Token, made: true, late: late, roles: map[string]quay.Role{}, seen: m.sent,
	}
}

// Taken records that generation n exists although no list showed it, or may come to exist because the answer to its
// creation was lost. Until a list shows it, or none has for longer than settle, it counts as the one unpublished
// generation ahead (rule 6).
func (m *Memory) Taken(n int64) {
	m.highest = max(m.highest, n)
	m.claimed, m.claimAt = n, m.at
}

// awaited reports whether a generation may exist that no list has shown yet.
func (m *Memory) awaited() bool {
	return m.claimed >= 0 && m.at.Sub(m.claimAt) <= m.spec.Safety.Settle
}

// A robot that a mirror uses stays until somebody changes the mirror; asking often does not help (rule 18).
const mirrorPause = 10 * time.Minute

// NotDeleted records that Quay did not delete generation n, or said that it did, which is not believed (rule 18): while
// it is listed it is tried again some time later, and others before it.
func (m *Memory) NotDeleted(n int64, err error) {
	if g := m.gens[n]; g != nil {
		g.kept = m.at.Add(m.spec.Sync)
		if errors.Is(err, quay.ErrMirrorInUse) {
			g.kept = m.at.Add(mirrorPause)
		}
	}
}

// Granted records that generation n was granted role on repository, or that its grant was removed (RoleUnknown).
func (m *Memory) Granted(n int64, repository string, role quay.Role) {
	g := m.gens[n]
	if g == nil {
		return
	}
	if g.roles == nil {
		g.roles = map[string]quay.Role{}
	}
	if role == quay.RoleUnknown {
		delete(g.roles, repository)
		return
	}
	g.roles[repository] = role
}

// NotThere records that a repository could not be granted because it does not exist. Lists show one among a robot's grants until
// Quay has cleared it away, which may take long after it was deleted.
func (m *Memory) NotThere(repository string) { m.missing[repository] = m.at }

// isMissing reports whether Quay said so within the last hour; then it is tried again.
func (m *Memory) isMissing(repository string) bool {
	at, ok := m.missing[repository]
	return ok && m.at.Sub(at) < time.Hour
}

// RolesRead records all direct grants of generation n, as read back at Quay's time of the last list.
func (m *Memory) RolesRead(n int64, roles map[string]quay.Role) {
	if g := m.gens[n]; g != nil {
		g.roles, g.rolesRead = roles, m.at
		m.evaluate()
	}
}

// TokenRead records the token of generation n.
func (m *Memory) TokenRead(n int64, token secret.String) {
	g := m.gens[n]
	if g == nil {
		return
	}
	if m.spec.Strategy == Regenerate && !g.token.Equal(token) {
		g.proof, g.proofReason = unproven, "" // each token is proven for itself
	}
	m.learn(g, token)
	m.kept.read = true
	m.evaluate()
}

// Proved records an own login as generation n: at is the Date of the answer, reason says why it proves nothing, ""
// that pull was granted on all that was asked. A proof past the window comes too late to publish (rule 12).
func (m *Memory) Proved(n int64, at time.Time, loggedIn bool, reason string) {
	g := m.gens[n]
	if g == nil {
		return
	}
	if g.proof == proven && reason != "" {
		return // what was proven stays so
	}
	if reason == "" && g.published {
		g.touched = at
	}
	g.proofAt, g.proofReason = at, reason
	switch {
	case reason == "" && !m.spec.Strategy.fixed() && !g.published && m.overdue(g, at):
		g.proof, g.proofReason = failed, "the proof came later than created + max - overlap"
	case reason == "":
		g.proof, g.late = proven, false
	case loggedIn:
		g.proof = denied
	default:
		g.proof = failed
	}
	m.evaluate()
}

// Force asks for a rotation now. Another replica's comes up to it.
func (m *Memory) Force() { m.forced, m.forcedAt = true, m.newest() }

// Revoke asks for the end of every generation up to through (rule 21), and up to what was asked for before. The named
// generation counts as seen.
func (m *Memory) Revoke(through int64) {
	if !m.spec.Strategy.fixed() {
		m.highest = max(m.highest, through)
	}
	if m.revoke != nil {
		through = max(through, m.revoke.through)
	}
	m.revoke = &revocation{through: through}
}

// Revoked reports whether no generation up to through exists any more, by rule 6: also what this process never saw
// must have been absent for longer than settle.
func (m *Memory) Revoked(through int64) bool {
	if m.spec.Strategy == Regenerate {
		return m.rotations() > through
	}
	if m.at.IsZero() || m.at.Sub(m.first) <= m.spec.Safety.Settle || m.awaited() && m.claimed <= through {
		return false
	}
	for n, g := range m.gens {
		if n <= through && g.Owned && (g.present || !g.gone) {
			return false
		}
	}
	return true
}

// needsToken reports whether a token will have to be read after the next list.
func (m *Memory) needsToken() bool {
	if m.at.IsZero() {
		return true
	}
	g := m.published()
	return g != nil && (g.token.IsZero() || m.spec.Strategy == None)
}

// empty reports whether nothing of the chain is left, or may yet appear.
func (m *Memory) empty() bool { return len(m.ascending()) == 0 && !m.awaited() && m.revoke == nil }

// ascending returns the generations that count as existing, lowest number first.
func (m *Memory) ascending() []*generation {
	var out []*generation
	for _, g := range m.gens {
		if g.present || !g.gone {
			out = append(out, g)
		}
	}
	slices.SortFunc(out, func(a, b *generation) int { return cmp.Compare(a.Number, b.Number) })
	return out
}
