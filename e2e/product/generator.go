package product

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/quaygen/quaygen/e2e/process"
)

// Generator is a running generator serve. Stop or Kill ends it.
type Generator struct {
	*process.Process
	Address string // where callers are served
	GRPC    string // where callers are served that use gRPC
	Admin   string // URL of the administrator's port
}

// StartGenerator starts a replica with the configuration in a file, which has to
// ask for free ports. It returns when the replica listens, which is before it
// is ready: that takes Quay. env, as NAME=value, is its environment, without which
// it knows of no cluster.
func (p Programs) StartGenerator(ctx context.Context, config, log string, env ...string) (*Generator, error) {
	// The arguments are those of manifests/base/deployment.yaml.
	started, err := p.start("generator", log, env, "serve", "--config="+config, "--log-format=json")
	if err != nil {
		return nil, err
	}
	g := &Generator{Process: started}
	if err := g.Ready(ctx, func(context.Context) error { return g.locate() }); err != nil {
		g.Kill()
		return nil, fmt.Errorf("starting generator: %w", err)
	}
	return g, nil
}

func (g *Generator) locate() error {
	type line struct {
		Msg   string `json:"msg"`
		HTTP  string `json:"http"`
		GRPC  string `json:"grpc"`
		Admin string `json:"admin"`
	}
	l, err := printed(g.Process, func(l line) bool { return l.Msg == "serving" })
	if err != nil {
		return err
	}
	g.Address, g.GRPC, g.Admin = strings.TrimPrefix(l.HTTP, "https://"), l.GRPC, l.Admin
	return nil
}

// Ask asks the administrator's port for a path such as /readyz. The answer is
// for people and monitoring; it never holds a secret.
func (g *Generator) Ask(ctx context.Context, path string) (status int, body string, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, g.Admin+path, nil)
	if err != nil {
		return 0, "", err
	}
	response, err := (&http.Client{Timeout: callTimeout}).Do(request)
	if err != nil {
		return 0, "", fmt.Errorf("asking generator for %s: %w", path, err)
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	if err != nil {
		return 0, "", fmt.Errorf("asking generator for %s: %w", path, err)
	}
	return response.StatusCode, string(content), nil
}
