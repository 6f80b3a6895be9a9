package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	quaygenv1 "github.com/quaygen/quaygen/proto/quaygen/v1"
)

// patienceOfOrders is how long an order is waited for unless --timeout says otherwise.
const patienceOfOrders = 10 * time.Minute

// order is what rotate and retire have in common: a call that changes something and takes its time.
type order struct {
	*session
	out             *output
	progress        *progress
	name, namespace string
	timeout         time.Duration
	before          *quaygenv1.Robot // nil where it is not known
}

// orderFlags adds the flags of such calls.
func orderFlags(c *cobra.Command) *order {
	o := &order{}
	c.Flags().StringVar(&o.namespace, "namespace", "", "whose robot, with the scope namespace")
	c.Flags().DurationVar(&o.timeout, "timeout", patienceOfOrders, "how long to wait for the end; 0: as long as it takes")
	return o
}

// begin connects, and looks at the robot as it is before.
func (o *order) begin(c *cobra.Command, root *rootOptions, where *remote, name string) error {
	if err := o.out.check(); err != nil {
		return err
	}
	if o.timeout < 0 {
		return usageError{fmt.Errorf("--timeout %v is negative", o.timeout)}
	}
	s, err := where.open(root.now)
	if err != nil {
		return err
	}
	o.session, o.name = s, name
	o.progress = newProgress(o.out, c.ErrOrStderr(), root.now, robotName(name, o.namespace))
	robot, err := s.get(c.Context(), name, o.namespace)
	if _, reached := s.link.state(); !reached {
		defer s.close()
		return s.explain(err)
	}
	if err == nil {
		o.before = robot // else the call itself says what is wrong
	}
	return nil
}

// await makes the call and shows how it goes.
func (o *order) await(ctx context.Context, call func(context.Context) error) error {
	if o.timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, o.timeout)
		defer cancel()
	}
	return o.progress.during(ctx, o.session, o.name, o.namespace, call)
}

// unsettled reports whether the server may have begun, and perhaps goes on, with what failed here. Where it answered
// itself it has said so.
func (o *order) unsettled(err error) bool {
	if _, reached := o.link.state(); !reached || len(status.Convert(err).Details()) > 0 {
		return false
	}
	switch status.Code(err) {
	case codes.InvalidArgument, codes.NotFound, codes.PermissionDenied, codes.Unauthenticated, codes.FailedPrecondition, codes.Unimplemented, codes.ResourceExhausted:
		return false
	default:
		return true
	}
}

// advise adds what to do to an error.
func (o *order) advise(err error, format string, args ...any) error {
	return &callError{text: o.explain(err).Error() + "; " + fmt.Sprintf(format, args...), cause: err}
}

// command is a command line about the robot.
func (o *order) command(verb, rest string) string {
	line := "generator " + verb + " " + clean(o.name) + rest
	if o.namespace != "" {
		line += " --namespace " + clean(o.namespace)
	}
	return line
}

func newRotate(root *rootOptions) *cobra.Command {
	r := &rotate{}
	c := &cobra.Command{
		Use:   "rotate NAME",
		Short: "Have a running server rotate a robot now",
		Long: `Have a running server rotate a robot now. It returns when the new generation is served; the old one lives on for its
overlap. While an earlier rotation is under way, it is refused.

With --revoke everything older ends as soon as the new generation is served: for a credential that leaked. Consumers that
have not refreshed by then fail to pull until they do; registry tokens that Quay has issued before pull for up to an hour.
Nothing is asked. Where a revocation is cut off, repeat it with --through and the number that the error names.

A rotation goes on at the server when this command is ended. A flag wins over its environment variable.`,
		Args: cobra.ExactArgs(1),
	}
	where, out := remoteFlags(c), outputFlags(c)
	r.order = orderFlags(c)
	r.out = out
	c.Flags().BoolVar(&r.revoke, "revoke", false, "end everything older at once, without overlap")
	c.Flags().Int64Var(&r.through, "through", 0, "with --revoke: the newest generation to end (default: all that exist)")
	c.RunE = func(c *cobra.Command, args []string) error {
		r.bounded = c.Flags().Changed("through")
		switch {
		case r.bounded && !r.revoke:
			return usageError{errors.New("--through has a meaning with --revoke only")}
		case r.through < 0:
			return usageError{fmt.Errorf("--through %d: no generation has such a number", r.through)}
		}
		if err := r.begin(c, root, where, args[0]); err != nil {
			return err
		}
		defer r.close()
		return r.run(c)
	}
	return c
}

// rotate is a rotation or a revocation.
type rotate struct {
	*order
	revoke, bounded bool
	through         int64
}

func (r *rotate) run(c *cobra.Command) error {
	request := &quaygenv1.RobotsRotateRequest{Name: r.name, Namespace: r.namespace, Revoke: r.revoke}
	if r.bounded {
		request.RevokeThrough = &r.through
	}
	r.announce()
	var answer *quaygenv1.RobotsRotateResponse
	err := r.await(c.Context(), func(ctx context.Context) (err error) {
		answer, err = r.robots.Rotate(ctx, request)
		return err
	})
	if err != nil {
		return r.failed(err)
	}
	screen := r.out.screen(c.OutOrStdout(), r.now)
	if r.out.form != "text" {
		return r.out.machine(screen, answer, false)
	}
	r.report(screen, answer)
	return nil
}

// announce says what is about to be done.
func (r *rotate) announce() {
	if !r.revoke {
		r.progress.note("asking for a new generation")
		return
	}
	victims := "every generation that exists"
	if n, ok := r.victims(); ok {
		victims = fmt.Sprintf("generation %d and every older one", n)
	}
	what := "revoking " + victims + " as soon as a new one is served"
	if r.before.GetStrategy() == quaygenv1.Strategy_STRATEGY_REGENERATE {
		what = "replacing the token, which ends at once"
	}
	r.progress.say("%s: %s; consumers that have not refreshed by then fail to pull until they do", r.progress.about, what)
	r.progress.note("waiting for a new generation")
}

// victims is the newest generation that a revocation ends, false where it is not known.
func (r *rotate) victims() (int64, bool) {
	if r.bounded {
		return r.through, true
	}
	n := int64(-1)
	if r.before != nil && r.before.Generation != nil {
		n = r.before.GetGeneration()
	}
	for _, g := range r.before.GetGenerations() {
		if g.GetState() != quaygenv1.GenerationState_GENERATION_STATE_CONFLICT {
			n = max(n, g.GetNumber())
		}
	}
	return n, n >= 0
}

// failed says what to do about a rotation that did not end well here.
func (r *rotate) failed(err error) error {
	switch n, known := r.victims(); {
	case !r.unsettled(err):
		return r.explain(err)
	case !r.revoke:
		return r.advise(err, "the rotation may go on at the server: %s shows what came of it", r.command("status", ""))
	case known:
		return r.advise(err, "the revocation may not be complete: repeat it with %s", r.command("rotate", " --revoke --through "+strconv.FormatInt(n, 10)))
	default:
		return r.advise(err, "the revocation may not be complete: repeat it with --through and the newest generation that is to end; %s shows what there is", r.command("status", ""))
	}
}

// report says what came about.
func (r *rotate) report(s *screen, answer *quaygenv1.RobotsRotateResponse) {
	robot := answer.GetRobot()
	as := ""
	if g := current(robot); g != nil && g.GetUsername() != "" {
		as = ", as " + clean(g.GetUsername())
	}
	s.say("%s: %s is served%s", r.progress.about, s.paint("generation "+served(robot), good), as)
	if r.revoke {
		r.reportRevoked(s, answer)
	}
	for _, g := range robot.GetGenerations() {
		if g.GetState() == quaygenv1.GenerationState_GENERATION_STATE_DRAINING {
			s.say("generation %d lives on: %s", g.GetNumber(), untilWhen(robot, g))
		}
	}
	for _, w := range robot.GetWarnings() {
		s.say("%s %s", s.paint("warning:", passing), clean(w))
	}
}

func (r *rotate) reportRevoked(s *screen, answer *quaygenv1.RobotsRotateResponse) {
	robot := answer.GetRobot()
	if robot.GetStrategy() == quaygenv1.Strategy_STRATEGY_REGENERATE {
		s.say("the token before it no longer works")
		s.say("registry tokens that Quay issued before may pull for up to an hour, and whoever holds one can renew it: only another")
		s.say("robot name, or taking all grants away for more than an hour, ends that")
		return
	}
	through := answer.GetRevokedThrough()
	s.say("nothing up to generation %d exists any more%s", through, gone(r.before, robot, through))
	s.say("registry tokens that Quay issued before may pull for up to an hour")
}

// gone lists the generations up to a number that existed before and do not any more, as the end of a sentence.
func gone(before, after *quaygenv1.Robot, through int64) string {
	var numbers []string
	for _, g := range before.GetGenerations() {
		lives := slices.ContainsFunc(after.GetGenerations(), func(h *quaygenv1.Generation) bool { return h.GetNumber() == g.GetNumber() })
		if !lives && g.GetNumber() <= through {
			numbers = append(numbers, strconv.FormatInt(g.GetNumber(), 10))
		}
	}
	if len(numbers) == 0 {
		return ""
	}
	return " (ended: " + strings.Join(numbers, ", ") + ")"
}

// untilWhen says how long a superseded generation lives.
func untilWhen(robot *quaygenv1.Robot, g *quaygenv1.Generation) string {
	if g.GetNote() != "" {
		return clean(g.GetNote())
	}
	for _, text := range robot.GetWaiting() {
		if rest, ok := strings.CutPrefix(text, g.GetUsername()+" is kept"); ok && g.GetUsername() != "" {
			return clean(strings.TrimPrefix(strings.TrimSpace(rest), ": "))
		}
	}
	return "until Quay shows that nobody uses it any more"
}
