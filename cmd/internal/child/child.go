// Package child runs programs of this module as child processes, for the programs that show and try the service.
package child

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

// Process is a program at work, with all that it printed. The programs of this module never print a secret.
type Process struct {
	Name string
	cmd  *exec.Cmd
	done chan struct{}

	mu      sync.Mutex // guards what follows
	output  bytes.Buffer
	changed chan struct{} // closed and replaced at each write
}

// Program says what is run.
type Program struct {
	Dir, Name string   // the directory that it was built into, and its file there
	Env       []string // variables of the environment beside this process' own
}

// Start starts a program. It gets SIGTERM when ctx ends.
func (program Program) Start(ctx context.Context, args ...string) (*Process, error) {
	p := &Process{Name: program.Name, done: make(chan struct{}), changed: make(chan struct{})}
	p.cmd = exec.CommandContext(ctx, filepath.Join(program.Dir, program.Name), args...) //nolint:gosec // our own programs
	p.cmd.Cancel = func() error { return p.cmd.Process.Signal(syscall.SIGTERM) }
	p.cmd.WaitDelay = 5 * time.Second
	p.cmd.Stdout, p.cmd.Stderr = p, p
	p.cmd.Env = append(os.Environ(), program.Env...) //nolint:forbidigo // for the child, which is a program of its own
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting %s (run make build first): %w", program.Name, err)
	}
	go func() {
		_ = p.cmd.Wait() // how it ended shows in its output, and in ExitCode
		close(p.done)
	}()
	return p, nil
}

// Write keeps what the program prints.
func (p *Process) Write(data []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	close(p.changed)
	p.changed = make(chan struct{})
	return p.output.Write(data)
}

// Printed is all that the program has printed so far.
func (p *Process) Printed() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.output.String()
}

// WaitFor waits until the program has printed what matches, and returns the match with its groups.
func (p *Process) WaitFor(ctx context.Context, re *regexp.Regexp) ([]string, error) {
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
			return nil, fmt.Errorf("%s ended before it was ready:\n%s", p.Name, p.Printed())
		case <-ctx.Done():
			return nil, fmt.Errorf("waiting for %s: %w", p.Name, ctx.Err())
		}
	}
}

// ExitCode waits until the program has ended by itself.
func (p *Process) ExitCode() int {
	<-p.done
	return p.cmd.ProcessState.ExitCode()
}

// Kill ends the program where it stands, and waits until it is gone.
func (p *Process) Kill() {
	_ = p.cmd.Process.Kill() // it may have ended by itself
	<-p.done
}

// Stop ends the program in order, and waits until it is gone.
func (p *Process) Stop() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // it may have ended by itself
	select {
	case <-p.done:
	case <-time.After(20 * time.Second):
		p.Kill()
	}
}
