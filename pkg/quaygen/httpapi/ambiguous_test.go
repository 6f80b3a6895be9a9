package httpapi_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/quaygen/quaygen/pkg/quaygen/httpapi"
)

// team is a client whose namespace is fixed, team-a; its rule would permit any.
func TestTwoWaysToReadARequestAreNone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		time.Sleep(time.Minute)
		const own = "/v1/pullsecrets/puller?namespace=team-a"
		for _, c := range []struct {
			what, target string
			change       func(*http.Request)
			want         int
		}{
			{"as it should be", own, nil, 200},
			{"its own namespace, escaped", "/v1/pullsecrets/puller?namespace=%74eam%2Da", nil, 200},
			{"in upper case", "/v1/pullsecrets/puller?namespace=Team-A", nil, 400},
			{"escaped twice", "/v1/pullsecrets/puller?namespace=%2574eam-a", nil, 400},
			{"with a blank behind it", own + "+", nil, 400},
			{"with a NUL behind it", own + "%00", nil, 400},
			{"with letters that look like it", "/v1/pullsecrets/puller?namespace=te%D0%B0m-a", nil, 400},
			{"two namespaces, its own last", "/v1/pullsecrets/puller?namespace=prod-shop&namespace=team-a", nil, 400},
			{"two namespaces, its own first", own + "&namespace=prod-shop", nil, 400},
			{"two namespaces, one of them empty", own + "&namespace=", nil, 400},
			{"the same twice", own + "&namespace=team-a", nil, 400},
			{"one with a name that is escaped", own + "&%6eamespace=prod-shop", nil, 400},
			{"one in other case", own + "&NAMESPACE=prod-shop", nil, 400},
			{"one as a list", own + "&namespace[]=prod-shop", nil, 400},
			{"one behind a semicolon", own + ";namespace=prod-shop", nil, 400},
			{"one behind a fragment", own + "%23&x=", nil, 400},
			{"a second name as a parameter", own + "&name=partner", nil, 400},
			{"a second name in the path", "/v1/pullsecrets/partner/../puller?namespace=team-a", nil, 400},
			{"a second name in the path, escaped", "/v1/pullsecrets/partner%2F..%2Fpuller?namespace=team-a", nil, 400},
			{"a name escaped twice", "/v1/pullsecrets/%2570uller?namespace=team-a", nil, 400},
			{"another in a header is not looked at", own, func(r *http.Request) { r.Header.Set("X-Namespace", "prod-shop") }, 200},
			{"its own in a header is none", "/v1/pullsecrets/puller", func(r *http.Request) { r.Header.Set("X-Namespace", "team-a") }, 403},
			{"its own in the body is none", "/v1/pullsecrets/puller", body("namespace=team-a"), 403},
			{"another in the body is not looked at", own, body("namespace=prod-shop"), 200},
			{"another, with its own in the body", "/v1/pullsecrets/puller?namespace=prod-shop", body("namespace=team-a"), 403},
			{"two tokens in one header", own, header("Authorization", "Bearer "+teamToken+", Bearer "+allToken), 401},
			{"two tokens in one header, without a comma", own, header("Authorization", "Bearer "+teamToken+" "+allToken), 401},
			{"two headers", own, header("Authorization", "Bearer "+teamToken, "Bearer "+allToken), 401},
			{"two headers with the same", own, header("Authorization", "Bearer "+teamToken, "Bearer "+teamToken), 401},
			{"two headers of two schemes", own, header("Authorization", "Basic eDp5", "Bearer "+teamToken), 401},
			{"a token for proxies", own, func(r *http.Request) {
				r.Header.Set("Proxy-Authorization", r.Header.Get("Authorization"))
				r.Header.Del("Authorization")
			}, 401},
			{"a token in the URL", own + "&access_token=" + teamToken, func(r *http.Request) { r.Header.Del("Authorization") }, 401},
			{"the scheme in other case", own, header("Authorization", "bEARER "+teamToken), 200}, // RFC 9110: it has none
			{"the token in other case", own, header("Authorization", "Bearer "+strings.ToUpper(teamToken)), 401},
			{"the token with a character more", own, header("Authorization", "Bearer "+teamToken+"="), 401},
		} {
			r := httptest.NewRequest(http.MethodGet, c.target, http.NoBody)
			r.Header.Set("Authorization", "Bearer "+teamToken)
			if c.change != nil {
				c.change(r)
			}
			a := httptest.NewRecorder()
			if w.handler.ServeHTTP(a, r); a.Code != c.want {
				t.Errorf("%s: %d, want %d: %s", c.what, a.Code, c.want, a.Body)
			}
		}
	})
}

func header(key string, values ...string) func(*http.Request) {
	return func(r *http.Request) { r.Header[key] = values }
}

func body(form string) func(*http.Request) {
	return func(r *http.Request) {
		with := httptest.NewRequest(http.MethodGet, r.URL.String(), strings.NewReader(form))
		r.Body, r.ContentLength = with.Body, with.ContentLength
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
}

func TestNoPortServesAProfiler(t *testing.T) {
	w := newIdleWorld(t)
	admin := httpapi.NewAdmin(prometheus.NewRegistry(), func() []httpapi.Check { return nil }, func() httpapi.Status { return httpapi.Status{} })
	for _, path := range []string{"/debug/pprof/", "/debug/pprof/heap", "/debug/pprof/goroutine?debug=2", "/debug/pprof/cmdline", "/debug/vars", "/debug/requests", "/debug/events", "/debug/"} {
		for port, handler := range map[string]http.Handler{"callers": w.handler, "admin": admin} {
			a := httptest.NewRecorder()
			handler.ServeHTTP(a, httptest.NewRequest(http.MethodGet, path, http.NoBody))
			if a.Code < 400 || a.Code >= 500 {
				t.Errorf("%s: %s: %d", port, path, a.Code)
			}
		}
	}
}
