package rotation

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/quaygen/quaygen/pkg/quaygen/ledger"
	"github.com/quaygen/quaygen/pkg/quaygen/quay"
)

// Action is what a step does. Lower ones are more urgent (rule 24).
type Action int

const (
	Verify          Action = iota + 1 // look at a robot itself, where a list gives reason to doubt what is known of it
	ReadToken                         // learn the token of a generation that shall be served
	ReadRoles                         // read back which roles a generation has
	Grant                             // give a role on a repository
	Join                              // add to a team
	Probe                             // log in with a token that was to end, to learn whether it did
	Prove                             // log in and ask for pull on all that matters
	Record                            // write into the ledger what is known to be so
	Intend                            // write into the ledger what is about to be done
	RegenerateToken                   // have Quay replace the token
	Ungrant                           // take a grant away
	Leave                             // remove from a team
	Create                            // mint the next generation
	Delete                            // end a generation
)

var actionNames = [...]string{ReadToken: "read token", ReadRoles: "read roles", Grant: "grant", Join: "join team", Prove: "prove",
	Ungrant: "remove grant", Leave: "leave team", Create: "create", Delete: "delete",
	Verify: "verify", Probe: "probe", Record: "record", Intend: "intend to regenerate", RegenerateToken: "regenerate"}

func (a Action) String() string {
	if a <= 0 || int(a) >= len(actionNames) {
		return fmt.Sprintf("Action(%d)", int(a))
	}
	return actionNames[a]
}

// Step is one thing to do in Quay. It rests on the list it was planned from, and must not be sent when that list has
// become older than the step deadline (rule 3).
type Step struct {
	Action       Action
	Generation   int64
	Robot        quay.Robot
	Repository   string // Grant, Ungrant
	Role         quay.Role
	Team         string   // Join, Leave
	Proof        []string // Prove: repositories on which pull must be granted
	Unused       bool     // Delete: only if a single read, made just before, still shows no login ever
	Idle         bool     // Delete: only if a single read, made just before, still shows LastAccessed
	LastAccessed time.Time
	Why          string
	Then         []string // Create: what the new generation will be given, for people

	Token  string        // with the strategy regenerate: the fingerprint of the token it is about
	Record ledger.Record // Record, Intend: what is written
	Kind   RecordKind    // Record: what there is to say
}

// RecordKind is what a record in the ledger says that the one before it did not; a label of metrics.
type RecordKind string

// The kinds of records.
const (
	RecordFirst     RecordKind = "adopted"           // which token the robot has
	RecordRotated   RecordKind = "rotated"           // that an intended rotation was done
	RecordElsewhere RecordKind = "rotated_elsewhere" // that somebody else replaced the token
	RecordNotDone   RecordKind = "not_rotated"       // that an intended rotation was certainly not done
)

func (s Step) String() string {
	text := s.Action.String() + " " + s.Robot.Username()
	switch s.Action {
	case Grant:
		text += " " + s.Role.String() + " on " + s.Repository
	case Ungrant:
		text += " on " + s.Repository
	case Join, Leave:
		text += " " + s.Team
	case ReadToken, ReadRoles, Prove, Create, Delete, Verify, Probe, Intend, RegenerateToken: // the robot says it all
	case Record:
		text += " " + string(s.Kind)
	}
	if s.Token != "" {
		text += " (token " + s.Token + ")"
	}
	return text
}

// topic is what a step is about from one sync to the next: a creation has another number at each.
func (s Step) topic() string {
	if s.Action == Create {
		return Create.String()
	}
	return s.String()
}

// State is where a generation is in its life.
type State string

const (
	StateCurrent  State = "current"  // served
	StatePending  State = "pending"  // created, not published yet
	StateDraining State = "draining" // superseded, still alive
	StateStray    State = "stray"    // created too late to be used, or given up
	StateConflict State = "conflict" // a robot in the way that is not ours
	StateMissing  State = "missing"  // not in the last list; not yet believed gone
)

// GenerationState describes one generation for people.
type GenerationState struct {
	Number       int64
	Robot        quay.Robot
	State        State
	Created      time.Time
	LastAccessed time.Time // zero: never, or not recorded
	Deadline     time.Time // of a draining one: when it has to be gone, by Quay's time; zero: not known
	Note         string
}

// Plan is what to do now and what to expect.
type Plan struct {
	Steps       []Step
	Next        time.Time // Quay's time when a rotation is due; zero where none will be
	Generations []GenerationState
	Warnings    []string // what needs a person
	Waiting     []string // what is held back, and until when
}

// Plan derives from what m knows what to do next. It changes nothing.
func (m *Memory) Plan() Plan {
	var p planner
	p.Memory = m
	if m.at.IsZero() {
		return p.Plan
	}
	gens := m.ascending()
	p.describe(gens)
	p.verify()
	p.read(gens)
	p.permit(gens)
	switch m.spec.Strategy {
	case None:
		p.createFixed()
	case Regenerate:
		p.regenerate()
	default:
		p.prove()
		p.touch()
		p.create()
		p.delete(gens)
	}
	slices.SortStableFunc(p.Steps, func(a, b Step) int { return int(a.Action - b.Action) })
	return p.Plan
}

type planner struct {
	*Memory
	Plan
}

func (p *planner) step(s Step) { p.Steps = append(p.Steps, s) }
func (p *planner) warn(format string, args ...any) {
	p.Warnings = append(p.Warnings, fmt.Sprintf(format, args...))
}
func (p *planner) wait(format string, args ...any) {
	p.Waiting = append(p.Waiting, fmt.Sprintf(format, args...))
}

// read asks for tokens and roles without which nothing can be served or published.
func (p *planner) read(gens []*generation) {
	for _, g := range gens {
		if !g.present || !p.eligible(g) {
			continue
		}
		// With the strategy none others may regenerate the token at any time: it is read again at each sync.
		stale := p.spec.Strategy == None && p.at.Sub(g.tokenRead) >= p.spec.Sync/2
		if p.spec.Strategy != Regenerate && g == p.published() && (g.token.IsZero() || stale) {
			p.step(Step{Action: ReadToken, Generation: g.Number, Robot: g.Robot, Why: "it is to be served"})
		}
		if g.published || p.frozenPublication(g) {
			continue
		}
		if _, needRoles := p.lacking(p.before(g), g); needRoles {
			p.step(Step{Action: ReadRoles, Generation: g.Number, Robot: g.Robot, Why: "its roles must be known before it is published"})
		}
		if prev := p.before(g); prev != nil && prev.present {
			if _, unknown := p.grantsFor(prev, g); len(unknown) > 0 {
				p.step(Step{Action: ReadRoles, Generation: prev.Number, Robot: prev.Robot, Why: "its successor gets the same roles"})
			}
		}
	}
}

// permit mends the grants of every generation that is, or will be, in use.
func (p *planner) permit(gens []*generation) {
	if p.wanted.Unknown != "" {
		p.wait("permissions are left as they are: %s", p.wanted.Unknown)
		return
	}
	for _, repository := range p.wanted.Missing {
		p.warn("repository %s does not exist; it is granted as soon as it does", repository)
	}
	for _, g := range gens {
		if !g.present || !p.eligible(g) {
			continue
		}
		prev := p.before(g)
		roles, _ := p.grantsFor(prev, g)
		for _, repository := range slices.Sorted(maps.Keys(roles)) {
			want, has := roles[repository], g.roles[repository]
			_, granted := slices.BinarySearch(g.Grants, repository)
			if !granted || has != quay.RoleUnknown && has < want {
				p.step(Step{Action: Grant, Generation: g.Number, Robot: g.Robot, Repository: repository, Role: want, Why: "the configuration asks for it"})
			}
		}
		for _, team := range p.teamsFor(prev, g) {
			if !slices.Contains(g.Teams, team) {
				p.step(Step{Action: Join, Generation: g.Number, Robot: g.Robot, Team: team, Why: "the configuration asks for it"})
			}
		}
		p.prune(g)
	}
}

// prune takes away what nothing in the configuration asks for, once this process has seen it so for long enough
// that no replica with another configuration is still at work (rule 11).
func (p *planner) prune(g *generation) {
	for _, key := range p.extras(g) {
		if !p.spec.Permissions.Prune {
			continue
		}
		if p.at.Sub(p.unlisted[key]) < p.spec.pruneAfter() {
			p.wait("%s of %s is not in the configuration and is removed at %s", key, g.Robot.Username(), clock(p.unlisted[key].Add(p.spec.pruneAfter())))
			continue
		}
		const why = "nothing in the configuration asks for it, and prune is on"
		switch {
		case key[:len(extraGrant)] == extraGrant:
			p.step(Step{Action: Ungrant, Generation: g.Number, Robot: g.Robot, Repository: key[len(extraGrant):], Why: why})
		case key[:len(raisedRole)] == raisedRole:
			repository := key[len(raisedRole):]
			p.step(Step{Action: Grant, Generation: g.Number, Robot: g.Robot, Repository: repository, Role: p.wanted.Grants[repository], Why: "its role is higher than the configuration asks for, and prune is on"})
		default:
			p.step(Step{Action: Leave, Generation: g.Number, Robot: g.Robot, Team: key[len(extraTeam):], Why: why})
		}
	}
}

// frozenPublication reports whether g must not be logged in with any more: past its window nobody may publish it
// by an own proof (rule 12), unless evidence shows that somebody did in time.
func (p *planner) frozenPublication(g *generation) bool {
	return p.overdue(g, p.at)
}

// prove plans the login that publishes the newest generation. Superseded generations are never logged in with: that
// would look like use.
func (p *planner) prove() {
	g := p.top()
	switch {
	case g == nil || !g.present:
		return
	case g.proof == proven:
		// While Quay was read-only, or recorded none, it did not record the login, and others would in the end give the generation up.
		if g.accessed.IsZero() && p.shows(g) {
			p.step(Step{Action: Prove, Generation: g.Number, Robot: g.Robot, Why: "Quay does not show yet that it is in use"})
		}
		return
	case g.published && !p.noAccess, p.frozenPublication(g):
		return
	}
	if missing, needRoles := p.lacking(p.before(g), g); len(missing) > 0 || needRoles {
		return // a login is attempted only after the grants read back complete (rule 9)
	}
	p.step(Step{Action: Prove, Generation: g.Number, Robot: g.Robot, Proof: p.proofOf(p.before(g), g), Why: "it is served only after Quay has granted it pull"})
}

// create plans the next generation: the first, one that is due, or one that was asked for.
func (p *planner) create() {
	top, pub := p.top(), p.published()
	var why string
	switch {
	case p.pending(top, pub):
		return // one unpublished generation ahead at most
	case p.awaited():
		if pub != nil && pub.present {
			p.Next = p.due(pub) // also while creations fail one after the other
		}
		p.wait("generation %d may exist although no list shows it; nothing is created before %s", p.claimed, clock(p.claimAt.Add(p.spec.Safety.Settle)))
		return
	case p.revoke != nil && (pub == nil || pub.Number <= p.revoke.through):
		why = fmt.Sprintf("everything up to generation %d is being revoked", p.revoke.through)
	case pub == nil && !p.wantedNow():
		return
	case pub == nil:
		why = "there is no generation"
	case p.ended(pub) && pub.present:
		if !p.wantedNow() {
			return
		}
		why = "its namespace asks again after " + pub.Robot.Username() + " was idle"
	case !pub.present:
		p.wait("%s is not in the last list; nothing is created before it is certain to be gone", pub.Robot.Username())
		return
	default:
		due := p.due(pub)
		p.Next = due
		if p.forced && p.forcedAt == pub.Number {
			why = "a rotation was asked for"
			break
		}
		if p.at.Before(due) {
			return
		}
		if p.idles(pub) && (!p.inUse(pub) || p.at.Sub(pub.LastAccessed) > p.timingOf(pub).Idle/2) {
			p.wait("a rotation is due since %s, but %s is not in use", clock(due), pub.Robot.Username())
			return
		}
		if n := p.alive(); n >= p.spec.maxLive() {
			p.wait("a rotation is due since %s, but %d generations are alive; it waits until one is retired", clock(due), n)
			return
		}
		why = fmt.Sprintf("%s is due for rotation since %s", pub.Robot.Username(), clock(due))
	}
	if p.wanted.Unknown != "" {
		p.wait("%s, but what the new generation shall have is not known: %s", why, p.wanted.Unknown)
		return
	}
	if p.frozen != "" {
		p.wait("%s, but nothing is created: %s", why, p.frozen)
		return
	}
	n := max(p.highest+1, minute(p.at))
	robot, err := p.spec.Base.Generation(n)
	if err != nil {
		p.warn("%s, but no further generation can be named: %v", why, err)
		return
	}
	p.step(Step{Action: Create, Generation: n, Robot: robot, Why: why, Then: p.gifts(pub)})
}

// due is when g's rotation is.
func (m *Memory) due(g *generation) time.Time { return g.Created.Add(m.spec.Every - m.spec.early()) }

// gifts lists what a new generation after prev will be granted.
func (p *planner) gifts(prev *generation) []string {
	next := &generation{}
	roles, unknown := p.grantsFor(prev, next)
	var out []string
	for _, repository := range slices.Sorted(maps.Keys(roles)) {
		out = append(out, roles[repository].String()+" on "+repository)
	}
	for _, repository := range unknown {
		out = append(out, "the role its predecessor has on "+repository)
	}
	for _, team := range p.teamsFor(prev, next) {
		out = append(out, "membership of team "+team)
	}
	return out
}

// pending reports whether a generation is on its way already. One that this process created too late is waited for as
// well until it is gone. A revocation may pass one that it ends itself, but no more: they must not pile up while
// grants fail.
func (p *planner) pending(top, pub *generation) bool {
	ending := func(g *generation) bool { return p.revoke != nil && g.Number <= p.revoke.through }
	if top != nil && !top.published && !ending(top) {
		return true
	}
	passed := 0
	for _, g := range p.ascending() {
		if !g.Owned || g.published || pub != nil && g.Number < pub.Number {
			continue
		}
		if p.late(g) && !ending(g) {
			return true
		}
		passed++
	}
	return passed > 1
}

func (p *planner) alive() int {
	n := 0
	for _, g := range p.ascending() {
		if g.Owned {
			n++
		}
	}
	return n
}

func (p *planner) createFixed() {
	if g := p.gens[0]; g != nil && !g.gone {
		return
	}
	switch {
	case p.frozen != "":
		p.wait("%s is missing, but nothing is created: %s", p.spec.Base.Username(), p.frozen)
	case p.wanted.Unknown == "":
		p.step(Step{Action: Create, Robot: p.spec.Base, Why: "there is no such robot"})
	}
}

// clock renders Quay's time for people.
func clock(t time.Time) string { return t.UTC().Format(time.RFC3339) }
