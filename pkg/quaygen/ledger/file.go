package ledger

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/quaygen/quaygen/pkg/quaygen/quay"
)

// File keeps records in a file of this process alone, as JSON that people can read:
//
//	{"format": "quaygen-ledger/1", "records": [{"writes": 3, "record": {"robot": "myorg+puller", ...}}]}
//
// Each write makes a new file beside it, flushes it to the disk, renames it and flushes the directory: after a loss of power
// there is the old content or the new, never a part. A lock on a second file, named like the first with ".lock" behind it,
// keeps other processes away as long as this one lives, however it ends.
type File struct {
	path string
	lock *os.File

	turn    chan struct{} // holds who reads or changes what follows; over writes to the disk, which is what makes them one step
	records map[string]entry
	known   bool // records are what the file holds; false after a write that failed
}

type entry struct {
	record Record
	writes int64
}

type fileJSON struct {
	Format  string      `json:"format"`
	Records []entryJSON `json:"records"`
}

type entryJSON struct {
	Writes int64           `json:"writes"`
	Record json.RawMessage `json:"record"`
}

const fileFormat = "quaygen-ledger/1"

// maxFile bounds what is read: some hundred thousand records.
const maxFile = 64 << 20

// lockPatience is how long another process may take to let go of the file: a replica that is being replaced is still draining.
const lockPatience = 20 * time.Second

// OpenFile opens the ledger at path, or begins one where there is none.
func OpenFile(ctx context.Context, path string) (*File, error) {
	ctx, cancel := context.WithTimeout(ctx, lockPatience)
	defer cancel()
	return openFile(ctx, path)
}

func openFile(ctx context.Context, path string) (*File, error) {
	lock, err := os.OpenFile(path+".lock", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, explain(path, err)
	}
	if err := acquire(ctx, lock); err != nil {
		return nil, errors.Join(explain(path, err), lock.Close())
	}
	f := &File{path: path, lock: lock, turn: make(chan struct{}, 1)}
	if err := f.read(); err != nil {
		return nil, errors.Join(explain(path, err), lock.Close())
	}
	// Better now than at the first rotation: that the place can be written to.
	if err := f.write(f.records); err != nil {
		return nil, errors.Join(explain(path, err), lock.Close())
	}
	return f, nil
}

var errLocked = errors.New("another process uses it")

// acquire waits for the lock, which its holder's end gives free.
func acquire(ctx context.Context, lock *os.File) error {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		err := tryLock(lock)
		if !errors.Is(err, errLocked) {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return err
		}
	}
}

func explain(path string, err error) error {
	switch {
	case errors.Is(err, errLocked):
		return fmt.Errorf("opening the ledger %s: %w; a file is for one replica, several need ledger.kubernetes", path, err)
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("opening the ledger %s: its directory does not exist; make it, or set ledger.file: %w", path, err)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("opening the ledger %s: this process may not write there; set ledger.file to a place where it may: %w", path, err)
	}
	return fmt.Errorf("opening the ledger %s: %w", path, err)
}

// read takes in what the file holds. A file that is not there holds nothing.
func (f *File) read() error {
	records, err := readRecords(f.path)
	if errors.Is(err, fs.ErrNotExist) {
		records, err = map[string]entry{}, nil
	}
	if err != nil {
		return err
	}
	f.records, f.known = records, true
	return nil
}

func readRecords(path string) (map[string]entry, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	data, err := io.ReadAll(io.LimitReader(file, maxFile+1))
	if err := errors.Join(err, file.Close()); err != nil {
		return nil, err
	}
	records, err := parse(data)
	if err != nil {
		return nil, fmt.Errorf("%w; restore it, or move it away to begin a new one, which by itself rotates nothing", err)
	}
	return records, nil
}

func parse(data []byte) (map[string]entry, error) {
	if len(data) > maxFile {
		return nil, fmt.Errorf("it is larger than %d bytes, and so no ledger", maxFile)
	}
	var in fileJSON
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(&in); err != nil {
		return nil, fmt.Errorf("it is not a ledger, or damaged: %w", err)
	}
	if in.Format != fileFormat {
		return nil, fmt.Errorf("it has the format %q, and this version knows %q", in.Format, fileFormat)
	}
	records := map[string]entry{}
	for i, e := range in.Records {
		r, err := Decode(e.Record)
		if err != nil {
			return nil, fmt.Errorf("its record %d: %w", i+1, err)
		}
		if _, twice := records[Key(r.Robot)]; twice {
			return nil, fmt.Errorf("it has two records of %s", r.Robot)
		}
		records[Key(r.Robot)] = entry{r, e.Writes}
	}
	return records, nil
}

// write makes records what the file holds.
func (f *File) write(records map[string]entry) error {
	out := fileJSON{Format: fileFormat, Records: []entryJSON{}}
	for _, e := range records {
		encoded, err := Encode(e.record)
		if err != nil {
			return err
		}
		out.Records = append(out.Records, entryJSON{e.writes, encoded})
	}
	data, err := json.MarshalIndent(out, "", "  ")
	if err != nil {
		return err
	}
	f.known = false // until all is done
	next, err := os.OpenFile(f.path+".new", os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = next.Write(append(data, '\n'))
	// Without this the new name could stand before the content does.
	if err := errors.Join(err, next.Sync(), next.Close()); err != nil {
		return err
	}
	if err := os.Rename(f.path+".new", f.path); err != nil {
		return err
	}
	// And without this the old name could come back.
	if err := syncDirectory(filepath.Dir(f.path)); err != nil {
		return err
	}
	f.records, f.known = records, true
	return nil
}

func syncDirectory(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// current returns the records; after a write that failed they are read again, since nobody knows how far it got.
func (f *File) current() (map[string]entry, error) {
	if !f.known {
		if err := f.read(); err != nil {
			return nil, err
		}
	}
	return f.records, nil
}

func version(e entry) Version { return Version(strconv.FormatInt(e.writes, 10)) }

// Load implements [Store].
func (f *File) Load(ctx context.Context, robot quay.Robot) (Record, Version, error) {
	if err := ctx.Err(); err != nil {
		return Record{}, "", err
	}
	e, err := f.inTurn(ctx, func() (entry, error) {
		records, err := f.current()
		if err != nil {
			return entry{}, err
		}
		e, ok := records[Key(robot)]
		if !ok {
			return entry{}, ErrNotFound
		}
		return e, nil
	})
	if err != nil {
		return Record{}, "", f.about(robot, err)
	}
	return e.record, version(e), nil
}

// Create implements [Store].
func (f *File) Create(ctx context.Context, r Record) (Version, error) {
	return f.put(ctx, r, func(_ entry, exists bool) error {
		if exists {
			return ErrExists
		}
		return nil
	})
}

// Replace implements [Store].
func (f *File) Replace(ctx context.Context, r Record, old Version) (Version, error) {
	return f.put(ctx, r, func(e entry, exists bool) error {
		if !exists || version(e) != old {
			return ErrConflict
		}
		return nil
	})
}

func (f *File) put(ctx context.Context, r Record, may func(e entry, exists bool) error) (Version, error) {
	if err := errors.Join(ctx.Err(), r.Check()); err != nil {
		return "", err
	}
	e, err := f.inTurn(ctx, func() (entry, error) {
		old, err := f.current()
		if err != nil {
			return entry{}, err
		}
		e, exists := old[Key(r.Robot)]
		if err := may(e, exists); err != nil {
			return entry{}, err
		}
		next := make(map[string]entry, len(old)+1)
		maps.Copy(next, old)
		e = entry{r, e.writes + 1}
		next[Key(r.Robot)] = e
		return e, f.write(next)
	})
	if err != nil {
		return "", f.about(r.Robot, err)
	}
	return version(e), nil
}

var errSilent = errors.New("the disk does not answer")

// inTurn does one thing at a time. A disk that hangs keeps nobody longer than until ctx ends; what it may do yet is waited for by
// who comes next.
func (f *File) inTurn(ctx context.Context, work func() (entry, error)) (entry, error) {
	select {
	case f.turn <- struct{}{}:
	case <-ctx.Done():
		return entry{}, fmt.Errorf("%w: %w", errSilent, ctx.Err())
	}
	type outcome struct {
		entry entry
		err   error
	}
	done := make(chan outcome, 1)
	go func() {
		e, err := work()
		<-f.turn
		done <- outcome{e, err}
	}()
	select {
	case o := <-done:
		return o.entry, o.err
	case <-ctx.Done():
	}
	select {
	case o := <-done: // both at once
		return o.entry, o.err
	default:
		return entry{}, fmt.Errorf("%w: %w", errSilent, ctx.Err())
	}
}

func (f *File) about(robot quay.Robot, err error) error {
	return fmt.Errorf("the ledger %s: %s: %w", f.path, robot, err)
}

// closePatience is how long a write that is under way may take when the process ends.
const closePatience = 5 * time.Second

// Close implements [Store]. The lock is not given back while the disk may yet do what it was asked: it ends with the process.
func (f *File) Close() error {
	select {
	case f.turn <- struct{}{}:
		return f.lock.Close()
	case <-time.After(closePatience):
		return fmt.Errorf("closing the ledger %s: %w", f.path, errSilent)
	}
}
