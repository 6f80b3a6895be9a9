package quaytest

import (
	"maps"
	"slices"
	"strings"
	"time"
)

// namespace is a user or an organization.
type namespace struct {
	name         string
	organization bool
	enabled      bool
	owner        string // of an organization: the user who made it
	teams        map[string]*team
	repositories map[string]*repository
	prototypes   []*prototype
	logs         []*logRow
}

// team has members by username, robots of other organizations included; docs/quay-contract.md 3.2.
type team struct {
	name, role, description string
	members                 map[string]*timeline[bool]
}

type repository struct {
	id                           int64
	namespace, name, description string
	public                       bool
	created, deleted             time.Time
	grants                       map[string]*grant // by username
	past                         []*grant          // of deleted robots, for stale lists
	teamGrants                   map[string]string // role by team
}

func (r *repository) full() string { return r.namespace + "/" + r.name }

// grant is a user's or robot's role on a repository; "" means none any more.
type grant struct {
	repo     *repository
	username string
	role     timeline[string]
}

type robot struct {
	id               int64
	ns               *namespace
	short            string
	created, deleted time.Time
	description      string
	metadata         map[string]any // nil: none was sent
	token            timeline[string]
	lastAccessed     timeline[time.Time]
	grants           []*grant
	mirror           bool // a repository mirror uses it
	final            *RobotState
}

func (b *robot) username() string { return b.ns.name + "+" + b.short }

// prototype is a default permission for repositories created later; docs/quay-contract.md 3.3.
type prototype struct {
	id             string
	role           string
	activatingUser string
	kind, delegate string // kind is "user" or "team"
}

func roleRank(role string) int { return slices.Index([]string{"read", "write", "admin"}, role) + 1 }

// repository returns nil if there is none.
func (s *Server) repository(ns, name string) *repository {
	if n := s.namespaces[ns]; n != nil {
		return n.repositories[name]
	}
	return nil
}

// teamRole returns the highest role the teams of an organization give to a user or robot: "admin", "creator", "member",
// or "" for an outsider. In their own namespace users are administrators.
func (s *Server) teamRole(org, username string) string {
	ns := s.namespaces[org]
	switch {
	case ns == nil:
		return ""
	case !ns.organization && org == username:
		return "admin"
	}
	order := []string{"", "member", "creator", "admin"}
	best := 0
	for _, t := range ns.teams {
		if t.has(username, view{}) {
			best = max(best, slices.Index(order, t.role))
		}
	}
	return order[best]
}

func (t *team) has(username string, v view) bool {
	l := t.members[username]
	return l != nil && seen(v, *l)
}

func (t *team) setMember(at time.Time, username string, member bool) {
	l := t.members[username]
	if l == nil {
		l = &timeline[bool]{}
		t.members[username] = l
	}
	l.set(at, member)
}

// roles returns every role username has on a repository, direct and through teams.
func (s *Server) roles(username string, r *repository) []string {
	var roles []string
	if g := r.grants[username]; g != nil && g.role.now() != "" {
		roles = append(roles, g.role.now())
	}
	ns := s.namespaces[r.namespace]
	for _, name := range slices.Sorted(maps.Keys(r.teamGrants)) {
		if t := ns.teams[name]; t != nil && t.has(username, view{}) {
			roles = append(roles, r.teamGrants[name])
		}
	}
	return roles
}

// access returns the highest role of username on a repository. An administrator of the namespace has "admin" even on
// repositories that do not exist.
func (s *Server) access(username, ns, name string) string {
	if s.teamRole(ns, username) == "admin" {
		return "admin"
	}
	best := ""
	if r := s.repository(ns, name); r != nil {
		for _, role := range s.roles(username, r) {
			if roleRank(role) > roleRank(best) {
				best = role
			}
		}
	}
	return best
}

func (s *Server) addRobot(ns *namespace, short, description string, metadata map[string]any, at time.Time) *robot {
	b := &robot{id: s.nextID(), ns: ns, short: short, created: at, description: description, metadata: metadata}
	b.token.set(at, s.mint(64))
	s.robots[b.username()] = b
	s.everyRobot = append(s.everyRobot, b)
	return b
}

// dropRobot deletes a robot with all that refers to it; docs/quay-contract.md 2.6.
func (s *Server) dropRobot(b *robot, at time.Time) {
	final := s.state(b)
	final.Deleted = at
	b.final, b.deleted = &final, at
	for _, g := range b.grants {
		g.role.set(at, "")
		delete(g.repo.grants, b.username())
		g.repo.past = append(g.repo.past, g)
	}
	for _, ns := range s.namespaces {
		for _, t := range ns.teams {
			if t.has(b.username(), view{}) {
				t.setMember(at, b.username(), false)
			}
		}
		ns.prototypes = slices.DeleteFunc(ns.prototypes, func(p *prototype) bool {
			return p.delegate == b.username() || p.activatingUser == b.username()
		})
	}
	delete(s.robots, b.username())
}

// setRole grants, changes or (with "") removes a direct role.
func (s *Server) setRole(r *repository, username, role string, at time.Time) {
	g := r.grants[username]
	if g == nil {
		g = &grant{repo: r, username: username}
		r.grants[username] = g
		if b := s.robots[username]; b != nil {
			b.grants = append(b.grants, g)
		}
	}
	g.role.set(at, role)
}

// addRepository makes a repository as its creator would: with the administrator's role for the creator, if any, and with
// the namespace's prototypes applied.
func (s *Server) addRepository(ns *namespace, name, creator string, public bool, at time.Time) *repository {
	r := &repository{id: s.nextID(), namespace: ns.name, name: name, public: public, created: at, grants: map[string]*grant{}, teamGrants: map[string]string{}}
	ns.repositories[name] = r
	s.repositories = append(s.repositories, r)
	if creator != "" {
		s.setRole(r, creator, "admin", at)
	}
	for _, p := range ns.prototypes {
		switch {
		case p.activatingUser != "" && p.activatingUser != creator:
		case p.kind == "team":
			r.teamGrants[p.delegate] = p.role
		default:
			s.setRole(r, p.delegate, p.role, at)
		}
	}
	return r
}

func (s *Server) dropRepository(r *repository, at time.Time) {
	r.deleted = at
	for _, g := range r.grants {
		g.role.set(at, "")
	}
	delete(s.namespaces[r.namespace].repositories, r.name)
}

// rolesByUser returns the direct roles on a repository.
func (r *repository) rolesByUser(v view) map[string]string {
	roles := map[string]string{}
	for _, g := range slices.Concat(r.past, slices.Collect(maps.Values(r.grants))) {
		if role := seen(v, g.role); role != "" {
			roles[g.username] = role
		}
	}
	return roles
}

// directGrants returns role by repository name, of the robot's own namespace.
func (b *robot) directGrants(v view) map[string]string {
	grants := map[string]string{}
	for _, g := range b.grants {
		if role := seen(v, g.role); role != "" && v.alive(g.repo.created, g.repo.deleted) {
			grants[g.repo.name] = role
		}
	}
	return grants
}

func (s *Server) teamsOf(b *robot, v view) []string {
	teams := []string{}
	for _, t := range b.ns.teams {
		if t.has(b.username(), v) {
			teams = append(teams, t.name)
		}
	}
	slices.Sort(teams)
	return teams
}

// isEntity reports whether a user or robot of that name exists.
func (s *Server) isEntity(username string) bool {
	ns := s.namespaces[username]
	return s.robots[username] != nil || ns != nil && !ns.organization
}

func isRobotName(username string) bool { return strings.Contains(username, "+") }
