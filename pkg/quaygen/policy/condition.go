package policy

import (
	"slices"
	"strconv"
)

// Condition is one of those that a rule permits under. All have to be met.
type Condition int

// The conditions, in the order in which a rule is judged. Labels come last: that they are not known yet matters only where
// everything else is as it has to be.
const (
	OfClients Condition = iota
	OfNamespaces
	OfNames
	OfFormats
	OfLabels
)

const conditions = int(OfLabels) + 1 // how many there are

func (k Condition) String() string {
	switch k {
	case OfClients:
		return "clients"
	case OfNamespaces:
		return "namespaces"
	case OfNames:
		return "names"
	case OfFormats:
		return "formats"
	case OfLabels:
		return "namespaceLabels"
	}
	return "Condition(" + strconv.Itoa(int(k)) + ")"
}

// Answer says whether a condition is met.
type Answer int

// The answers.
const (
	No       Answer = iota
	NotKnown        // the labels of the namespace are not known yet
	Yes
)

func (a Answer) String() string {
	switch a {
	case No:
		return "no"
	case NotKnown:
		return "not known"
	case Yes:
		return "yes"
	}
	return "Answer(" + strconv.Itoa(int(a)) + ")"
}

// judge returns the first condition that is not met, and Yes if all are.
func (r *Rule) judge(c Caller, q Request) (Condition, Answer) {
	for k := range Condition(conditions) {
		if answer := r.meets(k, c, q); answer != Yes {
			return k, answer
		}
	}
	return Condition(conditions), Yes
}

// meets looks at one condition alone.
func (r *Rule) meets(k Condition, c Caller, q Request) Answer {
	switch k {
	case OfClients:
		return answer(matchesAny(r.Clients, c.Name))
	case OfNamespaces:
		return answer(matchesAny(r.Namespaces, q.Namespace) || len(r.Namespaces) == 0 && len(r.NamespaceLabels) > 0)
	case OfNames:
		return answer(matchesAny(r.Names, q.Name))
	case OfFormats:
		return answer(len(r.Formats) == 0 || slices.Contains(r.Formats, q.Format))
	case OfLabels:
		if len(r.NamespaceLabels) == 0 {
			return Yes
		}
		return q.Labels.have(r.NamespaceLabels)
	}
	return No
}

func answer(yes bool) Answer {
	if yes {
		return Yes
	}
	return No
}

// Judgement is what one rule has to say to a request, condition by condition.
type Judgement struct {
	Permits bool
	Answers [conditions]Answer // by Condition
}

// Explain returns what [Rules.Decide] decides, and how each rule came into it. The judgements are those of the rules by
// themselves: a request that is denied before any rule is asked may well have one that permits it.
func (rs Rules) Explain(c Caller, q Request) (Decision, []Judgement) {
	judgements := make([]Judgement, len(rs))
	for i := range rs {
		_, all := rs[i].judge(c, q)
		judgements[i].Permits = all == Yes
		for k := range Condition(conditions) {
			judgements[i].Answers[k] = rs[i].meets(k, c, q)
		}
	}
	return rs.Decide(c, q), judgements
}

// Conditions returns all conditions in the order in which a rule is judged.
func Conditions() []Condition {
	all := make([]Condition, conditions)
	for k := range all {
		all[k] = Condition(k)
	}
	return all
}
