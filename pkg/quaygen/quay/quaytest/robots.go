package quaytest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"
)

// The rule as Quay writes it, and as its Python reads it: "$" lets one newline through (docs/quay-contract.md 2.1).
const quayNameRule = `^([a-z0-9]+(?:[._-][a-z0-9]+)*)$`

var quayName = regexp.MustCompile(`\A([a-z0-9]+(?:[._-][a-z0-9]+)*)\n?\z`)

// maxUsername is the width of the column for users' and robots' names.
const maxUsername = 255

// onOrgRobot wraps views of one robot, which must exist, below /organization/.
func onOrgRobot(view func(*call, *robot) *answer) func(*call) *answer {
	return func(c *call) *answer {
		if !c.orgAdmin(c.args[0]) {
			return c.deny()
		}
		return c.onRobot(c.args[0], c.args[1], view)
	}
}

// onUserRobot wraps views of one robot, which must exist, below /user/.
func onUserRobot(view func(*call, *robot) *answer) func(*call) *answer {
	return func(c *call) *answer {
		if !c.userAdmin() {
			return c.deny()
		}
		return c.onRobot(c.token.user, c.args[0], view)
	}
}

func (c *call) onRobot(ns, short string, view func(*call, *robot) *answer) *answer {
	b := c.robots[ns+"+"+short]
	if b == nil {
		return modelError(robotMissing)
	}
	return view(c, b)
}

func getRobot(c *call, b *robot) *answer {
	metadata := b.metadata
	if metadata == nil {
		metadata = map[string]any{} // a PUT answers null for the same; docs/quay-contract.md 0
	}
	return ok(append(b.fields(), field{"unstructured_metadata", metadata}))
}

func (b *robot) fields() object {
	return object{
		{"name", b.username()},
		{"created", date(b.created)},
		{"last_accessed", date(b.lastAccessed.now())},
		{"description", b.description},
		{"token", b.token.now()},
	}
}

func createOrgRobot(c *call) *answer {
	request, refusal := c.robotRequest()
	if refusal != nil {
		return refusal
	}
	org := c.args[0]
	if !c.orgAdmin(org) {
		return c.deny()
	}
	if c.sw.robotsDisallow {
		return c.robotsDisabled()
	}
	if !c.namespaces[org].organization {
		return modelError("Organization does not exist: " + org)
	}
	return c.createRobot(c.namespaces[org], c.args[1], request)
}

func createUserRobot(c *call) *answer {
	// The right comes first here, because it is a decorator around the one that checks the body.
	if !c.userAdmin() {
		return c.deny()
	}
	request, refusal := c.robotRequest()
	if refusal != nil {
		return refusal
	}
	if c.sw.robotsDisallow {
		return c.robotsDisabled()
	}
	return c.createRobot(c.namespaces[c.token.user], c.args[0], request)
}

func (c *call) robotsDisabled() *answer {
	return c.invalidRequest("Robot accounts have been disabled. Please contact your administrator.")
}

type robotRequest struct {
	description string
	metadata    map[string]any
}

// robotRequest reads the optional body of a PUT. What is no JSON counts as no body; docs/quay-contract.md 2.2.
func (c *call) robotRequest() (robotRequest, *answer) {
	var request robotRequest
	var body any
	if !saysJSON(c.r) || json.Unmarshal(c.body, &body) != nil || body == nil {
		return request, nil
	}
	fields, is := body.(map[string]any)
	if !is {
		return request, c.schemaError(body, "is not of type 'object'", "type", "")
	}
	if v, sent := fields["description"]; sent {
		text, is := v.(string)
		switch {
		case !is:
			return request, c.schemaError(v, "is not of type 'string'", "type", "description")
		case utf8.RuneCountInString(text) > 255:
			return request, c.schemaError(v, "is too long", "maxLength", "description")
		}
		request.description = text
	}
	if v, sent := fields["unstructured_metadata"]; sent {
		if request.metadata, is = v.(map[string]any); !is {
			return request, c.schemaError(v, "is not of type 'object'", "type", "unstructured_metadata")
		}
	}
	return request, nil
}

// schemaError is an invalid_request whose detail has the shape of the validator's several lines.
func (c *call) schemaError(value any, problem, keyword, property string) *answer {
	shown := string(encode(value, spaced))
	shown = strings.TrimSuffix(shown, "\n")
	schema, on := "schema", "On instance"
	if property != "" {
		schema += "['properties']['" + property + "']"
		on += "['" + property + "']"
	}
	return c.invalidRequest(fmt.Sprintf("%s %s\n\nFailed validating '%s' in %s:\n    {...}\n\n%s:\n    %s", shown, problem, keyword, schema, on, shown))
}

func (c *call) createRobot(ns *namespace, short string, request robotRequest) *answer {
	username := ns.name + "+" + short
	switch {
	case !quayName.MatchString(short):
		return c.invalidRobotName(short, "Namespace must match expression "+quayNameRule)
	case len(short) < 2 || len(short) > 255:
		return c.invalidRobotName(short, "Namespace must be between 2 and 255 characters in length")
	case c.robots[username] != nil:
		return c.invalidRequest("Existing robot with name: " + username)
	case len(username) > maxUsername:
		return modelError("value too long for type character varying(255)\n")
	}
	b := c.addRobot(ns, short, request.description, request.metadata, c.now)
	var metadata any
	if request.metadata != nil {
		metadata = request.metadata
	}
	c.log(ns, "create_robot", object{{"robot", short}, {"description", request.description}, {"unstructured_metadata", metadata}})
	return okStatus(http.StatusCreated, append(b.fields(), field{"unstructured_metadata", metadata}))
}

func (c *call) invalidRobotName(short, rule string) *answer {
	return c.invalidRequest(fmt.Sprintf("The name for the robot '%s' is invalid: %s", short, rule))
}

func deleteRobot(c *call, b *robot) *answer {
	if b.mirror {
		return c.invalidRequest("Robot is being used by a mirror")
	}
	c.dropRobot(b, c.now)
	c.log(b.ns, "delete_robot", object{{"robot", b.short}})
	return noContent()
}

func regenerateRobot(c *call, b *robot) *answer {
	b.token.set(c.now, c.mint(64))
	c.log(b.ns, "regenerate_robot_token", object{{"robot", b.short}})
	return ok(b.fields())
}

// orgRobotPermissions needs user:admin before org:admin is even asked for; docs/quay-contract.md 0.9.
func orgRobotPermissions(c *call) *answer {
	switch {
	case !c.userAdmin():
		return c.deny()
	case !c.orgAdmin(c.args[0]):
		return frameworkError(http.StatusForbidden, forbiddenMessage)
	}
	return c.onRobot(c.args[0], c.args[1], robotPermissions)
}

// robotPermissions shows direct grants only; docs/quay-contract.md 2.8.
func robotPermissions(c *call, b *robot) *answer {
	permissions := []object{}
	for _, g := range b.grants {
		if role := seen(c.list, g.role); role != "" && c.list.alive(g.repo.created, g.repo.deleted) {
			repo := object{{"name", g.repo.name}, {"is_public", g.repo.public}}
			permissions = append(permissions, object{{"repository", repo}, {"role", role}})
		}
	}
	return ok(object{{"permissions", permissions}})
}

// like is SQL's ILIKE, in which '_' and '%' are live.
func like(s, pattern string) bool {
	for pattern != "" {
		switch pattern[0] {
		case '%':
			for i := range len(s) + 1 {
				if like(s[i:], pattern[1:]) {
					return true
				}
			}
			return false
		case '_':
			if s == "" {
				return false
			}
		default:
			if s == "" || !strings.EqualFold(s[:1], pattern[:1]) {
				return false
			}
		}
		s, pattern = s[1:], pattern[1:]
	}
	return s == ""
}

// robotsLike returns the robots that a list for ns shows; those of similarly named namespaces are among them
// (docs/quay-contract.md 0.6). Last used come first, but before them those never used, in no order (0.7).
func (c *call) robotsLike(ns string) []*robot {
	var found []*robot
	consider := func(b *robot) {
		if c.list.alive(b.created, b.deleted) && like(b.username(), ns+"+%") {
			found = append(found, b)
		}
	}
	if c.list.stale() {
		for _, b := range c.everyRobot {
			consider(b)
		}
	} else {
		for _, b := range c.robots {
			consider(b)
		}
	}
	slices.SortFunc(found, func(a, b *robot) int {
		ta, tb := seen(c.list, a.lastAccessed), seen(c.list, b.lastAccessed)
		switch {
		case ta.Equal(tb):
			return compareScrambled(a.id, b.id)
		case ta.IsZero():
			return -1
		case tb.IsZero():
			return 1
		}
		return tb.Compare(ta)
	})
	return found
}
