package config

import (
	"bytes"
	"errors"
	"io"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// document parses the one YAML document of a file; without it there is nothing else to report on.
func (d *decoder) document(data []byte) (value, bool) {
	if len(data) > MaxSize {
		d.fail("", "the file is larger than %d MiB", MaxSize>>20)
		return value{}, false
	}
	if offset := badText(data); offset >= 0 {
		before := data[:offset]
		at := position{1 + bytes.Count(before, []byte("\n")), 1 + utf8.RuneCount(before[bytes.LastIndexByte(before, '\n')+1:])}
		d.failAt(at, "", "the file is not UTF-8 text: byte %#02x; save it as UTF-8", data[offset])
		return value{}, false
	}
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	var first, second yaml.Node
	switch err := decoder.Decode(&first); {
	case errors.Is(err, io.EOF):
		d.fail("", "the file is empty; it must start with apiVersion: %s and kind: %s", APIVersion, Kind)
		return value{}, false
	case err != nil:
		d.syntax(err, data)
		return value{}, false
	}
	switch err := decoder.Decode(&second); {
	case errors.Is(err, io.EOF):
	case err != nil:
		d.syntax(err, data)
	default:
		d.failAt(position{second.Line, second.Column}, "", "a second YAML document starts here; the file holds exactly one, so remove the line \"---\" and what follows")
	}
	d.root = first.Content[0]
	return value{d: d, node: d.root}, true
}

// badText returns the offset of the first byte that is not UTF-8, or is NUL; -1 if there is none.
func badText(data []byte) int {
	nul := bytes.IndexByte(data, 0)
	if nul < 0 && utf8.Valid(data) {
		return -1
	}
	for i := 0; i < len(data); {
		r, size := utf8.DecodeRune(data[i:])
		if r == 0 || r == utf8.RuneError && size == 1 {
			return i
		}
		i += size
	}
	return nul
}

var (
	syntaxLine = regexp.MustCompile(`\A(?:yaml: )?(?:line ([0-9]+): )?`)
	misplaced  = regexp.MustCompile(`\Adid not find expected (?:',' or|'-' indicator|key|node content|<document start>)`)
)

// syntax reports an error of the YAML parser, whose text starts with the line.
func (d *decoder) syntax(err error, data []byte) {
	message := err.Error()
	found := syntaxLine.FindStringSubmatch(message)
	line, _ := strconv.Atoi(found[1]) // no line means the first
	message = message[len(found[0]):]
	if misplaced.MatchString(message) {
		// For these the parser counts lines from 0; it means the line of the fault, or that where a list begins.
		line++
		message += "; an indentation, a bracket or a quote does not match here"
	}
	at := position{line: max(line, 1)}
	for i, text := range strings.Split(string(data), "\n") {
		if indent := text[:len(text)-len(strings.TrimLeft(text, " \t"))]; i+1 >= at.line-1 && i < at.line && strings.Contains(indent, "\t") {
			message += "; indent with spaces: there is a tab at the start of line " + strconv.Itoa(i+1)
			break
		}
	}
	d.failAt(at, "", "not valid YAML: %s", message)
}
