package audit

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"time"
)

// Source is one file of a trail, or the only stream of it.
type Source struct {
	Name   string
	Reader io.Reader
}

// VerifyOptions say what is known of a trail besides what it holds itself.
type VerifyOptions struct {
	After    string // hash of the record before the first line, in hexadecimal; empty: not known
	Head     string // hash of a record that must be among them; empty: none is known
	Restarts bool   // a process may begin a chain of its own anywhere, as each does on standard output
}

// Finding is something about a line.
type Finding struct {
	Source string
	Line   int // counted from 1 in each source; 0: it is about no line
	Text   string
}

func (f Finding) String() string {
	if f.Line == 0 {
		return f.Text
	}
	return fmt.Sprintf("%s:%d: %s", f.Source, f.Line, f.Text)
}

// Report is what is known of a trail after reading it.
type Report struct {
	Records     int
	Processes   int
	Lost        uint64    // records that the trail itself says it lacks
	First, Last time.Time // of the first and the last record
	Head        string    // hash of the last record, in hexadecimal; keep it elsewhere
	Breaks      []Finding // where lines were removed, changed, moved, repeated or inserted; at most maxBreaks
	Notes       []Finding // what is no proof of that
}

// maxBreaks bounds what a hopeless file can make us say.
const maxBreaks = 100

// maxLine is longer than any record.
const maxLine = 4 << 20

// Verify reads the files of one trail, oldest first, as one. The error says why one could not be read; what is wrong with
// the trail is in the report.
func Verify(o VerifyOptions, sources ...Source) (*Report, error) {
	v := &verifier{options: o, processes: map[string]bool{}}
	for _, s := range sources {
		if err := v.read(s); err != nil {
			return nil, fmt.Errorf("reading %s: %w", s.Name, err)
		}
	}
	v.end()
	return &v.report, nil
}

type verifier struct {
	options   VerifyOptions
	report    Report
	at        Finding // the line that is looked at
	processes map[string]bool
	headSeen  bool

	last     envelope // of the record before; zero: there was none
	head     string   // its hash
	lastLine Finding  // where it is
	lastText []byte

	junk      hash.Hash // of the lines since then that are no records; nil: there are none
	junkAt    Finding
	junkBytes int
	unended   bool // the last line of the last source has no newline
}

func (v *verifier) read(s Source) error {
	r := bufio.NewReaderSize(s.Reader, 64<<10)
	for number := 1; ; number++ {
		line, err := readLine(r)
		ended := bytes.HasSuffix(line, []byte{'\n'})
		if len(line) > 0 {
			v.at = Finding{Source: s.Name, Line: number}
			v.unended = !ended
			v.line(bytes.TrimSuffix(line, []byte{'\n'}))
		}
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
	}
}

// readLine reads up to a newline, which is included.
func readLine(r *bufio.Reader) ([]byte, error) {
	var line []byte
	for {
		part, err := r.ReadSlice('\n')
		line = append(line, part...)
		if len(line) > maxLine {
			return nil, fmt.Errorf("a line is longer than %d bytes", maxLine)
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return line, err
		}
	}
}

func (v *verifier) line(text []byte) {
	e, o, ok := parse(text)
	if !ok {
		if v.junk == nil {
			v.junk, v.junkAt, v.junkBytes = sha256.New(), v.at, 0
		}
		v.junk.Write(text)
		v.junk.Write([]byte{'\n'})
		v.junkBytes += len(text)
		return
	}
	known := v.explained(e, o)
	if v.report.Records == 0 {
		v.first(e, o)
	} else if known {
		v.next(e, o, text)
	}
	v.report.Records++
	v.report.Lost += e.Lost
	v.processes[e.Process] = true
	at, err := time.Parse(timeFormat, e.Time)
	if err == nil && v.report.First.IsZero() {
		v.report.First = at
	}
	v.report.Last = at
	sum := sha256.Sum256(text)
	v.last, v.head, v.lastLine = e, hex.EncodeToString(sum[:]), v.at
	v.lastText = append(v.lastText[:0], text...)
	v.headSeen = v.headSeen || v.head == v.options.Head
}

// explained looks at the lines before this record that are no records: a crash in the middle of a write leaves one, and the
// record after it says so. It reports whether the record's own place in the chain is still worth looking at.
func (v *verifier) explained(e envelope, o opened) bool {
	torn := ""
	if v.junk != nil {
		torn = hex.EncodeToString(v.junk.Sum(nil))
	}
	at := v.junkAt
	v.junk = nil
	switch {
	case e.Type == TypeOpen && o.Torn == torn:
		if torn != "" {
			v.note(at, fmt.Sprintf("a line was cut off by a crash or a full disk (%d bytes); the record after it says so", v.junkBytes))
		}
		return true
	case torn != "":
		v.broken(at, "this is no record; it was changed, or put here")
		return e.Prev == v.head // then the record itself is where it belongs
	case e.Type == TypeOpen && o.Torn != "":
		v.broken(v.at, "it says that a line before it was cut off, but there is none: it was removed")
	}
	return true
}

// first looks at a record with nothing before it.
func (v *verifier) first(e envelope, o opened) {
	begins := e.Type == TypeOpen && e.Prev == nothing
	switch {
	case v.options.After != "":
		if e.Prev != v.options.After {
			v.broken(v.at, "it does not continue the given record: lines before it were removed, or these are other files")
		}
	case begins:
	case e.Type == TypeOpen && o.Continues == continuesProcess:
		v.note(v.at, "it continues the record "+e.Prev+" of an earlier file; give that file first, or --after with this hash if it is known")
	default:
		v.broken(v.at, "a trail does not begin with this record: the lines before it were removed")
	}
}

// nothing is what the first line of all has as the hash of the one before it.
var nothing = digest{}.String()

// next looks at a record with another before it.
func (v *verifier) next(e envelope, o opened, text []byte) {
	sameProcess := e.Process == v.last.Process
	expected := v.last.Seq + 1 + e.Lost
	switch {
	case e.Type == TypeOpen && o.Continues == continuesNothing && e.Prev == nothing:
		if !v.options.Restarts {
			v.broken(v.at, "a chain of its own begins here: what links it to the lines before it was removed, or there never was a link (see --restarts)")
		}
	case e.Prev == v.head && e.Type == TypeOpen && o.Continues == continuesFile && sameProcess && e.Seq >= expected: // it wrote elsewhere meanwhile
	case e.Prev == v.head && sameProcess && e.Seq == expected, e.Prev == v.head && !sameProcess && e.Type == TypeOpen && e.Seq == 1+e.Lost:
	case bytes.Equal(text, v.lastText):
		v.broken(v.at, "the line before it is repeated")
	case sameProcess && e.Seq > expected:
		v.broken(v.at, fmt.Sprintf("what this process wrote before it is missing: seq %d to %d", v.last.Seq+1, v.last.Seq+e.Seq-expected))
	case sameProcess && e.Seq < expected:
		v.broken(v.at, fmt.Sprintf("it is out of order: record %d of its process after record %d; lines were moved, repeated or inserted", e.Seq, v.last.Seq))
	case sameProcess:
		v.broken(v.lastLine, "it is not what was written here: the record after it carries another hash")
	case e.Prev == v.head:
		v.broken(v.at, "it is put here: a process begins with a record of the type open")
	case e.Type == TypeOpen && e.Seq == 1+e.Lost:
		v.broken(v.lastLine, "it is not the line that the process after it went on from: it was changed, or lines after it were removed")
	default:
		v.broken(v.at, "it does not continue the line before it: lines were removed, moved or inserted")
	}
}

// end looks at what is behind the last record.
func (v *verifier) end() {
	r := &v.report
	switch {
	case v.junk != nil && v.unended:
		v.note(v.junkAt, fmt.Sprintf("the end is cut off (%d bytes); a process that goes on with this file says so in its first record", v.junkBytes))
	case v.junk != nil:
		v.broken(v.junkAt, "this is no record; it was changed, or put here")
	case r.Records == 0:
		v.note(Finding{}, "there are no records")
	}
	if v.options.Head != "" && !v.headSeen {
		v.broken(Finding{}, "no record has the hash "+v.options.Head+": what was written up to it was changed or removed")
	}
	r.Head, r.Processes = v.head, len(v.processes)
}

func (v *verifier) broken(at Finding, text string) {
	at.Text = text
	if len(v.report.Breaks) < maxBreaks {
		v.report.Breaks = append(v.report.Breaks, at)
	}
}

func (v *verifier) note(at Finding, text string) {
	at.Text = text
	if len(v.report.Notes) < maxBreaks {
		v.report.Notes = append(v.report.Notes, at)
	}
}
