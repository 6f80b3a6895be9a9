// Command render prints, as JSON, the objects that manifests/ makes, for those who have no library of Helm's.
//
//	render chart VALUES RELEASE NAMESPACE   the chart's objects with the values in a file
//	render sets                             the matrix, the golden files' values, kustomize's base with each component, and the examples
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/quaygen/quaygen/manifests/tests/chart"
	"github.com/quaygen/quaygen/manifests/tests/matrix"
)

// Set is what is applied together.
type Set struct {
	Name    string         `json:"name"`
	Objects []chart.Object `json:"objects"`
}

func main() {
	if err := run(os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "render:", err)
		os.Exit(1) //nolint:forbidigo // the exit of a main, which the linter knows below cmd/ only
	}
}

func run(args []string, out io.Writer) error {
	sets, err := ask(args)
	if err != nil {
		return err
	}
	return json.NewEncoder(out).Encode(sets)
}

func ask(args []string) ([]Set, error) {
	switch {
	case len(args) == 4 && args[0] == "chart":
		values, err := chart.ReadValues(args[1])
		if err != nil {
			return nil, err
		}
		set, err := rendered("chart", values, chart.Release{Name: args[2], Namespace: args[3]})
		return []Set{set}, err
	case len(args) == 1 && args[0] == "sets":
		return sets()
	}
	return nil, errors.New("want: chart VALUES RELEASE NAMESPACE, or: sets")
}

func rendered(name string, values map[string]any, r chart.Release) (Set, error) {
	c, err := chart.Load()
	if err != nil {
		return Set{}, err
	}
	made, err := c.Render(values, r)
	if err != nil {
		return Set{}, fmt.Errorf("%s: %w", name, err)
	}
	return Set{name, made.Objects}, nil
}

func sets() ([]Set, error) {
	rows, err := matrix.Rows()
	if err != nil {
		return nil, err
	}
	files, err := filepath.Glob(filepath.Join(chart.Manifests(), "tests", "testdata", "values", "*.yaml"))
	if err != nil {
		return nil, err
	}
	for _, file := range files {
		values, err := chart.ReadValues(file)
		if err != nil {
			return nil, err
		}
		rows = append(rows, matrix.Row{Name: filepath.Base(file), Values: values})
	}
	var out []Set
	for _, row := range rows {
		set, err := rendered("chart: "+row.Name, row.Values, chart.Release{})
		if err != nil {
			return nil, err
		}
		out = append(out, set)
	}
	kustomized, err := chart.Overlays()
	if err != nil {
		return nil, err
	}
	for _, name := range slices.Sorted(maps.Keys(kustomized)) {
		out = append(out, Set{"kustomize: " + name, kustomized[name]})
	}
	more, err := examples()
	return append(out, more...), err
}

func examples() ([]Set, error) {
	var out []Set
	dirs, err := chart.Examples()
	if err != nil {
		return nil, err
	}
	for _, dir := range dirs {
		name := "example: " + filepath.Base(dir)
		values, err := chart.ReadValues(filepath.Join(dir, "values.yaml"))
		if err != nil {
			return nil, err
		}
		set, err := rendered(name+", with Helm", values, chart.Release{})
		if err != nil {
			return nil, err
		}
		objects, err := chart.Build(dir)
		if err != nil {
			return nil, err
		}
		out = append(out, set, Set{name + ", with kustomize", objects})
	}
	plain, err := chart.Plain()
	if err != nil {
		return nil, err
	}
	for _, name := range slices.Sorted(maps.Keys(plain)) {
		out = append(out, Set{name, plain[name]})
	}
	return out, nil
}
