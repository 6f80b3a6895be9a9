//go:build unix

package ledger_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/quaygen/quaygen/pkg/quaygen/ledger"
	"github.com/quaygen/quaygen/pkg/quaygen/ledger/ledgertest"
)

// A pipe that nobody reads stands for a disk that hangs: opening it to write does not return.
func TestADiskThatHangsKeepsNobodyLongerThanItsTime(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ledger")
	f, err := ledger.OpenFile(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	one, two := ledgertest.Record(ledgertest.Robot(t, "myorg", false, "one")), ledgertest.Record(ledgertest.Robot(t, "myorg", false, "two"))
	if _, err := f.Create(t.Context(), one); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(path+".new", 0o600); err != nil {
		t.Skip("no pipes here: ", err)
	}
	soon := func() context.Context {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		t.Cleanup(cancel)
		return ctx
	}
	if _, err := f.Create(soon(), two); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("who writes is told %v", err)
	}
	if _, _, err := f.Load(soon(), one.Robot); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("who reads beside it is told %v", err)
	}
	if _, err := f.Replace(soon(), one, "1"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("who writes beside it is told %v", err)
	}
	reader, err := os.Open(path + ".new") // the disk goes on, and fails to flush
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = reader.Close() }()
	if _, v, err := f.Load(t.Context(), one.Robot); err != nil || v != "1" {
		t.Errorf("afterwards there is %q, %v", v, err)
	}
	if err := os.Remove(path + ".new"); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Create(t.Context(), two); err != nil {
		t.Errorf("afterwards: %v", err)
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
}
