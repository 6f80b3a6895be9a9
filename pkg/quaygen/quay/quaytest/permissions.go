package quaytest

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
)

// The direct roles of users and robots on repositories; docs/quay-contract.md 3.1.

const noPermission = "User does not have permission for repo."

// avatar is the picture Quay draws for a name.
func avatar(name, kind string) object {
	sum := sha256.Sum256([]byte(name))
	return object{{"name", name}, {"hash", hex.EncodeToString(sum[:16])}, {"color", "#5254a3"}, {"kind", kind}}
}

func avatarKind(username string) string {
	if isRobotName(username) {
		return "robot"
	}
	return "user"
}

// holder shows one grant. The role belongs to the name even where the name is another organization's.
func (c *call) holder(ns, username, role string) object {
	o := object{
		{"role", role},
		{"name", username},
		{"is_robot", isRobotName(username)},
		{"avatar", avatar(username, avatarKind(username))},
	}
	if owner := c.namespaces[ns]; owner != nil && owner.organization {
		robotsOwner, _, robot := strings.Cut(username, "+")
		member := robot && robotsOwner == ns || !robot && c.teamRole(ns, username) != ""
		o = append(o, field{"is_org_member", member})
	}
	return o
}

func listPermissions(c *call, ns, _ string, repo *repository) *answer {
	permissions := object{}
	if repo != nil {
		roles := repo.rolesByUser(c.list)
		for _, username := range slices.Sorted(maps.Keys(roles)) {
			permissions = append(permissions, field{username, c.holder(ns, username, roles[username])})
		}
	}
	return ok(object{{"permissions", permissions}})
}

func getPermission(c *call, ns, _ string, repo *repository) *answer {
	username := c.args[1]
	if repo == nil || repo.grants[username] == nil || repo.grants[username].role.now() == "" {
		return modelError(noPermission)
	}
	return ok(c.holder(ns, username, repo.grants[username].role.now()))
}

func putPermission(c *call, ns, name string, repo *repository) *answer {
	request, refusal := c.roleRequest("read", "write", "admin")
	if refusal != nil {
		return refusal
	}
	username := c.args[1]
	robotsOwner, _, isRobot := strings.Cut(username, "+")
	switch {
	case username == ns:
		return c.invalidRequest("Namespace owner must always be admin.")
	case c.robots[username] == nil && c.namespaces[username] == nil:
		return c.invalidRequest("Invalid username: " + username)
	case isRobot && robotsOwner != ns:
		return c.invalidRequest(fmt.Sprintf("Cannot add robot %s under namespace %s", username, ns))
	case repo == nil:
		return internalError() // docs/quay-contract.md 0.5
	}
	c.setRole(repo, username, request.role, c.now)
	c.log(c.namespaces[ns], "change_repo_permission", object{{"username", username}, {"repo", name}, {"namespace", ns}, {"role", request.role}})
	return ok(c.holder(ns, username, request.role))
}

func deletePermission(c *call, ns, name string, repo *repository) *answer {
	username := c.args[1]
	if repo == nil || repo.grants[username] == nil || repo.grants[username].role.now() == "" {
		return c.invalidRequest(noPermission)
	}
	c.setRole(repo, username, "", c.now)
	c.log(c.namespaces[ns], "delete_repo_permission", object{{"username", username}, {"repo", name}, {"namespace", ns}})
	return noContent()
}

// transitivePermission shows roles through teams as well.
func transitivePermission(c *call, _, _ string, repo *repository) *answer {
	var roles []string
	if repo != nil {
		roles = c.roles(c.args[1], repo)
	}
	if len(roles) == 0 {
		return c.notFound()
	}
	permissions := []object{}
	for _, role := range roles {
		permissions = append(permissions, object{{"role", role}})
	}
	return ok(object{{"permissions", permissions}})
}

type roleRequest struct {
	role, description string
}

// roleRequest reads a required JSON body with a role out of those allowed; docs/quay-contract.md 1.3.
func (c *call) roleRequest(allowed ...string) (roleRequest, *answer) {
	fields, refusal := c.jsonObject()
	if refusal != nil {
		return roleRequest{}, refusal
	}
	role, sent := fields["role"]
	if !sent {
		return roleRequest{}, c.schemaError(fields, "lacks: 'role' is a required property", "required", "")
	}
	text, is := role.(string)
	if !is || !slices.Contains(allowed, text) {
		return roleRequest{}, c.schemaError(role, "is not one of ['"+strings.Join(allowed, "', '")+"']", "enum", "role")
	}
	description, _ := fields["description"].(string)
	return roleRequest{role: text, description: description}, nil
}

// jsonObject reads a body that is required and must be a JSON object.
func (c *call) jsonObject() (map[string]any, *answer) {
	if !saysJSON(c.r) {
		return nil, frameworkError(http.StatusUnsupportedMediaType, wrongTypeMessage)
	}
	var body any
	if json.Unmarshal(c.body, &body) != nil {
		return nil, frameworkError(http.StatusBadRequest, badRequestMessage)
	}
	fields, is := body.(map[string]any)
	if !is {
		return nil, c.schemaError(body, "is not of type 'object'", "type", "")
	}
	return fields, nil
}

// The same for teams; docs/quay-contract.md 3.2.

func teamHolder(team, role string) object {
	return object{{"role", role}, {"name", team}, {"avatar", avatar(team, "team")}}
}

func listTeamPermissions(_ *call, _, _ string, repo *repository) *answer {
	permissions := object{}
	if repo != nil {
		for _, team := range slices.Sorted(maps.Keys(repo.teamGrants)) {
			permissions = append(permissions, field{team, teamHolder(team, repo.teamGrants[team])})
		}
	}
	return ok(object{{"permissions", permissions}})
}

func getTeamPermission(c *call, _, _ string, repo *repository) *answer {
	if repo == nil || repo.teamGrants[c.args[1]] == "" {
		return modelError("Team does not have permission for repo.")
	}
	return ok(teamHolder(c.args[1], repo.teamGrants[c.args[1]]))
}

func putTeamPermission(c *call, ns, _ string, repo *repository) *answer {
	request, refusal := c.roleRequest("read", "write", "admin")
	if refusal != nil {
		return refusal
	}
	team := c.args[1]
	switch {
	case c.namespaces[ns].teams[team] == nil:
		return c.invalidRequest("Invalid teamname: " + team)
	case repo == nil:
		return internalError()
	}
	repo.teamGrants[team] = request.role
	c.log(c.namespaces[ns], "change_repo_permission", object{{"team", team}, {"repo", repo.name}, {"namespace", ns}, {"role", request.role}})
	return ok(teamHolder(team, request.role))
}

func deleteTeamPermission(c *call, ns, _ string, repo *repository) *answer {
	team := c.args[1]
	if repo == nil || repo.teamGrants[team] == "" {
		return c.invalidRequest("Team does not have permission for repo.")
	}
	delete(repo.teamGrants, team)
	c.log(c.namespaces[ns], "delete_repo_permission", object{{"team", team}, {"repo", repo.name}, {"namespace", ns}})
	return noContent()
}
