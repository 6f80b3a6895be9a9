package audit_test

import (
	"bytes"
	"encoding/json"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/quaygen/quaygen/pkg/quaygen/audit"
)

// keys returns the keys of a JSON object in their order.
func keys(t testing.TB, line string) (all []string) {
	t.Helper()
	d := json.NewDecoder(strings.NewReader(line))
	for depth := 0; ; {
		token, err := d.Token()
		if err != nil {
			return all
		}
		switch token {
		case json.Delim('{'), json.Delim('['):
			depth++
		case json.Delim('}'), json.Delim(']'):
			depth--
		default:
			key, ok := token.(string)
			if !ok || depth != 1 {
				t.Fatalf("%v where a key was expected", token)
			}
			all = append(all, key)
			var value json.RawMessage
			if err := d.Decode(&value); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// emitted writes an entry of each type, all fields empty, and returns the keys of each type's line.
func emitted(t testing.TB) map[string][]string {
	t.Helper()
	p := &pipe{takes: -1}
	l := open(t, audit.Config{Stream: p})
	l.Record(&audit.Start{}, &audit.Stop{}, &audit.Configuration{}, &audit.Request{}, &audit.Authentication{}, &audit.Operation{}, &audit.Event{}, &audit.Step{})
	closed(t, l)
	out := map[string][]string{}
	for line := range strings.Lines(p.String()) {
		var r struct{ Type string }
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Fatal(err)
		}
		out[r.Type] = keys(t, line)
	}
	return out
}

var (
	heading = regexp.MustCompile("(?m)^### `([a-z]+)`: ")
	row     = regexp.MustCompile("(?m)^\\| `([a-z]+)` \\|")
)

func rows(text string) (all []string) {
	for _, m := range row.FindAllStringSubmatch(text, -1) {
		all = append(all, m[1])
	}
	return all
}

func TestTheDocumentHasExactlyTheFieldsOfEveryType(t *testing.T) {
	file, err := os.ReadFile("../../../docs/audit.md")
	if err != nil {
		t.Fatal(err)
	}
	text := string(file)
	_, text, _ = strings.Cut(text, "## Every record\n")
	sections := heading.Split(text, -1)
	common := rows(sections[0])
	written := emitted(t)
	documented := map[string]bool{}
	for i, name := range heading.FindAllStringSubmatch(text, -1) {
		documented[name[1]] = true
		if want := append(slices.Clone(common), rows(sections[i+1])...); !slices.Equal(want, written[name[1]]) {
			t.Errorf("%s: the document says\n%v, written is\n%v", name[1], want, written[name[1]])
		}
	}
	for name := range written {
		if !documented[name] {
			t.Errorf("the type %s is not documented", name)
		}
	}
	_, example, _ := strings.Cut(text, "```json\n")
	example, _, _ = strings.Cut(example, "```")
	r := whole(t, strings.Count(example, "\n"), example)
	if len(r.Notes) > 0 {
		t.Errorf("the example: %v", r.Notes)
	}
	shown := map[string]bool{}
	for line := range strings.Lines(example) {
		var of struct{ Type string }
		if err := json.Unmarshal([]byte(line), &of); err != nil {
			t.Fatal(err)
		}
		if got := keys(t, line); !slices.Equal(got, written[of.Type]) {
			t.Errorf("the example of %s has %v", of.Type, got)
		}
		shown[of.Type] = true
	}
	if len(shown) != len(written) {
		t.Errorf("there are examples of %v only", shown)
	}
}

func TestTimesAreUTCWithAllNanoseconds(t *testing.T) {
	p := &pipe{takes: -1}
	l := open(t, audit.Config{Stream: p})
	l.Record(&audit.Stop{})
	closed(t, l)
	for _, f := range lines(t, p.String()) {
		text := f["time"].(string)
		if _, err := time.Parse("2006-01-02T15:04:05.000000000Z", text); err != nil {
			t.Error(err)
		}
	}
}

func TestALongTextIsCutBetweenCharacters(t *testing.T) {
	p := &pipe{takes: -1}
	l := open(t, audit.Config{Stream: p})
	l.Record(&audit.Request{Name: "x" + strings.Repeat("ü", 4000), Property: "a\n\"b\x00"})
	closed(t, l)
	f := lines(t, p.String())[1]
	if name := f["name"].(string); len(name) > 260 || !strings.HasSuffix(name, "ü...") || f["property"] != "a\n\"b\x00" {
		t.Errorf("%d bytes: %v", len(name), f)
	}
	if bytes.Contains([]byte(p.String()), []byte{0}) {
		t.Error("a raw control character")
	}
}
