package main

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/quaygen/quaygen/pkg/quaygen/config"
	"github.com/quaygen/quaygen/pkg/quaygen/grpcapi"
	"github.com/quaygen/quaygen/pkg/quaygen/httpapi"
	quaygenv1 "github.com/quaygen/quaygen/proto/quaygen/v1"
)

// statusRobots is how many robots the status page shows at most: a browser has to cope with them.
const statusRobots = 500

// inUse is what people may know of the configuration in use.
type inUse struct {
	instance, digest                string
	robots, secrets, clients, rules int
	since                           time.Time
}

func newInUse(cfg *config.Config) *inUse {
	return &inUse{
		instance: cfg.Instance, digest: cfg.Digest(), since: time.Now(),
		robots: len(cfg.Robots), secrets: len(cfg.PullSecrets), clients: len(cfg.Clients), rules: len(cfg.Rules),
	}
}

// status says what the status page shows, in the words of `generator status`.
func (s *server) status() httpapi.Status {
	now := time.Now()
	when := func(t time.Time) string { return fmt.Sprintf("%s (%s ago)", stamp(t), span(now.Sub(t))) }
	used := s.inUse.Load()
	out := httpapi.Status{Title: "quaygen " + used.instance, Facts: []httpapi.Fact{
		{Name: "now", Value: stamp(now)},
		{Name: "process", Value: holder()},
		{Name: "version", Value: currentBuild().String()},
		{Name: "started", Value: when(s.since)},
		{Name: "configuration", Value: fmt.Sprintf("%s, digest %s, in use since %s", s.path, used.digest, when(used.since))},
		{Name: "configured", Value: contents(used.robots, used.secrets, used.clients, used.rules)},
	}}
	words := &screen{now: func() time.Time { return now }}
	for _, robot := range s.engine.Statuses() {
		out.Robots = append(out.Robots, words.statusOf(grpcapi.Describe(robot)))
	}
	slices.SortStableFunc(out.Robots, func(a, b httpapi.RobotStatus) int { return cmp.Compare(urgency(a.Mood), urgency(b.Mood)) })
	if n := len(out.Robots); n > statusRobots {
		out.Robots, out.More = out.Robots[:statusRobots], n-statusRobots
	}
	return out
}

// moods are those of the page for the tones of a terminal.
var moods = map[tone]httpapi.Mood{good: httpapi.Good, passing: httpapi.Passing, bad: httpapi.Bad}

// urgency puts what is wrong first.
func urgency(m httpapi.Mood) int {
	return slices.Index([]httpapi.Mood{httpapi.Bad, httpapi.Passing, httpapi.Good, ""}, m)
}

func (s *screen) statusOf(r *quaygenv1.Robot) httpapi.RobotStatus {
	text, mood := standing(r)
	out := httpapi.RobotStatus{
		Name: r.GetName(), Namespace: r.GetNamespace(), Strategy: strategyName(r.GetStrategy()), Registry: r.GetRegistry(), Base: r.GetBase(),
		Served: served(r), Age: "-", Next: s.due(r), Listed: s.relative(r.GetObserveTime(), "never"), State: text, Mood: moods[mood],
	}
	if g := current(r); g != nil {
		out.Age = s.age(g.GetCreateTime())
	}
	for _, g := range slices.Backward(r.GetGenerations()) {
		name, mood := stateName(g.GetState())
		out.Generations = append(out.Generations, httpapi.GenerationStatus{
			Robot: g.GetUsername(), State: strconv.FormatInt(g.GetNumber(), 10) + " " + name, Mood: moods[mood],
			Age: s.age(g.GetCreateTime()), Used: s.relative(g.GetLastAccessTime(), ""), Note: g.GetNote(),
		})
	}
	for _, w := range r.GetWarnings() {
		out.Notes = append(out.Notes, "warning: "+w)
	}
	for _, w := range r.GetWaiting() {
		out.Notes = append(out.Notes, "waiting: "+w)
	}
	for _, f := range r.GetFailures() {
		out.Notes = append(out.Notes, "failed: "+f)
	}
	return out
}
