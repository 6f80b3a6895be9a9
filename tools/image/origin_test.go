package main

import (
	"runtime/debug"
	"testing"
	"time"
)

func recorded(version string, pairs ...string) *binary {
	b := &binary{info: &debug.BuildInfo{Main: debug.Module{Version: version}}}
	for i := 0; i < len(pairs); i += 2 {
		b.info.Settings = append(b.info.Settings, debug.BuildSetting{Key: pairs[i], Value: pairs[i+1]})
	}
	return b
}

func TestTheOriginOfAnImageIsTheCommitThatTheGoCommandRecorded(t *testing.T) {
	program := recorded("v1.2.4-0.20261125220000-0123abcd+dirty", "vcs.revision", "0123abcd", "vcs.time", "2026-11-25T22:00:00Z")
	got, err := program.stamp("")
	if want := (stamp{version: program.info.Main.Version, revision: "0123abcd", created: time.Date(2026, 11, 25, 22, 0, 0, 0, time.UTC)}); err != nil || got != want {
		t.Errorf("%+v, %v, want %+v", got, err, want)
	}
	if got.tag() != "v1.2.4-0.20261125220000-0123abcd_dirty" {
		t.Errorf("the tag is %s", got.tag())
	}
	if got, err = program.stamp("1"); err != nil || !got.created.Equal(time.Unix(1, 0)) {
		t.Errorf("with SOURCE_DATE_EPOCH: %+v, %v", got, err)
	}
}

func TestAProgramOfUnknownOriginMakesNoImage(t *testing.T) {
	for name, program := range map[string]*binary{
		"nothing":    recorded("(devel)"),
		"no commit":  recorded("v1.2.3", "vcs.time", "2026-11-25T22:00:00Z"),
		"no version": recorded("(devel)", "vcs.revision", "0123abcd", "vcs.time", "2026-11-25T22:00:00Z"),
		"no time":    recorded("v1.2.3", "vcs.revision", "0123abcd"),
	} {
		if got, err := program.stamp(""); err == nil {
			t.Errorf("%s: %+v", name, got)
		}
	}
	if got, err := recorded("v1.2.3", "vcs.revision", "0123abcd", "vcs.time", "2026-11-25T22:00:00Z").stamp("yesterday"); err == nil {
		t.Errorf("SOURCE_DATE_EPOCH of yesterday: %+v", got)
	}
}
