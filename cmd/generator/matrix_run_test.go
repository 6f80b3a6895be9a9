package main

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/quaygen/quaygen/pkg/quaygen"
	"github.com/quaygen/quaygen/pkg/quaygen/config"
	"github.com/quaygen/quaygen/pkg/quaygen/policy"
)

// The size of the matrix: with eight ways in these are 4800 requests.
const (
	matrixSeed = 1
	matrixSets = 60
	perWay     = 10
)

func TestWhoeverAsksByWhicheverWayGetsWhatTheDocumentationSays(t *testing.T) {
	m := newMatrix(t)
	wrong, seen := m.play(matrixSeed, matrixSets, perWay, 5, mutant{})
	for _, w := range wrong {
		t.Error(w)
	}
	// The requests are drawn: each outcome has to be among those of each way in.
	for way := range matrixWays {
		for _, outcome := range []string{granted, unauthenticated, malformed, refused, missing, later} {
			if seen[way+": "+outcome] == 0 {
				t.Errorf("nothing came to %q by %s", outcome, way)
			}
		}
	}
	for _, key := range slices.Sorted(maps.Keys(seen)) {
		t.Logf("%4d %s", seen[key], key)
	}
}

func eachRule(change func(*policy.Rule)) mutant {
	return mutant{settings: func(s *quaygen.Settings) {
		for i := range s.Rules {
			change(&s.Rules[i])
		}
	}}
}

func longer(all []string) (out []string) {
	for _, s := range all {
		out = append(out, s+"*")
	}
	return out
}

// A matrix that finds nothing proves something only if it finds what is wrong.
func TestTheMatrixNoticesEveryServiceThatDecidesOtherwise(t *testing.T) {
	mutants := map[string]mutant{
		"a fixed namespace is not looked at":    {caller: func(c *policy.Caller) { c.Namespace = "" }},
		"an operator only is like anybody else": {caller: func(c *policy.Caller) { c.OperatorOnly = false }},
		"clients are confused": {caller: func(c *policy.Caller) {
			if c.Name == "loner" {
				c.Name = "eso"
			}
		}},
		"a ServiceAccount may name any namespace": {
			caller: ofAccounts(func(c *policy.Caller) { c.Namespace = "" }),
			about:  func(r matrixRequest) bool { return r.namespace != "" && r.namespace != r.account.namespace },
		},
		"a ServiceAccount need not name its namespace": {
			caller: ofAccounts(func(c *policy.Caller) { c.Namespace = "" }),
			about:  func(r matrixRequest) bool { return r.namespace == "" },
		},
		"a ServiceAccount that is an operator is like any other": {caller: ofAccounts(func(c *policy.Caller) { c.OperatorOnly = false })},
		"a token of another audience is accepted": {
			config: func(c *config.Config) {
				vault := *client(c, "ci")
				vault.Name, vault.ServiceAccount.Audience = "ci-vault", "vault"
				c.Clients = append(c.Clients, vault)
			},
			caller: func(c *policy.Caller) { c.Name = strings.TrimSuffix(c.Name, "-vault") },
			about:  func(r matrixRequest) bool { return r.account.audiences == "vault" },
		},
		"a client's names of ServiceAccounts do not matter": {
			config: func(c *config.Config) { client(c, "ci-prod").ServiceAccount.Names = nil },
			about:  func(r matrixRequest) bool { return r.account.name == "watcher" },
		},
		"a client's namespaces of ServiceAccounts do not matter": {
			config: func(c *config.Config) { client(c, "ci-team-a").ServiceAccount.Namespaces = nil },
			about:  func(r matrixRequest) bool { return r.account.audiences == "quaygen-team" },
		},
		"of two clients with a ServiceAccount it is the first": {
			config: func(c *config.Config) { client(c, "ci-prod").ServiceAccount.Names = []string{"deployer"} },
			about:  func(r matrixRequest) bool { return r.account.name == "both" },
		},
		"a ServiceAccount's token is believed what it says": {gullible: true},
		"formats do not matter":                             eachRule(func(r *policy.Rule) { r.Formats = nil }),
		"labels do not matter": eachRule(func(r *policy.Rule) {
			if r.NamespaceLabels = nil; r.Namespaces == nil {
				r.Namespaces = []string{"*"}
			}
		}),
		"labels are enough": eachRule(func(r *policy.Rule) {
			if r.NamespaceLabels != nil {
				r.Namespaces = nil
			}
		}),
		"one label is enough": eachRule(func(r *policy.Rule) { delete(r.NamespaceLabels, "tier") }),
		"what is not known yet is denied": {settings: func(s *quaygen.Settings) {
			s.Labels = knowing(s.Labels, policy.LabelsLater, policy.NoLabels)
		}},
		"what is not known has all labels": {settings: func(s *quaygen.Settings) {
			s.Labels = knowing(s.Labels, policy.NoLabels, policy.LabelsKnown)
		}},
		"a namespace that is not found is waited for": {settings: func(s *quaygen.Settings) {
			s.Labels = knowing(s.Labels, policy.NoLabels, policy.LabelsLater)
		}},
		"names are prefixes":      eachRule(func(r *policy.Rule) { r.Names = longer(r.Names) }),
		"namespaces are prefixes": eachRule(func(r *policy.Rule) { r.Namespaces = longer(r.Namespaces) }),
		"clients are prefixes":    eachRule(func(r *policy.Rule) { r.Clients = longer(r.Clients) }),
		"a list's last entry is forgotten": eachRule(func(r *policy.Rule) {
			r.Names = r.Names[:max(1, len(r.Names)-1)]
		}),
		"the last rule is forgotten": {settings: func(s *quaygen.Settings) { s.Rules = s.Rules[:max(0, len(s.Rules)-1)] }},
		"rules add up": {settings: func(s *quaygen.Settings) {
			for i := range s.Rules {
				s.Rules[i].Names = append(slices.Clone(s.Rules[i].Names), s.Rules[0].Names...)
			}
		}},
		"everything is allowed": {settings: func(s *quaygen.Settings) {
			s.Rules = policy.Rules{{Clients: []string{"*"}, Namespaces: []string{"*"}, Names: []string{"*"}}}
		}},
		"nothing is allowed": {settings: func(s *quaygen.Settings) { s.Rules = nil }},
		"another's credential is handed out": {settings: func(s *quaygen.Settings) {
			s.Secrets["puller"], s.Secrets["partner"] = s.Secrets["partner"], s.Secrets["puller"]
		}},
		"a name that is not configured is told from its kin": {settings: func(s *quaygen.Settings) { s.Secrets["ghost"] = s.Secrets["puller"] }},
	}
	m := newMatrix(t)
	for _, name := range slices.Sorted(maps.Keys(mutants)) {
		wrong, _ := m.play(matrixSeed, matrixSets, perWay, 1, mutants[name])
		if len(wrong) == 0 {
			t.Errorf("nobody notices that %s", name)
			continue
		}
		first, _, _ := strings.Cut(wrong[0], "\n")
		t.Logf("%s: %s", name, first)
	}
}

// ofAccounts changes callers that are ServiceAccounts.
func ofAccounts(change func(*policy.Caller)) func(*policy.Caller) {
	return func(c *policy.Caller) {
		if c.Account != "" {
			change(c)
		}
	}
}

// client is a client of the configuration, to be changed.
func client(c *config.Config, name string) *config.Client {
	return &c.Clients[slices.IndexFunc(c.Clients, func(c config.Client) bool { return c.Name == name })]
}

// knowing takes one sort of knowledge for another.
func knowing(labels func(string) policy.Labels, from, to policy.Knowledge) func(string) policy.Labels {
	return func(namespace string) policy.Labels {
		l := labels(namespace)
		if l.Knowledge == from {
			return policy.Labels{Knowledge: to, Values: map[string]string{"team": "shop", "tier": "1"}}
		}
		return l
	}
}
