// Package chart renders what manifests/ has, for tests: the Helm chart with Helm's own library, overlays of the
// kustomize base with kustomize's. Nothing of it talks to a cluster.
package chart

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"helm.sh/helm/v4/pkg/chart/common"
	"helm.sh/helm/v4/pkg/chart/common/util"
	v2 "helm.sh/helm/v4/pkg/chart/v2"
	"helm.sh/helm/v4/pkg/chart/v2/lint"
	"helm.sh/helm/v4/pkg/chart/v2/lint/support"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	"helm.sh/helm/v4/pkg/engine"
	"sigs.k8s.io/yaml"
)

// kubernetes is the version that templates are rendered for, the one of the cluster tests.
var kubernetes = common.KubeVersion{Version: "v1.34.4", Major: "1", Minor: "34"}

// Manifests is the directory manifests/ of the repository that this was built from.
func Manifests() string {
	_, file, _, _ := runtime.Caller(0)
	return filepath.Join(filepath.Dir(file), "..", "..")
}

// Dir is the chart's directory.
func Dir() string { return filepath.Join(Manifests(), "helm", "quaygen") }

// Chart is the chart as it is now.
type Chart struct{ chart *v2.Chart }

// Load reads the chart.
func Load() (*Chart, error) {
	c, err := loader.LoadDir(Dir())
	if err != nil {
		return nil, fmt.Errorf("loading the chart: %w", err)
	}
	return &Chart{c}, nil
}

// Release is an installation of the chart.
type Release struct {
	Name, Namespace string // both default to quaygen
	Upgrade         bool
}

// Rendered is what helm template prints, and the notes.
type Rendered struct {
	Files   map[string]string // by the template's name in templates/
	Objects []Object          // of all files, in the order of their names
	Notes   string
}

// Render renders the chart as helm template does: values are merged into the chart's own and checked against its schema.
// They are changed by this.
func (c *Chart) Render(values map[string]any, r Release) (*Rendered, error) {
	if r.Name == "" {
		r.Name = "quaygen"
	}
	if r.Namespace == "" {
		r.Namespace = "quaygen"
	}
	capabilities := common.DefaultCapabilities.Copy()
	capabilities.KubeVersion = kubernetes
	all, err := util.ToRenderValues(c.chart, values, common.ReleaseOptions{
		Name: r.Name, Namespace: r.Namespace, Revision: 1, IsInstall: !r.Upgrade, IsUpgrade: r.Upgrade,
	}, capabilities)
	if err != nil {
		return nil, err
	}
	texts, err := engine.Render(c.chart, all)
	if err != nil {
		return nil, err
	}
	out := &Rendered{Files: map[string]string{}}
	var names []string
	for path, text := range texts {
		name := strings.TrimPrefix(path, "quaygen/templates/")
		switch {
		case name == "NOTES.txt":
			out.Notes = text
		case strings.TrimSpace(text) != "" && !strings.HasPrefix(name, "_"):
			out.Files[name] = text
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		objects, err := Decode([]byte(out.Files[name]))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		out.Objects = append(out.Objects, objects...)
	}
	return out, nil
}

// Lint returns what helm lint --strict would fail for.
func Lint(values map[string]any) []string {
	var out []string
	for _, m := range lint.RunAll(Dir(), values, "quaygen", lint.WithKubeVersion(&kubernetes)).Messages {
		if m.Severity >= support.WarningSev {
			out = append(out, m.Error())
		}
	}
	return out
}

// ReadValues reads a file of values.
func ReadValues(path string) (map[string]any, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading values: %w", err)
	}
	return ParseValues(content)
}

// ParseValues parses values; a key that is there twice is an error.
func ParseValues(content []byte) (map[string]any, error) {
	values := map[string]any{}
	if err := yaml.UnmarshalStrict(content, &values); err != nil {
		return nil, fmt.Errorf("parsing values: %w", err)
	}
	if values == nil {
		values = map[string]any{} // nothing but comments
	}
	return values, nil
}

// Merge lays one map of values over another, which it changes, as helm does with several files of values.
func Merge(under, over map[string]any) map[string]any {
	for key, value := range over {
		below, is := under[key].(map[string]any)
		if above, both := value.(map[string]any); both && is {
			value = Merge(below, above)
		}
		under[key] = value
	}
	return under
}
