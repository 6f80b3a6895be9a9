package quaytest_test

import (
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const noPermission = "User does not have permission for repo."

// docs/quay-contract.md 3.1
func TestGrantsCanBeRepeatedAndChanged(t *testing.T) {
	q := contract(t)
	short, _ := q.newRobot("a")
	repo := q.newRepository("a")
	path := q.grants(repo) + q.username(short)
	for _, role := range []string{"read", "read", "write", "admin", "read"} {
		for _, reply := range []*reply{q.put(path, map[string]any{"role": role}), q.get(path)} {
			got := reply.status(200).object("")
			if want := []string{"avatar", "is_org_member", "is_robot", "name", "role"}; !cmp.Equal(sortedKeys(got), want) {
				t.Errorf("keys %v", sortedKeys(got))
			}
			if got["role"] != role || got["name"] != q.username(short) || got["is_robot"] != true || got["is_org_member"] != true {
				t.Errorf("grant %v", got)
			}
		}
	}
	avatar := q.get(path).object("avatar")
	if want := []string{"color", "hash", "kind", "name"}; !cmp.Equal(sortedKeys(avatar), want) {
		t.Errorf("avatar %v", avatar)
	}
}

// docs/quay-contract.md 3.1: the list shows the human who made the repository, too.
func TestListOfGrants(t *testing.T) {
	q := contract(t)
	short, _ := q.newRobot("a")
	repo := q.newRepository("a")
	q.grant(repo, short, "write")
	grants := q.get(q.grants(repo)).status(200).object("permissions")
	want := []string{q.username(short), q.tokenUser()}
	slices.Sort(want)
	if !cmp.Equal(sortedKeys(grants), want) {
		t.Errorf("grants of %v", sortedKeys(grants))
	}
	if creator, _ := grants[q.tokenUser()].(map[string]any); creator["role"] != "admin" || creator["is_robot"] != false {
		t.Errorf("the creator has %v", creator)
	}
}

// docs/quay-contract.md 3.1
func TestDeleteOfAGrantSaysWhetherThereWasOne(t *testing.T) {
	q := contract(t)
	short, _ := q.newRobot("a")
	repo := q.newRepository("a")
	q.grant(repo, short, "read")
	path := q.grants(repo) + q.username(short)
	q.delete(path).status(204)
	for _, gone := range []string{path, q.grants(repo) + q.org + "+nosuch", q.grants("nosuch"+q.prefix) + q.username(short)} {
		q.delete(gone).problem(400, "invalid_request").detail(noPermission)
		q.get(gone).bare(400, noPermission)
	}
}

// docs/quay-contract.md 3.1: a plus sign in a path may be escaped or not.
func TestAPlusInAPathMayBeEscaped(t *testing.T) {
	q := contract(t)
	short, _ := q.newRobot("a")
	repo := q.newRepository("a/b")
	q.put(q.grants(repo)+url.QueryEscape(q.username(short)), map[string]any{"role": "read"}).status(200)
	if got := q.get(q.grants(repo) + q.username(short)).status(200).text("role"); got != "read" {
		t.Errorf("role %q", got)
	}
}

// docs/quay-contract.md 0.5, 3.1
func TestAGrantOnAMissingRepositoryIsAnInternalError(t *testing.T) {
	q := contract(t)
	short, _ := q.newRobot("a")
	q.put(q.grants("nosuch"+q.prefix)+q.username(short), map[string]any{"role": "read"}).status(500).html()
}

// docs/quay-contract.md 0.10, 3.1
func TestTheGrantsOfAMissingRepositoryAreEmpty(t *testing.T) {
	q := contract(t)
	q.get(q.grants("nosuch" + q.prefix)).status(200).exactly(`{"permissions": {}}`)
}

// docs/quay-contract.md 3.1
func TestWhoCannotBeGranted(t *testing.T) {
	q := contract(t)
	user := q.tokenUser()
	foreign := "/api/v1/user/robots/" + q.prefix
	q.cleanUp(foreign)
	q.put(foreign, nil).status(201)
	repo := q.newRepository("a")
	role := map[string]any{"role": "read"}
	for name, detail := range map[string]string{
		user + "+" + q.prefix: "Cannot add robot " + user + "+" + q.prefix + " under namespace " + q.org,
		q.org + "+nosuch":     "Invalid username: " + q.org + "+nosuch",
		"nosuch" + q.prefix:   "Invalid username: nosuch" + q.prefix,
		q.org:                 "Namespace owner must always be admin.",
	} {
		q.put(q.grants(repo)+name, role).problem(400, "invalid_request").detail(detail)
	}
}

// docs/quay-contract.md 1.3, 2.2: unlike for robots, the right comes before the body.
func TestTheBodyOfAGrant(t *testing.T) {
	q := contract(t)
	short, _ := q.newRobot("a")
	repo := q.newRepository("a")
	path := q.grants(repo) + q.username(short)
	r := q.request(t.Context(), "PUT", path, "role=read")
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	q.send(r).bare(415, "Did not attempt to load JSON data because the request Content-Type was not 'application/json'.")
	q.put(path, `{"role": `).bare(400, "The browser (or proxy) sent a request that this server could not understand.")
	for _, body := range []string{`{}`, `{"role": "owner"}`, `{"role": null}`, `[]`} {
		q.put(path, body).problem(400, "invalid_request")
	}
	q.put("/api/v1/repository/nosuch"+q.prefix+"/x/permissions/user/"+q.username(short), `{`).insufficientScope()
}

// docs/quay-contract.md 3.1, 3.2: access through a team shows in few places.
func TestAccessThroughATeam(t *testing.T) {
	q := contract(t)
	short, _ := q.newRobot("a")
	repo := q.newRepository("a")
	team := q.prefix
	q.cleanUp("/api/v1/organization/" + q.org + "/team/" + team)
	teamPath := "/api/v1/organization/" + q.org + "/team/" + team
	if got := q.put(teamPath, map[string]any{"role": "member"}).status(200).object("")["new_team"]; got != true {
		t.Errorf("new_team %v", got)
	}
	if got := q.put(teamPath, map[string]any{"role": "member"}).status(200).object("")["new_team"]; got != false {
		t.Errorf("new_team %v again", got)
	}
	q.put("/api/v1/repository/"+q.org+"/"+repo+"/permissions/team/"+team, map[string]any{"role": "write"}).status(200)
	q.put(teamPath+"/members/"+q.username(short), nil).status(200)

	q.get(q.grants(repo)+q.username(short)).bare(400, noPermission)
	q.get(q.robotPath(short) + "/permissions").status(200).exactly(`{"permissions": []}`)
	q.get(q.grants(repo) + q.username(short) + "/transitive").status(200).exactly(`{"permissions": [{"role": "write"}]}`)
	item := q.listed("?token=false&permissions=true")[0]
	if teams, _ := item["teams"].([]any); len(teams) != 1 || !cmp.Equal(item["repositories"], []any{}) {
		t.Errorf("the list shows teams %v, repositories %v", item["teams"], item["repositories"])
	}
	q.get(q.grants(repo)+q.org+"+nosuch/transitive").problem(404, "not_found")
	q.get(q.grants("nosuch"+q.prefix)+q.username(short)+"/transitive").problem(404, "not_found")
}

// docs/quay-contract.md 3.2
func TestMembersOfATeam(t *testing.T) {
	q := contract(t)
	short, _ := q.newRobot("a")
	team := "/api/v1/organization/" + q.org + "/team/" + q.prefix
	q.cleanUp(team)
	q.put(team, map[string]any{"role": "member"}).status(200)
	member := q.put(team+"/members/"+q.username(short), nil).status(200).object("")
	delete(member, "avatar")
	if want := (map[string]any{"name": q.username(short), "kind": "user", "is_robot": true, "invited": false}); !cmp.Equal(member, want) {
		t.Errorf("member %v", member)
	}
	q.put(team+"/members/"+q.username(short), nil).bare(400, "User "+q.username(short)+" is already a member of team "+q.prefix)
	q.put(team+"/members/"+q.org+"+nosuch", nil).problem(400, "invalid_request").detail("Unknown user")
	q.put(team+"nosuch/members/"+q.username(short), nil).problem(404, "not_found")

	shown := q.get(team + "/members").status(200)
	if got := shown.names("members"); !cmp.Equal(got, []string{q.username(short)}) || shown.object("")["can_edit"] != true {
		t.Errorf("members %v", got)
	}
	q.get(team+"nosuch/members").problem(404, "not_found")

	q.delete(team + "/members/" + q.username(short)).status(204)
	q.delete(team+"/members/"+q.username(short)).bare(400, "User "+q.username(short)+" does not belong to team "+q.prefix)
	q.delete(team+"/members/"+q.org+"+nosuch").problem(404, "not_found")
	q.delete(team+"nosuch/members/"+q.username(short)).problem(404, "not_found")
}

// docs/quay-contract.md 3.3
func TestPrototypesApplyToLaterRepositories(t *testing.T) {
	q := contract(t)
	short, _ := q.newRobot("a")
	before := q.newRepository("before")
	path := "/api/v1/organization/" + q.org + "/prototypes"
	body := map[string]any{"role": "read", "delegate": map[string]any{"kind": "user", "name": q.username(short)}}
	ids := map[string]bool{}
	for range 2 {
		id := q.post(path, body).status(200).text("id")
		q.cleanUp(path + "/" + id)
		ids[id] = true
	}
	if len(ids) != 2 {
		t.Error("the second is the first")
	}
	after := q.newRepository("after")
	q.get(q.grants(before)+q.username(short)).bare(400, noPermission)
	if got := q.get(q.grants(after) + q.username(short)).status(200).text("role"); got != "read" {
		t.Errorf("role %q", got)
	}
	body["delegate"] = map[string]any{"kind": "user", "name": q.org + "+nosuch"}
	q.post(path, body).problem(400, "invalid_request").detail("Missing delegate user or team")
	for id := range ids {
		q.put(path+"/"+id, map[string]any{"role": "write"}).status(200)
		q.delete(path + "/" + id).status(204)
		q.delete(path+"/"+id).problem(404, "not_found")
	}
}

// docs/quay-contract.md 3.4
func TestRepositories(t *testing.T) {
	q := contract(t)
	repo := q.newRepository("a")
	path := "/api/v1/repository/" + q.org + "/" + repo
	if got := q.get(path).status(200).object(""); got["name"] != repo || got["namespace"] != q.org || got["is_public"] != false {
		t.Errorf("repository %v", got)
	}
	q.get("/api/v1/repository/"+q.org+"/nosuch"+q.prefix).problem(404, "not_found")
	q.get("/api/v1/repository/nosuch" + q.prefix + "/x").insufficientScope()
	q.anonymous().get(path).invalidToken()

	body := map[string]any{"namespace": q.org, "repository": repo, "visibility": "private", "description": ""}
	q.post("/api/v1/repository", body).problem(400, "invalid_request").detail("Repository already exists")
	body["repository"] = "Upper" + q.prefix
	q.post("/api/v1/repository", body).problem(400, "invalid_request").detail("Invalid repository name")

	q.delete(path).status(204)
	q.delete(path).status(204) // docs/quay-contract.md 0
	q.get(path).problem(404, "not_found")
}

// docs/quay-contract.md 0.10, 3.4
func TestListOfRepositories(t *testing.T) {
	q := contract(t)
	first, second := q.newRepository("b"), q.newRepository("a")
	var own []string
	page := ""
	for range 1000 {
		reply := q.get("/api/v1/repository?namespace=" + q.org + "&next_page=" + url.QueryEscape(page)).status(200)
		for _, item := range reply.items("repositories") {
			if name, _ := item["name"].(string); strings.HasPrefix(name, q.prefix) {
				own = append(own, name)
				for _, key := range []string{"namespace", "name", "description", "is_public", "kind", "state", "is_starred"} {
					if _, sent := item[key]; !sent {
						t.Errorf("no key %s", key)
					}
				}
			}
		}
		if page, _ = reply.object("")["next_page"].(string); page == "" {
			break
		}
	}
	if want := []string{first, second}; !cmp.Equal(own, want) {
		t.Errorf("repositories %v, want %v in the order of their making", own, want)
	}
	q.get("/api/v1/repository").status(400)
	q.get("/api/v1/repository?namespace=nosuch" + q.prefix).status(200).exactly(`{"repositories": []}`)
	if got := q.anonymous().get("/api/v1/repository?namespace=" + q.org).status(200).names("repositories"); slices.Contains(got, first) {
		t.Error("everybody sees private repositories")
	}
}

// docs/quay-contract.md 3.4
func TestAnUnreadablePageIsTheFirst(t *testing.T) {
	q := contract(t)
	q.newRepository("a")
	list := "/api/v1/repository?namespace=" + q.org
	if got, want := q.get(list+"&next_page=garbage").status(200).names("repositories"), q.get(list).status(200).names("repositories"); !cmp.Equal(got, want) {
		t.Errorf("page %v, want %v", got, want)
	}
}
