// Package audit writes the audit trail: who asked for which credential and got it or not, what operators ordered, and
// what the service did by itself; one JSON object a line, each with the SHA-256 of the line before it.
//
// [Open] a [Log], hand it entries with [Log.Record], or with [Log.Commit] where nothing may happen unrecorded, and
// [Log.Close] it. [Verify] reads what was written and says where it was tampered with. docs/audit.md describes every
// field, and what such a chain does not prove.
//
// A nil *Log takes everything and writes nothing.
package audit

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Config says where the trail goes. File or Stream is set.
type Config struct {
	File   string    // path of a file that no other process writes to; it is made if it does not exist
	Stream io.Writer // standard output, for example; it is not closed

	Block  bool // [Log.Commit] waits until what it is given is on the disk
	Buffer int  // how many records may wait to be written; 0: DefaultBuffer

	Log        *slog.Logger          // for what is wrong with the trail itself; nil: nothing is logged
	Registerer prometheus.Registerer // nil: nothing is measured
}

// DefaultBuffer is how many records may wait, unless the configuration says otherwise: some seconds of a busy server.
const DefaultBuffer = 4096

const (
	// gather is for how long records are collected before they are written together, where nobody waits for them. A crash
	// loses that much.
	gather = 10 * time.Millisecond

	// retryAfter is between two attempts to write where the last one failed.
	retryAfter = time.Second
)

var (
	// ErrClosed is returned for what comes after the end.
	ErrClosed = errors.New("the audit trail is closed")

	errStillWriting = errors.New("the audit trail is still being written")
)

// item is an entry on its way.
type item struct {
	at    time.Time
	entry Entry
	done  chan<- error // where somebody waits for it; has room for the answer
}

// Log is an audit trail that is being written. It is safe for concurrent use.
type Log struct {
	config  Config
	metrics *metrics
	out     *output               // belongs to run
	failure atomic.Pointer[error] // why the last write failed; nil: it did not

	mu     sync.Mutex
	queue  []item
	lost   uint64        // records that were dropped and that no record tells of yet
	room   chan struct{} // closed and replaced when the queue was emptied
	closed bool

	wake    chan struct{} // capacity 1: there is something to do
	closing chan struct{} // closed with closed
	ended   chan struct{} // closed when run returned
	last    error         // of run; read it after ended
}

// Open begins a trail, or goes on with the one that the file holds. It fails where it could not be gone on with: the file
// cannot be opened, another process writes to it, or it is something else.
func Open(config Config) (*Log, error) {
	if config.Buffer <= 0 {
		config.Buffer = DefaultBuffer
	}
	if config.Log == nil {
		config.Log = slog.New(slog.DiscardHandler)
	}
	l := &Log{
		config: config, out: &output{file: config.File, stream: config.Stream, durable: config.Block, process: rand.Text()},
		room: make(chan struct{}), wake: make(chan struct{}, 1), closing: make(chan struct{}), ended: make(chan struct{}),
	}
	if err := l.out.begin(); err != nil {
		return nil, fmt.Errorf("opening the audit trail: %w", err)
	}
	l.metrics = newMetrics(config.Registerer)
	go l.run()
	return l, nil
}

// Record takes entries, which are the log's from then on, and returns at once. What does not fit into the queue is dropped; the next record that is written says
// how many were.
func (l *Log) Record(entries ...Entry) {
	if l == nil {
		return
	}
	now := time.Now()
	for _, e := range entries {
		e.clip()
	}
	l.mu.Lock()
	for _, e := range entries {
		if !l.addLocked(item{at: now, entry: e}) {
			l.dropLocked(1)
		}
	}
	l.mu.Unlock()
	l.wakeUp()
}

// Commit does the same, but with Config.Block returns only when all entries are written, and on the disk where there is a file.
// Its error says why they are not, or not known to be: they may be written all the same.
func (l *Log) Commit(ctx context.Context, entries ...Entry) error {
	if !l.Blocks() {
		l.Record(entries...)
		return nil
	}
	now, done := time.Now(), make(chan error, len(entries))
	for _, e := range entries {
		e.clip()
		if err := l.add(ctx, item{at: now, entry: e, done: done}); err != nil {
			return err
		}
	}
	var failed error
	for range entries {
		select {
		case err := <-done:
			failed = errors.Join(failed, err)
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", errStillWriting, ctx.Err())
		}
	}
	return failed
}

// Blocks reports whether [Log.Commit] waits.
func (l *Log) Blocks() bool { return l != nil && l.config.Block }

// add waits for room.
func (l *Log) add(ctx context.Context, i item) error {
	for {
		l.mu.Lock()
		added, room, closed := l.addLocked(i), l.room, l.closed
		if closed || !added && ctx.Err() != nil {
			l.dropLocked(1)
		}
		l.mu.Unlock()
		l.wakeUp()
		switch {
		case closed:
			return ErrClosed
		case added:
			return nil
		case ctx.Err() != nil:
			return fmt.Errorf("%w: %w", errStillWriting, ctx.Err())
		}
		select {
		case <-room:
		case <-ctx.Done():
		}
	}
}

// addLocked reports whether there was room. What anybody can cause without end gets half of it, so that it cannot displace
// the rest: those who cannot say who they are, and those who ask more than they may.
func (l *Log) addLocked(i item) bool {
	limit := l.config.Buffer
	switch e := i.entry.(type) {
	case *Authentication:
		limit = (limit + 1) / 2
	case *Request:
		if e.Crowd {
			limit = (limit + 1) / 2
		}
	}
	if l.closed || len(l.queue) >= limit {
		return false
	}
	l.queue = append(l.queue, i)
	return true
}

func (l *Log) dropLocked(n int) {
	l.lost += uint64(max(0, n))
	l.metrics.dropped.Add(float64(n))
}

func (l *Log) wakeUp() {
	select {
	case l.wake <- struct{}{}:
	default: // it is about to wake up
	}
}

// Err says why the last write failed; nil if it did not.
func (l *Log) Err() error {
	if l == nil {
		return nil
	}
	if err := l.failure.Load(); err != nil {
		return *err
	}
	return nil
}

// Close writes what waits, makes sure that it is on the disk, and returns; or leaves it when ctx ends, with an error.
func (l *Log) Close(ctx context.Context) error {
	if l == nil {
		return nil
	}
	l.mu.Lock()
	if !l.closed {
		l.closed = true
		close(l.closing)
	}
	l.mu.Unlock()
	select {
	case <-l.ended:
		return l.last
	case <-ctx.Done():
		return fmt.Errorf("closing the audit trail: %w", errStillWriting)
	}
}

// run writes until the log is closed.
func (l *Log) run() {
	defer close(l.ended)
	var kept []item // could not be written yet
	for {
		room := l.config.Buffer - len(kept)
		closing := l.wait()
		if closing {
			room = math.MaxInt
		}
		kept = l.write(append(kept, l.take(room)...))
		if closing {
			l.last = l.finish(len(kept))
			return
		}
	}
}

// finish closes what was written to; unwritten is what remains.
func (l *Log) finish(unwritten int) error {
	l.mu.Lock()
	l.dropLocked(unwritten)
	lost := l.lost
	l.mu.Unlock()
	err := errors.Join(l.Err(), l.out.close())
	if lost > 0 {
		err = errors.Join(err, fmt.Errorf("%d records were lost", lost))
	}
	if err != nil {
		return fmt.Errorf("closing the audit trail: %w", err)
	}
	return nil
}

// wait returns when there is something to write, or nothing will be any more.
func (l *Log) wait() (closing bool) {
	wake, pause := l.wake, (<-chan time.Time)(nil)
	if l.Err() != nil {
		pause = time.After(retryAfter)
		if !l.config.Block {
			wake = nil // whoever waits shall be told at once, but nobody does
		}
	}
	select {
	case <-wake:
	case <-pause:
	case <-l.closing:
		return true
	}
	if l.config.Block || pause != nil {
		return false
	}
	select {
	case <-time.After(gather):
		return false
	case <-l.closing:
		return true
	}
}

// take empties the queue, up to a number.
func (l *Log) take(most int) []item {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := min(most, len(l.queue))
	taken := l.queue[:n:n]
	l.queue = append(make([]item, 0, min(l.config.Buffer, max(64, n))), l.queue[n:]...)
	close(l.room)
	l.room = make(chan struct{})
	return taken
}

// write returns what could not be written and is to be tried again. Where somebody may wait nothing is: what was refused
// for want of a record must not be recorded later.
func (l *Log) write(items []item) (again []item) {
	if len(items) == 0 && l.Err() == nil {
		return nil
	}
	l.mu.Lock()
	lost := l.lost
	l.mu.Unlock()
	n, told, err := l.out.write(items, lost)
	if told {
		l.mu.Lock()
		l.lost -= lost
		l.mu.Unlock()
	}
	for _, i := range items[:n] {
		l.metrics.records.WithLabelValues(string(i.entry.kind())).Inc()
	}
	if was := l.failure.Load(); err != nil {
		err = fmt.Errorf("writing the audit trail: %w", err)
		l.metrics.errors.Inc()
		l.failure.Store(&err)
		if was == nil {
			l.config.Log.Error("the audit trail cannot be written", "error", err)
		}
	} else if was != nil {
		l.failure.Store(nil)
		l.config.Log.Info("the audit trail is written again")
	}
	for _, i := range items {
		if i.done != nil {
			i.done <- err
		}
	}
	if !l.config.Block {
		return items[n:]
	}
	l.mu.Lock()
	l.dropLocked(len(items) - n)
	l.mu.Unlock()
	return nil
}
