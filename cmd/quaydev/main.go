// Command quaydev is a Quay for demonstrations and tests: package quaytest behind a listener on loopback, with an
// organization, three repositories holding an image each, and an API token. It keeps everything in memory.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "quaydev:", err)
		os.Exit(1)
	}
}
