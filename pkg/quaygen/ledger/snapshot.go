package ledger

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/quaygen/quaygen/pkg/quaygen/quay"
)

// Reader is what of a [Store] only looks.
type Reader interface {
	Load(ctx context.Context, robot quay.Robot) (Record, Version, error)
}

// Snapshot is what a file held when it was read.
type Snapshot struct {
	path    string
	records map[string]entry
}

// ReadFile reads the ledger at path for somebody who only looks. It takes no lock and writes nothing, so that the process
// whose file it is may be at work: since each write replaces the file as a whole, there is never a part of one to be read.
// A file that is not there is an error: whose it is may just be another machine.
func ReadFile(path string) (*Snapshot, error) {
	records, err := readRecords(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("there is no ledger %s here", path)
	case err != nil:
		return nil, fmt.Errorf("reading the ledger %s: %w", path, err)
	}
	return &Snapshot{path, records}, nil
}

// Load implements [Reader].
func (s *Snapshot) Load(_ context.Context, robot quay.Robot) (Record, Version, error) {
	e, ok := s.records[Key(robot)]
	if !ok {
		return Record{}, "", fmt.Errorf("the ledger %s: %s: %w", s.path, robot, ErrNotFound)
	}
	return e.record, version(e), nil
}
