// Command quaydemo shows quaygen's main job on loopback, in under a minute: it starts an embedded Quay and the service,
// fetches a pull secret as the External Secrets Operator would, pulls an image with it, and watches a rotation
// from end to end. It needs the programs generator and quaydev, built into one directory.
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
	"time"
)

// limit is how long the whole demonstration may take.
const limit = 90 * time.Second

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "quaydemo:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer) (err error) {
	flags := flag.NewFlagSet("quaydemo", flag.ContinueOnError)
	bin := flags.String("bin", "bin", "directory with the programs generator and quaydev")
	if err := flags.Parse(args); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	dir, err := os.MkdirTemp("", "quaydemo-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()

	d := &demo{out: out, bin: *bin, dir: dir, start: time.Now()}
	defer d.stop()
	if err := d.play(ctx); err != nil {
		d.dumpLogs()
		return err
	}
	return nil
}
