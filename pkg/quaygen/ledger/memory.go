package ledger

import (
	"context"
	"fmt"
	"strconv"
	"sync"

	"github.com/quaygen/quaygen/pkg/quaygen/quay"
)

// Memory keeps records as long as the process lives: for tests, and for one-shot commands that only look.
type Memory struct {
	mu      sync.Mutex // guards what follows
	records map[quay.Robot]Record
	writes  map[quay.Robot]int
}

// NewMemory returns an empty store.
func NewMemory() *Memory {
	return &Memory{records: map[quay.Robot]Record{}, writes: map[quay.Robot]int{}}
}

// Load implements [Store].
func (m *Memory) Load(ctx context.Context, robot quay.Robot) (Record, Version, error) {
	if err := ctx.Err(); err != nil {
		return Record{}, "", err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	r, ok := m.records[robot]
	if !ok {
		return Record{}, "", fmt.Errorf("%s: %w", robot, ErrNotFound)
	}
	return r, m.version(robot), nil
}

// Create implements [Store].
func (m *Memory) Create(ctx context.Context, r Record) (Version, error) {
	return m.write(ctx, r, func(exists bool) error {
		if exists {
			return ErrExists
		}
		return nil
	})
}

// Replace implements [Store].
func (m *Memory) Replace(ctx context.Context, r Record, old Version) (Version, error) {
	return m.write(ctx, r, func(exists bool) error {
		if !exists || m.version(r.Robot) != old {
			return ErrConflict
		}
		return nil
	})
}

func (m *Memory) write(ctx context.Context, r Record, may func(exists bool) error) (Version, error) {
	if err := ctx.Err(); err != nil {
		return "", err
	}
	if err := r.Check(); err != nil {
		return "", err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	_, exists := m.records[r.Robot]
	if err := may(exists); err != nil {
		return "", fmt.Errorf("%s: %w", r.Robot, err)
	}
	m.records[r.Robot] = r
	m.writes[r.Robot]++
	return m.version(r.Robot), nil
}

func (m *Memory) version(robot quay.Robot) Version { return Version(strconv.Itoa(m.writes[robot])) }

// Close implements [Store].
func (m *Memory) Close() error { return nil }
