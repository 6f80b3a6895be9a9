// Command build builds what the cluster tests run beside quaygen: Kubernetes' programs and the External Secrets Operator. The
// tests do so themselves; this is for whoever has processors to spare before.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"

	"github.com/quaygen/quaygen/e2e/parts"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	for _, part := range []parts.Part{parts.Kubernetes, parts.ESO} {
		dir, err := part.Build(ctx)
		if err != nil {
			fmt.Fprintln(os.Stderr, "build:", err)
			stop()
			os.Exit(1)
		}
		fmt.Fprintln(os.Stdout, dir)
	}
}
