package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/quaygen/quaygen/pkg/quaygen"
	"github.com/quaygen/quaygen/pkg/quaygen/config"
	"github.com/quaygen/quaygen/pkg/quaygen/rotation"
)

// Exit codes.
const (
	exitOK       = 0
	exitFailed   = 1
	exitUsage    = 2 // wrong arguments, or an invalid configuration
	exitNotFound = 3
	exitDenied   = 4
) // as in the table of package quaygen

// usageError marks what the caller of the command got wrong.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

// run is the whole program but for signals and the exit itself.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	return runAt(ctx, time.Now, args, stdout, stderr)
}

// runAt is run with a clock for what is told to people.
func runAt(ctx context.Context, now func() time.Time, args []string, stdout, stderr io.Writer) int {
	command := newRoot(stderr, now) //nolint:contextcheck // the commands get ctx from ExecuteContext below
	command.SetArgs(args)
	command.SetOut(stdout)
	command.SetErr(stderr)
	err := command.ExecuteContext(ctx)
	if err == nil {
		return exitOK
	}
	if invalid, ok := errors.AsType[*config.Error](err); ok {
		fmt.Fprintln(stderr, invalid)
		return exitUsage
	}
	fmt.Fprintln(stderr, "generator:", err)
	return exitCode(err)
}

// exitCode is the one table from errors to exit codes.
func exitCode(err error) int {
	if _, ok := errors.AsType[usageError](err); ok {
		return exitUsage
	}
	return kindOf(err).Row().Exit
}

// kindOf says what kind of error it is, whether it came about here or at a server.
func kindOf(err error) quaygen.Kind {
	if errors.Is(err, rotation.ErrUnknownRobot) {
		return quaygen.KindUnknown
	}
	if e, ok := errors.AsType[*quaygen.Error](err); ok {
		return e.Kind
	}
	st, ok := status.FromError(err)
	if !ok {
		return quaygen.KindInternal
	}
	if kind, ok := quaygen.KindOf(reasonOf(st)); ok {
		return kind
	}
	for _, kind := range quaygen.Kinds() { // a proxy, gRPC itself
		var code codes.Code
		if err := code.UnmarshalJSON([]byte(`"` + kind.Row().GRPC + `"`)); err == nil && code == st.Code() {
			return kind
		}
	}
	return quaygen.KindInternal
}

type rootOptions struct {
	logFormat, logLevel string
	log                 *slog.Logger
	now                 func() time.Time
}

func newRoot(stderr io.Writer, now func() time.Time) *cobra.Command {
	o := &rootOptions{now: now}
	root := &cobra.Command{
		Use:           "generator",
		Short:         "Mint, rotate and serve image pull secrets for private Quay organizations",
		Version:       currentBuild().String(),
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          noCommand,
		PersistentPreRunE: func(*cobra.Command, []string) error {
			log, err := newLogger(stderr, o.logFormat, o.logLevel)
			o.log = log
			return err
		},
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	root.SuggestionsMinimumDistance = 2
	root.PersistentFlags().StringVar(&o.logFormat, "log-format", "text", "text or json")
	root.PersistentFlags().StringVar(&o.logLevel, "log-level", "info", "debug, info, warn or error")
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return usageError{fmt.Errorf("%w; see %s --help", err, c.CommandPath())}
	})
	root.AddCommand(newServe(o), newCheckConfig(), newConfigSchema(), newMint(o), newPlan(),
		newStatus(o), newRotate(o), newRetire(o), newWatch(o), newAuditLog(), newVersion())
	for _, c := range root.Commands() {
		c.Args = asUsage(c.Args)
	}
	root.Args = asUsage(root.Args)
	return root
}

// noCommand tells of a mistyped command.
func noCommand(c *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	if near := c.SuggestionsFor(args[0]); len(near) > 0 {
		return fmt.Errorf("there is no command %q; did you mean %s?", args[0], strings.Join(near, " or "))
	}
	return fmt.Errorf("there is no command %q", args[0])
}

// configFlag adds the flag that names the configuration file; the command asks for its value with the returned function.
func configFlag(c *cobra.Command) func() (string, error) {
	path := c.Flags().String("config", "", "configuration file (required)")
	return func() (string, error) {
		if *path == "" {
			return "", usageError{fmt.Errorf("--config FILE is needed; see %s --help", c.CommandPath())}
		}
		return *path, nil
	}
}

// loadConfig reads the configuration file of a command. A file that cannot be read exits with the same code as one that is not valid.
func loadConfig(path string, o config.Options) (*config.Config, error) {
	cfg, err := o.Load(path)
	if _, invalid := errors.AsType[*config.Error](err); err != nil && !invalid {
		return nil, usageError{err}
	}
	return cfg, err
}

// asUsage makes wrong arguments usage errors.
func asUsage(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if err := check(c, args); err != nil {
			return usageError{fmt.Errorf("%w; see %s --help", err, c.CommandPath())}
		}
		return nil
	}
}

func newLogger(w io.Writer, format, level string) (*slog.Logger, error) {
	var l slog.Level
	if err := l.UnmarshalText([]byte(level)); err != nil {
		return nil, usageError{fmt.Errorf("--log-level %q is none of debug, info, warn, error", level)}
	}
	options := &slog.HandlerOptions{Level: l}
	switch format {
	case "text":
		return slog.New(slog.NewTextHandler(w, options)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(w, options)), nil
	}
	return nil, usageError{fmt.Errorf("--log-format %q is neither text nor json", format)}
}
