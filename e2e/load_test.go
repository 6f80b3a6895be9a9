package e2e

import (
	"context"
	"crypto/tls"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	tlscredentials "google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"

	quaygenv1 "github.com/quaygen/quaygen/proto/quaygen/v1"
)

// askTimeout is what every store of ours sets (manifests/eso).
const askTimeout = 10 * time.Second

// atOnce bounds the requests of a load that are under way: a machine that cannot keep up is asked less often.
const atOnce = 100

// A load asks at a rate, whatever became of the request before, and nothing is repeated.
type load struct {
	name    string
	began   time.Time
	running sync.WaitGroup
	cancel  context.CancelFunc
	ended   time.Time

	mu       sync.Mutex // guards what follows
	asked    int
	slowest  time.Duration
	failures []string
}

// newLoad calls ask so often per second, until stop, or the story ends.
func (s *stage) newLoad(name string, perSecond int, ask func(ctx context.Context, n int) error) *load {
	ctx, cancel := context.WithCancel(s.ctx)
	l := &load{name: name, began: time.Now(), cancel: cancel}
	free := make(chan struct{}, atOnce)
	l.running.Go(func() {
		every(ctx, time.Second/time.Duration(perSecond), func() {
			select {
			case free <- struct{}{}:
			case <-ctx.Done():
				return
			}
			l.mu.Lock()
			n := l.asked
			l.asked++
			l.mu.Unlock()
			l.running.Go(func() {
				defer func() { <-free }()
				// What is under way when the load ends is answered all the same.
				l.one(context.WithoutCancel(ctx), n, ask)
			})
		})
	})
	s.t.Cleanup(func() { l.stop() })
	return l
}

func (l *load) one(ctx context.Context, n int, ask func(ctx context.Context, n int) error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	start := time.Now()
	err := ask(ctx, n)
	took := time.Since(start)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.slowest = max(l.slowest, took)
	if err != nil {
		l.failures = append(l.failures, fmt.Sprintf("%.1fs after the beginning, within %v: %v", start.Sub(l.began).Seconds(), took.Round(time.Millisecond), err))
	}
}

// stop ends the load when what is under way is answered.
func (l *load) stop() {
	if l.ended.IsZero() {
		l.cancel()
		l.running.Wait()
		l.ended = time.Now()
	}
}

// String says what came of a load that has ended.
func (l *load) String() string {
	return fmt.Sprintf("%s: %d requests, %.0f per second, %d failed, the slowest took %v",
		l.name, l.asked, float64(l.asked)/l.ended.Sub(l.began).Seconds(), len(l.failures), l.slowest.Round(time.Millisecond))
}

// demandNoFailure ends loads, logs what came of them, and fails the story for each request that was not answered well.
func demandNoFailure(t *testing.T, loads ...*load) {
	t.Helper()
	for _, l := range loads {
		l.stop()
		t.Log(l)
		for _, failure := range l.failures[:min(5, len(l.failures))] {
			t.Errorf("%s: %s", l.name, failure)
		}
		if len(l.failures) > 5 {
			t.Errorf("%s: and %d more failed", l.name, len(l.failures)-5)
		}
	}
}

// overHTTPS asks for each of names in turn, each time over a new connection with a whole handshake.
func (s *stage) overHTTPS(address string, names ...string) func(ctx context.Context, n int) error {
	transport := s.quay.Transport.Clone() // quaygen's certificate is of the same authority
	transport.DisableKeepAlives = true
	s.t.Cleanup(transport.CloseIdleConnections)
	client := &http.Client{Transport: transport}
	return func(ctx context.Context, n int) error {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+address+"/v1/pullsecrets/"+names[n%len(names)]+"?namespace=prod-shop", nil)
		if err != nil {
			return err
		}
		request.Header.Set("Authorization", "Bearer "+s.bearers["eso"])
		response, err := client.Do(request)
		if err != nil {
			return err
		}
		defer response.Body.Close()
		if response.StatusCode != http.StatusOK {
			return fmt.Errorf("%s: %s", names[n%len(names)], response.Status)
		}
		return nil
	}
}

// bearerToken sends the token of the client eso with each call.
type bearerToken struct{ token string }

func (b bearerToken) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return map[string]string{"authorization": "Bearer " + b.token}, nil
}

func (bearerToken) RequireTransportSecurity() bool { return true }

// overGRPC asks for each of names in turn, over so many connections in turn, which stay open and are pinged as ESO does. Nothing
// is repeated, beyond what gRPC does by itself with a call that no server has begun with.
func (s *stage) overGRPC(address string, connections int, names ...string) func(ctx context.Context, n int) error {
	s.t.Helper()
	var clients []quaygenv1.PullSecretsClient
	for range connections {
		c, err := grpc.NewClient(address,
			grpc.WithTransportCredentials(tlscredentials.NewTLS(&tls.Config{RootCAs: s.quay.Transport.TLSClientConfig.RootCAs, MinVersion: tls.VersionTLS12})),
			grpc.WithPerRPCCredentials(bearerToken{s.bearers["eso"]}), grpc.WithDisableRetry(),
			grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 10 * time.Second, Timeout: 5 * time.Second, PermitWithoutStream: true}))
		check(s.t, err)
		s.t.Cleanup(func() { _ = c.Close() })
		clients = append(clients, quaygenv1.NewPullSecretsClient(c))
	}
	return func(ctx context.Context, n int) error {
		name := names[n%len(names)]
		answer, err := clients[n%len(clients)].Get(ctx, &quaygenv1.PullSecretsGetRequest{Name: name, Namespace: "prod-shop"})
		if err == nil && !slices.ContainsFunc(answer.GetPullSecret().GetCredentials(), func(c *quaygenv1.Credential) bool { return c.GetRobotName() == name }) {
			err = fmt.Errorf("the answer has no credential of %s", name)
		}
		return err
	}
}
