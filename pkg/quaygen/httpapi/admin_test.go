package httpapi_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/quaygen/quaygen/pkg/quaygen/httpapi"
)

func TestProbes(t *testing.T) {
	good := httpapi.Check{Name: "config"}
	noted := httpapi.Check{Name: "quay/q/a", Note: "listed 3s ago"}
	bad := httpapi.Check{Name: "quay/q/b", Err: errors.New("it is down")}
	for _, test := range []struct {
		what, target string
		checks       []httpapi.Check
		status       int
		says         string
	}{
		{"alive", "/livez", nil, 200, "ok\n"},
		{"alive, whatever fails", "/livez", []httpapi.Check{bad}, 200, "ok\n"},
		{"older name", "/healthz", []httpapi.Check{bad}, 200, "ok\n"},
		{"ready", "/readyz", []httpapi.Check{good, noted}, 200, "ok\n"},
		{"ready, in detail", "/readyz?verbose", []httpapi.Check{good, noted}, 200, "[+]config ok\n[+]quay/q/a ok: listed 3s ago\n"},
		{"not ready", "/readyz", []httpapi.Check{good, bad}, 503, "[+]config ok\n[-]quay/q/b failed: it is down\nreadyz check failed\n"},
		{"metrics", "/metrics", nil, 200, "answer 42\n"},
		{"elsewhere", "/debug/pprof/", nil, 404, ""},
		{"pull secrets", "/v1/pullsecrets/puller?namespace=x", nil, 404, ""},
	} {
		registry := prometheus.NewRegistry()
		gauge := prometheus.NewGauge(prometheus.GaugeOpts{Name: "answer"})
		gauge.Set(42)
		registry.MustRegister(gauge)
		a := httptest.NewRecorder()
		httpapi.NewAdmin(registry, func() []httpapi.Check { return test.checks }, func() httpapi.Status { return httpapi.Status{} }).
			ServeHTTP(a, httptest.NewRequest(http.MethodGet, test.target, http.NoBody))
		if a.Code != test.status || !strings.HasSuffix(a.Body.String(), test.says) {
			t.Errorf("%s: %d %q", test.what, a.Code, a.Body)
		}
	}
}
