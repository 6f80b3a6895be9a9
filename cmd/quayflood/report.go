package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// String says in one line what is worth seeing while the rest goes on.
func (m *measurement) String() string {
	text := ""
	for _, c := range m.calls {
		text += fmt.Sprintf("%d calls, %d failed, median %s, 99 %% %s; ", len(c.took)+len(c.failed), len(c.failed), milliseconds(c.quantile(0.5)), milliseconds(c.quantile(0.99)))
	}
	return fmt.Sprintf("%s%.0f tries/s, up to %d connections, %v; processors %.2f against %.2f; worst %s; after %s, %.0f closed",
		text, m.tried, m.attacker.Most, m.attacker.Outcomes, m.theirs, m.ours, m.worst, m.after, m.closed)
}

func (s state) String() string {
	return fmt.Sprintf("%.0f MiB, %s goroutines, %s files", s.memory/(1<<20), number(s.goroutines), number(s.files))
}

// report is the table in Markdown. The first result is the one without an attack.
func report(results []*measurement, size size) string {
	var b strings.Builder
	alone := results[0]
	fmt.Fprintf(&b, "| attack | attacker: connections, tries a second | answers | processors: attacker, service | HTTP/1.1, a connection per call | HTTP/2, one connection | gRPC, one connection | service at the worst | %v after |\n|---|---|---|---|---|---|---|---|---|\n", size.rest)
	for _, m := range results {
		does, answers, processors := "", "", fmt.Sprintf("%.2f", m.ours)
		if m.name != "" {
			does = fmt.Sprintf("%s, %s", number(float64(m.attacker.Most)), number(m.tried))
			answers = m.answers()
			processors = fmt.Sprintf("%.2f, %.2f", m.theirs, m.ours)
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s |", m.title, does, answers, processors)
		for i, c := range m.calls {
			fmt.Fprintf(&b, " %s |", c.cell(alone.calls[i]))
		}
		fmt.Fprintf(&b, " %s | %s |\n", m.worst, m.after)
	}
	fmt.Fprintf(&b, "\nOf each caller: calls, how many failed; median and 99 %% of the time a call took, and how many times as long as without an attack. Each called %d times a second for %v.\n", size.rate, size.window)
	return b.String()
}

// answers are the most frequent ones.
func (m *measurement) answers() string {
	o := m.attacker.Outcomes
	keys := slices.SortedFunc(maps.Keys(o), func(a, b string) int { return int(o[b] - o[a]) })
	var texts []string
	for _, key := range keys[:min(3, len(keys))] {
		texts = append(texts, fmt.Sprintf("%s %s", number(float64(o[key])), key))
	}
	return strings.Join(texts, ", ")
}

func (c *calls) cell(alone *calls) string {
	median, most := c.quantile(0.5), c.quantile(0.99)
	text := fmt.Sprintf("%d, **%d**; %s, %s", len(c.took)+len(c.failed), len(c.failed), milliseconds(median), milliseconds(most))
	if c != alone {
		text += fmt.Sprintf(" (×%.1f, ×%.1f)", ratio(median, alone.quantile(0.5)), ratio(most, alone.quantile(0.99)))
	}
	return text
}

func ratio(a, b time.Duration) float64 { return a.Seconds() / max(b.Seconds(), 1e-6) }

func milliseconds(d time.Duration) string { return fmt.Sprintf("%.1f ms", d.Seconds()*1000) }

func number(f float64) string {
	text := fmt.Sprintf("%.0f", f)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}
