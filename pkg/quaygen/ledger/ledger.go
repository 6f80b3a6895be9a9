// Package ledger remembers of each robot that is rotated in place what Quay does not: when its token last changed, and
// whether a rotation was decided on whose end nobody has recorded yet. It never holds a token, only fingerprints: a stolen
// ledger is not a stolen credential, and a lost one costs a delay, never a rotation.
//
// Robots with generations of their own need none of this; Quay is their ledger.
package ledger

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/quaygen/quaygen/pkg/quaygen/quay"
)

// Record is what is remembered of one robot. Times are Quay's.
type Record struct {
	Robot       quay.Robot
	Rotations   int64     // how often the token was seen to change; 0: never since it was first seen
	Fingerprint string    // of the token in use when this was written, see [secret.String.Fingerprint]
	Changed     time.Time // when the token last changed, by whomever, or was first seen
	Intent      Intent    // zero: no rotation is open
}

// Intent is a rotation that was decided on. It is written before Quay is asked to do it, so that whoever comes after
// knows that the token may have changed.
type Intent struct {
	ID          string        // unique among all processes and times; empty in the zero Intent
	Holder      string        // the process that wrote it, for people
	Fingerprint string        // of the token that is about to end
	At          time.Time     // when it was decided
	Lease       time.Duration // for so long after writing it its holder, and nobody else, may act on it
	Reason      string        // for people
}

// IsZero reports whether there is no intent.
func (i Intent) IsZero() bool { return i == Intent{} }

// Version names one state of one record. Versions of a record are equal only if nothing was written in between. The
// zero Version names no state.
type Version string

// Errors that stores return, wrapped. Every other error means that the store could not be used; after such an error of a
// write nobody can know whether it took place, and the record has to be loaded again.
var (
	ErrNotFound = errors.New("no such record")
	ErrExists   = errors.New("the record exists already")
	ErrConflict = errors.New("the record was changed meanwhile")
)

// Store keeps records. Its methods may be called concurrently, by several processes too where the store says so. A write
// that returned nil survives the loss of power. Package ledgertest holds what every store has to pass.
type Store interface {
	// Load returns a robot's record as last written by anyone, and its version. ErrNotFound: there is none.
	Load(ctx context.Context, robot quay.Robot) (Record, Version, error)
	// Create writes a robot's first record. ErrExists: there is one.
	Create(ctx context.Context, r Record) (Version, error)
	// Replace writes r if the robot's record is still at version old, in one step. ErrConflict: it is not, or is gone.
	Replace(ctx context.Context, r Record, old Version) (Version, error)
	// Close gives up what the store holds: files, locks. Nothing may be called afterwards.
	Close() error
}

// Check returns an error for a record that must not be written: a mistake of the caller.
func (r Record) Check() error {
	switch {
	case r.Robot.IsZero():
		return errors.New("internal error: a record without a robot")
	case r.Fingerprint == "" || r.Changed.IsZero():
		return fmt.Errorf("internal error: the record of %s does not say which token is in use since when", r.Robot)
	case !r.Intent.IsZero() && (r.Intent.ID == "" || r.Intent.Fingerprint == "" || r.Intent.Lease <= 0):
		return fmt.Errorf("internal error: the intent of %s is incomplete", r.Robot)
	}
	return nil
}
