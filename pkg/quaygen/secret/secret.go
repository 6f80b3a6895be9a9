// Package secret holds registry and API tokens in memory without letting them out by accident.
//
// A [String] prints, formats, marshals and logs as "[redacted]". The only way to its content is
// [String.Reveal], so that every place where a token leaves the process can be found by that name.
// Logs and audit lines carry [String.Fingerprint] instead.
package secret

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
)

const redacted = "[redacted]"

// String is a secret text. The zero value holds nothing. Strings are not comparable with ==:
// use [String.Equal], which takes the same time wherever two secrets differ.
type String struct {
	_ [0]func() // forbids ==, whose running time tells how far two secrets agree

	// Behind a pointer because fmt prints an operand of %p, or any with a wrong verb inside an erroring
	// operand, without asking its methods; of a nested pointer it prints the address alone.
	s *string
}

// New wraps s.
func New(s string) String { return String{s: &s} }

// Reveal returns the secret itself. Call it only where the secret leaves for its destination.
func (s String) Reveal() string {
	if s.s == nil {
		return ""
	}
	return *s.s
}

// IsZero reports whether s holds nothing.
func (s String) IsZero() bool { return s.Reveal() == "" }

// Equal compares in time that depends on the lengths alone.
func (s String) Equal(t String) bool {
	return subtle.ConstantTimeCompare([]byte(s.Reveal()), []byte(t.Reveal())) == 1
}

// Fingerprint returns the first 12 hexadecimal digits of the secret's SHA-256, which identify a
// random token without giving anything of it away; empty for the zero value.
func (s String) Fingerprint() string {
	if s.IsZero() {
		return ""
	}
	sum := sha256.Sum256([]byte(s.Reveal()))
	return hex.EncodeToString(sum[:6])
}

// String returns "[redacted]".
func (String) String() string { return redacted }

// Format writes "[redacted]" for every verb, %#v and %x included.
func (String) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// MarshalText returns "[redacted]"; it serves YAML, XML and map keys.
func (String) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// MarshalJSON returns "[redacted]" as a JSON string.
func (String) MarshalJSON() ([]byte, error) { return []byte(`"` + redacted + `"`), nil }

// UnmarshalJSON reads a JSON string, so that an answer's token goes into a String at once. Its errors name
// the type found and never quote the input, which may be the secret.
func (s *String) UnmarshalJSON(data []byte) error {
	if string(data) == "null" {
		return nil
	}
	var text string
	if err := json.Unmarshal(data, &text); err != nil {
		return errors.New("reading a secret: not a JSON string")
	}
	s.s = &text
	return nil
}

// LogValue returns "[redacted]".
func (String) LogValue() slog.Value { return slog.StringValue(redacted) }
