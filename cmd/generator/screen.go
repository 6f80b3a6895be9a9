package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"
	"golang.org/x/term"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

// output is how a command prints.
type output struct{ form, color string }

// outputFlags adds the flags that say how a command prints.
func outputFlags(c *cobra.Command) *output {
	o := &output{}
	c.Flags().StringVarP(&o.form, "output", "o", "text", "text, json or yaml")
	c.Flags().StringVar(&o.color, "color", "auto", "auto, always or never; auto is on a terminal, without NO_COLOR and TERM=dumb")
	return o
}

func (o *output) check() error {
	if !slices.Contains([]string{"text", "json", "yaml"}, o.form) {
		return usageError{fmt.Errorf("-o %q is none of text, json, yaml", o.form)}
	}
	if !slices.Contains([]string{"auto", "always", "never"}, o.color) {
		return usageError{fmt.Errorf("--color %q is none of auto, always, never", o.color)}
	}
	return nil
}

// screen is where text for people goes.
type screen struct {
	io.Writer
	now     func() time.Time
	colored bool
	width   int // of the terminal; 0: not a terminal
}

func (o *output) screen(w io.Writer, now func() time.Time) *screen {
	s := &screen{Writer: w, now: now}
	if file, ok := w.(*os.File); ok && term.IsTerminal(int(file.Fd())) {
		s.width = 80
		if width, _, err := term.GetSize(int(file.Fd())); err == nil && width > 0 {
			s.width = width
		}
	}
	dull := os.Getenv("NO_COLOR") != "" || os.Getenv("TERM") == "dumb" //nolint:forbidigo // a program, and its help says so
	s.colored = o.color == "always" || o.color == "auto" && s.width > 0 && !dull
	return s
}

// tone is what a text means, as its colour shows.
type tone int

const (
	plain tone = iota
	head
	good
	passing
	bad
)

var tones = [...]string{"", "1", "32", "33", "31"}

func (s *screen) paint(text string, t tone) string {
	if !s.colored || t == plain || text == "" {
		return text
	}
	return "\x1b[" + tones[t] + "m" + text + "\x1b[0m"
}

// say prints one line.
func (s *screen) say(format string, args ...any) { fmt.Fprintf(s, format+"\n", args...) }

type cell struct {
	text string
	tone tone
}

// table is rows of aligned columns.
type table struct{ rows [][]cell }

func newTable(columns ...string) *table {
	t := &table{}
	t.add(headings(columns)...)
	return t
}

func headings(columns []string) []cell {
	var row []cell
	for _, c := range columns {
		row = append(row, cell{c, head})
	}
	return row
}

func (t *table) add(row ...cell) { t.rows = append(t.rows, row) }

// print aligns the columns. On a terminal the last one ends with the line.
func (s *screen) print(t *table) {
	var widths []int
	for _, row := range t.rows {
		for i, c := range row {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], utf8.RuneCountInString(c.text))
		}
	}
	for _, row := range t.rows {
		var line strings.Builder
		used := 0
		for i, c := range row {
			if i == len(row)-1 {
				line.WriteString(s.paint(s.clip(c.text, used), c.tone))
				break
			}
			line.WriteString(s.paint(c.text, c.tone) + strings.Repeat(" ", widths[i]+2-utf8.RuneCountInString(c.text)))
			used += widths[i] + 2
		}
		s.say("%s", strings.TrimRight(line.String(), " "))
	}
}

// clip cuts a text that would not fit on the terminal beside what is used already.
func (s *screen) clip(text string, used int) string {
	const least = 20 // below which cutting tells nothing
	if room := max(s.width-used, least); s.width > 0 && utf8.RuneCountInString(text) > room {
		return string([]rune(text)[:room-1]) + "…"
	}
	return text
}

// machine prints a message of the API as JSON or YAML; compact is JSON on one line, as a document of a stream.
func (o *output) machine(w io.Writer, m proto.Message, compact bool) error {
	raw, err := protojson.MarshalOptions{EmitDefaultValues: true}.Marshal(m)
	if err != nil {
		return err
	}
	var out bytes.Buffer // protojson varies its white space on purpose
	switch {
	case o.form == "yaml":
		return o.yaml(w, raw, compact)
	case compact:
		err = json.Compact(&out, raw)
	default:
		err = json.Indent(&out, raw, "", "  ")
	}
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(w, out.String())
	return err
}

// yaml writes what JSON says as YAML, in the same order.
func (*output) yaml(w io.Writer, raw []byte, stream bool) error {
	var document yaml.Node
	if err := yaml.Unmarshal(raw, &document); err != nil {
		return err
	}
	block(&document)
	if stream {
		if _, err := fmt.Fprintln(w, "---"); err != nil {
			return err
		}
	}
	encoder := yaml.NewEncoder(w)
	encoder.SetIndent(2)
	return errors.Join(encoder.Encode(&document), encoder.Close())
}

// block undoes JSON's braces and quotes, except where a quote is needed.
func block(n *yaml.Node) {
	if len(n.Content) > 0 || n.Kind == yaml.ScalarNode {
		n.Style = 0
	}
	for _, child := range n.Content {
		block(child)
	}
}

// count says how many, with the plural where it needs one.
func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return strconv.Itoa(n) + " " + what + "s"
}

// contents says how much a configuration holds.
func contents(robots, secrets, clients, rules int) string {
	return fmt.Sprintf("%s, %s, %s, %s", count(robots, "robot"), count(secrets, "joined pull secret"), count(clients, "client"), count(rules, "rule"))
}
