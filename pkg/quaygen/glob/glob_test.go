package glob_test

import (
	"regexp"
	"strings"
	"testing"

	"github.com/quaygen/quaygen/pkg/quaygen/glob"
)

func TestMatch(t *testing.T) {
	for _, c := range []struct {
		pattern, name string
		want          bool
	}{
		{"app", "app", true}, {"app", "app2", false}, {"app", "my-app", false}, {"", "", true}, {"", "a", false},
		{"*", "", true}, {"*", "team/sub/app", true}, {"backend/*", "backend/a/b", true}, {"backend/*", "backend", false},
		{"prod-*", "prod-", true}, {"prod-*", "xprod-a", false}, {"*-x", "a-x-x", true}, {"a*b*c", "abcbc", true},
		{"a*b*c", "acb", false}, {"a|b", "a", false}, {"a.c", "abc", false}, {"**", "a", true}, {"a**a", "a", false},
	} {
		if got := glob.Match(c.pattern, c.name); got != c.want {
			t.Errorf("Match(%q, %q) = %v", c.pattern, c.name, got)
		}
	}
}

func FuzzMatchAgreesWithARegularExpression(f *testing.F) {
	f.Add("a*b*", "axxb")
	f.Fuzz(func(t *testing.T, pattern, name string) {
		parts := strings.Split(pattern, "*")
		for i := range parts {
			parts[i] = regexp.QuoteMeta(parts[i])
		}
		oracle, err := regexp.Compile(`(?s)\A` + strings.Join(parts, ".*") + `\z`)
		if err != nil || strings.ToValidUTF8(pattern+name, "") != pattern+name {
			return
		}
		if got := glob.Match(pattern, name); got != oracle.MatchString(name) {
			t.Errorf("Match(%q, %q) = %v", pattern, name, got)
		}
	})
}
