// Command etcd is a single etcd member on a Unix socket, for the API server of
// the cluster stories.
//
// It takes a directory, keeps its data and its sockets there and uses no
// network port, so that any number of them run side by side and only the user
// who owns the directory can reach them.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/url"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"go.etcd.io/etcd/server/v3/embed"
)

func main() {
	dir := flag.String("dir", "", "directory for the data and for the socket client.sock")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *dir); err != nil {
		fmt.Fprintln(os.Stderr, "etcd:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, dir string) error {
	if dir == "" {
		return errors.New("-dir is required")
	}
	client := url.URL{Scheme: "unix", Path: filepath.Join(dir, "client.sock")}
	peer := url.URL{Scheme: "unix", Path: filepath.Join(dir, "peer.sock")}

	cfg := embed.NewConfig()
	cfg.Dir = filepath.Join(dir, "data")
	cfg.ListenClientUrls = []url.URL{client}
	cfg.ListenPeerUrls = []url.URL{peer}
	// etcd insists on advertising addresses with ports. Nobody asks for them:
	// the API server is given the socket, and there is no other member.
	unused := url.URL{Scheme: "http", Host: "127.0.0.1:0"}
	cfg.AdvertiseClientUrls = []url.URL{unused}
	cfg.AdvertisePeerUrls = []url.URL{unused}
	cfg.InitialCluster = cfg.InitialClusterFromName(cfg.Name)
	// The data does not outlive the test: losing it in a power cut costs
	// nothing, waiting for the disk on every write does.
	cfg.UnsafeNoFsync = true

	server, err := embed.StartEtcd(cfg)
	if err != nil {
		return fmt.Errorf("starting: %w", err)
	}
	defer server.Close()
	select {
	case <-ctx.Done():
		return nil
	case err := <-server.Err():
		return fmt.Errorf("serving: %w", err)
	case <-server.Server.StopNotify():
		return errors.New("the server stopped by itself")
	}
}
