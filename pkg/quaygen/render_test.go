package quaygen_test

import (
	"encoding/json"
	"maps"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/quaygen/quaygen/pkg/quaygen"
	"github.com/quaygen/quaygen/pkg/quaygen/dockerconfig"
	"github.com/quaygen/quaygen/pkg/quaygen/quay/quaytest"
)

// document is the answer as a client reads it.
type document struct {
	Name       string          `json:"name"`
	Generation *int64          `json:"generation"`
	Robot      string          `json:"robot"`
	Registry   string          `json:"registry"`
	MintedAt   time.Time       `json:"mintedAt"`
	RefreshAt  *time.Time      `json:"refreshAt"`
	Warnings   []string        `json:"warnings"`
	Parts      []document      `json:"parts"`
	Data       json.RawMessage `json:"data"`
}

func read(t testing.TB, a *quaygen.Answer) document {
	t.Helper()
	var d document
	decoder := json.NewDecoder(strings.NewReader(string(a.Body())))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&d); err != nil {
		t.Fatalf("%v: %s", err, a.Body())
	}
	return d
}

func TestAnAnswerSaysWhatItIs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.start(t)
		d := read(t, w.get(t, puller))
		robots := w.quay.Robots("myorg")
		if len(robots) != 1 {
			t.Fatalf("%d robots", len(robots))
		}
		robot := robots[0]
		if d.Name != "puller" || d.Robot != "myorg+"+robot.Short || d.Registry != "quay.test" || d.Generation == nil ||
			!strings.HasSuffix(d.Robot, "_g"+jsonOf(*d.Generation)) || !d.MintedAt.Equal(robot.Created.Truncate(time.Second)) || d.Warnings == nil {
			t.Errorf("%+v of %+v", d, robot)
		}
		// Rotations come up to a tenth of the interval early.
		if in := d.RefreshAt.Sub(d.MintedAt); in > 720*time.Hour || in < 648*time.Hour {
			t.Errorf("to be refreshed %v after it was minted", in)
		}
	})
}

func TestTheAnswerInTheDocumentsIsOne(t *testing.T) {
	text, err := os.ReadFile("../../docs/api.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "```json\n")
	example, _, found := strings.Cut(rest, "```")
	var shown, answered map[string]any
	if err := json.Unmarshal([]byte(example), &shown); err != nil || !found {
		t.Fatalf("docs/api.md: %v in %q", err, example)
	}
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.start(t)
		if err := json.Unmarshal(w.get(t, puller).Body(), &answered); err != nil {
			t.Fatal(err)
		}
	})
	if diff := cmp.Diff(slices.Sorted(maps.Keys(answered)), slices.Sorted(maps.Keys(shown))); diff != "" {
		t.Errorf("docs/api.md shows other keys:\n%s", diff)
	}
	if diff := cmp.Diff(slices.Sorted(maps.Keys(answered["data"].(map[string]any))), slices.Sorted(maps.Keys(shown["data"].(map[string]any)))); diff != "" {
		t.Errorf("docs/api.md shows other data:\n%s", diff)
	}
}

func jsonOf(v any) string {
	data, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(data)
}

// ESO takes data with jsonPath $.data: a map of strings, or with a property the one string.
func TestDataIsAMapOfStringsOrOneString(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.start(t)
		w.get(t, puller)
		robot := w.quay.Robots("myorg")[0]
		for _, test := range []struct {
			format string
			keys   []string
		}{
			{"", []string{".dockerconfigjson"}},
			{"dockerconfigjson", []string{".dockerconfigjson"}},
			{"dockercfg", []string{".dockercfg"}},
			{"basic", []string{"password", "registry", "username"}},
		} {
			r := puller
			r.Format = test.format
			answer := w.get(t, r)
			var data map[string]string
			if err := json.Unmarshal(read(t, answer).Data, &data); err != nil {
				t.Fatalf("format %q: data is no map of strings: %v", test.format, err)
			}
			if diff := cmp.Diff(answer.Data(), data); diff != "" {
				t.Errorf("format %q: the document and Data differ:\n%s", test.format, diff)
			}
			var keys []string
			for key, value := range data {
				keys = append(keys, key)
				r.Property = key
				var one string
				if err := json.Unmarshal(read(t, w.get(t, r)).Data, &one); err != nil || one != value {
					t.Errorf("format %q: property %s is %q, %v; the map says %q", test.format, key, one, err, value)
				}
			}
			if slices.Sort(keys); !slices.Equal(keys, test.keys) {
				t.Errorf("format %q has the keys %v", test.format, keys)
			}
			switch test.format {
			case "basic":
				if want := (map[string]string{"username": "myorg+" + robot.Short, "password": robot.Token.Reveal(), "registry": "quay.test"}); !cmp.Equal(data, want) {
					t.Error("basic holds another credential")
				}
			case "dockercfg":
				if !strings.HasPrefix(data[".dockercfg"], `{"quay.test":{`) {
					t.Error(".dockercfg is of another form")
				}
			default:
				entries, err := dockerconfig.Parse([]byte(data[".dockerconfigjson"]))
				if err != nil || len(entries) != 1 || entries[0].Host != "quay.test" || entries[0].Username != "myorg+"+robot.Short || !entries[0].Password.Equal(robot.Token) {
					t.Errorf("%v, %v", entries, err)
				}
			}
		}
	})
}

func TestAJoinedPullSecretHoldsEveryRobotAndIsDueWithTheFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.add(t, "partner", "k8s_partner", "lib")
		w.specs[1].Every = 300 * time.Hour
		w.join("both", "puller", "partner")
		w.start(t)
		answer := w.get(t, quaygen.Request{Name: "both", Namespace: "any"})
		d := read(t, answer)
		if d.Name != "both" || d.Generation != nil || d.Robot != "" || len(d.Parts) != 2 || d.Parts[0].Name != "puller" || d.Parts[1].Name != "partner" {
			t.Fatalf("%+v", d)
		}
		if d.RefreshAt == nil || !d.RefreshAt.Equal(*d.Parts[1].RefreshAt) || d.MintedAt.Before(d.Parts[0].MintedAt) {
			t.Errorf("minted %v, due %v; its parts: %+v", d.MintedAt, d.RefreshAt, d.Parts)
		}
		for _, part := range d.Parts {
			if len(part.Data) > 0 {
				t.Error("a part repeats its data")
			}
		}
		want := map[string]string{"quay.test/myorg/app": d.Parts[0].Robot, "quay.test/myorg/lib": d.Parts[1].Robot}
		if diff := cmp.Diff(want, keysOf(t, answer)); diff != "" {
			t.Errorf("images are sent to other robots:\n%s", diff)
		}
	})
}

// keysOf returns which robot each key of an answer is for.
func keysOf(t *testing.T, a *quaygen.Answer) map[string]string {
	t.Helper()
	entries, err := dockerconfig.Parse([]byte(a.Data()[".dockerconfigjson"]))
	if err != nil {
		t.Fatal(err)
	}
	keys := map[string]string{}
	for _, e := range entries {
		if len(e.Paths) == 0 {
			keys[e.Host] = e.Username
		}
		for _, path := range e.Paths {
			keys[e.Host+"/"+path] = e.Username
		}
	}
	return keys
}

// What a team may pull is in no list: a robot of one is asked for all that nobody is known to pull.
func TestAJoinedRobotIsAskedForWhatItMayPullThroughItsTeams(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.quay.AddTeam("myorg", "pullers", "member")
		w.quay.GrantTeam("myorg", "lib", "pullers", "read")
		w.add(t, "partner", "k8s_partner", "app")
		w.specs[1].Permissions.Teams = []string{"pullers"}
		w.add(t, "member", "k8s_member")
		w.specs[2].Permissions.Teams = []string{"pullers"}
		w.join("both", "puller", "partner")
		w.join("three", "puller", "partner", "member")
		w.start(t)
		answer := w.get(t, quaygen.Request{Name: "both", Namespace: "any"})
		d := read(t, answer)
		want := map[string]string{"quay.test/myorg/app": d.Parts[0].Robot, "quay.test/myorg": d.Parts[1].Robot}
		if diff := cmp.Diff(want, keysOf(t, answer)); diff != "" || len(d.Warnings) > 0 {
			t.Errorf("%s %v", diff, d.Warnings)
		}
		answer = w.get(t, quaygen.Request{Name: "three", Namespace: "any"})
		d = read(t, answer)
		want = map[string]string{"quay.test/myorg/app": d.Parts[0].Robot, "quay.test/myorg": d.Parts[1].Robot}
		if diff := cmp.Diff(want, keysOf(t, answer)); diff != "" {
			t.Error(diff)
		}
		if len(d.Warnings) != 1 || !strings.HasPrefix(d.Warnings[0], "member: what it may pull through its teams is not sent to it") {
			t.Errorf("it is warned of %q", d.Warnings)
		}
	})
}

// Nobody is known to pull anything: the answer is no error, and its robot is asked for everything.
func TestJoinedRobotsWithoutAnythingToPullAreAnAnswerAllTheSame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.add(t, "early", "k8s_early", "backend-*")
		w.add(t, "soon", "k8s_soon", "frontend-*")
		w.join("both", "early", "soon")
		w.start(t)
		answer := w.get(t, quaygen.Request{Name: "both", Namespace: "any"})
		d := read(t, answer)
		if diff := cmp.Diff(map[string]string{"quay.test/myorg": d.Parts[0].Robot}, keysOf(t, answer)); diff != "" {
			t.Error(diff)
		}
		w.quay.AddRepository("myorg", "frontend-a")
		time.Sleep(2 * time.Minute)
		answer = w.get(t, quaygen.Request{Name: "both", Namespace: "any"})
		if diff := cmp.Diff(map[string]string{"quay.test/myorg": d.Parts[0].Robot, "quay.test/myorg/frontend-a": d.Parts[1].Robot}, keysOf(t, answer)); diff != "" {
			t.Error(diff)
		}
	})
}

func TestAJoinedAnswerEndsWithTheFirstOfItsLeases(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.add(t, "partner", "k8s_partner", "lib")
		w.specs[1].Overlap = 4 * time.Hour
		w.join("both", "puller", "partner")
		w.start(t)
		both := w.get(t, quaygen.Request{Name: "both", Namespace: "any"})
		alone := w.get(t, puller)
		time.Sleep(4 * time.Hour)
		if both.Valid() || !alone.Valid() {
			t.Errorf("after the shorter overlap: both %v, alone %v", both.Valid(), alone.Valid())
		}
	})
}

func TestAJoinedPullSecretIsNotReadyUntilAllOfItIs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.add(t, "partner", "k8s_partner", "lib")
		w.join("both", "puller", "partner")
		w.quay.Inject(quaytest.Fault{Operation: "robot.create", Status: 500, Match: func(r *http.Request) bool { return strings.Contains(r.URL.Path, "partner") }})
		w.start(t)
		w.get(t, puller)
		if kind := w.kindOf(t, everything, quaygen.Request{Name: "both", Namespace: "any"}); kind != quaygen.KindNotReady {
			t.Error(kind)
		}
	})
}

func TestARepeatedAnswerIsTheSameBytes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.start(t)
		first := w.get(t, puller).Body()
		time.Sleep(time.Hour)
		if again := w.get(t, puller).Body(); &first[0] != &again[0] {
			t.Error("what has not changed is rendered anew")
		}
	})
}
