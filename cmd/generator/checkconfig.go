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
	var question question
	c := &cobra.Command{
		Use:   "check-config [--explain CLIENT NAMESPACE NAME] FILE",
		Short: "Check a configuration file and print every problem with its place, or say what its rules decide",
		Long: `Check a configuration file and print every problem with its place.

With --explain CLIENT NAMESPACE NAME it says whether the service would give the client the pull secret NAME for the
namespace, which rule decides it, and for each rule why it does or does not apply. It exits with 0 where it would, 4 where
it would not, 3 where there is no such client or pull secret, and 1 where it depends on labels that --label does not tell.`,
		Args: question.args,
		RunE: func(c *cobra.Command, args []string) error {
			if output != "text" && output != "json" {
				return usageError{fmt.Errorf("-o %q is neither text nor json", output)}
			}
			file := args[len(args)-1]
			cfg, err := loadConfig(file, config.Options{SkipFiles: skipFiles || question.asked})
			invalid, ok := errors.AsType[*config.Error](err)
			if err != nil && !ok {
				return err
			}
			if question.asked && !ok {
				explained, err := question.explain(file, cfg)
				if err != nil {
					return err
				}
				return explained.print(c.OutOrStdout(), output)
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
			fmt.Fprintf(c.OutOrStdout(), "%s is valid: %s\n", file, contents(len(cfg.Robots), len(cfg.PullSecrets), len(cfg.Clients), len(cfg.Rules)))
			return nil
		},
	}
	c.Flags().StringVarP(&output, "output", "o", "text", "text or json")
	c.Flags().BoolVar(&skipFiles, "skip-files", false, "do not look at the token, CA and certificate files: they are on another machine")
	question.flags(c)
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
