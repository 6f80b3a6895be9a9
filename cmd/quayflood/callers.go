package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	quaygenv1 "github.com/quaygen/quaygen/proto/quaygen/v1"
)

// patience is how long a caller waits for an answer.
const patience = 10 * time.Second

// A caller is a client that works as meant: it calls at a fixed pace, whatever became of the calls before.
type caller struct {
	call  func(context.Context) error
	close func()
}

// connections are those that a transport has opened. It closes by itself only those that it knows to be idle.
type connections struct {
	mu  sync.Mutex
	all []net.Conn
}

func (o *connections) dial(ctx context.Context, network, address string) (net.Conn, error) {
	c, err := new(net.Dialer).DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.all = append(o.all, c)
	return c, nil
}

func (o *connections) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, c := range o.all {
		c.Close()
	}
}

// callers are one that makes a connection per call over HTTP/1.1, as ESO does, and two that keep theirs: HTTP/2, gRPC.
func (w *world) callers() ([]*caller, error) {
	fresh := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: w.roots, MinVersion: tls.VersionTLS12}, DisableKeepAlives: true}
	own := &tls.Config{RootCAs: w.roots, Certificates: []tls.Certificate{*w.certificate}, MinVersion: tls.VersionTLS12}
	var opened connections
	kept := &http.Transport{TLSClientConfig: own, ForceAttemptHTTP2: true, DialContext: opened.dial}
	connection, err := grpc.NewClient(w.grpc, grpc.WithTransportCredentials(credentials.NewTLS(own)))
	if err != nil {
		return nil, err
	}
	remote := quaygenv1.NewPullSecretsClient(connection)
	return []*caller{
		{func(ctx context.Context) error { return w.get(ctx, fresh, w.token) }, fresh.CloseIdleConnections},
		{func(ctx context.Context) error { return w.get(ctx, kept, "") }, opened.close},
		{func(ctx context.Context) error {
			answer, err := remote.Get(ctx, &quaygenv1.PullSecretsGetRequest{Name: "puller", Namespace: "prod"})
			if err == nil && len(answer.GetPullSecret().GetData()) == 0 {
				err = errors.New("an answer without data")
			}
			return err
		}, func() { _ = connection.Close() }},
	}, nil
}

func (w *world) get(ctx context.Context, over http.RoundTripper, token string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+w.http+"/v1/pullsecrets/puller?namespace=prod", nil)
	if err != nil {
		return err
	}
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	answer, err := over.RoundTrip(request)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(io.LimitReader(answer.Body, 1<<20))
	switch {
	case err != nil:
		return err
	case answer.StatusCode != http.StatusOK:
		return fmt.Errorf("%s", answer.Status)
	case !strings.Contains(string(body), ".dockerconfigjson"):
		return errors.New("an answer without data")
	}
	return nil
}

// calls are what became of a caller's calls.
type calls struct {
	took   []time.Duration // of those that were answered, in order of length
	failed []error
}

func (c *calls) quantile(q float64) time.Duration {
	if len(c.took) == 0 {
		return 0
	}
	return c.took[min(len(c.took)-1, int(q*float64(len(c.took))))]
}

// calling lets all callers call, each so many times a second for so long, and returns what became of it.
func calling(ctx context.Context, callers []*caller, rate int, duration time.Duration) []*calls {
	var all sync.WaitGroup
	results := make([]*calls, len(callers))
	for i, c := range callers {
		results[i] = &calls{}
		all.Go(func() { c.work(ctx, results[i], rate, duration) })
	}
	all.Wait()
	return results
}

func (c *caller) work(ctx context.Context, result *calls, rate int, duration time.Duration) {
	var under sync.WaitGroup
	var mu sync.Mutex
	ticker := time.NewTicker(time.Second / time.Duration(rate))
	defer ticker.Stop()
	for range int(duration.Seconds() * float64(rate)) {
		under.Go(func() {
			calling, cancel := context.WithTimeout(ctx, patience)
			defer cancel()
			start := time.Now()
			err := c.call(calling)
			took := time.Since(start)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				result.failed = append(result.failed, err)
				return
			}
			result.took = append(result.took, took)
		})
		select {
		case <-ticker.C:
		case <-ctx.Done():
		}
	}
	under.Wait()
	slices.Sort(result.took)
}
