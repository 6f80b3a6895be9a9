// Package product runs what this repository builds, as processes on loopback:
// quaydev, which plays Quay, and generator serve behind a Service.
package product

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/quaygen/quaygen/e2e/parts"
	"github.com/quaygen/quaygen/e2e/process"
)

// Programs are the built programs.
type Programs struct{ dir string }

var packages = []string{"./cmd/generator", "./cmd/quaydev"}

// Build builds the programs into dir, from the source as it is now.
func Build(ctx context.Context, dir string) (Programs, error) {
	if err := parts.Product(ctx, dir, packages...); err != nil {
		return Programs{}, err
	}
	return Programs{dir}, nil
}

// BuildOffClock builds them with a wall clock that parts.WallClock in their
// environment sets wrong.
func BuildOffClock(ctx context.Context, dir string) (Programs, error) {
	if err := parts.ProductOffClock(ctx, dir, packages...); err != nil {
		return Programs{}, err
	}
	return Programs{dir}, nil
}

// BuildForgetful returns what builds them so that they believe what they know of labels
// for so long without news, and no longer.
func BuildForgetful(silence time.Duration) func(ctx context.Context, dir string) (Programs, error) {
	return func(ctx context.Context, dir string) (Programs, error) {
		if err := parts.ProductForgetful(ctx, dir, silence, packages...); err != nil {
			return Programs{}, err
		}
		return Programs{dir}, nil
	}
}

func (p Programs) start(name, log string, env []string, args ...string) (*process.Process, error) {
	return process.Start(process.Command{Path: filepath.Join(p.dir, name), Args: args, Env: env, Log: log})
}

var errNotPrinted = errors.New("has not said where it listens yet")

// printed fills into from the first line of JSON in p's log that accept accepts.
func printed[T any](p *process.Process, accept func(T) bool) (T, error) {
	var none T
	log, err := p.Log()
	if err != nil {
		return none, err
	}
	for line := range strings.Lines(log) {
		var into T
		if json.Unmarshal([]byte(line), &into) == nil && accept(into) {
			return into, nil
		}
	}
	return none, fmt.Errorf("it %w", errNotPrinted)
}
