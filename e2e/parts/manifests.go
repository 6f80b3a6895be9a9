package parts

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Rendered is what manifests/ makes of something.
type Rendered struct {
	Name    string           `json:"name"`
	Objects []map[string]any `json:"objects"`
}

// Render has the module manifests/tests, which has the libraries of Helm and kustomize, render what is shipped; its command
// render says what args may be.
func Render(ctx context.Context, args ...string) ([]Rendered, error) {
	e2e, err := moduleDir(ctx)
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, "go", append([]string{"run", "./render"}, args...)...)
	cmd.Dir = filepath.Join(filepath.Dir(e2e), "manifests", "tests")
	cmd.Env = append(os.Environ(), "GOWORK=off")
	var out, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &stderr
	if err := cmd.Run(); err != nil {
		return nil, errors.Join(fmt.Errorf("rendering manifests: %w", err), errors.New(strings.TrimSpace(stderr.String())))
	}
	var sets []Rendered
	if err := json.Unmarshal(out.Bytes(), &sets); err != nil {
		return nil, fmt.Errorf("reading the rendered manifests: %w", err)
	}
	return sets, nil
}

// definitions are custom resource definitions in the module of those who publish them.
type definitions struct {
	module, version, sum string
	files                []string
}

// The checksums stand here, since no go.sum has modules of which nothing is compiled.
var foreign = []definitions{
	{"github.com/prometheus-operator/prometheus-operator", "v0.85.0", "h1:M5xLCLEoaW2IJfnuCwFzzpL+jSVQu3KGT84Pye+fW8s=", []string{
		"example/prometheus-operator-crd/monitoring.coreos.com_servicemonitors.yaml", "example/prometheus-operator-crd/monitoring.coreos.com_prometheusrules.yaml",
	}},
	{"github.com/cert-manager/cert-manager", "v1.21.2", "h1:UWgoYM+KLNtRlqmoWOKjKBOBUPVHeepQ6/ac3ERJW68=", []string{
		"deploy/crds/cert-manager.io_certificates.yaml", "deploy/crds/cert-manager.io_issuers.yaml", "deploy/crds/cert-manager.io_clusterissuers.yaml",
	}},
}

// ForeignCRDs returns the definitions of the kinds that manifests use and that are neither Kubernetes' nor ESO's: those of
// the Prometheus operator and of cert-manager, as released.
func ForeignCRDs(ctx context.Context) ([][]byte, error) {
	var out [][]byte
	for _, d := range foreign {
		files, err := d.fetch(ctx)
		if err != nil {
			return nil, err
		}
		out = append(out, files...)
	}
	return out, nil
}

func (d definitions) fetch(ctx context.Context) ([][]byte, error) {
	// Outside of any module, whose go.sum this would write into.
	outside, err := os.MkdirTemp("", "quaygen-e2e-")
	if err != nil {
		return nil, fmt.Errorf("fetching %s: %w", d.module, err)
	}
	defer os.RemoveAll(outside)
	text, err := goTool(ctx, outside, "mod", "download", "-json", d.module+"@"+d.version)
	if err != nil {
		return nil, fmt.Errorf("fetching %s: %w", d.module, err)
	}
	var module struct{ Dir, Sum string }
	if err := json.Unmarshal([]byte(text), &module); err != nil {
		return nil, fmt.Errorf("fetching %s: %w", d.module, err)
	}
	if module.Sum != d.sum {
		return nil, fmt.Errorf("fetching %s: its checksum is %s, want %s", d.module, module.Sum, d.sum)
	}
	var out [][]byte
	for _, file := range d.files {
		content, err := os.ReadFile(filepath.Join(module.Dir, filepath.FromSlash(file)))
		if err != nil {
			return nil, fmt.Errorf("reading definitions of %s: %w", d.module, err)
		}
		out = append(out, content)
	}
	return out, nil
}
