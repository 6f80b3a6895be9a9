package main

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

func TestServeKeepsAnAuditTrailThatVerifies(t *testing.T) {
	p, _ := newProcessWithCertificates(t)
	p.edit("robots:\n", "audit: {file: ./audit.jsonl}\nrobots:\n")
	p.start()
	p.until("there is a pull secret", func() bool { status, _ := p.ask(p.token()); return status == http.StatusOK })
	p.ask("not the token of anybody")
	p.edit("instance: test", "instnce: test")
	p.logged(`(the new configuration is not used)`)
	p.edit("instnce: test", "instance: test")
	if _, body := p.admin("/readyz?verbose"); !strings.Contains(body, "[+]audit ok\n") {
		t.Error(body)
	}
	file := filepath.Join(p.dir, "audit.jsonl")
	if code := p.end(); code != exitOK {
		t.Errorf("exit code %d", code)
	}
	code, stdout, stderr := try(t, "audit-log", "verify", file)
	if code != exitOK || !strings.Contains(stdout, "; processes: 1\nfirst 20") || strings.Contains(stdout, "lost") {
		t.Errorf("%d, %s%s", code, stdout, stderr)
	}
	types := map[string]int{}
	for line := range strings.Lines(p.read("audit.jsonl")) {
		var r struct{ Type, Result string }
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Fatal(err)
		}
		types[strings.TrimSpace(r.Type+" "+r.Result)]++
	}
	for _, want := range []string{"open", "start", "configuration OK", "configuration INVALID_CONFIGURATION", "request OK", "authentication", "step", "event", "stop"} {
		if types[want] == 0 {
			t.Errorf("no %s among %v", want, types)
		}
	}
}

func TestServeDoesNotStartWithoutItsAuditTrail(t *testing.T) {
	p := newProcess(t)
	p.edit("robots:\n", "audit: {file: ./no/such/directory/audit.jsonl}\nrobots:\n")
	p.start()
	if code := <-p.exit; code != exitFailed || !strings.Contains(p.log.String(), "opening the audit trail") {
		t.Errorf("%d, %s", code, p.log.String())
	}
	p.exit <- exitFailed
}

// With block, a trail that cannot be written takes the replica out of service; without, it is a note.
func TestATrailThatCannotBeWrittenShowsInTheProbe(t *testing.T) {
	for _, block := range []string{"true", "false"} {
		p := newProcess(t)
		p.write("audit/keep", "")
		p.edit("robots:\n", "audit: {file: ./audit/audit.jsonl, block: "+block+"}\nrobots:\n")
		p.start()
		p.until("there is a pull secret", func() bool { status, _ := p.ask(p.token()); return status == http.StatusOK })
		if err := os.Rename(filepath.Join(p.dir, "audit"), filepath.Join(p.dir, "away")); err != nil {
			t.Fatal(err)
		}
		sign, refusal := "[-]audit failed: ", http.StatusServiceUnavailable
		if block == "false" {
			sign, refusal = "[+]audit ok: ", http.StatusOK
		}
		p.until("it shows with block: "+block, func() bool {
			p.ask(p.token())
			_, body := p.admin("/readyz?verbose")
			return strings.Contains(body, sign+"writing the audit trail: ")
		})
		if status, _ := p.ask(p.token()); status != refusal {
			t.Errorf("block: %s: %d", block, status)
		}
		if err := os.Rename(filepath.Join(p.dir, "away"), filepath.Join(p.dir, "audit")); err != nil {
			t.Fatal(err)
		}
		p.until("it is written again", func() bool {
			_, body := p.admin("/readyz?verbose")
			return strings.Contains(body, "[+]audit ok\n")
		})
		p.end()
		if code, stdout, _ := try(t, "audit-log", "verify", filepath.Join(p.dir, "audit", "audit.jsonl")); code != exitOK {
			t.Errorf("block: %s: %s", block, stdout)
		}
	}
}

func TestOnStandardOutputTheTrailIsAlone(t *testing.T) {
	path, _ := configure(t, "robots:\n", "audit: {stdout: true}\nrobots:\n")
	ctx, cancel := context.WithCancel(t.Context())
	cancel() // it starts, and is told to end at once
	var out, errs bytes.Buffer
	if code := run(ctx, []string{"serve", "--config", path}, &out, &errs); code != exitOK {
		t.Fatalf("%d, %s", code, errs.String())
	}
	for line := range strings.Lines(out.String()) {
		if !json.Valid([]byte(line)) {
			t.Errorf("not of the trail: %s", line)
		}
	}
	file := filepath.Join(t.TempDir(), "twice")
	if err := os.WriteFile(file, append(out.Bytes(), out.Bytes()...), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, _, _ := try(t, "audit-log", "verify", file); code != exitFailed {
		t.Errorf("two chains: %d", code)
	}
	if code, stdout, _ := try(t, "audit-log", "verify", "--restarts", file); code != exitOK {
		t.Errorf("two chains, as expected: %d, %s", code, stdout)
	}
}

func TestVerifyingTellsWhatIsBrokenFromWhatCannotBeRead(t *testing.T) {
	p := newProcess(t)
	p.edit("robots:\n", "audit: {file: ./audit.jsonl}\nrobots:\n")
	p.start()
	p.ready()
	p.end()
	file := filepath.Join(p.dir, "audit.jsonl")
	_, whole, _ := try(t, "audit-log", "verify", file)
	head := regexp.MustCompile(`head +(\w{64})`).FindStringSubmatch(whole)[1]
	if code, _, _ := try(t, "audit-log", "verify", "--head", head, file); code != exitOK {
		t.Errorf("the head of before: %d", code)
	}
	lines := strings.SplitAfter(p.read("audit.jsonl"), "\n")
	p.write("audit.jsonl", strings.Join(lines[:2], "")+strings.Join(lines[3:], ""))
	if code, stdout, stderr := try(t, "audit-log", "verify", file); code != exitFailed || !strings.Contains(stdout, file+":3: what this process wrote before it is missing: seq 3 to 3") || !strings.Contains(stderr, "broken in 1 place") {
		t.Errorf("without line 3: %d, %s%s", code, stdout, stderr)
	}
	p.write("audit.jsonl", strings.Join(lines[:len(lines)-2], ""))
	if code, stdout, _ := try(t, "audit-log", "verify", file); code != exitOK {
		t.Errorf("nothing vouches for the last line: %d, %s", code, stdout)
	}
	if code, stdout, _ := try(t, "audit-log", "verify", "--head", head, file); code != exitFailed || !strings.Contains(stdout, "no record has the hash") {
		t.Errorf("but the kept head does: %d, %s", code, stdout)
	}
	for _, args := range [][]string{{"verify"}, {"verify", file + ".none"}, {"verify", p.dir}, {"verfy"}, {"verify", "--hed", head, file}} {
		if code, _, stderr := try(t, append([]string{"audit-log"}, args...)...); code != exitUsage {
			t.Errorf("%v: %d, %s", args, code, stderr)
		}
	}
}
