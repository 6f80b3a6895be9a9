package audit

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"
)

// version is that of the schema, in each line. It changes when a field is renamed, removed or means something else.
const version = 1

// timeFormat is RFC 3339 with all nine digits of the nanoseconds, so that lines sort by it.
const timeFormat = "2006-01-02T15:04:05.000000000Z07:00"

// A digest is the SHA-256 of a line without its newline. The zero digest stands before the first line.
type digest [sha256.Size]byte

func (h digest) String() string { return hex.EncodeToString(h[:]) }

// envelope is what all records say.
type envelope struct {
	Version int    `json:"v"`
	Time    string `json:"time"`
	Process string `json:"process"` // random, for each process
	Seq     uint64 `json:"seq"`     // of this process, beginning with 1; records that were lost are counted
	Lost    uint64 `json:"lost"`    // how many were, right before this one
	Prev    string `json:"prev"`    // hash of the record before
	Type    Type   `json:"type"`
}

// encode appends the line of a record, with its newline, and returns its hash.
func encode(b []byte, e envelope, entry Entry) ([]byte, digest, error) {
	e.Version, e.Type = version, entry.kind()
	head, err := json.Marshal(e)
	if err != nil {
		return b, digest{}, fmt.Errorf("writing a record: %w", err)
	}
	body, err := json.Marshal(entry)
	if err != nil {
		return b, digest{}, fmt.Errorf("writing a record: %w", err)
	}
	start := len(b)
	b = append(b, head[:len(head)-1]...)
	b = append(b, ',')
	b = append(b, body[1:]...)
	sum := digest(sha256.Sum256(b[start:]))
	return append(b, '\n'), sum, nil
}

// parse reads a line as the record that it is; false if it is none. Of the record's own fields it reads those of the type open.
func parse(line []byte) (envelope, opened, bool) {
	var r struct {
		envelope
		opened
	}
	if len(line) == 0 || line[0] != '{' || json.Unmarshal(line, &r) != nil {
		return envelope{}, opened{}, false
	}
	_, timeErr := time.Parse(timeFormat, r.Time)
	prev, prevErr := hex.DecodeString(r.Prev)
	ok := r.Version >= 1 && r.Process != "" && r.Seq > r.Lost && r.Type != "" && timeErr == nil && prevErr == nil && len(prev) == sha256.Size
	return r.envelope, r.opened, ok
}
