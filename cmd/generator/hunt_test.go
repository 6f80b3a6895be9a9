package main

import (
	"encoding/base64"
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/quaygen/quaygen/pkg/quaygen/secret/secrettest"
)

// An utterance is what somebody was told who may have no credential.
type utterance struct{ where, text string }

// tell remembers what somebody was told who may have no credential.
func (p *process) tell(where, text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.said = append(p.said, utterance{where, text})
}

// show remembers a token that comes with a request: also one that is nobody's is to be told to nobody. Those that are mere
// words could be anywhere.
func (p *process) show(token string) {
	const enough = 50
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(token) < 16 || strings.Contains(token, " ") || slices.Contains(p.shown, token) {
		return
	}
	if p.shown = append(p.shown, token); len(p.shown) > enough {
		p.shown = p.shown[1:]
	}
}

var adminAddress = regexp.MustCompile(`msg=serving .*admin=(\S+)`)

// look takes down what the administrator's port has to say at the end, where the process has not ended yet.
func (p *process) look() {
	p.t.Helper()
	p.mu.Lock()
	all := adminAddress.FindAllStringSubmatch(p.log.String(), -1)
	p.mu.Unlock()
	if len(all) == 0 {
		return
	}
	for _, path := range []string{"/metrics", "/readyz?verbose", "/statusz"} {
		p.fetch(&http.Client{Timeout: patience}, all[len(all)-1][1]+path, "")
	}
}

// hunt looks for every secret there ever was in all that was said to anybody who may not have it.
func (p *process) hunt() {
	p.t.Helper()
	for _, where := range p.leaks() {
		p.t.Errorf("%s holds a token", where)
	}
}

// leaks says where a secret can be read: in the log, which standard output is in, in what somebody was told, or in a file
// that the process has written.
func (p *process) leaks() (where []string) {
	p.t.Helper()
	everything := p.written()
	p.mu.Lock()
	defer p.mu.Unlock()
	everything = append(append(everything, p.said...), utterance{"the log", p.log.String()})
	secrets := slices.Concat(p.quay.Tokens(), p.words, p.shown)
	for _, u := range everything {
		for _, secret := range secrets {
			if secrettest.Reveals(u.text, secret) {
				where = append(where, u.where)
				break
			}
		}
	}
	return where
}

// written are the files that the process has written: the audit trail, the ledger.
func (p *process) written() (all []utterance) {
	p.t.Helper()
	err := filepath.WalkDir(p.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || p.given[path] {
			return err
		}
		content, err := os.ReadFile(path)
		all = append(all, utterance{"the file " + d.Name(), string(content)})
		return err
	})
	if err != nil {
		p.t.Error(err)
	}
	return all
}

// A hunt that finds nothing proves something only if it finds what is there.
func TestTheHuntFindsEachTokenWhereverItIsSaid(t *testing.T) {
	p := newProcess(t)
	account := (&apiServer{}).issue("prod-a", "builder", "good", "quaygen")
	p.words = append(p.words, account)
	secrets := map[string]string{
		"a robot's token": p.quay.AddRobot("myorg", "k8s_puller_g1", ""), "the API token of Quay": p.read("token"),
		"the bearer token of a client": p.words[0], "the token of a ServiceAccount": account,
	}
	forms := map[string]func(string) string{
		"as it is":  func(s string) string { return "Bearer " + s },
		"in base64": func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) },
		"in a login": func(s string) string {
			return "Basic " + base64.StdEncoding.EncodeToString([]byte("myorg+k8s_puller_g1:"+s))
		},
		"in a short login": func(s string) string { return base64.URLEncoding.EncodeToString([]byte("$:" + s)) },
		"in a URL":         url.QueryEscape,
		"in a pull secret": func(s string) string { return fmt.Sprintf(`{"auths":{"quay.test":{"username":"u","password":%q}}}`, s) },
	}
	for what, secret := range secrets {
		for form, write := range forms {
			for kind, plant := range plants(p) {
				if found := p.leaks(); len(found) != 0 {
					t.Fatalf("before anything is planted %q hold a token", found)
				}
				remove := plant(write(secret))
				if found := p.leaks(); len(found) != 1 {
					t.Errorf("%s, %s, in %s: found in %q", what, form, kind, found)
				}
				remove()
			}
		}
	}
}

// plants are the ways in which a process could say something; each returns how to take it back.
func plants(p *process) map[string]func(text string) (remove func()) {
	forget := func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.said = nil
		p.log.Reset()
	}
	line := func(format string) func(string) func() {
		return func(text string) func() { fmt.Fprintf(p, format+"\n", text); return forget }
	}
	file := func(name string) func(string) func() {
		return func(text string) func() {
			path := filepath.Join(p.dir, name)
			if err := os.WriteFile(path, []byte("{\"x\":\""+text+"\"}\n"), 0o600); err != nil {
				p.t.Fatal(err)
			}
			return func() { _ = os.Remove(path) }
		}
	}
	page := func(path string) func(string) func() {
		return func(text string) func() {
			admin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == path {
					fmt.Fprint(w, text)
				}
			}))
			defer admin.Close()
			fmt.Fprintf(p, "msg=serving admin=%s\n", admin.URL)
			p.look()
			return forget
		}
	}
	answer := func(status int, header string) func(string) func() {
		return func(text string) func() {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				if header != "" {
					w.Header().Set(header, text)
					text = "all is well"
				}
				w.WriteHeader(status)
				fmt.Fprint(w, text)
			}))
			defer server.Close()
			p.fetchAs(server.Client(), server.URL+"/v1/pullsecrets/puller", "a token", true, nil)
			return forget
		}
	}
	return map[string]func(string) func(){
		"the log": line("level=ERROR msg=oops error=%q"), "a panic": line("panic: %s [recovered]\n\ngoroutine 1 [running]:"), "the audit trail on standard output": line(`{"reason":%q}`),
		"the audit trail in a file": file("audit.jsonl"), "an older one": file("audit.jsonl.1"), "the ledger": file("ledger.db"),
		"metrics": page("/metrics"), "the probe": page("/readyz"), "the status page": page("/statusz"),
		"an error answer": answer(http.StatusForbidden, ""), "a header": answer(http.StatusOK, "Etag"),
		"a gRPC error": func(text string) func() {
			p.tell("a gRPC error", status.Error(codes.PermissionDenied, text).Error())
			return forget
		},
	}
}
