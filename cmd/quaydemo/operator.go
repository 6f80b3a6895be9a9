package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
)

// An operator is a client of its own: it sees robots over gRPC, and may have no pull secret.
type operator struct{ server, caFile, tokenFile string }

func (o operator) flags(command ...string) []string {
	return append(command, "--server", o.server, "--ca-file", o.caFile, "--token-file", o.tokenFile)
}

// watch starts generator watch, and says what it prints from then on.
func (d *demo) watch(ctx context.Context) error {
	p, err := d.launch(ctx, "generator", d.operator.flags("watch", "prod-puller")...)
	if err != nil {
		return err
	}
	d.watching = p
	_, err = p.WaitFor(ctx, regexp.MustCompile(`ROBOT`))
	return err
}

// watched waits until generator watch has printed an event, and shows the line.
func (d *demo) watched(ctx context.Context, event, robot string) error {
	_, generation, _ := strings.Cut(robot, "_g")
	line, err := d.watching.WaitFor(ctx, regexp.MustCompile(`(?m)^(.*`+event+`.*\b`+generation+`\b.*)$`))
	if err != nil {
		return fmt.Errorf("waiting for generator watch to tell that %s was %s: %w", robot, event, err)
	}
	d.say("generator watch:  %s", line[1])
	return nil
}

// status shows what generator status prints.
func (d *demo) status(ctx context.Context) error {
	command := exec.CommandContext(ctx, filepath.Join(d.bin, "generator"), d.operator.flags("status", "prod-puller")...) //nolint:gosec // our own program
	out, err := command.Output()
	if err != nil {
		exit, _ := errors.AsType[*exec.ExitError](err)
		if exit != nil {
			return fmt.Errorf("generator status: %w: %s", err, exit.Stderr)
		}
		return fmt.Errorf("generator status: %w", err)
	}
	d.say("generator status prod-puller:")
	for line := range strings.Lines(string(out)) {
		fmt.Fprintf(d.out, "        | %s", line)
	}
	return nil
}
