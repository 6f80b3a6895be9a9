package quaygen

import "strings"

// Every request comes by here, and regular expressions would be a sixth of what answering it takes.

// IsNamespace reports whether s could be a namespace of Kubernetes, a DNS label.
func IsNamespace(s string) bool {
	return len(s) > 0 && len(s) <= 63 && isPlain(s[0]) && isPlain(s[len(s)-1]) && consistsOf(s, "-")
}

// isName reports whether the configuration accepts s as the name of a pull secret.
func isName(s string) bool {
	return len(s) > 0 && len(s) <= 253 && isPlain(s[0]) && consistsOf(s, "._-")
}

// consistsOf reports whether s has no others than lower-case letters, digits, and those of also.
func consistsOf(s, also string) bool {
	for i := range len(s) {
		if !isPlain(s[i]) && strings.IndexByte(also, s[i]) < 0 {
			return false
		}
	}
	return true
}

func isPlain(b byte) bool { return 'a' <= b && b <= 'z' || '0' <= b && b <= '9' }
