package main

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/quaygen/quaygen/pkg/quaygen/config"
)

func newCheckConfig() *cobra.Command {
	var output string
	var skipFiles bool
	c := &cobra.Command{
		Use:   "check-config FILE",
		Short: "Check a configuration file and print every problem with its place",
		Args:  cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if output != "text" && output != "json" {
				return usageError{fmt.Errorf("-o %q is neither text nor json", output)}
			}
			cfg, err := config.Options{SkipFiles: skipFiles}.Load(args[0])
			invalid, ok := errors.AsType[*config.Error](err)
			if err != nil && !ok {
				return usageError{err}
			}
			if output == "json" {
				if printErr := printProblems(c, cfg, invalid); printErr != nil {
					return printErr
				}
				if ok {
					return usageError{fmt.Errorf("%s is not valid", args[0])}
				}
				return nil
			}
			if ok {
				return invalid
			}
			for _, w := range cfg.Warnings() {
				fmt.Fprintln(c.OutOrStdout(), "warning:", w)
			}
			fmt.Fprintf(c.OutOrStdout(), "%s is valid: %d robots, %d pull secrets that join several, %d clients, %d rules\n",
				args[0], len(cfg.Robots), len(cfg.PullSecrets), len(cfg.Clients), len(cfg.Rules))
			return nil
		},
	}
	c.Flags().StringVarP(&output, "output", "o", "text", "text or json")
	c.Flags().BoolVar(&skipFiles, "skip-files", false, "do not look at the token, CA and certificate files: they are on another machine")
	return c
}

func printProblems(c *cobra.Command, cfg *config.Config, invalid *config.Error) error {
	out := struct {
		Valid    bool             `json:"valid"`
		Problems []config.Problem `json:"problems"`
		Warnings []config.Problem `json:"warnings"`
	}{Valid: invalid == nil, Problems: []config.Problem{}, Warnings: []config.Problem{}}
	if invalid != nil {
		out.Problems = invalid.Problems
	}
	if cfg != nil && cfg.Warnings() != nil {
		out.Warnings = cfg.Warnings()
	}
	encoder := json.NewEncoder(c.OutOrStdout())
	encoder.SetIndent("", "  ")
	return encoder.Encode(out)
}

func newConfigSchema() *cobra.Command {
	return &cobra.Command{
		Use:   "config-schema",
		Short: "Print the JSON Schema of the configuration file, for editors",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			_, err := c.OutOrStdout().Write(config.Schema())
			return err
		},
	}
}
