package manifests_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"

	"github.com/quaygen/quaygen/manifests/tests/chart"
)

// The table in README.md is between these lines.
const (
	tableBegins = "<!-- values: made from values.yaml -->\n"
	tableEnds   = "<!-- end of values -->\n"
)

func TestTheReadmeDescribesEveryValueAsValuesYAMLDoes(t *testing.T) {
	path := filepath.Join(chart.Dir(), "README.md")
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(content), tableBegins)
	table, after, ends := strings.Cut(rest, tableEnds)
	if !ok || !ends {
		t.Fatalf("README.md lacks %q or %q", tableBegins, tableEnds)
	}
	want := valuesTable(t)
	if *update {
		write(t, path, before+tableBegins+want+tableEnds+after)
		return
	}
	if d := cmp.Diff(want, table); d != "" {
		t.Errorf("run make manifests-update (- values.yaml, + README.md):\n%s", d)
	}
}

func valuesTable(t *testing.T) string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(chart.Dir(), "values.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var document yaml.Node
	if err := yaml.Unmarshal(content, &document); err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	out.WriteString("| value | default | what |\n|---|---|---|\n")
	addRows(t, &out, "", document.Content[0])
	return out.String()
}

// addRows adds a row for each value that has a comment, and goes into maps whose own values have some.
func addRows(t *testing.T, out *strings.Builder, prefix string, node *yaml.Node) {
	t.Helper()
	for i := 0; i < len(node.Content); i += 2 {
		key, value := node.Content[i], node.Content[i+1]
		path := prefix + key.Value
		if value.Kind == yaml.MappingNode && len(value.Content) > 0 && !hasComment(key) {
			addRows(t, out, path+".", value)
			continue
		}
		if value.Kind == yaml.MappingNode && hasComments(value) {
			addRows(t, out, path+".", value)
			continue
		}
		if !hasComment(key) {
			t.Errorf("values.yaml: %s has no comment", path)
		}
		var v any
		if err := value.Decode(&v); err != nil {
			t.Fatal(err)
		}
		text, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(out, "| `%s` | `%s` | %s |\n", path, text, comment(key))
	}
}

func hasComment(key *yaml.Node) bool { return comment(key) != "" }

func hasComments(m *yaml.Node) bool {
	for i := 0; i < len(m.Content); i += 2 {
		if hasComment(m.Content[i]) {
			return true
		}
	}
	return false
}

// comment is the last paragraph of what stands above a key, in one line.
func comment(key *yaml.Node) string {
	paragraphs := strings.Split(key.HeadComment, "\n\n")
	var words []string
	for line := range strings.Lines(paragraphs[len(paragraphs)-1]) {
		words = append(words, strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(line), "#")))
	}
	return strings.Join(words, " ")
}
