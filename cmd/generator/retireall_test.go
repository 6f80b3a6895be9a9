package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/quaygen/quaygen/pkg/quaygen/quay/quaytest"
)

// installed is a Quay with robots of the instance "test", whose configuration this is, and of others. All are two hours old.
// more are numbers of further generations.
func installed(t *testing.T, from, to string, more ...int) (path string, server *quaytest.Server) {
	t.Helper()
	var later atomic.Int64
	path, server = configureWith(t, quaytest.Options{Now: func() time.Time { return time.Now().Add(time.Duration(later.Load())) }}, from, to)
	for _, r := range []struct{ short, marker string }{
		{"k8s_puller_g1100", marked("test", "k8s_puller", 1100)},
		{"k8s_puller_g1000", marked("test", "k8s_puller", 1000)},
		{"k8s_old_g900", marked("test", "k8s_old", 900)},                     // of an earlier configuration
		{"k8s_fixed", marked("test", "k8s_fixed", 0)},                        // with a fixed name
		{"k8s_puller_g1050", "made by hand"},                                 // in the way
		{"k8s_puller_g1060", marked("prod-us", "k8s_puller", 1060)},          // another installation's
		{"k8s_puller_g1070", marked("test", "k8s_puller", 1000)},             // a marker that was copied
		{"k8s_puller_g1080", "see " + marked("test", "k8s_puller", 1080)},    // not exactly a marker
		{"k8s_puller_g1090", marked("Test", "k8s_puller", 1090)},             // another spelling
		{"ci", "for the build"}, {"k8s_pullers_g1", "nothing to do with us"}, // others
	} {
		server.AddRobot("myorg", r.short, r.marker)
	}
	for _, n := range more {
		server.AddRobot("myorg", fmt.Sprintf("k8s_puller_g%d", n), marked("test", "k8s_puller", n))
	}
	later.Store(int64(2 * time.Hour))
	return path, server
}

func marked(instance, robot string, generation int) string {
	return fmt.Sprintf("quaygen/1 instance=%s robot=%s generation=%d overlap=86400s max=604800s refresh=3600s", instance, robot, generation)
}

// foreign are the robots of installed that are nobody's business here.
var foreign = []string{"ci", "k8s_puller_g1050", "k8s_puller_g1060", "k8s_puller_g1070", "k8s_puller_g1080", "k8s_puller_g1090", "k8s_pullers_g1"}

func alive(server *quaytest.Server) (shorts []string) {
	for _, r := range server.Robots("myorg") {
		shorts = append(shorts, r.Short)
	}
	slices.Sort(shorts)
	return shorts
}

// writes are the calls that change something.
func writes(server *quaytest.Server) (calls []string) {
	for _, c := range server.Calls().Entries() {
		if c.Method != http.MethodGet {
			calls = append(calls, c.Method+" "+c.Path)
		}
	}
	return calls
}

func TestUninstallingDeletesWhatIsOursAndNothingElse(t *testing.T) {
	path, server := installed(t, "", "")
	before := alive(server)
	code, stdout, stderr := try(t, "retire", "--all", "--config", path, "--dry-run")
	if code != exitOK || !strings.Contains(stdout, `4 robots of the instance "test" would be deleted; 2 other robots are not touched`) || !cmp.Equal(alive(server), before) {
		t.Errorf("a dry run: %d\n%s%s", code, stdout, stderr)
	}
	for _, line := range []string{
		"(not configured any more)", "myorg+k8s_puller_g1050 stays: it does not carry quaygen's marker",
		`myorg+k8s_puller_g1060 stays: it belongs to the instance "prod-us", not to "test"`,
		`myorg+k8s_puller_g1070 stays: its marker names generation 1000 of "k8s_puller"`,
		"myorg+k8s_puller_g1080 stays: it does not carry", `myorg+k8s_puller_g1090 stays: it belongs to the instance "Test"`,
	} {
		if !strings.Contains(stdout, line) {
			t.Errorf("a dry run does not say %q:\n%s", line, stdout)
		}
	}
	if code, _, stderr := try(t, "retire", "--all", "--config", path); code != exitUsage || !strings.Contains(stderr, "say --yes") {
		t.Errorf("where nobody can be asked: %d %s", code, stderr)
	}
	if calls := writes(server); len(calls) > 0 {
		t.Errorf("before anybody said yes it called %v", calls)
	}

	code, stdout, stderr = try(t, "retire", "--all", "--config", path, "--yes")
	if code != exitOK || !strings.Contains(stdout, "4 robots deleted") || !strings.Contains(stdout, "what is not deleted: the API token") {
		t.Errorf("%d\n%s%s", code, stdout, stderr)
	}
	if diff := cmp.Diff(foreign, alive(server)); diff != "" {
		t.Error("what is left:\n" + diff)
	}
	// Of each chain what is served goes last.
	if calls := writes(server); len(calls) != 4 || !strings.HasSuffix(calls[2], "_g1000") || !strings.HasSuffix(calls[3], "_g1100") {
		t.Errorf("it called %v", calls)
	}
	if code, stdout, _ := try(t, "retire", "--all", "--config", path, "--yes"); code != exitOK || !strings.Contains(stdout, `there is no robot of the instance "test"`) || len(writes(server)) != 4 {
		t.Errorf("again: %d\n%s", code, stdout)
	}
}

func TestATypoInTheInstanceDeletesNothingAndShowsWhose(t *testing.T) {
	path, server := installed(t, "instance: test", "instance: tset")
	code, stdout, _ := try(t, "retire", "--all", "--config", path, "--yes")
	if code != exitOK || !strings.Contains(stdout, `there is no robot of the instance "tset"`) || !strings.Contains(stdout, `myorg+k8s_puller_g1100 stays: it belongs to the instance "test", not to "tset"`) {
		t.Errorf("%d\n%s", code, stdout)
	}
	if calls := writes(server); len(calls) > 0 {
		t.Errorf("it called %v", calls)
	}
}

func TestOnATerminalOnlyTheInstancesNameIsAYes(t *testing.T) {
	for answer, want := range map[string]bool{"prod-eu\n": true, " prod-eu \n": true, "prod-eu": true, "\n": false, "": false, "y\n": false, "yes\n": false, "prod-us\n": false} {
		var out strings.Builder
		if err := ask(strings.NewReader(answer), &out, "prod-eu", 12); (err == nil) != want {
			t.Errorf("%q: %v", answer, err)
		}
		if !strings.Contains(out.String(), "12 robots") || !strings.Contains(out.String(), "prod-eu") {
			t.Errorf("it asks %q", out.String())
		}
	}
	if err := ask(io.MultiReader(), io.Discard, "prod-eu", 1); err == nil {
		t.Error("no answer is a yes")
	}
}

func TestWhereQuayFailsInTheMiddleItIsSaidWhatIsLeftAndARepetitionGoesOn(t *testing.T) {
	path, server := installed(t, "", "")
	deletions := 0
	mend := server.Inject(quaytest.Fault{Operation: "robot.delete", Status: http.StatusBadGateway, Match: func(*http.Request) bool { deletions++; return deletions > 2 }})
	code, stdout, stderr := try(t, "retire", "--all", "--config", path, "--yes", "-o", "json")
	var got uninstalled
	if err := json.Unmarshal([]byte(stdout), &got); err != nil {
		t.Fatalf("%v in\n%s%s", err, stdout, stderr)
	}
	outcomes := map[string]string{}
	for _, r := range got.Robots {
		outcomes[r.Robot] = r.Outcome
	}
	want := map[string]string{"myorg+k8s_fixed": "deleted", "myorg+k8s_old_g900": "deleted", "myorg+k8s_puller_g1000": "left", "myorg+k8s_puller_g1100": "left"}
	if diff := cmp.Diff(want, outcomes); diff != "" || code != exitFailed || !strings.Contains(stderr, `2 robots of the instance "test" left; repeating this goes on from there`) {
		t.Errorf("%d %s\n%s", code, stderr, diff)
	}
	mend()
	if code, stdout, stderr := try(t, "retire", "--all", "--config", path, "--yes"); code != exitOK || !strings.Contains(stdout, "2 robots deleted") {
		t.Errorf("again: %d\n%s%s", code, stdout, stderr)
	}
	if diff := cmp.Diff(foreign, alive(server)); diff != "" {
		t.Error("what is left:\n" + diff)
	}
}

func TestWhatQuayKeepsOrMustBeKeptForNowIsLeftAndSaid(t *testing.T) {
	ahead := int(time.Since(time.Date(2026, time.January, 1, 0, 0, 0, 0, time.UTC))/time.Minute) + 150
	path, server := installed(t, "", "", ahead)
	server.SetMirror("myorg", "k8s_old_g900", true)
	server.AddRobot("myorg", "k8s_puller_g1200", marked("test", "k8s_puller", 1200)) // just now
	code, stdout, stderr := try(t, "retire", "--all", "--config", path, "--yes")
	for _, line := range []string{
		"left: myorg+k8s_old_g900: ", "mirror", "left: myorg+k8s_puller_g1200: it is younger than 1m0s",
		fmt.Sprintf("left: myorg+k8s_puller_g%d: its number could be given out again until ", ahead),
	} {
		if code != exitFailed || !strings.Contains(stdout, line) {
			t.Errorf("%d, without %q:\n%s%s", code, line, stdout, stderr)
		}
	}
	if got := alive(server); !slices.Contains(got, "k8s_old_g900") || !slices.Contains(got, "k8s_puller_g1200") || len(got) != len(foreign)+3 {
		t.Errorf("alive: %v", got)
	}
}

// What came after a person looked, that person has not said yes to.
func TestWhatAServerMakesMeanwhileIsLeftAndSaid(t *testing.T) {
	path, server := installed(t, "", "")
	lists := 0
	server.Inject(quaytest.Fault{Operation: "robot.list", AnswerDelay: 1, Match: func(*http.Request) bool { lists++; return lists == 2 }, Hit: func() {
		server.AddRobot("myorg", "k8s_puller_g1300", marked("test", "k8s_puller", 1300))
	}})
	code, stdout, stderr := try(t, "retire", "--all", "--config", path, "--yes")
	if code != exitFailed || !strings.Contains(stdout, "left: myorg+k8s_puller_g1300: it was made meanwhile: a server of this installation still runs") {
		t.Errorf("%d\n%s%s", code, stdout, stderr)
	}
	if got := alive(server); !slices.Contains(got, "k8s_puller_g1300") || len(got) != len(foreign)+1 {
		t.Errorf("alive: %v", got)
	}
}

func TestNothingIsDeletedWhereQuayCannotBeListed(t *testing.T) {
	path, server := installed(t, "", "")
	server.Inject(quaytest.Fault{Operation: "robot.list", Status: http.StatusBadGateway})
	if code, _, stderr := try(t, "retire", "--all", "--config", path, "--yes"); code != exitFailed || !strings.Contains(stderr, "nothing was deleted") {
		t.Errorf("%d %s", code, stderr)
	}
	if calls := writes(server); len(calls) > 0 {
		t.Errorf("it called %v", calls)
	}
}
