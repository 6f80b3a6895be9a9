package httpapi_test

import (
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/quaygen/quaygen/pkg/quaygen/httpapi"
)

func statusPage(t *testing.T, status httpapi.Status, checks ...httpapi.Check) *httptest.ResponseRecorder {
	t.Helper()
	a := httptest.NewRecorder()
	httpapi.NewAdmin(prometheus.NewRegistry(), func() []httpapi.Check { return checks }, func() httpapi.Status { return status }).
		ServeHTTP(a, httptest.NewRequest(http.MethodGet, "/statusz", http.NoBody))
	if a.Code != http.StatusOK {
		t.Fatalf("%d %s", a.Code, a.Body)
	}
	return a
}

func TestTheStatusPageShowsWhatItIsGiven(t *testing.T) {
	body := statusPage(t, httpapi.Status{
		Title: "quaygen test", Facts: []httpapi.Fact{{Name: "version", Value: "v1.2.3"}}, More: 17,
		Robots: []httpapi.RobotStatus{{
			Name: "puller", Namespace: "prod-a", Strategy: "overlap", Registry: "quay", Base: "myorg+k8s_puller", Served: "4711", Age: "3d", Next: "in 27d",
			Listed: "12s ago", State: "ok, 1 draining", Mood: httpapi.Good, Notes: []string{"waiting: for something"},
			Generations: []httpapi.GenerationStatus{{Robot: "myorg+k8s_puller_g4711", State: "4711 current", Mood: httpapi.Good, Age: "3d", Used: "5m ago", Note: "a note"}},
		}},
	}, httpapi.Check{Name: "config"}, httpapi.Check{Name: "quay/q/a", Note: "listed 3s ago"}, httpapi.Check{Name: "quay/q/b", Err: errors.New("it is down")}).Body.String()
	for _, text := range []string{
		"<title>quaygen test</title>", "v1.2.3", "<td class=\"one\">puller</td><td class=\"one\">prod-a</td><td>overlap</td>", "quay: myorg+k8s_puller<", ">4711<", "in 27d", "12s ago", `<td class="good">ok, 1 draining</td>`,
		"waiting: for something", "<td class=\"one\">myorg+k8s_puller_g4711</td>", "4711 current", "last use 5m ago", "a note", "listed 3s ago", `<td class="bad">failed</td><td>it is down</td>`, "And 17 more",
	} {
		if !strings.Contains(strings.ReplaceAll(body, "&#43;", "+"), text) {
			t.Errorf("no %q in\n%s", text, body)
		}
	}
	if empty := statusPage(t, httpapi.Status{}).Body.String(); !strings.Contains(empty, "There are none.") || strings.Contains(empty, " more") {
		t.Error(empty)
	}
}

// What Quay, the configuration or an error says is text, whatever it looks like.
func TestNothingOnTheStatusPageIsMarkupButItsOwn(t *testing.T) {
	const evil = `</style><script>alert(1)</script>"><img src=x onerror=alert(1)>'{{.}}javascript:alert(1)`
	robot := httpapi.RobotStatus{
		Name: evil, Namespace: evil, Strategy: evil, Registry: evil, Base: evil, Served: evil, Age: evil, Next: evil, Listed: evil, State: evil, Mood: evil, Notes: []string{evil},
		Generations: []httpapi.GenerationStatus{{Robot: evil, State: evil, Note: evil, Age: evil, Used: evil, Mood: evil}},
	}
	check := httpapi.Check{Name: evil, Note: evil}
	failed := httpapi.Check{Name: evil, Err: errors.New(evil)}
	tags := regexp.MustCompile(`<[^>]*>`)
	harmless := httpapi.RobotStatus{Notes: []string{"x"}, Generations: []httpapi.GenerationStatus{{Note: "x", Used: "x"}}}
	strip := func(status httpapi.Status, checks ...httpapi.Check) []string {
		return tags.FindAllString(regexp.MustCompile(`class="[^"]*"`).ReplaceAllString(statusPage(t, status, checks...).Body.String(), "class"), -1)
	}
	got := strip(httpapi.Status{Title: evil, Facts: []httpapi.Fact{{Name: evil, Value: evil}}, Robots: []httpapi.RobotStatus{robot}}, check, failed)
	want := strip(httpapi.Status{Facts: []httpapi.Fact{{}}, Robots: []httpapi.RobotStatus{harmless}}, httpapi.Check{}, httpapi.Check{Err: errors.New("x")})
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("tags that are not the page's own:\n%s", strings.Join(got, "\n"))
	}
}

func TestTheStatusPageLetsABrowserDoNothing(t *testing.T) {
	a := statusPage(t, httpapi.Status{Robots: []httpapi.RobotStatus{{Name: "puller"}}})
	body := a.Body.String()
	_, style, _ := strings.Cut(body, "<style>")
	style, _, _ = strings.Cut(style, "</style>")
	sum := sha256.Sum256([]byte(style))
	policy := a.Header().Get("Content-Security-Policy")
	want := "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
	if policy != want {
		t.Errorf("policy %q, not %q: its style would not be used", policy, want)
	}
	for header, value := range map[string]string{"X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY", "Referrer-Policy": "no-referrer", "Cache-Control": "no-store", "Content-Type": "text/html; charset=utf-8"} {
		if got := a.Header().Get(header); got != value {
			t.Errorf("%s: %q", header, got)
		}
	}
	if found := regexp.MustCompile(`(?i)<(script|link|img|iframe|form|a|object|base)\b|\b(src|href|style|on\w+)=|url\(|@import|https?:`).FindString(body); found != "" {
		t.Errorf("the page holds %q", found)
	}
}
