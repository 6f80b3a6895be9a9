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
	"testing"
	"time"
)

// The test binary plays its own parent and child: with roleEnv set it is one of
// them. The child holds the named pipe of pipeEnv open until it dies.
const (
	roleEnv = "QUAYGEN_PROCESS_ROLE"
	pipeEnv = "QUAYGEN_PROCESS_PIPE"
)

func TestMain(m *testing.M) {
	switch os.Getenv(roleEnv) {
	case "":
		os.Exit(m.Run())
	case "parent":
		parent()
	case "child":
		child()
	case "conflict":
		fmt.Println("listen tcp 127.0.0.1:1: bind: address already in use")
		os.Exit(1)
	}
}

func parent() {
	pipe := os.Getenv(pipeEnv)
	if _, err := Start(self(pipe+".log", "child", pipe)); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	select {}
}

func child() {
	pipe, err := os.OpenFile(os.Getenv(pipeEnv), os.O_WRONLY, 0)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Fprint(pipe, "up")
	select {}
}

func self(log, role, pipe string) Command {
	return Command{Path: os.Args[0], Env: []string{roleEnv + "=" + role, pipeEnv + "=" + pipe}, Log: log}
}

// A test binary that is killed (a CI job's time limit, the kernel) runs no
// clean-up, and must leave no API server behind all the same.
func TestChildDiesWithKilledParent(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only Linux kills the children of a killed process")
	}
	path := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	c := self("", "parent", path)
	parent := exec.CommandContext(t.Context(), c.Path)
	parent.Env = c.Env
	if err := parent.Start(); err != nil {
		t.Fatal(err)
	}
	pipe, err := os.Open(path) // returns when the child has opened it
	if err != nil {
		t.Fatal(err)
	}
	defer pipe.Close()
	if _, err := io.ReadFull(pipe, make([]byte, len("up"))); err != nil {
		t.Fatalf("child did not come up: %v", err)
	}

	if err := parent.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := parent.Wait(); err == nil {
		t.Error("the parent ended by itself")
	}
	// The end of the pipe comes when its last holder is gone.
	if _, err := io.ReadAll(pipe); err != nil {
		t.Fatal(err)
	}
}

func TestReadyTellsConflictFromOtherExits(t *testing.T) {
	p, err := Start(self(filepath.Join(t.TempDir(), "log"), "conflict", ""))
	if err != nil {
		t.Fatal(err)
	}
	err = p.Ready(t.Context(), func(context.Context) error { return errors.New("not up") })
	if !errors.Is(err, ErrExited) || !errors.Is(err, ErrAddressInUse) {
		t.Errorf("Ready = %v, want ErrExited and ErrAddressInUse", err)
	}
}

func TestLogBelongsToOneProcess(t *testing.T) {
	log := filepath.Join(t.TempDir(), "log")
	if err := os.WriteFile(log, []byte("ready, says an earlier one\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	p, err := Start(self(log, "conflict", ""))
	if err != nil {
		t.Fatal(err)
	}
	<-p.Done()
	got, err := p.Log()
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(got, "earlier") || !strings.Contains(got, "in use") {
		t.Errorf("Log = %q, want this process's line alone", got)
	}
}

func TestStopKillsWhatDoesNotListen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	p, err := Start(self(path+".log", "child", path))
	if err != nil {
		t.Fatal(err)
	}
	// Without time to end, even a willing process is killed, and that is said.
	ctx, cancel := context.WithDeadline(t.Context(), time.Unix(0, 0))
	defer cancel()
	if err := p.Stop(ctx); err != nil && !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Stop = %v, want the context's error or none", err)
	}
	select {
	case <-p.Done():
	default:
		t.Error("Stop returned with the process alive")
	}
}

// A test that fails while a process is paused must not wait for it for ever.
func TestAPausedProcessGoesOnAndCanBeKilled(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	p, err := Start(self(path+".log", "child", path))
	if err != nil {
		t.Fatal(err)
	}
	defer p.Kill()
	if err := p.Pause(); err != nil {
		t.Fatal(err)
	}
	if err := p.Resume(); err != nil {
		t.Fatal(err)
	}
	pipe, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer pipe.Close()
	if _, err := io.ReadFull(pipe, make([]byte, len("up"))); err != nil {
		t.Fatalf("child did not go on: %v", err)
	}
	if err := p.Pause(); err != nil {
		t.Fatal(err)
	}
	p.Kill()
	if err := p.Resume(); err == nil {
		t.Error("a killed process could be resumed")
	}
}

func TestOnFreePortTriesAgainOnlyOnConflict(t *testing.T) {
	other := errors.New("other")
	for _, tt := range []struct {
		name  string
		errs  []error
		want  error
		tries int
	}{
		{"free", []error{nil}, nil, 1},
		{"conflict, then free", []error{ErrAddressInUse, nil}, nil, 2},
		{"another error", []error{other}, other, 1},
		{"conflicts only", []error{ErrAddressInUse, ErrAddressInUse, ErrAddressInUse, ErrAddressInUse, ErrAddressInUse}, ErrAddressInUse, 5},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tries := 0
			err := OnFreePort(t.Context(), func(_ context.Context, port int) error {
				tries++
				return tt.errs[tries-1]
			})
			if !errors.Is(err, tt.want) || tries != tt.tries {
				t.Errorf("OnFreePort = %v after %d tries, want %v after %d", err, tries, tt.want, tt.tries)
			}
		})
	}
}
