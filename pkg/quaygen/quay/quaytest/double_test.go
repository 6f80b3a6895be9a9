package quaytest_test

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/quaygen/quaygen/pkg/quaygen/quay/quaytest"
)

// Facts of docs/quay-contract.md that one token cannot show on a Quay whose configuration and clock belong to somebody
// else: each test says what it needs. They run against the double alone.

// double is a quayUnderTest with the server's own methods.
func double(t *testing.T) (*quaytest.Server, quayUnderTest) {
	t.Helper()
	s, c := newDouble(t, quaytest.Options{})
	return s, quayUnderTest{client: c, org: "acme", prefix: "qc"}
}

// Needs organizations of chosen names. docs/quay-contract.md 0.6
func TestAListLeaksRobotsOfSimilarNamespaces(t *testing.T) {
	s, q := double(t)
	for _, org := range []string{"my_org", "my-org", "myxorg", "my_organ"} {
		s.AddOrganization(org, "alice")
		s.AddRobot(org, "build", "")
	}
	s.AddUser("myyorg")
	s.AddRobot("myyorg", "build", "")
	list := q.get("/api/v1/organization/my_org/robots").status(200)
	names := list.names("robots")
	slices.Sort(names)
	if want := []string{"my-org+build", "my_org+build", "myxorg+build", "myyorg+build"}; !cmp.Equal(names, want) {
		t.Errorf("robots %v, want %v", names, want)
	}
	for _, item := range list.items("robots") {
		if token, _ := item["token"].(string); !robotToken.MatchString(token) {
			t.Errorf("%v comes without its token", item["name"])
		}
	}
	if got := q.get("/api/v1/organization/my-org/robots").status(200).names("robots"); !cmp.Equal(got, []string{"my-org+build"}) {
		t.Errorf("robots %v", got)
	}
}

// Needs tokens of fewer scopes. docs/quay-contract.md 0.9, 0.10, 1.2, 7
func TestScopes(t *testing.T) {
	s, q := double(t)
	s.AddRobot("acme", "build", "")
	type calls struct{ list, get, permissions, grants, repository, user int }
	for scopes, want := range map[string]calls{
		"org:admin":                       {200, 200, 403, 403, 403, 401},
		"repo:admin":                      {403, 403, 403, 200, 200, 401},
		"user:admin":                      {403, 403, 403, 403, 403, 200},
		"user:read":                       {403, 403, 403, 403, 403, 200},
		"repo:read":                       {403, 403, 403, 403, 200, 401},
		"repo:write":                      {403, 403, 403, 403, 200, 401},
		"repo:create":                     {200, 403, 403, 403, 403, 401},
		"super:user":                      {403, 403, 403, 403, 403, 401},
		"org:admin user:admin":            {200, 200, 200, 403, 403, 200},
		"org:admin repo:admin user:admin": {200, 200, 200, 200, 200, 200},
	} {
		c := q.as(s.AddToken("alice", strings.Fields(scopes)...))
		got := calls{
			c.get(q.robots()).code,
			c.get(q.robotPath("build")).code,
			c.get(q.robotPath("build") + "/permissions").code,
			c.get(q.grants("app")).code,
			c.get("/api/v1/repository/acme/app").code,
			c.get("/api/v1/user/").code,
		}
		if got != want {
			t.Errorf("%s: %+v, want %+v", scopes, got, want)
		}
		if names := c.get("/api/v1/repository?namespace=acme").status(200).names("repositories"); !cmp.Equal(names, []string{"app"}) {
			t.Errorf("%s: lists repositories %v", scopes, names)
		}
	}
	c := q.as(s.AddToken("alice", "org:admin"))
	c.get("/api/v1/user/robots?limit=0&token=false").insufficientScope()
	c.get(q.robotPath("build") + "/permissions").insufficientScope()
	c.get(q.grants("app")).insufficientScope()
	c.get("/api/v1/user/").status(401).keys("session_required", "detail", "error_message", "error_type", "title", "type", "status")
	q.as(s.AddToken("alice", "user:admin")).get(q.robotPath("build") + "/permissions").status(403).keys("message")
}

// Needs a second user. docs/quay-contract.md 2.5, 7
func TestMembersListRobotsWithoutTokens(t *testing.T) {
	s, q := double(t)
	s.AddRobot("acme", "build", "")
	s.AddUser("bob")
	c := q.as(s.AddToken("bob", "org:admin", "repo:admin", "user:admin"))
	c.get(q.robots()).insufficientScope()
	s.AddTeam("acme", "staff", "member")
	s.AddTeamMember("acme", "staff", "bob")
	items := c.get(q.robots() + "?token=true&permissions=true").status(200).items("robots")
	if want := []string{"created", "description", "last_accessed", "name"}; len(items) != 1 || !cmp.Equal(sortedKeys(items[0]), want) {
		t.Errorf("members see %v", items)
	}
	c.get(q.robotPath("build")).insufficientScope()
	c.put(q.robotPath("more"), nil).insufficientScope()
	if got := c.get("/api/v1/repository?namespace=acme").status(200).names("repositories"); len(got) != 0 {
		t.Errorf("members see repositories %v", got)
	}
}

// Needs a token that the web page would not make. docs/quay-contract.md 0.5, 1.2
func TestAnUnknownScopeWordBreaksEveryRight(t *testing.T) {
	s, q := double(t)
	c := q.as(s.AddToken("alice", "org:admin", "org:everything"))
	c.get(q.robots()).status(500).html()
	c.put(q.robotPath("build"), nil).status(500).html()
	c.get("/api/v1/repository?namespace=acme").status(200)
}

// Needs the power to revoke. docs/quay-contract.md 0.1, 1.1
func TestARevokedTokenLooksLikeAnyBadOne(t *testing.T) {
	s, q := double(t)
	s.SetUserEnabled("alice", false)
	q.get(q.robots()).invalidToken()
	s.SetUserEnabled("alice", true)
	q.get(q.robots()).status(200)
	s.RevokeTokens("alice")
	q.get(q.robots()).invalidToken()
	q.put(q.robotPath("build"), nil).csrf()
}

// Needs Quay's configuration. docs/quay-contract.md 2.11
func TestRobotsDisallow(t *testing.T) {
	s, q := double(t)
	token, listed := s.AddRobot("acme", "build", ""), s.AddRobot("acme", "listed", "")
	s.SetRobotsDisallow(true, "acme+listed")
	const disabled = "Robot accounts have been disabled. Please contact your administrator."
	for _, short := range []string{"new1", "build", "BAD", "listed"} {
		q.put(q.robotPath(short), nil).problem(400, "invalid_request").detail(disabled)
	}
	q.put(q.robotPath("new1"), `[]`).problem(400, "invalid_request")
	q.login("build", token).registryRefusal(401, "UNAUTHORIZED").saying("Robot account have been disabled. Please contact your administrator.")
	q.mustLogin("listed", listed)
	q.get(q.robots()).status(200)
	q.get(q.robotPath("build")).status(200)
	q.grant("app", "build", "read")
	q.post(q.robotPath("build")+"/regenerate", nil).status(200)
	q.delete(q.robotPath("build")).status(204)
	if config := q.anonymous().get("/config").object("config"); config["ROBOTS_DISALLOW"] != true {
		t.Error("not in /config")
	}
}

// Needs Quay's configuration. docs/quay-contract.md 1.3, 2.11
func TestReadOnly(t *testing.T) {
	s, q := double(t)
	token := s.AddRobot("acme", "build", "")
	s.SetReadOnly(true)
	for _, reply := range []*reply{
		q.put(q.robotPath("new1"), nil), q.delete(q.robotPath("build")), q.post(q.robotPath("build")+"/regenerate", nil),
		q.put(q.grants("app")+"acme+build", map[string]any{"role": "read"}),
	} {
		reply.status(503).contentType("application/json").keys("is_readonly", "message")
		if got := reply.text("message"); !strings.HasPrefix(got, "System is currently read-only. ") {
			t.Errorf("message %q", got)
		}
	}
	q.anonymous().put(q.robotPath("new1"), nil).csrf()
	q.get(q.robotPath("build")).status(200)
	q.mustLogin("build", token)
	if state, _ := s.Robot("acme", "build"); !state.LastAccessed.IsZero() {
		t.Error("last_accessed moved")
	}
}

// Needs an administrator of Quay. docs/quay-contract.md 2.11, 6.2
func TestADisabledOrganization(t *testing.T) {
	s, q := double(t)
	token := s.AddRobot("acme", "build", "")
	s.AddOrganization("other", "alice")
	other := s.AddRobot("other", "build", "")
	s.SetOrganizationEnabled("acme", false)
	q.login("build", token).registryRefusal(401, "UNAUTHORIZED").saying("Robot acme+build owner acme is disabled")
	q.loginAs("other+build", other, "repository:acme/app:pull").registryRefusal(405, "DENIED")
	q.get(q.robotPath("build")).status(200)
	q.post(q.robotPath("build")+"/regenerate", nil).status(200)
}

// Needs a mirror. docs/quay-contract.md 2.6
func TestARobotOfAMirrorCannotBeDeleted(t *testing.T) {
	s, q := double(t)
	s.AddRobot("acme", "build", "")
	s.SetMirror("acme", "build", true)
	q.delete(q.robotPath("build")).problem(400, "invalid_request").detail("Robot is being used by a mirror")
	s.SetMirror("acme", "build", false)
	q.delete(q.robotPath("build")).status(204)
}

// Needs Quay's clock. docs/quay-contract.md 2.10, 2.5
func TestLastAccessedHasAThreshold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, q := double(t)
		token := s.AddRobot("acme", "build", "")
		last := func() time.Time {
			state, _ := s.Robot("acme", "build")
			return state.LastAccessed
		}
		first := time.Now()
		q.mustLogin("build", token)
		time.Sleep(59 * time.Second)
		q.mustLogin("build", token)
		if !last().Equal(first) {
			t.Errorf("after 59 s: %v", last())
		}
		time.Sleep(time.Second)
		q.mustLogin("build", token)
		if !last().Equal(first.Add(time.Minute)) {
			t.Errorf("after 60 s: %v", last())
		}
		s.SetLastAccessed(false)
		time.Sleep(time.Hour)
		q.mustLogin("build", token)
		if !last().Equal(first.Add(time.Minute)) {
			t.Errorf("with the feature off: %v", last())
		}
		if got := q.get(q.robots()).items("robots")[0]["last_accessed"]; got != nil {
			t.Errorf("the list shows %v with the feature off", got)
		}
		if got := q.get(q.robotPath("build")).object("")["last_accessed"]; got == nil {
			t.Error("the robot itself does not show it with the feature off")
		}
	})
}

// Needs Quay's clock. docs/quay-contract.md 0.7
func TestListOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, q := double(t)
		for _, short := range []string{"one", "two", "three"} {
			token := s.AddRobot("acme", short, "")
			q.mustLogin(short, token)
			time.Sleep(time.Minute)
		}
		s.AddRobot("acme", "never", "")
		want := []string{"acme+never", "acme+three", "acme+two", "acme+one"}
		if got := q.get(q.robots()).names("robots"); !cmp.Equal(got, want) {
			t.Errorf("order %v, want %v", got, want)
		}
	})
}

// Needs many grants. docs/quay-contract.md 0.7: the limit cuts the rows of a join.
func TestALimitWithPermissionsCutsRows(t *testing.T) {
	s, q := double(t)
	s.AddRobot("acme", "one", "")
	s.AddRobot("acme", "two", "")
	for i := range 3 {
		repo := fmt.Sprintf("repo%d", i)
		s.AddRepository("acme", repo)
		s.Grant("acme", repo, "one", "read")
		s.Grant("acme", repo, "two", "read")
	}
	items := q.get(q.robots() + "?permissions=true&limit=4").status(200).items("robots")
	if len(items) != 2 {
		t.Fatalf("%d robots", len(items))
	}
	var shown []int
	for _, item := range items {
		repositories, _ := item["repositories"].([]any)
		shown = append(shown, len(repositories))
	}
	if !cmp.Equal(shown, []int{3, 1}) {
		t.Errorf("repositories %v", shown)
	}
}

// Needs Quay's clock. docs/quay-contract.md 6.3, 6.5
func TestRegistryTokensEndAndTheChainWithThem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, q := double(t)
		token := s.AddRobot("acme", "build", "")
		s.Grant("acme", "app", "build", "read")
		s.PushImage("acme", "app", "v1")
		const scope, manifest = "repository:acme/app:pull", "/v2/acme/app/manifests/v1"
		jwt := q.mustLogin("build", token, scope)
		s.RegenerateRobot("acme", "build")
		for range 5 {
			time.Sleep(59 * time.Minute)
			jwt = q.mustLogin("build", jwt, scope)
		}
		q.as(jwt).get(manifest).status(200)
		s.DeleteRobot("acme", "build")
		time.Sleep(3631 * time.Second)
		s.AddRobot("acme", "build", "")
		q.as(jwt).get(manifest).status(401)
		q.login("build", jwt).status(401)
	})
}

// Needs Quay's configuration. docs/quay-contract.md 6.1, 6.2
func TestTokensAreForOneHostname(t *testing.T) {
	s, q := double(t)
	token := s.AddRobot("acme", "build", "")
	jwt := q.mustLogin("build", token)
	s.SetHostname("http", "127.0.0.1:1")
	q.as(jwt).get("/v2/").status(401)
	q.login("build", jwt).status(401)
	if got := q.get("/v2/").header.Get("WWW-Authenticate"); got != `Bearer realm="http://127.0.0.1:1/v2/auth",service="127.0.0.1:1"` {
		t.Errorf("challenge %q", got)
	}
}

// Needs more than a hundred repositories. docs/quay-contract.md 3.4
func TestPagesOfRepositories(t *testing.T) {
	s, q := double(t)
	for i := range 249 {
		s.AddRepository("acme", fmt.Sprintf("repo-%d", i))
	}
	var sizes []int
	seen := map[string]bool{}
	page := ""
	for {
		reply := q.get("/api/v1/repository?namespace=acme&next_page=" + url.QueryEscape(page)).status(200)
		names := reply.names("repositories")
		sizes = append(sizes, len(names))
		for _, name := range names {
			seen[name] = true
		}
		next, sent := reply.object("")["next_page"]
		if !sent {
			break
		}
		page, _ = next.(string)
	}
	if !cmp.Equal(sizes, []int{100, 100, 50}) || len(seen) != 250 {
		t.Errorf("pages of %v, %d names", sizes, len(seen))
	}
}

// Needs robots of two organizations. docs/quay-contract.md 3.2
func TestATeamTakesRobotsOfOtherOrganizations(t *testing.T) {
	s, q := double(t)
	s.AddOrganization("other", "alice")
	token := s.AddRobot("other", "build", "")
	s.AddTeam("acme", "pullers", "member")
	s.GrantTeam("acme", "app", "pullers", "read")
	q.put("/api/v1/organization/acme/team/pullers/members/other+build", nil).status(200)
	c := decodeToken(t, q.loginAs("other+build", token, "repository:acme/app:pull,push").status(200).text("token"))
	if !cmp.Equal(c.Access[0].Actions, []string{"pull"}) {
		t.Errorf("actions %v", c.Access[0].Actions)
	}
}

// Needs a team with the right to create. docs/quay-contract.md 6.2
func TestPushingToAMissingRepositoryNeedsTheRightToCreate(t *testing.T) {
	s, q := double(t)
	token := s.AddRobot("acme", "build", "")
	actions := func() []string {
		return decodeToken(t, q.mustLogin("build", token, "repository:acme/new:pull,push")).Access[0].Actions
	}
	if got := actions(); len(got) != 0 {
		t.Errorf("actions %v", got)
	}
	s.AddTeam("acme", "makers", "creator")
	s.AddTeamMember("acme", "makers", "acme+build")
	if got := actions(); !cmp.Equal(got, []string{"push", "pull"}) {
		t.Errorf("actions %v", got)
	}
}

// Needs a repository that is deleted and made again, with an image known to be there.
func TestARepositoryMadeAgainStartsEmpty(t *testing.T) {
	s, q := double(t)
	s.SetPublic("acme", "app", true)
	digest := s.PushImage("acme", "app", "v1")
	if got := q.anonymous().get("/v2/acme/app/manifests/v1").status(200).header.Get("Docker-Content-Digest"); got != digest {
		t.Errorf("digest %q, want %q", got, digest)
	}
	s.DeleteRepository("acme", "app")
	s.AddRepository("acme", "app")
	s.SetPublic("acme", "app", true)
	q.anonymous().get("/v2/acme/app/manifests/v1").registryRefusal(404, "MANIFEST_UNKNOWN").saying("manifest unknown")
}

// docs/quay-contract.md 5: HTTP/1.1 connections are closed after each answer of the API and the registry.
func TestConnectionCloseOnHTTP1(t *testing.T) {
	s, _ := double(t)
	for path, want := range map[string]string{"/api/v1/organization/acme": "close", "/v2/": "close", "/config": ""} {
		w := newRecorder(s, http.MethodGet, path)
		if got := w.Header().Get("Connection"); got != want {
			t.Errorf("%s: Connection %q", path, got)
		}
	}
}
