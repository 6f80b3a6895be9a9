package main

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/spf13/cobra"

	quaygenv1 "github.com/quaygen/quaygen/proto/quaygen/v1"
)

func newWatch(root *rootOptions) *cobra.Command {
	c := &cobra.Command{
		Use:   "watch [NAME]",
		Short: "Show what happens to the robots of a running server, as it happens",
		Long: `Show what happens to the robots of a running server, as it happens: first how they stand, then a line for each event.
When the connection breaks it is made again, and what happened meanwhile is caught up on, unless the server no longer
knows: then it says so, and how the robots stand now.

Interrupt it to end it; that is no failure. -o json prints one object per line, -o yaml one document each. A flag wins
over its environment variable.`,
		Args: cobra.MaximumNArgs(1),
	}
	where, out := remoteFlags(c), outputFlags(c)
	c.RunE = func(c *cobra.Command, args []string) error {
		if err := out.check(); err != nil {
			return err
		}
		s, err := where.open(root.now)
		if err != nil {
			return err
		}
		defer s.close()
		w := &watcher{out: out, screen: out.screen(c.OutOrStdout(), root.now), stderr: c.ErrOrStderr()}
		if len(args) == 1 {
			w.name = args[0]
		}
		return s.explain(s.follow(c.Context(), w.take, func(err error) { w.broke(s.explain(err)) }, w.steady))
	}
	return c
}

// watcher prints what a watch brings.
type watcher struct {
	out    *output
	screen *screen
	stderr io.Writer
	name   string // of the robots to print; empty: all

	begun bool
	homes map[home]bool // of the robots to print
	width int           // of the longest name

	mu        sync.Mutex // guards what follows
	lastBreak string     // so that the same is not said again and again
}

// home is where a robot is: the registry and the organization or user in it.
type home struct{ registry, owner string }

func homeOf(r *quaygenv1.Robot) home {
	owner, _, _ := strings.Cut(r.GetBase(), "+")
	return home{r.GetRegistry(), owner}
}

func (w *watcher) broke(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if text := err.Error(); text != w.lastBreak {
		w.lastBreak = text
		fmt.Fprintf(w.stderr, "generator: %s; connecting again\n", text)
	}
}

// steady says that a broken connection is made again.
func (w *watcher) steady() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.lastBreak != "" {
		w.lastBreak = ""
		fmt.Fprintln(w.stderr, "generator: connected again")
	}
}

func (w *watcher) take(r *quaygenv1.RobotsWatchResponse) error {
	if listing := r.GetListing(); listing != nil {
		return w.listing(r, listing)
	}
	e := r.GetEvent()
	if e == nil || !w.concerns(e) {
		return nil
	}
	if w.out.form != "text" {
		return w.out.machine(w.screen, r, true)
	}
	return w.event(e)
}

// concerns reports whether an event is to be printed. What happens to a whole organization happens to its robots.
func (w *watcher) concerns(e *quaygenv1.Event) bool {
	return w.name == "" || e.GetName() == w.name || e.GetName() == "" && (len(w.homes) == 0 || w.homes[home{e.GetRegistry(), e.GetOrganization()}])
}

func (w *watcher) listing(r *quaygenv1.RobotsWatchResponse, l *quaygenv1.Listing) error {
	if w.begun {
		fmt.Fprintf(w.stderr, "generator: %s; this is how the robots stand now\n", listingReason(l.GetReason()))
	}
	w.begun = true
	if w.name != "" {
		l.Robots = slices.DeleteFunc(l.Robots, func(r *quaygenv1.Robot) bool { return r.GetName() != w.name })
		if len(l.GetRobots()) == 0 {
			fmt.Fprintf(w.stderr, "generator: there is no robot %q now; waiting for one\n", w.name)
		}
	}
	w.homes, w.width = map[home]bool{}, 0
	for _, r := range l.GetRobots() {
		w.homes[homeOf(r)] = true
		w.width = max(w.width, utf8.RuneCountInString(robotName(r.GetName(), r.GetNamespace())))
	}
	if w.out.form != "text" {
		return w.out.machine(w.screen, r, true)
	}
	w.summary(l.GetRobots())
	return nil
}

// few is how many robots are all listed when a watch begins; of more, those that are not well.
const few = 20

func (w *watcher) summary(robots []*quaygenv1.Robot) {
	well := 0
	t := newTable("ROBOT", "GENERATION", "NEXT ROTATION", "STATE")
	for _, r := range robots {
		text, mood := standing(r)
		if mood == good {
			well++
		}
		if mood != good || len(robots) <= few {
			t.add(cell{text: robotName(r.GetName(), r.GetNamespace())}, cell{text: served(r)}, cell{text: w.screen.due(r)}, cell{text, mood})
		}
	}
	w.screen.say("%s, %d of them well", count(len(robots), "robot"), well)
	if len(t.rows) > 1 {
		w.screen.print(t)
	}
}

func (w *watcher) event(e *quaygenv1.Event) error {
	what, mood := eventName(e.GetType())
	name := robotName(e.GetName(), e.GetNamespace())
	if e.GetName() == "" {
		name = "all of " + clean(e.GetOrganization()) + " in " + clean(e.GetRegistry())
	}
	w.width = max(w.width, utf8.RuneCountInString(name))
	when := "-"
	if e.GetObserveTime() != nil {
		when = stamp(e.GetObserveTime().AsTime())
	}
	line := fmt.Sprintf("%-20s  %s%s  %s%s", when, name, pad(name, w.width), w.screen.paint(what, mood), pad(what, len("superseded")))
	if e.Generation != nil {
		line += "  generation " + strconv.FormatInt(e.GetGeneration(), 10)
	}
	if e.GetReason() != "" {
		line += "  " + clean(e.GetReason())
	}
	_, err := fmt.Fprintln(w.screen, strings.TrimRight(line, " "))
	return err
}

func pad(text string, width int) string {
	return strings.Repeat(" ", max(0, width-utf8.RuneCountInString(text)))
}

// robotName names a robot on a line: with its namespace, if it has one.
func robotName(name, namespace string) string {
	if namespace == "" {
		return clean(name)
	}
	return clean(name) + "/" + clean(namespace)
}

func eventName(t quaygenv1.EventType) (string, tone) {
	tones := map[quaygenv1.EventType]tone{
		quaygenv1.EventType_EVENT_TYPE_PUBLISHED: good, quaygenv1.EventType_EVENT_TYPE_RECOVERED: good,
		quaygenv1.EventType_EVENT_TYPE_SUPERSEDED: passing, quaygenv1.EventType_EVENT_TYPE_FAILED: bad, quaygenv1.EventType_EVENT_TYPE_REMOVED: bad,
	}
	return strings.ToLower(strings.TrimPrefix(t.String(), "EVENT_TYPE_")), tones[t]
}

func listingReason(r quaygenv1.ListingReason) string {
	switch r {
	case quaygenv1.ListingReason_LISTING_REASON_POSITION_TOO_OLD:
		return "the server no longer has what happened while there was no connection"
	case quaygenv1.ListingReason_LISTING_REASON_POSITION_OF_ANOTHER_PROCESS:
		return "another replica answers, or a restarted one, which does not know what happened before"
	default:
		return "the server begins anew"
	}
}
