package quay_test

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/quaygen/quaygen/pkg/quaygen/quay"
	"github.com/quaygen/quaygen/pkg/quaygen/secret"
)

var sentinels = []error{
	quay.ErrRobotMissing, quay.ErrRobotExists, quay.ErrTokenRejected, quay.ErrForbidden, quay.ErrNotFound,
	quay.ErrRobotsDisabled, quay.ErrReadOnly, quay.ErrRateLimited, quay.ErrMirrorInUse, quay.ErrNoPermission,
	quay.ErrAlreadyMember, quay.ErrNotMember, quay.ErrInvalid, quay.ErrUnavailable, quay.ErrRedirect,
	quay.ErrUnreachable, quay.ErrMalformed, quay.ErrLoginRefused,
}

// problem is Quay's problem envelope (docs/quay-contract.md 1.3).
func problem(status int, errorType, detail string) string {
	return fmt.Sprintf(`{"detail": %[1]q, "error_message": %[1]q, "error_type": %[2]q, "title": %[2]q, "type": "https://quay.test/api/v1/error/%[2]s", "status": %[3]d}`+"\n",
		detail, errorType, status)
}

func bare(message string) string { return fmt.Sprintf(`{"message":%q}`+"\n", message) }

func v2(code, message string) string {
	return fmt.Sprintf(`{"errors":[{"code":%q,"detail":{},"message":%q}]}`, code, message)
}

const (
	csrf       = `{"error": "CSRF token was invalid or missing."}`
	readOnly   = `{"is_readonly":true,"message":"System is currently read-only. Pulls will succeed but all write operations are currently suspended."}`
	badGateway = "<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>...</body></html>"
	limited    = "<html>\r\n<head><title>429 Too Many Requests</title></head>\r\n<body></body></html>"
	internal   = "<!doctype html>\n<html lang=en>\n<title>500 Internal Server Error</title>\n<h1>Internal Server Error</h1>\n"
)

type envelopeRow struct {
	name        string
	do          func(context.Context, *quay.Client) error
	status      int
	contentType string
	body        string
	want        error
	message     string // what Message must contain
}

func envelopeRows(t *testing.T) []envelopeRow {
	r, repo, acme := robot(t, "acme", "ci"), repository(t, "acme", "app"), organization(t, "acme")
	create := func(ctx context.Context, c *quay.Client) error {
		_, _, err := c.CreateRobot(ctx, r, quay.CreateOptions{})
		return err
	}
	get := func(ctx context.Context, c *quay.Client) error { _, _, err := c.GetRobot(ctx, r); return err }
	list := func(ctx context.Context, c *quay.Client) error {
		_, _, err := c.ListRobots(ctx, acme, quay.ListOptions{})
		return err
	}
	remove := func(ctx context.Context, c *quay.Client) error { _, err := c.DeleteRobot(ctx, r); return err }
	regenerate := func(ctx context.Context, c *quay.Client) error {
		_, _, err := c.RegenerateRobot(ctx, r, time.Minute)
		return err
	}
	grants := func(ctx context.Context, c *quay.Client) error { _, err := c.RobotGrants(ctx, r); return err }
	grant := func(ctx context.Context, c *quay.Client) error { return c.SetGrant(ctx, repo, r, quay.RoleRead) }
	revoke := func(ctx context.Context, c *quay.Client) error { return c.RemoveGrant(ctx, repo, r) }
	members := func(ctx context.Context, c *quay.Client) error {
		_, err := c.TeamMembers(ctx, acme, "devs")
		return err
	}
	join := func(ctx context.Context, c *quay.Client) error { return c.AddTeamMember(ctx, acme, "devs", r) }
	exists := func(ctx context.Context, c *quay.Client) error {
		ok, err := c.OrganizationExists(ctx, acme)
		if ok {
			t.Error("the organization passed for existing")
		}
		return err
	}
	login := func(ctx context.Context, c *quay.Client) error {
		_, err := c.Login(ctx, r, secret.New(robotToken), nil)
		return err
	}
	const missing, noPermission = "Could not find robot with specified username", "User does not have permission for repo."
	const disabled = "Robot accounts have been disabled. Please contact your administrator."
	return []envelopeRow{
		{"missing robot, get", get, 400, asJSON, bare(missing), quay.ErrRobotMissing, missing},
		{"missing robot, delete", remove, 400, asJSON, bare(missing), quay.ErrRobotMissing, missing},
		{"missing robot, regenerate", regenerate, 400, asJSON, bare(missing), quay.ErrRobotMissing, missing},
		{"missing robot, permissions", grants, 400, asJSON, bare(missing), quay.ErrRobotMissing, missing},
		{"existing robot", create, 400, asJSON, problem(400, "invalid_request", "Existing robot with name: acme+ci"), quay.ErrRobotExists, "acme+ci"},
		{"existing robot, before v3.11", create, 400, asJSON, bare("Existing robot with name: acme+ci"), quay.ErrRobotExists, "acme+ci"},
		{"existing robot, lost race", create, 400, asJSON, bare("duplicate key value violates unique constraint \"user_username\"\nDETAIL:  Key (username)=(acme+ci) already exists.\n"), quay.ErrRobotExists, "duplicate key"},
		{"token lost, read", get, 401, asJSON, problem(401, "invalid_token", "Requires authentication"), quay.ErrTokenRejected, "Requires authentication"},
		{"token lost, list", list, 401, asJSON, problem(401, "invalid_token", "Requires authentication"), quay.ErrTokenRejected, ""},
		{"token lost, write", create, 403, asHTML, csrf, quay.ErrTokenRejected, "CSRF"},
		{"token lost, delete", remove, 403, asHTML, csrf, quay.ErrTokenRejected, "CSRF"},
		{"token lost, grant", grant, 403, asHTML, csrf, quay.ErrTokenRejected, "CSRF"},
		{"token taken for OIDC", create, 401, asHTML, `{"error": "Issuer x not configured"}`, quay.ErrTokenRejected, "Issuer x"},
		{"no anonymous access", get, 401, asHTML, `{"error": "Anonymous access is not allowed"}`, quay.ErrTokenRejected, "Anonymous"},
		{"scope missing", create, 403, asJSON, problem(403, "insufficient_scope", "Unauthorized"), quay.ErrForbidden, "Unauthorized"},
		{"plain 403", grants, 403, asJSON, bare("You don't have the permission to access the requested resource."), quay.ErrForbidden, "You don't have"},
		{"403 of a proxy", get, 403, asHTML, "<html><head><title>403 Forbidden</title></head></html>", quay.ErrForbidden, "403 Forbidden"},
		{"team missing", members, 404, asJSON, problem(404, "not_found", "Not Found"), quay.ErrNotFound, "Not Found"},
		{"404 of a proxy is no absence", exists, 404, asHTML, "<html><title>404 Not Found</title></html>", quay.ErrUnavailable, "404 Not Found"},
		{"404 in plain text is no absence", exists, 404, "text/plain", "default backend - 404", quay.ErrUnavailable, ""},
		{"robots disabled", create, 400, asJSON, problem(400, "invalid_request", disabled), quay.ErrRobotsDisabled, "disabled"},
		{"read-only", create, 503, asJSON, readOnly, quay.ErrReadOnly, "read-only"},
		{"read-only, delete", remove, 503, asJSON, readOnly, quay.ErrReadOnly, "read-only"},
		{"503 that is not read-only", create, 503, asJSON, bare("try later"), quay.ErrUnavailable, "try later"},
		{"rate-limited", list, 429, asHTML, limited, quay.ErrRateLimited, "429 Too Many Requests"},
		{"in use by a mirror", remove, 400, asJSON, problem(400, "invalid_request", "Robot is being used by a mirror"), quay.ErrMirrorInUse, "mirror"},
		{"no grant to remove", revoke, 400, asJSON, problem(400, "invalid_request", noPermission), quay.ErrNoPermission, "permission"},
		{"grant to a stranger", grant, 400, asJSON, problem(400, "invalid_request", "Cannot add robot other+rob under namespace acme"), quay.ErrInvalid, "Cannot add"},
		{"grant to nobody", grant, 400, asJSON, problem(400, "invalid_request", "Invalid username: acme+ci"), quay.ErrInvalid, "Invalid username"},
		{"unknown user for a team", join, 400, asJSON, problem(400, "invalid_request", "Unknown user"), quay.ErrInvalid, "Unknown user"},
		{"bad query", list, 400, asJSON, `{"message": {"limit": "Limit of robots"}}`, quay.ErrInvalid, "limit: Limit of robots"},
		{"wrong content type", grant, 415, asJSON, bare("Did not attempt to load JSON data"), quay.ErrInvalid, "Did not attempt"},
		{"method not allowed", get, 405, asJSON, bare("The method is not allowed for the requested URL."), quay.ErrInvalid, "method"},
		{"organization unknown to a superuser", create, 400, asJSON, bare("Organization does not exist: acme"), quay.ErrInvalid, "does not exist"},
		{"HTML 500", create, 500, asHTML, internal, quay.ErrUnavailable, "500 Internal Server Error"},
		{"HTML 502", remove, 502, asHTML, badGateway, quay.ErrUnavailable, "502 Bad Gateway"},
		{"empty 500", create, 500, "", "", quay.ErrUnavailable, ""},
		{"web page with 200", get, 200, asHTML, "<!DOCTYPE html><title>Sign in to the WiFi</title>", quay.ErrUnavailable, "Sign in"},
		{"web page with 200, delete", remove, 200, asHTML, "\n<html><title>Sign in</title>", quay.ErrUnavailable, "Sign in"},
		{"redirect", get, 308, asHTML, "<title>Redirecting...</title>", quay.ErrRedirect, "to https://elsewhere.test/x/"},
		{"not JSON", get, 200, asJSON, `{"name": "acme+ci", "tok`, quay.ErrMalformed, ""},
		{"another robot", get, 200, asJSON, `{"name": "acme+other"}`, quay.ErrMalformed, "another robot"},
		{"a robot without its token", create, 201, asJSON, `{"name": "acme+ci"}`, quay.ErrMalformed, "token"},
		{"a robot with a strange time", get, 200, asJSON, `{"name": "acme+ci", "created": "2026-11-23T21:13:56Z"}`, quay.ErrMalformed, "created"},
		{"no list", list, 200, asJSON, `{}`, quay.ErrMalformed, "list"},
		{"login, wrong password", login, 401, asJSON, v2("UNAUTHORIZED", "Could not find robot with username: acme+ci and supplied password."), quay.ErrLoginRefused, "supplied password"},
		{"login, unknown robot", login, 401, asJSON, v2("UNAUTHORIZED", missing), quay.ErrLoginRefused, missing},
		{"login, organization disabled", login, 401, asJSON, v2("UNAUTHORIZED", "Robot acme+ci owner acme is disabled"), quay.ErrLoginRefused, "is disabled"},
		{"login, 401 of a proxy", login, 401, asHTML, "<html><title>401 Authorization Required</title></html>", quay.ErrUnavailable, "401 Authorization Required"},
		{"login, bad scope", login, 400, asJSON, v2("INVALID_REQUEST", "bad scope"), quay.ErrInvalid, "bad scope"},
		{"login, limited", login, 429, asHTML, limited, quay.ErrRateLimited, ""},
		{"login, no token", login, 200, asJSON, `{}`, quay.ErrMalformed, "registry token"},
	}
}

func TestEveryEnvelopeHasItsSentinel(t *testing.T) {
	for _, row := range envelopeRows(t) {
		t.Run(row.name, func(t *testing.T) {
			rt := answering(row.status, row.contentType, row.body)
			plain := rt.answer
			rt.answer = func(n int, r *http.Request) *http.Response {
				resp := plain(n, r)
				if row.status/100 == 3 {
					resp.Header.Set("Location", "https://elsewhere.test/x/?token="+apiToken)
				}
				if strings.HasSuffix(r.URL.Path, "/app") { // the look-up behind a failed grant
					return response(200, asJSON, `{"name": "app"}`)
				}
				return resp
			}
			err := row.do(t.Context(), client(t, rt, once))
			for _, sentinel := range sentinels {
				if got := errors.Is(err, sentinel); got != errors.Is(row.want, sentinel) {
					t.Errorf("errors.Is(%q, %q) = %v", err, sentinel, got)
				}
			}
			var e *quay.APIError
			if !errors.As(err, &e) {
				t.Fatalf("%v is no APIError", err)
			}
			if e.Kind != quay.KindMalformed && e.Status != row.status || e.Operation == "" || e.Subject == "" {
				t.Errorf("%+v", e)
			}
			if !strings.Contains(e.Message, row.message) || len(e.Message) > 300 || strings.ContainsAny(e.Message, "\n\r<") {
				t.Errorf("message %q", e.Message)
			}
			if want := time.Date(2026, 11, 23, 21, 13, 56, 0, time.UTC); !e.Date.Equal(want) || e.Date.Location() != time.UTC {
				t.Errorf("date %v", e.Date)
			}
		})
	}
}

func TestLoginRefusedForDisabledRobotsIsBoth(t *testing.T) {
	rt := answering(401, asJSON, v2("UNAUTHORIZED", "Robot account have been disabled. Please contact your administrator."))
	_, err := client(t, rt).Login(t.Context(), robot(t, "acme", "ci"), secret.New(robotToken), nil)
	if !errors.Is(err, quay.ErrLoginRefused) || !errors.Is(err, quay.ErrRobotsDisabled) {
		t.Error(err)
	}
}

func TestGrantOnMissingRepositoryIsNotFound(t *testing.T) {
	rt := &fake{answer: func(_ int, r *http.Request) *http.Response {
		if r.Method == http.MethodGet {
			return response(404, asJSON, problem(404, "not_found", "Not Found"))
		}
		return response(500, asHTML, internal)
	}}
	err := client(t, rt).SetGrant(t.Context(), repository(t, "acme", "app"), robot(t, "acme", "ci"), quay.RoleRead)
	if !errors.Is(err, quay.ErrNotFound) || errors.Is(err, quay.ErrUnavailable) {
		t.Error(err)
	}
	if n := len(rt.requests()); n != 2 {
		t.Errorf("%d requests; a missing repository is not asked for again", n)
	}
}

func TestRetryAfterIsReadInBothForms(t *testing.T) {
	for _, row := range []struct {
		header string
		want   time.Duration
	}{
		{"", 0}, {"0", 0}, {"7", 7 * time.Second}, {"-3", 0}, {"soon", 0},
		{"99999999999999", time.Hour},
		{"Mon, 23 Nov 2026 21:14:06 GMT", 10 * time.Second}, // by Quay's clock
		{"Mon, 23 Nov 2026 21:13:06 GMT", 0},
	} {
		rt := &fake{answer: func(int, *http.Request) *http.Response {
			resp := response(429, asHTML, limited)
			if row.header != "" {
				resp.Header.Set("Retry-After", row.header)
			}
			return resp
		}}
		_, _, err := client(t, rt).ListRobots(t.Context(), organization(t, "acme"), quay.ListOptions{})
		var e *quay.APIError
		if !errors.As(err, &e) || e.RetryAfter != row.want {
			t.Errorf("Retry-After %q: %+v", row.header, e)
		}
	}
}

func TestTemporaryMeansThatWaitingMayHelp(t *testing.T) {
	helps := []quay.Kind{quay.KindRateLimited, quay.KindUnavailable, quay.KindUnreachable, quay.KindReadOnly}
	for kind := quay.KindRobotMissing; kind <= quay.KindLoginRefused; kind++ {
		want := false
		for _, k := range helps {
			want = want || k == kind
		}
		if got := (&quay.APIError{Kind: kind}).Temporary(); got != want {
			t.Errorf("%v: temporary %v", kind, got)
		}
	}
}

// What a proxy or a broken Quay echoes must not carry credentials into errors, and so into logs.
func TestEchoedCredentialsStayOutOfErrors(t *testing.T) {
	r := robot(t, "acme", "ci")
	echo := &fake{answer: func(_ int, req *http.Request) *http.Response {
		_, password, _ := req.BasicAuth()
		body := bare("you sent " + req.Header.Get("Authorization") + " " + password + strings.Repeat(" more", 100))
		if req.URL.Path == "/v2/auth" {
			body = v2("UNAUTHORIZED", "you sent "+req.Header.Get("Authorization")+" "+password)
		}
		return response(401, asJSON, body)
	}}
	c := client(t, echo)
	_, errLogin := c.Login(t.Context(), r, secret.New(robotToken), nil)
	_, _, errGet := c.GetRobot(t.Context(), r)
	_, _, errCreate := c.CreateRobot(t.Context(), r, quay.CreateOptions{})
	for _, err := range []error{errLogin, errGet, errCreate} {
		text := fmt.Sprintf("%v %+v %#v", err, err, err)
		if !strings.Contains(err.Error(), "[redacted]") {
			t.Errorf("nothing was redacted: %v", err)
		}
		for _, s := range []string{apiToken, robotToken, "YWNtZStjaTpST0JP"} { // base64 of acme+ci:ROBO
			if strings.Contains(text, s) {
				t.Errorf("%q got into %q", s, text)
			}
		}
	}
}

// A Quay that lists what it holds must not get tokens of other robots into errors; names and numbers that help stay.
func TestWhateverLooksLikeACredentialStaysOutOfErrors(t *testing.T) {
	const other, jwt = "OTHER0TOKEN0OTHER0TOKEN0OTHER0TOKEN0OTHER0TOKEN0OTHER0TOKEN0ABCD", "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhIn0.c2ln-nature_"
	pair := base64.StdEncoding.EncodeToString([]byte("acme+other:" + other))
	said := "robot acme+k8s_a_name_that_is_quite_long_g469980 of backend/services/payments/a-repository, request 0123456789abcdef0123456789abcdef"
	rt := &fake{answer: func(int, *http.Request) *http.Response {
		return response(400, asJSON, bare(said+": "+other+", Basic "+pair+", "+jwt))
	}}
	_, _, err := client(t, rt).CreateRobot(t.Context(), robot(t, "acme", "ci"), quay.CreateOptions{})
	if want := said + ": [redacted], Basic [redacted], [redacted]"; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("%v, want %s", err, want)
	}
}

// The token of an answer that cannot be used is a live password all the same.
func TestBodiesOfRobotCallsStayOutOfErrors(t *testing.T) {
	r := robot(t, "acme", "ci")
	for _, body := range []string{
		`{"name": "acme+ci", "token": ["` + robotToken + `"]}`,
		`{"name": "acme+ci", "created": "` + robotToken + `", "token": "` + robotToken + `"}`,
		`{"name": "` + robotToken + `", "token": "` + robotToken + `"}`,
		`{"name": "acme+ci", "token": "` + robotToken,
		`"` + robotToken + `"`,
		robotToken,
	} {
		for _, status := range []int{200, 201, 400, 500} {
			_, _, err := client(t, answering(status, asJSON, body), once).CreateRobot(t.Context(), r, quay.CreateOptions{})
			if err == nil {
				t.Errorf("status %d, body %q: no error", status, body)
				continue
			}
			if text := fmt.Sprintf("%v %+v", err, errors.Unwrap(err)); strings.Contains(text, robotToken[:12]) {
				t.Errorf("status %d, body %q: %s", status, body, text)
			}
		}
	}
}
