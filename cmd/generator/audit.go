package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/cobra"

	"github.com/quaygen/quaygen/pkg/quaygen/audit"
	"github.com/quaygen/quaygen/pkg/quaygen/config"
	"github.com/quaygen/quaygen/pkg/quaygen/httpapi"
)

// closeTime is how long the last records may take to be written.
const closeTime = 5 * time.Second

// openAudit begins the audit trail; nil where none is configured.
func openAudit(cfg *config.Config, registerer prometheus.Registerer, log *slog.Logger, stdout io.Writer) (*audit.Log, error) {
	if !cfg.Audit.Enabled() {
		return nil, nil //nolint:nilnil // no trail is what was asked for
	}
	c := audit.Config{File: cfg.Audit.File, Block: cfg.Audit.Block, Buffer: cfg.Audit.Buffer, Log: log, Registerer: registerer}
	if cfg.Audit.Stdout {
		c.Stream = stdout
	}
	trail, err := audit.Open(c)
	if err != nil {
		return nil, err
	}
	trail.Record(&audit.Start{Version: currentBuild().String(), Instance: cfg.Instance})
	return trail, nil
}

// endAudit records the end of the process, and returns err or why that could not be recorded.
func endAudit(ctx context.Context, trail *audit.Log, err error) error {
	reason := "it was told to"
	if err != nil {
		reason = firstLine(err)
	}
	trail.Record(&audit.Stop{Reason: reason})
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTime)
	defer cancel()
	return errors.Join(err, trail.Close(ctx))
}

// auditCheck says whether the trail is written. Only where nothing is handed out without it, the process is not ready.
func (s *server) auditCheck() httpapi.Check {
	c := httpapi.Check{Name: "audit"}
	err := s.trail.Err()
	switch {
	case err == nil:
	case s.trail.Blocks():
		c.Err = err
	default:
		c.Note = firstLine(err) + "; what cannot be recorded in time is counted"
	}
	return c
}

func newAuditLog() *cobra.Command {
	c := &cobra.Command{
		Use:   "audit-log",
		Short: "Check what the audit trail says",
		Args:  noCommand,
		RunE:  func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	verify := newVerifyAudit()
	verify.Args = asUsage(verify.Args)
	c.AddCommand(verify)
	return c
}

func newVerifyAudit() *cobra.Command {
	var o audit.VerifyOptions
	c := &cobra.Command{
		Use:   "verify FILE...",
		Short: "Find lines of an audit trail that were removed, changed, moved, repeated or inserted",
		Long: `Find lines of an audit trail that were removed, changed, moved, repeated or inserted. Files that were moved
away and the one in use are given together, the oldest first; - is standard input.

Each line carries the hash of the one before it, so that the last line vouches for all others, and nothing
vouches for the last. Keep the head that this prints somewhere else, and give it with --head the next time.

The exit code is 0 if nothing was found, 1 if something was, 2 if that could not be found out.`,
		Example: `  generator audit-log verify /var/log/quaygen/audit.jsonl.1 /var/log/quaygen/audit.jsonl
  kubectl logs deployment/quaygen | grep '^{"v":' | generator audit-log verify --restarts -`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(c *cobra.Command, paths []string) error {
			report, err := verifyAudit(o, paths, c.InOrStdin())
			if err != nil {
				return usageError{err}
			}
			return printAudit(c.OutOrStdout(), report)
		},
	}
	c.Flags().StringVar(&o.After, "after", "", "the first line has to continue the record with this hash")
	c.Flags().StringVar(&o.Head, "head", "", "the record with this hash, which an earlier run printed, has to be there")
	c.Flags().BoolVar(&o.Restarts, "restarts", false, "let processes begin chains of their own, as on standard output")
	return c
}

// verifyAudit reads the files one after the other.
func verifyAudit(o audit.VerifyOptions, paths []string, stdin io.Reader) (*audit.Report, error) {
	var sources []audit.Source
	for _, path := range paths {
		if path == "-" {
			sources = append(sources, audit.Source{Name: "standard input", Reader: stdin})
			continue
		}
		f, err := os.Open(path)
		if err != nil {
			return nil, err
		}
		defer f.Close() //nolint:errcheck // it was only read
		sources = append(sources, audit.Source{Name: path, Reader: f})
	}
	return audit.Verify(o, sources...)
}

// printAudit says what was found; the error is that something is wrong.
func printAudit(w io.Writer, r *audit.Report) error {
	for _, f := range r.Breaks {
		fmt.Fprintln(w, f)
	}
	for _, f := range r.Notes {
		fmt.Fprintf(w, "note: %s\n", f)
	}
	fmt.Fprintf(w, "%s; processes: %d", count(r.Records, "record"), r.Processes)
	if r.Lost > 0 {
		fmt.Fprintf(w, "; %d more were lost before they could be written, as the records say", r.Lost)
	}
	fmt.Fprintln(w)
	if r.Records > 0 {
		fmt.Fprintf(w, "first %s\nlast  %s\nhead  %s\n", r.First.Format(time.RFC3339Nano), r.Last.Format(time.RFC3339Nano), r.Head)
	}
	if n := len(r.Breaks); n > 0 {
		return fmt.Errorf("the audit trail is broken in %s", count(n, "place"))
	}
	return nil
}
