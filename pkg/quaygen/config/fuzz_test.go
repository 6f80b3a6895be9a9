package config_test

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"

	"github.com/quaygen/quaygen/pkg/quaygen/config"
)

// What is accepted means the same when it is written anew, by somebody else's encoder, and when it is read twice.
func FuzzWhatIsAcceptedMeansTheSameWhenWrittenAnew(f *testing.F) {
	for _, file := range fixtures(f, "*.good.yaml") {
		data, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := config.Parse("fuzz.yaml", data)
		if err != nil {
			if c != nil {
				t.Error("a configuration beside an error")
			}
			return
		}
		twice, err := config.Parse("fuzz.yaml", data)
		if err != nil {
			t.Fatalf("read twice: %v", err)
		}
		if diff := cmp.Diff(c, twice, compareConfigs); diff != "" || c.Digest() != twice.Digest() {
			t.Errorf("read twice it is another one:\n%s", diff)
		}
		var document yaml.Node
		if err := yaml.Unmarshal(data, &document); err != nil {
			t.Fatalf("accepted, and no YAML: %v", err)
		}
		var anew bytes.Buffer
		encoder := yaml.NewEncoder(&anew)
		encoder.SetIndent(3)
		plain(&document)
		if err := encoder.Encode(&document); err != nil {
			t.Fatal(err)
		}
		written, err := config.Parse("fuzz.yaml", anew.Bytes())
		if err != nil {
			t.Fatalf("written anew: %v\n%s", err, anew.Bytes())
		}
		if diff := cmp.Diff(c, written, compareConfigs); diff != "" {
			t.Errorf("written anew it is another one:\n%s", diff)
		}
		for i := range c.Rules {
			if n := c.RuleLine(i); n < 1 || n > 1+strings.Count(string(data), "\n") {
				t.Errorf("rule %d is on line %d", i, n)
			}
		}
	})
}

// plain takes comments and styles away: they mean nothing.
func plain(n *yaml.Node) {
	n.HeadComment, n.LineComment, n.FootComment = "", "", ""
	if n.Kind != yaml.ScalarNode {
		n.Style = 0
	}
	for _, inner := range n.Content {
		plain(inner)
	}
}
