package auth_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quaygen/quaygen/pkg/quaygen/auth"
	"github.com/quaygen/quaygen/pkg/quaygen/policy"
)

const (
	esoToken  = "eso-token-0123456789abcdef"
	teamToken = "team+token/0123456789=="
	newToken  = "new-token-0123456789abcdef"
)

func request(authorization ...string) auth.Presented {
	return auth.Presented{Authorization: authorization}
}

func write(t testing.TB, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// fixture knows two clients; it returns their files as well.
func fixture(t *testing.T) (a *auth.BearerAuthenticator, eso, team string) {
	t.Helper()
	dir := t.TempDir()
	eso, team = filepath.Join(dir, "eso"), filepath.Join(dir, "team")
	write(t, eso, esoToken+"\n")
	write(t, team, " "+teamToken+"\r\n\n")
	a, err := auth.Bearer([]auth.BearerClient{
		{Name: "eso", TokenFile: eso},
		{Name: "team-a", Namespace: "a", TokenFile: team},
	})
	if err != nil {
		t.Fatal(err)
	}
	return a, eso, team
}

// whoHas returns the client's name, "" if the token is nobody's.
func whoHas(t *testing.T, a *auth.BearerAuthenticator, token string) string {
	t.Helper()
	caller, err := a.Authenticate(request("Bearer " + token))
	if err != nil && (!errors.Is(err, auth.ErrRejected) || !errors.Is(err, auth.ErrNoCredential)) {
		t.Errorf("%v", err)
	}
	return caller.Name
}

func TestBearerKnowsItsClients(t *testing.T) {
	a, _, _ := fixture(t)
	for header, want := range map[string]policy.Caller{
		"Bearer " + esoToken:    {Name: "eso", How: "bearer"},
		"bearer " + esoToken:    {Name: "eso", How: "bearer"},
		"BEARER  " + esoToken:   {Name: "eso", How: "bearer"},
		"Bearer " + teamToken:   {Name: "team-a", Namespace: "a", How: "bearer"},
		"bEaReR   " + teamToken: {Name: "team-a", Namespace: "a", How: "bearer"},
	} {
		if got, err := a.Authenticate(request(header)); err != nil || got != want {
			t.Errorf("%q: %+v, %v", header, got, err)
		}
	}
	if err := a.Err(); err != nil {
		t.Error(err)
	}
}

func TestBearerTurnsAway(t *testing.T) {
	a, _, _ := fixture(t)
	const none, unknown, malformed = "none", "unknown", "malformed"
	for _, c := range []struct {
		what    string
		headers []string
		want    string
	}{
		{"no header", nil, none},
		{"another scheme", []string{"Basic ZXNvOg=="}, none},
		{"an empty header", []string{""}, none},
		{"a scheme that only begins so", []string{"Bearers " + esoToken}, none},
		{"the token alone", []string{esoToken}, none},
		{"a tab between", []string{"Bearer\t" + esoToken}, none},
		{"an unknown token", []string{"Bearer " + newToken}, unknown},
		{"a token cut short", []string{"Bearer " + esoToken[:len(esoToken)-1]}, unknown},
		{"a token and more", []string{"Bearer " + esoToken + "x"}, unknown},
		{"other case", []string{"Bearer " + strings.ToUpper(esoToken)}, unknown},
		{"no token", []string{"Bearer"}, malformed},
		{"blanks for a token", []string{"Bearer   "}, malformed},
		{"a template's unset variable", []string{"Bearer <no value>"}, malformed},
		{"two tokens", []string{"Bearer " + esoToken + " " + esoToken}, malformed},
		{"two in a list", []string{"Bearer " + esoToken + ", Bearer " + esoToken}, malformed},
		{"a blank at the end", []string{"Bearer " + esoToken + " "}, malformed},
		{"a line end", []string{"Bearer " + esoToken + "\n"}, malformed},
		{"quotes", []string{`Bearer "` + esoToken + `"`}, malformed},
		{"padding in the middle", []string{"Bearer a=b"}, malformed},
		{"too long", []string{"Bearer " + strings.Repeat("a", 4097)}, malformed},
		{"two headers", []string{"Bearer " + esoToken, "Bearer " + esoToken}, malformed},
		{"two headers of two schemes", []string{"Basic ZXNvOg==", "Bearer " + esoToken}, malformed},
	} {
		caller, err := a.Authenticate(request(c.headers...))
		got := malformed
		switch {
		case err == nil:
			got = "accepted"
		case errors.Is(err, auth.ErrNoCredential) && errors.Is(err, auth.ErrRejected):
			got = unknown
		case errors.Is(err, auth.ErrNoCredential):
			got = none
		case !errors.Is(err, auth.ErrRejected):
			got = err.Error()
		}
		if got != c.want || caller != (policy.Caller{}) {
			t.Errorf("%s: %s, want %s", c.what, got, c.want)
		}
		if err != nil && (strings.Contains(err.Error(), esoToken) || strings.Contains(err.Error(), "no value")) {
			t.Errorf("%s: the error quotes the request: %v", c.what, err)
		}
	}
}

func TestNoClientsKnowNobody(t *testing.T) {
	a, err := auth.Bearer(nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := whoHas(t, a, esoToken); got != "" {
		t.Error(got)
	}
}

func TestBearerRefusesToStart(t *testing.T) {
	dir := t.TempDir()
	file := func(name, content string) string {
		path := filepath.Join(dir, name)
		write(t, path, content)
		return path
	}
	pipe := filepath.Join(dir, "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	good := file("good", esoToken)
	for what, clients := range map[string][]auth.BearerClient{
		"no file":            {{Name: "a", TokenFile: filepath.Join(dir, "absent")}},
		"no path":            {{Name: "a"}},
		"directory":          {{Name: "a", TokenFile: dir}},
		"pipe":               {{Name: "a", TokenFile: pipe}},
		"empty":              {{Name: "a", TokenFile: file("empty", "\n")}},
		"short":              {{Name: "a", TokenFile: file("short", strings.Repeat("s", 15))}},
		"long":               {{Name: "a", TokenFile: file("long", strings.Repeat("s", 4097))}},
		"endless":            {{Name: "a", TokenFile: file("endless", strings.Repeat(" ", 3000)+strings.Repeat("s", 4000))}},
		"three lines":        {{Name: "a", TokenFile: file("lines", esoToken+"\n"+teamToken+"\n"+newToken+"\n")}},
		"two on one line":    {{Name: "a", TokenFile: file("line", esoToken+" "+teamToken+"\n")}},
		"a token twice":      {{Name: "a", TokenFile: file("twice", esoToken+"\n"+esoToken+"\n")}},
		"a short second":     {{Name: "a", TokenFile: file("second", esoToken+"\n"+strings.Repeat("s", 15))}},
		"a second for b":     {{Name: "a", TokenFile: file("both", newToken+"\n"+esoToken)}, {Name: "b", TokenFile: good}},
		"not for a header":   {{Name: "a", TokenFile: file("umlaut", esoToken+"é")}},
		"same token":         {{Name: "a", TokenFile: good}, {Name: "b", TokenFile: file("same", esoToken+"\n")}},
		"same name":          {{Name: "a", TokenFile: good}, {Name: "a", TokenFile: file("other", teamToken)}},
		"no name":            {{TokenFile: good}},
		"one of two is fine": {{Name: "b", TokenFile: good}, {Name: "a", TokenFile: filepath.Join(dir, "absent")}},
	} {
		a, err := auth.Bearer(clients)
		if err == nil || a != nil {
			t.Errorf("%s: accepted", what)
		} else if strings.Contains(err.Error(), esoToken) || strings.Contains(err.Error(), "ssssssssss") {
			t.Errorf("%s: the error holds the token: %v", what, err)
		}
	}
	if _, err := auth.Bearer([]auth.BearerClient{{Name: "a", TokenFile: filepath.Join(dir, "absent")}}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%v", err)
	}
}

// next lets the time pass after which files are looked at again.
func next() { time.Sleep(time.Second) }

func TestAChangedFileCountsAfterASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, eso, _ := fixture(t)
		write(t, eso, newToken)
		time.Sleep(time.Second - time.Nanosecond)
		if whoHas(t, a, esoToken) != "eso" || whoHas(t, a, newToken) != "" {
			t.Error("the file was looked at too early")
		}
		time.Sleep(time.Nanosecond)
		if whoHas(t, a, newToken) != "eso" || whoHas(t, a, esoToken) != "" || whoHas(t, a, teamToken) != "team-a" {
			t.Error("the change was not seen")
		}
		write(t, eso, esoToken)
		if whoHas(t, a, newToken) != "eso" {
			t.Error("the file was looked at twice within a second")
		}
		next()
		if whoHas(t, a, esoToken) != "eso" {
			t.Error("the second change was not seen")
		}
	})
}

// Kubernetes swaps a symbolic link; editors and scripts rename a new file over the old one.
func TestAReplacedFileCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, eso, _ := fixture(t)
		write(t, eso+".new", newToken)
		if err := os.Rename(eso+".new", eso); err != nil {
			t.Fatal(err)
		}
		next()
		if whoHas(t, a, newToken) != "eso" {
			t.Error("the renamed file was not seen")
		}
		write(t, eso+".target", esoToken)
		if err := errors.Join(os.Remove(eso), os.Symlink(eso+".target", eso)); err != nil {
			t.Fatal(err)
		}
		next()
		if whoHas(t, a, esoToken) != "eso" {
			t.Error("the link was not followed")
		}
	})
}

// Same size, same inode, and a time of the past that is put back: only the inode tells the second file.
func TestAReplacedFileOfTheSameTimeAndSizeCounts(t *testing.T) {
	long := time.Now().Add(-time.Hour).Truncate(time.Second)
	dir := t.TempDir()
	path := filepath.Join(dir, "token")
	write(t, path, esoToken)
	write(t, path+".new", newToken)
	for _, file := range []string{path, path + ".new"} {
		if err := os.Chtimes(file, long, long); err != nil {
			t.Fatal(err)
		}
	}
	synctest.Test(t, func(t *testing.T) {
		// The bubble's clock starts in the year 2000: let the files be old by it as well.
		time.Sleep(time.Until(long.Add(time.Hour)))
		a, err := auth.Bearer([]auth.BearerClient{{Name: "eso", TokenFile: path}})
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(path+".new", path); err != nil {
			t.Fatal(err)
		}
		next()
		if whoHas(t, a, newToken) != "eso" {
			t.Error("the change was not seen")
		}
	})
}

func TestAFileThatCannotBeUsedKeepsTheLastToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, eso, _ := fixture(t)
		for what, spoil := range map[string]func() error{
			"gone":       func() error { return nil },
			"emptied":    func() error { return os.WriteFile(eso, nil, 0o600) },
			"short":      func() error { return os.WriteFile(eso, []byte("short"), 0o600) },
			"twice":      func() error { return os.WriteFile(eso, []byte(newToken+"\n"+newToken), 0o600) },
			"directory":  func() error { return os.Mkdir(eso, 0o700) },
			"taken":      func() error { return os.WriteFile(eso, []byte(teamToken), 0o600) },
			"lost link":  func() error { return os.Symlink("nowhere", eso) },
			"not a text": func() error { return os.WriteFile(eso, []byte(strings.Repeat("\x00", 40)), 0o600) },
		} {
			if err := os.RemoveAll(eso); err != nil {
				t.Fatal(err)
			}
			if err := spoil(); err != nil {
				t.Fatal(err)
			}
			next()
			if whoHas(t, a, esoToken) != "eso" || whoHas(t, a, teamToken) != "team-a" {
				t.Errorf("%s: a client was lost", what)
			}
			if err := a.Err(); err == nil || !strings.Contains(err.Error(), `"eso"`) || strings.Contains(err.Error(), teamToken) {
				t.Errorf("%s: reported %v", what, err)
			}
		}
		if err := os.RemoveAll(eso); err != nil {
			t.Fatal(err)
		}
		write(t, eso, newToken)
		next()
		if whoHas(t, a, newToken) != "eso" || a.Err() != nil {
			t.Errorf("the mended file was not read: %v", a.Err())
		}
	})
}

// The order of the documented procedure: the new token beside the old one, then the caller changes, then the old one goes.
func TestBothTokensOfAFileAreAcceptedWhileOneReplacesTheOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, eso, _ := fixture(t)
		for _, step := range []struct {
			content  string
			old, new string // whose they are then
		}{
			{newToken + "\n" + esoToken + "\n", "eso", "eso"},
			{"\r\n" + esoToken + " \r\n\r\n " + newToken, "eso", "eso"},
			{newToken + "\n", "", "eso"},
		} {
			write(t, eso, step.content)
			next()
			if old, fresh := whoHas(t, a, esoToken), whoHas(t, a, newToken); old != step.old || fresh != step.new || whoHas(t, a, teamToken) != "team-a" || a.Err() != nil {
				t.Errorf("%q: the old token is %q's, the new one %q's; %v", step.content, old, fresh, a.Err())
			}
		}
	})
}

func TestATokenThatTwoFilesShareInAnyLineIsNeitherClients(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, eso, team := fixture(t)
		write(t, eso, esoToken+"\n"+newToken)
		write(t, team, newToken+"\n"+teamToken)
		next()
		if whoHas(t, a, newToken) != "" || whoHas(t, a, esoToken) != "eso" || whoHas(t, a, teamToken) != "team-a" || a.Err() == nil {
			t.Errorf("reported %v", a.Err())
		}
	})
}

func TestClientsMayTradeTokens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, eso, team := fixture(t)
		write(t, eso, teamToken)
		write(t, team, esoToken)
		next()
		if whoHas(t, a, teamToken) != "eso" || whoHas(t, a, esoToken) != "team-a" || a.Err() != nil {
			t.Errorf("not traded: %v", a.Err())
		}
	})
}

func TestTwoClientsThatChangeToTheSameTokenBothKeepTheirs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, eso, team := fixture(t)
		write(t, eso, newToken)
		write(t, team, newToken)
		next()
		if whoHas(t, a, newToken) != "" || whoHas(t, a, esoToken) != "eso" || whoHas(t, a, teamToken) != "team-a" || a.Err() == nil {
			t.Errorf("reported %v", a.Err())
		}
	})
}

// For the race detector: requests come in while files change.
func TestRequestsAndReloadsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, eso, _ := fixture(t)
		var callers sync.WaitGroup
		for range 8 {
			callers.Go(func() {
				for range 50 {
					if caller, err := a.Authenticate(request("Bearer " + teamToken)); err != nil || caller.Name != "team-a" {
						t.Errorf("%+v, %v", caller, err)
					}
					time.Sleep(100 * time.Millisecond)
				}
			})
		}
		for i := range 5 {
			next()
			write(t, eso, strings.Repeat(string(rune('a'+i)), 20))
		}
		callers.Wait()
	})
}

func FuzzOnlyTheExactTokenIsAccepted(f *testing.F) {
	path := filepath.Join(f.TempDir(), "token")
	if err := os.WriteFile(path, []byte(esoToken), 0o600); err != nil {
		f.Fatal(err)
	}
	a, err := auth.Bearer([]auth.BearerClient{{Name: "eso", TokenFile: path}})
	if err != nil {
		f.Fatal(err)
	}
	for _, header := range []string{"", "Bearer", "Bearer " + esoToken, "bearer  " + esoToken, "Basic x", "Bearer " + newToken + "=="} {
		f.Add(header)
	}
	f.Fuzz(func(t *testing.T, header string) {
		caller, err := a.Authenticate(request(header))
		scheme, token, _ := strings.Cut(header, " ")
		right := strings.EqualFold(scheme, "bearer") && strings.TrimLeft(token, " ") == esoToken
		if right != (err == nil) || right != (caller.Name == "eso") {
			t.Errorf("%q: %+v, %v", header, caller, err)
		}
		if err != nil && !errors.Is(err, auth.ErrNoCredential) && !errors.Is(err, auth.ErrRejected) {
			t.Errorf("%q: %v", header, err)
		}
	})
}

func BenchmarkAuthenticate(b *testing.B) {
	for _, n := range []int{1, 10, 100} {
		b.Run(fmt.Sprintf("clients=%d", n), func(b *testing.B) {
			dir := b.TempDir()
			var clients []auth.BearerClient
			for i := range n {
				c := auth.BearerClient{Name: fmt.Sprintf("client-%032d", i)}
				c.TokenFile = filepath.Join(dir, c.Name)
				if err := os.WriteFile(c.TokenFile, []byte(c.Name), 0o600); err != nil {
					b.Fatal(err)
				}
				clients = append(clients, c)
			}
			a, err := auth.Bearer(clients)
			if err != nil {
				b.Fatal(err)
			}
			r := request("Bearer " + clients[n/2].Name)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := a.Authenticate(r); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
