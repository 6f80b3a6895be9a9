package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
)

// A rule that asks for labels takes effect without a restart, and what it decides follows the API server.
func TestARuleWithLabelsFollowsTheAPIServer(t *testing.T) {
	var labels atomic.Pointer[string] // of the namespace prod-a; nil: the API server does not answer yet
	ended := make(chan struct{})
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		now := labels.Load()
		switch {
		case r.URL.Path != "/api/v1/namespaces" || now == nil:
			http.Error(w, "{}", http.StatusServiceUnavailable)
		case r.URL.Query().Get("watch") == "":
			fmt.Fprintf(w, `{"metadata":{"resourceVersion":"1"},"items":[{"metadata":{"name":"prod-a","labels":%s}}]}`, *now)
		default:
			w.WriteHeader(http.StatusOK)
			_ = http.NewResponseController(w).Flush()
			select {
			case <-r.Context().Done():
			case <-ended:
			}
		}
	}))
	t.Cleanup(func() { close(ended); api.Close() })
	p := newProcess(t)
	p.write("kubeconfig", kubeconfig(api.URL))
	t.Setenv("KUBECONFIG", filepath.Join(p.dir, "kubeconfig"))
	p.start()
	p.ready()
	p.until("there is a pull secret", func() bool { status, _ := p.ask(p.token()); return status == http.StatusOK })

	p.edit(`namespaces: ["prod-*"]`, `namespaceLabels: {team: shop}`)
	p.until("it depends on labels", func() bool { status, _ := p.ask(p.token()); return status == http.StatusServiceUnavailable })
	p.until("the probe says why", func() bool {
		_, body := p.admin("/readyz?verbose")
		return strings.Contains(body, "namespace-labels") && strings.Contains(body, "503")
	})
	shop := `{"team":"shop"}`
	labels.Store(&shop)
	p.until("the labels are known and fit", func() bool { status, _ := p.ask(p.token()); return status == http.StatusOK })
	p.edit(`{team: shop}`, `{team: other}`)
	p.until("they do not fit any more", func() bool { status, _ := p.ask(p.token()); return status == http.StatusForbidden })
}

func TestOutsideOfAClusterARuleWithLabelsAllowsNothing(t *testing.T) {
	p := newProcess(t)
	p.write("kubeconfig", "no kubeconfig")
	t.Setenv("KUBECONFIG", filepath.Join(p.dir, "kubeconfig"))
	p.edit(`namespaces: ["prod-*"]`, `namespaceLabels: {team: shop}`)
	p.start()
	p.ready()
	p.logged("rules with namespaceLabels allow nothing")
	if status, body := p.ask(p.token()); status != http.StatusForbidden {
		t.Errorf("%d %s", status, body)
	}
}
