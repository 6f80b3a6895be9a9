// Package manifests_test checks what manifests/ ships: the Helm chart, and that kustomize's base makes the same.
package manifests_test

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

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

func TestPodsAreReplacedForWhatIsReadAtAStartAndForNothingElse(t *testing.T) {
	c := load(t)
	template := func(values map[string]any) any {
		return chart.Of(render(t, c, values).Objects, "Deployment")[0].Get("spec", "template")
	}
	for _, tt := range []struct {
		change   string
		replaced bool
	}{
		{"config: {sync: 1m}", false},
		{"config: {rules: []}", false},
		{"config: {server: {limits: {qps: 7}}}", false},
		{"config: {server: {}}", false},
		{"commonLabels: {}", false},
		{"config: {server: {http: {allowPlaintext: true}}}", true},
		{"config: {server: {tls: {clientCAFile: /var/run/secrets/quaygen/tls/ca.crt}}}", true},
		{"config: {audit: {stdout: true}}", true},
		{"config: {tracing: {otlp: {endpoint: 'otel:443'}}}", true},
		{"ledger: {type: kubernetes}", true},
	} {
		if got := cmp.Diff(template(small(t)), template(chart.Merge(small(t), parse(t, tt.change)))); (got != "") != tt.replaced {
			t.Errorf("%s: replaced is %v, want %v\n%s", tt.change, got != "", tt.replaced, got)
		}
	}
	for change, other := range map[string]string{
		"config: {audit: {stdout: true, block: true}}":                        "config: {audit: {stdout: true}}",
		"grpc: {enabled: true}\nconfig: {server: {grpc: {reflection: true}}}": "grpc: {enabled: true}",
	} {
		if cmp.Equal(template(chart.Merge(small(t), parse(t, other))), template(chart.Merge(small(t), parse(t, change)))) {
			t.Errorf("%s and %s: the pods are the same", change, other)
		}
	}
}

func TestPodsHaveTheAnnotationsOfTheValuesBesideTheChartsOwn(t *testing.T) {
	annotations := func(values map[string]any) map[string]any {
		got, _ := chart.Of(render(t, load(t), values).Objects, "Deployment")[0].Get("spec", "template", "metadata", "annotations").(map[string]any)
		return got
	}
	const own = "quaygen.dev/read-at-start"
	got := annotations(chart.Merge(small(t), parse(t, "podAnnotations: {example.com/note: here, "+own+": theirs}")))
	if len(got) != 2 || got["example.com/note"] != "here" || got[own] == "theirs" {
		t.Errorf("%v, want one's own and the chart's checksum", got)
	}
	if got := annotations(parse(t, "existingConfigMap: theirs\npodAnnotations: {example.com/note: here}")); len(got) != 1 || got["example.com/note"] != "here" {
		t.Errorf("%v, want one's own alone: the chart knows nothing of the configuration", got)
	}
}

func TestTheIDsOfPodsCanBeLeftToTheCluster(t *testing.T) {
	r := render(t, load(t), chart.Merge(small(t), parse(t, "podSecurityContext: {runAsUser: null, runAsGroup: null, fsGroup: null}")))
	want := map[string]any{"runAsNonRoot": true, "seccompProfile": map[string]any{"type": "RuntimeDefault"}}
	if d := cmp.Diff(want, chart.Find(r.Objects, "Deployment", "quaygen").Get("spec", "template", "spec", "securityContext")); d != "" {
		t.Errorf("(- want, + got):\n%s", d)
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
