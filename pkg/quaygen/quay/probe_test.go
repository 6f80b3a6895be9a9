package quay_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/quaygen/quaygen/pkg/quaygen/quay"
	"github.com/quaygen/quaygen/pkg/quaygen/secret"
)

// jwt makes a registry token with an access list; the signature is not looked at.
func jwt(access ...map[string]any) string {
	payload, _ := json.Marshal(map[string]any{"iss": "quay", "access": access})
	part := base64.RawURLEncoding.EncodeToString
	return part([]byte(`{"alg":"RS256"}`)) + "." + part(payload) + "." + part([]byte("signature"))
}

func TestLoginTellsWhatMayBePulled(t *testing.T) {
	var services []string
	rt := &fake{}
	rt.answer = func(_ int, r *http.Request) *http.Response {
		services = append(services, r.URL.Query().Get("service"))
		var access []map[string]any
		for _, scope := range r.URL.Query()["scope"] {
			name := strings.TrimSuffix(strings.TrimPrefix(scope, "repository:"), ":pull")
			actions := []string{"pull"}
			if strings.HasSuffix(name, "0") { // denied, or missing
				actions = []string{}
			}
			access = append(access, map[string]any{"type": "repository", "name": name, "actions": actions})
		}
		return response(200, asJSON, `{"token": "`+jwt(access...)+`"}`)
	}
	c, r := client(t, rt), robot(t, "acme", "ci")
	var repos []quay.Repository
	for i := range 95 {
		repos = append(repos, repository(t, "acme", fmt.Sprintf("team/r%d", i)))
	}
	got, err := c.Login(t.Context(), r, secret.New(robotToken), repos)
	if err != nil || !got.Date.Equal(answered) || len(got.Pull) != 95 {
		t.Fatal(got, err)
	}
	for name, pull := range got.Pull {
		if pull == strings.HasSuffix(name, "0") {
			t.Errorf("pull from %s: %v", name, pull)
		}
	}
	basic := "Basic " + base64.StdEncoding.EncodeToString([]byte("acme+ci:"+robotToken))
	for _, s := range rt.requests() {
		query, _ := url.ParseQuery(s.Query)
		if s.Authorization != basic || s.Path != "/v2/auth" || len(query["scope"]) > 40 {
			t.Errorf("%d scopes, %s", len(query["scope"]), s.Path)
		}
	}
	if diff := cmp.Diff([]string{"quay.test:8443", "quay.test:8443", "quay.test:8443"}, services); diff != "" {
		t.Error(diff)
	}

	if got, err = c.Login(t.Context(), r, secret.New(robotToken), nil); err != nil || len(got.Pull) != 0 {
		t.Error(got, err)
	}
	if last := rt.requests()[3]; last.Query != "service=quay.test%3A8443" {
		t.Error(last.Query)
	}
	foreign := []quay.Repository{repository(t, "other", "app")}
	if _, err := c.Login(t.Context(), r, secret.New(robotToken), foreign); !errors.Is(err, quay.ErrName) {
		t.Error(err)
	}
}

// grid answers the probes of a token by path.
func grid(byPath map[string]int) *fake {
	return &fake{answer: func(_ int, r *http.Request) *http.Response {
		switch status := byPath[r.URL.Path]; status {
		case 401:
			return response(401, asJSON, problem(401, "invalid_token", "Requires authentication"))
		case 403:
			return response(403, asJSON, problem(403, "insufficient_scope", "Unauthorized"))
		case 404:
			return response(404, asJSON, problem(404, "not_found", "Not Found"))
		}
		return response(200, asJSON, `{"name": "acme", "username": "alice", "robots": [], "permissions": {}, "prototypes": []}`)
	}}
}

func TestCheckTokenNamesWhatIsMissing(t *testing.T) {
	const (
		org    = "/api/v1/organization/acme"
		protos = org + "/prototypes"
		perms  = "/api/v1/repository/acme/quaygen-probe/permissions/user/"
		robots = "/api/v1/user/robots"
		self   = "/api/v1/user/"
	)
	acme, alice, bob := organization(t, "acme"), user(t, "alice"), user(t, "bobby")
	for _, row := range []struct {
		name    string
		owner   quay.Owner
		answers map[string]int
		want    error
		text    string
	}{
		{"all there", acme, nil, nil, ""},
		{"user:admin is optional", acme, map[string]int{robots: 403}, nil, ""},
		{"user:admin is optional, said with 401", acme, map[string]int{robots: 401}, nil, ""},
		{"no token", acme, map[string]int{protos: 401, perms: 401, robots: 401}, quay.ErrTokenRejected, "acme"},
		{"no org:admin", acme, map[string]int{protos: 403}, quay.ErrForbidden, "org:admin"},
		{"no repo:admin", acme, map[string]int{perms: 403}, quay.ErrForbidden, "repo:admin"},
		{"neither", acme, map[string]int{protos: 403, perms: 403}, quay.ErrForbidden, "repo:admin and org:admin"},
		{"no organization", acme, map[string]int{protos: 403, perms: 403, org: 404}, quay.ErrNotFound, "no such organization"},
		{"user", alice, nil, nil, ""},
		{"user without user:admin", alice, map[string]int{robots: 403, self: 401}, quay.ErrForbidden, "user:admin"},
		{"another user's token", bob, nil, quay.ErrForbidden, "another user"},
		{"user, no token", alice, map[string]int{"/api/v1/repository/alice/quaygen-probe/permissions/user/": 401}, quay.ErrTokenRejected, "alice"},
	} {
		err := client(t, grid(row.answers)).CheckToken(t.Context(), row.owner)
		if !errors.Is(err, row.want) || err != nil && !strings.Contains(err.Error(), row.text) {
			t.Errorf("%s: %v", row.name, err)
		}
	}
	got, err := client(t, grid(map[string]int{perms: 403, robots: 401})).Scopes(t.Context(), acme)
	if diff := cmp.Diff(quay.Scopes{OrgAdmin: true}, got); diff != "" || err != nil {
		t.Error(diff, err)
	}
}

func TestCapabilitiesAreAHint(t *testing.T) {
	const full = `{"config": {"ROBOTS_DISALLOW": true}, "features": {"USER_LAST_ACCESSED": false}, "registry_state": "readonly", "version_number": "Quay v3.18.0"}`
	for _, row := range []struct {
		name, contentType, body string
		status                  int
		want                    quay.Capabilities
		err                     error
	}{
		{"all", asJSON, full, 200, quay.Capabilities{Known: true, LastAccessedOff: true, RobotsDisallowed: true, ReadOnly: true, Version: "Quay v3.18.0"}, nil},
		{"hosted", asJSON, `{"config": {}, "features": {"X": 1}, "registry_state": "normal", "version_number": ""}`, 200, quay.Capabilities{Known: true}, nil},
		{"no such page", asHTML, "<title>404</title>", 404, quay.Capabilities{}, nil},
		{"web page", asHTML, "<title>Quay</title>", 200, quay.Capabilities{}, nil},
		{"other JSON", asJSON, `{"features": []}`, 200, quay.Capabilities{}, nil},
		{"down", asHTML, badGateway, 502, quay.Capabilities{}, quay.ErrUnavailable},
	} {
		rt := answering(row.status, row.contentType, row.body)
		got, err := client(t, rt, once).Capabilities(t.Context())
		if diff := cmp.Diff(row.want, got); diff != "" || !errors.Is(err, row.err) {
			t.Errorf("%s: %s %v", row.name, diff, err)
		}
		if rt.requests()[0].Authorization != "" {
			t.Errorf("%s: the token went where none is needed", row.name)
		}
	}
}

func TestOrganizationExists(t *testing.T) {
	const missing = "/api/v1/organization/acme"
	for _, row := range []struct {
		owner   quay.Owner
		answers map[string]int
		want    bool
		err     error
	}{
		{organization(t, "acme"), nil, true, nil},
		{organization(t, "acme"), map[string]int{missing: 404}, false, nil},
		{organization(t, "other"), nil, false, quay.ErrMalformed}, // the answer is about acme
		{user(t, "alice"), nil, true, nil},
		{user(t, "bobby"), nil, false, nil},
	} {
		got, err := client(t, grid(row.answers)).OrganizationExists(context.Background(), row.owner)
		if got != row.want || !errors.Is(err, row.err) {
			t.Errorf("%s: %v, %v", row.owner, got, err)
		}
	}
}
