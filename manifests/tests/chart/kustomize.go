package chart

import (
	"fmt"
	"os"
	"path/filepath"

	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"
)

// Kustomize builds the base with these components, named by their directories. An overlay for it is written beside them and
// removed again, since kustomize takes nothing from above or from elsewhere.
func Kustomize(components ...string) (_ []Object, err error) {
	dir, err := os.MkdirTemp(Manifests(), ".overlay-")
	if err != nil {
		return nil, fmt.Errorf("making an overlay: %w", err)
	}
	defer os.RemoveAll(dir)
	overlay := map[string]any{"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization", "namespace": "quaygen", "resources": []string{"../base"}}
	var paths []string
	for _, name := range components {
		paths = append(paths, "../components/"+name)
	}
	overlay["components"] = paths
	content, err := yaml.Marshal(overlay)
	if err != nil {
		return nil, fmt.Errorf("writing an overlay: %w", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "kustomization.yaml"), content, 0o600); err != nil {
		return nil, fmt.Errorf("writing an overlay: %w", err)
	}
	return Build(dir)
}

// Build builds what is in a directory with a kustomization.yaml.
func Build(dir string) ([]Object, error) {
	built, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), dir)
	if err != nil {
		return nil, fmt.Errorf("building %s: %w", dir, err)
	}
	manifest, err := built.AsYaml()
	if err != nil {
		return nil, fmt.Errorf("building %s: %w", dir, err)
	}
	return Decode(manifest)
}

// Overlays builds the base alone, under the name "base", with each component, and with all of them, as "all".
func Overlays() (map[string][]Object, error) {
	components, err := Components()
	if err != nil {
		return nil, err
	}
	overlays := map[string][]string{"base": nil, "all": components}
	for _, name := range components {
		overlays[name] = []string{name}
	}
	out := map[string][]Object{}
	for name, with := range overlays {
		if out[name], err = Kustomize(with...); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// Components are the names of the components that there are.
func Components() ([]string, error) {
	entries, err := os.ReadDir(filepath.Join(Manifests(), "components"))
	if err != nil {
		return nil, fmt.Errorf("listing components: %w", err)
	}
	var out []string
	for _, e := range entries {
		if e.IsDir() {
			out = append(out, e.Name())
		}
	}
	return out, nil
}
