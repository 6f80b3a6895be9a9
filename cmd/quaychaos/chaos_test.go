package main

import (
	"bytes"
	"os/exec"
	"regexp"
	"strconv"
	"testing"
)

// The whole program, with a fixed seed and half a minute of trouble. The script beside it is the control: pulls do fail
// where credentials are replaced without care, and the pullers notice.
func TestNoPullFailsUnderFaultsAndKillsAndPullsDoFailUnderAScript(t *testing.T) {
	if testing.Short() {
		t.Skip("with -short: it runs real processes for a minute; make test runs it")
	}
	bin := t.TempDir()
	build := exec.CommandContext(t.Context(), "go", "build", "-o", bin, "../generator", "../quaydev")
	if text, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	var out bytes.Buffer
	if err := run(t.Context(), []string{"--bin", bin, "--short", "--seed", "1"}, &out); err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	row := regexp.MustCompile(`\| \*\*pulls that failed because of a rotation\*\* \| \*\*0\*\* \| \*\*([0-9,]+)\*\* \|`).FindSubmatch(out.Bytes())
	if row == nil {
		t.Fatalf("no such row in the table:\n%s", out.String())
	}
	if n, err := strconv.Atoi(string(row[1])); err != nil || n == 0 {
		t.Errorf("under the script %s pulls failed:\n%s", row[1], out.String())
	}
}

func TestArgumentsThatCannotBe(t *testing.T) {
	for _, args := range [][]string{{"argument"}, {"--modes", "nosuch"}, {"--unknown"}} {
		if err := run(t.Context(), args, &bytes.Buffer{}); err == nil {
			t.Errorf("%q passed", args)
		}
	}
}
