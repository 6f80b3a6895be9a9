package main

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	quaygenv1 "github.com/quaygen/quaygen/proto/quaygen/v1"
)

func TestStatusShowsARobotPerLineWithWhatIsWrong(t *testing.T) {
	o := operate(t, newScripted(fleet()...), nil)
	const want = `
NAME         NAMESPACE  STRATEGY    GENERATION  AGE   NEXT ROTATION  STATE
builder      -          regenerate  4           90d   due for 10m    Quay does not answer
prod-puller  -          overlap     469980      3d    in 27d         ok, 1 draining
tenant       team-a     overlap     474240      100m  in 29d         ok
tenant       team-b     overlap     none        -     -              none served yet
`
	code, stdout, stderr := o.try("status")
	if diff := cmp.Diff(want, "\n"+stdout); code != exitOK || stderr != "" || diff != "" {
		t.Errorf("%d %s\n%s", code, stderr, diff)
	}
	code, stdout, _ = o.try("status", "--namespace", "team-b")
	if code != exitOK || strings.Count(stdout, "\n") != 2 || !strings.Contains(stdout, "team-b") {
		t.Errorf("of one namespace: %d\n%s", code, stdout)
	}
}

func TestStatusOfOneRobotShowsAllThatIsKnown(t *testing.T) {
	robots := fleet()
	robots[1].Warnings = []string{"repository app does not exist; it is granted as soon as it does"}
	robots[1].Failures = []string{"granting read on \x1b[31mapp\nto myorg+k8s_prod_puller_g469980: timeout"}
	o := operate(t, newScripted(robots...), nil)
	const want = `
prod-puller
  state           failing: granting read on �[31mapp to myorg+k8s_prod_puller_g469980: timeout
  generation      469980
  strategy        overlap
  next rotation   in 27d
  registry        quay
  robots in Quay  myorg+k8s_prod_puller
  last looked at  12s ago

GENERATION  STATE     AGE  LAST USE  USER NAME                      NOTE
469980      current   3d   12m ago   myorg+k8s_prod_puller_g469980
426780      draining  33d  5h ago    myorg+k8s_prod_puller_g426780

warning: repository app does not exist; it is granted as soon as it does

waiting: myorg+k8s_prod_puller_g426780 is kept: it was used at 2026-11-26T07:00:00Z; it ends at 2026-11-30T12:00:00Z at the latest

failed: granting read on �[31mapp to myorg+k8s_prod_puller_g469980: timeout
`
	code, stdout, stderr := o.try("status", "prod-puller")
	if diff := cmp.Diff(want, "\n"+stdout); code != exitOK || stderr != "" || diff != "" {
		t.Errorf("%d %s\n%s", code, stderr, diff)
	}
	if code, stdout, _ := o.try("status", "tenant", "--namespace", "team-a"); code != exitOK || !strings.HasPrefix(stdout, "tenant of namespace team-a\n") {
		t.Errorf("of a namespace: %d\n%s", code, stdout)
	}
	if code, stdout, _ := o.try("status", "tenant"); code != exitOK || !strings.Contains(stdout, "team-a") || !strings.Contains(stdout, "--namespace shows one") {
		t.Errorf("without saying whose: %d\n%s", code, stdout)
	}
	if code, _, stderr := o.try("status", "nobody"); code != exitNotFound || stderr != "generator: there is no robot \"nobody\"\n" {
		t.Errorf("an unknown name: %d %s", code, stderr)
	}
}

func TestMachinesGetTheMessagesOfTheAPI(t *testing.T) {
	robots := fleet()
	o := operate(t, newScripted(robots...), nil)
	for _, form := range []string{"json", "yaml"} {
		all, one := &quaygenv1.RobotsListResponse{}, &quaygenv1.Robot{}
		for args, message := range map[string]proto.Message{"status": all, "status prod-puller": one} {
			code, stdout, stderr := o.try(append(strings.Fields(args), "-o", form)...)
			if code != exitOK {
				t.Fatalf("%s -o %s: %d %s", args, form, code, stderr)
			}
			if err := protojson.Unmarshal(asJSON(t, form, stdout), message); err != nil {
				t.Fatalf("%s -o %s: %v\n%s", args, form, err, stdout)
			}
		}
		if diff := cmp.Diff(&quaygenv1.RobotsListResponse{Robots: robots}, all, protocmp.Transform()); diff != "" {
			t.Errorf("-o %s: %s", form, diff)
		}
		if diff := cmp.Diff(robots[1], one, protocmp.Transform()); diff != "" {
			t.Errorf("-o %s of one: %s", form, diff)
		}
	}
	_, stdout, _ := o.try("status", "prod-puller", "-o", "yaml")
	if !strings.Contains(stdout, "\ngeneration: \"469980\"\n") || !strings.Contains(stdout, "\nnextRotationTime: \"2026-12-23T13:00:00Z\"\n") || strings.ContainsAny(stdout, "{}") {
		t.Errorf("YAML is not as people write it:\n%s", stdout)
	}
}

func TestColoursAreOnlyWhereTheyAreAskedForOrSeen(t *testing.T) {
	o := operate(t, newScripted(fleet()...), nil)
	if _, stdout, _ := o.try("status"); strings.Contains(stdout, "\x1b") {
		t.Error("colours in a pipe")
	}
	t.Setenv("NO_COLOR", "1")
	if _, stdout, _ := o.try("status", "--color", "always"); !strings.Contains(stdout, "\x1b[31mQuay does not answer\x1b[0m\n") {
		t.Errorf("no colours although they were asked for:\n%q", stdout)
	}
}

// asJSON returns YAML as JSON, and JSON as it is.
func asJSON(t *testing.T, form, text string) []byte {
	t.Helper()
	if form == "json" {
		return []byte(text)
	}
	var value any
	if err := yaml.Unmarshal([]byte(text), &value); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	raw, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}
