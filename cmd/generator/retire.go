package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	quaygenv1 "github.com/quaygen/quaygen/proto/quaygen/v1"
)

func newRetire(root *rootOptions) *cobra.Command {
	c := &cobra.Command{
		Use:   "retire NAME GENERATION | retire [NAME] --all --config FILE",
		Short: "Have a running server end a superseded generation, and every older one, now; or, with --all, uninstall",
		Long: `Have a running server end a superseded generation, and every older one, now instead of after its drain. It returns when
they are gone. The generation that is served is never retired this way: rotate --revoke ends it.

Whoever still holds such a credential fails to pull. Nothing is asked; repeating it is harmless. A flag wins over its
environment variable.

With --all it ends the installation instead: every robot that carries the marker of the configuration's instance is
deleted, in each organization that the configuration names, also the one that is served. No server is asked, and none may
run: it would make new robots. What has no marker, or another instance's, stays and is listed. On a terminal it asks;
elsewhere it wants --yes, and --dry-run shows what it would do. Repeated, it goes on with what is left. With NAME it is about
that robot alone, with all its generations and namespaces.`,
	}
	where, out, everything := remoteFlags(c), outputFlags(c), uninstallFlags(c)
	c.Args = everything.args
	o := orderFlags(c)
	o.out = out
	c.RunE = func(c *cobra.Command, args []string) error {
		if err := errors.Join(out.check(), everything.check(c, out)); err != nil {
			return err
		}
		if everything.all {
			ctx := c.Context()
			if c.Flags().Changed("timeout") && o.timeout > 0 {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, o.timeout)
				defer cancel()
			}
			return everything.run(ctx, c, out.screen(c.OutOrStdout(), root.now), out.form, args)
		}
		generation, err := strconv.ParseInt(args[1], 10, 64)
		if err != nil || generation < 0 {
			return usageError{fmt.Errorf("GENERATION is a number, as generator status %s shows it, not %q", args[0], args[1])}
		}
		if err := o.begin(c, root, where, args[0]); err != nil {
			return err
		}
		defer o.close()
		return o.retire(c, generation)
	}
	return c
}

func (o *order) retire(c *cobra.Command, generation int64) error {
	o.progress.note(fmt.Sprintf("ending generation %d and every older one", generation))
	var answer *quaygenv1.RobotsRetireResponse
	err := o.await(c.Context(), func(ctx context.Context) (err error) {
		answer, err = o.robots.Retire(ctx, &quaygenv1.RobotsRetireRequest{Name: o.name, Namespace: o.namespace, Generation: generation})
		return err
	})
	switch {
	case err != nil && o.unsettled(err):
		return o.advise(err, "it may be half done: repeat it with %s", o.command("retire", " "+strconv.FormatInt(generation, 10)))
	case err != nil:
		return o.explain(err)
	}
	screen := o.out.screen(c.OutOrStdout(), o.now)
	if o.out.form != "text" {
		return o.out.machine(screen, answer, false)
	}
	robot := answer.GetRobot()
	screen.say("%s: nothing up to generation %d exists any more%s; generation %s is served", o.progress.about, generation, gone(o.before, robot, generation), served(robot))
	return nil
}
