package main

import (
	"fmt"
	"html"
	"log/slog"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/quaygen/quaygen/pkg/quaygen/config"
)

func TestTheStatusPageTellsPeopleHowRobotsAreDoing(t *testing.T) {
	p := newProcess(t)
	p.start()
	p.ready()
	page := func() string {
		status, body := p.admin("/statusz")
		if status != http.StatusOK {
			t.Fatalf("%d %s", status, body)
		}
		return html.UnescapeString(body)
	}
	p.until("the page shows the generation that is served", func() bool { return strings.Contains(page(), " current</span>") })
	body := page()
	for _, text := range []string{
		"<h1>quaygen test</h1>", currentBuild().String(), p.dir + "/generator.yaml, digest ", "1 robot, 0 joined pull secrets, 1 client, 1 rule",
		"<td class=\"one\">puller</td><td class=\"one\"></td><td>overlap</td><td class=\"one\">quay: myorg+k8s_puller</td>", "<td class=\"one\">myorg+k8s_puller_g", ">in 5", `<td class="good">ok</td>`, "quay/quay/myorg",
	} {
		if !strings.Contains(body, text) {
			t.Errorf("no %q in\n%s", text, body)
		}
	}
	p.away.Store(true)
	p.until("the page shows that Quay cannot be listed", func() bool {
		body := page()
		return strings.Contains(body, "robots answered from memory: 1: ") && strings.Contains(body, `<td class="bad">`)
	})
}

// A browser is not asked to show ten thousand robots.
func TestTheStatusPageHasABound(t *testing.T) {
	const beyond = 3
	path, _ := configure(t, "", "")
	m := &matrix{t: t, dir: filepath.Dir(path)}
	text := "robots:\n"
	for i := range statusRobots + beyond {
		text += fmt.Sprintf("- {name: robot-%d, registry: quay, organization: myorg, robot: k8s_robot_%d, permissions: {repositories: [{name: app}]}, rotation: {strategy: none}}\n", i, i)
	}
	before, after, _ := strings.Cut(fmt.Sprintf(matrixConfig, "http://127.0.0.1:1"), "robots:\n")
	_, after, _ = strings.Cut(after, "pullSecrets:")
	_, after, _ = strings.Cut(after, "\n")
	m.write("generator.yaml", before+text+after+"clients: []\n")
	cfg, err := config.Options{SkipFiles: true}.Load(filepath.Join(m.dir, "generator.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	listen := cfg.Server
	listen.TLS, listen.GRPC = config.TLS{}, config.GRPC{}
	s, err := newServer(slog.New(slog.DiscardHandler), path, cfg, listen, outlets{registry: prometheus.NewRegistry()})
	if err != nil {
		t.Fatal(err)
	}
	if status := s.status(); len(status.Robots) != statusRobots || status.More != beyond {
		t.Errorf("%d robots, and %d more", len(status.Robots), status.More)
	}
}
