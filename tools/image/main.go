// Command image builds quaygen's container image, for all its platforms, without a container engine: two builds of one
// commit, wherever they are made, have one digest. The Dockerfile of the repository makes its root file system with it
// as well.
//
//	image build   every platform's image, as an OCI layout, an archive and files for a release
//	image root    the root file system of one platform, into an empty directory
//	image push    what build wrote, with its bills of materials, into a registry
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	switch {
	case err == nil, errors.Is(err, flag.ErrHelp):
	default:
		fmt.Fprintln(os.Stderr, "image:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	if len(args) == 0 {
		return errors.New("which command? build, root or push; each has -h")
	}
	flags := flag.NewFlagSet("image "+args[0], flag.ContinueOnError)
	flags.SetOutput(stderr)
	switch args[0] {
	case "build":
		source := flags.String("source", ".", "quaygen's `directory`, a Git working tree")
		out := flags.String("out", "bin", "`directory` for image/ and release/, which are replaced")
		if err := parse(flags, args[1:]); err != nil {
			return err
		}
		return buildAll(ctx, *source, *out, os.Getenv("SOURCE_DATE_EPOCH"), stdout) //nolint:forbidigo // a program may read the environment
	case "root":
		source := flags.String("source", ".", "quaygen's `directory`")
		out := flags.String("out", "", "empty `directory` to write to")
		platform := flags.String("platform", "linux/amd64", "`platform` of the program")
		if err := parse(flags, args[1:]); err != nil {
			return err
		}
		return writeRoot(ctx, *source, *platform, *out)
	case "push":
		from := flags.String("from", "bin/image", "OCI layout, as build wrote it")
		to := flags.String("to", "", "`repository`, such as ghcr.io/quaygen/quaygen; the tag is the version")
		if err := parse(flags, args[1:]); err != nil {
			return err
		}
		return push(ctx, *from, *to, stdout)
	}
	return fmt.Errorf("there is no command %q, but build, root and push", args[0])
}

func parse(flags *flag.FlagSet, args []string) error {
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("%s takes no arguments, got %q", flags.Name(), flags.Args())
	}
	return nil
}
