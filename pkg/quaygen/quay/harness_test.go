package quay_test

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/quaygen/quaygen/pkg/quaygen/quay"
)

const (
	apiToken   = "API0TOKEN0API0TOKEN0API0TOKEN0API0TOKEN0"
	robotToken = "ROBOT0TOKEN0ROBOT0TOKEN0ROBOT0TOKEN0ROBOT0TOKEN0ROBOT0TOKEN0ABCD"
	quayDate   = "Mon, 23 Nov 2026 21:13:56 GMT"
)

// fake answers requests in process, without sockets or goroutines, and remembers them.
type fake struct {
	answer func(n int, r *http.Request) *http.Response // n counts from 1; nil: the connection breaks

	mu   sync.Mutex
	seen []seen
}

type seen struct{ Method, Path, Query, Body, Authorization string }

func (f *fake) RoundTrip(r *http.Request) (*http.Response, error) {
	var body []byte
	if r.Body != nil {
		body, _ = io.ReadAll(r.Body)
		r.Body.Close()
	}
	f.mu.Lock()
	f.seen = append(f.seen, seen{r.Method, r.URL.Path, r.URL.RawQuery, string(body), r.Header.Get("Authorization")})
	n := len(f.seen)
	f.mu.Unlock()
	resp := f.answer(n, r)
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	if resp == nil {
		return nil, io.ErrUnexpectedEOF
	}
	resp.Request = r
	return resp, nil
}

func (f *fake) requests() []seen {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]seen(nil), f.seen...)
}

// answering makes a fake that always gives the same answer.
func answering(status int, contentType, body string) *fake {
	return &fake{answer: func(int, *http.Request) *http.Response { return response(status, contentType, body) }}
}

func response(status int, contentType, body string) *http.Response {
	h := http.Header{"Date": {quayDate}}
	if contentType != "" {
		h.Set("Content-Type", contentType)
	}
	return &http.Response{StatusCode: status, Header: h, Body: io.NopCloser(bytes.NewReader([]byte(body)))}
}

const (
	asJSON = "application/json"
	asHTML = "text/html; charset=utf-8"
)

// client returns a client over rt whose pacing is out of the way; with may change its configuration.
func client(t testing.TB, rt http.RoundTripper, with ...func(*quay.Config)) *quay.Client {
	t.Helper()
	cfg := quay.Config{
		URL:       "https://quay.test:8443",
		TokenFile: writeFile(t, "token", apiToken+"\n"),
		QPS:       1e6, Burst: 1e6,
		Transport: rt,
	}
	for _, change := range with {
		change(&cfg)
	}
	c, err := quay.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func once(cfg *quay.Config) { cfg.MaxAttempts = 1 }

// at points a client at a server with sockets.
func at(server *httptest.Server, caFile string) func(*quay.Config) {
	return func(cfg *quay.Config) { cfg.URL, cfg.CAFile, cfg.Transport = server.URL, caFile, nil }
}

func writeFile(t testing.TB, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func organization(t testing.TB, name string) quay.Owner {
	t.Helper()
	owner, err := quay.ParseOrganization(name)
	if err != nil {
		t.Fatal(err)
	}
	return owner
}

func user(t testing.TB, name string) quay.Owner {
	t.Helper()
	owner, err := quay.ParseUser(name)
	if err != nil {
		t.Fatal(err)
	}
	return owner
}

func robot(t testing.TB, org, short string) quay.Robot {
	t.Helper()
	r, err := quay.NewRobot(organization(t, org), short)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func repository(t testing.TB, org, name string) quay.Repository {
	t.Helper()
	repo, err := quay.NewRepository(organization(t, org), name)
	if err != nil {
		t.Fatal(err)
	}
	return repo
}
