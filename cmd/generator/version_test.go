package main

import (
	"runtime"
	"runtime/debug"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func settingsOf(pairs ...string) []debug.BuildSetting {
	var out []debug.BuildSetting
	for i := 0; i < len(pairs); i += 2 {
		out = append(out, debug.BuildSetting{Key: pairs[i], Value: pairs[i+1]})
	}
	return out
}

func TestABuildSaysWhatItKnowsAndNothingElse(t *testing.T) {
	recorded := settingsOf("vcs.revision", "0123abcd", "vcs.time", "2026-11-25T22:00:00Z", "vcs.modified", "false")
	for _, c := range []struct {
		name                  string
		main                  string
		settings              []debug.BuildSetting
		version, commit, date string // of the linker
		want                  build
	}{
		{name: "a tag", main: "v1.2.3", settings: recorded, want: build{Version: "v1.2.3", Commit: "0123abcd", Date: "2026-11-25T22:00:00Z"}},
		{name: "installed by its module path", main: "v1.2.3", want: build{Version: "v1.2.3"}},
		{name: "nothing", main: "(devel)", want: build{Version: "devel"}},
		{name: "not even a record", want: build{Version: "devel"}},
		{
			name: "changed files", main: "(devel)", settings: settingsOf("vcs.revision", "0123abcd", "vcs.modified", "true"),
			want: build{Version: "devel", Commit: "0123abcd-dirty"},
		},
		{
			name: "the linker", main: "v0.0.0-2026", settings: recorded, version: "v9", commit: "ffff", date: "2027-01-01T00:00:00Z",
			want: build{Version: "v9", Commit: "ffff", Date: "2027-01-01T00:00:00Z"},
		},
	} {
		c.want.Go, c.want.Platform = runtime.Version(), runtime.GOOS+"/"+runtime.GOARCH
		got := buildOf(&debug.BuildInfo{Main: debug.Module{Version: c.main}, Settings: c.settings}, c.version, c.commit, c.date)
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s: (-want +got)\n%s", c.name, diff)
		}
	}
}

func TestWhatABuildDoesNotKnowIsSaidToBeUnknown(t *testing.T) {
	got := build{Version: "devel", Go: "go1.26.0", Platform: "linux/arm64"}.String()
	if want := "devel, commit unknown, date unknown, go1.26.0, linux/arm64"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestTheVersionIsPrintedOnStandardOutputAsAFlagAndAsACommand(t *testing.T) {
	_, flag, _ := try(t, "--version")
	code, command, stderr := try(t, "version")
	if code != exitOK || stderr != "" || command != flag || !strings.HasPrefix(flag, "generator version ") || !strings.Contains(flag, ", commit ") || strings.Count(flag, "\n") != 1 {
		t.Errorf("generator version: %d, %q, %q; generator --version: %q", code, command, stderr, flag)
	}
}
