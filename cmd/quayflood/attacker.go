package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quaygen/quaygen/cmd/internal/await"
)

// attacker is one kind of attack at work, in a process of its own: what it costs is measured apart, and it can be ended.
type attacker struct {
	victim
	workers int

	tried atomic.Int64 // connections, or requests where they are more
	held  atomic.Int64 // connections that are open now
	most  atomic.Int64 // that were open at a time

	mu       sync.Mutex
	outcomes map[string]int64
}

// progress is what an attacker reports each quarter of a second, a line each.
type progress struct {
	Ready    bool // it is at full strength, or as near as it gets
	Tried    int64
	Held     int64
	Most     int64
	CPU      float64 // seconds so far
	Outcomes map[string]int64
}

// outcome counts what came of a try.
func (a *attacker) outcome(what string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.outcomes[what]++
}

func (a *attacker) progress(ready bool) progress {
	a.mu.Lock()
	defer a.mu.Unlock()
	return progress{ready, a.tried.Load(), a.held.Load(), a.most.Load(), ownCPU().Seconds(), maps.Clone(a.outcomes)}
}

// warming is how long an attack may take to get to its full strength.
const warming = 20 * time.Second

// attacking runs an attack until ctx ends, or the other end of out does.
func attacking(ctx context.Context, name string, workers int, target string, out io.Writer) error {
	runtime.GOMAXPROCS(1) // an attacker elsewhere would not take all processors from the service
	run, known := attacks()[name]
	if !known {
		return fmt.Errorf("there is no attack %q", name)
	}
	limit, err := moreFiles()
	if err != nil {
		return err
	}
	a := &attacker{workers: min(workers, limit-100), outcomes: map[string]int64{}}
	if err := json.Unmarshal([]byte(target), &a.victim); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		defer cancel()
		encoder, start, last := json.NewEncoder(out), time.Now(), int64(-1)
		for {
			held := a.held.Load()
			ready := time.Since(start) > warming || held >= int64(a.workers) || time.Since(start) > 2*time.Second && held <= last
			last = max(last, held)
			if encoder.Encode(a.progress(ready)) != nil || await.Time(ctx, 250*time.Millisecond) != nil {
				return
			}
		}
	}()
	var all sync.WaitGroup
	for i := range a.workers {
		all.Go(func() { run(ctx, a, i) })
	}
	all.Wait()
	return nil
}

// again repeats something until ctx ends, with a pause between.
func again(ctx context.Context, wait time.Duration, do func()) {
	for ctx.Err() == nil {
		do()
		if wait > 0 {
			_ = await.Time(ctx, wait)
		}
	}
}

// opening bounds how many connections are being made at a time.
var opening = make(chan struct{}, 64)

// dial opens a connection that ends with ctx; from may be nil. Call closed for each that is no error.
func (a *attacker) dial(ctx context.Context, from net.IP, to string) (c net.Conn, closed func(), err error) {
	dialer := net.Dialer{Timeout: patience}
	if from != nil {
		dialer.LocalAddr = &net.TCPAddr{IP: from}
	}
	if c, err = dialer.DialContext(ctx, "tcp", to); err != nil {
		a.outcome("not connected")
		return nil, nil, err
	}
	stop := context.AfterFunc(ctx, func() { c.Close() })
	held := a.held.Add(1)
	for most := a.most.Load(); held > most && !a.most.CompareAndSwap(most, held); most = a.most.Load() {
	}
	return c, func() {
		stop()
		c.Close()
		a.held.Add(-1)
	}, nil
}

// secured does what dial does, and makes the handshake of TLS.
func (a *attacker) secured(ctx context.Context, from net.IP, to, protocol string) (*tls.Conn, func(), error) {
	plain, closed, err := a.dial(ctx, from, to)
	if err != nil {
		return nil, nil, err
	}
	// An attacker saves the time to look at the certificate, and shows the curve that is cheapest.
	c := tls.Client(plain, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{protocol}, CurvePreferences: []tls.CurveID{tls.X25519}}) //nolint:gosec // see above
	shaking, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if err := c.HandshakeContext(shaking); err != nil {
		closed()
		a.outcome("no handshake")
		return nil, nil, err
	}
	return c, closed, nil
}

// ended names how a connection ended.
func ended(err error) string {
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() {
		return "no answer"
	}
	return "closed"
}
