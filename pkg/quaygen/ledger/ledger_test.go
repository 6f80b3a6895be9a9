package ledger_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/quaygen/quaygen/pkg/quaygen/ledger"
	"github.com/quaygen/quaygen/pkg/quaygen/ledger/ledgertest"
	"github.com/quaygen/quaygen/pkg/quaygen/quay"
	"github.com/quaygen/quaygen/pkg/quaygen/secret"
)

func TestMemory(t *testing.T) {
	ledgertest.Run(t, func(*testing.T) func() ledger.Store {
		s := ledger.NewMemory()
		return func() ledger.Store { return s }
	})
}

func TestFile(t *testing.T) {
	ledgertest.Run(t, func(t *testing.T) func() ledger.Store {
		s, err := ledger.OpenFile(t.Context(), filepath.Join(t.TempDir(), "ledger.db"))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = s.Close() })
		return func() ledger.Store { return s }
	})
}

// actAs makes this test binary the other process of a test: it opens the ledger, writes, says so, and waits for its end.
const actAs = "LEDGER_TEST_WRITE"

func TestMain(m *testing.M) {
	if path := os.Getenv(actAs); path != "" {
		if err := writeAndWait(path); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
		return
	}
	m.Run()
}

func writeAndWait(path string) error {
	s, err := ledger.OpenFile(context.Background(), path)
	if err != nil {
		return err
	}
	r, v, err := s.Load(context.Background(), theRobot(&testing.T{}))
	if err != nil {
		return err
	}
	r.Rotations++
	if _, err := s.Replace(context.Background(), r, v); err != nil {
		return err
	}
	if _, err := fmt.Fprintln(os.Stdout, "written"); err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, os.Stdin) // until it is killed
	return err
}

func theRobot(t *testing.T) quay.Robot { return ledgertest.Robot(t, "myorg", false, "puller") }

func TestWhatWasWrittenOutlivesAProcessThatIsKilled(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ledger.db")
	s, err := ledger.OpenFile(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	r := ledgertest.Record(theRobot(t))
	if _, err := s.Create(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}

	other := exec.CommandContext(t.Context(), os.Args[0])
	other.Env = append(os.Environ(), actAs+"="+path)
	stdin, err := other.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = stdin.Close() }()
	stdout, err := other.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(stdout).ReadString('\n'); line != "written\n" {
		t.Fatalf("the other process: %q, %v", line, err)
	}
	// While it lives nobody else may use the file.
	impatient, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := ledger.OpenFileWithin(impatient, path); err == nil || !strings.Contains(err.Error(), "another process uses it") || !strings.Contains(err.Error(), path) {
		t.Errorf("opening a ledger that is in use: %v", err)
	}
	if err := other.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = other.Wait()

	s, err = ledger.OpenFile(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	if got, _, err := s.Load(t.Context(), r.Robot); err != nil || got.Rotations != r.Rotations+1 {
		t.Errorf("after the kill: %+v, %v", got, err)
	}
}

func TestAFileThatCannotBeALedgerIsRefusedAndLeftAsItIs(t *testing.T) {
	dir := t.TempDir()
	good := filepath.Join(dir, "good.db")
	s, err := ledger.OpenFile(t.Context(), good)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Create(t.Context(), ledgertest.Record(theRobot(t))); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(good)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(good); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	encoded, err := ledger.Encode(ledgertest.Record(theRobot(t)))
	if err != nil {
		t.Fatal(err)
	}
	record := string(encoded)
	for name, bytes := range map[string][]byte{
		"text": []byte("not a ledger"), "empty": {}, "cut": content[:len(content)/2],
		"newer":   []byte(strings.Replace(string(content), "ledger/1", "ledger/2", 1)),
		"twofold": []byte(strings.Replace(string(content), `"records": [`, `"records": [{"writes":1,"record":`+record+`},`, 1)),
	} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, bytes, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := ledger.OpenFile(t.Context(), path); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := ledger.ReadFile(path); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("%s, by somebody who only looks: %v", name, err)
		}
		if after, err := os.ReadFile(path); err != nil || string(after) != string(bytes) {
			t.Errorf("%s: the file was changed", name)
		}
	}
	if _, err := ledger.OpenFile(t.Context(), filepath.Join(dir, "missing", "ledger.db")); err == nil || !strings.Contains(err.Error(), "directory does not exist") {
		t.Errorf("a missing directory: %v", err)
	}
}

func TestWhoOnlyLooksReadsWhatWasWrittenLastWithoutALockOrATrace(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "ledger.db")
	if _, err := ledger.ReadFile(path); err == nil || !strings.Contains(err.Error(), "there is no ledger "+path+" here") {
		t.Errorf("a file that is not there: %v", err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Fatalf("looking left %v, %v", left, err)
	}
	s, err := ledger.OpenFile(t.Context(), path) // which has the lock from here on
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	r := ledgertest.Record(theRobot(t))
	v, err := s.Create(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		snapshot, err := ledger.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if got, at, err := snapshot.Load(t.Context(), r.Robot); err != nil || at != v || !reflect.DeepEqual(got, r) {
			t.Errorf("%+v at %s, %v; written was %+v at %s", got, at, err, r, v)
		}
		if _, _, err := snapshot.Load(t.Context(), ledgertest.Robot(t, "myorg", true, "puller")); !errors.Is(err, ledger.ErrNotFound) {
			t.Errorf("a robot that it does not know: %v", err)
		}
		r.Rotations++
		if v, err = s.Replace(t.Context(), r, v); err != nil {
			t.Fatalf("a write after somebody looked: %v", err)
		}
	}
}

func TestAWriteThatFailsLeavesWhatTheDiskHas(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "ledger.db")
	s, err := ledger.OpenFile(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	r := ledgertest.Record(theRobot(t))
	v, err := s.Create(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(path+".new", 0o700); err != nil { // nothing can be written there
		t.Fatal(err)
	}
	next := r
	next.Rotations++
	if _, err := s.Replace(t.Context(), next, v); err == nil {
		t.Error("a write succeeded that cannot have")
	}
	if got, now, err := s.Load(t.Context(), r.Robot); err != nil || now != v || got.Rotations != r.Rotations {
		t.Errorf("%+v at %q, %v", got, now, err)
	}
	if err := os.Remove(path + ".new"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Replace(t.Context(), next, v); err != nil {
		t.Errorf("after the disk is well again: %v", err)
	}
}

func TestARecordHasNoPlaceForAToken(t *testing.T) {
	var walk func(typ reflect.Type, path string)
	walk = func(typ reflect.Type, path string) {
		if typ == reflect.TypeFor[secret.String]() {
			t.Errorf("%s is a secret", path)
		}
		if typ.Kind() != reflect.Struct {
			return
		}
		for field := range typ.Fields() {
			walk(field.Type, path+"."+field.Name)
		}
	}
	walk(reflect.TypeFor[ledger.Record](), "Record")
}

func TestARecordOfANewerVersionIsRefused(t *testing.T) {
	data, err := ledger.Encode(ledgertest.Record(theRobot(t)))
	if err != nil {
		t.Fatal(err)
	}
	newer := strings.Replace(string(data), `{"robot"`, `{"fence":1,"robot"`, 1)
	if r, err := ledger.Decode([]byte(newer)); err == nil {
		t.Errorf("%+v", r)
	}
}
