package quaytest_test

import (
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// docs/quay-contract.md 0, 2.2, 2.3, 2.4, 2.10
func TestCreateAndGet(t *testing.T) {
	q := contract(t)
	short := q.newName("a")
	made := q.put(q.robotPath(short), nil).status(201).contentType("application/json").object("")
	want := []string{"created", "description", "last_accessed", "name", "token", "unstructured_metadata"}
	if got := sortedKeys(made); !cmp.Equal(got, want) {
		t.Errorf("keys %v", got)
	}
	if made["name"] != q.username(short) || made["description"] != "" || made["last_accessed"] != nil {
		t.Errorf("name, description or last_accessed is wrong")
	}
	if metadata, sent := made["unstructured_metadata"]; !sent || metadata != nil {
		t.Errorf("metadata that was not sent is %v, want null", metadata)
	}
	if token, _ := made["token"].(string); !robotToken.MatchString(token) {
		t.Error("the token has another form")
	}
	if created, _ := made["created"].(string); !quayTime.MatchString(created) {
		t.Errorf("created %q", created)
	}

	got := q.get(q.robotPath(short)).status(200).object("")
	if metadata, is := got["unstructured_metadata"].(map[string]any); !is || len(metadata) != 0 {
		t.Errorf("metadata that was not sent is %v on GET, want {}", got["unstructured_metadata"])
	}
	for _, key := range []string{"name", "created", "last_accessed", "description", "token"} {
		if got[key] != made[key] {
			t.Errorf("GET shows another %s than PUT", key)
		}
	}
}

// docs/quay-contract.md 2.2
func TestCreateKeepsDescriptionAndMetadata(t *testing.T) {
	q := contract(t)
	short := q.newName("a")
	body := map[string]any{"description": strings.Repeat("ü", 255), "unstructured_metadata": map[string]any{"k": "v", "n": 1.0}, "unknown": true}
	for _, o := range []map[string]any{q.put(q.robotPath(short), body).status(201).object(""), q.get(q.robotPath(short)).status(200).object("")} {
		if o["description"] != body["description"] || !cmp.Equal(o["unstructured_metadata"], body["unstructured_metadata"]) {
			t.Errorf("description %v, metadata %v", o["description"], o["unstructured_metadata"])
		}
	}
}

// docs/quay-contract.md 0.3, 2.2
func TestCreateOfAnExistingRobotChangesNothing(t *testing.T) {
	q := contract(t)
	short, token := q.newRobot("a")
	refused := q.put(q.robotPath(short), map[string]any{"description": "other"})
	refused.problem(400, "invalid_request").detail("Existing robot with name: " + q.username(short))
	got := q.get(q.robotPath(short)).status(200).object("")
	if got["token"] != token || got["description"] != "" {
		t.Error("the robot changed")
	}
}

// docs/quay-contract.md 0.3, 2.2
func TestOneOfManyParallelCreatesWins(t *testing.T) {
	q := contract(t)
	short := q.newName("race")
	var mu sync.Mutex
	var codes []int
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			resp, err := q.http.Do(q.request(t.Context(), "PUT", q.robotPath(short), nil))
			if err != nil {
				t.Error(err)
				return
			}
			_ = resp.Body.Close()
			mu.Lock()
			defer mu.Unlock()
			codes = append(codes, resp.StatusCode)
		})
	}
	wg.Wait()
	slices.Sort(codes)
	if !cmp.Equal(codes, []int{201, 400, 400, 400, 400, 400, 400, 400}) {
		t.Errorf("statuses %v", codes)
	}
}

// docs/quay-contract.md 0, 2.2
func TestABodyThatIsNoJSONCountsAsNone(t *testing.T) {
	q := contract(t)
	for i, body := range []string{`null`, `{"description": `, ``} {
		q.put(q.robotPath(q.newName("json"+string(rune('a'+i)))), body).status(201)
	}
	r := q.request(t.Context(), "PUT", q.robotPath(q.newName("form")), "description=12")
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if got := q.send(r).status(201).text("description"); got != "" {
		t.Errorf("description %q", got)
	}
}

// docs/quay-contract.md 2.2: the body is looked at before the right, which unlike for grants comes second.
func TestABodyOfTheWrongShapeIsRefusedBeforeAnythingElse(t *testing.T) {
	q := contract(t)
	short := q.newName("a")
	for _, body := range []string{`{"description": null}`, `{"description": 1}`, `[]`, `"text"`, `7`,
		`{"description": "` + strings.Repeat("x", 256) + `"}`, `{"unstructured_metadata": []}`, `{"unstructured_metadata": null}`} {
		q.put(q.robotPath(short), body).problem(400, "invalid_request")
		q.put("/api/v1/organization/nosuch"+q.prefix+"/robots/x", body).problem(400, "invalid_request")
	}
	q.get(q.robotPath(short)).bare(400, "Could not find robot with specified username")
}

// docs/quay-contract.md 0.5, 2.2
func TestAHugeBodyIsAnInternalError(t *testing.T) {
	q := contract(t)
	body := map[string]any{"unstructured_metadata": map[string]any{"x": strings.Repeat("x", 1<<20)}}
	q.put(q.robotPath(q.newName("a")), body).status(500).html()
}

// docs/quay-contract.md 2.1
func TestRobotNames(t *testing.T) {
	q := contract(t)
	const (
		rule   = "Namespace must match expression ^([a-z0-9]+(?:[._-][a-z0-9]+)*)$"
		length = "Namespace must be between 2 and 255 characters in length"
	)
	for name, problem := range map[string]string{
		"A": rule, "Build": rule, "a__b": rule, "a-": rule, "-a": rule, "a..b": rule, "a+b": rule, "ä": rule, "a b": rule,
		"a": length, strings.Repeat("x", 256): length,
	} {
		want := "The name for the robot '" + name + "' is invalid: " + problem
		q.put(q.robotPath(strings.ReplaceAll(strings.ReplaceAll(name, " ", "%20"), "ä", "%C3%A4")), nil).
			problem(400, "invalid_request").detail(want)
	}
	room := 255 - len(q.org) - 1 - len(q.prefix) - 1
	q.put(q.robotPath(q.newName(strings.Repeat("x", room+1))), nil).bare(400, "value too long for type character varying(255)\n")
	q.put(q.robotPath(q.newName(strings.Repeat("x", room))), nil).status(201)
	q.put(q.robotPath(q.newName("a.b-c_d0")), nil).status(201)
}

// docs/quay-contract.md 2.1
func TestOneNewlineGetsThroughTheNameRule(t *testing.T) {
	q := contract(t)
	short := q.newName("a%0A")
	if got := q.put(q.robotPath(short), nil).status(201).text("name"); got != q.username(q.prefix+"_a\n") {
		t.Errorf("name %q", got)
	}
}

// docs/quay-contract.md 0.2
func TestAMissingRobotIs400(t *testing.T) {
	q := contract(t)
	const missing = "Could not find robot with specified username"
	path := q.robotPath("nosuch" + q.prefix)
	q.get(path).bare(400, missing)
	q.delete(path).bare(400, missing)
	q.post(path+"/regenerate", nil).bare(400, missing)
	q.get(path+"/permissions").bare(400, missing)
}

// docs/quay-contract.md 2.6, 2.2
func TestDeleteTakesAllThatWasTheRobots(t *testing.T) {
	q := contract(t)
	short, token := q.newRobot("a")
	repo := q.newRepository("a")
	q.grant(repo, short, "write")
	if reply := q.delete(q.robotPath(short)).status(204); len(reply.body) != 0 {
		t.Error("204 with a body")
	}
	q.delete(q.robotPath(short)).bare(400, "Could not find robot with specified username")
	again := q.put(q.robotPath(short), nil).status(201).text("token")
	if again == token {
		t.Error("the same token again")
	}
	if got := q.get(q.robotPath(short) + "/permissions").status(200).items("permissions"); len(got) != 0 {
		t.Error("grants survived their robot")
	}
	if grants := q.get(q.grants(repo)).status(200).object("permissions"); grants[q.username(short)] != nil {
		t.Error("the repository still lists the grant")
	}
}

// docs/quay-contract.md 2.7
func TestRegenerateReplacesTheTokenAlone(t *testing.T) {
	q := contract(t)
	short, old := q.newRobot("a")
	q.mustLogin(short, old)
	before := q.get(q.robotPath(short)).status(200).object("")
	after := q.post(q.robotPath(short)+"/regenerate", nil).status(200).object("")
	if got, want := sortedKeys(after), []string{"created", "description", "last_accessed", "name", "token"}; !cmp.Equal(got, want) {
		t.Errorf("keys %v", got)
	}
	token, _ := after["token"].(string)
	if token == old || !robotToken.MatchString(token) {
		t.Error("the token is old or has another form")
	}
	for _, key := range []string{"name", "created", "last_accessed", "description"} {
		if after[key] != before[key] {
			t.Errorf("%s changed from %v to %v", key, before[key], after[key])
		}
	}
	if q.get(q.robotPath(short)).status(200).text("token") != token {
		t.Error("GET shows another token")
	}
	q.login(short, old).status(401)
	q.mustLogin(short, token)
}

// listed returns the suite's own robots out of a list, in their order.
func (q quayUnderTest) listed(query string) []map[string]any {
	q.t.Helper()
	own := []map[string]any{}
	for _, item := range q.get(q.robots() + query).status(200).items("robots") {
		if name, _ := item["name"].(string); strings.HasPrefix(name, q.username(q.prefix)) {
			own = append(own, item)
		}
	}
	return own
}

// docs/quay-contract.md 2.5
func TestListShowsWhatIsAskedFor(t *testing.T) {
	q := contract(t)
	short, token := q.newRobot("a")
	repo := q.newRepository("a")
	q.grant(repo, short, "read")
	plain := []string{"created", "description", "last_accessed", "name"}
	for query, want := range map[string][]string{
		"":                                       append(slices.Clone(plain), "token"),
		"?token=no":                              append(slices.Clone(plain), "token"),
		"?token=false":                           plain,
		"?token=0":                               plain,
		"?token=":                                plain,
		"?token=null&permissions=FALSE":          plain,
		"?token=False&permissions=true":          {"created", "description", "last_accessed", "name", "repositories", "teams"},
		"?token=true&permissions=anyhow":         {"created", "description", "last_accessed", "name", "repositories", "teams", "token"},
		"?token=FALSE&permissions=&limit=100000": plain,
	} {
		list := q.listed(query)
		if len(list) != 1 || !cmp.Equal(sortedKeys(list[0]), want) {
			t.Errorf("%s: %d robots, keys differ from %v", query, len(list), want)
			continue
		}
		if got, sent := list[0]["token"]; sent && got != token {
			t.Errorf("%s: another token", query)
		}
		if got, sent := list[0]["repositories"]; sent && !cmp.Equal(got, []any{repo}) {
			t.Errorf("%s: repositories %v", query, got)
		}
	}
}

// docs/quay-contract.md 0.5, 0.7, 2.5
func TestListLimit(t *testing.T) {
	q := contract(t)
	q.newRobot("a")
	q.newRobot("b")
	for limit, want := range map[string]int{"0": 0, "1": 1, "2": 2} {
		if got := q.get(q.robots() + "?token=false&limit=" + limit).status(200).names("robots"); len(got) != want {
			t.Errorf("limit=%s: %d robots", limit, len(got))
		}
	}
	q.get(q.robots() + "?limit=-1").status(500).html()
	for _, limit := range []string{"", "many"} {
		message := q.get(q.robots() + "?limit=" + limit).status(400).object("message")
		if _, sent := message["limit"]; !sent || len(message) != 1 {
			t.Errorf("limit=%s: message %v", limit, message)
		}
	}
}

// docs/quay-contract.md 0.7
func TestListShowsRobotsNeverUsedFirst(t *testing.T) {
	q := contract(t)
	used, token := q.newRobot("used")
	q.newRobot("idle")
	q.mustLogin(used, token)
	names := []string{}
	for _, item := range q.listed("?token=false") {
		name, _ := item["name"].(string)
		names = append(names, name)
	}
	if want := []string{q.username(q.prefix + "_idle"), q.username(used)}; !cmp.Equal(names, want) {
		t.Errorf("order %v, want %v", names, want)
	}
}

// docs/quay-contract.md 2.8
func TestRobotPermissionsAreDirectGrants(t *testing.T) {
	q := contract(t)
	short, _ := q.newRobot("a")
	q.get(q.robotPath(short) + "/permissions").status(200).exactly(`{"permissions": []}`)
	repo := q.newRepository("team/sub/app")
	q.grant(repo, short, "write")
	got := q.get(q.robotPath(short) + "/permissions").status(200).items("permissions")
	want := []map[string]any{{"repository": map[string]any{"name": repo, "is_public": false}, "role": "write"}}
	if !cmp.Equal(got, want) {
		t.Errorf("permissions %v", got)
	}
}

// docs/quay-contract.md 2
func TestRobotsOfAUser(t *testing.T) {
	q := contract(t)
	user := q.tokenUser()
	const robots = "/api/v1/user/robots"
	path := robots + "/" + q.prefix
	q.cleanUp(path)
	if got := q.put(path, map[string]any{"description": "mine"}).status(201).text("name"); got != user+"+"+q.prefix {
		t.Errorf("name %q", got)
	}
	q.put(path, nil).problem(400, "invalid_request").detail("Existing robot with name: " + user + "+" + q.prefix)
	token := q.get(path).status(200).text("token")
	if q.post(path+"/regenerate", nil).status(200).text("token") == token {
		t.Error("the same token again")
	}
	q.get(path + "/permissions").status(200).exactly(`{"permissions": []}`)
	if !slices.Contains(q.get(robots+"?token=false").status(200).names("robots"), user+"+"+q.prefix) {
		t.Error("not listed")
	}
	q.delete(path).status(204)
	q.get(path).bare(400, "Could not find robot with specified username")
	q.anonymous().get(path).invalidToken()
	q.anonymous().put(path, nil).csrf()
}

// docs/quay-contract.md 1.4
func TestAUserIsNoOrganization(t *testing.T) {
	q := contract(t)
	user := q.tokenUser()
	q.get("/api/v1/organization/" + user + "/robots?limit=0").status(200)
	q.put("/api/v1/organization/"+user+"/robots/"+q.prefix, nil).bare(400, "Organization does not exist: "+user)
	q.get("/api/v1/organization/"+user).problem(http.StatusNotFound, "not_found")
}
