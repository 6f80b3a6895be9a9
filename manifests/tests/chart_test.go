// Package manifests_test checks what manifests/ ships: the Helm chart, and that kustomize's base makes the same.
package manifests_test

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/quaygen/quaygen/manifests/tests/chart"
	"github.com/quaygen/quaygen/manifests/tests/matrix"
	"github.com/quaygen/quaygen/pkg/quaygen/config"
)

func load(t *testing.T) *chart.Chart {
	t.Helper()
	c, err := chart.Load()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func rows(t *testing.T) []matrix.Row {
	t.Helper()
	rows, err := matrix.Rows()
	if err != nil {
		t.Fatal(err)
	}
	return rows
}

// small is the least that the chart can be installed with.
func small(t *testing.T) map[string]any {
	t.Helper()
	return parse(t, "config: "+strings.ReplaceAll("\n"+string(matrix.Config), "\n", "\n  "))
}

func parse(t *testing.T, values string) map[string]any {
	t.Helper()
	out, err := chart.ParseValues([]byte(values))
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func render(t *testing.T, c *chart.Chart, values map[string]any) *chart.Rendered {
	t.Helper()
	r, err := c.Render(values, chart.Release{})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestHelmLintsTheChart(t *testing.T) {
	for name, values := range map[string]map[string]any{"the chart's own values": {}, "a small configuration": small(t)} {
		for _, problem := range chart.Lint(values) {
			t.Errorf("%s: %s", name, problem)
		}
	}
	for _, row := range rows(t) {
		for _, problem := range chart.Lint(row.Values) {
			t.Errorf("%s: %s", row.Name, problem)
		}
	}
}

func TestWhateverTheValuesTheConfigurationIsValid(t *testing.T) {
	c := load(t)
	for _, row := range rows(t) {
		r := render(t, c, row.Values)
		if row.Has("configuration=existing") {
			if chart.Find(r.Objects, "ConfigMap", "somebody-elses") != nil {
				t.Errorf("%s: the ConfigMap that exists is made", row.Name)
			}
			continue
		}
		if err := valid(configuration(r)); err != nil {
			t.Errorf("%s: %v", row.Name, err)
		}
	}
}

// configuration is the file that pods read.
func configuration(r *chart.Rendered) string {
	for _, o := range chart.Of(r.Objects, "ConfigMap") {
		if text := o.Text("data", "generator.yaml"); text != "" {
			return text
		}
	}
	return ""
}

// valid checks a configuration as generator check-config --skip-files does, and takes no warning either.
func valid(text string) error {
	c, err := config.Parse("generator.yaml", []byte(text))
	if err != nil {
		return err
	}
	if warnings := c.Warnings(); len(warnings) > 0 {
		return &config.Error{Problems: warnings}
	}
	return nil
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
