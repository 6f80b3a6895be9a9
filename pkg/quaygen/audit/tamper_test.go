package audit_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/quaygen/quaygen/pkg/quaygen/audit"
)

// trail returns the lines of a trail of three processes, one of which was cut off in the middle of a line.
func trail(t testing.TB) []string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "audit.jsonl")
	process(t, file, 4)
	process(t, file, 3)
	text := read(t, file)
	if err := os.WriteFile(file, []byte(text[:len(text)-40]), 0o600); err != nil {
		t.Fatal(err)
	}
	process(t, file, 3)
	return slices.Collect(strings.Lines(read(t, file)))
}

// found returns at which lines something is found.
func found(t testing.TB, lines []string, o audit.VerifyOptions) (at []int) {
	t.Helper()
	for _, f := range verify(t, o, strings.Join(lines, "")).Breaks {
		at = append(at, f.Line)
	}
	return at
}

func TestEachWayToTamperWithALineIsFoundWhereItWasDone(t *testing.T) {
	lines := trail(t)
	last := len(lines) - 1
	head := verify(t, audit.VerifyOptions{}, strings.Join(lines, "")).Head
	ways := map[string]func(i int) (tampered []string, at int){
		"removed": func(i int) ([]string, int) { return slices.Delete(slices.Clone(lines), i, i+1), i + 1 },
		"changed": func(i int) ([]string, int) {
			tampered := slices.Clone(lines)
			tampered[i] = strings.Replace(tampered[i], `"time":"2`, `"time":"3`, 1)
			return tampered, i + 1
		},
		"made no record": func(i int) ([]string, int) {
			tampered := slices.Clone(lines)
			tampered[i] = "#" + tampered[i]
			return tampered, i + 1
		},
		"moved up": func(i int) ([]string, int) {
			tampered := slices.Clone(lines)
			if i > 0 {
				tampered[i-1], tampered[i] = tampered[i], tampered[i-1]
			} else {
				tampered[0], tampered[1] = tampered[1], tampered[0]
			}
			return tampered, max(1, i)
		},
		"repeated": func(i int) ([]string, int) { return slices.Insert(slices.Clone(lines), i, lines[i]), i + 2 },
		"inserted": func(i int) ([]string, int) {
			return slices.Insert(slices.Clone(lines), i+1, strings.Replace(lines[i], "because", "why not", 1)), i + 2
		},
	}
	for what, way := range ways {
		for i := range lines {
			tampered, at := way(i)
			if slices.Equal(tampered, lines) {
				continue
			}
			breaks := found(t, tampered, audit.VerifyOptions{Head: head})
			if len(breaks) == 0 {
				t.Errorf("line %d %s: nothing is found", i+1, what)
				continue
			}
			// What happens to the last line shows in the head alone, which is about no line.
			if near := breaks[0] >= at-1 && breaks[0] <= at+1 || i == last && breaks[0] == 0; !near {
				t.Errorf("line %d %s: found at %v", i+1, what, breaks)
			}
		}
	}
}

// Whoever does not work out all hashes behind a change anew cannot hide it; whoever does cannot keep the head.
func TestNoNumberOfChangesBeforeAKeptHeadIsMissed(t *testing.T) {
	lines := trail(t)
	head := verify(t, audit.VerifyOptions{}, strings.Join(lines, "")).Head
	random := rand.New(rand.NewPCG(1, 2))
	for range 5000 {
		tampered := slices.Clone(lines)
		for range 1 + random.IntN(4) {
			i := random.IntN(len(tampered))
			switch random.IntN(4) {
			case 0:
				if len(tampered) > 1 {
					tampered = slices.Delete(tampered, i, i+1)
				}
			case 1:
				tampered = slices.Insert(tampered, i, lines[random.IntN(len(lines))])
			case 2:
				j := random.IntN(len(tampered))
				tampered[i], tampered[j] = tampered[j], tampered[i]
			case 3:
				b := []byte(tampered[i])
				b[random.IntN(len(b))] = byte(random.IntN(256))
				tampered[i] = string(b)
			}
		}
		if text := strings.Join(tampered, ""); text != strings.Join(lines, "") && len(found(t, tampered, audit.VerifyOptions{Head: head})) == 0 {
			t.Fatalf("nothing is found in\n%s", text)
		}
	}
}

func TestAChainThatBeginsAnewIsFoundUnlessItIsExpected(t *testing.T) {
	var all []string
	for range 3 {
		p := &pipe{takes: -1}
		l := open(t, audit.Config{Stream: p})
		l.Record(&audit.Start{}, &audit.Stop{})
		closed(t, l)
		all = append(all, p.String())
	}
	if r := verify(t, audit.VerifyOptions{}, all...); len(r.Breaks) != 2 {
		t.Errorf("three processes on standard output: %v", r.Breaks)
	}
	if r := verify(t, audit.VerifyOptions{Restarts: true}, all...); len(r.Breaks) != 0 || r.Processes != 3 {
		t.Errorf("expected: %v", r.Breaks)
	}
}

func TestTheBeginningCannotBeCutOff(t *testing.T) {
	lines := trail(t)
	for i := 1; i < len(lines); i++ {
		if len(found(t, lines[i:], audit.VerifyOptions{})) == 0 {
			t.Errorf("that %d lines are missing is not found", i)
		}
	}
	whole := verify(t, audit.VerifyOptions{}, strings.Join(lines[:3], "")).Head
	if r := verify(t, audit.VerifyOptions{After: whole}, strings.Join(lines[3:], "")); len(r.Breaks) > 0 {
		t.Errorf("behind what is known: %v", r.Breaks)
	}
	if r := verify(t, audit.VerifyOptions{After: whole}, strings.Join(lines[4:], "")); len(r.Breaks) == 0 {
		t.Error("that a line behind what is known is missing is not found")
	}
}

// The hash is over the bytes of the line, not over what they mean.
func TestALineWrittenDifferentlyIsAnotherLine(t *testing.T) {
	lines := trail(t)
	for _, change := range [][2]string{{`","type"`, `", "type"`}, {"stop", `\u0073top`}, {"\n", "\r\n"}, {`"v":1`, `"v":1,"v":1`}} {
		tampered := slices.Clone(lines)
		tampered[2] = strings.Replace(tampered[2], change[0], change[1], 1)
		if tampered[2] == lines[2] || len(found(t, tampered, audit.VerifyOptions{})) == 0 {
			t.Errorf("%q for %q: nothing is found", change[1], change[0])
		}
	}
}

func FuzzVerifyReadsEverything(f *testing.F) {
	lines := trail(f)
	f.Add(strings.Join(lines, ""), "")
	f.Add(lines[0], lines[1])
	f.Add("\n\n{}\n", `{"v":1}`)
	f.Fuzz(func(t *testing.T, a, b string) {
		r := verify(t, audit.VerifyOptions{}, a, b)
		if len(r.Breaks) == 0 && r.Records > 0 && !strings.Contains(a+b, `"prev"`) {
			t.Error("a chain without a link")
		}
		_ = fmt.Sprint(r.Breaks, r.Notes)
	})
}
