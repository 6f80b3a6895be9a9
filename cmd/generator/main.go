// Command generator is quaygen: the service that the External Secrets Operator asks for image pull secrets of private
// Quay organizations, and the tools of the people who run it.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	if err := hideMemory(); err != nil {
		fmt.Fprintln(os.Stderr, "generator:", err) // it works all the same
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}
