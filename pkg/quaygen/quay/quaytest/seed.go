package quaytest

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/quaygen/quaygen/pkg/quaygen/quay"
	"github.com/quaygen/quaygen/pkg/quaygen/secret"
)

// The methods of this file stand for what people do at Quay's web page. They need no token and meet no fault, and panic
// when what they are asked for cannot be.

func must[T any](v T, err error) T {
	if err != nil {
		panic("quaytest: " + err.Error())
	}
	return v
}

func (s *Server) mustNamespace(name string) *namespace {
	ns := s.namespaces[name]
	if ns == nil {
		panic(fmt.Sprintf("quaytest: no namespace %q", name))
	}
	return ns
}

func (s *Server) mustRobot(ns, short string) *robot {
	b := s.robots[ns+"+"+short]
	if b == nil {
		panic(fmt.Sprintf("quaytest: no robot %q in %q", short, ns))
	}
	return b
}

func (s *Server) mustRepository(ns, name string) *repository {
	r := s.repository(ns, name)
	if r == nil {
		panic(fmt.Sprintf("quaytest: no repository %q in %q", name, ns))
	}
	return r
}

func (s *Server) addNamespace(ns *namespace) {
	if s.namespaces[ns.name] != nil {
		panic(fmt.Sprintf("quaytest: namespace %q exists", ns.name))
	}
	ns.enabled = true
	ns.teams, ns.repositories = map[string]*team{}, map[string]*repository{}
	s.namespaces[ns.name] = ns
}

// AddUser makes a human user, with a namespace of the same name.
func (s *Server) AddUser(name string) {
	must(quay.ParseUser(name))
	s.mu.Lock()
	defer s.mu.Unlock()
	s.addNamespace(&namespace{name: name})
}

// SetUserEnabled disables or enables a user. Tokens of a disabled user count as none.
func (s *Server) SetUserEnabled(name string, enabled bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mustNamespace(name).enabled = enabled
}

// AddOrganization makes an organization with a team "owners" of administrators, whose only member is ownerUser.
func (s *Server) AddOrganization(name, ownerUser string) {
	must(quay.ParseOrganization(name))
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mustNamespace(ownerUser)
	ns := &namespace{name: name, organization: true, owner: ownerUser}
	s.addNamespace(ns)
	ns.addTeam("owners", "admin").setMember(s.clock(), ownerUser, true)
}

// DeleteOrganization deletes an organization with all that is in it.
func (s *Server) DeleteOrganization(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	ns, at := s.mustNamespace(name), s.clock()
	if !ns.organization {
		panic(fmt.Sprintf("quaytest: %q is no organization", name))
	}
	for _, b := range s.robots {
		if b.ns == ns {
			s.dropRobot(b, at)
		}
	}
	for _, r := range ns.repositories {
		s.dropRepository(r, at)
	}
	delete(s.namespaces, name)
}

// AddRepository makes an empty private repository. Users of their own namespace, and owners of an organization, are
// its administrators.
func (s *Server) AddRepository(ns, name string) {
	owner := must(quay.ParseOrganization(ns))
	must(quay.NewRepository(owner, name))
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.repository(ns, name) != nil {
		panic(fmt.Sprintf("quaytest: repository %q exists", ns+"/"+name))
	}
	n := s.mustNamespace(ns)
	s.addRepository(n, name, n.admin(), false, s.clock())
}

// SetPublic lets everybody, or nobody without a grant, pull from a repository.
func (s *Server) SetPublic(ns, name string, public bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mustRepository(ns, name).public = public
}

// DeleteRepository deletes a repository with its images and grants.
func (s *Server) DeleteRepository(ns, name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dropRepository(s.mustRepository(ns, name), s.clock())
}

// admin is who does things at the web page.
func (ns *namespace) admin() string {
	if ns.organization {
		return ns.owner
	}
	return ns.name
}

// AddTeam makes a team without members; role is "member", "creator" or "admin".
func (s *Server) AddTeam(org, name, role string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	ns := s.mustNamespace(org)
	if !ns.organization || ns.teams[name] != nil || !slices.Contains(teamRoles, role) {
		panic(fmt.Sprintf("quaytest: team %q with role %q cannot be made in %q", name, role, org))
	}
	ns.addTeam(name, role)
}

func (ns *namespace) addTeam(name, role string) *team {
	t := &team{name: name, role: role, members: map[string]*timeline[bool]{}}
	ns.teams[name] = t
	return t
}

// AddTeamMember adds a user, or a robot by its username, to a team.
func (s *Server) AddTeamMember(org, team, username string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.mustNamespace(org).teams[team]
	if t == nil || !s.isEntity(username) {
		panic(fmt.Sprintf("quaytest: no team %q in %q, or no %q", team, org, username))
	}
	t.setMember(s.clock(), username, true)
}

// GrantTeam gives a team a role on a repository.
func (s *Server) GrantTeam(org, repo, team, role string) {
	must(quay.ParseRole(role))
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mustRepository(org, repo).teamGrants[team] = role
}

// AddToken makes an API token of user. A scope that Quay does not know makes the token one with which everything
// fails (docs/quay-contract.md 1.2).
func (s *Server) AddToken(user string, scopes ...string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mustNamespace(user).organization {
		panic(fmt.Sprintf("quaytest: organization %q cannot own tokens", user))
	}
	word := s.mint(40)
	s.tokens[word] = &apiToken{id: s.nextID(), user: user, scopes: slices.Clone(scopes)}
	return word
}

// AddRobot makes a robot of an organization or user, and returns its token.
func (s *Server) AddRobot(ns, short, description string) string {
	owner := must(quay.ParseOrganization(ns))
	name := must(quay.NewRobot(owner, short))
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.robots[name.Username()] != nil {
		panic(fmt.Sprintf("quaytest: robot %s exists", name))
	}
	n, at := s.mustNamespace(ns), s.clock()
	b := s.addRobot(n, short, description, nil, at)
	n.log(at, "create_robot", n.admin(), webAddress, object{{"robot", short}, {"description", description}, {"unstructured_metadata", nil}})
	return b.token.now()
}

// DeleteRobot deletes a robot.
func (s *Server) DeleteRobot(ns, short string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b, at := s.mustRobot(ns, short), s.clock()
	s.dropRobot(b, at)
	b.ns.log(at, "delete_robot", b.ns.admin(), webAddress, object{{"robot", short}})
}

// RegenerateRobot gives a robot another token, and returns it. The old one stops working at once.
func (s *Server) RegenerateRobot(ns, short string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	b, at := s.mustRobot(ns, short), s.clock()
	b.token.set(at, s.mint(64))
	b.ns.log(at, "regenerate_robot_token", b.ns.admin(), webAddress, object{{"robot", short}})
	return b.token.now()
}

// SetMirror says whether a repository mirror uses the robot, which keeps it from being deleted through the API
// (docs/quay-contract.md 2.6).
func (s *Server) SetMirror(ns, short string, used bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mustRobot(ns, short).mirror = used
}

// Grant gives a robot the role "read", "write" or "admin" on a repository of its own namespace.
func (s *Server) Grant(ns, repo, short, role string) {
	must(quay.ParseRole(role))
	s.mu.Lock()
	defer s.mu.Unlock()
	r, b, at := s.mustRepository(ns, repo), s.mustRobot(ns, short), s.clock()
	s.setRole(r, b.username(), role, at)
	b.ns.log(at, "change_repo_permission", b.ns.admin(), webAddress,
		object{{"username", b.username()}, {"repo", repo}, {"namespace", ns}, {"role", role}})
}

// RemoveGrant takes a robot's role on a repository away; it panics if there is none.
func (s *Server) RemoveGrant(ns, repo, short string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, b, at := s.mustRepository(ns, repo), s.mustRobot(ns, short), s.clock()
	if g := r.grants[b.username()]; g == nil || g.role.now() == "" {
		panic(fmt.Sprintf("quaytest: %s has no role on %s", b.username(), r.full()))
	}
	s.setRole(r, b.username(), "", at)
	b.ns.log(at, "delete_repo_permission", b.ns.admin(), webAddress, object{{"username", b.username()}, {"repo", repo}, {"namespace", ns}})
}

// RobotState is all there is to know about a robot, told outside the API.
type RobotState struct {
	Short        string
	Token        secret.String
	Created      time.Time
	LastAccessed time.Time // zero: never
	Deleted      time.Time // zero: exists
	Description  string
	Metadata     map[string]any
	Grants       map[string]string // role by repository name; direct grants only
	Teams        []string          // of its own organization
}

func (s *Server) state(b *robot) RobotState {
	if b.final != nil {
		return b.final.clone()
	}
	return RobotState{
		Short:        b.short,
		Token:        secret.New(b.token.now()),
		Created:      b.created,
		LastAccessed: b.lastAccessed.now(),
		Description:  b.description,
		Metadata:     maps.Clone(b.metadata),
		Grants:       b.directGrants(view{}),
		Teams:        s.teamsOf(b, view{}),
	}
}

func (st RobotState) clone() RobotState {
	st.Metadata, st.Grants, st.Teams = maps.Clone(st.Metadata), maps.Clone(st.Grants), slices.Clone(st.Teams)
	return st
}

// Robots returns the robots of exactly this namespace, sorted by name.
func (s *Server) Robots(ns string) []RobotState {
	s.mu.Lock()
	defer s.mu.Unlock()
	var states []RobotState
	for _, b := range s.robots {
		if b.ns.name == ns {
			states = append(states, s.state(b))
		}
	}
	slices.SortFunc(states, func(a, b RobotState) int { return strings.Compare(a.Short, b.Short) })
	return states
}

// Robot returns one robot, and whether it exists.
func (s *Server) Robot(ns, short string) (RobotState, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.robots[ns+"+"+short]
	if b == nil {
		return RobotState{}, false
	}
	return s.state(b), true
}

// Ever returns every robot the namespace ever had, in order of creation, deleted ones as they were at their end.
func (s *Server) Ever(ns string) []RobotState {
	s.mu.Lock()
	defer s.mu.Unlock()
	var states []RobotState
	for _, b := range s.everyRobot {
		if b.ns.name == ns {
			states = append(states, s.state(b))
		}
	}
	return states
}

// Tokens returns the secrets the server handed out, so that tests can look for them where they must not be: every token
// there ever was of a robot or of the API, and the registry's JWTs, of very many the latest.
func (s *Server) Tokens() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Concat(s.minted, s.jwts)
}
