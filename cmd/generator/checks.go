package main

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/quaygen/quaygen/pkg/quaygen/httpapi"
	"github.com/quaygen/quaygen/pkg/quaygen/rotation"
)

// checks says what is in order, from memory.
func (s *server) checks() []httpapi.Check {
	if s.draining.Load() {
		return []httpapi.Check{{Name: "running", Err: errors.New("draining")}}
	}
	checks := []httpapi.Check{{Name: "config"}}
	if err := s.loadErr.Load(); err != nil {
		checks[0].Note = "the file as it is now is not valid, an earlier one is in use: " + firstLine(*err)
	}
	for _, listener := range slices.Sorted(maps.Keys(s.identities)) {
		checks = append(checks, s.identities[listener].checks(listener)...)
	}
	checks = append(checks, s.reviews.checks()...)
	if s.started.Audit.Enabled() {
		checks = append(checks, s.auditCheck())
	}
	checks = append(checks, tracingChecks(s.traces)...)
	if h := s.engine.Ledger(); h.Robots > 0 {
		c := httpapi.Check{Name: "ledger"} // no failure: robots are served without it
		if h.Without > 0 {
			c.Note = fmt.Sprintf("robots that need it, and are not rotated: %d of %d: %s", h.Without, h.Robots, firstLine(h.Err))
		}
		checks = append(checks, c)
	}
	if needed, err := s.labels.Status(); needed {
		c := httpapi.Check{Name: "namespace-labels"} // no failure: other rules hold without them
		if err != nil {
			c.Note = firstLine(err)
		}
		checks = append(checks, c)
	}
	return append(checks, s.organizations()...)
}

// organizations says of each organization whether it can be worked with, or its robots answered from memory. Before a
// process was ready for the first time it has to be so for all of them, so that no rollout goes on with a replica that
// answers less than the one before. Afterwards only a replica that can answer nothing at all is better left out: an
// organization that is deleted, or comes with a reload and does not exist, must not take the others' robots with it.
func (s *server) organizations() []httpapi.Check {
	health := s.engine.Health()
	serving := 0
	for _, h := range health {
		serving += h.Serving
	}
	well := true
	checks := make([]httpapi.Check, 0, len(health))
	for _, h := range health {
		c := organizationCheck(h)
		if c.Err != nil && s.wasReady.Load() && serving > 0 {
			c.Note, c.Err = "not all of it can be answered: "+firstLine(c.Err), nil
		}
		well = well && c.Err == nil
		if h.ReadOnly && c.Err == nil {
			c.Note += "; it is read-only, so nothing is rotated"
		}
		if h.Disabled && c.Err == nil {
			c.Note += "; it has disabled robots"
		}
		checks = append(checks, c)
	}
	if well {
		s.wasReady.Store(true)
	}
	return checks
}

func organizationCheck(h rotation.Health) httpapi.Check {
	c := httpapi.Check{Name: "quay/" + h.Registry + "/" + h.Owner.Name()}
	switch {
	case h.At.IsZero(): // or the first robots to be served, of a list that is still being worked through, would do
		c.Err = h.Err
	case h.Awaited > 0:
		c.Err = fmt.Errorf("robots in use that are still being read: %d", h.Awaited)
	case h.Err == nil:
		c.Note = "listed " + time.Since(h.At).Round(time.Second).String() + " ago"
	case h.Serving > 0:
		c.Note = fmt.Sprintf("robots answered from memory: %d: %s", h.Serving, firstLine(h.Err))
	default:
		c.Err = h.Err
	}
	return c
}

func firstLine(err error) string {
	line, _, _ := strings.Cut(err.Error(), "\n")
	return line
}
