package config

import (
	"net"
	"net/url"
	"regexp"
	"strings"

	"github.com/quaygen/quaygen/pkg/quaygen/glob"
	"github.com/quaygen/quaygen/pkg/quaygen/quay"
	"github.com/quaygen/quaygen/pkg/quaygen/rotation"
)

// check looks at what no value shows on its own: names that must differ, references, listeners, budgets. Values that
// were not valid are empty here and skipped, so that each fault is reported once.
func (d *decoder) check(c *Config) {
	registries := d.checkRegistries(c)
	robots, names := d.checkNames(c)
	d.checkRobots(c, registries)
	d.checkPullSecrets(c, robots)
	clients := d.checkClients(c)
	d.checkRules(c, clients, names)
	d.checkServer(c)
	d.checkBudget(c)
}

// index knows the names of one kind of thing.
type index struct {
	what  string // for messages, in the plural
	names []string
	at    map[string]string // name → path of the thing
}

func newIndex(what string) *index { return &index{what: what, at: make(map[string]string)} }

// add enters the thing at path, and reports a name that is taken.
func (x *index) add(d *decoder, path, name string) {
	if name == "" {
		return
	}
	if first, taken := x.at[name]; taken {
		d.fail(path+".name", "%q is the name of %s (line %d) already; choose another", clip(name), first, d.locate(first+".name").line)
		return
	}
	x.at[name] = path
	x.names = append(x.names, name)
}

// resolve reports a name that is not there.
func (x *index) resolve(d *decoder, path, name string) {
	if _, ok := x.at[name]; !ok && name != "" {
		d.fail(path, "%q is not defined%s", clip(name), choose(name, x.what, x.names))
	}
}

func (d *decoder) checkRegistries(c *Config) *index {
	registries := newIndex("registries")
	for i, r := range c.Registries {
		registries.add(d, item("registries", i), r.Name)
	}
	return registries
}

// checkNames also returns robots and pull secrets together: callers ask for either by one name.
func (d *decoder) checkNames(c *Config) (robots, all *index) {
	robots, all = newIndex("robots"), newIndex("robots and pull secrets")
	for i, r := range c.Robots {
		path := item("robots", i)
		all.add(d, path, r.Name)
		if all.at[r.Name] == path {
			robots.add(d, path, r.Name)
		}
	}
	for i, p := range c.PullSecrets {
		all.add(d, item("pullSecrets", i), p.Name)
	}
	return robots, all
}

// account is a robot as Quay knows it, whichever registry entry leads there.
type account struct{ address, username string }

var generationSuffix = regexp.MustCompile(`_g[0-9]+\z`)

func (d *decoder) checkRobots(c *Config, registries *index) {
	addresses := make(map[string]string, len(c.Registries))
	for _, r := range c.Registries {
		addresses[r.Name] = address(r.Quay.URL)
	}
	first := make(map[account]int, len(c.Robots))
	for i, r := range c.Robots {
		path := item("robots", i)
		registries.resolve(d, path+".registry", r.Registry)
		if r.Base.IsZero() || r.Base.Owner() == anyOwner {
			continue
		}
		a := account{addresses[r.Registry], r.Base.Username()}
		if j, taken := first[a]; taken && a.address != "" {
			d.fail(path+".robot", "%s is the robot of robots[%d] (line %d) already: each would delete the generations of the other; choose another name",
				r.Base, j, d.locate(item("robots", j)+".robot").line)
			continue
		}
		first[a] = i
	}
	d.checkLedgerNames(c.Robots)
	for i, r := range c.Robots {
		if r.Scope == rotation.PerNamespace && !r.Base.IsZero() {
			d.checkNamespaceNames(i, c.Robots, addresses)
		}
		if !r.Permissions.From.IsZero() {
			d.checkFrom(item("robots", i)+".permissions.from", r, addresses[r.Registry], c.Robots, first)
		}
	}
}

// checkLedgerNames refuses robots of one name in several Quays that would share a record: the ledger knows owner and robot only.
func (d *decoder) checkLedgerNames(robots []Robot) {
	first := make(map[quay.Robot]int)
	for i, r := range robots {
		if r.Strategy != rotation.Regenerate || r.Base.IsZero() || r.Base.Owner() == anyOwner {
			continue
		}
		if j, taken := first[r.Base]; taken && robots[j].Registry != r.Registry {
			d.fail(item("robots", i)+".robot", "%s is regenerated in another Quay too, as robots[%d] (line %d), and the ledger could not tell the two apart; choose another name, or strategy overlap",
				r.Base, j, d.locate(item("robots", j)+".robot").line)
			continue
		}
		first[r.Base] = i
	}
}

// checkNamespaceNames refuses a robot whose name could be that of a namespace of robots[i].
func (d *decoder) checkNamespaceNames(i int, robots []Robot, addresses map[string]string) {
	r := robots[i]
	for j, other := range robots {
		if j == i || other.Base.IsZero() || other.Base.Owner() != r.Base.Owner() || addresses[other.Registry] != addresses[r.Registry] {
			continue
		}
		if rotation.IsNamespaceRobot(r.Base, other.Base.Short()) {
			d.fail(item("robots", j)+".robot", "%s could be the robot that robots[%d] (line %d) makes for a namespace of that name; choose another name",
				other.Base, i, d.locate(item("robots", i)+".robot").line)
		}
	}
}

// checkFrom refuses a template that is, or is going to be, no robot of its own.
func (d *decoder) checkFrom(path string, r Robot, address string, robots []Robot, bases map[account]int) {
	from := r.Permissions.From
	if from == r.Base {
		d.fail(path, "%s is this robot itself; name another one, whose grants are copied, or remove the key", from)
		return
	}
	if short := generationSuffix.ReplaceAllString(from.Short(), ""); short != from.Short() {
		if i, ok := bases[account{address, from.Owner().Name() + "+" + short}]; ok {
			d.fail(path, "%s is a generation of robots[%d], which is retired one day; name a robot that stays", from, i)
			return
		}
	}
	if i, ok := bases[account{address, from.Username()}]; ok && robots[i].Strategy == rotation.Overlap {
		d.warn(path, "%s is the base name of robots[%d]: Quay has only its generations, unless somebody made a robot of this very name by hand", from, i)
	}
}

// address identifies a Quay by its URL.
func address(s string) string {
	u, err := url.Parse(s)
	if err != nil || s == "" {
		return ""
	}
	port := u.Port()
	if port == "" {
		port = map[string]string{"https": "443", "http": "80"}[u.Scheme]
	}
	return net.JoinHostPort(strings.ToLower(u.Hostname()), port)
}

func (d *decoder) checkPullSecrets(c *Config, robots *index) {
	byName := make(map[string]Robot, len(c.Robots))
	for _, r := range c.Robots {
		byName[r.Name] = r
	}
	hosts := make(map[string]string, len(c.Registries))
	for _, r := range c.Registries {
		hosts[r.Name] = r.Host
	}
	for i, p := range c.PullSecrets {
		inTeams := make(map[string]string) // host and organization → the robot that is asked for what is not known to be another's
		for j, name := range p.Robots {
			path := item(item("pullSecrets", i)+".robots", j)
			robots.resolve(d, path, name)
			r := byName[name]
			if len(r.Permissions.Teams) == 0 {
				continue
			}
			organization := hosts[r.Registry] + "/" + r.Base.Owner().Name()
			if first, taken := inTeams[organization]; taken {
				d.warn(path, "%q is in a team of %s, as %q is: what a team may pull is not known, so that everything in there that no robot is granted is asked of %q; grant repositories, or take a pull secret of its own",
					clip(name), clip(organization), clip(first), clip(first))
				continue
			}
			inTeams[organization] = name
		}
	}
}

var (
	wildNamespace = regexp.MustCompile(`\A[a-z0-9*](?:[a-z0-9*-]{0,61}[a-z0-9*])?\z`)
	wildName      = regexp.MustCompile(`\A[a-z0-9*][a-z0-9*._-]{0,252}\z`)
)

func (d *decoder) checkRules(c *Config, clients, names *index) {
	named, only := make(map[string]bool), make(map[string]bool)
	for _, client := range c.Clients {
		only[client.Name] = client.OperatorOnly && client.Name != ""
	}
	for i, rule := range c.Rules {
		path := item("rules", i)
		for j, pattern := range rule.Clients {
			d.checkPattern(item(path+".clients", j), pattern, clients, named)
			if only[pattern] {
				d.fail(item(path+".clients", j), "%q is an operator only, and no rule gives it a pull secret; write namespaceFrom or namespace for the client, or remove it here", clip(pattern))
			}
		}
		for j, pattern := range rule.Names {
			d.checkPattern(item(path+".names", j), pattern, names, nil)
		}
		for j, pattern := range rule.Namespaces {
			if pattern != "" && !wildNamespace.MatchString(pattern) {
				d.fail(item(path+".namespaces", j), "%q must be %s, or such a name with * for any run of characters", clip(pattern), namespaceRule)
			}
		}
	}
	d.checkExposed(c)
	if len(c.Rules) == 0 {
		d.warn("rules", "there are none: everything will be denied")
		return
	}
	for i, client := range c.Clients {
		d.checkNamed(item("clients", i), client, named[client.Name])
	}
}

// checkPattern reports a name that is not there or a pattern that matches none, and marks in named what it matches.
func (d *decoder) checkPattern(path, pattern string, x *index, named map[string]bool) {
	if !glob.HasStar(pattern) {
		x.resolve(d, path, pattern)
		if named != nil {
			named[pattern] = true
		}
		return
	}
	if !wildName.MatchString(pattern) {
		d.fail(path, "%q can match nothing: names are %s", clip(pattern), nameRule)
		return
	}
	matched := false
	for _, name := range x.names {
		if !glob.Match(pattern, name) {
			continue
		}
		matched = true
		if named == nil {
			break
		}
		named[name] = true
	}
	if !matched {
		d.warn(path, "%q matches none of the %s", clip(pattern), x.what)
	}
}
