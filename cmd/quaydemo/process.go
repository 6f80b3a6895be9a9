package main

import (
	"context"
	"fmt"

	"github.com/quaygen/quaygen/cmd/internal/child"
)

func (d *demo) launch(ctx context.Context, program string, args ...string) (*child.Process, error) {
	p, err := child.Program{Dir: d.bin, Name: program}.Start(ctx, args...)
	if err != nil {
		return nil, err
	}
	d.processes = append(d.processes, p)
	return p, nil
}

// stop ends all programs, the last started first.
func (d *demo) stop() {
	for i := len(d.processes) - 1; i >= 0; i-- {
		d.processes[i].Stop()
	}
}

// dumpLogs prints what the programs said.
func (d *demo) dumpLogs() {
	for _, p := range d.processes {
		fmt.Fprintf(d.out, "\n--- %s ---\n%s", p.Name, p.Printed())
	}
}
