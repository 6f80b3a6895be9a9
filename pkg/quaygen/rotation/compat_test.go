package rotation

import (
	"os"
	"strings"
	"testing"
	"time"
)

// The files below testdata/compat are never changed: what is in them is in people's Quays (docs/compatibility.md).
func compat(t *testing.T, name string) []string {
	t.Helper()
	text, err := os.ReadFile("testdata/compat/v0/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Split(strings.TrimSpace(string(text)), "\n")
}

func TestMarkersOfVersion0AreOursAndWrittenAlike(t *testing.T) {
	for _, text := range compat(t, "markers.txt") {
		m, ok := parseMarker(text)
		if !ok || m.String() != text {
			t.Errorf("%q is read as %q, %t", text, m, ok)
		}
	}
	m, _ := parseMarker(compat(t, "markers.txt")[1])
	want := marker{"prod-eu", "k8s_tenant_team-a", 474240, timing{24 * time.Hour, 168 * time.Hour, time.Hour, 720 * time.Hour}}
	if m != want {
		t.Errorf("%+v, want %+v", m, want)
	}
}

// A version that goes back meets markers of the one that was there: what it does not know it does not touch.
func TestAMarkerOfALaterVersionIsNobodysAndWhatIsAddedAtItsEndIsNoHindrance(t *testing.T) {
	for _, text := range compat(t, "markers.txt") {
		later := strings.Replace(text, "quaygen/1", "quaygen/2", 1)
		if m, ok := parseMarker(later); ok {
			t.Errorf("%q is read as %+v", later, m)
		}
		want, _ := parseMarker(text)
		if m, ok := parseMarker(text + " fence=1"); !ok || m != want {
			t.Errorf("with another field at its end, %q is read as %+v, %t", text, m, ok)
		}
	}
}

func TestRobotsAreNamedAsVersion0NamedThem(t *testing.T) {
	for _, line := range compat(t, "names.txt") {
		fields := strings.Fields(line)
		got, err := NamespaceRobot(mustRobot("myorg", fields[0]), fields[1])
		if err != nil || got.Short() != fields[2] {
			t.Errorf("the robot of %s in %s is %s, %v; it was %s", fields[0], fields[1], got.Short(), err, fields[2])
		}
	}
	at := time.Date(2026, time.November, 23, 9, 0, 30, 0, time.UTC)
	g, err := mustRobot("myorg", "k8s_puller").Generation(minute(at))
	if err != nil || g.Short() != "k8s_puller_g469980" {
		t.Errorf("a generation of %v is called %s, %v", at, g.Short(), err)
	}
}
