package audit_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/quaygen/quaygen/pkg/quaygen/audit"
)

// docs/compatibility.md: a trail of a released version verifies with every later one, which goes on with it, and writes every field
// that was there. The files below testdata/compat are never changed.
func TestATrailOfVersion0VerifiesAndGoesOn(t *testing.T) {
	golden := read(t, "testdata/compat/v0/audit.jsonl")
	n := strings.Count(golden, "\n")
	whole(t, n, golden)
	file := filepath.Join(t.TempDir(), "audit.jsonl")
	if err := os.WriteFile(file, []byte(golden), 0o600); err != nil {
		t.Fatal(err)
	}
	process(t, file, 3)
	after := read(t, file)
	if !strings.HasPrefix(after, golden) {
		t.Error("what was there is there no more")
	}
	if r := verifyAll(t, after); r < n+3 {
		t.Errorf("%d records, of %d at least", r, n+3)
	}
	written := emitted(t)
	for line := range strings.Lines(golden) {
		var of struct{ Type string }
		if err := json.Unmarshal([]byte(line), &of); err != nil {
			t.Fatal(err)
		}
		for _, key := range keys(t, line) {
			if !slices.Contains(written[of.Type], key) {
				t.Errorf("a record of type %s has no %s any more", of.Type, key)
			}
		}
	}
}

// verifyAll returns how many records a whole trail has.
func verifyAll(t *testing.T, text string) int {
	t.Helper()
	r := verify(t, audit.VerifyOptions{}, text)
	for _, b := range r.Breaks {
		t.Error(b)
	}
	return r.Records
}
