package config_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/quaygen/quaygen/pkg/quaygen"
	"github.com/quaygen/quaygen/pkg/quaygen/config"
	"github.com/quaygen/quaygen/pkg/quaygen/policy"
)

// with returns a configuration with these rules.
func with(t *testing.T, rules string) *config.Config {
	t.Helper()
	data := string(many(1))
	c, err := config.Parse("rules.yaml", []byte(data[:strings.Index(data, "rules:\n")]+rules))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestARuleIsWhatItSays(t *testing.T) {
	c := with(t, `rules:
- clients: [eso]
  namespaceLabels: {team: shop, "example.com/tier": "", kubernetes.io/metadata.name: prod-a}
  names: ["*"]
  formats: [basic, dockercfg]
- {clients: ["*"], namespaces: [a, "b-*"], namespaceLabels: {"tier": "1"}, names: [robot-0]}
- {clients: [eso], namespaces: [a], names: [robot-0]}
`)
	want := policy.Rules{
		{Clients: []string{"eso"}, NamespaceLabels: map[string]string{"team": "shop", "example.com/tier": "", "kubernetes.io/metadata.name": "prod-a"}, Names: []string{"*"}, Formats: []string{"basic", "dockercfg"}},
		{Clients: []string{"*"}, Namespaces: []string{"a", "b-*"}, NamespaceLabels: map[string]string{"tier": "1"}, Names: []string{"robot-0"}},
		{Clients: []string{"eso"}, Namespaces: []string{"a"}, Names: []string{"robot-0"}},
	}
	if diff := cmp.Diff(want, c.Rules); diff != "" {
		t.Error(diff)
	}
	if !c.Rules.NeedLabels() || c.Rules[2:].NeedLabels() {
		t.Error("which rules need labels")
	}
	if lines := []int{c.RuleLine(0), c.RuleLine(1), c.RuleLine(2)}; lines[1]-lines[0] != 4 || lines[2]-lines[1] != 1 {
		t.Errorf("lines %v", lines)
	}
}

func TestRulesKnowTheFormatsOfTheService(t *testing.T) {
	formats := quaygen.Formats()
	c := with(t, "rules: [{clients: [eso], namespaces: [a], names: [robot-0], formats: ["+strings.Join(formats, ", ")+"]}]\n")
	if !slices.Equal(c.Rules[0].Formats, formats) {
		t.Errorf("%v", c.Rules[0].Formats)
	}
	_, err := config.Parse("rules.yaml", []byte("rules: [{formats: [x]}]\n"))
	if want := "(valid values: " + strings.Join(formats, ", ") + ")"; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("%v does not say %s", err, want)
	}
}
