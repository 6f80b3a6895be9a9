package ledger_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/quaygen/quaygen/pkg/quaygen/ledger"
	"github.com/quaygen/quaygen/pkg/quaygen/ledger/ledgertest"
)

// docs/compatibility.md: what a released version wrote, every later one reads. The files below testdata/compat are never changed.
func TestALedgerOfVersion0IsReadAndGoesOn(t *testing.T) {
	golden, err := os.ReadFile("testdata/compat/v0/ledger.db")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "ledger.db")
	if err := os.WriteFile(path, golden, 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := ledger.OpenFile(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	at := time.Date(2026, time.November, 24, 9, 30, 15, 0, time.UTC)
	first := ledger.Record{Robot: ledgertest.Robot(t, "myorg", false, "k8s_puller"), Rotations: 3, Fingerprint: "0123456789ab", Changed: at}
	open := ledger.Record{
		Robot: ledgertest.Robot(t, "someone", true, "k8s_puller"), Fingerprint: "ba9876543210", Changed: at,
		Intent: ledger.Intent{
			ID: "ABCDEFGHIJKLMNOPQRSTUVWXYZ", Holder: "quaygen-7d9f, process 1", Fingerprint: "ba9876543210",
			At: at.Add(time.Hour), Lease: 390 * time.Second, Reason: "due since 2026-11-24T10:30:00Z",
		},
	}
	for _, want := range []ledger.Record{first, open} {
		got, v, err := s.Load(t.Context(), want.Robot)
		if err != nil || got != want {
			t.Errorf("%+v, %v; want %+v", got, err, want)
		}
		if want == first {
			want.Rotations++
			if _, err := s.Replace(t.Context(), want, v); err != nil {
				t.Error(err)
			}
		}
	}
}

// And what this version writes, version 0 reads, so that one can go back: record by record, nothing is written otherwise.
func TestARecordIsWrittenAsVersion0WroteIt(t *testing.T) {
	golden, err := os.ReadFile("testdata/compat/v0/ledger.db")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Records []struct{ Record json.RawMessage }
	}
	if err := json.Unmarshal(golden, &file); err != nil || len(file.Records) != 2 {
		t.Fatalf("%d records, %v", len(file.Records), err)
	}
	for _, r := range file.Records {
		var want bytes.Buffer
		if err := json.Compact(&want, r.Record); err != nil {
			t.Fatal(err)
		}
		record, err := ledger.Decode(r.Record)
		if err != nil {
			t.Fatal(err)
		}
		got, err := ledger.Encode(record)
		if diff := cmp.Diff(want.String(), string(got)); err != nil || diff != "" {
			t.Errorf("%v\n%s", err, diff)
		}
	}
}

func TestALedgerOfALaterVersionIsRefusedByNameAndLeftAsItIs(t *testing.T) {
	golden, err := os.ReadFile("testdata/compat/v0/ledger.db")
	if err != nil {
		t.Fatal(err)
	}
	for says, content := range map[string]string{
		`it has the format "quaygen-ledger/2", and this version knows "quaygen-ledger/1"`: strings.Replace(string(golden), "ledger/1", "ledger/2", 1),
		`unknown field "fence"`: strings.Replace(string(golden), `"rotations": 3`, `"fence": 1, "rotations": 3`, 1),
	} {
		path := filepath.Join(t.TempDir(), "ledger.db")
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := ledger.OpenFile(t.Context(), path); err == nil || !strings.Contains(err.Error(), says) || !strings.Contains(err.Error(), path) {
			t.Errorf("%v; want one that says %q", err, says)
		}
		if after, err := os.ReadFile(path); err != nil || string(after) != content {
			t.Errorf("it was changed, %v", err)
		}
	}
}
