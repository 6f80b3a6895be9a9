package quaytest

import (
	"cmp"
	"slices"
	"strconv"
)

func listOrgRobots(c *call) *answer {
	ask, refusal := c.robotQuery()
	if refusal != nil {
		return refusal
	}
	org := c.args[0]
	if !c.orgMember(org) {
		return c.deny()
	}
	admin := c.orgAdmin(org)
	ask.token = ask.token && admin
	ask.permissions = ask.permissions && admin
	return c.listRobots(org, ask)
}

func listUserRobots(c *call) *answer {
	if !c.userAdmin() {
		return c.deny()
	}
	ask, refusal := c.robotQuery()
	if refusal != nil {
		return refusal
	}
	return c.listRobots(c.token.user, ask)
}

// robotQuery is the parameters of a robot list; docs/quay-contract.md 2.5.
type robotQuery struct {
	token, permissions bool
	limit              int
	limited            bool
}

func (c *call) robotQuery() (robotQuery, *answer) {
	query := c.r.URL.Query()
	ask := robotQuery{token: truth(query["token"], true), permissions: truth(query["permissions"], false)}
	if limit, sent := query["limit"]; sent {
		n, err := strconv.Atoi(limit[0])
		if err != nil {
			return ask, frameworkError(400, object{{"limit", "If specified, the number of robots to return."}})
		}
		ask.limit, ask.limited = n, true
	}
	return ask, nil
}

// truth reads a boolean parameter: everything that is not one of the words for false is true.
func truth(values []string, otherwise bool) bool {
	if len(values) == 0 {
		return otherwise
	}
	return !slices.Contains([]string{"false", "False", "FALSE", "0", "", "null"}, values[0])
}

func (c *call) listRobots(ns string, ask robotQuery) *answer {
	if ask.limit < 0 {
		return internalError()
	}
	robots := []object{}
	rows := 0
	for _, b := range c.robotsLike(ns) {
		if ask.limited && rows >= ask.limit {
			break
		}
		teams, repositories := c.teamsOf(b, c.list), c.grantedRepositories(b)
		if ask.permissions {
			// The limit cuts the rows of a join, of which a robot has several; the robot whose rows it cuts
			// loses some of them.
			n := max(1, len(teams)) * max(1, len(repositories))
			if ask.limited && rows+n > ask.limit {
				n = ask.limit - rows
				repositories = repositories[:min(len(repositories), n)]
				teams = teams[:min(len(teams), (n-1)/max(1, len(repositories))+1)]
			}
			rows += n
		} else {
			rows++
		}
		robots = append(robots, c.listed(b, ask, teams, repositories))
	}
	return ok(object{{"robots", robots}})
}

// grantedRepositories returns bare names: without namespace and role.
func (c *call) grantedRepositories(b *robot) []string {
	names := []string{}
	for _, g := range b.grants {
		if seen(c.list, g.role) != "" && c.list.alive(g.repo.created, g.repo.deleted) {
			names = append(names, g.repo.name)
		}
	}
	return names
}

func (c *call) listed(b *robot, ask robotQuery, teams, repositories []string) object {
	lastAccessed := seen(c.list, b.lastAccessed)
	o := object{{"name", b.username()}, {"created", date(b.created)}, {"last_accessed", date(lastAccessed)}}
	if c.sw.lastAccessedOff {
		o[2].value = nil // the single robot still shows it; docs/quay-contract.md 2.5
	}
	if ask.permissions {
		views := []object{}
		for _, t := range teams {
			views = append(views, object{{"name", t}, {"avatar", avatar(t, "team")}})
		}
		o = append(o, field{"teams", views}, field{"repositories", repositories})
	}
	o = append(o, field{"description", b.description})
	if ask.token {
		o = append(o, field{"token", seen(c.list, b.token)})
	}
	return o
}

// compareScrambled orders ids in a fixed way that has nothing to do with their size.
func compareScrambled(a, b int64) int {
	const modulus, factor = 1<<31 - 1, 48271 // a permutation of the ids below the modulus
	return cmp.Compare(a*factor%modulus, b*factor%modulus)
}
