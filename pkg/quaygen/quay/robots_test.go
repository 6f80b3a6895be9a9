package quay_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/quaygen/quaygen/pkg/quaygen/quay"
	"github.com/quaygen/quaygen/pkg/quaygen/secret"
)

var answered = time.Date(2026, 11, 23, 21, 13, 56, 0, time.UTC)

var secretCmp = cmp.Options{
	cmp.Comparer(secret.String.Equal),
	cmp.Comparer(func(a, b quay.Robot) bool { return a == b }),
}

func TestRobotCallsSayWhatTheyMean(t *testing.T) {
	r := robot(t, "acme", "ci")
	created := fmt.Sprintf(`{"name": "acme+ci", "created": "Mon, 23 Nov 2026 21:13:50 -0000", "last_accessed": null, "description": "d", "token": %q, "unstructured_metadata": {"k": "v"}}`, robotToken)
	want := quay.RobotInfo{
		Robot: r, Created: answered.Add(-6 * time.Second), Description: "d",
		Metadata: map[string]any{"k": "v"}, Token: secret.New(robotToken),
	}
	for _, row := range []struct {
		name   string
		status int
		do     func(*quay.Client) (quay.RobotInfo, quay.Answer, error)
		want   seen
	}{
		{"create", 201, func(c *quay.Client) (quay.RobotInfo, quay.Answer, error) {
			return c.CreateRobot(t.Context(), r, quay.CreateOptions{Description: "d", Metadata: map[string]any{"k": "v"}})
		}, seen{Method: "PUT", Path: "/api/v1/organization/acme/robots/ci", Body: `{"description":"d","unstructured_metadata":{"k":"v"}}`}},
		{"get", 200, func(c *quay.Client) (quay.RobotInfo, quay.Answer, error) {
			return c.GetRobot(t.Context(), r)
		}, seen{Method: "GET", Path: "/api/v1/organization/acme/robots/ci"}},
		{"regenerate", 200, func(c *quay.Client) (quay.RobotInfo, quay.Answer, error) {
			return c.RegenerateRobot(t.Context(), r, time.Minute)
		}, seen{Method: "POST", Path: "/api/v1/organization/acme/robots/ci/regenerate"}},
	} {
		rt := answering(row.status, asJSON, created)
		info, answer, err := row.do(client(t, rt))
		if err != nil {
			t.Errorf("%s: %v", row.name, err)
		}
		if diff := cmp.Diff(want, info, secretCmp); diff != "" {
			t.Errorf("%s: %s", row.name, diff)
		}
		if !answer.Date.Equal(answered) || answer.Sent.IsZero() {
			t.Errorf("%s: %+v", row.name, answer)
		}
		row.want.Authorization = "Bearer " + apiToken
		if diff := cmp.Diff([]seen{row.want}, rt.requests()); diff != "" {
			t.Errorf("%s: %s", row.name, diff)
		}
	}

	rt := answering(204, asHTML, "")
	if _, err := client(t, rt).DeleteRobot(t.Context(), r); err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff([]seen{{"DELETE", "/api/v1/organization/acme/robots/ci", "", "", "Bearer " + apiToken}}, rt.requests()); diff != "" {
		t.Error(diff)
	}
}

func TestUsersRobotsAreTheTokensOwn(t *testing.T) {
	r, err := quay.NewRobot(user(t, "alice"), "ci")
	if err != nil {
		t.Fatal(err)
	}
	rt := answering(200, asJSON, `{"name": "bob+ci", "token": "`+robotToken+`"}`)
	if _, _, err := client(t, rt).GetRobot(t.Context(), r); !errors.Is(err, quay.ErrMalformed) {
		t.Errorf("another user's robot passed for alice's: %v", err)
	}
	if got := rt.requests()[0].Path; got != "/api/v1/user/robots/ci" {
		t.Error(got)
	}
}

func TestTooLongDescriptionIsNotSent(t *testing.T) {
	rt := answering(201, asJSON, `{}`)
	_, _, err := client(t, rt).CreateRobot(t.Context(), robot(t, "acme", "ci"), quay.CreateOptions{Description: strings.Repeat("ä", 256)})
	if !errors.Is(err, quay.ErrInvalid) || len(rt.requests()) != 0 {
		t.Error(err, rt.requests())
	}
}

func TestListHoldsExactlyTheOwnersRobots(t *testing.T) {
	rt := answering(200, asJSON, `{"robots": [
		{"name": "my_org+bb", "created": "Mon, 23 Nov 2026 21:13:50 -0000", "last_accessed": "Mon, 23 Nov 2026 21:13:56 -0000",
		 "teams": [{"name": "devs", "avatar": {}}], "repositories": ["app", "team/x"], "description": "", "token": "T"},
		{"name": "my-org+leaked", "created": null, "last_accessed": null, "description": "", "token": "L"},
		{"name": "MY_ORG+leaked", "created": "unread", "description": ""},
		{"name": "my_org", "description": ""},
		{"name": "my_org+strange\n", "description": ""},
		{"name": "my_org+aa", "created": null, "last_accessed": null, "teams": [], "repositories": [], "description": null}]}`)
	owner := organization(t, "my_org")
	got, answer, err := client(t, rt).ListRobots(t.Context(), owner, quay.ListOptions{Token: true, Permissions: true})
	if err != nil {
		t.Fatal(err)
	}
	want := []quay.RobotInfo{
		{Robot: robot(t, "my_org", "bb"), Created: answered.Add(-6 * time.Second), LastAccessed: answered, Token: secret.New("T"),
			Teams: []string{"devs"}, Repositories: []string{"app", "team/x"}, HasPermissions: true},
		{Robot: robot(t, "my_org", "aa"), Repositories: []string{}, HasPermissions: true},
	}
	if diff := cmp.Diff(want, got, secretCmp); diff != "" {
		t.Error(diff)
	}
	if !answer.Date.Equal(answered) || rt.requests()[0].Query != "permissions=true&token=true" {
		t.Error(answer, rt.requests())
	}

	// A plain member gets no permissions, whatever was asked (docs/quay-contract.md 2.5).
	rt = answering(200, asJSON, `{"robots": [{"name": "my_org+aa", "created": null, "last_accessed": null, "description": ""}]}`)
	got, _, err = client(t, rt).ListRobots(t.Context(), owner, quay.ListOptions{Permissions: true})
	if err != nil || len(got) != 1 || got[0].HasPermissions {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestGrants(t *testing.T) {
	r, repo := robot(t, "acme", "ci"), repository(t, "acme", "team/app")
	byRepository := answering(200, asJSON, `{"permissions": [
		{"repository": {"name": "team/app", "is_public": false}, "role": "write"},
		{"repository": {"name": "new", "is_public": true}, "role": "maintain"}]}`)
	got, err := client(t, byRepository).RobotGrants(t.Context(), r)
	if diff := cmp.Diff(map[string]quay.Role{"team/app": quay.RoleWrite, "new": quay.RoleUnknown}, got); diff != "" || err != nil {
		t.Error(diff, err)
	}
	byRobot := answering(200, asJSON, `{"permissions": {
		"acme+ci": {"role": "read", "name": "acme+ci", "is_robot": true, "avatar": {}},
		"alice": {"role": "admin", "name": "alice", "is_robot": false}}}`)
	got, err = client(t, byRobot).RepositoryGrants(t.Context(), repo)
	if diff := cmp.Diff(map[string]quay.Role{"acme+ci": quay.RoleRead}, got); diff != "" || err != nil {
		t.Error(diff, err)
	}
	none, err := client(t, answering(200, asJSON, `{"permissions": {}}`)).RepositoryGrants(t.Context(), repo)
	if err != nil || none == nil || len(none) != 0 {
		t.Error(none, err)
	}

	rt := answering(200, asJSON, `{"role": "read", "name": "acme+ci", "is_robot": true}`)
	c := client(t, rt)
	if err := c.SetGrant(t.Context(), repo, r, quay.RoleRead); err != nil {
		t.Error(err)
	}
	if err := c.RemoveGrant(t.Context(), repo, r); err != nil {
		t.Error(err)
	}
	if err := c.SetGrant(t.Context(), repo, r, quay.RoleUnknown); !errors.Is(err, quay.ErrName) {
		t.Error(err)
	}
	const path = "/api/v1/repository/acme/team/app/permissions/user/acme+ci"
	if diff := cmp.Diff([]seen{
		{"PUT", path, "", `{"role":"read"}`, "Bearer " + apiToken},
		{"DELETE", path, "", "", "Bearer " + apiToken},
	}, rt.requests()); diff != "" {
		t.Error(diff)
	}
}

func TestTeamMembershipCallsAreIdempotent(t *testing.T) {
	acme, r := organization(t, "acme"), robot(t, "acme", "ci")
	already := answering(400, asJSON, bare("User acme+ci is already a member of team devs"))
	if err := client(t, already).AddTeamMember(t.Context(), acme, "devs", r); err != nil {
		t.Error(err)
	}
	never := answering(400, asJSON, bare("User acme+ci does not belong to team devs"))
	if err := client(t, never).RemoveTeamMember(t.Context(), acme, "devs", r); err != nil {
		t.Error(err)
	}
	members := answering(200, asJSON, `{"name": "devs", "members": [{"name": "acme+ci", "is_robot": true}, {"name": "alice"}], "can_edit": true}`)
	got, err := client(t, members).TeamMembers(t.Context(), acme, "devs")
	if diff := cmp.Diff([]string{"acme+ci", "alice"}, got); diff != "" || err != nil {
		t.Error(diff, err)
	}
	paths := []string{already.requests()[0].Path, never.requests()[0].Path, members.requests()[0].Path}
	const base = "/api/v1/organization/acme/team/devs/members"
	if diff := cmp.Diff([]string{base + "/acme+ci", base + "/acme+ci", base}, paths); diff != "" {
		t.Error(diff)
	}
	for _, team := range []string{"", "../owners", "a/b", "devs?x"} {
		if _, err := client(t, members).TeamMembers(t.Context(), acme, team); !errors.Is(err, quay.ErrName) {
			t.Errorf("team %q: %v", team, err)
		}
	}
	if _, err := client(t, members).TeamMembers(t.Context(), user(t, "alice"), "devs"); !errors.Is(err, quay.ErrName) {
		t.Error(err)
	}
}

func TestNothingIsSentForZeroNames(t *testing.T) {
	rt := answering(200, asJSON, `{}`)
	c, ctx := client(t, rt), t.Context()
	_, _, list := c.ListRobots(ctx, quay.Owner{}, quay.ListOptions{})
	_, _, get := c.GetRobot(ctx, quay.Robot{})
	_, remove := c.DeleteRobot(ctx, quay.Robot{})
	_, repo := c.RepositoryExists(ctx, quay.Repository{})
	_, repos := c.ListRepositories(ctx, quay.Owner{})
	_, org := c.OrganizationExists(ctx, quay.Owner{})
	_, grants := c.RepositoryGrants(ctx, quay.Repository{})
	_, scopes := c.Scopes(ctx, quay.Owner{})
	_, login := c.Login(ctx, quay.Robot{}, secret.New("x"), nil)
	_, noPassword := c.Login(ctx, robot(t, "acme", "ci"), secret.String{}, nil)
	for i, err := range []error{
		list, get, remove, repo, repos, org, grants, scopes, login, noPassword,
		c.SetGrant(ctx, repository(t, "acme", "app"), quay.Robot{}, quay.RoleRead),
		c.RemoveGrant(ctx, quay.Repository{}, robot(t, "acme", "ci")),
		c.AddTeamMember(ctx, organization(t, "acme"), "devs", quay.Robot{}),
		c.RemoveTeamMember(ctx, quay.Owner{}, "devs", robot(t, "acme", "ci")),
		c.CheckToken(ctx, quay.Owner{}),
	} {
		if !errors.Is(err, quay.ErrName) {
			t.Errorf("call %d: %v", i, err)
		}
	}
	if n := len(rt.requests()); n != 0 {
		t.Errorf("%d requests were sent", n)
	}
}
