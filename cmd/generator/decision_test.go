package main

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// explained has rules of every sort, from line 8 on.
const explained = `clients: [{name: eso, bearerTokenFile: ./eso, namespaceFrom: request}, {name: team, bearerTokenFile: ./team, namespace: team-a}, {name: idle, bearerTokenFile: ./idle, namespaceFrom: request}, {name: admin, bearerTokenFile: ./admin, operator: view}]
rules:
- {clients: [eso], namespaces: ["prod-*"], names: [puller], formats: [dockerconfigjson]}
- {clients: [eso, team], namespaceLabels: {team: shop}, names: [puller]}
`

func explain(t *testing.T, args ...string) (code int, stdout, stderr, path string) {
	t.Helper()
	path, _ = configure(t, valid[strings.Index(valid, "clients:"):strings.Index(valid, "server:")], explained)
	code, stdout, stderr = try(t, append(append([]string{"check-config", "--explain"}, args...), path)...)
	return code, stdout, stderr, path
}

func TestAnExplanationEndsWithTheExitCodeOfItsOutcome(t *testing.T) {
	for _, c := range []struct {
		args string
		code int
		says string
	}{
		{"eso prod-a puller", exitOK, "allowed: eso asks for puller, for namespace prod-a, as dockerconfigjson"},
		{"eso prod-a puller --format basic --label team=shop", exitOK, "rules[1] permits it"},
		{"eso prod-a puller --format basic --label team=other", exitDenied, "has not the labels"},
		{"eso prod-a puller --format basic --label ''", exitDenied, "has not the labels"},
		{"eso prod-a puller --format basic", exitFailed, "open: eso asks"},
		{"eso dev puller --label tier=1 --label team=shop", exitOK, "rules[1] permits it"},
		{"team team-a puller --label team=shop", exitOK, "allowed"},
		{"team team-b puller --label team=shop", exitDenied, `belongs to namespace "team-a"`},
		{"idle prod-a puller", exitDenied, "no rule: idle"},
		{"admin prod-a puller", exitDenied, "operator only"},
		{"nobody prod-a puller", exitNotFound, ""},
		{"eso prod-a nothing", exitNotFound, ""},
		{"eso prod-a", exitUsage, ""},
		{"eso prod-a puller --format xml", exitUsage, ""},
		{"eso prod-a puller --label team", exitUsage, ""},
		{"eso prod-a puller -o xml", exitUsage, ""},
	} {
		args := strings.Fields(c.args)
		for i, a := range args {
			args[i] = strings.Trim(a, "'")
		}
		code, stdout, stderr, _ := explain(t, args...)
		if code != c.code || !strings.Contains(stdout, c.says) || (c.says == "") != (stdout == "") || (code == exitOK) != (stderr == "") {
			t.Errorf("%s: %d\n%s%s", c.args, code, stdout, stderr)
		}
	}
	if code, _, stderr := try(t, "check-config", "--label", "a=b", "file"); code != exitUsage || !strings.Contains(stderr, "--explain") {
		t.Errorf("--label alone: %d %s", code, stderr)
	}
}

func TestAnExplanationSaysOfEachRuleWhatItsConditionsCameTo(t *testing.T) {
	_, stdout, _, path := explain(t, "eso", "prod-a", "puller", "--format", "basic")
	want := `open: eso asks for puller, for namespace prod-a, as basic
why: the labels of namespace "prod-a" are not known yet

rules[0] (FILE:9) does not apply, because of its formats
  yes        clients: eso
  yes        namespaces: prod-*
  yes        names: puller
  no         formats: dockerconfigjson
  yes        namespaceLabels: any

rules[1] (FILE:10) may apply: that depends on its namespaceLabels
  yes        clients: eso, team
  yes        namespaces: any
  yes        names: puller
  yes        formats: any
  not known  namespaceLabels: team=shop
`
	if diff := cmp.Diff(want, strings.ReplaceAll(stdout, path, "FILE")); diff != "" {
		t.Error(diff)
	}
	_, stdout, _, _ = explain(t, "eso", "prod-a", "puller", "-o", "json")
	var got explanation
	if err := json.Unmarshal([]byte(stdout), &got); err != nil {
		t.Fatal(err)
	}
	if got.Outcome != "allowed" || got.Rule != 0 || len(got.Rules) != 2 || !got.Rules[0].Permits || got.Rules[1].Permits || got.Rules[0].Line != 9 || len(got.Rules[0].Conditions) != 5 {
		t.Errorf("%s", stdout)
	}
}

func TestWhatIsExplainedNeedsAValidConfiguration(t *testing.T) {
	path, _ := configure(t, "instance: test", "instnce: test")
	if code, _, stderr := try(t, "check-config", "--explain", "eso", "prod-a", "puller", path); code != exitUsage || !strings.Contains(stderr, path+":3:") {
		t.Errorf("%d, %s", code, stderr)
	}
}
