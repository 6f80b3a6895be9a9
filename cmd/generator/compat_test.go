package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the files below testdata/compat that are not there yet")

// compat returns the lines of a file below testdata/compat, which are never changed: others rely on them (docs/compatibility.md).
func compat(t *testing.T, name string, now []string) []string {
	t.Helper()
	path := "testdata/compat/v0/" + name
	if _, err := os.Stat(path); *update && os.IsNotExist(err) {
		if err := os.WriteFile(path, []byte(strings.Join(now, "\n")+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Split(strings.TrimSpace(string(text)), "\n")
}

func TestEveryMetricOfVersion0IsThereWithItsLabels(t *testing.T) {
	metrics := documented(t) // which is what serve shows, as another test makes sure
	var now []string
	for _, name := range slices.Sorted(maps.Keys(metrics)) {
		now = append(now, strings.TrimSpace(name+" "+metrics[name].Type+" "+metrics[name].Labels))
	}
	for _, was := range compat(t, "metrics.txt", now) {
		if !slices.Contains(now, was) {
			t.Errorf("there is no %s any more", was)
		}
	}
}

// shape lists the keys of a JSON document with the kinds of their values.
func shape(v any, path string, into map[string]bool) {
	switch v := v.(type) {
	case map[string]any:
		for key, value := range v {
			if path == "mint.data" {
				key = "*"
			}
			shape(value, path+"."+key, into)
		}
	case []any:
		for _, value := range v {
			shape(value, path+"[]", into)
		}
		into[path+"[]"] = true
	default:
		into[fmt.Sprintf("%s %T", path, v)] = true
	}
}

func TestWhatMachinesReadHasEveryKeyThatItHadInVersion0(t *testing.T) {
	path, _ := installed(t, "", "")
	broken, _ := configure(t, "instance: test", "instance: t!")
	fresh, _ := configure(t, "", "")
	keys := map[string]bool{}
	for _, args := range [][]string{
		{"plan", "--config", path, "-o", "json"},
		{"plan", "--config", fresh, "-o", "json"},
		{"retire", "--all", "--dry-run", "--config", path, "-o", "json"},
		{"mint", "puller", "--config", path, "-o", "json"},
		{"check-config", broken, "-o", "json"},
	} {
		_, stdout, stderr := try(t, args...)
		var document any
		if err := json.Unmarshal([]byte(stdout), &document); err != nil {
			t.Fatalf("%s: %v\n%s", args, err, stderr)
		}
		shape(document, args[0], keys)
	}
	now := slices.Sorted(maps.Keys(keys))
	for _, was := range compat(t, "output.txt", now) {
		if !slices.Contains(now, was) {
			t.Errorf("there is no %s any more", was)
		}
	}
}

func TestExitCodesAreThoseOfVersion0(t *testing.T) {
	want := map[string]int{"ok": 0, "failed": 1, "usage": 2, "not found": 3, "denied": 4}
	got := map[string]int{"ok": exitOK, "failed": exitFailed, "usage": exitUsage, "not found": exitNotFound, "denied": exitDenied}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
