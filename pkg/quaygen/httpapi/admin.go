package httpapi

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Check is one thing that has to be in order before requests are sent here.
type Check struct {
	Name string // e.g. "quay/myorg"
	Err  error  // nil: in order
	Note string // said either way
}

// NewAdmin returns the handler of the administrator's port: /livez, /readyz (with ?verbose), /metrics and /statusz. checks
// is asked at each probe, and status for each page; both answer from memory.
func NewAdmin(gatherer prometheus.Gatherer, checks func() []Check, status func() Status) http.Handler {
	mux := http.NewServeMux()
	live := func(w http.ResponseWriter, _ *http.Request) { plain(w, http.StatusOK, "ok\n") }
	mux.HandleFunc("GET /livez", live)
	mux.HandleFunc("GET /healthz", live)
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		_, verbose := r.URL.Query()["verbose"]
		text, ready := readiness(checks())
		switch {
		case !ready:
			plain(w, http.StatusServiceUnavailable, text)
		case verbose:
			plain(w, http.StatusOK, text)
		default:
			plain(w, http.StatusOK, "ok\n")
		}
	})
	mux.Handle("GET /metrics", promhttp.HandlerFor(gatherer, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /statusz", func(w http.ResponseWriter, _ *http.Request) { serveStatus(w, status(), checks()) })
	return mux
}

// readiness renders checks as Kubernetes' own servers do, one line each.
func readiness(checks []Check) (text string, ready bool) {
	var b strings.Builder
	ready = true
	for _, c := range checks {
		switch {
		case c.Err != nil:
			ready = false
			fmt.Fprintf(&b, "[-]%s failed: %v\n", c.Name, c.Err)
		case c.Note != "":
			fmt.Fprintf(&b, "[+]%s ok: %s\n", c.Name, c.Note)
		default:
			fmt.Fprintf(&b, "[+]%s ok\n", c.Name)
		}
	}
	if !ready {
		b.WriteString("readyz check failed\n")
	}
	return b.String(), ready
}

func plain(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_, _ = w.Write([]byte(text)) // the probe went away: nothing to tell it
}
