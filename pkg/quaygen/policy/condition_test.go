package policy_test

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/quaygen/quaygen/pkg/quaygen/policy"
)

func known(labels map[string]string) policy.Labels {
	return policy.Labels{Knowledge: policy.LabelsKnown, Values: labels}
}

func TestARulePermitsItsFormatsAndNoOthers(t *testing.T) {
	rules := policy.Rules{
		{Clients: []string{"eso"}, Namespaces: []string{"a"}, Names: []string{"n"}, Formats: []string{"basic", "dockercfg"}},
		{Clients: []string{"all"}, Namespaces: []string{"a"}, Names: []string{"n"}},
		{Clients: []string{"eso"}, Namespaces: []string{"b"}, Names: []string{"n"}, Formats: []string{"*"}}, // a literal like any other
	}
	for _, c := range []struct {
		client, namespace, format string
		want                      policy.Outcome
	}{
		{"eso", "a", "basic", policy.Allowed}, {"eso", "a", "dockercfg", policy.Allowed},
		{"eso", "a", "dockerconfigjson", policy.Denied}, {"eso", "a", "Basic", policy.Denied}, {"eso", "a", "", policy.Denied},
		{"all", "a", "basic", policy.Allowed}, {"all", "a", "dockerconfigjson", policy.Allowed}, {"all", "a", "", policy.Denied},
		{"eso", "b", "basic", policy.Denied},
	} {
		got := rules.Decide(policy.Caller{Name: c.client}, policy.Request{Namespace: c.namespace, Name: "n", Format: c.format})
		if got.Outcome != c.want || got.Reason == "" {
			t.Errorf("%+v: %+v", c, got)
		}
	}
}

func TestLabelsHaveToBeKnownToFit(t *testing.T) {
	shop := map[string]string{"team": "shop"}
	only := policy.Rule{Clients: []string{"eso"}, NamespaceLabels: shop, Names: []string{"n"}}
	both := policy.Rule{Clients: []string{"eso"}, Namespaces: []string{"prod-*"}, NamespaceLabels: shop, Names: []string{"n"}}
	two := policy.Rule{Clients: []string{"eso"}, NamespaceLabels: map[string]string{"team": "shop", "tier": ""}, Names: []string{"n"}}
	name := policy.Rule{Clients: []string{"eso"}, Namespaces: []string{"prod-a"}, Names: []string{"n"}}
	basic := policy.Rule{Clients: []string{"eso"}, NamespaceLabels: shop, Names: []string{"n"}, Formats: []string{"basic"}}
	later := policy.Labels{Knowledge: policy.LabelsLater, Values: shop} // what they were says nothing
	for _, c := range []struct {
		invariant, client, namespace string
		labels                       policy.Labels
		rules                        policy.Rules
		want                         policy.Outcome
	}{
		{"the labels fit", "eso", "x", known(map[string]string{"team": "shop", "other": "1"}), policy.Rules{only}, policy.Allowed},
		{"another value", "eso", "x", known(map[string]string{"team": "shop2"}), policy.Rules{only}, policy.Denied},
		{"another key", "eso", "x", known(map[string]string{"Team": "shop"}), policy.Rules{only}, policy.Denied},
		{"no labels", "eso", "x", known(nil), policy.Rules{only}, policy.Denied},
		{"an empty value is not an absent one", "eso", "x", known(shop), policy.Rules{two}, policy.Denied},
		{"all of them", "eso", "x", known(map[string]string{"team": "shop", "tier": ""}), policy.Rules{two}, policy.Allowed},
		{"both, name does not fit", "eso", "x", known(shop), policy.Rules{both}, policy.Denied},
		{"both, labels do not fit", "eso", "prod-a", known(nil), policy.Rules{both}, policy.Denied},
		{"both fit", "eso", "prod-a", known(shop), policy.Rules{both}, policy.Allowed},
		{"nobody to ask", "eso", "x", policy.Labels{}, policy.Rules{only}, policy.Denied},
		{"nobody to ask, whatever is said", "eso", "x", policy.Labels{Values: shop}, policy.Rules{only}, policy.Denied},
		{"an impossible knowledge", "eso", "x", policy.Labels{Knowledge: 9, Values: shop}, policy.Rules{only}, policy.Denied},
		{"not known yet", "eso", "x", later, policy.Rules{only}, policy.Open},
		{"not known yet, and another rule permits", "eso", "prod-a", later, policy.Rules{only, name}, policy.Allowed},
		{"not known yet, and another rule permits before", "eso", "prod-a", later, policy.Rules{name, only}, policy.Allowed},
		{"not known yet, but the name is wrong anyway", "eso", "x", later, policy.Rules{both}, policy.Denied},
		{"not known yet, but the format is wrong anyway", "eso", "x", later, policy.Rules{basic}, policy.Denied},
		{"not known yet, but nobody spoke of it", "other", "x", later, policy.Rules{only}, policy.NoRule},
		{"not known yet, and one of two rules depends on it", "eso", "x", later, policy.Rules{both, only}, policy.Open},
	} {
		got := c.rules.Decide(policy.Caller{Name: c.client}, policy.Request{Namespace: c.namespace, Labels: c.labels, Name: "n", Format: "dockerconfigjson"})
		if got.Outcome != c.want || got.Reason == "" || got.Allowed() != (c.want == policy.Allowed) {
			t.Errorf("%s: %+v", c.invariant, got)
		}
	}
}

func TestARuleWithNeitherNamesNorLabelsOfNamespacesPermitsNothing(t *testing.T) {
	rules := policy.Rules{{Clients: []string{"*"}, NamespaceLabels: map[string]string{}, Names: []string{"*"}}}
	if got := rules.Decide(policy.Caller{Name: "eso"}, policy.Request{Namespace: "a", Labels: known(nil), Name: "n", Format: "basic"}); got.Outcome != policy.Denied {
		t.Errorf("%+v", got)
	}
	if rules.NeedLabels() {
		t.Error("a rule without labels needs them")
	}
}

func TestAnOperatorOnlyOrAnotherNamespaceIsDeniedBeforeLabelsAreAwaited(t *testing.T) {
	rules := policy.Rules{{Clients: []string{"*"}, NamespaceLabels: map[string]string{"a": "b"}, Names: []string{"*"}}}
	q := policy.Request{Namespace: "a", Labels: policy.Labels{Knowledge: policy.LabelsLater}, Name: "n", Format: "basic"}
	for _, c := range []policy.Caller{{}, {Name: "admin", OperatorOnly: true}, {Name: "team", Namespace: "b"}} {
		if got := rules.Decide(c, q); got.Outcome != policy.Denied {
			t.Errorf("%+v: %+v", c, got)
		}
	}
}

// What people are told is what is done: the explanation is put together from the same answers.
func TestTheExplanationIsOfTheDecision(t *testing.T) {
	rules := policy.Rules{
		{Clients: []string{"other"}, Namespaces: []string{"prod-*"}, Names: []string{"n"}},
		{Clients: []string{"eso"}, Namespaces: []string{"dev"}, NamespaceLabels: map[string]string{"team": "shop"}, Names: []string{"n"}, Formats: []string{"basic"}},
		{Clients: []string{"eso"}, NamespaceLabels: map[string]string{"team": "shop"}, Names: []string{"n"}},
	}
	caller := policy.Caller{Name: "eso"}
	for _, labels := range []policy.Labels{{}, {Knowledge: policy.LabelsLater}, known(nil), known(map[string]string{"team": "shop"})} {
		q := policy.Request{Namespace: "prod-a", Labels: labels, Name: "n", Format: "dockerconfigjson"}
		decision, judgements := rules.Explain(caller, q)
		if diff := cmp.Diff(rules.Decide(caller, q), decision); diff != "" {
			t.Error(diff)
		}
		for i, j := range judgements {
			all := !slices.ContainsFunc(j.Answers[:], func(a policy.Answer) bool { return a != policy.Yes })
			if j.Permits != all || j.Permits != (decision.Rule == i) {
				t.Errorf("rule %d: %+v, %+v", i, j, decision)
			}
		}
		want := []policy.Answer{policy.Yes, policy.No, policy.Yes, policy.No, judgements[2].Answers[policy.OfLabels]}
		if got := judgements[1].Answers[:]; !slices.Equal(got, want) {
			t.Errorf("rule 1: %v, want %v", got, want)
		}
	}
}

func TestConditionsAndAnswersHaveNames(t *testing.T) {
	var got []string
	for _, k := range policy.Conditions() {
		got = append(got, k.String())
	}
	got = append(got, policy.No.String(), policy.NotKnown.String(), policy.Yes.String(), policy.Condition(7).String(), policy.Answer(7).String())
	want := []string{"clients", "namespaces", "names", "formats", "namespaceLabels", "no", "not known", "yes", "Condition(7)", "Answer(7)"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
