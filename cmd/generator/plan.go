package main

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/quaygen/quaygen/pkg/quaygen"
	"github.com/quaygen/quaygen/pkg/quaygen/config"
	"github.com/quaygen/quaygen/pkg/quaygen/rotation"
)

func newPlan() *cobra.Command {
	var configPath func() (string, error)
	var output string
	c := &cobra.Command{
		Use:   "plan [NAME] --config FILE",
		Short: "Show what would be changed in Quay now, and why, without touching it",
		Long: `Show what would be changed in Quay now, and why, without touching it.

The plan is that of a service that starts now. A running one has watched longer: it may retire today what a new one
retires only after it has seen the successor for the length of the overlap.

With strategy: regenerate the ledger says what is to be done. It is read, never written or locked: a file where it is here,
Leases in the cluster of the pod or of KUBECONFIG. Where it cannot be read a warning says so; generator status shows then
what a running service knows.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if output != "text" && output != "json" {
				return usageError{fmt.Errorf("-o %q is neither text nor json", output)}
			}
			path, err := configPath()
			if err != nil {
				return err
			}
			cfg, err := loadConfig(path, config.Options{SkipFiles: true})
			if err != nil {
				return err
			}
			robots, err := assignments(cfg, nil)
			if err != nil {
				return err
			}
			if len(args) == 1 {
				robots = slices.DeleteFunc(robots, func(a rotation.Assignment) bool { return a.Spec.Name != args[0] })
				if len(robots) == 0 {
					return &quaygen.Error{Kind: quaygen.KindUnknown, Detail: fmt.Sprintf("%s has no robot %q", path, args[0])}
				}
			}
			statuses, err := rotation.Preview(c.Context(), robots, readLedger(c.Context(), cfg))
			if err != nil {
				return err
			}
			if output == "json" {
				return planJSON(c.OutOrStdout(), statuses)
			}
			return planText(c.OutOrStdout(), statuses)
		},
	}
	configPath = configFlag(c)
	c.Flags().StringVarP(&output, "output", "o", "text", "text or json")
	return c
}

// changes are the steps that change something in Quay; the others only look.
func changes(p rotation.Plan) []rotation.Step {
	return slices.DeleteFunc(slices.Clone(p.Steps), func(s rotation.Step) bool {
		return s.Action == rotation.ReadToken || s.Action == rotation.ReadRoles
	})
}

func planText(w io.Writer, statuses []rotation.Status) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "ROBOT\tNAMESPACE\tGENERATION\tSTATE\tCREATED\tLAST USED\tNOTE")
	for _, s := range statuses {
		if len(s.Plan.Generations) == 0 {
			fmt.Fprintf(t, "%s\t%s\t-\tnone\t-\t-\t\n", s.Name, dash(s.Namespace))
		}
		for _, g := range s.Plan.Generations {
			fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", s.Name, dash(s.Namespace), g.Robot.Username(), g.State, stamp(g.Created), stamp(g.LastAccessed), g.Note)
		}
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for _, s := range statuses {
		fmt.Fprintf(w, "\n%s:\n", rotation.Ref{Name: s.Name, Namespace: s.Namespace})
		for _, step := range changes(s.Plan) {
			fmt.Fprintf(w, "  would %s\n      because %s\n", step, step.Why)
			if len(step.Then) > 0 {
				fmt.Fprintf(w, "      then give it %s\n", strings.Join(step.Then, ", "))
			}
		}
		if len(changes(s.Plan)) == 0 && s.Ledger == "" && len(s.Failures) == 0 { // or nobody knows
			fmt.Fprintln(w, "  nothing to do")
		}
		if !s.Plan.Next.IsZero() {
			fmt.Fprintf(w, "  next rotation: %s\n", stamp(s.Plan.Next))
		}
		for _, text := range s.Plan.Waiting {
			fmt.Fprintf(w, "  waiting: %s\n", text)
		}
		for _, text := range s.Plan.Warnings {
			fmt.Fprintf(w, "  warning: %s\n", text)
		}
	}
	return nil
}

func stamp(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.UTC().Format(time.RFC3339)
}

type planDocument struct {
	Name         string           `json:"name"`
	Namespace    string           `json:"namespace,omitempty"` // whose robot it is, or the hash that stands for it in robots' names
	Generations  []planGeneration `json:"generations"`
	Steps        []planStep       `json:"steps"`
	NextRotation *time.Time       `json:"nextRotation,omitempty"`
	Waiting      []string         `json:"waiting"`
	Warnings     []string         `json:"warnings"`
}

type planGeneration struct {
	Number     int64      `json:"number"`
	Robot      string     `json:"robot"`
	State      string     `json:"state"`
	Created    time.Time  `json:"created"`
	LastUsed   *time.Time `json:"lastUsed,omitempty"`
	Annotation string     `json:"note,omitempty"`
}

type planStep struct {
	Action     string `json:"action"`
	Robot      string `json:"robot"`
	Repository string `json:"repository,omitempty"`
	Role       string `json:"role,omitempty"`
	Team       string `json:"team,omitempty"`
	Why        string `json:"why"`

	Then []string `json:"then,omitempty"`
}

func planJSON(w io.Writer, statuses []rotation.Status) error {
	out := make([]planDocument, 0, len(statuses))
	for _, s := range statuses {
		d := planDocument{
			Name: s.Name, Namespace: s.Namespace, Generations: []planGeneration{}, Steps: []planStep{}, NextRotation: optional(s.Plan.Next),
			Waiting: append([]string{}, s.Plan.Waiting...), Warnings: append([]string{}, s.Plan.Warnings...),
		}
		for _, g := range s.Plan.Generations {
			d.Generations = append(d.Generations, planGeneration{
				Number: g.Number, Robot: g.Robot.Username(), State: string(g.State), Created: g.Created.UTC(), LastUsed: optional(g.LastAccessed), Annotation: g.Note,
			})
		}
		for _, step := range changes(s.Plan) {
			p := planStep{Action: step.Action.String(), Robot: step.Robot.Username(), Repository: step.Repository, Team: step.Team, Why: step.Why, Then: step.Then}
			if step.Action == rotation.Grant {
				p.Role = step.Role.String()
			}
			d.Steps = append(d.Steps, p)
		}
		out = append(out, d)
	}
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	return encoder.Encode(out)
}

func optional(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}
