// Package process runs the programs of the cluster stories as child processes.
//
// A child never outlives the test: the owner kills it, and where the kernel
// offers it (Linux) the child also dies with a test binary that was itself
// killed. Everything it prints goes to one log file, whose end is part of every
// error about it.
package process

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// ErrExited is wrapped when a process ended before it was ready.
var ErrExited = errors.New("process exited")

// ErrAddressInUse is wrapped, besides ErrExited, when the process ended because
// somebody else had its address.
var ErrAddressInUse = errors.New("address already in use")

// pollInterval is how often Ready probes: short against the second or two a
// part takes to start, long against the cost of a probe.
const pollInterval = 50 * time.Millisecond

// tailSize is how much of a log goes into an error: about 40 lines.
const tailSize = 4 << 10

// Command says what to run.
type Command struct {
	// Path is the program. Its base name also names it in errors.
	Path string
	Args []string
	// Env is the whole environment besides PATH: a developer's KUBECONFIG or
	// proxy must not reach a part.
	Env []string
	// Log is the file that receives standard output and error, appended to.
	Log string
}

// Process is a started Command.
type Process struct {
	name  string
	log   string
	since int64 // where in the log this process begins
	os    *os.Process
	done  chan struct{}
	err   error // why it ended; set before done is closed
}

// Start starts c. The caller must end it with Stop or Kill.
func Start(c Command) (*Process, error) {
	name := filepath.Base(c.Path)
	log, err := os.OpenFile(c.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("opening the log of %s: %w", name, err)
	}
	since, err := log.Seek(0, io.SeekEnd)
	if err != nil {
		log.Close()
		return nil, fmt.Errorf("finding the end of the log of %s: %w", name, err)
	}
	// Not CommandContext: a process belongs to its owner, not to the context
	// that bounds its start.
	cmd := exec.Command(c.Path, c.Args...)
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH")}, c.Env...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = dieWithParent()

	p := &Process{name: name, log: c.Log, since: since, done: make(chan struct{})}
	started := make(chan error)
	go func() {
		// Linux ties "dies with its parent" to the thread that started the
		// child, so that thread has to live as long as the child.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer log.Close()
		if err := cmd.Start(); err != nil {
			started <- err
			return
		}
		p.os = cmd.Process
		started <- nil
		p.err = cmd.Wait()
		close(p.done)
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("starting %s: %w", name, err)
	}
	return p, nil
}

// Done is closed when the process has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Ready returns when probe first succeeds. It ends early with ErrExited when
// the process does, and names the last probe's error when ctx ends.
func (p *Process) Ready(ctx context.Context, probe func(context.Context) error) error {
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	last := errors.New("not probed")
	for {
		select {
		case <-p.done:
			return p.exited()
		case <-ctx.Done():
			return fmt.Errorf("waiting for %s: %w (last: %w)\n%s", p.name, ctx.Err(), last, p.Tail())
		case <-tick.C:
		}
		if last = probe(ctx); last == nil {
			return nil
		}
	}
}

func (p *Process) exited() error {
	tail := p.Tail()
	if strings.Contains(tail, ErrAddressInUse.Error()) {
		return fmt.Errorf("%s: %w: %w\n%s", p.name, ErrExited, ErrAddressInUse, tail)
	}
	return fmt.Errorf("%s: %w (%w)\n%s", p.name, ErrExited, p.err, tail)
}

// Stop asks the process to end and waits for it; when ctx ends first it is
// killed and Stop says so. A process that has ended already is no error.
func (p *Process) Stop(ctx context.Context) error {
	// The only error is that the process is gone, and then done says so.
	_ = p.os.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
		return nil
	case <-ctx.Done():
		p.Kill()
		return fmt.Errorf("stopping %s: %w; killed\n%s", p.name, ctx.Err(), p.Tail())
	}
}

// Kill ends the process at once, as a crash would, and waits for it.
func (p *Process) Kill() {
	_ = p.os.Kill()
	<-p.done
}

// PID is the process's number.
func (p *Process) PID() int { return p.os.Pid }

// Pause stops the process where it stands, as a machine does that is suspended
// or has no time for it: what arrives meanwhile waits. Resume and Kill end that.
func (p *Process) Pause() error { return p.signal(syscall.SIGSTOP) }

// Resume lets a paused process go on. It is not told that time has passed.
func (p *Process) Resume() error { return p.signal(syscall.SIGCONT) }

func (p *Process) signal(s syscall.Signal) error {
	if err := p.os.Signal(s); err != nil {
		return fmt.Errorf("sending %s %v: %w", p.name, s, err)
	}
	return nil
}

// Log returns everything that this process has printed so far, and nothing that
// an earlier one left in the same file.
func (p *Process) Log() (string, error) {
	b, err := os.ReadFile(p.log)
	if err != nil {
		return "", fmt.Errorf("reading the log of %s: %w", p.name, err)
	}
	return string(b[p.since:]), nil
}

// Tail returns the end of the log under a line that names it.
func (p *Process) Tail() string {
	log, err := p.Log()
	if err != nil {
		return err.Error()
	}
	if len(log) > tailSize {
		log = log[len(log)-tailSize:]
	}
	return fmt.Sprintf("--- end of %s\n%s", p.log, log)
}
