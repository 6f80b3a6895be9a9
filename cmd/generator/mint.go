package main

import (
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/quaygen/quaygen/pkg/quaygen"
	"github.com/quaygen/quaygen/pkg/quaygen/config"
	"github.com/quaygen/quaygen/pkg/quaygen/policy"
	"github.com/quaygen/quaygen/pkg/quaygen/rotation"
)

var mintOutputs = []string{"dockerconfigjson", "secret", "json", "auth"}

func newMint(root *rootOptions) *cobra.Command {
	var configPath func() (string, error)
	var namespace, output string
	var timeout time.Duration
	c := &cobra.Command{
		Use:   "mint NAME --config FILE",
		Short: "Print a pull secret, straight from Quay and without a service",
		Long: `Print a pull secret, straight from Quay and without a service. What exists is used; a robot that does not exist yet is
created, granted and proven first. Nothing is rotated or removed.

Output forms: dockerconfigjson (the file), secret (a manifest for kubectl apply -f -), json (the service's answer),
auth (user:token, base64). All of them hold the credential: mind where they go.`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if !slices.Contains(mintOutputs, output) {
				return usageError{fmt.Errorf("-o %q is none of dockerconfigjson, secret, json, auth", output)}
			}
			path, err := configPath()
			if err != nil {
				return err
			}
			cfg, err := loadConfig(path, config.Options{SkipFiles: true})
			if err != nil {
				return err
			}
			all, request := settings(cfg), quaygen.Request{Name: args[0], Namespace: namespace, Format: mintFormat(output)}
			if err := mintable(all, request, output); err != nil {
				return err
			}
			ctx, cancel := context.WithTimeout(c.Context(), timeout)
			defer cancel()
			answer, err := mint(ctx, root, cfg, all, request)
			if err != nil {
				return err
			}
			return printMinted(c.OutOrStdout(), output, args[0], namespace, answer)
		},
	}
	configPath = configFlag(c)
	c.Flags().StringVar(&namespace, "namespace", "default", "namespace that the credential is for; that of the manifest with -o secret")
	c.Flags().StringVarP(&output, "output", "o", "dockerconfigjson", "dockerconfigjson, secret, json or auth")
	c.Flags().DurationVar(&timeout, "timeout", 2*time.Minute, "how long to try")
	return c
}

func mintFormat(output string) string {
	if output == "auth" {
		return string(quaygen.FormatBasic)
	}
	return string(quaygen.FormatDockerConfigJSON)
}

// mintable says what is wrong with a request before anything is done for it: a robot that was created for nothing would stay.
func mintable(all *quaygen.Settings, r quaygen.Request, output string) error {
	_, known := all.Secrets[r.Name]
	switch {
	case !known:
		return &quaygen.Error{Kind: quaygen.KindUnknown, Detail: fmt.Sprintf("the configuration has no robot or pull secret %q", r.Name)}
	case output == "secret" && len(validation.IsDNS1123Subdomain(r.Name)) > 0:
		return usageError{fmt.Errorf("%q cannot be the name of a Secret in Kubernetes; choose another -o", r.Name)}
	}
	return all.Check(r)
}

// mint runs the engine for just the robots that the pull secret consists of, until each has a credential.
func mint(ctx context.Context, root *rootOptions, cfg *config.Config, all *quaygen.Settings, r quaygen.Request) (*quaygen.Answer, error) {
	secret := all.Secrets[r.Name]
	robots, err := assignments(cfg, nil)
	if err != nil {
		return nil, err
	}
	robots = slices.DeleteFunc(robots, func(a rotation.Assignment) bool {
		return !slices.ContainsFunc(secret.Parts, func(p quaygen.Part) bool { return p.Robot == a.Spec.Name })
	})
	engine := rotation.New(rotation.Config{Log: root.log, MintOnly: true})
	engine.Apply(robots)
	working, stop := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = engine.Run(working) // it only ever ends because it was stopped
	}()
	defer func() { stop(); <-done }()

	// Whoever has the configuration and Quay's token may have everything; the rules are for callers of the service.
	service := quaygen.New(engine, root.log)
	service.Apply(&quaygen.Settings{Secrets: all.Secrets, Rules: policy.Rules{{Clients: []string{"mint"}, Namespaces: []string{"*"}, Names: []string{"*"}}}})
	for _, p := range secret.Parts {
		if _, err := engine.Await(ctx, rotation.Ref{Name: p.Robot, Namespace: r.Namespace}); err != nil {
			break // the service says the same in public terms
		}
	}
	return service.Get(ctx, policy.Caller{Name: "mint", How: "command line"}, r)
}

func printMinted(w io.Writer, output, name, namespace string, answer *quaygen.Answer) error {
	data := answer.Data()
	switch output {
	case "json":
		_, err := w.Write(answer.Body())
		return err
	case "auth":
		pair := data["username"] + ":" + data["password"]
		_, err := fmt.Fprintln(w, base64.StdEncoding.EncodeToString([]byte(pair)))
		return err
	case "dockerconfigjson":
		_, err := fmt.Fprintln(w, data[".dockerconfigjson"])
		return err
	}
	manifest := map[string]any{
		"apiVersion": "v1",
		"kind":       "Secret",
		"metadata": map[string]any{
			"name": name, "namespace": namespace,
			"labels": map[string]string{"app.kubernetes.io/managed-by": "quaygen"},
		},
		"type": "kubernetes.io/dockerconfigjson",
		"data": map[string]string{".dockerconfigjson": base64.StdEncoding.EncodeToString([]byte(data[".dockerconfigjson"]))},
	}
	return yaml.NewEncoder(w).Encode(manifest)
}
