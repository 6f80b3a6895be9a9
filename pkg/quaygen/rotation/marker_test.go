package rotation

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestAMarkerIsReadBackAsItWasWritten(t *testing.T) {
	for _, m := range []marker{
		{"prod-eu", "k8s_prod_puller", 469980, timing{24 * time.Hour, 168 * time.Hour, time.Hour, 720 * time.Hour}},
		{"a", "b", 0, timing{}},
		{"demo", "puller", 999_999_999_999, timing{1500 * time.Millisecond, time.Minute + time.Nanosecond, 20 * time.Second, 0}},
		{"demo", "puller", 1, timing{math.MaxInt64, math.MaxInt64 - 1, 104*24*time.Hour + time.Nanosecond, 1}},
	} {
		text := m.String()
		if got, ok := parseMarker(text); !ok || got != m {
			t.Errorf("%q is read as %+v, %t", text, got, ok)
		}
		if got, ok := parseMarker(text + " do not delete, ask the platform team"); !ok || got != m {
			t.Errorf("%q, followed by a person's text, is read as %+v, %t", text, got, ok)
		}
	}
}

// The metadata is for people and other programs, who must not be told anything else than the description tells us.
func TestTheMetadataSaysWhatTheDescriptionSays(t *testing.T) {
	m := marker{"prod-eu", "k8s_prod_puller", 469980, timing{24 * time.Hour, 168 * time.Hour, 1500 * time.Millisecond, 720 * time.Hour}}
	want := map[string]any{"quaygen": map[string]any{
		"instance": "prod-eu", "robot": "k8s_prod_puller", "generation": int64(469980), "overlap": "86400s", "max": "604800s", "maxRefresh": "1.5s", "idle": "2592000s",
	}}
	if diff := cmp.Diff(want, m.metadata()); diff != "" {
		t.Error(diff)
	}
	if got, want := m.String(), "quaygen/1 instance=prod-eu robot=k8s_prod_puller generation=469980 overlap=86400s max=604800s refresh=1.5s idle=2592000s"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestWhatIsNotExactlyAMarkerIsNone(t *testing.T) {
	const good = "quaygen/1 instance=i robot=r generation=7 overlap=60s max=120s refresh=30s"
	if _, ok := parseMarker(good); !ok {
		t.Fatalf("%q is none", good)
	}
	for _, change := range []struct{ what, from, to string }{
		{"nothing", good, ""},
		{"another version", "quaygen/1", "quaygen/2"},
		{"text before it", "quaygen/1", "see quaygen/1"},
		{"space before it", "quaygen/1", " quaygen/1"},
		{"capital letters", "quaygen", "Quaygen"},
		{"a missing field", " max=120s", ""},
		{"fields in another order", "instance=i robot=r", "robot=r instance=i"},
		{"a field twice", "robot=r", "robot=r robot=r"},
		{"an empty field", "instance=i", "instance="},
		{"a line break between fields", "instance=i ", "instance=i\n"},
		{"two spaces between fields", "instance=i ", "instance=i  "},
		{"a space that is none of ASCII's", "instance=i ", "instance=i\u00a0"},
		{"something glued to its end", "refresh=30s", "refresh=30s,"},
		{"a signed number", "generation=7", "generation=+7"},
		{"a padded number", "generation=7", "generation=07"},
		{"a negative number", "generation=7", "generation=-7"},
		{"a number beyond 64 bits", "generation=7", "generation=9223372036854775808"},
		{"a duration in another unit", "overlap=60s", "overlap=1m"},
		{"a padded duration", "overlap=60s", "overlap=60.0s"},
		{"a signed duration", "overlap=60s", "overlap=+60s"},
		{"a negative duration", "overlap=60s", "overlap=-60s"},
		{"a duration without a unit", "overlap=60s", "overlap=60"},
		{"an idle time that is none", "refresh=30s", "refresh=30s idle=soon"},
		{"a negative idle time", "refresh=30s", "refresh=30s idle=-1s"},
		{"a duration beyond 64 bits", "overlap=60s", "overlap=9223372037s"},
	} {
		text := strings.Replace(good, change.from, change.to, 1)
		if m, ok := parseMarker(text); ok {
			t.Errorf("with %s, %q is read as %+v", change.what, text, m)
		}
	}
}

// One robot has one marker: what is read is what would be written, and only a person's text may follow.
func FuzzAMarkerHasOneSpelling(f *testing.F) {
	for _, text := range []string{
		"", "quaygen/1", "made by hand",
		"quaygen/1 instance=prod-eu robot=k8s_prod_puller generation=469980 overlap=86400s max=604800s refresh=3600s",
		"quaygen/1 instance=i robot=r generation=7 overlap=1.5s max=0.000000001s refresh=0s, and what people say",
		"quaygen/1 instance=i robot=r generation=7 overlap=1.5s max=1s refresh=0s idle=60s idle=1s",
		"quaygen/1 instance=i robot=r generation=+07 overlap=1m max=2h0m refresh=1e3s",
		"quaygen/1\tinstance==\nrobot=r generation=7 overlap=60s max=120s refresh=30s ",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		m, ok := parseMarker(text)
		if !ok {
			return
		}
		rest, ok := strings.CutPrefix(text, m.String())
		if !ok || rest != "" && rest[0] != ' ' {
			t.Errorf("%q is read as %q", text, m)
		}
		if again, ok := parseMarker(m.String()); !ok || again != m {
			t.Errorf("%q, written again as %q, is read as %+v, %t", text, m, again, ok)
		}
	})
}

// A robot whose marker its own maker cannot read would be a stranger's, and another one would be made, without end.
func FuzzEveryMarkerWrittenIsRead(f *testing.F) {
	f.Add("prod-eu", "k8s_prod_puller", int64(469980), int64(24*time.Hour), int64(168*time.Hour), int64(time.Hour), int64(720*time.Hour))
	f.Add("i", "r", int64(0), int64(0), int64(1), int64(math.MaxInt64), int64(0))
	f.Fuzz(func(t *testing.T, instance, robot string, generation, overlap, longest, refresh, idle int64) {
		m := marker{instance, robot, generation, timing{time.Duration(overlap), time.Duration(longest), time.Duration(refresh), time.Duration(idle)}}
		if min(generation, overlap, longest, refresh, idle) < 0 || len(strings.Fields(fmt.Sprintf("x%sx x%sx", instance, robot))) != 2 || instance == "" || robot == "" {
			t.Skip("a configuration has no such values")
		}
		if got, ok := parseMarker(m.String()); !ok || got != m {
			t.Errorf("%+v, written as %q, is read as %+v, %t", m, m, got, ok)
		}
	})
}
