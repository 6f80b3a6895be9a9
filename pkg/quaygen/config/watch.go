package config

import (
	"context"
	"crypto/sha256"
	"fmt"
	"path/filepath"
	"time"

	"github.com/fsnotify/fsnotify"
)

const (
	// steadyAfter is between two reads that must agree before a new content is believed: half of a file that is
	// being written can be a valid configuration with half of the robots.
	steadyAfter = 250 * time.Millisecond

	// pollEvery finds what no notification told: a network file system, a link into another directory, a missing token
	// file that has appeared since.
	pollEvery = 30 * time.Second
)

// Watch follows the file that current was loaded from and calls apply with each new version of it that is valid as a
// whole. What is wrong with a version, or why apply refused it, goes to report, once until it changes; the
// version applied last stays, and the refused one is tried again each half minute. apply is also called, with an
// unchanged configuration, when a refused file is put back to what it was. Neither function is called concurrently.
//
// Watch blocks until ctx ends and then returns nil. It sees files that are written in place, renamed into place or
// swapped behind Kubernetes' "..data" link; it does not see new contents of the files that the configuration names.
func Watch(ctx context.Context, current *Config, apply func(*Config) error, report func(error)) error {
	w := newWatch(current, apply, report)
	notifier, err := fsnotify.NewWatcher()
	if err != nil {
		report(fmt.Errorf("watching the configuration, which is now read every %s instead: %w", pollEvery, err))
		w.follow(ctx, nil, nil)
		return nil
	}
	// The directory and not the file: whoever renames a new file into place ends the life of the one that was watched.
	if err := notifier.Add(filepath.Dir(w.path)); err != nil {
		report(fmt.Errorf("watching the configuration, which is now read every %s instead: %w", pollEvery, err))
	}
	w.follow(ctx, notifier.Events, notifier.Errors)
	if err := notifier.Close(); err != nil {
		return fmt.Errorf("closing the watch of the configuration: %w", err)
	}
	return nil
}

// watch is the state of one Watch.
type watch struct {
	path    string
	options Options
	apply   func(*Config) error
	report  func(error)

	applied digest // content of the last configuration that apply took
	seen    digest // content at the last read
	failure string // what was last reported and has not been mended since
}

func newWatch(current *Config, apply func(*Config) error, report func(error)) *watch {
	return &watch{path: current.path, options: current.options, apply: apply, report: report, applied: current.digest, seen: current.digest}
}

// follow runs until ctx ends. The channels may be nil.
func (w *watch) follow(ctx context.Context, events <-chan fsnotify.Event, faults <-chan error) {
	poll := time.NewTicker(pollEvery)
	defer poll.Stop()
	due := time.After(0) // the file may have changed since it was loaded
	for {
		select {
		case <-ctx.Done():
			return
		case _, open := <-events:
			if !open {
				events = nil
			}
		case _, open := <-faults: // most likely, events were lost
			if !open {
				faults = nil
			}
		case <-poll.C:
		case <-due:
			due = nil
			if steady := w.look(); steady {
				continue
			}
		}
		if due == nil {
			due = time.After(steadyAfter)
		}
	}
}

// look reads the file and applies it if it is new. It returns false if the content is not what the last look saw: the
// next look then decides.
func (w *watch) look() (steady bool) {
	data, err := read(w.path)
	if err != nil {
		w.fail(err)
		return true
	}
	content := digest(sha256.Sum256(data))
	if content != w.seen {
		w.seen = content
		return false
	}
	if content == w.applied && w.failure == "" {
		return true
	}
	c, err := w.options.parse(w.path, data)
	if err != nil {
		w.fail(err)
		return true
	}
	if err := w.apply(c); err != nil {
		w.fail(fmt.Errorf("applying the new configuration: %w", err))
		return true
	}
	w.applied, w.failure = content, ""
	return true
}

// fail reports what has not been reported already.
func (w *watch) fail(err error) {
	if text := err.Error(); text != w.failure {
		w.failure = text
		w.report(err)
	}
}
