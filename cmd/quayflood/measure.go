package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/quaygen/quaygen/cmd/internal/await"
	"github.com/quaygen/quaygen/cmd/internal/child"
)

// state is what the service says of itself.
type state struct {
	memory      float64 // bytes, resident
	goroutines  float64
	files       float64
	connections float64
	closed      float64 // by the service, for want of room or of anybody who authenticates
	cpu         float64 // seconds so far
}

// look reads the service's metrics.
func (w *world) look(ctx context.Context) (state, error) {
	text, err := w.ask(ctx, "/metrics")
	if err != nil {
		return state{}, err
	}
	var s state
	fields := map[string]*float64{
		"process_resident_memory_bytes": &s.memory, "go_goroutines": &s.goroutines, "process_open_fds": &s.files,
		"quaygen_connections": &s.connections, "quaygen_connections_closed_total": &s.closed, "process_cpu_seconds_total": &s.cpu,
	}
	for line := range strings.Lines(text) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		name, _, _ = strings.Cut(name, "{")
		if field := fields[name]; field != nil && !strings.Contains(line, `listener="admin"`) {
			n, err := strconv.ParseFloat(value, 64)
			if err != nil {
				return state{}, fmt.Errorf("%s: %w", line, err)
			}
			*field += n // of both ways in, and of all reasons
		}
	}
	return s, nil
}

// worst takes the larger of each.
func (s state) worst(o state) state {
	return state{max(s.memory, o.memory), max(s.goroutines, o.goroutines), max(s.files, o.files), max(s.connections, o.connections), max(s.closed, o.closed), max(s.cpu, o.cpu)}
}

// measurement is what one attack did; without one it is what valid callers get alone.
type measurement struct {
	plan
	calls        []*calls
	worst, after state
	closed       float64 // connections that the service closed for want of room, or of anybody who authenticates
	attacker     progress
	tried        float64 // a second
	theirs, ours float64 // processors that were busy, the attacker's and the service's
	before       state
}

// measure runs an attack, and valid callers under it.
func (w *world) measure(ctx context.Context, p plan, size size) (*measurement, error) {
	m := &measurement{plan: p}
	var err error
	if m.before, err = w.look(ctx); err != nil {
		return nil, err
	}
	var attack *child.Process
	if p.name != "" {
		if attack, err = w.attack(ctx, p, size); err != nil {
			return nil, err
		}
		defer attack.Stop()
	}
	stopLooking := w.looking(ctx, &m.worst)
	defer stopLooking()
	if attack != nil {
		if err := await.True(ctx, 50*time.Millisecond, func() bool { return latest(attack).Ready }); err != nil {
			return nil, err
		}
	}
	if err := w.under(ctx, m, attack, size); err != nil {
		return nil, err
	}
	stopLooking()
	if attack != nil {
		attack.Stop()
	}
	m.after, err = w.settled(ctx, size)
	m.closed = m.after.closed - m.before.closed
	return m, err
}

// attack starts an attacker.
func (w *world) attack(ctx context.Context, p plan, size size) (*child.Process, error) {
	greedy, err := os.ReadFile(w.path("greedy"))
	if err != nil {
		return nil, err
	}
	target, err := json.Marshal(victim{w.http, w.grpc, string(greedy)})
	if err != nil {
		return nil, err
	}
	own, err := os.Executable()
	if err != nil {
		return nil, err
	}
	if size.program != "" {
		own = filepath.Join(w.bin, size.program)
	}
	dir, file := filepath.Split(own)
	return child.Program{Dir: dir, Name: file}.Start(ctx, "--attack", p.name, "--workers", fmt.Sprint(size.workers(p)), "--target", string(target))
}

// latest returns what an attacker said last.
func latest(attack *child.Process) (p progress) {
	lines := strings.Split(attack.Printed(), "\n")
	for i := len(lines) - 2; i >= 0; i-- { // what follows the last end of a line is not complete
		if json.Unmarshal([]byte(lines[i]), &p) == nil {
			return p
		}
	}
	return progress{}
}

// under lets the callers call, and finds out what the attacker does meanwhile.
func (w *world) under(ctx context.Context, m *measurement, attack *child.Process, size size) error {
	callers, err := w.callers()
	if err != nil {
		return err
	}
	start, before := time.Now(), progress{}
	if attack != nil {
		before = latest(attack)
	}
	began, err := w.look(ctx)
	if err != nil {
		return err
	}
	m.calls = calling(ctx, callers, size.rate, size.window)
	for _, c := range callers {
		c.close()
	}
	if attack != nil {
		m.attacker = latest(attack)
	}
	seconds := time.Since(start).Seconds()
	ended, err := w.look(ctx)
	if err != nil {
		return err
	}
	m.tried = float64(m.attacker.Tried-before.Tried) / seconds
	m.theirs, m.ours = (m.attacker.CPU-before.CPU)/seconds, (ended.cpu-began.cpu)/seconds
	return ctx.Err()
}

// looking keeps the worst that the service says of itself, until it is stopped.
func (w *world) looking(ctx context.Context, worst *state) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var done sync.WaitGroup
	done.Go(func() {
		for ctx.Err() == nil {
			if s, err := w.look(ctx); err == nil {
				*worst = worst.worst(s)
			}
			_ = await.Time(ctx, 500*time.Millisecond)
		}
	})
	return func() { cancel(); done.Wait() }
}

// settled returns the state some time after an attack, and an error if connections are left of it.
func (w *world) settled(ctx context.Context, size size) (s state, err error) {
	if err := await.Time(ctx, size.rest); err != nil {
		return s, err
	}
	waiting, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	if failed := await.True(waiting, 50*time.Millisecond, func() bool {
		s, err = w.look(ctx)
		return err == nil && s.connections == 0
	}); failed != nil {
		return s, errors.Join(fmt.Errorf("%v connections are left", s.connections), err)
	}
	return s, nil
}

// Each connection may cost so much, each goroutine, which is a request under way or part of a connection, so much in addition, and
// what the collector has not come to as much in all.
const (
	memoryPerConnection = 256 << 10
	memoryPerGoroutine  = 16 << 10
	memoryOfGarbage     = 32 << 20
)

// violations are what must not be, on whichever machine.
func (m *measurement) violations() (all []string) {
	for i, c := range m.calls {
		if len(c.failed) > 0 {
			all = append(all, fmt.Sprintf("%d calls of caller %d failed, the first with: %v", len(c.failed), i+1, c.failed[0]))
		}
	}
	if most := m.before.memory + m.worst.connections*memoryPerConnection + m.worst.goroutines*memoryPerGoroutine + memoryOfGarbage; m.worst.memory > most {
		all = append(all, fmt.Sprintf("the service had %.0f MiB, and should have had %.0f at most, with %.0f connections", m.worst.memory/(1<<20), most/(1<<20), m.worst.connections))
	}
	return all
}
