package manifests_test

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"

	"github.com/quaygen/quaygen/manifests/tests/chart"
)

func TestExamplesMakeTheSameWithHelmAndKustomize(t *testing.T) {
	examples, err := chart.Examples()
	if err != nil || len(examples) == 0 {
		t.Fatalf("%v: no examples", err)
	}
	c := load(t)
	for _, e := range examples {
		t.Run(filepath.Base(e), func(t *testing.T) {
			kustomized, err := chart.Build(e)
			if err != nil {
				t.Fatal(err)
			}
			values, err := chart.ReadValues(filepath.Join(e, "values.yaml"))
			if err != nil {
				t.Fatal(err)
			}
			helmed := render(t, c, values)
			for _, text := range []string{configuration(helmed), chart.Find(kustomized, "ConfigMap", "quaygen").Text("data", "generator.yaml")} {
				if err := valid(text); err != nil {
					t.Error(err)
				}
			}
			if got, want := image(helmed.Objects), image(kustomized); got != want {
				t.Errorf("image %s, with kustomize %s", got, want)
			}
			want, got := likened(t, kustomized, true), likened(t, helmed.Objects, true)
			delete(want, "v1 Namespace /quaygen")
			if d := cmp.Diff(want, got); d != "" {
				t.Errorf("(- kustomize, + chart):\n%s", d)
			}
		})
	}
}

func image(objects []chart.Object) any {
	return chart.Find(objects, "Deployment", "quaygen").Get("spec", "template", "spec", "containers").([]any)[0].(map[string]any)["image"]
}

// TestWhatTheDocumentsShowIsInAnExample: each block of YAML in the documents is a part of a file that is applied in tests.
func TestWhatTheDocumentsShowIsInAnExample(t *testing.T) {
	shipped := map[string][]any{}
	for _, pattern := range []string{"examples/*/*.yaml", "eso/*.yaml", "eso-preview/*.yaml"} {
		files, err := filepath.Glob(filepath.Join(chart.Manifests(), filepath.FromSlash(pattern)))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			content, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			shipped[file] = documents(t, string(content))
		}
	}
	blocks := 0
	for _, pattern := range []string{"../README.md", "../docs/*.md", "README.md", "*/README.md", "helm/quaygen/README.md"} {
		files, err := filepath.Glob(filepath.Join(chart.Manifests(), filepath.FromSlash(pattern)))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			content, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			for _, block := range strings.Split(string(content), "\n```yaml\n")[1:] {
				text, _, _ := strings.Cut(block, "\n```")
				blocks++
				for _, d := range documents(t, strings.ReplaceAll(text, "path/to/manifests", "../..")) {
					if !slices.ContainsFunc(slices.Collect(maps.Values(shipped)), func(in []any) bool {
						return slices.ContainsFunc(in, func(whole any) bool { return within(d, whole) })
					}) {
						t.Errorf("%s shows what no example has:\n%s", file, text)
					}
				}
			}
		}
	}
	if blocks < 8 {
		t.Errorf("found %d blocks of YAML in the documents: looked in the wrong places?", blocks)
	}
}

func documents(t *testing.T, text string) []any {
	t.Helper()
	var out []any
	for _, part := range strings.Split("\n"+text, "\n---\n") {
		var v any
		if err := yaml.Unmarshal([]byte(part), &v); err != nil {
			t.Fatalf("%v in\n%s", err, part)
		}
		if v != nil {
			out = append(out, v)
		}
	}
	return out
}

// within says whether all of part is in whole: each key of a map, and each element of a list.
func within(part, whole any) bool {
	switch part := part.(type) {
	case map[string]any:
		in, ok := whole.(map[string]any)
		for key, value := range part {
			if other, has := in[key]; !has || !within(value, other) {
				return false
			}
		}
		return ok
	case []any:
		in, ok := whole.([]any)
		for _, value := range part {
			if !slices.ContainsFunc(in, func(other any) bool { return within(value, other) }) {
				return false
			}
		}
		return ok
	}
	return reflect.DeepEqual(fmt.Sprint(part), fmt.Sprint(whole))
}
