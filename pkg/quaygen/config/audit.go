package config

// Audit says where the audit trail goes. The zero Audit keeps none. Changes need a restart.
type Audit struct {
	File   string // of one process alone; it is made if it does not exist
	Stdout bool   // instead: standard output, which nothing else is written to
	Block  bool   // a request waits until it is recorded, and fails if it cannot be
	Buffer int    // records that may wait to be written
}

// Enabled reports whether there is a trail.
func (a Audit) Enabled() bool { return a.File != "" || a.Stdout }

const (
	defaultAuditBuffer = 4096
	maxAuditBuffer     = 1_000_000
)

func (d *decoder) audit(v value) Audit {
	o := v.object()
	defer o.end()
	file, stdout := o.get("file"), o.get("stdout")
	a := Audit{File: file.newFile(), Stdout: stdout.boolean(), Block: o.get("block").boolean(), Buffer: o.get("buffer").whole(defaultAuditBuffer, maxAuditBuffer)}
	switch {
	case o.entries == nil:
		return Audit{}
	case file.written() && a.Stdout:
		stdout.fail("the audit trail goes to a file or to standard output; remove one of the two keys")
	case !file.written() && !a.Stdout:
		v.fail("says nowhere to write to; write file: /var/log/quaygen/audit.jsonl or stdout: true, or remove the key")
	}
	return a
}
