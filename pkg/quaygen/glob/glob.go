// Package glob matches names against patterns in which "*" stands for any run of characters, "/" included, and
// everything else for itself. There is nothing more to it on purpose: rules and permissions are read by people.
package glob

import "strings"

// Match reports whether the whole of name fits pattern.
func Match(pattern, name string) bool {
	head, rest, starred := strings.Cut(pattern, "*")
	if !starred {
		return name == pattern
	}
	if !strings.HasPrefix(name, head) {
		return false
	}
	name = name[len(head):]
	for {
		part, next, more := strings.Cut(rest, "*")
		if !more {
			return strings.HasSuffix(name, part)
		}
		// The leftmost occurrence leaves the most for what follows, so that no other need be tried.
		i := strings.Index(name, part)
		if i < 0 {
			return false
		}
		name, rest = name[i+len(part):], next
	}
}

// HasStar reports whether pattern can match more than one name.
func HasStar(pattern string) bool { return strings.Contains(pattern, "*") }
