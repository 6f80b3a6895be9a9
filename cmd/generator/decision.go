package main

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/quaygen/quaygen/pkg/quaygen"
	"github.com/quaygen/quaygen/pkg/quaygen/config"
	"github.com/quaygen/quaygen/pkg/quaygen/policy"
)

// question is what somebody wants to be explained: would the service give this to that client?
type question struct {
	asked  bool
	format string
	labels []string // key=value each; none: nothing is known of labels

	client, namespace, name string
}

func (q *question) flags(c *cobra.Command) {
	c.Flags().BoolVar(&q.asked, "explain", false, "say which rule decides whether CLIENT may have NAME for NAMESPACE, and why")
	c.Flags().StringVar(&q.format, "format", string(quaygen.FormatDockerConfigJSON), "with --explain: the format that is asked for")
	c.Flags().StringArrayVar(&q.labels, "label", nil, "with --explain: KEY=VALUE, a label of the namespace; once for each, or '' where it has none")
}

// args takes CLIENT NAMESPACE NAME FILE where something is to be explained, FILE alone else.
func (q *question) args(c *cobra.Command, args []string) error {
	if !q.asked {
		for _, flag := range []string{"format", "label"} {
			if c.Flags().Changed(flag) {
				return fmt.Errorf("--%s is for --explain", flag)
			}
		}
		return cobra.ExactArgs(1)(c, args)
	}
	if len(args) != 4 {
		return fmt.Errorf("--explain takes CLIENT NAMESPACE NAME FILE, not %d arguments", len(args))
	}
	q.client, q.namespace, q.name = args[0], args[1], args[2]
	if !slices.Contains(quaygen.Formats(), q.format) {
		return fmt.Errorf("--format %q is none of %s", q.format, strings.Join(quaygen.Formats(), ", "))
	}
	_, err := q.known()
	return err
}

// known reads the labels; without any nothing is known of them, and what depends on them is left open.
func (q *question) known() (policy.Labels, error) {
	if len(q.labels) == 0 {
		return policy.Labels{Knowledge: policy.LabelsLater}, nil
	}
	l := policy.Labels{Knowledge: policy.LabelsKnown, Values: map[string]string{}}
	for _, label := range q.labels {
		key, value, ok := strings.Cut(label, "=")
		if label != "" && (!ok || key == "") {
			return policy.Labels{}, fmt.Errorf("--label %q is not KEY=VALUE", label)
		}
		if label != "" {
			l.Values[key] = value
		}
	}
	return l, nil
}

// explanation is what the rules have to say to a question, for people and programs.
type explanation struct {
	Outcome   string            `json:"outcome"` // allowed, denied, no rule; open: it depends on labels that were not given
	Rule      int               `json:"rule"`    // index of the rule that permits it; -1: none does
	Reason    string            `json:"reason"`
	Client    string            `json:"client"`
	Namespace string            `json:"namespace"`
	Name      string            `json:"name"`
	Format    string            `json:"format"`
	Labels    map[string]string `json:"labels"` // null: not given
	Rules     []explainedRule   `json:"rules"`

	Accounts *explainedAccounts `json:"serviceAccounts,omitempty"` // that the client is; left out: it has other credentials

	file    string
	outcome policy.Outcome
}

type explainedRule struct {
	Rule       int                `json:"rule"`
	Line       int                `json:"line"`
	Permits    bool               `json:"permits"`
	Conditions []explainedAnswers `json:"conditions"`
}

type explainedAnswers struct {
	Condition string   `json:"condition"`
	Met       string   `json:"met"`     // yes, no, not known
	Written   []string `json:"written"` // what the rule says; null: it says nothing, and all will do
}

// explain asks the rules, with the same function as the service does.
func (q *question) explain(file string, c *config.Config) (*explanation, error) {
	i := slices.IndexFunc(c.Clients, func(c config.Client) bool { return c.Name == q.client })
	if i < 0 {
		return nil, &quaygen.Error{Kind: quaygen.KindUnknown, Detail: fmt.Sprintf("%s has no client %q", file, q.client)}
	}
	secrets := settings(c).Secrets
	if _, ok := secrets[q.name]; !ok {
		return nil, &quaygen.Error{Kind: quaygen.KindUnknown, Detail: fmt.Sprintf("%s has no robot or pull secret %q", file, q.name)}
	}
	labels, err := q.known()
	if err != nil {
		return nil, usageError{err}
	}
	caller := policy.Caller{Name: q.client, Namespace: c.Clients[i].Namespace, Operator: c.Clients[i].Operator, OperatorOnly: c.Clients[i].OperatorOnly}
	accounts := explainAccounts(c, c.Clients[i], q.namespace)
	if accounts != nil {
		caller = accounts.caller
	}
	decision, judgements := c.Rules.Explain(caller, policy.Request{Namespace: q.namespace, Labels: labels, Name: q.name, Format: q.format})
	if accounts != nil && accounts.nobody != "" {
		decision = policy.Decision{Outcome: policy.Denied, Rule: -1, Reason: accounts.nobody} // no rule is asked
	}
	e := &explanation{
		Outcome: decision.Outcome.String(), Rule: decision.Rule, Reason: decision.Reason, Labels: labels.Values, Rules: []explainedRule{},
		Client: q.client, Namespace: q.namespace, Name: q.name, Format: q.format, Accounts: accounts, file: file, outcome: decision.Outcome,
	}
	for i, j := range judgements {
		e.Rules = append(e.Rules, explainRule(i, c, j))
	}
	return e, nil
}

func explainRule(i int, c *config.Config, j policy.Judgement) explainedRule {
	rule := c.Rules[i]
	var labels []string
	for _, key := range slices.Sorted(maps.Keys(rule.NamespaceLabels)) {
		labels = append(labels, key+"="+rule.NamespaceLabels[key])
	}
	written := map[policy.Condition][]string{
		policy.OfClients: rule.Clients, policy.OfNamespaces: rule.Namespaces, policy.OfNames: rule.Names, policy.OfFormats: rule.Formats, policy.OfLabels: labels,
	}
	out := explainedRule{Rule: i, Line: c.RuleLine(i), Permits: j.Permits}
	for _, k := range policy.Conditions() {
		out.Conditions = append(out.Conditions, explainedAnswers{Condition: k.String(), Met: j.Answers[k].String(), Written: written[k]})
	}
	return out
}

// print writes the explanation and returns what decides on the exit code.
func (e *explanation) print(w io.Writer, output string) error {
	if output == "json" {
		encoder := json.NewEncoder(w)
		encoder.SetIndent("", "  ")
		if err := encoder.Encode(e); err != nil {
			return err
		}
	} else {
		e.text(w)
	}
	switch e.outcome {
	case policy.Allowed:
		return nil
	case policy.Open:
		return &quaygen.Error{Kind: quaygen.KindNotReady, Detail: "it depends on the labels of the namespace: say what they are, with --label KEY=VALUE"}
	case policy.Denied, policy.NoRule:
	}
	return &quaygen.Error{Kind: quaygen.KindDenied, Detail: e.Reason}
}

func (e *explanation) text(w io.Writer) {
	fmt.Fprintf(w, "%s: %s asks for %s, for namespace %s, as %s\n", e.Outcome, e.Client, e.Name, e.Namespace, e.Format)
	if e.Accounts != nil {
		fmt.Fprintf(w, "who: %s\n", e.Accounts)
	}
	if e.Rule >= 0 {
		fmt.Fprintf(w, "why: rules[%d] permits it (%s:%d)\n", e.Rule, e.file, e.Rules[e.Rule].Line)
	} else {
		fmt.Fprintf(w, "why: %s\n", e.Reason)
	}
	if len(e.Rules) == 0 {
		fmt.Fprintln(w, "\nthere are no rules")
	}
	for _, r := range e.Rules {
		fmt.Fprintf(w, "\nrules[%d] (%s:%d) %s\n", r.Rule, e.file, r.Line, r.verdict())
		for _, c := range r.Conditions {
			fmt.Fprintf(w, "  %-9s  %s: %s\n", c.Met, c.Condition, list(c.Written))
		}
	}
}

// verdict says what becomes of a rule.
func (r explainedRule) verdict() string {
	var missed, open []string
	for _, c := range r.Conditions {
		switch c.Met {
		case policy.No.String():
			missed = append(missed, c.Condition)
		case policy.NotKnown.String():
			open = append(open, c.Condition)
		}
	}
	switch {
	case len(missed) > 0:
		return "does not apply, because of its " + strings.Join(missed, ", ")
	case len(open) > 0:
		return "may apply: that depends on its " + strings.Join(open, ", ")
	}
	return "permits it"
}

// list keeps what a rule says to one line.
func list(written []string) string {
	const few = 10
	switch {
	case len(written) == 0:
		return "any"
	case len(written) > few:
		return fmt.Sprintf("%s and %d more", strings.Join(written[:few], ", "), len(written)-few)
	}
	return strings.Join(written, ", ")
}
