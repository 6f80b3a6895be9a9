package config_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v3"

	"github.com/quaygen/quaygen/pkg/quaygen/config"
)

// document reads a YAML file as JSON's types.
func document(t *testing.T, file string) map[string]any {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var v map[string]any
	if err := yaml.Unmarshal(data, &v); err != nil {
		t.Fatal(err)
	}
	return v
}

func TestGoodFixturesFitTheSchema(t *testing.T) {
	s, err := jsonschema.UnmarshalJSON(bytes.NewReader(config.Schema()))
	if err != nil {
		t.Fatal(err)
	}
	compiler := jsonschema.NewCompiler()
	compiler.AssertFormat()
	if err := compiler.AddResource("schema.json", s); err != nil {
		t.Fatal(err)
	}
	compiled, err := compiler.Compile("schema.json")
	if err != nil {
		t.Fatal(err)
	}
	validate := func(file string) error {
		data, err := json.Marshal(document(t, file))
		if err != nil {
			t.Fatal(err)
		}
		v, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
		if err != nil {
			t.Fatal(err)
		}
		return compiled.Validate(v)
	}
	for _, file := range fixtures(t, "*.good.yaml") {
		if err := validate(file); err != nil {
			t.Errorf("%s: %v", filepath.Base(file), err)
		}
	}
	// What needs no look at anything else is seen by the schema as well.
	for _, name := range []string{"clients", "durations", "labels", "names", "server", "audit", "tracing", "missing", "empty-robots", "version"} {
		if validate("testdata/"+name+".bad.yaml") == nil {
			t.Errorf("%s.bad.yaml fits the schema", name)
		}
	}
}

// schemaObject is one object of the schema, with references followed.
type schemaObject struct {
	Ref         string                     `json:"$ref"`
	Description string                     `json:"description"`
	Type        string                     `json:"type"`
	Additional  *bool                      `json:"additionalProperties"`
	Properties  map[string]json.RawMessage `json:"properties"`
	Patterns    map[string]json.RawMessage `json:"patternProperties"` // of an object whose keys are its user's
	Items       json.RawMessage            `json:"items"`
	Default     any                        `json:"default"`
	Required    []string                   `json:"required"`
	Defs        map[string]json.RawMessage `json:"$defs"`
}

// walkSchema calls visit for the schema of each value, with the path that the first item of each list has.
func walkSchema(t *testing.T, visit func(path string, o schemaObject)) {
	t.Helper()
	parse := func(raw []byte) (o schemaObject) {
		if err := json.Unmarshal(raw, &o); err != nil {
			t.Fatal(err)
		}
		return o
	}
	root := parse(config.Schema())
	var walk func(path string, o schemaObject)
	walk = func(path string, o schemaObject) {
		if o.Ref != "" {
			target := parse(root.Defs[strings.TrimPrefix(o.Ref, "#/$defs/")])
			if o.Description != "" {
				target.Description = o.Description
			}
			target.Default = o.Default
			o = target
		}
		visit(path, o)
		for key, raw := range o.Properties {
			walk(strings.TrimPrefix(path+"."+key, "."), parse(raw))
		}
		if o.Items != nil {
			walk(path+"[0]", parse(o.Items))
		}
	}
	walk("", root)
}

// at returns what a document holds at a path such as "robots[0].rotation": of a list it is the first item that has it, as
// some keys exclude others.
func at(v any, path string) any {
	step, rest := path, ""
	if i := strings.IndexAny(path, ".["); i >= 0 {
		step, rest = path[:i], path[i+1:]
	}
	switch inner := v.(type) {
	case map[string]any:
		if path != "" {
			return at(inner[step], rest)
		}
	case []any:
		if path == "" {
			return v
		}
		for _, item := range inner {
			if found := at(item, rest); found != nil {
				return found
			}
		}
		return nil
	}
	return v
}

var (
	validKeys = regexp.MustCompile(`\(valid keys: (.*)\)`)
	index     = regexp.MustCompile(`\[[0-9]+\]`)
)

// first makes the path of an item that of the first one.
func first(path string) string { return index.ReplaceAllString(path, "[0]") }

func TestSchemaAndReaderKnowTheSameKeys(t *testing.T) {
	fromSchema, required := map[string][]string{}, map[string][]string{}
	full := document(t, "testdata/full.good.yaml")
	walkSchema(t, func(path string, o schemaObject) {
		if o.Type != "object" {
			return
		}
		if o.Additional == nil || *o.Additional {
			t.Errorf("%s: the schema accepts unknown keys", path)
		}
		if o.Patterns != nil {
			return
		}
		for key := range o.Properties {
			fromSchema[path] = append(fromSchema[path], key)
		}
		slices.Sort(fromSchema[path])
		required[path] = o.Required
		// A key that nobody knows makes the reader list those it knows.
		object, ok := at(full, path).(map[string]any)
		if !ok {
			t.Fatalf("full.good.yaml has no object %q", path)
		}
		object["zzzzzz"] = true
	})
	data, err := yaml.Marshal(full)
	if err != nil {
		t.Fatal(err)
	}
	_, err = config.Parse("full.yaml", data)
	var e *config.Error
	if !errors.As(err, &e) {
		t.Fatalf("Parse: %v", err)
	}
	fromReader := map[string][]string{}
	for _, p := range e.Problems {
		path := first(strings.TrimSuffix(strings.TrimSuffix(p.Path, "zzzzzz"), "."))
		keys := validKeys.FindStringSubmatch(p.Message)
		if keys == nil {
			t.Fatalf("unexpected: %s", p)
		}
		fromReader[path] = strings.Split(keys[1], ", ")
		slices.Sort(fromReader[path])
	}
	if diff := cmp.Diff(fromSchema, fromReader); diff != "" {
		t.Errorf("keys (-schema +reader):\n%s", diff)
	}
	for path, keys := range required {
		for _, key := range keys {
			requireProblem(t, path, key)
		}
	}
}

// requireProblem takes one key out of the full example and demands that it is missed.
func requireProblem(t *testing.T, path, key string) {
	t.Helper()
	v := document(t, "testdata/full.good.yaml")
	object, ok := at(v, path).(map[string]any)
	if !ok {
		t.Fatalf("full.good.yaml has no object %q", path)
	}
	delete(object, key)
	data, err := yaml.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	_, err = config.Parse("full.yaml", data)
	if want := strings.TrimPrefix(path+"."+key, ".") + ": is missing"; err == nil || !strings.Contains(first(err.Error()), want) {
		t.Errorf("without it: %v; want %q", err, want)
	}
}

func TestSchemaDescribesEveryKeyAndItsDefaultsAreTheReaders(t *testing.T) {
	base := document(t, "testdata/minimal.good.yaml")
	explicit := document(t, "testdata/minimal.good.yaml")
	for _, document := range []map[string]any{base, explicit} {
		put(t, document, "server.grpc", map[string]any{}) // which means something by itself; its defaults count only then
		put(t, document, "audit.stdout", true)            // so does this
		put(t, document, "tracing.otlp.endpoint", "otel-collector:4317")
	}
	defaults := 0
	walkSchema(t, func(path string, o schemaObject) {
		if o.Description == "" && !strings.HasSuffix(path, "]") {
			t.Errorf("%s has no description", path)
		}
		if o.Default != nil {
			put(t, explicit, path, o.Default)
			defaults++
		}
	})
	if defaults < 15 {
		t.Errorf("the schema has %d defaults", defaults)
	}
	parse := func(v any) *config.Config {
		t.Helper()
		data, err := yaml.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		c, err := config.Parse("minimal.yaml", data)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	if diff := cmp.Diff(parse(base), parse(explicit), compareConfigs); diff != "" {
		t.Errorf("with the schema's defaults written out (-silent +written):\n%s", diff)
	}
}

// put writes a value, and the objects around it.
func put(t *testing.T, document map[string]any, path string, v any) {
	t.Helper()
	parent, key := "", path
	if i := strings.LastIndex(path, "."); i >= 0 {
		parent, key = path[:i], path[i+1:]
	}
	if at(document, parent) == nil {
		put(t, document, parent, map[string]any{})
	}
	object, ok := at(document, parent).(map[string]any)
	if !ok {
		t.Fatalf("%s is no object", parent)
	}
	object[key] = v
}
