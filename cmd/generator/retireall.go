package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/quaygen/quaygen/pkg/quaygen"
	"github.com/quaygen/quaygen/pkg/quaygen/config"
	"github.com/quaygen/quaygen/pkg/quaygen/rotation"
)

// uninstall is generator retire --all: it ends every robot of an installation, without a server.
type uninstall struct {
	all, yes, dryRun bool
	config           string
}

func uninstallFlags(c *cobra.Command) *uninstall {
	u := &uninstall{}
	c.Flags().BoolVar(&u.all, "all", false, "delete every robot of this installation, or of NAME, straight in Quay: to uninstall it")
	c.Flags().StringVar(&u.config, "config", "", "with --all: configuration file, which says where, and as which instance (required)")
	c.Flags().BoolVar(&u.yes, "yes", false, "with --all: do not ask")
	c.Flags().BoolVar(&u.dryRun, "dry-run", false, "with --all: show what would be deleted, and delete nothing")
	return u
}

// args says how many arguments belong to which form of the command.
func (u *uninstall) args(c *cobra.Command, args []string) error {
	if !u.all {
		return cobra.ExactArgs(2)(c, args)
	}
	if len(args) > 1 {
		return fmt.Errorf("--all is for every generation, and %q names one: retire NAME GENERATION is for a running server", args[1])
	}
	return nil
}

// check says which flags do not belong together.
func (u *uninstall) check(c *cobra.Command, out *output) error {
	foreign, why := []string{"config", "yes", "dry-run"}, "belongs to --all"
	if u.all {
		foreign, why = append([]string{"namespace"}, remoteNames...), "is for a running server, and --all asks none: it works in Quay, as --config says"
	}
	for _, name := range foreign {
		if c.Flags().Changed(name) {
			return usageError{fmt.Errorf("--%s %s", name, why)}
		}
	}
	switch {
	case u.all && u.config == "":
		return usageError{errors.New("--all needs --config FILE")}
	case u.all && u.dryRun && u.yes:
		return usageError{errors.New("--dry-run deletes nothing, so that there is nothing to say --yes to")}
	case u.all && out.form == "yaml":
		return usageError{errors.New("-o yaml is not for --all; json is")}
	}
	return nil
}

// uninstalled is what becomes of one run, for machines.
type uninstalled struct {
	Instance string             `json:"instance"`
	DryRun   bool               `json:"dryRun"`
	Robots   []uninstalledRobot `json:"robots"`
	Stays    []stayingRobot     `json:"stays"` // robots that are not this installation's
	Others   int                `json:"others"`
}

type uninstalledRobot struct {
	Registry string     `json:"registry"`
	Robot    string     `json:"robot"`
	Name     string     `json:"name,omitempty"` // as configured
	Created  time.Time  `json:"created"`
	LastUsed *time.Time `json:"lastUsed,omitempty"`
	Outcome  string     `json:"outcome"` // listed, deleted or left
	Why      string     `json:"why,omitempty"`
}

type stayingRobot struct {
	Registry string `json:"registry"`
	Robot    string `json:"robot"`
	Why      string `json:"why"`
}

// run ends all there is of the installation, or of one configured robot, if a name is given.
func (u *uninstall) run(ctx context.Context, c *cobra.Command, s *screen, form string, names []string) error {
	cfg, err := loadConfig(u.config, config.Options{SkipFiles: true})
	if err != nil {
		return err
	}
	robots, err := assignments(cfg, nil)
	if err != nil {
		return err
	}
	only := ""
	if len(names) > 0 {
		only = names[0]
		if robots = slices.DeleteFunc(robots, func(a rotation.Assignment) bool { return a.Spec.Name != only }); len(robots) == 0 {
			return &quaygen.Error{Kind: quaygen.KindUnknown, Detail: fmt.Sprintf("%s has no robot %q", u.config, only)}
		}
	}
	stock, err := rotation.TakeStock(ctx, robots, only)
	if err != nil {
		return fmt.Errorf("nothing was deleted: %w", err)
	}
	run := &uninstallation{config: cfg, stock: stock, screen: s, text: form != "json", doc: newUninstalled(cfg.Instance, u.dryRun, stock)}
	if run.text {
		run.show()
	}
	if !u.dryRun && len(run.doc.Robots) > 0 {
		if err := u.confirm(c, cfg.Instance, len(run.doc.Robots)); err != nil {
			return err
		}
		err = run.end(ctx)
	}
	if run.text && !u.dryRun {
		run.conclude()
	}
	if !run.text {
		encoder := json.NewEncoder(s)
		encoder.SetIndent("", "  ")
		err = errors.Join(err, encoder.Encode(run.doc))
	}
	return err
}

// confirm asks a person at a terminal, by the name of the instance: a file of another installation looks much the same.
func (u *uninstall) confirm(c *cobra.Command, instance string, n int) error {
	if u.yes {
		return nil
	}
	in := c.InOrStdin()
	if file, ok := in.(*os.File); !ok || !term.IsTerminal(int(file.Fd())) {
		return usageError{errors.New("nothing was deleted: nobody can be asked here; look with --dry-run, then say --yes")}
	}
	return ask(in, c.ErrOrStderr(), instance, n)
}

func ask(in io.Reader, out io.Writer, instance string, n int) error {
	fmt.Fprintf(out, "Whoever pulls with one of them fails from then on. Type the instance's name to delete %s (%s): ", count(n, "robot"), instance)
	line, err := bufio.NewReader(in).ReadString('\n')
	if got := strings.TrimSpace(line); got != instance {
		if err != nil && !errors.Is(err, io.EOF) {
			return fmt.Errorf("nothing was deleted: %w", err)
		}
		return usageError{fmt.Errorf("nothing was deleted: %q is not %q", got, instance)}
	}
	return nil
}

// uninstallation is one run.
type uninstallation struct {
	config *config.Config
	stock  []*rotation.Belongings
	screen *screen
	text   bool
	doc    *uninstalled
}

func newUninstalled(instance string, dryRun bool, stock []*rotation.Belongings) *uninstalled {
	doc := &uninstalled{Instance: instance, DryRun: dryRun, Robots: []uninstalledRobot{}, Stays: []stayingRobot{}}
	for _, b := range stock {
		for _, r := range b.Robots {
			doc.Robots = append(doc.Robots, uninstalledRobot{
				Registry: b.Registry, Robot: r.Robot.Username(), Name: r.Name, Created: r.Created.UTC(), LastUsed: optional(r.LastAccessed), Outcome: "listed",
			})
		}
		for _, r := range b.Stays {
			doc.Stays = append(doc.Stays, stayingRobot{b.Registry, r.Robot.Username(), r.Why})
		}
		doc.Others += b.Others
	}
	return doc
}

// show tells what there is before anything is done.
func (u *uninstallation) show() {
	t := newTable("ROBOT", "NAME", "CREATED", "LAST USED")
	for _, r := range u.doc.Robots {
		name, used := r.Name, "-"
		if name == "" {
			name = "(not configured any more)"
		}
		if r.LastUsed != nil {
			used = stamp(*r.LastUsed)
		}
		t.add(cell{r.Robot, plain}, cell{name, plain}, cell{stamp(r.Created), plain}, cell{used, plain})
	}
	if len(u.doc.Robots) > 0 {
		u.screen.print(t)
	}
	for _, r := range u.doc.Stays {
		u.screen.say("%s stays: %s", r.Robot, r.Why)
	}
	switch {
	case len(u.doc.Robots) == 0:
		u.screen.say("there is no robot of the instance %q; %s touched", u.doc.Instance, others(u.doc.Others))
	case u.doc.DryRun:
		u.screen.say("%s of the instance %q would be deleted; %s touched", count(len(u.doc.Robots), "robot"), u.doc.Instance, others(u.doc.Others))
	default:
		u.screen.say("%s of the instance %q will be deleted; %s touched", count(len(u.doc.Robots), "robot"), u.doc.Instance, others(u.doc.Others))
	}
}

func others(n int) string {
	if n == 1 {
		return "1 other robot is not"
	}
	return fmt.Sprintf("%d other robots are not", n)
}

// end deletes, organization by organization. One that cannot be worked with keeps none of the others from being looked at.
func (u *uninstallation) end(ctx context.Context) error {
	var failed []error
	left := 0
	for _, b := range u.stock {
		stays, err := b.End(ctx, func(r rotation.Belonging) {
			u.outcome(b.Registry, r.Robot.Username(), "deleted", "")
			if u.text {
				u.screen.say("deleted %s", r.Robot.Username())
			}
		})
		if err != nil {
			failed = append(failed, fmt.Errorf("%s: %w", b.Owner, err))
		}
		for _, s := range stays {
			u.outcome(b.Registry, s.Robot.Username(), "left", s.Why)
			if u.text {
				u.screen.say("left: %s: %s", s.Robot.Username(), s.Why)
			}
		}
		left += len(stays)
	}
	if left > 0 || len(failed) > 0 {
		return errors.Join(append(failed, fmt.Errorf("%s of the instance %q left; repeating this goes on from there", count(left, "robot"), u.doc.Instance))...)
	}
	return nil
}

func (u *uninstallation) outcome(registry, robot, outcome, why string) {
	for i, r := range u.doc.Robots {
		if r.Registry == registry && r.Robot == robot {
			u.doc.Robots[i].Outcome, u.doc.Robots[i].Why = outcome, why
			return
		}
	}
	// One that was made meanwhile.
	u.doc.Robots = append(u.doc.Robots, uninstalledRobot{Registry: registry, Robot: robot, Outcome: outcome, Why: why})
}

// conclude tells what is not in Quay's robots.
func (u *uninstallation) conclude() {
	deleted := 0
	for _, r := range u.doc.Robots {
		if r.Outcome == "deleted" {
			deleted++
		}
	}
	u.screen.say("%s deleted", count(deleted, "robot"))
	l := u.config.Ledger
	switch {
	case l.File != "":
		u.screen.say("what is not deleted: the ledger %s, the API token, and what is in the cluster", l.File)
	case l.Kubernetes.Namespace != "":
		u.screen.say("what is not deleted: the Leases of the ledger in the namespace %s, the API token, and what is in the cluster", l.Kubernetes.Namespace)
	default:
		u.screen.say("what is not deleted: the API token, and what is in the cluster")
	}
}
