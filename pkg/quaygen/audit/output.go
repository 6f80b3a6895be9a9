package audit

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"
)

// output is where the lines go, and where the chain stands. It belongs to one goroutine.
type output struct {
	file    string
	stream  io.Writer
	durable bool // a write is over when it is on the disk
	process string

	f      *os.File // nil with a stream
	size   int64    // as far as is known
	looked time.Time

	seq       uint64
	head      digest
	continues string // what the next record has to say that it goes on from; "": nothing
	torn      []byte // what stands behind the last whole record, and is none
	unended   bool   // the last line has no newline

	buf   []byte
	marks []mark
}

// mark is where a line ends in the buffer, and how things stand behind it.
type mark struct {
	end  int
	seq  uint64
	head digest
}

// lookEvery is how often it is looked at whether the path still leads to the file that is open.
const lookEvery = time.Second

func (o *output) begin() error {
	if o.file == "" {
		o.continues = continuesNothing
		return nil
	}
	return o.open()
}

// open opens the file, new or not, and finds the end of the chain in it.
func (o *output) open() error {
	f, err := os.OpenFile(o.file, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	end, err := o.examine(f)
	if err != nil {
		return errors.Join(err, f.Close())
	}
	switch {
	case !end.empty:
		o.continues, o.head, o.torn, o.unended = continuesFile, end.head, end.torn, end.unended
		if end.torn != nil && end.head == (digest{}) {
			o.continues = continuesNothing
		}
	case o.seq > 0:
		o.continues, o.unended = continuesProcess, false // torn is what the file before ends with
	default:
		o.continues = continuesNothing
	}
	o.f, o.size, o.looked = f, end.size, time.Now()
	return nil
}

func (o *output) examine(f *os.File) (end, error) {
	info, err := f.Stat()
	switch {
	case err != nil:
		return end{}, err
	case !info.Mode().IsRegular():
		return end{}, fmt.Errorf("%s is not a regular file", o.file)
	}
	if err := tryLock(f); err != nil {
		return end{}, fmt.Errorf("%s: %w", o.file, err)
	}
	e, err := findEnd(f, info.Size())
	if err != nil {
		return end{}, fmt.Errorf("%s: %w", o.file, err)
	}
	return e, nil
}

// look opens the path anew where it leads to another file by now, or to none: somebody moved the old one away. A file
// that became shorter was emptied, which is the same to us.
func (o *output) look() error {
	if o.file == "" || o.f != nil && time.Since(o.looked) < lookEvery {
		return nil
	}
	if o.f == nil {
		return o.open()
	}
	there, err := os.Stat(o.file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	open, statErr := o.f.Stat()
	if statErr != nil {
		return statErr
	}
	if err == nil && os.SameFile(there, open) && open.Size() >= o.size {
		o.looked = time.Now()
		return nil
	}
	syncErr := o.f.Sync()
	closeErr := o.f.Close()
	o.f = nil
	return errors.Join(syncErr, closeErr, o.open())
}

// write appends records, and one before them that says where it goes on from if need be. It returns how many were written as
// a whole, and whether one tells of the lost records. With an error some may be written that are not on the disk.
func (o *output) write(items []item, lost uint64) (n int, told bool, err error) {
	defer func() {
		if err != nil && o.continues == "" {
			o.continues = continuesProcess // so that there is something to write where it is tried again, and a mark in the trail
		}
	}()
	if err := o.look(); err != nil {
		return 0, false, err
	}
	began, err := o.encode(items, lost)
	if err != nil {
		return 0, false, err
	}
	w := o.stream
	if o.f != nil {
		w = o.f
	}
	written, err := w.Write(o.buf)
	if err == nil && written < len(o.buf) {
		err = io.ErrShortWrite
	}
	whole := o.settle(written)
	if err == nil && o.f != nil && o.durable {
		err = o.f.Sync()
	}
	return max(0, whole-began), whole > 0, err
}

// encode fills the buffer. It returns how many of the lines in it are none of the items'.
func (o *output) encode(items []item, lost uint64) (began int, err error) {
	if cap(o.buf) > 1<<20 {
		o.buf = nil
	}
	o.buf, o.marks = o.buf[:0], o.marks[:0]
	seq, head := o.seq, o.head
	line := func(at time.Time, e Entry) (err error) {
		seq += 1 + lost
		o.buf, head, err = encode(o.buf, envelope{Time: at.UTC().Format(timeFormat), Process: o.process, Seq: seq, Lost: lost, Prev: head.String()}, e)
		o.marks = append(o.marks, mark{len(o.buf), seq, head})
		lost = 0
		return err
	}
	if o.unended {
		o.buf = append(o.buf, '\n')
	}
	if o.continues != "" || o.torn != nil {
		e := &opened{Continues: o.continues}
		if e.Continues == "" {
			e.Continues = continuesProcess
		}
		if o.torn != nil {
			e.Torn = tornHash(o.torn)
		}
		if err := line(time.Now(), e); err != nil {
			return 0, err
		}
		began = 1
	}
	for _, i := range items {
		if err := line(i.at, i.entry); err != nil {
			return 0, err
		}
	}
	return began, nil
}

// tornHash is the hash of bytes that are no record, with the newline that is put behind them if they have none.
func tornHash(b []byte) string {
	h := sha256.New()
	h.Write(b)
	if b[len(b)-1] != '\n' {
		h.Write([]byte{'\n'})
	}
	return hex.EncodeToString(h.Sum(nil))
}

// settle takes in how much of the buffer was written, and returns how many lines are whole. One that lacks nothing but its
// newline is.
func (o *output) settle(written int) (whole int) {
	o.size += int64(written)
	end := 0
	if o.unended && o.torn == nil && written > 0 {
		end, o.unended = 1, false
	}
	for whole < len(o.marks) && o.marks[whole].end-1 <= written {
		m := o.marks[whole]
		o.seq, o.head, end = m.seq, m.head, min(m.end, written)
		o.torn, o.continues, o.unended = nil, "", written < m.end
		whole++
	}
	if rest := o.buf[end:written]; len(rest) > 0 {
		o.torn = append(o.torn, rest...)
		o.unended = rest[len(rest)-1] != '\n'
	}
	return whole
}

func (o *output) close() error {
	if o.f == nil {
		return nil
	}
	return errors.Join(o.f.Sync(), o.f.Close())
}

// maxEnd is how much of a file is looked through for its last record.
const maxEnd = 4 << 20

// end is how a file ends.
type end struct {
	size    int64
	empty   bool
	head    digest // of the last record; zero: there is none
	torn    []byte // what is behind it; nil: nothing
	unended bool   // the file does not end with a newline
}

// findEnd looks for the last record. What a crash has left behind it is kept; what is not ours is not written to.
func findEnd(f io.ReaderAt, size int64) (end, error) {
	e := end{size: size, empty: size == 0}
	if e.empty {
		return e, nil
	}
	data := make([]byte, min(size, maxEnd))
	if _, err := f.ReadAt(data, size-int64(len(data))); err != nil && !errors.Is(err, io.EOF) {
		return e, err
	}
	e.unended = data[len(data)-1] != '\n'
	for rest := data; len(rest) > 0; {
		text := bytes.TrimSuffix(rest, []byte{'\n'})
		start := bytes.LastIndexByte(text, '\n') + 1
		if _, _, ok := parse(text[start:]); ok {
			e.head = sha256.Sum256(text[start:])
			if behind := data[len(rest):]; len(behind) > 0 {
				e.torn = behind
			}
			return e, nil
		}
		rest = rest[:start]
	}
	// A crash within the very first write leaves no whole record.
	const first = `{"v":1,"time":"`
	if size <= maxEnd && bytes.HasPrefix(data, []byte(first)[:min(len(first), len(data))]) {
		e.torn = data
		return e, nil
	}
	return e, errors.New("it does not end like an audit trail; move it away, or choose another path")
}
