package main

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// line is one of the table; an empty text means that it does not apply.
type line struct {
	what string
	of   func(*result) string
}

func lines() []line {
	service := func(f func(*result) string) func(*result) string {
		return func(r *result) string {
			if r.way == wayScript {
				return ""
			}
			return f(r)
		}
	}
	troubled := func(f func(*result) string) func(*result) string {
		return func(r *result) string {
			if !r.trouble {
				return ""
			}
			return f(r)
		}
	}
	overlap := func(f func(*result) string) func(*result) string {
		return func(r *result) string {
			if r.way != wayOverlap {
				return ""
			}
			return f(r)
		}
	}
	count := func(traces func(findings) []string) func(*result) string {
		return overlap(func(r *result) string { return number(len(traces(r.findings))) })
	}
	all := []line{
		{"ran for, with all that follows", func(r *result) string { return r.took.Round(time.Second).String() }},
		{"robots, consumers of each", func(r *result) string { return fmt.Sprintf("%d, %d", r.robots, r.namespaces) }},
		{"rotations", func(r *result) string { return number(r.journal.rotations) }},
		{"pulls; of these by go-containerregistry", func(r *result) string { return number(r.journal.pulls) + "; " + number(r.journal.foreign) }},
		{"**pulls that failed because of a rotation**", func(r *result) string { return "**" + number(r.failed-r.uncovered) + "**" }},
		{"the same, per rotation", func(r *result) string {
			return fmt.Sprintf("%.2f", float64(r.failed-r.uncovered)/float64(max(1, r.journal.rotations)))
		}},
		{"for how long a consumer's pulls failed: median, longest", func(r *result) string {
			if len(r.journal.outages) == 0 {
				return "-"
			}
			return spread(r.journal.outages, 0.5, 1)
		}},
		{"pulls that failed because the consumer got no answer within `maxRefresh`", overlap(func(r *result) string { return number(r.uncovered) })},
		{"double rotations by our own decision", service(func(r *result) string { return number(len(r.doubles)) })},
		{"credentials held by a consumer after their deletion", count(func(f findings) []string { return f.heldDead })},
		{"the same, where the consumer got no answer within `maxRefresh`", overlap(func(r *result) string { return number(r.heldBeyond) })},
		{"newest generations deleted", count(func(f findings) []string { return f.newestDeleted })},
		{"names used twice", count(func(f findings) []string { return f.namesTwice })},
		{"robots leaked: neither current, nor draining, nor deleted", count(func(f findings) []string { return f.leaked })},
		{"robots of others, or without marker, touched", service(func(r *result) string { return number(len(r.touched)) })},
		{"secrets found in ledger, logs and metrics", service(func(r *result) string { return number(len(r.tokens)) })},
		{"from due to handed out: median, 95 %, longest", service(func(r *result) string { return spread(r.publish, 0.5, 0.95, 1) })},
		{"from the end of the overlap to the deletion: median, 95 %, longest", overlap(func(r *result) string { return spread(r.retire, 0.5, 0.95, 1) })},
		{"generations made and given up without use", overlap(func(r *result) string { return number(r.unused) })},
		{"refreshes answered; refused with 503; without an answer", service(func(r *result) string {
			o := r.journal.outcomes
			return number(o["answered"]) + "; " + number(o["503"]) + "; " + number(o["no answer"])
		})},
		{"the longest a consumer went without an answer", service(func(r *result) string { return rounded(r.journal.silence) })},
		{"replicas killed; each in each call of a rotation, before its effect and after it, at least", troubled(func(r *result) string { return number(r.killed) + "; " + number(r.rarest) })},
	}
	for _, kind := range kinds {
		all = append(all, line{"faults: " + kind, troubled(func(r *result) string { return number(r.hitsOf[kind]) })})
	}
	return all
}

// report is the table in Markdown.
func report(results []*result) string {
	var b strings.Builder
	titles, rule := "|", "|---|"
	for _, r := range results {
		titles += " | " + r.title
		rule += "---|"
	}
	fmt.Fprintf(&b, "%s |\n%s\n", titles, rule)
	for _, l := range lines() {
		row := "| " + l.what
		empty := true
		for _, r := range results {
			text := l.of(r)
			empty = empty && text == ""
			row += " | " + text
		}
		if !empty {
			fmt.Fprintf(&b, "%s |\n", row)
		}
	}
	if len(results) > 0 {
		t := results[0].timing
		fmt.Fprintf(&b, "\nSeed %d. every %v, overlap %v, quiet %v, max %v, maxRefresh %v, sync %v, settle %v, stepDeadline %v, clockAllowance %v; %d replicas.\n",
			results[0].seed, t.every, t.overlap, t.quiet, t.most, t.refresh, t.sync, t.settle, t.deadline, t.clock, results[0].copies)
	}
	return b.String()
}

func number(n int) string {
	text := fmt.Sprint(n)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}

// spread renders quantiles; 1 is the maximum.
func spread(all []time.Duration, quantiles ...float64) string {
	if len(all) == 0 {
		return "-"
	}
	sorted := slices.Sorted(slices.Values(all))
	var texts []string
	for _, q := range quantiles {
		texts = append(texts, rounded(sorted[min(len(sorted)-1, int(q*float64(len(sorted))))]))
	}
	return strings.Join(texts, ", ")
}

func rounded(d time.Duration) string { return fmt.Sprintf("%.2f s", d.Seconds()) }
