package main

import (
	"bytes"
	"io"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// The whole program, with few connections and a moment for each attack. It fails by itself where a valid call fails, memory
// grows beyond what connections may cost, or connections are left.
func TestNoValidCallFailsUnderAnyAttackAndNothingIsLeftOfIt(t *testing.T) {
	if testing.Short() {
		t.Skip("with -short: it runs real processes for half a minute; make test runs it")
	}
	bin := t.TempDir()
	build := exec.CommandContext(t.Context(), "go", "build", "-o", bin, "../generator", "../quaydev", ".")
	if text, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	var out bytes.Buffer
	if err := run(t.Context(), []string{"--bin", bin, "--short"}, &out); err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	for _, p := range plans() {
		if !strings.Contains(out.String(), "\n| "+p.title+" | ") {
			t.Errorf("no row for %q:\n%s", p.title, out.String())
		}
	}
}

func TestArgumentsThatCannotBe(t *testing.T) {
	for _, args := range [][]string{{"argument"}, {"--attacks", "nosuch"}, {"--unknown"}, {"--attack", "nosuch"}, {"--attack", "idle-tcp", "--target", "{"}} {
		if err := run(t.Context(), args, &bytes.Buffer{}); err == nil {
			t.Errorf("%q passed", args)
		}
	}
}

func TestEveryAttackIsOneThatAnAttackerKnows(t *testing.T) {
	known := attacks()
	for _, p := range plans() {
		if known[p.name] == nil {
			t.Errorf("nobody knows how to do %s", p.name)
		}
		delete(known, p.name)
	}
	for name := range known {
		t.Errorf("%s is never done", name)
	}
}

// A test that cannot fail shows nothing.
func TestWhatMustNotBeIsNoticed(t *testing.T) {
	good := measurement{
		calls:  []*calls{{took: []time.Duration{time.Second}}},
		before: state{memory: 30 << 20}, worst: state{memory: 78 << 20, connections: 48, goroutines: 256},
	}
	if v := good.violations(); len(v) > 0 {
		t.Errorf("nothing is wrong: %v", v)
	}
	failed, fat := good, good
	failed.calls = []*calls{{failed: []error{io.EOF}}}
	fat.worst.memory = 79 << 20
	for _, m := range []measurement{failed, fat} {
		if v := m.violations(); len(v) != 1 {
			t.Errorf("%v", v)
		}
	}
}
