package main

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"regexp"
	"sync"
	"syscall"
	"time"
)

// process is a program at work, with all that it printed.
type process struct {
	name string
	cmd  *exec.Cmd
	done chan struct{}

	mu      sync.Mutex
	output  bytes.Buffer
	changed chan struct{} // closed and replaced at each write
}

func (d *demo) launch(ctx context.Context, program string, args ...string) (*process, error) {
	p := &process{name: program, done: make(chan struct{}), changed: make(chan struct{})}
	p.cmd = exec.CommandContext(ctx, filepath.Join(d.bin, program), args...) //nolint:gosec // our own programs
	p.cmd.Cancel = func() error { return p.cmd.Process.Signal(syscall.SIGTERM) }
	p.cmd.WaitDelay = 5 * time.Second
	p.cmd.Stdout, p.cmd.Stderr = p, p
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting %s (run make build first): %w", program, err)
	}
	go func() {
		_ = p.cmd.Wait() // how it ended shows in its output
		close(p.done)
	}()
	d.processes = append(d.processes, p)
	return p, nil
}

// Write keeps what the program prints.
func (p *process) Write(data []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	close(p.changed)
	p.changed = make(chan struct{})
	return p.output.Write(data)
}

// waitFor waits until the program has printed what matches, and returns the match with its groups.
func (p *process) waitFor(ctx context.Context, re *regexp.Regexp) ([]string, error) {
	for {
		p.mu.Lock()
		match, changed := re.FindStringSubmatch(p.output.String()), p.changed
		p.mu.Unlock()
		if match != nil {
			return match, nil
		}
		select {
		case <-changed:
		case <-p.done:
			return nil, fmt.Errorf("%s ended before it was ready", p.name)
		case <-ctx.Done():
			return nil, fmt.Errorf("waiting for %s: %w", p.name, ctx.Err())
		}
	}
}

// stop ends all programs, the last started first.
func (d *demo) stop() {
	for i := len(d.processes) - 1; i >= 0; i-- {
		p := d.processes[i]
		_ = p.cmd.Process.Signal(syscall.SIGTERM) // it may have ended by itself
		select {
		case <-p.done:
		case <-time.After(10 * time.Second):
			_ = p.cmd.Process.Kill()
		}
	}
}

// dumpLogs prints what the programs said; they never print a secret.
func (d *demo) dumpLogs() {
	for _, p := range d.processes {
		p.mu.Lock()
		fmt.Fprintf(d.out, "\n--- %s ---\n%s", p.name, p.output.String())
		p.mu.Unlock()
	}
}
