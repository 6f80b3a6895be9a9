// Package policy decides who may have which pull secret, and for which namespace.
//
// Everything is denied unless one rule permits it: a rule permits what meets all of its conditions. Rules only
// permit; there is no rule that forbids, and their order means nothing. The package is pure: it knows what it is
// given, does no I/O, and has no types of HTTP or Kubernetes.
package policy

import (
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/quaygen/quaygen/pkg/quaygen/glob"
)

// ErrPattern is wrapped by every error of [ParseRule].
var ErrPattern = errors.New("invalid rule")

// Caller is who asks, as an authenticator found out.
type Caller struct {
	Name      string // the client's name in the configuration
	Namespace string // the namespace it is confined to or has proven to be in; "" if it may speak for those its rules list
	How       string // the kind of credential, for the audit trail
	Account   string // the ServiceAccount in Namespace that it has proven to be; "" with other credentials
	Transport string // the way in, for the audit trail; authenticators leave it empty
	From      string // the address it calls from, for the audit trail; authenticators leave it empty

	Operator     Operator // what it may do with robots, whatever the rules say about pull secrets
	OperatorOnly bool     // it speaks for no namespace at all: no rule gives it a pull secret, not even one for all clients
}

// Rule permits each of Clients each of Names in each of the namespaces, in each of Formats. Entries are literal, or have "*"
// for any run of characters (see [Match]). An empty list of clients or names permits nothing; "*" is the way to say all.
//
// The namespaces are those that one of Namespaces fits and that have all of NamespaceLabels; a rule with neither permits
// nothing.
type Rule struct {
	Clients         []string
	Namespaces      []string          // none: only the labels decide
	NamespaceLabels map[string]string // none: only the names decide
	Names           []string
	Formats         []string // names of formats, compared as they are; none: all
}

// Rules are all the rules there are. No rules permit nothing.
type Rules []Rule

// NeedLabels reports whether a decision can depend on the labels of a namespace.
func (rs Rules) NeedLabels() bool {
	return slices.ContainsFunc(rs, func(r Rule) bool { return len(r.NamespaceLabels) > 0 })
}

// Request is what a caller asks for, as it states it, and what others say about the namespace.
type Request struct {
	Namespace string
	Labels    Labels // of the namespace
	Name      string
	Format    string // the name of a format; the default is written out
}

// Outcome is the sort of a decision. Denied and NoRule are both refusals and look alike to the caller; they are told
// apart for the operator, who reads NoRule as "nobody ever meant this client to have anything".
type Outcome int

// The outcomes. The zero value is none of them, so that a decision nobody took is never an Allowed one.
const (
	Allowed Outcome = iota + 1
	Denied          // rules speak of this caller, but none permits this
	NoRule          // no rule speaks of this caller at all
	Open            // nothing can be decided before the namespace's labels are known: a rule permits this if they fit, none does whatever they are
)

func (o Outcome) String() string {
	switch o {
	case Allowed:
		return "allowed"
	case Denied:
		return "denied"
	case NoRule:
		return "no rule"
	case Open:
		return "open"
	}
	return "Outcome(" + strconv.Itoa(int(o)) + ")"
}

// Decision is the answer of [Rules.Decide].
type Decision struct {
	Outcome Outcome
	Rule    int    // index of the first rule that permits; -1 if none does
	Reason  string // for the operator; it tells about the rules and is not for the caller
}

// Allowed reports whether the caller may go on.
func (d Decision) Allowed() bool { return d.Outcome == Allowed }

// Decide says whether c may have what q asks for. A caller with a namespace of its own has to state it too: what is stated
// otherwise, or not stated, is denied whatever the rules say. So is a request without a namespace, a name or a format, from a
// caller without a name, or from one that is an operator only: no "*" stands for nothing.
func (rs Rules) Decide(c Caller, q Request) Decision {
	if reason := q.refused(c); reason != "" {
		return denied(reason)
	}
	farthest := OfClients
	open := false
	for i := range rs {
		condition, answer := rs[i].judge(c, q)
		switch answer {
		case Yes:
			return Decision{Outcome: Allowed, Rule: i, Reason: "permitted by rule " + strconv.Itoa(i)}
		case NotKnown:
			open = true
		case No:
		}
		farthest = max(farthest, condition)
	}
	switch {
	case open:
		return Decision{Outcome: Open, Rule: -1, Reason: fmt.Sprintf("the labels of namespace %q are not known yet", clip(q.Namespace))}
	case farthest == OfClients:
		return Decision{Outcome: NoRule, Rule: -1, Reason: "no rule speaks of this caller"}
	case farthest == OfNamespaces:
		return denied(fmt.Sprintf("no rule permits this caller anything in namespace %q", clip(q.Namespace)))
	case farthest == OfNames:
		return denied(fmt.Sprintf("no rule permits this caller %q in namespace %q", clip(q.Name), clip(q.Namespace)))
	case farthest == OfFormats:
		return denied(fmt.Sprintf("no rule permits this caller %q in namespace %q in the format %q", clip(q.Name), clip(q.Namespace), clip(q.Format)))
	}
	return denied(fmt.Sprintf("namespace %q has not the labels with which a rule permits %q: %s", clip(q.Namespace), clip(q.Name), q.Labels))
}

// refused says why no rule is asked, "" if they are.
func (q Request) refused(c Caller) string {
	switch {
	case c.Name == "":
		return "the caller has no name"
	case c.OperatorOnly:
		return "the caller is an operator only: it speaks for no namespace"
	case q.Name == "":
		return "the request names no pull secret"
	case q.Namespace == "":
		return "the request names no namespace"
	case q.Format == "":
		return "the request names no format"
	case c.Namespace != "" && c.Namespace != q.Namespace:
		return fmt.Sprintf("the caller belongs to namespace %q and asked for %q", clip(c.Namespace), clip(q.Namespace))
	}
	return ""
}

func denied(reason string) Decision { return Decision{Outcome: Denied, Rule: -1, Reason: reason} }

func matchesAny(patterns []string, s string) bool {
	for _, pattern := range patterns {
		if Match(pattern, s) {
			return true
		}
	}
	return false
}

// Match reports whether the whole of s fits pattern: "*" stands for any run of characters, also for none; everything
// else stands for itself.
func Match(pattern, s string) bool { return glob.Match(pattern, s) }

const (
	maxPattern  = 253    // bytes; the longest name Kubernetes knows
	maxPatterns = 10_000 // in one list
)

// ParseRule makes a rule of three lists and refuses what could not work: an empty list, an empty or overlong pattern,
// and characters that no name has, which are mostly a regular expression or shell pattern taken for one of ours.
// Errors wrap [ErrPattern].
func ParseRule(clients, namespaces, names []string) (Rule, error) {
	for _, list := range []struct {
		what     string
		patterns []string
	}{{"clients", clients}, {"namespaces", namespaces}, {"names", names}} {
		if n := len(list.patterns); n == 0 || n > maxPatterns {
			return Rule{}, fmt.Errorf("%w: %s has %d entries, not 1 to %d; \"*\" stands for all", ErrPattern, list.what, n, maxPatterns)
		}
		for i, pattern := range list.patterns {
			if err := checkPattern(pattern); err != nil {
				return Rule{}, fmt.Errorf("%w: %s[%d]: %w", ErrPattern, list.what, i, err)
			}
		}
	}
	return Rule{Clients: clients, Namespaces: namespaces, Names: names}, nil
}

func checkPattern(pattern string) error {
	if len(pattern) == 0 || len(pattern) > maxPattern {
		return fmt.Errorf("%q must have 1 to %d characters", clip(pattern), maxPattern)
	}
	for _, r := range pattern {
		if !inNames(r) && r != '*' {
			return fmt.Errorf("%q: %q is in no name; patterns are literal except for \"*\"", clip(pattern), r)
		}
	}
	return nil
}

func inNames(r rune) bool {
	switch {
	case 'a' <= r && r <= 'z', 'A' <= r && r <= 'Z', '0' <= r && r <= '9':
		return true
	}
	switch r {
	case '.', '_', '-', '+', ':', '/', '@':
		return true
	}
	return false
}

// clip bounds what a caller can have written into a log.
func clip(s string) string {
	const longest = 80
	if len(s) > longest {
		return s[:longest] + "..."
	}
	return s
}
