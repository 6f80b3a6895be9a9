package main

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	quaygenv1 "github.com/quaygen/quaygen/proto/quaygen/v1"
)

func newStatus(root *rootOptions) *cobra.Command {
	var namespace string
	c := &cobra.Command{
		Use:   "status [NAME]",
		Short: "Show the robots of a running server, or everything about one",
		Long: `Show the robots of a running server, or everything about one.

Times are relative to now; -o json and -o yaml have them in full. A flag wins over its environment variable.`,
		Args: cobra.MaximumNArgs(1),
	}
	where, out := remoteFlags(c), outputFlags(c)
	c.Flags().StringVar(&namespace, "namespace", "", "whose robot, with the scope namespace; without NAME, robots of this namespace alone")
	c.RunE = func(c *cobra.Command, args []string) error {
		if err := out.check(); err != nil {
			return err
		}
		s, err := where.open(root.now)
		if err != nil {
			return err
		}
		defer s.close()
		screen := out.screen(c.OutOrStdout(), root.now)
		if len(args) == 1 {
			return s.explain(showRobot(c.Context(), s, out, screen, args[0], namespace))
		}
		robots, err := s.list(c.Context())
		if err != nil {
			return s.explain(err)
		}
		if namespace != "" {
			robots = slices.DeleteFunc(robots, func(r *quaygenv1.Robot) bool { return r.GetNamespace() != namespace })
		}
		if out.form != "text" {
			return out.machine(screen, &quaygenv1.RobotsListResponse{Robots: robots}, false)
		}
		if len(robots) == 0 {
			fmt.Fprintln(c.ErrOrStderr(), "there are no robots")
			return nil
		}
		screen.print(screen.robotTable(robots))
		return nil
	}
	return c
}

// list returns all robots, however many pages they take.
func (s *session) list(ctx context.Context) ([]*quaygenv1.Robot, error) {
	const pageSize = 500
	var robots []*quaygenv1.Robot
	token := ""
	for {
		ctx, cancel := context.WithTimeout(ctx, callTime)
		page, err := s.robots.List(ctx, &quaygenv1.RobotsListRequest{PageSize: pageSize, PageToken: token})
		cancel()
		if err != nil {
			return nil, err
		}
		robots = append(robots, page.GetRobots()...)
		if page.GetNextPageToken() == "" {
			return robots, nil
		}
		if page.GetNextPageToken() == token {
			return nil, fmt.Errorf("%s answers with the same page again and again", s.server)
		}
		token = page.GetNextPageToken()
	}
}

// get returns one robot.
func (s *session) get(ctx context.Context, name, namespace string) (*quaygenv1.Robot, error) {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	answer, err := s.robots.Get(ctx, &quaygenv1.RobotsGetRequest{Name: name, Namespace: namespace})
	return answer.GetRobot(), err
}

// showRobot prints one robot. A name that stands for one robot per namespace, without a namespace, is shown as a table.
func showRobot(ctx context.Context, s *session, out *output, screen *screen, name, namespace string) error {
	robot, err := s.get(ctx, name, namespace)
	if status.Code(err) == codes.NotFound && namespace == "" && out.form == "text" {
		robots, listErr := s.list(ctx)
		robots = slices.DeleteFunc(robots, func(r *quaygenv1.Robot) bool { return r.GetName() != name })
		if listErr != nil || len(robots) == 0 {
			return err
		}
		screen.print(screen.robotTable(robots))
		screen.say("\n%s has a robot for each namespace; --namespace shows one.", name)
		return nil
	}
	switch {
	case err != nil:
		return err
	case out.form != "text":
		return out.machine(screen, robot, false)
	}
	screen.detail(robot)
	return nil
}

// robotTable has a line for each robot.
func (s *screen) robotTable(robots []*quaygenv1.Robot) *table {
	t := newTable("NAME", "NAMESPACE", "STRATEGY", "GENERATION", "AGE", "NEXT ROTATION", "STATE")
	for _, r := range robots {
		age := "-"
		if g := current(r); g != nil {
			age = s.age(g.GetCreateTime())
		}
		text, mood := standing(r)
		t.add(cell{text: clean(r.GetName())}, cell{text: dash(r.GetNamespace())}, cell{text: strategyName(r.GetStrategy())}, cell{text: served(r)},
			cell{text: age}, cell{text: s.due(r)}, cell{text, mood})
	}
	return t
}

// due says when the next rotation is.
func (s *screen) due(r *quaygenv1.Robot) string {
	t := r.GetNextRotationTime()
	if t != nil && t.AsTime().Before(s.now()) {
		return "due for " + s.age(t)
	}
	return s.relative(t, "-")
}

// current returns the generation that is served, nil if none is or its account is not listed.
func current(r *quaygenv1.Robot) *quaygenv1.Generation {
	for _, g := range r.GetGenerations() {
		if g.GetState() == quaygenv1.GenerationState_GENERATION_STATE_CURRENT {
			return g
		}
	}
	return nil
}

func served(r *quaygenv1.Robot) string {
	if r.Generation == nil {
		return "none"
	}
	return strconv.FormatInt(r.GetGeneration(), 10)
}

// standing says in a few words how a robot is doing: what is wrong comes first.
func standing(r *quaygenv1.Robot) (string, tone) {
	counts := map[quaygenv1.GenerationState]int{}
	for _, g := range r.GetGenerations() {
		counts[g.GetState()]++
	}
	switch {
	case r.Generation == nil && r.GetProblem() == "":
		return "none served yet", bad
	case r.Generation == nil:
		return "none served: " + clean(r.GetProblem()), bad
	case r.GetProblem() != "":
		return clean(r.GetProblem()), bad
	case len(r.GetFailures()) > 0:
		return "failing: " + clean(r.GetFailures()[0]), bad
	case len(r.GetWarnings()) > 0:
		return "warning: " + clean(r.GetWarnings()[0]), passing
	case counts[quaygenv1.GenerationState_GENERATION_STATE_PENDING] > 0:
		return "rotating", passing
	case counts[quaygenv1.GenerationState_GENERATION_STATE_DRAINING] > 0:
		return fmt.Sprintf("ok, %d draining", counts[quaygenv1.GenerationState_GENERATION_STATE_DRAINING]), good
	}
	return "ok", good
}

// detail prints all that is known of a robot.
func (s *screen) detail(r *quaygenv1.Robot) {
	title := clean(r.GetName())
	if r.GetNamespace() != "" {
		title += " of namespace " + clean(r.GetNamespace())
	}
	s.say("%s", s.paint(title, head))
	text, mood := standing(r)
	facts := &table{}
	fact := func(name, value string, t tone) { facts.add(cell{text: "  " + name}, cell{value, t}) }
	fact("state", text, mood)
	fact("generation", served(r), plain)
	fact("strategy", strategyName(r.GetStrategy()), plain)
	fact("next rotation", s.due(r), plain)
	fact("registry", dash(r.GetRegistry()), plain)
	fact("robots in Quay", dash(r.GetBase()), plain)
	fact("last looked at", s.relative(r.GetObserveTime(), "never"), plain)
	whole := *s
	whole.width = 0 // what a person asked for is not cut
	whole.print(facts)

	if len(r.GetGenerations()) > 0 {
		s.say("")
		t := newTable("GENERATION", "STATE", "AGE", "LAST USE", "USER NAME", "NOTE")
		for _, g := range slices.Backward(r.GetGenerations()) {
			name, mood := stateName(g.GetState())
			t.add(cell{text: strconv.FormatInt(g.GetNumber(), 10)}, cell{name, mood}, cell{text: s.age(g.GetCreateTime())},
				cell{text: s.relative(g.GetLastAccessTime(), "not seen")}, cell{text: dash(g.GetUsername())}, cell{text: clean(g.GetNote())})
		}
		whole.print(t)
	}
	for _, part := range []struct {
		name  string
		texts []string
		tone  tone
	}{{"warning", r.GetWarnings(), passing}, {"waiting", r.GetWaiting(), plain}, {"failed", r.GetFailures(), bad}} {
		if len(part.texts) > 0 {
			s.say("")
		}
		for _, text := range part.texts {
			s.say("%s %s", s.paint(part.name+":", part.tone), clean(text))
		}
	}
}

func strategyName(v quaygenv1.Strategy) string {
	return strings.ToLower(strings.TrimPrefix(v.String(), "STRATEGY_"))
}

func stateName(v quaygenv1.GenerationState) (string, tone) {
	tones := map[quaygenv1.GenerationState]tone{
		quaygenv1.GenerationState_GENERATION_STATE_CURRENT: good, quaygenv1.GenerationState_GENERATION_STATE_PENDING: passing,
		quaygenv1.GenerationState_GENERATION_STATE_DRAINING: passing, quaygenv1.GenerationState_GENERATION_STATE_CONFLICT: bad,
		quaygenv1.GenerationState_GENERATION_STATE_MISSING: bad,
	}
	return strings.ToLower(strings.TrimPrefix(v.String(), "GENERATION_STATE_")), tones[v]
}

func dash(text string) string {
	if text == "" {
		return "-"
	}
	return clean(text)
}
