package config

import (
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// maxString is more than any name, path or URL of a working configuration has.
const maxString = 4096

// str reads a string of one line; "" when it is not written or not one, which is reported.
func (v value) str() string {
	if !v.is(yaml.ScalarNode, "a string") {
		return ""
	}
	switch s := v.node.Value; {
	case v.node.Tag != "!!str":
		v.fail("expected a string, found %s; put it in quotes", describe(v.node))
	case s == "":
		v.fail("is empty; write a value, or remove the key")
	case len(s) > maxString:
		v.fail("is longer than %d bytes", maxString)
	case strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f }):
		v.fail("has a line break or another control character in it; write it on one line")
	default:
		return s
	}
	return ""
}

// matching reads a string that must match the expression. One that does not is returned as well, so that references to
// it are not reported on top.
func (v value) matching(re *regexp.Regexp, rule string) string {
	s := v.str()
	if s != "" && !re.MatchString(s) {
		v.fail("%q must be %s", clip(s), rule)
	}
	return s
}

// oneOf reads one of a closed set of words.
func (v value) oneOf(fallback string, words ...string) string {
	s := v.str()
	if s == "" {
		return fallback
	}
	if !slices.Contains(words, s) {
		v.fail("%q is not supported%s", clip(s), choose(s, "valid values", words))
		return fallback
	}
	return s
}

// boolean reads true or false; false when it is not written.
func (v value) boolean() bool {
	if !v.is(yaml.ScalarNode, "true or false") {
		return false
	}
	// Go's words for it, not YAML 1.1's: "yes" and "on" are strings to half of the tools around.
	if v.node.Tag != "!!bool" {
		v.fail("expected true or false without quotes, found %s", describe(v.node))
	}
	return v.node.Tag == "!!bool" && strings.EqualFold(v.node.Value, "true")
}

// number reads a decimal number above 0 and up to most.
func (v value) number(fallback, most float64) float64 {
	if !v.is(yaml.ScalarNode, "a number") {
		return fallback
	}
	f, err := strconv.ParseFloat(v.node.Value, 64)
	switch {
	case v.node.Tag != "!!int" && v.node.Tag != "!!float":
		v.fail("expected a number without quotes, found %s", describe(v.node))
	case err != nil:
		v.fail("expected a plain decimal number such as %v", fallback)
	case !(f > 0 && f <= most):
		v.fail("%v must be above 0 and at most %v", f, most)
	default:
		return f
	}
	return fallback
}

// whole reads a whole number of 1 to most.
func (v value) whole(fallback, most int) int {
	f := v.number(float64(fallback), float64(most))
	if f != float64(int(f)) {
		v.fail("%v must be a whole number", f)
		return fallback
	}
	return int(f)
}

// maxDuration keeps sums of durations far from overflow.
const maxDuration = 10 * 365 * 24 * time.Hour

var (
	daysRE = regexp.MustCompile(`\A([0-9]{1,4})(d|w)\z`)
	bareRE = regexp.MustCompile(`\A[0-9]{1,9}(?:\.[0-9]{1,9})?\z`)

	momentRE = regexp.MustCompile(`\A[0-9]{4}-[0-9]{2}-[0-9]{2}(?:T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]+)?(?:Z|[+-][0-9]{2}:[0-9]{2}))?\z`)
)

// duration reads a positive duration as Go writes them, "1h30m". Days are refused rather than guessed at: they are
// not all 24 hours long.
func (v value) duration(fallback time.Duration) time.Duration {
	if !v.is(yaml.ScalarNode, "a duration such as "+short(fallback)) {
		return fallback
	}
	s := v.node.Value
	d, err := time.ParseDuration(s)
	if days := daysRE.FindStringSubmatch(s); days != nil {
		n, _ := strconv.Atoi(days[1]) // four digits always fit
		v.fail("%q is not a duration: the largest unit is h; write %dh", s, n*map[string]int{"d": 24, "w": 7 * 24}[days[2]])
		return fallback
	}
	switch {
	case bareRE.MatchString(s):
		v.fail("%s has no unit; write %sh for hours, %sm for minutes or %ss for seconds", s, s, s, s)
	case v.node.Tag != "!!str":
		v.fail("expected a duration such as %s, found %s", short(fallback), describe(v.node))
	case err != nil:
		v.fail("%q is not a duration; write numbers with the units h, m and s, such as %s or 1h30m", clip(s), short(fallback))
	case d <= 0:
		v.fail("%s is not positive; write for example %s", clip(s), short(fallback))
	case d > maxDuration:
		v.fail("%s is longer than ten years (%s)", clip(s), short(maxDuration))
	default:
		return d
	}
	return fallback
}

// moment reads a time as RFC 3339 writes it, or a day, which stands for its first moment in UTC; zero when it is not written.
func (v value) moment() time.Time {
	if !v.is(yaml.ScalarNode, "a time") {
		return time.Time{}
	}
	// YAML takes some times without quotes for a timestamp. time.Parse alone takes more than RFC 3339.
	if (v.node.Tag == "!!timestamp" || v.node.Tag == "!!str") && momentRE.MatchString(v.node.Value) {
		for _, layout := range []string{time.RFC3339, time.DateOnly} {
			if t, err := time.Parse(layout, v.node.Value); err == nil && !t.IsZero() {
				return t.UTC()
			}
		}
	}
	v.fail("%q is not a time; write one such as 2030-01-31 or 2030-01-31T12:00:00Z", clip(v.node.Value))
	return time.Time{}
}

// short writes a duration without the zero units that Duration.String appends: 720h, not 720h0m0s.
func short(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}
