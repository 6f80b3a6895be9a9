package policy_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/quaygen/quaygen/pkg/quaygen/policy"
)

func rule(t *testing.T, clients, namespaces, names string) policy.Rule {
	t.Helper()
	r, err := policy.ParseRule(strings.Fields(clients), strings.Fields(namespaces), strings.Fields(names))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// ask is a request in the default format, for a namespace whose labels nobody knows.
func ask(namespace, name string) policy.Request {
	return policy.Request{Namespace: namespace, Name: name, Format: "dockerconfigjson"}
}

func TestDecide(t *testing.T) {
	rules := policy.Rules{
		0: rule(t, "eso eso-grpc", "prod-* shared", "prod-puller everything"),
		1: rule(t, "team-*", "*", "team-puller"),
		2: rule(t, "eso", "dev", "*"),
		3: rule(t, "eso", "prod-eu", "prod-puller"),
	}
	free := func(name string) policy.Caller { return policy.Caller{Name: name} }
	bound := func(name, namespace string) policy.Caller { return policy.Caller{Name: name, Namespace: namespace} }

	for _, c := range []struct {
		invariant       string
		caller          policy.Caller
		namespace, name string
		want            policy.Outcome
		rule            int
	}{
		{"all three match", free("eso"), "prod-eu", "prod-puller", policy.Allowed, 0},
		{"any of the clients", free("eso-grpc"), "shared", "everything", policy.Allowed, 0},
		{"a later rule", free("eso"), "dev", "anything", policy.Allowed, 2},
		{"lists of different rules do not add up", free("eso"), "dev2", "prod-puller", policy.Denied, -1},
		{"wrong namespace", free("eso-grpc"), "dev", "prod-puller", policy.Denied, -1},
		{"wrong name", free("eso-grpc"), "prod-eu", "team-puller", policy.Denied, -1},
		{"a literal is the whole name", free("eso2"), "prod-eu", "prod-puller", policy.NoRule, -1},
		{"a prefix of a literal is not it", free("es"), "prod-eu", "prod-puller", policy.NoRule, -1},
		{"the star is anchored", free("eso"), "x-prod-eu", "prod-puller", policy.Denied, -1},
		{"nobody spoke of it", free("stranger"), "prod-eu", "prod-puller", policy.NoRule, -1},
		{"bound and in its own namespace", bound("team-a", "a"), "a", "team-puller", policy.Allowed, 1},
		{"bound, asking for another's", bound("team-a", "a"), "b", "team-puller", policy.Denied, -1},
		{"bound, saying nothing", bound("team-a", "a"), "", "team-puller", policy.Denied, -1},
		{"bound by no pattern: the namespace is text", bound("team-a", "*"), "a", "team-puller", policy.Denied, -1},
		{"a star is not for nothing: namespace", free("team-a"), "", "team-puller", policy.Denied, -1},
		{"a star is not for nothing: name", free("eso"), "dev", "", policy.Denied, -1},
		{"an anonymous caller", free(""), "dev", "anything", policy.Denied, -1},
		{"what is asked for is no pattern", free("*"), "*", "*", policy.NoRule, -1},
		{"case counts", free("ESO"), "dev", "anything", policy.NoRule, -1},
	} {
		got := rules.Decide(c.caller, ask(c.namespace, c.name))
		if got.Outcome != c.want || got.Rule != c.rule || got.Reason == "" || got.Allowed() != (c.want == policy.Allowed) {
			t.Errorf("%s: %+v", c.invariant, got)
		}
	}
}

func TestNoRulesPermitNothing(t *testing.T) {
	for _, rules := range []policy.Rules{nil, {}, {policy.Rule{}}, {policy.Rule{Clients: []string{"*"}, Names: []string{"*"}}}} {
		if got := rules.Decide(policy.Caller{Name: "eso"}, ask("a", "b")); got.Allowed() {
			t.Errorf("%v allows: %+v", rules, got)
		}
	}
}

// A rule for all clients is not meant for those that only look after robots.
func TestNoRuleGivesAnOperatorOnlyAPullSecret(t *testing.T) {
	rules := policy.Rules{rule(t, "*", "*", "*"), rule(t, "admin", "*", "*"), rule(t, "admin", "prod", "puller")}
	for _, caller := range []policy.Caller{
		{Name: "admin", OperatorOnly: true},
		{Name: "admin", OperatorOnly: true, Operator: policy.OperatorManage},
		{Name: "admin", OperatorOnly: true, Operator: policy.OperatorView, Namespace: "prod", How: "certificate"},
	} {
		if got := rules.Decide(caller, ask("prod", "puller")); got.Outcome != policy.Denied || got.Rule != -1 || got.Reason == "" {
			t.Errorf("%+v: %+v", caller, got)
		}
		caller.OperatorOnly = false
		if got := rules.Decide(caller, ask("prod", "puller")); !got.Allowed() {
			t.Errorf("an operator that is a consumer too: %+v", got)
		}
	}
}

func TestEachOperatorLevelIncludesThoseBeforeIt(t *testing.T) {
	for o, want := range map[policy.Operator]struct {
		view, manage bool
		text         string
	}{
		policy.OperatorNone:   {false, false, "none"},
		policy.OperatorView:   {true, false, "view"},
		policy.OperatorManage: {true, true, "manage"},
		-1:                    {false, false, "Operator(-1)"},
		3:                     {false, false, "Operator(3)"},
	} {
		if o.MayView() != want.view || o.MayManage() != want.manage || o.String() != want.text {
			t.Errorf("%d is %s, view %v, manage %v", o, o, o.MayView(), o.MayManage())
		}
	}
	if (policy.Caller{}).Operator != policy.OperatorNone {
		t.Error("who has no level has one")
	}
}

func TestTheZeroDecisionIsNotAllowed(t *testing.T) {
	if (policy.Decision{}).Allowed() {
		t.Error("a decision nobody took allows")
	}
	for o, want := range map[policy.Outcome]string{0: "Outcome(0)", policy.Allowed: "allowed", policy.Denied: "denied", policy.NoRule: "no rule", policy.Open: "open"} {
		if o.String() != want {
			t.Errorf("%d is %q, want %q", o, o, want)
		}
	}
}

func TestReasonsAreBounded(t *testing.T) {
	long := strings.Repeat("x", 100_000)
	rules := policy.Rules{rule(t, "a", "*", "n")}
	for _, d := range []policy.Decision{
		rules.Decide(policy.Caller{Name: "a"}, ask(long, long)),
		rules.Decide(policy.Caller{Name: "a", Namespace: "b"}, ask(long, long)),
	} {
		if len(d.Reason) > 400 || d.Allowed() {
			t.Errorf("%d bytes", len(d.Reason))
		}
	}
}

func TestParseRuleRefuses(t *testing.T) {
	ok := []string{"*"}
	for what, lists := range map[string][3][]string{
		"no clients":     {nil, ok, ok},
		"no namespaces":  {ok, {}, ok},
		"no names":       {ok, ok, nil},
		"too many":       {ok, ok, make([]string, 10_001)},
		"empty":          {ok, {"a", ""}, ok},
		"overlong":       {ok, ok, {strings.Repeat("a", 254)}},
		"blank":          {{"a b"}, ok, ok},
		"line end":       {{"a\n"}, ok, ok},
		"alternation":    {ok, {"a|b"}, ok},
		"anchor":         {ok, {"^a$"}, ok},
		"question mark":  {ok, ok, {"a?"}},
		"class":          {ok, ok, {"[ab]"}},
		"brace":          {ok, ok, {"{a,b}"}},
		"negation":       {ok, {"!a"}, ok},
		"not ASCII":      {ok, ok, {"é"}},
		"invalid UTF-8":  {ok, ok, {"a\xff"}},
		"unset variable": {{"<no value>"}, ok, ok},
	} {
		if _, err := policy.ParseRule(lists[0], lists[1], lists[2]); !errors.Is(err, policy.ErrPattern) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if _, err := policy.ParseRule([]string{"eso", "a.b_c+d@e:f/g"}, []string{"*", "prod-*", "**"}, []string{"*-x-*"}); err != nil {
		t.Error(err)
	}
}

// naive says what the pattern means by trying every way to cut s.
func naive(pattern, s string) bool {
	if pattern == "" {
		return s == ""
	}
	if pattern[0] != '*' {
		return s != "" && s[0] == pattern[0] && naive(pattern[1:], s[1:])
	}
	for i := range len(s) + 1 {
		if naive(pattern[1:], s[i:]) {
			return true
		}
	}
	return false
}

func FuzzMatchMeansTheSameAsTryingEverything(f *testing.F) {
	for _, pattern := range []string{"", "*", "a", "prod-*", "*-x", "a*b*c", "**", "*a*", "a|b", "a.c", "a\xff*"} {
		for _, s := range []string{"", "a", "prod-", "prod-eu", "abcbc", "a-x-x", "abc", "a\xffb"} {
			f.Add(pattern, s)
		}
	}
	f.Fuzz(func(t *testing.T, pattern, s string) {
		// The oracle takes exponential time.
		if len(s) > 24 || strings.Count(pattern, "*") > 5 {
			return
		}
		if got, want := policy.Match(pattern, s), naive(pattern, s); got != want {
			t.Errorf("Match(%q, %q) = %v", pattern, s, got)
		}
	})
}

func TestMatchTakesNoLongOnHostilePatterns(t *testing.T) {
	// With backtracking over every star this would not end in the lifetime of the machine.
	if policy.Match(strings.Repeat("a*", 100)+"b", strings.Repeat("a", 10_000)) {
		t.Error("matched")
	}
}

func BenchmarkDecideAtTheLastOfAHundredRules(b *testing.B) {
	rules := make(policy.Rules, 0, 101)
	for range 100 {
		rules = append(rules, policy.Rule{Clients: []string{"other-*", "another"}, Namespaces: []string{"*"}, Names: []string{"*"}})
	}
	rules = append(rules, policy.Rule{Clients: []string{"eso"}, Namespaces: []string{"prod-*"}, Names: []string{"prod-puller"}})
	caller := policy.Caller{Name: "eso"}
	b.ReportAllocs()
	for b.Loop() {
		if !rules.Decide(caller, ask("prod-eu", "prod-puller")).Allowed() {
			b.Fatal("denied")
		}
	}
}
