package config

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// maxProblems bounds what one hopeless file can make us say.
const maxProblems = 500

// decoder walks one document and collects what is wrong with it. Its methods never stop at a problem: they
// return a zero or default value, and whoever needs a valid one checks for that.
type decoder struct {
	file     string
	lines    []int // the length of each line, in characters
	problems []Problem
	warnings []Problem
	root     *yaml.Node // nil until the document is parsed
	files    []fileRef
}

type position struct{ line, column int }

func newDecoder(file string, data []byte) *decoder {
	d := &decoder{file: file}
	for line := range strings.SplitSeq(string(data), "\n") {
		d.lines = append(d.lines, utf8.RuneCountInString(line))
	}
	return d
}

// fail records a problem with the value at path, written or not.
func (d *decoder) fail(path, format string, args ...any) {
	d.failAt(d.locate(path), path, format, args...)
}

// failAt is fail for what has no place of its own, such as an unknown key.
func (d *decoder) failAt(p position, path, format string, args ...any) {
	if len(d.problems) < maxProblems {
		d.problems = append(d.problems, d.problem(p, path, fmt.Sprintf(format, args...)))
	} else if len(d.problems) == maxProblems {
		d.problems = append(d.problems, d.problem(position{len(d.lines), 1}, "", "there are more problems than these; mend some first"))
	}
}

// warn records something that works, but that its author probably does not want.
func (d *decoder) warn(path, format string, args ...any) {
	if len(d.warnings) < maxProblems {
		d.warnings = append(d.warnings, d.problem(d.locate(path), path, fmt.Sprintf(format, args...)))
	}
}

// problem keeps the position within the file: YAML knows more kinds of line ends than editors do.
func (d *decoder) problem(p position, path, message string) Problem {
	line := min(max(p.line, 1), len(d.lines))
	column := min(max(p.column, 1), d.lines[line-1]+1)
	return Problem{File: d.file, Line: line, Column: column, Path: path, Message: message}
}

// full reports whether further problems would not be recorded.
func (d *decoder) full() bool { return len(d.problems) > maxProblems }

// locate returns where the value at path is written, or else the nearest thing around it: for a value with a key, the
// key's place.
func (d *decoder) locate(path string) position {
	at, _ := d.find(path)
	return at
}

// written reports whether the file has a value at path.
func (d *decoder) written(path string) bool {
	_, ok := d.find(path)
	return ok
}

// find follows a path such as "robots[0].rotation" through the document. Paths are followed when there is something to
// say about a value, which is rare; a record of all places would be larger than the file.
func (d *decoder) find(path string) (at position, complete bool) {
	if d.root == nil {
		return position{1, 1}, false
	}
	n, at := d.root, position{d.root.Line, d.root.Column}
	for step := range strings.FieldsFuncSeq(path, func(r rune) bool { return r == '.' || r == '[' }) {
		place, value := child(n, step)
		if value == nil {
			return at, false
		}
		n, at = value, position{place.Line, place.Column}
	}
	return at, true
}

// child returns what a step of a path leads to, a key or "0]", and the node whose place is meant by it.
func child(n *yaml.Node, step string) (place, value *yaml.Node) {
	if index, ok := strings.CutSuffix(step, "]"); ok {
		if i, err := strconv.Atoi(index); err == nil && n.Kind == yaml.SequenceNode && i < len(n.Content) {
			return n.Content[i], n.Content[i]
		}
		return nil, nil
	}
	if n.Kind != yaml.MappingNode {
		return nil, nil
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == step {
			return n.Content[i], n.Content[i+1]
		}
	}
	return nil, nil
}

func sortProblems(problems []Problem) {
	slices.SortStableFunc(problems, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
}

// value is the place of one value in the document.
type value struct {
	d    *decoder
	path string
	node *yaml.Node // nil: not written
}

func (v value) written() bool { return v.node != nil }

func (v value) fail(format string, args ...any) { v.d.fail(v.path, format, args...) }

// is reports whether the value has the kind, and says what it should have been if it has not. Aliases and tags are
// refused: a file that says a thing in one place, as it is, is reviewed more easily and cannot explode.
func (v value) is(kind yaml.Kind, expected string) bool {
	switch n := v.node; {
	case n == nil:
		return false
	case n.Kind == yaml.AliasNode:
		v.fail("YAML aliases are not supported; write the value out")
	case n.Style&yaml.TaggedStyle != 0:
		v.fail("YAML tags are not supported; remove the word that starts with \"!\"")
	case n.Tag == "!!null":
		v.fail("is empty; write %s, or remove the key", expected)
	case n.Kind != kind:
		v.fail("expected %s, found %s", expected, describe(n))
	default:
		return true
	}
	return false
}

func describe(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "an object"
	case yaml.SequenceNode:
		return "a list"
	case yaml.AliasNode:
		return "an alias"
	default:
	}
	switch n.Tag {
	case "!!int", "!!float":
		return "a number"
	case "!!bool":
		return "true or false"
	case "!!timestamp":
		return "a date"
	case "!!null":
		return "nothing"
	}
	return "a string"
}

// object is a value with keys. Every key that the caller gets is a known one; end reports the others.
type object struct {
	value
	entries map[string]entry
	keys    []entry // in the order of the file, doubles and oddities included
	known   []string
}

type entry struct{ key, value *yaml.Node }

// object reads the value's keys; the result is empty, and asks for nothing, when the value is not written or no object.
func (v value) object() *object {
	o := &object{value: v}
	if !v.is(yaml.MappingNode, "an object (lines of \"key: value\")") {
		return o
	}
	o.entries = make(map[string]entry, len(v.node.Content)/2)
	for i := 0; i+1 < len(v.node.Content); i += 2 {
		e := entry{v.node.Content[i], v.node.Content[i+1]}
		at := position{e.key.Line, e.key.Column}
		switch first, twice := o.entries[e.key.Value]; {
		case e.key.Tag == "!!merge":
			v.d.failAt(at, v.path, "YAML merge keys (<<) are not supported; write the keys out")
		case e.key.Kind != yaml.ScalarNode || e.key.Tag != "!!str" || e.key.Style&yaml.TaggedStyle != 0:
			v.d.failAt(at, v.path, "a key must be a plain word, found %s", describe(e.key))
		case twice:
			v.d.failAt(at, join(v.path, e.key.Value), "is written twice, first on line %d; remove one", first.key.Line)
		default:
			o.entries[e.key.Value] = e
			o.keys = append(o.keys, e)
		}
	}
	return o
}

// get returns the value of an optional key.
func (o *object) get(key string) value {
	o.known = append(o.known, key)
	v := value{d: o.d, path: key, node: o.entries[key].value}
	if o.path != "" {
		v.path = o.path + "." + key
	}
	return v
}

// has reports whether a key is written.
func (o *object) has(key string) bool {
	_, ok := o.entries[key]
	return ok
}

// require returns the value of a key that must be written wherever its object is; what says what to write.
func (o *object) require(key, what string) value {
	v := o.get(key)
	if o.entries != nil && !v.written() {
		v.fail("is missing; write %s", what)
	}
	return v
}

// end reports the keys that were not asked for.
func (o *object) end() {
	for _, e := range o.keys {
		if !slices.Contains(o.known, e.key.Value) {
			o.d.failAt(position{e.key.Line, e.key.Column}, join(o.path, e.key.Value), "unknown key%s", choose(e.key.Value, "valid keys", o.known))
		}
	}
}

var plainKey = regexp.MustCompile(`\A[A-Za-z0-9_-]{1,64}\z`)

// join appends a key that somebody wrote to a path; an odd one is quoted.
func join(path, key string) string {
	switch {
	case !plainKey.MatchString(key):
		return path + fmt.Sprintf("[%q]", clip(key))
	case path == "":
		return key
	}
	return path + "." + key
}

// items reads a list; none when the value is not written or no list.
func (v value) items() []value {
	if !v.is(yaml.SequenceNode, "a list ([...], or lines that start with \"- \")") {
		return nil
	}
	items := make([]value, len(v.node.Content))
	for i, n := range v.node.Content {
		items[i] = value{d: v.d, path: item(v.path, i), node: n}
	}
	return items
}

// each reads the items of a list. It stops when further problems would not be recorded.
func each[T any](v value, read func(value) T) []T {
	var all []T
	for _, i := range v.items() {
		if v.d.full() {
			break
		}
		all = append(all, read(i))
	}
	return all
}

// item returns the path of one item of the list at path.
func item(path string, i int) string { return path + "[" + strconv.Itoa(i) + "]" }
