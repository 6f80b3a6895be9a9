package e2e

import (
	"path/filepath"
	"sync"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/quaygen/quaygen/e2e/parts"
)

// charts are the objects of the chart, by the file of values in testdata and the namespace that it is rendered with.
var charts struct {
	sync.Mutex
	rendered map[[2]string][]map[string]any
}

// charted returns an object of the Helm chart as it is shipped, as YAML. The release is called quaygen.
func charted(t *testing.T, values, namespace, kind, name string) string {
	t.Helper()
	o := chartObject(t, values, namespace, kind, name)
	content, err := yaml.Marshal(o)
	check(t, err)
	return string(content)
}

func chartObject(t *testing.T, values, namespace, kind, name string) map[string]any {
	t.Helper()
	charts.Lock()
	defer charts.Unlock()
	key := [2]string{values, namespace}
	if charts.rendered[key] == nil {
		file, err := filepath.Abs(filepath.Join("testdata", values))
		check(t, err)
		sets, err := parts.Render(t.Context(), "chart", file, "quaygen", namespace)
		check(t, err)
		if charts.rendered == nil {
			charts.rendered = map[[2]string][]map[string]any{}
		}
		charts.rendered[key] = sets[0].Objects
	}
	for _, o := range charts.rendered[key] {
		if o["kind"] == kind && o["metadata"].(map[string]any)["name"] == name {
			return o
		}
	}
	t.Fatalf("with %s the chart makes no %s %s", values, kind, name)
	return nil
}

// rights returns an object of the chart that gives rights, or that has them, for a release in a namespace: a ServiceAccount, a
// Role, a binding.
func rights(t *testing.T, namespace, kind, name string) string {
	t.Helper()
	return charted(t, "rights.yaml", namespace, kind, name)
}
