// Command quaychaos tries to break the promise that a rotation breaks no pull. It runs several replicas of the service and
// an embedded Quay as processes, makes Quay fail in every way it can, kills replicas in the middle of every kind of call,
// rotates every few seconds, and pulls all the while with what consumers hold. Afterwards it checks the world from
// Quay's own state, and compares with what people do without the service. It needs the programs generator and
// quaydev, built into one directory.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/quaygen/quaygen/cmd/internal/tables"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "quaychaos:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("quaychaos", flag.ContinueOnError)
	bin := flags.String("bin", "bin", "directory with the programs generator and quaydev")
	seed := flags.Uint64("seed", 1, "what the schedule of faults and kills is drawn from")
	short := flags.Bool("short", false, "half a minute of trouble, and few comparisons")
	modes := flags.String("modes", "", "comma-separated scenarios to run instead of all: "+strings.Join(scenarioNames(), ", "))
	update := flags.String("update", "", "write the table into this file, between its two marks")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	programs, err := filepath.Abs(*bin)
	if err != nil {
		return err
	}
	runs := long()
	if *short {
		runs = brief()
	}
	if *modes != "" {
		wanted := strings.Split(*modes, ",")
		for _, name := range wanted {
			if !slices.Contains(scenarioNames(), name) {
				return fmt.Errorf("there is no scenario %q", name)
			}
		}
		runs = slices.DeleteFunc(runs, func(s scenario) bool { return !slices.Contains(wanted, s.name) })
	}
	var results []*result
	var failed error
	for _, s := range runs {
		s.seed = *seed
		r, err := s.run(ctx, programs, out)
		if err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
		results = append(results, r)
		for _, v := range r.violations() {
			failed = errors.Join(failed, fmt.Errorf("%s: %s", s.name, v))
		}
		table := report(results)
		fmt.Fprintf(out, "\n%s\n", table)
		if *update == "" || failed != nil {
			continue
		}
		if err := tables.Replace(*update, "chaos", table); err != nil {
			return err
		}
	}
	return failed
}

// timing is a set of times for the configuration. They are too short for anything but watching.
type timing struct {
	every, overlap, quiet, most, refresh time.Duration
	sync, settle, deadline, clock        time.Duration
}

// scenario is one run of one way to rotate.
type scenario struct {
	name  string
	title string // of the table's column
	way   way
	seed  uint64
	timing
	robots, namespaces, copies int
	trouble                    bool          // faults and kills
	told                       bool          // consumers ask at once when there is something new, as the controller makes them
	least                      time.Duration // how long it runs at least
	limit                      time.Duration // and at most; what is wanted must be reached by then
	rotations, pulls           int           // how many are wanted
	hits                       int           // how many faults of each kind are wanted
	rounds                     int           // how often each replica is killed in each call, before its effect and after it
	pace                       float64       // pulls per second
}

// way is how credentials are replaced and how they reach their consumers.
type way int

const (
	wayOverlap    way = iota // the service's strategy overlap
	wayRegenerate            // the service's strategy regenerate
	wayScript                // regenerate in place, then tell one namespace after the other
)

// slow are the times of the long run. generator check-config accepts them.
var slow = timing{
	every: 24 * time.Second, overlap: 12 * time.Second, quiet: 4 * time.Second, most: 20 * time.Second, refresh: 4 * time.Second,
	sync: 500 * time.Millisecond, settle: 3 * time.Second, deadline: 2 * time.Second, clock: time.Second,
}

var fast = timing{
	every: 9 * time.Second, overlap: 5 * time.Second, quiet: 2 * time.Second, most: 8 * time.Second, refresh: 1500 * time.Millisecond,
	sync: 200 * time.Millisecond, settle: 1500 * time.Millisecond, deadline: time.Second, clock: 500 * time.Millisecond,
}

func long() []scenario {
	base := scenario{timing: slow, robots: 60, namespaces: 3, copies: 3, pace: 250}
	trouble, calm, script := base, base, base
	trouble.name, trouble.title, trouble.trouble = "overlap-faults", "overlap, with faults and kills", true
	trouble.rotations, trouble.pulls, trouble.hits, trouble.rounds = 1000, 100_000, 200, 1
	trouble.least, trouble.limit = 5*time.Minute, 25*time.Minute
	calm.name, calm.title, calm.least = "overlap", "overlap", 90*time.Second
	script.name, script.title, script.way, script.least = "script", "common script", wayScript, time.Minute
	regenerate := base
	regenerate.way, regenerate.copies, regenerate.every = wayRegenerate, 1, time.Minute // a ledger in a file is for one replica
	regenerate.name, regenerate.title, regenerate.least = "regenerate", "regenerate", 110*time.Second
	told := regenerate
	told.name, told.title, told.told = "regenerate-told", "regenerate, consumers told", true
	hard := told
	hard.name, hard.title, hard.trouble, hard.rounds, hard.least = "regenerate-faults", "regenerate, consumers told, with faults and kills", true, 1, 150*time.Second
	hard.limit = 10 * time.Minute // what a kill leaves open takes a while
	runs := []scenario{trouble, calm, script, regenerate, told, hard}
	for i := range runs {
		runs[i].limit = max(runs[i].limit, 2*runs[i].least)
	}
	return runs
}

func brief() []scenario {
	return []scenario{{
		name: "overlap-faults", title: "overlap, with faults and kills", timing: fast, robots: 8, namespaces: 2, copies: 3, trouble: true,
		rotations: 15, pulls: 500, hits: 2, least: 30 * time.Second, limit: 2 * time.Minute, pace: 40,
	}, {
		name: "script", title: "common script", way: wayScript, timing: fast, robots: 8, namespaces: 2, pulls: 300, rotations: 8, limit: time.Minute, pace: 100,
	}}
}

func scenarioNames() []string {
	var names []string
	for _, s := range long() {
		names = append(names, s.name)
	}
	return names
}
