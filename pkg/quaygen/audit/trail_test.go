package audit_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quaygen/quaygen/pkg/quaygen/audit"
)

func open(t testing.TB, c audit.Config) *audit.Log {
	t.Helper()
	l, err := audit.Open(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close(context.Background()) })
	return l
}

func closed(t testing.TB, l *audit.Log) {
	t.Helper()
	if err := l.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// process writes as many stops as it says, as a process of its own.
func process(t testing.TB, file string, records int) {
	t.Helper()
	l := open(t, audit.Config{File: file})
	for range records {
		l.Record(&audit.Stop{Reason: "because"})
	}
	closed(t, l)
}

func read(t testing.TB, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func verify(t testing.TB, o audit.VerifyOptions, texts ...string) *audit.Report {
	t.Helper()
	var sources []audit.Source
	for i, text := range texts {
		sources = append(sources, audit.Source{Name: string(rune('a' + i)), Reader: strings.NewReader(text)})
	}
	r, err := audit.Verify(o, sources...)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// whole checks that a trail is, and how many records it has.
func whole(t testing.TB, records int, texts ...string) *audit.Report {
	t.Helper()
	r := verify(t, audit.VerifyOptions{}, texts...)
	if len(r.Breaks) > 0 || r.Records != records {
		t.Errorf("%d records, want %d; %v\n%s", r.Records, records, r.Breaks, strings.Join(texts, "----\n"))
	}
	return r
}

type fields map[string]any

func lines(t testing.TB, text string) (all []fields) {
	t.Helper()
	for line := range strings.Lines(text) {
		var f fields
		if err := json.Unmarshal([]byte(line), &f); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		all = append(all, f)
	}
	return all
}

func TestOneChainRunsThroughAllProcessesOfAFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "audit.jsonl")
	for range 3 {
		process(t, file, 2)
	}
	text := read(t, file)
	r := whole(t, 9, text)
	if r.Processes != 3 || len(r.Head) != 64 || r.First.After(r.Last) || len(r.Notes) > 0 {
		t.Errorf("%+v", r)
	}
	var continues []any
	for _, f := range lines(t, text) {
		if f["type"] == "open" {
			continues = append(continues, f["continues"])
		}
	}
	if !slices.Equal(continues, []any{"nothing", "file", "file"}) {
		t.Errorf("processes continue %v", continues)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
}

func TestAFileBelongsToOneProcessAndIsAnAuditTrail(t *testing.T) {
	file := filepath.Join(t.TempDir(), "audit.jsonl")
	open(t, audit.Config{File: file})
	if _, err := audit.Open(audit.Config{File: file}); err == nil || !strings.Contains(err.Error(), "another process") {
		t.Errorf("a second process: %v", err)
	}
	other := filepath.Join(t.TempDir(), "passwd")
	for _, text := range []string{"root:x:0:0\n", `{"v":1}` + "\n", "\n", "{"} {
		if err := os.WriteFile(other, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		l, err := audit.Open(audit.Config{File: other})
		if ours := text == "{"; (err == nil) != ours { // so may a trail begin whose first write was cut off
			t.Errorf("%q: %v", text, err)
		}
		if l.Record(&audit.Stop{}); l.Close(t.Context()) == nil && !strings.HasPrefix(read(t, other), text) {
			t.Errorf("%q was overwritten", text)
		}
	}
	for _, path := range []string{t.TempDir(), filepath.Join(t.TempDir(), "no", "such", "file"), "/dev/null"} {
		if _, err := audit.Open(audit.Config{File: path}); err == nil {
			t.Errorf("%s was opened", path)
		}
	}
}

func TestWhereverACrashCutsAFileOffTheNextProcessKeepsAndMarksIt(t *testing.T) {
	file := filepath.Join(t.TempDir(), "audit.jsonl")
	process(t, file, 1)
	process(t, file, 1)
	text := read(t, file)
	for cut := range len(text) + 1 {
		left := text[:cut]
		if err := os.WriteFile(file, []byte(left), 0o600); err != nil {
			t.Fatal(err)
		}
		process(t, file, 1)
		after := read(t, file)
		if !strings.HasPrefix(after, left) {
			t.Fatalf("cut at %d: something of it is lost", cut)
		}
		records := strings.Count(left, "\n")
		torn := left[strings.LastIndexByte(left, '\n')+1:]
		if strings.HasSuffix(torn, "}") { // all but the newline
			records, torn = records+1, ""
		}
		r := whole(t, records+2, after)
		if marked := len(r.Notes) == 1; marked != (torn != "") {
			t.Fatalf("cut at %d: %v", cut, r.Notes)
		}
		// Once it is marked it belongs to the chain.
		if at := len(left) - 1; torn != "" {
			changed := after[:at] + "#" + after[at+1:]
			removed := after[:len(left)-len(torn)] + after[len(left)+1:]
			for what, text := range map[string]string{"changed": changed, "removed": removed} {
				if after[at] != '#' && len(verify(t, audit.VerifyOptions{}, text).Breaks) == 0 {
					t.Fatalf("cut at %d: that the rest was %s is not found", cut, what)
				}
			}
		}
	}
}

func TestTheChainRunsThroughFilesThatAreMovedAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "audit.jsonl")
		l := open(t, audit.Config{File: file})
		record := func() {
			l.Record(&audit.Stop{})
			time.Sleep(2 * time.Second)
		}
		record()
		record()
		if err := os.Rename(file, file+".1"); err != nil {
			t.Fatal(err)
		}
		record()
		first, second := read(t, file+".1"), read(t, file)
		whole(t, 5, first, second)
		alone := whole(t, 2, second)
		if len(alone.Notes) != 1 {
			t.Errorf("the second file alone: %v", alone.Notes)
		}
		head := verify(t, audit.VerifyOptions{}, first).Head
		if r := verify(t, audit.VerifyOptions{After: head}, second); len(r.Breaks)+len(r.Notes) > 0 {
			t.Errorf("after the first file's head: %v %v", r.Breaks, r.Notes)
		}
		if r := verify(t, audit.VerifyOptions{}, second, first); len(r.Breaks) == 0 {
			t.Error("the wrong order is not found")
		}
		if r := verify(t, audit.VerifyOptions{}, first, strings.SplitAfterN(second, "\n", 2)[1]); len(r.Breaks) == 0 {
			t.Error("that the second file's first line is missing is not found")
		}
		// Emptied in place, as some tools do it: what was written meanwhile is lost to them, not to the chain.
		if err := os.Truncate(file, 0); err != nil {
			t.Fatal(err)
		}
		record()
		whole(t, 7, first, second, read(t, file))
		// Moved away and made anew with something of ours in it.
		third := read(t, file)
		if err := os.WriteFile(file+".new", []byte(first), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(file+".new", file); err != nil {
			t.Fatal(err)
		}
		record()
		whole(t, 5, read(t, file))
		whole(t, 7, first, second, third)
	})
}

// A pipe is a stream whose far end takes only so many bytes at once, and then fails.
type pipe struct {
	mu    sync.Mutex
	text  bytes.Buffer
	takes int // -1: everything
}

var errFull = errors.New("no space left")

func (p *pipe) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.takes < 0 || len(b) <= p.takes {
		if p.takes >= 0 {
			p.takes -= len(b)
		}
		return p.text.Write(b)
	}
	n, _ := p.text.Write(b[:p.takes])
	p.takes = 0
	return n, errFull
}

func (p *pipe) mend() { p.set(-1) }

func (p *pipe) set(takes int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.takes = takes
}

func (p *pipe) String() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.text.String()
}

func TestNothingIsLostWhereverAWriteFails(t *testing.T) {
	var all pipe
	all.mend()
	l := open(t, audit.Config{Stream: &all})
	l.Record(&audit.Stop{}, &audit.Stop{Reason: "x"})
	closed(t, l)
	for takes := range len(all.String()) {
		synctest.Test(t, func(t *testing.T) {
			p := &pipe{takes: takes}
			l := open(t, audit.Config{Stream: p})
			l.Record(&audit.Stop{}, &audit.Stop{Reason: "x"})
			time.Sleep(time.Second / 2)
			if !errors.Is(l.Err(), errFull) {
				t.Fatalf("%d bytes: %v", takes, l.Err())
			}
			p.mend()
			time.Sleep(2 * time.Second)
			l.Record(&audit.Stop{Reason: "y"})
			closed(t, l)
			r := verify(t, audit.VerifyOptions{}, p.String())
			if len(r.Breaks) > 0 || r.Lost > 0 || strings.Count(p.String(), `"type":"stop"`) < 3 {
				t.Fatalf("%d bytes: %v\n%s", takes, r.Breaks, p.String())
			}
			if l.Err() != nil {
				t.Errorf("it works again, but says %v", l.Err())
			}
		})
	}
}

func TestWhatDoesNotFitIntoTheQueueIsCountedInTheNextRecord(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &pipe{}
		l := open(t, audit.Config{Stream: p, Buffer: 4})
		for range 10 {
			l.Record(&audit.Stop{})
		}
		time.Sleep(time.Minute)
		p.mend()
		time.Sleep(time.Minute)
		closed(t, l)
		all := lines(t, p.String())
		if r := verify(t, audit.VerifyOptions{}, p.String()); len(r.Breaks) > 0 || r.Lost != 6 || r.Records != 5 {
			t.Errorf("%+v\n%s", r, p.String())
		}
		if all[0]["lost"] != 6.0 || all[0]["seq"] != 7.0 || all[4]["lost"] != 0.0 {
			t.Errorf("the first record says %v", all[0])
		}
	})
}

func TestWhatAnybodyCanCauseGetsHalfOfTheQueue(t *testing.T) {
	for kind, crowd := range map[string]audit.Entry{"authentication": &audit.Authentication{}, "request": &audit.Request{Crowd: true}} {
		synctest.Test(t, func(t *testing.T) {
			p := &pipe{}
			p.mend()
			l := open(t, audit.Config{Stream: p, Buffer: 10})
			for range 100 {
				l.Record(crowd)
			}
			l.Record(&audit.Operation{})
			err := l.Close(t.Context())
			if n := strings.Count(p.String(), `"type":"`+kind+`"`); n != 5 || !strings.Contains(p.String(), `"type":"operation"`) || err != nil {
				t.Errorf("%s: %d; %v\n%s", kind, n, err, p.String())
			}
		})
	}
}

func TestNothingWaitsUnlessItIsToldTo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stuck := make(chan struct{})
		l := open(t, audit.Config{Stream: writerFunc(func(b []byte) (int, error) { <-stuck; return len(b), nil }), Buffer: 3})
		for range 100 {
			if err := l.Commit(t.Context(), &audit.Stop{}); err != nil {
				t.Error(err)
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := l.Close(ctx); err == nil {
			t.Error("what cannot be written was closed")
		}
		close(stuck)
	})
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }

func TestWithBlockACallerKnowsWhatIsWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &pipe{}
		p.mend()
		l := open(t, audit.Config{Stream: p, Block: true, Buffer: 4})
		var group sync.WaitGroup
		for range 100 {
			group.Go(func() {
				if err := l.Commit(t.Context(), &audit.Stop{}); err != nil {
					t.Error(err)
				}
			})
		}
		group.Wait()
		whole(t, 101, p.String())
		p.set(0)
		if err := l.Commit(t.Context(), &audit.Stop{Reason: "refused"}, &audit.Stop{}); !errors.Is(err, errFull) {
			t.Errorf("on a full disk: %v", err)
		}
		p.mend()
		time.Sleep(2 * time.Second)
		if err := l.Err(); err != nil { // nobody had to ask for it
			t.Errorf("with room again: %v", err)
		}
		if err := l.Commit(t.Context(), &audit.Stop{Reason: "after"}); err != nil {
			t.Error(err)
		}
		r := whole(t, 103, p.String())
		if r.Lost != 2 || strings.Contains(p.String(), "refused") {
			t.Errorf("%d lost\n%s", r.Lost, p.String())
		}
		closed(t, l)
		if err := l.Commit(t.Context(), &audit.Stop{}); !errors.Is(err, audit.ErrClosed) {
			t.Errorf("after the end: %v", err)
		}
	})
}

func TestACallerWaitsNoLongerThanItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stuck := make(chan struct{})
		l := open(t, audit.Config{Stream: writerFunc(func(b []byte) (int, error) { <-stuck; return len(b), nil }), Block: true, Buffer: 2})
		for range 6 { // some in the queue, some without room
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			if err := l.Commit(ctx, &audit.Stop{}); !errors.Is(err, context.DeadlineExceeded) {
				t.Error(err)
			}
			cancel()
		}
		close(stuck)
	})
}

func TestAPathThatLeadsNowhereForAWhileIsTakenUpAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "audit")
		file := filepath.Join(dir, "audit.jsonl")
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		l := open(t, audit.Config{File: file})
		l.Record(&audit.Stop{})
		time.Sleep(2 * time.Second)
		if err := os.Rename(dir, dir+".1"); err != nil {
			t.Fatal(err)
		}
		l.Record(&audit.Stop{Reason: "while it was away"})
		time.Sleep(2 * time.Second)
		if l.Err() == nil {
			t.Error("it is written to nowhere, and nobody says so")
		}
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Second)
		if l.Err() != nil {
			t.Error(l.Err())
		}
		whole(t, 4, read(t, filepath.Join(dir+".1", "audit.jsonl")), read(t, file))
	})
}

func TestNoLogTakesEverything(t *testing.T) {
	var l *audit.Log
	l.Record(&audit.Stop{})
	if err := errors.Join(l.Commit(t.Context(), &audit.Stop{}), l.Err(), l.Close(t.Context())); err != nil {
		t.Error(err)
	}
}

var _ io.Writer = (*pipe)(nil)
