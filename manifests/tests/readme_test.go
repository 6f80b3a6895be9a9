package manifests_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
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

// TestWhatTheReadmeHasOneMakeIsAllThatPodsAndTheStoreWaitFor: its commands and its values, followed to the letter.
func TestWhatTheReadmeHasOneMakeIsAllThatPodsAndTheStoreWaitFor(t *testing.T) {
	content, err := os.ReadFile(filepath.Join(chart.Dir(), "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(content), "\n```yaml\n")
	block, _, _ := strings.Cut(rest, "\n```")
	if !strings.Contains(string(content), " --set eso.clusterSecretStore.enabled=true\n") {
		t.Error("the command does not make the store")
	}
	r := render(t, load(t), chart.Merge(parse(t, block), parse(t, "eso: {clusterSecretStore: {enabled: true}}")))
	if err := valid(configuration(r)); err != nil {
		t.Error(err)
	}
	made := func(kind, name string) {
		if !regexp.MustCompile(`(?m)^    kubectl -n quaygen create ` + kind + ` ` + name + ` `).Match(content) {
			t.Errorf("no command makes the %s %s", kind, name)
		}
	}
	for _, volume := range chart.Find(r.Objects, "Deployment", "quaygen").Get("spec", "template", "spec", "volumes").([]any) {
		if secret, ok := volume.(map[string]any)["secret"].(map[string]any); ok {
			made("secret (generic|tls)", secret["secretName"].(string))
		}
	}
	webhook := chart.Of(r.Objects, "ClusterSecretStore")[0].Get("spec", "provider", "webhook").(map[string]any)
	made("configmap", webhook["caProvider"].(map[string]any)["name"].(string))
	for _, secret := range webhook["secrets"].([]any) {
		name := secret.(map[string]any)["secretRef"].(map[string]any)["name"].(string)
		made("secret generic", name)
		if !strings.Contains(string(content), " label secret "+name+" external-secrets.io/type=webhook\n") {
			t.Errorf("no command labels the Secret %s for ESO", name)
		}
	}
	if name := "DNS:quaygen.quaygen.svc "; !strings.Contains(string(content), name) || !strings.Contains(webhook["url"].(string), "//quaygen.quaygen.svc:") {
		t.Errorf("the certificate is not for %q, or the store calls another name: %v", name, webhook["url"])
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
