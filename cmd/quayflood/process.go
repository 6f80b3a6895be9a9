package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
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

	mu      sync.Mutex // guards what follows
	output  bytes.Buffer
	changed chan struct{} // closed and replaced at each write
}

func launch(ctx context.Context, bin, program string, args ...string) (*process, error) {
	p := &process{name: program, done: make(chan struct{}), changed: make(chan struct{})}
	p.cmd = exec.CommandContext(ctx, filepath.Join(bin, program), args...) //nolint:gosec // our own programs
	p.cmd.Cancel = func() error { return p.cmd.Process.Signal(syscall.SIGTERM) }
	p.cmd.WaitDelay = 5 * time.Second
	p.cmd.Stdout, p.cmd.Stderr = p, p
	p.cmd.Env = append(os.Environ(), "GOMEMLIMIT=220MiB") //nolint:forbidigo // programs read the environment; as in manifests/base
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting %s (run make build first): %w", program, err)
	}
	go func() {
		_ = p.cmd.Wait() // how it ended shows in its output
		close(p.done)
	}()
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

func (p *process) printed() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.output.String()
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
			return nil, fmt.Errorf("%s ended before it was ready:\n%s", p.name, p.printed())
		case <-ctx.Done():
			return nil, fmt.Errorf("waiting for %s: %w", p.name, ctx.Err())
		}
	}
}

// stop ends the program in order, and waits until it is gone.
func (p *process) stop() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // it may have ended by itself
	select {
	case <-p.done:
	case <-time.After(20 * time.Second):
		_ = p.cmd.Process.Kill()
		<-p.done
	}
}
