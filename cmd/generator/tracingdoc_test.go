package main

import (
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/quaygen/quaygen/pkg/quaygen/quay/quaytest"
	"github.com/quaygen/quaygen/pkg/quaygen/tracing/otlp/otlptest"
)

// sort is what there is to know of all spans of one sort.
type sort struct{ Kind, Below, Attributes string }

// sortOf is what docs/tracing.md calls a span.
func sortOf(s otlptest.Span) string {
	word, _, _ := strings.Cut(s.Name, " ")
	switch {
	case s.Attributes["rpc.method"] != "":
		return "SERVICE/METHOD"
	case s.Kind == "SERVER":
		return "METHOD ROUTE"
	case word == "step":
		return "step ACTION"
	case word == "quay", word == "ledger":
		return word + " OPERATION"
	}
	return s.Name
}

// sorts sums up spans.
func sorts(all spans) map[string]sort {
	names := map[string]string{}
	for _, s := range all {
		names[s.ID] = sortOf(s)
	}
	below, attributes, out := map[string]map[string]bool{}, map[string]map[string]bool{}, map[string]sort{}
	for _, s := range all {
		name, parent := sortOf(s), names[s.Parent]
		if parent == "" {
			parent = "-"
		}
		if below[name] == nil {
			below[name], attributes[name] = map[string]bool{}, map[string]bool{}
		}
		below[name][parent] = true
		for key := range s.Attributes {
			attributes[name][key] = true
		}
		out[name] = sort{Kind: strings.ToLower(s.Kind)}
	}
	for name, s := range out {
		s.Below = strings.Join(slices.Sorted(maps.Keys(below[name])), ", ")
		s.Attributes = strings.Join(slices.Sorted(maps.Keys(attributes[name])), ", ")
		out[name] = s
	}
	return out
}

// listedSpans reads the table of docs/tracing.md.
func listedSpans(t *testing.T) map[string]sort {
	t.Helper()
	text, err := os.ReadFile("../../docs/tracing.md")
	if err != nil {
		t.Fatal(err)
	}
	_, text2, _ := strings.Cut(string(text), "## Spans")
	table, _, _ := strings.Cut(text2, "\n## ")
	sorted := func(cell string) string {
		words := strings.Split(strings.ReplaceAll(strings.TrimSpace(cell), "`", ""), ", ")
		slices.Sort(words)
		return strings.Join(words, ", ")
	}
	out := map[string]sort{}
	for line := range strings.Lines(table) {
		if !strings.HasPrefix(line, "| `") {
			continue
		}
		cells := strings.Split(line, "|")
		if len(cells) != 7 || strings.TrimSpace(cells[5]) == "" {
			t.Errorf("%d cells in %s", len(cells), line)
			continue
		}
		out[sorted(cells[1])] = sort{Kind: strings.TrimSpace(cells[2]), Below: sorted(cells[3]), Attributes: sorted(cells[4])}
	}
	return out
}

// Each sort of span, with each attribute it can have and below all that it can be below, comes about here.
func TestTheListOfSpansIsWhatServeSends(t *testing.T) {
	p, s := newProcess(t), &apiServer{}
	good := s.issue("prod-a", "builder", "good", "quaygen")
	unknown := func(signature string) string {
		return accountToken("prod-a", "builder", signature, time.Hour, "quaygen")
	}
	p.words = append(p.words, good, p.token()) // the latter stays the last
	r := p.traced("")
	p.withAPIServer(s)
	address := p.operatedOver()
	p.quay.AddTeam("myorg", "pullers", "member")
	p.edit("tracing:", "ledger: {file: ./ledger.db}\ntracing:")
	p.edit("robots:\n", `robots:
- {name: fixed, registry: quay, organization: myorg, robot: k8s_fixed, permissions: {repositories: [{name: app}]}, rotation: {strategy: regenerate, every: 1h}, maxRefresh: 1s}
- {name: tenant, registry: quay, organization: myorg, robot: k8s_tenant, scope: namespace, permissions: {repositories: [{name: app}], teams: [pullers]}, rotation: {every: 1h, overlap: 9s, drain: {quiet: 4s, max: 20s}}, maxRefresh: 1s}
`)
	p.quay.Inject(quaytest.Fault{Operation: "robot.create", Delay: 300 * time.Millisecond, Times: 3})
	p.quay.Inject(quaytest.Fault{Operation: "permission.put", Status: http.StatusBadGateway, Times: 1})
	p.start()
	ask := func(name, token string) int {
		status, _, _ := p.askWith(p.logged(`msg=serving .*http=(\S+)`)+"/v1/pullsecrets/"+name+"?namespace=prod-a", token, nil)
		return status
	}
	for _, name := range []string{"tenant", "puller", "fixed"} {
		p.until(name+" is there", func() bool { return ask(name, p.token()) == http.StatusOK })
	}
	if status := ask("puller", good); status != http.StatusOK {
		t.Errorf("the ServiceAccount got %d", status)
	}
	for _, order := range [][]string{{"rotate", "tenant", "--namespace", "prod-a"}, {"rotate", "fixed"}} {
		if code, stdout, stderr := p.operate(address, order...); code != exitOK {
			t.Fatalf("%v: %d %s%s", order, code, stdout, stderr)
		}
	}
	s.away.Store(true)
	if status := ask("puller", unknown("another")); status != http.StatusServiceUnavailable {
		t.Errorf("with the API server away %d", status)
	}
	p.write("account", unknown("yet-another"))
	if code, _, _ := try(t, "status", "--server", address(), "--token-file", filepath.Join(p.dir, "account"), "--ca-file", filepath.Join(p.dir, "tls.crt")); code != exitFailed {
		t.Errorf("with the API server away, over gRPC: %d", code)
	}
	p.end()
	if diff := cmp.Diff(listedSpans(t), sorts(r.Spans())); diff != "" {
		t.Errorf("docs/tracing.md (-) and what is sent (+) differ:\n%s", diff)
	}
}
