package main

import (
	"encoding/json"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/quaygen/quaygen/pkg/quaygen/config"
)

// accountsExplained has clients whose ServiceAccounts overlap in some namespaces.
const accountsExplained = `clients:
- {name: ci, serviceAccount: {audience: quaygen, namespaces: ["prod-*", team-a], names: [builder, deployer]}}
- {name: any, serviceAccount: {audience: others}}
- {name: team, serviceAccount: {audience: quaygen, namespaces: [team-a, team-b], names: [deployer, runner]}}
- {name: team-a, serviceAccount: {audience: quaygen, namespaces: ["*-a"], names: [runner]}}
- {name: team-x, serviceAccount: {audience: quaygen, namespaces: [team-x, team-z], names: [runner]}}
- {name: team-z, serviceAccount: {audience: quaygen, namespaces: [team-y, team-z], names: [runner]}}
- {name: watcher, serviceAccount: {audience: quaygen, namespaces: [monitoring], names: [watcher]}, operator: view}
rules:
- {clients: ["*"], namespaces: ["*"], names: [puller]}
`

func TestAnExplanationOfServiceAccountsSaysWhichTheyAreAndDeniesWhatTheServiceDoes(t *testing.T) {
	path, _ := configure(t, valid[strings.Index(valid, "clients:"):strings.Index(valid, "server:")], accountsExplained)
	const mayName = "by tokens for the audience \"quaygen\", each for its own namespace only"
	for _, c := range []struct {
		args string
		code int
		says []string
	}{
		{"ci prod-a puller", exitOK, []string{"allowed: ci asks", "\nwho: ServiceAccounts of namespaces: prod-*, team-a; with names: builder, deployer; " + mayName + "\n", "\nwhy: rules[0] permits it"}},
		{"ci dev puller", exitDenied, []string{"denied: ci asks", "who: ServiceAccounts of namespaces: prod-*", `why: no ServiceAccount of namespace "dev" is this client, and those of others may not ask for that namespace`}},
		{"ci team-a puller", exitOK, []string{"; not, since another client has them, too: deployer\n"}},
		{"any anywhere puller", exitOK, []string{"ServiceAccounts of namespaces: any; with names: any; by tokens for the audience \"others\""}},
		{"team team-a puller", exitDenied, []string{`why: every ServiceAccount of namespace "team-a" that could be this client is another client's, too`, "not, since another client has them, too: deployer, runner"}},
		{"team-x team-x puller", exitOK, nil},
		{"team-x team-z puller", exitDenied, []string{"too: runner"}},
		{"watcher monitoring puller", exitDenied, []string{"why: the caller is an operator only"}},
	} {
		code, stdout, stderr := try(t, append(append([]string{"check-config", "--explain"}, strings.Fields(c.args)...), path)...)
		if code != c.code || (code == exitOK) != (stderr == "") {
			t.Errorf("%s: %d\n%s%s", c.args, code, stdout, stderr)
		}
		for _, text := range c.says {
			if !strings.Contains(stdout, text) {
				t.Errorf("%s: no %q in\n%s", c.args, text, stdout)
			}
		}
	}
	_, stdout, _ := try(t, "check-config", "--explain", "-o", "json", "ci", "team-a", "puller", path)
	var got explanation
	if err := json.Unmarshal([]byte(stdout), &got); err != nil || got.Accounts == nil {
		t.Fatalf("%v\n%s", err, stdout)
	}
	want := explainedAccounts{Audience: "quaygen", Namespaces: []string{"prod-*", "team-a"}, Names: []string{"builder", "deployer"}, Refused: []string{"deployer"}}
	if diff := cmp.Diff(want, *got.Accounts, cmp.FilterPath(func(p cmp.Path) bool { return p.Last().String() == ".caller" || p.Last().String() == ".nobody" }, cmp.Ignore())); diff != "" {
		t.Error(diff)
	}
}

// What is explained is held against the oracle of the matrix, which has not read the code.
func TestAnExplanationIsWhatTheDocumentationSays(t *testing.T) {
	m := &matrix{t: t, dir: t.TempDir(), quay: "http://127.0.0.1:1"}
	random := rand.New(rand.NewPCG(7, 5))
	seen := map[string]int{}
	for range 300 {
		rules := drawRules(random)
		cfg := m.parse(rules)
		for range 20 {
			c := pick(random, matrixClients...)
			q := question{
				client: c.name, namespace: pick(random, "prod-a", "prod-b", "team-a", "team-a2", "dev", "prod-new"),
				name: pick(random, "puller", "puller-2", "partner", "pull-both"), format: pick(random, "dockerconfigjson", "dockercfg"),
			}
			for key, value := range matrixLabels[q.namespace] {
				q.labels = append(q.labels, key+"="+value)
			}
			if q.labels == nil && q.namespace != "prod-new" {
				q.labels = []string{""}
			}
			got, err := q.explain("FILE", cfg)
			if err != nil {
				t.Fatal(err)
			}
			if want := wouldGet(rules, c, q); got.Outcome != want && (want != "denied" || got.Outcome != "no rule") {
				t.Errorf("%+v: %s (%s), not %s\n%s", q, got.Outcome, got.Reason, want, writtenRules(rules))
			}
			sort := "by account: "
			if c.accounts == nil {
				sort = "otherwise: "
			}
			seen[sort+got.Outcome]++
		}
	}
	if t.Logf("%v", seen); len(seen) != 8 {
		t.Errorf("not each outcome is among them: %v", seen)
	}
}

// wouldGet is what the best of a client's credentials gets it.
func wouldGet(rules []statement, c matrixClient, q question) string {
	r := matrixRequest{way: "HTTP bearer", client: q.client, namespace: q.namespace, name: q.name, format: q.format}
	outcomes := []string{oracle(rules, r)}
	if c.accounts != nil {
		outcomes = nil
		for _, name := range []string{"builder", "deployer", "both", "watcher", "somebody"} {
			r.way, r.client = "HTTP serviceAccount", ""
			r.account = matrixAccount{namespace: q.namespace, name: name, audiences: c.accounts.audience}
			if who, ok := whoAsks(r); ok && who.name == c.name {
				outcomes = append(outcomes, oracle(rules, r))
			}
		}
	}
	switch {
	case slices.Contains(outcomes, granted):
		return "allowed"
	case slices.Contains(outcomes, later):
		return "open"
	}
	return "denied"
}

// parse reads a configuration with these rules, whose files are not there.
func (m *matrix) parse(rules []statement) *config.Config {
	m.t.Helper()
	m.write("generator.yaml", m.text(rules))
	cfg, err := config.Options{SkipFiles: true}.Load(filepath.Join(m.dir, "generator.yaml"))
	if err != nil {
		m.t.Fatal(err)
	}
	return cfg
}
