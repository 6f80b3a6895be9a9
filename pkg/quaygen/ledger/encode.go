package ledger

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/quaygen/quaygen/pkg/quaygen/quay"
)

// recordJSON is a record as stores keep it. Fields are only ever added, and each has a zero value that old records mean.
type recordJSON struct {
	Robot       string      `json:"robot"` // owner+short
	User        bool        `json:"user,omitempty"`
	Rotations   int64       `json:"rotations"`
	Fingerprint string      `json:"fingerprint"`
	Changed     time.Time   `json:"changed"`
	Intent      *intentJSON `json:"intent,omitempty"`
}

type intentJSON struct {
	ID          string    `json:"id"`
	Holder      string    `json:"holder"`
	Fingerprint string    `json:"fingerprint"`
	At          time.Time `json:"at"`
	Lease       string    `json:"lease"`
	Reason      string    `json:"reason"`
}

// Encode returns a record as JSON, for stores.
func Encode(r Record) ([]byte, error) {
	if err := r.Check(); err != nil {
		return nil, err
	}
	out := recordJSON{
		Robot: r.Robot.Username(), User: r.Robot.Owner().IsUser(),
		Rotations: r.Rotations, Fingerprint: r.Fingerprint, Changed: r.Changed.UTC(),
	}
	if i := r.Intent; !i.IsZero() {
		out.Intent = &intentJSON{ID: i.ID, Holder: i.Holder, Fingerprint: i.Fingerprint, At: i.At.UTC(), Lease: i.Lease.String(), Reason: i.Reason}
	}
	return json.Marshal(out)
}

// Decode reads what Encode wrote. A field that it does not know is an error: a newer version wrote it, and must be the one
// that goes on.
func Decode(data []byte) (Record, error) {
	var in recordJSON
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(&in); err != nil {
		return Record{}, fmt.Errorf("reading a record of the ledger: %w", err)
	}
	robot, err := parseRobot(in.Robot, in.User)
	if err != nil {
		return Record{}, fmt.Errorf("reading a record of the ledger: %w", err)
	}
	r := Record{Robot: robot, Rotations: in.Rotations, Fingerprint: in.Fingerprint, Changed: in.Changed}
	if i := in.Intent; i != nil {
		lease, err := time.ParseDuration(i.Lease)
		if err != nil {
			return Record{}, fmt.Errorf("reading the record of %s: its intent's lease: %w", robot, err)
		}
		r.Intent = Intent{ID: i.ID, Holder: i.Holder, Fingerprint: i.Fingerprint, At: i.At, Lease: lease, Reason: i.Reason}
	}
	return r, r.Check()
}

func parseRobot(username string, user bool) (quay.Robot, error) {
	name, short, _ := strings.Cut(username, "+")
	parse := quay.ParseOrganization
	if user {
		parse = quay.ParseUser
	}
	owner, err := parse(name)
	if err != nil {
		return quay.Robot{}, err
	}
	return quay.NewRobot(owner, short)
}

// Key returns a name for a robot that no other robot has: an organization and a user may have the same name.
func Key(robot quay.Robot) string {
	if robot.Owner().IsUser() {
		return "user " + robot.Username()
	}
	return "organization " + robot.Username()
}
