package config

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// Problem is one thing wrong with a configuration file, or, among the warnings, one that its author probably
// does not want. It never quotes what could be a secret.
type Problem struct {
	File    string `json:"file"`           // as given to Load or Parse
	Line    int    `json:"line"`           // from 1; that of the nearest enclosing key where the value itself is not written
	Column  int    `json:"column"`         // from 1, in characters
	Path    string `json:"path,omitempty"` // e.g. "robots[0].rotation.overlap"; empty for the file as a whole
	Message string `json:"message"`        // what is wrong and what to write instead
}

// String returns "file.yaml:12:5: robots[0].rotation.overlap: message".
func (p Problem) String() string {
	if p.Path == "" {
		return fmt.Sprintf("%s:%d:%d: %s", p.File, p.Line, p.Column, p.Message)
	}
	return fmt.Sprintf("%s:%d:%d: %s: %s", p.File, p.Line, p.Column, p.Path, p.Message)
}

// Error is everything that is wrong with one file, in the order of its lines.
type Error struct {
	Problems []Problem `json:"problems"`           // at least one
	Warnings []Problem `json:"warnings,omitempty"` // what would remain once the problems are mended; not in the error's text
}

// Error returns one line for each problem.
func (e *Error) Error() string {
	lines := make([]string, len(e.Problems))
	for i, p := range e.Problems {
		lines[i] = p.String()
	}
	return strings.Join(lines, "\n")
}

// clip keeps what is quoted in a message short.
func clip(s string) string {
	const most = 80
	if len(s) <= most {
		return s
	}
	cut := most
	for cut > 0 && !utf8.RuneStart(s[cut]) {
		cut--
	}
	return s[:cut] + "..."
}

// nearest returns the candidate that s is probably a misspelling of, or "". Of very many candidates only the first
// few hundred are looked at: each costs len(s)*len(candidate).
func nearest(s string, candidates []string) string {
	const mostCandidates, mostLength = 500, 64
	if len(s) > mostLength {
		return ""
	}
	best, bestDistance := "", 1+max(1, len(s)/3)
	for _, c := range candidates[:min(len(candidates), mostCandidates)] {
		if len(s) >= 4 && strings.HasPrefix(c, s) && bestDistance > 1 { // token for tokenFile
			best, bestDistance = c, 1
		}
		if difference := len(c) - len(s); difference >= bestDistance || -difference >= bestDistance {
			continue
		}
		if d := distance(strings.ToLower(s), strings.ToLower(c)); d < bestDistance {
			best, bestDistance = c, d
		}
	}
	return best
}

// distance is the number of bytes to insert, delete or replace on the way from a to b.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			above := row[j+1]
			cost := diagonal
			if a[i] != b[j] {
				cost = 1 + min(diagonal, above, row[j])
			}
			diagonal, row[j+1] = above, cost
		}
	}
	return row[len(b)]
}

// choose returns the end of a message about s, which is none of the candidates: the likely one if there is one, and
// all of them while they are few.
func choose(s, what string, candidates []string) string {
	const few = 20
	var b strings.Builder
	if n := nearest(s, candidates); n != "" {
		fmt.Fprintf(&b, "; did you mean %q?", n)
	}
	switch {
	case len(candidates) == 0:
		fmt.Fprintf(&b, " (there are no %s)", what)
	case len(candidates) <= few:
		fmt.Fprintf(&b, " (%s: %s)", what, strings.Join(candidates, ", "))
	}
	return b.String()
}
