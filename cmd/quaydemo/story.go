package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/quaygen/quaygen/cmd/internal/child"
)

// demo is one run. Each part of the story either does what it says or ends it with an error.
type demo struct {
	out      io.Writer
	bin, dir string
	start    time.Time

	processes []*child.Process
	watching  *child.Process
	quay      quayInfo
	api       apiInfo
	operator  operator
	rows      []row
}

type row struct{ what, seen string }

func (d *demo) say(format string, args ...any) {
	fmt.Fprintf(d.out, "%5.1fs  %s\n", time.Since(d.start).Seconds(), fmt.Sprintf(format, args...))
}

func (d *demo) note(what, format string, args ...any) {
	d.rows = append(d.rows, row{what, fmt.Sprintf(format, args...)})
}

func (d *demo) play(ctx context.Context) error {
	if err := d.setUp(ctx); err != nil {
		return err
	}
	first, err := d.fetch(ctx)
	if err != nil {
		return err
	}
	d.say("fetched the pull secret as ESO would: robot %s, generation %d", first.Robot, first.Generation)
	digest, err := d.pull(ctx, first)
	if err != nil {
		return fmt.Errorf("pulling with a fresh credential: %w", err)
	}
	d.say("pulled %s with it: %s", d.image(), digest)
	d.note("robot minted, granted, proven, served", "%s", first.Robot)
	d.note("image pulled by a registry client", "%s", digest)

	if err := d.watch(ctx); err != nil {
		return err
	}
	d.say("a rotation is due every 20 s here; pulling with the old credential all the while ...")
	second, pulls, err := d.rotate(ctx, first)
	if err != nil {
		return err
	}
	d.note("rotated", "%s -> %s", first.Robot, second.Robot)
	d.note("pulls during the rotation", "%d, 0 failed", pulls)
	for _, s := range []pullSecret{first, second} {
		if _, err := d.pull(ctx, s); err != nil {
			return fmt.Errorf("pulling as %s after the rotation: %w", s.Robot, err)
		}
	}
	for _, told := range []struct{ event, robot string }{{"published", second.Robot}, {"superseded", first.Robot}} {
		if err := d.watched(ctx, told.event, told.robot); err != nil {
			return err
		}
	}
	d.say("both credentials pull: nobody has to hurry")
	if err := d.status(ctx); err != nil {
		return err
	}
	d.note("old and new credential right after", "both pull")

	d.say("waiting for the old generation to be retired: overlap 9 s, then unused for 4 s ...")
	if err := d.retired(ctx, first); err != nil {
		return err
	}
	if err := d.watched(ctx, "retired", first.Robot); err != nil {
		return err
	}
	_, err = d.pull(ctx, first)
	if err == nil {
		return errors.New("the retired credential still pulls")
	}
	d.say("the old credential is dead: %s", shorten(err))
	if _, err := d.pull(ctx, second); err != nil {
		return fmt.Errorf("pulling as %s after the retirement: %w", second.Robot, err)
	}
	d.note("old credential after its end", "refused")
	d.note("new credential", "pulls")
	return d.summary()
}

// rotate pulls with the old credential until a newer one is served.
func (d *demo) rotate(ctx context.Context, old pullSecret) (pullSecret, int, error) {
	pulls := 0
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	for {
		if _, err := d.pull(ctx, old); err != nil {
			return pullSecret{}, pulls, fmt.Errorf("a pull failed during the rotation: %w", err)
		}
		pulls++
		now, err := d.fetch(ctx)
		if err != nil {
			return pullSecret{}, pulls, err
		}
		if now.Generation != old.Generation {
			d.say("rotated: %s is served now (%d pulls as %s meanwhile, none failed)", now.Robot, pulls, old.Robot)
			return now, pulls, nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return pullSecret{}, pulls, fmt.Errorf("waiting for a rotation: %w", ctx.Err())
		}
	}
}

// retired waits until Quay no longer has the robot. It does not try the credential: that would count as use.
func (d *demo) retired(ctx context.Context, old pullSecret) error {
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	for {
		exists, err := d.exists(ctx, old.Robot)
		if err != nil {
			return err
		}
		if !exists {
			d.say("%s is gone from Quay", old.Robot)
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("waiting for %s to be retired: %w", old.Robot, ctx.Err())
		}
	}
}

func (d *demo) summary() error {
	fmt.Fprintln(d.out)
	t := tabwriter.NewWriter(d.out, 0, 0, 2, ' ', 0)
	for _, r := range d.rows {
		fmt.Fprintf(t, "  %s\t%s\n", r.what, r.seen)
	}
	fmt.Fprintf(t, "  took\t%.0f s\n", time.Since(d.start).Seconds())
	return t.Flush()
}

func shorten(err error) string {
	text := err.Error()
	if len(text) > 160 {
		text = text[:160] + "..."
	}
	return text
}
