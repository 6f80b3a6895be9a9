// Command quayflood attacks the service, and measures what callers that work as meant get meanwhile. It runs the service and
// an embedded Quay as processes on loopback, and each attacker as another: thousands of slow and idle connections, requests
// that are too large or none, frames of HTTP/2 made for mischief, guessed tokens, and a client beyond its limits. It needs
// the programs generator and quaydev, built into one directory.
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
		fmt.Fprintln(os.Stderr, "quayflood:", err)
		os.Exit(1)
	}
}

// plan is an attack to come.
type plan struct {
	name, title string
	many        int // workers, each with a connection
	few         int
}

func plans() []plan {
	return []plan{
		{"slow-headers", "headers, a byte a second", 4000, 60},
		{"slow-handshake", "TLS handshakes, a byte a second", 4000, 60},
		{"idle-tcp", "idle: TCP alone", 10_000, 1300}, // more than there is room for, also when few
		{"idle-tls", "idle after the TLS handshake", 10_000, 60},
		{"idle-http2", "idle with HTTP/2", 10_000, 60},
		{"idle-grpc", "idle with gRPC", 10_000, 60},
		{"hoard-grpc", "gRPC messages without an end", 4000, 60},
		{"handshakes", "TLS handshakes, and no more", 64, 4},
		{"oversized-http", "oversized URLs, headers, bodies", 32, 4},
		{"oversized-grpc", "oversized messages, headers of gRPC", 16, 2},
		{"continuation", "HTTP/2 headers without an end", 16, 2},
		{"rapid-reset", "HTTP/2 requests, reset at once", 16, 2},
		{"malformed-http", "bytes that are no TLS, no HTTP", 32, 9},
		{"malformed-grpc", "frames that are none, to gRPC", 16, 2},
		{"guess-http1", "guessed tokens: HTTP/1.1", 32, 4},
		{"guess-http2", "guessed tokens: HTTP/2", 16, 2},
		{"guess-grpc", "guessed tokens: gRPC", 16, 2},
		{"guess-many", "guessed tokens: both, from 250 addresses", 250, 10},
		{"greedy", "a client beyond its limits", 4, 2},
	}
}

// size is how much is done.
type size struct {
	few     bool
	rate    int           // calls a second, of each caller
	window  time.Duration // for which callers call under an attack
	rest    time.Duration // after it
	program string        // that attackers run, beside the other programs; empty: this one
}

func (s size) workers(p plan) int {
	if s.few {
		return p.few
	}
	return p.many
}

func run(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("quayflood", flag.ContinueOnError)
	bin := flags.String("bin", "bin", "directory with the programs generator and quaydev")
	short := flags.Bool("short", false, "few connections, for a moment each; attackers are the program quayflood of --bin")
	only := flags.String("attacks", "", "comma-separated attacks to run instead of all: "+strings.Join(names(), ", "))
	update := flags.String("update", "", "write the table into this file, between its two marks")
	window := flags.Duration("window", 20*time.Second, "for how long callers call under each attack")
	rest := flags.Duration("rest", time.Minute, "after which time to look again at what is left of an attack")
	attack := flags.String("attack", "", "run this attack, as an attacker's process does")
	workers := flags.Int("workers", 1, "with --attack: how many connections at a time")
	target := flags.String("target", "", "with --attack: whom to attack, as JSON")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	if *attack != "" {
		return attacking(ctx, *attack, *workers, *target, out)
	}
	programs, err := filepath.Abs(*bin)
	if err != nil {
		return err
	}
	size := size{rate: 10, window: *window, rest: *rest}
	if *short {
		size.few, size.rate, size.window, size.rest, size.program = true, 20, 500*time.Millisecond, 0, "quayflood"
	}
	wanted, err := chosen(*only)
	if err != nil {
		return err
	}
	results, err := floods(ctx, programs, wanted, size, out)
	if err != nil {
		return err
	}
	table := report(results, size)
	fmt.Fprintf(out, "\n%s\n", table)
	var failed error
	for _, m := range results {
		for _, v := range m.violations() {
			failed = errors.Join(failed, fmt.Errorf("%s: %s", m.title, v))
		}
	}
	if *update == "" || failed != nil {
		return failed
	}
	return tables.Replace(*update, "flood", table)
}

// floods measures valid callers alone, and then under each attack, on one service.
func floods(ctx context.Context, programs string, wanted []plan, size size, out io.Writer) (results []*measurement, err error) {
	start := time.Now()
	w, err := newWorld(ctx, programs)
	if err != nil {
		return nil, err
	}
	defer w.close()
	for _, p := range append([]plan{{title: "no attack"}}, wanted...) {
		m, err := w.measure(ctx, p, size)
		if err != nil {
			return nil, fmt.Errorf("%s: %w\n%s", p.title, err, w.service.Printed())
		}
		results = append(results, m)
		fmt.Fprintf(out, "%6.1fs  %s: %s\n", time.Since(start).Seconds(), p.title, m)
	}
	return results, nil
}

func names() (all []string) {
	for _, p := range plans() {
		all = append(all, p.name)
	}
	return all
}

func chosen(only string) ([]plan, error) {
	if only == "" {
		return plans(), nil
	}
	wanted := strings.Split(only, ",")
	for _, name := range wanted {
		if !slices.Contains(names(), name) {
			return nil, fmt.Errorf("there is no attack %q", name)
		}
	}
	return slices.DeleteFunc(plans(), func(p plan) bool { return !slices.Contains(wanted, p.name) }), nil
}
