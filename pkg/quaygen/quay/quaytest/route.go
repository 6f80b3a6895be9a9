package quaytest

import (
	"net/http"
	"net/url"
	"regexp"
	"strings"
)

// area is a part of the URL space that Quay's nginx treats alike.
type area int

const (
	areaOther area = iota
	areaAPI
	areaAuth
	areaRegistry
)

func areaOf(path string) area {
	switch {
	case strings.HasPrefix(path, "/api/"):
		return areaAPI
	case path == "/v2/auth":
		return areaAuth
	case path == "/v2" || strings.HasPrefix(path, "/v2/"):
		return areaRegistry
	}
	return areaOther
}

// Operations, as [CallLog] and [Fault] name them. Package quay's client reports its calls under the same names.
const (
	opRobotCreate      = "robot.create"
	opRobotGet         = "robot.get"
	opRobotList        = "robot.list"
	opRobotDelete      = "robot.delete"
	opRobotRegenerate  = "robot.regenerate"
	opRobotPermissions = "robot.permissions"
	opRepositoryList   = "repository.list"
	opRepositoryGet    = "repository.get"
	opPermissionList   = "permission.list"
	opPermissionPut    = "permission.put"
	opPermissionGet    = "permission.get"
	opPermissionDelete = "permission.delete"
	opTeamMembers      = "team.members"
	opTeamAdd          = "team.add"
	opTeamRemove       = "team.remove"
	opOrganizationGet  = "organization.get"
	opPrototypesList   = "prototypes.list"
	opUserRobots       = "user.robots"
	opAuth             = "auth"
	opConfig           = "config"
	opRegistry         = "registry"
	opOther            = "other"
)

var operations = []string{
	opRobotCreate, opRobotGet, opRobotList, opRobotDelete, opRobotRegenerate, opRobotPermissions, opRepositoryList, opRepositoryGet,
	opPermissionList, opPermissionPut, opPermissionGet, opPermissionDelete, opTeamMembers, opTeamAdd, opTeamRemove, opOrganizationGet,
	opPrototypesList, opUserRobots, opAuth, opConfig, opRegistry, opOther,
}

// route is one view of the API.
type route struct {
	operation string
	method    string
	path      *regexp.Regexp
	view      func(*call) *answer
	anyScope  bool // the view asks for no right, so that a broken scope string does no harm (docs/quay-contract.md 1.2)
}

func apiRoute(operation, method, path string, view func(*call) *answer) route {
	const one, many = `([^/]+)`, `([^/]+(?:/[^/]+)+)`
	expr := strings.NewReplacer("{repository}", many, "{}", one, ".", `\.`).Replace(path)
	return route{operation: operation, method: method, path: regexp.MustCompile(`\A/api/v1` + expr + `\z`), view: view}
}

var routes = buildRoutes()

func buildRoutes() []route {
	const get, put, post, del = http.MethodGet, http.MethodPut, http.MethodPost, http.MethodDelete
	var rs []route
	// The robots of an organization and of a user have the same views (docs/quay-contract.md 2).
	rs = append(rs,
		apiRoute(opRobotList, get, "/organization/{}/robots", listOrgRobots),
		apiRoute(opRobotGet, get, "/organization/{}/robots/{}", onOrgRobot(getRobot)),
		apiRoute(opRobotCreate, put, "/organization/{}/robots/{}", createOrgRobot),
		apiRoute(opRobotDelete, del, "/organization/{}/robots/{}", onOrgRobot(deleteRobot)),
		apiRoute(opRobotRegenerate, post, "/organization/{}/robots/{}/regenerate", onOrgRobot(regenerateRobot)),
		apiRoute(opRobotPermissions, get, "/organization/{}/robots/{}/permissions", orgRobotPermissions),
		apiRoute(opRobotList, get, "/user/robots", listUserRobots),
		apiRoute(opRobotGet, get, "/user/robots/{}", onUserRobot(getRobot)),
		apiRoute(opRobotCreate, put, "/user/robots/{}", createUserRobot),
		apiRoute(opRobotDelete, del, "/user/robots/{}", onUserRobot(deleteRobot)),
		apiRoute(opRobotRegenerate, post, "/user/robots/{}/regenerate", onUserRobot(regenerateRobot)),
		apiRoute(opRobotPermissions, get, "/user/robots/{}/permissions", onUserRobot(robotPermissions)),
	)
	rs = append(rs,
		apiRoute(opPermissionList, get, "/repository/{repository}/permissions/user/", onRepository(listPermissions)),
		apiRoute(opPermissionGet, get, "/repository/{repository}/permissions/user/{}", onRepository(getPermission)),
		apiRoute(opPermissionPut, put, "/repository/{repository}/permissions/user/{}", onRepository(putPermission)),
		apiRoute(opPermissionDelete, del, "/repository/{repository}/permissions/user/{}", onRepository(deletePermission)),
		apiRoute(opOther, get, "/repository/{repository}/permissions/user/{}/transitive", onRepository(transitivePermission)),
		apiRoute(opOther, get, "/repository/{repository}/permissions/team/", onRepository(listTeamPermissions)),
		apiRoute(opOther, get, "/repository/{repository}/permissions/team/{}", onRepository(getTeamPermission)),
		apiRoute(opOther, put, "/repository/{repository}/permissions/team/{}", onRepository(putTeamPermission)),
		apiRoute(opOther, del, "/repository/{repository}/permissions/team/{}", onRepository(deleteTeamPermission)),
		apiRoute(opOther, get, "/repository/{repository}/logs", onRepository(repositoryLogs)),
	)
	rs = append(rs,
		apiRoute(opOther, put, "/organization/{}/team/{}", onOrganization(putTeam)),
		apiRoute(opOther, del, "/organization/{}/team/{}", onOrganization(deleteTeam)),
		apiRoute(opTeamMembers, get, "/organization/{}/team/{}/members", onOrganization(teamMembers)),
		apiRoute(opTeamAdd, put, "/organization/{}/team/{}/members/{}", onOrganization(addTeamMember)),
		apiRoute(opTeamRemove, del, "/organization/{}/team/{}/members/{}", onOrganization(removeTeamMember)),
		apiRoute(opPrototypesList, get, "/organization/{}/prototypes", onOrganization(listPrototypes)),
		apiRoute(opOther, post, "/organization/{}/prototypes", onOrganization(createPrototype)),
		apiRoute(opOther, put, "/organization/{}/prototypes/{}", onOrganization(changePrototype)),
		apiRoute(opOther, del, "/organization/{}/prototypes/{}", onOrganization(deletePrototype)),
		apiRoute(opOther, get, "/organization/{}/logs", onOrganization(organizationLogs)),
		apiRoute(opOther, get, "/organization/{}/aggregatelogs", onOrganization(aggregateLogs)),
		apiRoute(opOrganizationGet, get, "/organization/{}", getOrganization),
		apiRoute(opOther, get, "/user/logs", userLogs),
		apiRoute(opOther, get, "/user/", getUser),
		apiRoute(opOther, get, "/error/{}", describeError),
	)
	list := apiRoute(opRepositoryList, get, "/repository", listRepositories)
	list.anyScope = true
	return append(rs, list,
		apiRoute(opOther, post, "/repository", createRepository),
		apiRoute(opRepositoryGet, get, "/repository/{repository}", getRepository),
		apiRoute(opOther, del, "/repository/{repository}", onRepository(deleteRepository)),
	)
}

// match is what a URL and a method lead to.
type match struct {
	operation string
	route     *route
	args      []string
	known     bool // some view has this path, if not with this method
}

// find matches the decoded path: %2F separates segments like any slash (docs/quay-contract.md 1.3).
func find(r *http.Request) match {
	switch areaOf(r.URL.Path) {
	case areaAuth:
		return match{operation: opAuth}
	case areaRegistry:
		return match{operation: opRegistry}
	case areaOther:
		if r.URL.Path == "/config" {
			return match{operation: opConfig}
		}
		return match{operation: opOther}
	case areaAPI:
		return findView(r)
	default:
		panic("quaytest: an area without routes")
	}
}

func findView(r *http.Request) match {
	method := r.Method
	if method == http.MethodHead {
		method = http.MethodGet
	}
	m := match{operation: opOther}
	for i := range routes {
		args := routes[i].path.FindStringSubmatch(r.URL.Path)
		if args == nil {
			// A view whose path ends with a slash takes reads without it as well, to redirect them.
			if method == http.MethodGet && routes[i].method == method && routes[i].path.MatchString(r.URL.Path+"/") {
				return match{operation: opOther, known: true}
			}
			continue
		}
		m.known = true
		if routes[i].method == method {
			m.route, m.args, m.operation = &routes[i], args[1:], routes[i].operation
			break
		}
	}
	// The same path serves the client's list and its probe for the user:admin scope, told apart by the limit.
	if m.operation == opRobotList && r.URL.Path == "/api/v1/user/robots" && r.URL.Query().Get("limit") == "0" {
		m.operation = opUserRobots
	}
	return m
}

// unrouted answers API paths without a view for the method; docs/quay-contract.md 0 and 1.3. Reads fall through to the
// web interface, whose only route for them ends with a slash.
func unrouted(r *http.Request, m match) *answer {
	read := r.Method == http.MethodGet || r.Method == http.MethodHead
	switch {
	case read && !strings.HasSuffix(r.URL.Path, "/"):
		to := url.URL{Path: r.URL.Path + "/", RawQuery: r.URL.RawQuery}
		return page(http.StatusPermanentRedirect).set("Location", to.String())
	case !read && m.known:
		return frameworkError(http.StatusMethodNotAllowed, wrongMethod)
	}
	return page(http.StatusNotFound)
}
