package quaytest

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
)

// Teams and prototypes; docs/quay-contract.md 3.2, 3.3.

var teamRoles = []string{"member", "creator", "admin"}

func putTeam(c *call, ns *namespace) *answer {
	request, refusal := c.roleRequest(teamRoles...)
	if refusal != nil {
		return refusal
	}
	name := c.args[1]
	t := ns.teams[name]
	created := t == nil
	if created {
		if !quayName.MatchString(name) {
			return c.invalidRequest("Invalid team name " + name)
		}
		t = ns.addTeam(name, request.role)
		c.log(ns, "org_create_team", object{{"team", name}})
	}
	t.role, t.description = request.role, request.description
	return ok(object{
		{"name", name},
		{"description", t.description},
		{"can_view", true},
		{"role", t.role},
		{"avatar", avatar(name, "team")},
		{"new_team", created},
	})
}

func deleteTeam(c *call, ns *namespace) *answer {
	name := c.args[1]
	if ns.teams[name] == nil {
		return c.notFound()
	}
	delete(ns.teams, name)
	for _, r := range ns.repositories {
		delete(r.teamGrants, name)
	}
	c.log(ns, "org_delete_team", object{{"team", name}})
	return noContent()
}

func (c *call) member(username string) object {
	return object{
		{"name", username},
		{"kind", "user"},
		{"is_robot", isRobotName(username)},
		{"avatar", avatar(username, avatarKind(username))},
		{"invited", false},
	}
}

func teamMembers(c *call, ns *namespace) *answer {
	t := ns.teams[c.args[1]]
	if t == nil {
		return c.notFound()
	}
	members := []object{}
	for _, username := range slices.Sorted(maps.Keys(t.members)) {
		if t.has(username, c.list) {
			members = append(members, c.member(username))
		}
	}
	return ok(object{{"name", t.name}, {"members", members}, {"can_edit", true}})
}

func addTeamMember(c *call, ns *namespace) *answer {
	t, username := ns.teams[c.args[1]], c.args[2]
	switch {
	case t == nil:
		return c.notFound()
	case !c.isEntity(username):
		return c.invalidRequest("Unknown user")
	case t.has(username, view{}):
		return modelError(fmt.Sprintf("User %s is already a member of team %s", username, t.name))
	}
	t.setMember(c.now, username, true)
	c.log(ns, "org_add_team_member", object{{"member", username}, {"team", t.name}})
	return ok(c.member(username))
}

func removeTeamMember(c *call, ns *namespace) *answer {
	t, username := ns.teams[c.args[1]], c.args[2]
	switch {
	case t == nil || !c.isEntity(username):
		return c.notFound()
	case !t.has(username, view{}):
		return modelError(fmt.Sprintf("User %s does not belong to team %s", username, t.name))
	}
	t.setMember(c.now, username, false)
	c.log(ns, "org_remove_team_member", object{{"member", username}, {"team", t.name}})
	return noContent()
}

func (c *call) showPrototype(p *prototype) object {
	kind := p.kind
	delegate := object{{"name", p.delegate}, {"kind", kind}}
	if kind == "user" {
		delegate = append(delegate, field{"is_robot", isRobotName(p.delegate)}, field{"avatar", avatar(p.delegate, avatarKind(p.delegate))})
	} else {
		delegate = append(delegate, field{"avatar", avatar(p.delegate, "team")})
	}
	var activating any
	if p.activatingUser != "" {
		activating = object{{"name", p.activatingUser}, {"is_robot", isRobotName(p.activatingUser)}}
	}
	return object{{"activating_user", activating}, {"delegate", delegate}, {"role", p.role}, {"id", p.id}}
}

func listPrototypes(c *call, ns *namespace) *answer {
	shown := []object{}
	for _, p := range ns.prototypes {
		shown = append(shown, c.showPrototype(p))
	}
	return ok(object{{"prototypes", shown}})
}

func createPrototype(c *call, ns *namespace) *answer {
	request, refusal := c.roleRequest("read", "write", "admin")
	if refusal != nil {
		return refusal
	}
	fields, _ := c.jsonObject()
	delegate, _ := fields["delegate"].(map[string]any)
	activating, _ := fields["activating_user"].(map[string]any)
	p := &prototype{id: "prototype-" + strconv.FormatInt(c.nextID(), 10), role: request.role}
	p.kind, _ = delegate["kind"].(string)
	p.delegate, _ = delegate["name"].(string)
	p.activatingUser, _ = activating["name"].(string)
	switch {
	case p.kind == "user" && !c.isEntity(p.delegate), p.kind == "team" && ns.teams[p.delegate] == nil:
		return c.invalidRequest("Missing delegate user or team")
	case p.kind != "user" && p.kind != "team":
		return c.schemaError(fields["delegate"], "is not a delegate", "enum", "delegate")
	}
	ns.prototypes = append(ns.prototypes, p)
	c.log(ns, "create_prototype_permission", object{{"prototype_id", p.id}, {"role", p.role}})
	return ok(c.showPrototype(p))
}

func (ns *namespace) prototype(id string) int {
	return slices.IndexFunc(ns.prototypes, func(p *prototype) bool { return p.id == id })
}

func changePrototype(c *call, ns *namespace) *answer {
	request, refusal := c.roleRequest("read", "write", "admin")
	if refusal != nil {
		return refusal
	}
	i := ns.prototype(c.args[1])
	if i < 0 {
		return c.notFound()
	}
	ns.prototypes[i].role = request.role
	return ok(c.showPrototype(ns.prototypes[i]))
}

func deletePrototype(c *call, ns *namespace) *answer {
	i := ns.prototype(c.args[1])
	if i < 0 {
		return c.notFound()
	}
	ns.prototypes = slices.Delete(ns.prototypes, i, i+1)
	return noContent()
}
