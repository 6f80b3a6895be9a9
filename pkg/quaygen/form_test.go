package quaygen

import (
	"regexp"
	"strings"
	"testing"
)

var (
	namespaceForm = regexp.MustCompile(`\A[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?\z`)
	nameForm      = regexp.MustCompile(`\A[a-z0-9][a-z0-9._-]{0,252}\z`)
)

func FuzzNamesAndNamespacesAreWhatTheirExpressionsSay(f *testing.F) {
	for _, s := range []string{
		"", "a", "0", "-", ".", "_", "a-", "-a", "a.b", "a_b", "a--b", "A", "aB", "ä", "a\n", "a\x00", "a b", "<no value>",
		strings.Repeat("a", 63), strings.Repeat("a", 64), strings.Repeat("a", 62) + "-", strings.Repeat("a", 253), strings.Repeat("a", 254),
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if got, want := IsNamespace(s), namespaceForm.MatchString(s); got != want {
			t.Errorf("namespace %q: %v", s, got)
		}
		if got, want := isName(s), nameForm.MatchString(s); got != want {
			t.Errorf("name %q: %v", s, got)
		}
	})
}
