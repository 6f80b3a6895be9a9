package quaytest_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"maps"
	"mime"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// client speaks raw HTTP, so that tests see statuses, types and keys as they are on the wire.
type client struct {
	t     *testing.T
	http  *http.Client
	base  string
	token string
}

// stay makes redirects visible.
func stay(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

func (c client) as(token string) client {
	c.token = token
	return c
}

func (c client) request(ctx context.Context, method, path string, body any) *http.Request {
	c.t.Helper()
	var content io.Reader
	switch b := body.(type) {
	case nil:
	case string:
		content = strings.NewReader(b)
	default:
		data, err := json.Marshal(b)
		if err != nil {
			c.t.Fatal(err)
		}
		content = bytes.NewReader(data)
	}
	r, err := http.NewRequestWithContext(ctx, method, c.base+path, content)
	if err != nil {
		c.t.Fatal(err)
	}
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	if c.token != "" {
		r.Header.Set("Authorization", "Bearer "+c.token)
	}
	return r
}

func (c client) send(r *http.Request) *reply {
	c.t.Helper()
	resp, err := c.http.Do(r)
	if err != nil {
		c.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	return &reply{t: c.t, what: r.Method + " " + r.URL.Path, code: resp.StatusCode, header: resp.Header, body: body}
}

// fail sends a request that shall not be answered, and returns the error.
func (c client) fail(ctx context.Context, method, path string) error {
	c.t.Helper()
	resp, err := c.http.Do(c.request(ctx, method, path, nil))
	if err == nil {
		_ = resp.Body.Close()
		c.t.Fatalf("%s %s was answered with %s", method, path, resp.Status)
	}
	return err
}

func (c client) do(method, path string, body any) *reply {
	c.t.Helper()
	return c.send(c.request(c.t.Context(), method, path, body))
}

func (c client) get(path string) *reply            { c.t.Helper(); return c.do("GET", path, nil) }
func (c client) put(path string, body any) *reply  { c.t.Helper(); return c.do("PUT", path, body) }
func (c client) post(path string, body any) *reply { c.t.Helper(); return c.do("POST", path, body) }
func (c client) delete(path string) *reply         { c.t.Helper(); return c.do("DELETE", path, nil) }

// reply is an answer with assertions that chain. None prints a body that may carry a token.
type reply struct {
	t      *testing.T
	what   string
	code   int
	header http.Header
	body   []byte
}

func (r *reply) status(want int) *reply {
	r.t.Helper()
	if r.code != want {
		r.t.Fatalf("%s answered %d, want %d", r.what, r.code, want)
	}
	return r
}

func (r *reply) contentType(want string) *reply {
	r.t.Helper()
	if got, _, _ := mime.ParseMediaType(r.header.Get("Content-Type")); got != want {
		r.t.Errorf("%s: content type %q, want %q", r.what, got, want)
	}
	return r
}

// html checks for a page that is not JSON.
func (r *reply) html() {
	r.t.Helper()
	r.contentType("text/html")
	if json.Valid(r.body) {
		r.t.Errorf("%s: want a page, not JSON", r.what)
	}
}

// exactly checks the body byte for byte, but for white space around it.
func (r *reply) exactly(want string) *reply {
	r.t.Helper()
	if got := strings.TrimSpace(string(r.body)); got != want {
		r.t.Errorf("%s: body %q, want %q", r.what, got, want)
	}
	return r
}

// problem checks the envelope of Quay's own exceptions, the order of its keys included.
func (r *reply) problem(status int, kind string) *reply {
	r.t.Helper()
	r.status(status).contentType("application/json")
	r.keys("detail", "error_message", "error_type", "title", "type", "status")
	o := r.object("")
	if o["error_type"] != kind || o["title"] != kind || o["detail"] != o["error_message"] || o["status"] != float64(status) {
		r.t.Errorf("%s: envelope %s", r.what, r.body)
	}
	if text, _ := o["type"].(string); !strings.HasSuffix(text, "/api/v1/error/"+kind) {
		r.t.Errorf("%s: type %q", r.what, text)
	}
	return r
}

func (r *reply) detail(want string) {
	r.t.Helper()
	if got := r.object("")["detail"]; got != want {
		r.t.Errorf("%s: detail %q, want %q", r.what, got, want)
	}
}

// bare checks the envelope of exceptions that no endpoint catches.
func (r *reply) bare(status int, message string) {
	r.t.Helper()
	r.status(status).contentType("application/json").keys("message")
	if got, _ := r.object("")["message"].(string); got != message {
		r.t.Errorf("%s: message %q, want %q", r.what, got, message)
	}
}

// invalidToken and the like are the answers to callers without the right; docs/quay-contract.md 1.3.
func (r *reply) invalidToken() {
	r.t.Helper()
	r.problem(401, "invalid_token").detail("Requires authentication")
}

func (r *reply) insufficientScope() {
	r.t.Helper()
	r.problem(403, "insufficient_scope").detail("Unauthorized")
}

func (r *reply) csrf() {
	r.t.Helper()
	r.status(403).contentType("text/html").exactly(`{"error": "CSRF token was invalid or missing."}`)
}

// keys checks the keys of the body's object, in their order.
func (r *reply) keys(want ...string) *reply {
	r.t.Helper()
	if got := orderedKeys(r.t, r.body); !cmp.Equal(got, want) {
		r.t.Errorf("%s: keys %v, want %v", r.what, got, want)
	}
	return r
}

func (r *reply) into(v any) {
	r.t.Helper()
	if err := json.Unmarshal(r.body, v); err != nil {
		r.t.Fatalf("%s: %v", r.what, err)
	}
}

// object returns the body's object, or the one below key.
func (r *reply) object(key string) map[string]any {
	r.t.Helper()
	var o map[string]any
	r.into(&o)
	if key == "" {
		return o
	}
	inner, is := o[key].(map[string]any)
	if !is {
		r.t.Fatalf("%s: no object %q", r.what, key)
	}
	return inner
}

// items returns the list of objects below key.
func (r *reply) items(key string) []map[string]any {
	r.t.Helper()
	var o map[string]json.RawMessage
	r.into(&o)
	var items []map[string]any
	if err := json.Unmarshal(o[key], &items); err != nil {
		r.t.Fatalf("%s: list %q: %v", r.what, key, err)
	}
	return items
}

// names returns the names of the objects below key, in their order.
func (r *reply) names(key string) []string {
	r.t.Helper()
	names := []string{}
	for _, item := range r.items(key) {
		name, _ := item["name"].(string)
		names = append(names, name)
	}
	return names
}

func (r *reply) text(key string) string {
	r.t.Helper()
	text, is := r.object("")[key].(string)
	if !is {
		r.t.Fatalf("%s: %q is no text", r.what, key)
	}
	return text
}

func orderedKeys(t *testing.T, body []byte) []string {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(body))
	if open, err := d.Token(); err != nil || open != json.Delim('{') {
		t.Errorf("no JSON object: %v", err)
		return nil
	}
	keys := []string{}
	for d.More() {
		key, err := d.Token()
		if err != nil {
			t.Fatal(err)
		}
		text, _ := key.(string)
		keys = append(keys, text)
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			t.Fatal(err)
		}
	}
	return keys
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
