package quay_test

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/quaygen/quaygen/pkg/quaygen/quay"
	"github.com/quaygen/quaygen/pkg/quaygen/secret"
)

func TestNewRefusesWhatCannotWork(t *testing.T) {
	good := func() quay.Config { return quay.Config{URL: "https://quay.test", TokenFile: "token"} }
	for _, row := range []struct {
		name   string
		change func(*quay.Config)
		ok     bool
	}{
		{"as it is", func(*quay.Config) {}, true},
		{"port", func(c *quay.Config) { c.URL = "https://quay.test:8443/" }, true},
		{"plain HTTP", func(c *quay.Config) { c.URL = "http://127.0.0.1:80" }, true},
		{"IPv6", func(c *quay.Config) { c.URL = "https://[::1]:8443" }, true},
		{"no URL", func(c *quay.Config) { c.URL = "" }, false},
		{"no scheme", func(c *quay.Config) { c.URL = "quay.test" }, false},
		{"host and port alone", func(c *quay.Config) { c.URL = "quay.test:443" }, false},
		{"other scheme", func(c *quay.Config) { c.URL = "ftp://quay.test" }, false},
		{"path", func(c *quay.Config) { c.URL = "https://quay.test/api" }, false},
		{"query", func(c *quay.Config) { c.URL = "https://quay.test?x=y" }, false},
		{"fragment", func(c *quay.Config) { c.URL = "https://quay.test#x" }, false},
		{"user", func(c *quay.Config) { c.URL = "https://u:hunter2@quay.test" }, false},
		{"unreadable with a password", func(c *quay.Config) { c.URL = "https://u:hunter2@quay.test:x" }, false},
		{"no token file", func(c *quay.Config) { c.TokenFile = "" }, false},
		{"negative rate", func(c *quay.Config) { c.QPS = -1 }, false},
		{"no rate", func(c *quay.Config) { c.QPS = math.NaN() }, false},
		{"negative burst", func(c *quay.Config) { c.Burst = -1 }, false},
		{"negative timeout", func(c *quay.Config) { c.Timeout = -1 }, false},
		{"negative attempts", func(c *quay.Config) { c.MaxAttempts = -1 }, false},
		{"no CA file", func(c *quay.Config) { c.CAFile = filepath.Join(t.TempDir(), "none") }, false},
		{"empty CA file", func(c *quay.Config) { c.CAFile = writeFile(t, "ca", "no certificate") }, false},
	} {
		cfg := good()
		row.change(&cfg)
		_, err := quay.New(cfg)
		if (err == nil) != row.ok || err != nil && strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", row.name, err)
		}
	}
}

func TestURLIsACopy(t *testing.T) {
	c := client(t, answering(200, asJSON, "{}"))
	c.URL().Host = "elsewhere.test"
	if got := c.URL().String(); got != "https://quay.test:8443" {
		t.Error(got)
	}
}

func TestTokenFileIsReadAgainWhenItChanges(t *testing.T) {
	path := filepath.Join(t.TempDir(), "token")
	rt := answering(200, asJSON, `{"name": "acme+ci"}`)
	c := client(t, rt, func(cfg *quay.Config) { cfg.TokenFile = path })
	get := func() error { _, _, err := c.GetRobot(t.Context(), robot(t, "acme", "ci")); return err }
	write := func(s string) {
		t.Helper()
		// As Secret mounts do: a new file takes the place of the old one.
		if err := os.WriteFile(path+".new", []byte(s), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(path+".new", path); err != nil {
			t.Fatal(err)
		}
	}
	good := func(want string) {
		t.Helper()
		if err := get(); err != nil {
			t.Fatal(err)
		}
		requests := rt.requests()
		if got := requests[len(requests)-1].Authorization; got != "Bearer "+want {
			t.Errorf("sent %q, want %q", got, want)
		}
	}

	err := get()
	if !errors.Is(err, quay.ErrTokenRejected) || !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), path) {
		t.Errorf("without a file: %v", err)
	}
	for _, bad := range []string{"", "\n", "two words", "line\nline", "tok\x00en", "tökén", strings.Repeat("a", 17<<10)} {
		write(bad)
		if err := get(); !errors.Is(err, quay.ErrTokenRejected) || !strings.Contains(err.Error(), path) || bad != "" && strings.Contains(err.Error(), bad) {
			t.Errorf("with %.20q: %v", bad, err)
		}
	}
	if n := len(rt.requests()); n != 0 {
		t.Errorf("%d requests without a token", n)
	}

	write("first\n")
	good("first")
	write("other")
	good("other")
	write("")
	good("other")
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	good("other")
	write("third \r\n")
	good("third")
}

func TestRejectedTokenIsReadAgainThoughTheFileLooksUnchanged(t *testing.T) {
	path := writeFile(t, "token", "first")
	rt := &fake{answer: func(_ int, r *http.Request) *http.Response {
		if r.Header.Get("Authorization") != "Bearer other" {
			return response(401, asJSON, problem(401, "invalid_token", "Requires authentication"))
		}
		return response(200, asJSON, `{"name": "acme+ci"}`)
	}}
	c := client(t, rt, func(cfg *quay.Config) { cfg.TokenFile = path })
	get := func() error { _, _, err := c.GetRobot(t.Context(), robot(t, "acme", "ci")); return err }
	if err := get(); !errors.Is(err, quay.ErrTokenRejected) {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("other"), 0o600); err != nil { // same file, same length
		t.Fatal(err)
	}
	if err := os.Chtimes(path, info.ModTime(), info.ModTime()); err != nil {
		t.Fatal(err)
	}
	if err := get(); err != nil {
		t.Error(err)
	}
}

func TestObserveIsToldOfEachAttempt(t *testing.T) {
	var got []string
	rt := &fake{answer: func(n int, _ *http.Request) *http.Response {
		switch n {
		case 1:
			return nil
		case 2:
			return response(502, asHTML, badGateway)
		}
		return response(200, asJSON, `{"name": "acme+ci"}`)
	}}
	c := client(t, rt, func(cfg *quay.Config) {
		cfg.Observe = func(operation, code string, _ time.Duration) { got = append(got, operation+" "+code) }
	})
	if _, _, err := c.GetRobot(t.Context(), robot(t, "acme", "ci")); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"robot.get error", "robot.get 502", "robot.get 200"}, got); diff != "" {
		t.Error(diff)
	}
}

// operations are all calls, by the name that is observed, with how often each is sent when Quay is down.
func operations(t *testing.T) map[string]struct {
	sent int
	do   func(*quay.Client) error
} {
	ctx, acme, r, repo := t.Context(), organization(t, "acme"), robot(t, "acme", "ci"), repository(t, "acme", "app")
	type operation = struct {
		sent int
		do   func(*quay.Client) error
	}
	return map[string]operation{
		"robot.create":      {1, func(c *quay.Client) error { _, _, err := c.CreateRobot(ctx, r, quay.CreateOptions{}); return err }},
		"robot.get":         {3, func(c *quay.Client) error { _, _, err := c.GetRobot(ctx, r); return err }},
		"robot.list":        {1, func(c *quay.Client) error { _, _, err := c.ListRobots(ctx, acme, quay.ListOptions{}); return err }},
		"robot.delete":      {1, func(c *quay.Client) error { _, err := c.DeleteRobot(ctx, r); return err }},
		"robot.regenerate":  {1, func(c *quay.Client) error { _, _, err := c.RegenerateRobot(ctx, r, time.Minute); return err }},
		"robot.permissions": {3, func(c *quay.Client) error { _, err := c.RobotGrants(ctx, r); return err }},
		"repository.list":   {3, func(c *quay.Client) error { _, err := c.ListRepositories(ctx, acme); return err }},
		"repository.get":    {3, func(c *quay.Client) error { _, err := c.RepositoryExists(ctx, repo); return err }},
		"permission.list":   {3, func(c *quay.Client) error { _, err := c.RepositoryGrants(ctx, repo); return err }},
		"permission.put":    {3, func(c *quay.Client) error { return c.SetGrant(ctx, repo, r, quay.RoleRead) }},
		"permission.delete": {3, func(c *quay.Client) error { return c.RemoveGrant(ctx, repo, r) }},
		"team.members":      {3, func(c *quay.Client) error { _, err := c.TeamMembers(ctx, acme, "devs"); return err }},
		"team.add":          {3, func(c *quay.Client) error { return c.AddTeamMember(ctx, acme, "devs", r) }},
		"team.remove":       {3, func(c *quay.Client) error { return c.RemoveTeamMember(ctx, acme, "devs", r) }},
		"organization.get":  {3, func(c *quay.Client) error { _, err := c.OrganizationExists(ctx, acme); return err }},
		"prototypes.list":   {3, func(c *quay.Client) error { return c.CheckToken(ctx, acme) }},
		"config":            {3, func(c *quay.Client) error { _, err := c.Capabilities(ctx); return err }},
		"auth":              {1, func(c *quay.Client) error { _, err := c.Login(ctx, r, secret.New(robotToken), nil); return err }},
	}
}

func TestOnlyWhatIsSafeIsRepeated(t *testing.T) {
	troubles := map[string]struct {
		answer func(int, *http.Request) *http.Response
		want   error
	}{
		"502":    {func(int, *http.Request) *http.Response { return response(502, asHTML, badGateway) }, quay.ErrUnavailable},
		"broken": {func(int, *http.Request) *http.Response { return nil }, quay.ErrUnreachable},
		"cut": {func(int, *http.Request) *http.Response {
			resp := response(200, asJSON, "")
			resp.Body = io.NopCloser(io.MultiReader(strings.NewReader(`{"name": "ac`), brokenReader{}))
			return resp
		}, quay.ErrUnreachable},
	}
	for trouble, with := range troubles {
		for name, op := range operations(t) {
			t.Run(trouble+"/"+name, func(t *testing.T) {
				t.Parallel() // they wait for their repeats
				var seen []string
				rt := &fake{answer: with.answer}
				c := client(t, rt, func(cfg *quay.Config) {
					cfg.Observe = func(operation, _ string, _ time.Duration) { seen = append(seen, operation) }
				})
				err := op.do(c)
				if !errors.Is(err, with.want) {
					t.Errorf("%v, want %v", err, with.want)
				}
				if len(seen) != op.sent || seen[0] != name {
					t.Errorf("sent %v, want %d times", seen, op.sent)
				}
			})
		}
	}
}

type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

func TestRefusalsAreNotRepeated(t *testing.T) {
	for _, body := range []string{problem(400, "invalid_request", "x"), bare("Could not find robot with specified username")} {
		rt := answering(400, asJSON, body)
		_, _, _ = client(t, rt).GetRobot(t.Context(), robot(t, "acme", "ci"))
		if n := len(rt.requests()); n != 1 {
			t.Errorf("%d requests", n)
		}
	}
	rt := answering(503, asJSON, readOnly)
	if err := client(t, rt).RemoveGrant(t.Context(), repository(t, "acme", "app"), robot(t, "acme", "ci")); !errors.Is(err, quay.ErrReadOnly) {
		t.Error(err)
	}
	if n := len(rt.requests()); n != 1 {
		t.Errorf("%d requests to a read-only registry", n)
	}
}

// endless gives out the same byte for ever.
type endless byte

func (b endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = byte(b)
	}
	return len(p), nil
}

func TestAnswersAreBounded(t *testing.T) {
	for _, status := range []int{200, 500} {
		rt := &fake{answer: func(int, *http.Request) *http.Response {
			resp := response(status, asJSON, "")
			resp.Body = io.NopCloser(endless(' '))
			return resp
		}}
		_, _, err := client(t, rt, once).GetRobot(t.Context(), robot(t, "acme", "ci"))
		if want := map[int]error{200: quay.ErrMalformed, 500: quay.ErrUnavailable}[status]; !errors.Is(err, want) {
			t.Errorf("endless %d: %v", status, err)
		}
	}
	long := fmt.Sprintf(`{"robots": [{"name": "acme+ci", "description": "%s"}]}`, strings.Repeat("d", 3<<20))
	got, _, err := client(t, answering(200, asJSON, long)).ListRobots(t.Context(), organization(t, "acme"), quay.ListOptions{})
	if err != nil || len(got) != 1 {
		t.Errorf("a list of 3 MiB: %v", err)
	}
}
