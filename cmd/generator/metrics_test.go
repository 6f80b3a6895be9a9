package main

import (
	"fmt"
	"maps"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/quaygen/quaygen/pkg/quaygen/quay/quaytest"
)

// A family is what the text format, or the document, says of one metric.
type family struct {
	Type   string
	Labels string // sorted
}

var labelName = regexp.MustCompile(`(\w+)="`)

// families reads the text format: the series after a TYPE line are those of its metric.
func families(text string) map[string]family {
	out, labels, name := map[string]family{}, map[string]map[string]bool{}, ""
	for line := range strings.Lines(text) {
		if typed, ok := strings.CutPrefix(line, "# TYPE "); ok {
			fields := strings.Fields(typed)
			name = fields[0]
			out[name], labels[name] = family{Type: fields[1]}, map[string]bool{}
		}
		if strings.HasPrefix(line, "#") {
			continue
		}
		for _, m := range labelName.FindAllStringSubmatch(line, -1) {
			if m[1] != "le" { // of a histogram's buckets
				labels[name][m[1]] = true
			}
		}
	}
	for name, f := range out {
		f.Labels = strings.Join(slices.Sorted(maps.Keys(labels[name])), ", ")
		out[name] = f
	}
	return out
}

// documented reads the tables of docs/metrics.md.
func documented(t *testing.T) map[string]family {
	t.Helper()
	text, err := os.ReadFile("../../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]family{}
	for line := range strings.Lines(string(text)) {
		if !strings.HasPrefix(line, "| `quaygen_") {
			continue
		}
		cells := strings.Split(line, "|")
		if len(cells) != 7 {
			t.Errorf("%d cells in %s", len(cells), line)
			continue
		}
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		labels := strings.Split(cells[3], ", ")
		slices.Sort(labels)
		out[strings.Trim(cells[1], "`")] = family{Type: cells[2], Labels: strings.Join(labels, ", ")}
		if cells[4] == "" || cells[5] == "" {
			t.Errorf("%s: meaning and what to do are missing", cells[1])
		}
	}
	return out
}

func TestTheListOfMetricsIsWhatServeShows(t *testing.T) {
	p, _ := newProcessWithCertificates(t) // there is a CA of clients' certificates
	p.edit("tokenFile: ./token", "tokenFile: ./token, tokenExpires: 2094-11-05")
	p.edit("every: 1h, overlap: 9s", "every: 7s, overlap: 6s") // there is a superseded generation soon
	p.edit("robots:\n", "ledger: {file: ./ledger.db}\naudit: {file: ./audit.jsonl}\nrobots:\n- {name: fixed, registry: quay, organization: myorg, robot: k8s_fixed, permissions: {repositories: [{name: app}]}, rotation: {strategy: regenerate, every: 1h}, maxRefresh: 1s}\n")
	p.quay.Inject(quaytest.Fault{Operation: "robot.create", Status: 500, Times: 1})    // a step that fails
	publish := p.quay.Inject(quaytest.Fault{Operation: "permission.put", Status: 500}) // keeps generations from being published
	p.traced("")
	p.start()
	shown := map[string]family{} // at any time: some are absent for a moment
	look := func() {
		_, text := p.admin("/metrics")
		maps.Copy(shown, families(text))
	}
	p.until("a generation that is not published is shown, and a step that fails", func() bool {
		look()
		_, unpublished := shown["quaygen_robot_unpublished_since_timestamp_seconds"]
		_, failing := shown["quaygen_robot_steps_failing"]
		return unpublished && failing
	})
	publish()
	p.until("there is a pull secret", func() bool { look(); status, _ := p.ask(p.token()); return status == http.StatusOK })
	for _, r := range p.quay.Robots("myorg") {
		if strings.HasPrefix(r.Short, "k8s_puller_g") {
			p.quay.RemoveGrant("myorg", "app", r.Short) // drift
		}
	}
	want := documented(t)
	for name := range want {
		p.until(fmt.Sprintf("%s, which docs/metrics.md lists, is shown", name), func() bool {
			look()
			_, ok := shown[name]
			return ok
		})
	}
	maps.DeleteFunc(shown, func(name string, _ family) bool {
		return strings.HasPrefix(name, "go_") || strings.HasPrefix(name, "process_")
	})
	if diff := cmp.Diff(want, shown); diff != "" {
		t.Errorf("docs/metrics.md (-) and what is shown (+) differ:\n%s", diff)
	}
}
