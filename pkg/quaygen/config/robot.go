package config

import (
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/quaygen/quaygen/pkg/quaygen/glob"
	"github.com/quaygen/quaygen/pkg/quaygen/quay"
	"github.com/quaygen/quaygen/pkg/quaygen/rotation"
)

// What a file means by saying nothing. schema.json repeats these; a test compares them.
const (
	defaultSync          = 30 * time.Second
	defaultEvery         = 720 * time.Hour
	defaultOverlap       = 24 * time.Hour
	defaultQuiet         = 2 * time.Hour
	defaultMax           = 168 * time.Hour
	defaultMaxRefresh    = time.Hour
	defaultIdle          = 720 * time.Hour
	defaultQPS           = 5.0
	defaultBurst         = 10
	defaultListen        = ":8443"
	defaultMaxNamespaces = 1000
	defaultGRPC          = ":9443"
	defaultAdmin         = "127.0.0.1:9090"
)

// robot reads one robot and what the rotation package says of it. timesOK tells whether sync and safety were valid.
func (d *decoder) robot(v value, c *Config, timesOK bool) Robot {
	o := v.object()
	defer o.end()
	r := Robot{
		Spec:     rotation.Spec{Instance: c.Instance, Sync: c.Sync, Safety: c.Safety},
		Registry: o.require("registry", "the name of one of the registries").name(),
		Email:    o.get("email").email(),
	}
	r.Name = o.require("name", "the name that callers ask for").name()
	owner := d.owner(o)
	r.Base = d.base(o.require("robot", "the short name of the robot in Quay, such as k8s_prod_puller"), owner)
	if o.get("scope").oneOf(rotation.Shared.String(), rotation.Shared.String(), rotation.PerNamespace.String()) == rotation.PerNamespace.String() {
		r.Scope = rotation.PerNamespace
	}

	before := len(d.problems)
	r.MaxRefresh = o.get("maxRefresh").duration(defaultMaxRefresh)
	idle := o.get("idle")
	if after := idle.duration(defaultIdle); r.Scope == rotation.PerNamespace {
		r.Idle = after
	} else if idle.written() {
		d.warn(idle.path, "has no effect: only the robots of namespaces (scope: namespace) end by being idle; remove it")
	}
	d.rotation(o.get("rotation"), &r.Spec)
	timesOK = timesOK && len(d.problems) == before

	r.Permissions = d.permissions(o.get("permissions"), owner, r.Strategy)
	if o.entries != nil {
		d.spec(v.path, r.Spec, timesOK)
	}
	return r
}

func (d *decoder) owner(o *object) quay.Owner {
	organization, user := o.get("organization"), o.get("user")
	v, parse := organization, quay.ParseOrganization
	switch {
	case organization.written() && user.written():
		user.fail("a robot belongs to an organization or to a user; remove one of the two keys")
		return quay.Owner{}
	case user.written():
		v, parse = user, quay.ParseUser
	case o.entries != nil && !organization.written():
		organization.fail("is missing; write the Quay organization that the robot belongs to (or user: NAME for a user's own)")
	}
	s := v.str()
	if s == "" {
		return quay.Owner{}
	}
	owner, err := parse(s)
	if err != nil {
		v.fail("%v", err)
		return quay.Owner{}
	}
	return owner
}

// anyOwner stands in for an owner that is itself a problem, so that what depends on it is checked all the same.
var anyOwner, _ = quay.ParseOrganization("any")

func (d *decoder) base(v value, owner quay.Owner) quay.Robot {
	s := v.str()
	if s == "" {
		return quay.Robot{}
	}
	if owner.IsZero() {
		owner = anyOwner
	}
	robot, err := quay.NewRobot(owner, s)
	if err == nil {
		return robot
	}
	hint := ""
	if near := quayName(s); near != "" {
		if _, err := quay.NewRobot(owner, near); err == nil {
			hint = "; " + near + " would do"
		}
	}
	if prefix, short, found := strings.Cut(s, "+"); found && prefix == owner.Name() {
		hint = "; write the part after the + alone: " + clip(short)
	}
	v.fail("%v%s", err, hint)
	return quay.Robot{}
}

var (
	notInName = regexp.MustCompile(`[^a-z0-9._-]+`)
	separator = regexp.MustCompile(`[._-]{2,}`)
)

// quayName returns a name like s that follows Quay's rule.
func quayName(s string) string {
	s = notInName.ReplaceAllString(strings.ToLower(s), "_")
	s = separator.ReplaceAllStringFunc(s, func(run string) string { return run[:1] })
	return strings.Trim(s, "._-")
}

var strategies = map[string]rotation.Strategy{
	rotation.Overlap.String(): rotation.Overlap,
	rotation.None.String():    rotation.None,

	rotation.Regenerate.String(): rotation.Regenerate,
}

func (d *decoder) rotation(v value, s *rotation.Spec) {
	o := v.object()
	defer o.end()
	s.Strategy = strategies[o.get("strategy").oneOf(rotation.Overlap.String(), rotation.Overlap.String(), rotation.Regenerate.String(), rotation.None.String())]
	every, overlap := o.get("every"), o.get("overlap")
	s.Every, s.Overlap = every.duration(defaultEvery), overlap.duration(defaultOverlap)

	drain := o.get("drain").object()
	defer drain.end()
	s.Quiet = drain.get("quiet").duration(defaultQuiet)
	s.Max = drain.get("max").duration(defaultMax)

	unused := []value{overlap, drain.value}
	switch s.Strategy {
	case rotation.Overlap:
		return
	case rotation.None:
		unused = append(unused, every)
	case rotation.Regenerate:
	}
	for _, v := range unused {
		if v.written() {
			d.warn(v.path, "has no effect with strategy %s: no other robot takes over; remove it", s.Strategy)
		}
	}
}

// spec adds the problems that the rotation package finds. Times that were themselves not valid have been replaced by
// defaults, about which nothing is said.
func (d *decoder) spec(path string, s rotation.Spec, timesOK bool) {
	const baseField = "robot" // the one field of a Check that is not about times
	if s.Base.IsZero() {      // a problem of its own; the times are checked all the same
		s.Base, _ = quay.NewRobot(anyOwner, "any")
	}
	for _, p := range s.Check() {
		if p.Field != baseField && !timesOK {
			continue
		}
		at, root := strings.CutPrefix(p.Field, "/")
		if !root {
			at = path + "." + p.Field
		}
		report, already := d.fail, d.problems
		if p.Warning {
			report, already = d.warn, d.warnings
		}
		// Every robot finds the same fault with a value from the root.
		if root && slices.ContainsFunc(already, func(q Problem) bool { return q.Path == at && q.Message == p.Message }) {
			continue
		}
		report(at, "%s", p.Message)
	}
}

func (d *decoder) permissions(v value, owner quay.Owner, strategy rotation.Strategy) rotation.Permissions {
	o := v.object()
	defer o.end()
	repositories, teams, from := o.get("repositories"), o.get("teams"), o.get("from")
	p := rotation.Permissions{Prune: o.get("prune").boolean()}
	first := make(map[string]int)
	for i, item := range repositories.items() {
		g := d.grant(item, owner)
		if j, twice := first[g.Pattern]; twice && g.Pattern != "" {
			item.fail("%q is listed twice, first as number %d; remove one", clip(g.Pattern), j+1)
		} else {
			first[g.Pattern] = i
		}
		p.Repositories = append(p.Repositories, g)
	}
	p.Teams = d.teams(teams, owner)
	p.From = d.base(from, owner)
	if strategy != rotation.None && len(p.Repositories) == 0 && len(p.Teams) == 0 && !from.written() {
		d.warn(v.path, "nothing is granted: the robot will be able to log in, but not to pull; list repositories")
	}
	return p
}

func (d *decoder) grant(v value, owner quay.Owner) rotation.RepositoryGrant {
	o := v.object()
	defer o.end()
	g := rotation.RepositoryGrant{Role: quay.RoleRead}
	name := o.require("name", "the name of a repository, or * for all")
	g.Pattern = d.pattern(name, owner)

	role := o.get("role")
	if s := role.oneOf(quay.RoleRead.String(), quay.RoleRead.String(), quay.RoleWrite.String(), quay.RoleAdmin.String()); s != "" {
		g.Role, _ = quay.ParseRole(s) // one of these three
	}
	if g.Role > quay.RoleRead {
		d.warn(role.path, "%s lets everybody who holds the pull secret change the images; pulling needs only read", g.Role)
	}
	return g
}

// pattern reads the name of a repository in which * stands for any run of characters.
func (d *decoder) pattern(v value, owner quay.Owner) string {
	s := v.str()
	if s == "" {
		return ""
	}
	if owner.IsZero() {
		owner = anyOwner
	}
	// What * could stand for is what makes a valid name of a valid pattern.
	if _, err := quay.NewRepository(owner, strings.ReplaceAll(s, "*", "a")); err != nil {
		if glob.HasStar(s) {
			v.fail("%q can match no repository: apart from *, each part between '/' starts with a lower-case letter or digit, then has those, '.', '_' or '-'", clip(s))
		} else {
			v.fail("%v", err)
		}
		return ""
	}
	if rest, found := strings.CutPrefix(s, owner.Name()+"/"); found {
		d.warn(v.path, "names are those within %s already: this means %s/%s; did you mean %q?", owner, owner, clip(s), clip(rest))
	}
	return s
}

func (d *decoder) teams(v value, owner quay.Owner) []string {
	teams := unique(v.items(), value.teamName)
	if len(teams) > 0 && owner.IsUser() {
		v.fail("only organizations have teams, and %s is a user; remove the key", owner)
	}
	return teams
}
