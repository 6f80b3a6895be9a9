package manifests_test

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/quaygen/quaygen/manifests/tests/chart"
)

var publish = flag.Bool("publish", false, "with a release: write what the chart makes now as what upgrades start from")

const (
	golden    = "testdata/golden"    // what the chart makes now
	published = "testdata/published" // what the last release of it made
)

// golds are the values of the golden files: testdata/values, by name.
func golds(t *testing.T) map[string]map[string]any {
	t.Helper()
	files, err := filepath.Glob("testdata/values/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("%v: no values in testdata/values", err)
	}
	out := map[string]map[string]any{}
	for _, file := range files {
		values, err := chart.ReadValues(file)
		if err != nil {
			t.Fatal(err)
		}
		out[filepath.Base(file)] = values
	}
	return out
}

func TestTheChartMakesWhatTheGoldenFilesHave(t *testing.T) {
	c := load(t)
	for name, values := range golds(t) {
		r := render(t, c, values)
		got := manifest(r)
		file := filepath.Join(golden, name)
		before, err := os.ReadFile(file)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
		if *update {
			write(t, file, got)
		} else if d := cmp.Diff(string(before), got); d != "" {
			t.Errorf("%s: run make manifests-update if this is meant (- golden file, + chart):\n%s", name, d)
		}
		if *publish {
			write(t, filepath.Join(published, name), got)
		}
	}
}

// manifest is what helm template prints, and the notes as a comment. Alerts and dashboard, which have tests of their own,
// are left out.
func manifest(r *chart.Rendered) string {
	var out strings.Builder
	for _, name := range sortedKeys(r.Files) {
		out.WriteString("---\n# Source: quaygen/templates/" + name + "\n" + strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(r.Files[name]), "---")) + "\n")
	}
	out.WriteString("---\n")
	for line := range strings.Lines(strings.TrimSpace(r.Notes) + "\n") {
		out.WriteString(strings.TrimRight("# "+line, " \n") + "\n")
	}
	text := out.String()
	for _, name := range []string{"files/alerts.yaml", "files/dashboard.json"} {
		content, err := os.ReadFile(filepath.Join(chart.Dir(), name))
		if err != nil {
			return err.Error()
		}
		for _, indent := range []string{"  ", "    "} {
			text = strings.Replace(text, indent+strings.ReplaceAll(strings.TrimSpace(string(content)), "\n", "\n"+indent), indent+"# "+name, 1)
		}
	}
	return text
}

func write(t *testing.T, file, content string) {
	t.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, []byte(content), 0o644)); err != nil {
		t.Fatal(err)
	}
}

func TestAnUpgradeFromTheLastReleaseChangesNothingThatCannotChange(t *testing.T) {
	c := load(t)
	for name, values := range golds(t) {
		content, err := os.ReadFile(filepath.Join(published, name))
		if err != nil {
			t.Errorf("%v: the last release has to be there", err)
			continue
		}
		before, err := chart.Decode(content)
		if err != nil {
			t.Fatal(err)
		}
		r, err := c.Render(values, chart.Release{Upgrade: true})
		if err != nil {
			t.Fatalf("%s: what could be installed cannot be upgraded: %v", name, err)
		}
		for _, problem := range chart.Immutable(before, r.Objects) {
			t.Errorf("%s: %s", name, problem)
		}
	}
}

func TestWhatCannotChangeIsSeenToChange(t *testing.T) {
	c := load(t)
	values := golds(t)["everything.yaml"]
	before := render(t, c, values).Objects
	for _, tt := range []struct{ kind, name, field string }{
		{"Deployment", "quaygen", "spec.selector"},
		{"Service", "quaygen-metrics", "spec.clusterIP"},
		{"RoleBinding", "quaygen-ledger", "roleRef"},
		{"ClusterRoleBinding", "quaygen-namespace-labels", "roleRef"},
	} {
		after := render(t, c, golds(t)["everything.yaml"]).Objects
		var at map[string]any = chart.Find(after, tt.kind, tt.name)
		path := strings.Split(tt.field, ".")
		for _, key := range path[:len(path)-1] {
			at = at[key].(map[string]any)
		}
		at[path[len(path)-1]] = "changed"
		problems := chart.Immutable(before, after)
		if len(problems) != 1 || !strings.Contains(problems[0], tt.field) {
			t.Errorf("%s of %s: %v", tt.field, tt.kind, problems)
		}
	}
	if problems := chart.Immutable(before, render(t, c, golds(t)["everything.yaml"]).Objects); len(problems) > 0 {
		t.Errorf("nothing changed: %v", problems)
	}
}
