// Package cluster runs a Kubernetes control plane and the External Secrets
// Operator as plain processes, for stories that must hold on the real thing.
//
// There is no kubelet: pods stay Pending. Everything an operator of operators
// sees is real: authentication, RBAC, ServiceAccount tokens, admission, garbage
// collection, namespace deletion. Each Cluster has its own certificates, data
// and ports, so that several run side by side.
package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"k8s.io/client-go/discovery"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"

	"github.com/quaygen/quaygen/e2e/parts"
	"github.com/quaygen/quaygen/e2e/process"
	"github.com/quaygen/quaygen/pkg/quaygen/certificate/certificatetest"
)

// Cluster is a running control plane. Close ends it.
type Cluster struct {
	// Config is the administrator's.
	Config *rest.Config
	// Client acts as the administrator.
	Client dynamic.Interface

	dir    string
	ca     *certificatetest.Pair
	mapper *restmapper.DeferredDiscoveryRESTMapper
	parts  []*process.Process // in the order they were started
}

// Start builds what is missing, starts a control plane that keeps everything
// in dir (its logs too, as NAME.log), and returns when ServiceAccounts are
// being made. ctx bounds the start; the cluster then lives until Close.
//
// dir should be short: it holds a Unix socket, whose path may not exceed about
// 100 characters.
func Start(ctx context.Context, dir string) (_ *Cluster, err error) {
	bin, err := parts.Kubernetes.Build(ctx)
	if err != nil {
		return nil, err
	}
	c := &Cluster{dir: dir, ca: certificatetest.Authority("cluster")}
	defer func() {
		if err != nil {
			c.Close()
		}
	}()
	if err := c.writeKeys(); err != nil {
		return nil, err
	}
	if err := c.startEtcd(ctx, bin); err != nil {
		return nil, fmt.Errorf("starting etcd: %w", err)
	}
	start := func(ctx context.Context, port int) error { return c.startAPIServer(ctx, bin, port) }
	if err := process.OnFreePort(ctx, start); err != nil {
		return nil, fmt.Errorf("starting the API server: %w", err)
	}
	if err := c.startControllers(ctx, bin); err != nil {
		return nil, fmt.Errorf("starting the controllers: %w", err)
	}
	return c, nil
}

// Close kills everything that is still running. What they wrote stays in the
// directory. An operator from StartESO dies with the rest.
func (c *Cluster) Close() {
	for i := len(c.parts) - 1; i >= 0; i-- {
		c.parts[i].Kill()
	}
	c.parts = nil
}

// start starts a part and makes Close end it. The log's name is the part's.
func (c *Cluster) start(bin, name string, args, env []string) (*process.Process, error) {
	p, err := process.Start(process.Command{
		Path: filepath.Join(bin, name),
		Args: args,
		Env:  env,
		Log:  c.path(name + ".log"),
	})
	if err != nil {
		return nil, err
	}
	c.parts = append(c.parts, p)
	return p, nil
}

// connect makes the administrator's clients once the API server's URL is known.
func (c *Cluster) connect(url string) error {
	c.Config = c.user(url, "admin", "system:masters")
	var err error
	if c.Client, err = dynamic.NewForConfig(c.Config); err != nil {
		return fmt.Errorf("making the client: %w", err)
	}
	disco, err := discovery.NewDiscoveryClientForConfig(c.Config)
	if err != nil {
		return fmt.Errorf("making the discovery client: %w", err)
	}
	c.mapper = restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(disco))
	return nil
}

func (c *Cluster) path(name string) string { return filepath.Join(c.dir, name) }

func (c *Cluster) write(name string, content []byte) error {
	if err := os.WriteFile(c.path(name), content, 0o600); err != nil {
		return fmt.Errorf("writing %s: %w", name, err)
	}
	return nil
}

// writeKeys writes the files that the API server and the controllers share.
func (c *Cluster) writeKeys() error {
	serving := c.ca.Issue("kube-apiserver", certificatetest.ForLoopback, certificatetest.ForServers("kubernetes.default.svc"))
	// Only the key counts: it signs ServiceAccount tokens.
	accounts := c.ca.Issue("service-accounts")
	return errors.Join(
		c.write("ca.crt", c.ca.CertPEM()),
		c.write("apiserver.crt", serving.CertPEM()),
		c.write("apiserver.key", serving.KeyPEM()),
		c.write("accounts.crt", accounts.CertPEM()),
		c.write("accounts.key", accounts.KeyPEM()),
	)
}
