package httpapi

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/quaygen/quaygen/pkg/quaygen"
	"github.com/quaygen/quaygen/pkg/quaygen/auth"
	"github.com/quaygen/quaygen/pkg/quaygen/policy"
	"github.com/quaygen/quaygen/pkg/quaygen/rotation"
)

// document reads a problem document strictly, and checks that it is what its headers say.
func document(t *testing.T, a *httptest.ResponseRecorder) (title, detail string) {
	t.Helper()
	var p struct {
		Type, Title, Detail string
		Status              int
	}
	decoder := json.NewDecoder(bytes.NewReader(a.Body.Bytes()))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&p); err != nil {
		t.Fatalf("%v: %q", err, a.Body)
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		t.Errorf("more than one document: %q", a.Body)
	}
	if p.Type != "about:blank" || p.Status != a.Code || p.Title == "" || a.Header().Get("Content-Type") != "application/problem+json" || a.Header().Get("Content-Length") != strconv.Itoa(a.Body.Len()) {
		t.Errorf("%d %v: %q", a.Code, a.Header(), a.Body)
	}
	return p.Title, p.Detail
}

// Whatever an error says, the caller gets one document of its kind and status, with that text if the error is meant for it.
func FuzzEveryErrorIsAProblemDocument(f *testing.F) {
	for _, text := range []string{"", "what is wrong", "\"quoted\"\r\nX-Header: injected\r\n\r\n{}", "\x00\xff\u2028</script>", strings.Repeat("x", 10_000)} {
		f.Add(text, 4, int64(1500*time.Millisecond), false)
		f.Add(text, -1, int64(-5), true)
	}
	f.Fuzz(func(t *testing.T, text string, kind int, retry int64, wrapped bool) {
		h := &handler{Config{Log: slog.New(slog.DiscardHandler)}}
		var err error = &quaygen.Error{Kind: quaygen.Kind(kind), Detail: text, RetryAfter: time.Duration(retry)}
		if wrapped {
			err = fmt.Errorf("around it: %w", err)
		}
		a := httptest.NewRecorder()
		code := h.fail(httptest.NewRequest(http.MethodGet, "/", nil), a, err)
		row := quaygen.Kind(kind).Row()
		title, detail := document(t, a)
		if code != row.HTTP || a.Code != code || title != row.Title || detail != strings.ToValidUTF8(text, "\ufffd") && !strings.Contains(text, "\ufffd") && !invalidRuns(text) {
			t.Errorf("%d %q %q", code, title, detail)
		}
		want := ""
		if retry > 0 {
			want = strconv.Itoa(int(math.Ceil(time.Duration(retry).Seconds())))
		}
		if got := a.Header().Get("Retry-After"); got != want {
			t.Errorf("Retry-After %q for %v", got, time.Duration(retry))
		}
		for key, values := range a.Header() {
			if strings.ContainsAny(key+strings.Join(values, ""), "\r\n") {
				t.Errorf("header %q: %q", key, values)
			}
		}
		// An error of no kind says nothing of itself.
		a = httptest.NewRecorder()
		if code := h.fail(httptest.NewRequest(http.MethodGet, "/", nil), a, errors.New(text)); code != http.StatusInternalServerError || len(text) > 3 && !strings.Contains("something went wrong inside quaygen; its log says what", text) && strings.Contains(a.Body.String(), text) {
			t.Errorf("%d %s", code, a.Body)
		}
		document(t, a)
	})
}

// invalidRuns reports whether s has bytes in a row that are no UTF-8: how many replacements stand for them is the encoder's business.
func invalidRuns(s string) bool { return strings.ToValidUTF8(s, "") != s }

// Whatever comes in as a request line and header, it is answered by a credential, or by a document that refuses one; and never with 404,
// upon which ESO may delete the Secret, unless the name is well-formed, permitted and not configured.
func FuzzEveryRequestIsAnswered(f *testing.F) {
	service := quaygen.New(rotation.New(rotation.Config{}), slog.New(slog.DiscardHandler))
	service.Apply(&quaygen.Settings{Rules: policy.Rules{{Clients: []string{"eso"}, Namespaces: []string{"prod-*"}, Names: []string{"known"}}}})
	h := New(Config{Service: service, Log: slog.New(slog.DiscardHandler), Authenticate: func(p auth.Presented) (policy.Caller, error) {
		if len(p.Authorization) != 1 || p.Authorization[0] != "Bearer right" {
			return policy.Caller{}, auth.ErrNoCredential
		}
		return policy.Caller{Name: "eso"}, nil
	}})
	for _, target := range []string{"/v1/pullsecrets/known?namespace=prod-a", "/v1/pullsecrets/kn%6fwn?namespace=prod-a&format=basic", "/v1/pullsecrets/known?namespace=prod-a&namespace=b",
		"/v1/pullsecrets/%3Cno+value%3E?namespace=prod-a", "//", "*", "http://h/v1/pullsecrets/known?namespace=prod-a", "/v1/pullsecrets/known?namespace=prod-a;b", "/v1/pullsecrets/a%2F..%2Fknown?namespace=x"} {
		f.Add("GET", target, "Bearer right")
		f.Add("POST", target, "Bearer wrong")
	}
	f.Fuzz(func(t *testing.T, method, target, authorization string) {
		raw := method + " " + target + " HTTP/1.1\r\nHost: h\r\nAuthorization: " + authorization + "\r\n\r\n"
		r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(raw)))
		if err != nil {
			return
		}
		a := httptest.NewRecorder()
		h.ServeHTTP(a, r)
		if a.Header().Get("Cache-Control") != "no-store" || a.Header().Get("Location") != "" {
			t.Errorf("headers %v", a.Header())
		}
		document(t, a) // there is no credential to be had here
		right := len(r.Header["Authorization"]) == 1 && r.Header.Get("Authorization") == "Bearer right"
		switch a.Code {
		case http.StatusNotFound:
			namespace := r.URL.Query().Get("namespace")
			if !right || !strings.HasPrefix(namespace, "prod-") || !strings.HasPrefix(r.URL.EscapedPath(), "/v1/pullsecrets/") || r.Method != http.MethodGet && r.Method != http.MethodHead {
				t.Errorf("404 of %q", raw)
			}
		case http.StatusForbidden:
			if !right {
				t.Errorf("403 of %q", raw)
			}
		case http.StatusBadRequest, http.StatusUnauthorized, http.StatusMethodNotAllowed, http.StatusRequestURITooLong:
		default:
			t.Errorf("%d of %q", a.Code, raw)
		}
	})
}
