package chart

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"
)

// Kustomize builds the base with these components, named by their directories. The overlay for it exists in memory only, with
// copies of them, since kustomize reads one file system.
func Kustomize(components ...string) ([]Object, error) {
	files := filesys.MakeFsInMemory()
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
	for _, dir := range []string{"base", "components"} {
		if err := copyTree(files, dir); err != nil {
			return nil, fmt.Errorf("copying %s: %w", dir, err)
		}
	}
	if err := files.WriteFile("/overlay/kustomization.yaml", content); err != nil {
		return nil, fmt.Errorf("writing an overlay: %w", err)
	}
	return build(files, "/overlay")
}

// copyTree copies a directory of manifests/ to the same place below the root.
func copyTree(to filesys.FileSystem, dir string) error {
	root := os.DirFS(Manifests())
	return fs.WalkDir(root, dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		content, err := fs.ReadFile(root, path)
		if err != nil {
			return err
		}
		return to.WriteFile("/"+path, content)
	})
}

// Build builds what is in a directory with a kustomization.yaml.
func Build(dir string) ([]Object, error) { return build(filesys.MakeFsOnDisk(), dir) }

func build(files filesys.FileSystem, dir string) ([]Object, error) {
	built, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(files, dir)
	if err != nil {
		return nil, fmt.Errorf("building %s: %w", dir, err)
	}
	manifest, err := built.AsYaml()
	if err != nil {
		return nil, fmt.Errorf("building %s: %w", dir, err)
	}
	return Decode(manifest)
}

// OtherLedger is a component that does not go with the one that keeps the ledger in Kubernetes.
const OtherLedger = "ledger-file"

// Overlays builds the base alone, under the name "base", with each component, and as "all" with all of them but [OtherLedger].
func Overlays() (map[string][]Object, error) {
	components, err := Components()
	if err != nil {
		return nil, err
	}
	together := slices.DeleteFunc(slices.Clone(components), func(name string) bool { return name == OtherLedger })
	overlays := map[string][]string{"base": nil, "all": together}
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

// Examples are the directories of examples that have values for the chart and a kustomization.yaml.
func Examples() ([]string, error) {
	files, err := filepath.Glob(filepath.Join(Manifests(), "examples", "*", "values.yaml"))
	if err != nil {
		return nil, fmt.Errorf("listing examples: %w", err)
	}
	var out []string
	for _, file := range files {
		out = append(out, filepath.Dir(file))
	}
	return out, nil
}

// Plain are the files of objects that are applied as they are: ESO's, and those of examples. The store of the preview of ESO is
// not among them: no release has its kinds.
func Plain() (map[string][]Object, error) {
	out := map[string][]Object{}
	for _, pattern := range []string{"eso/*.yaml", "eso-preview/c*.yaml", "examples/service-accounts/caller.yaml"} {
		files, err := filepath.Glob(filepath.Join(Manifests(), filepath.FromSlash(pattern)))
		if err != nil {
			return nil, fmt.Errorf("listing %s: %w", pattern, err)
		}
		for _, file := range files {
			content, err := os.ReadFile(file)
			if err != nil {
				return nil, fmt.Errorf("reading what is shipped: %w", err)
			}
			name, err := filepath.Rel(Manifests(), file)
			if err != nil {
				return nil, fmt.Errorf("naming what is shipped: %w", err)
			}
			if out[name], err = Decode(content); err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
		}
	}
	return out, nil
}
