package grpcapi_test

import (
	"context"
	"net"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"github.com/quaygen/quaygen/pkg/quaygen"
	providerv1 "github.com/quaygen/quaygen/proto/externalsecrets/provider/v1"
	quaygenv1 "github.com/quaygen/quaygen/proto/quaygen/v1"
)

// Each benchmark asks our server and a bare one, which returns the same message and has the same TLS, in turn, over one
// connection each with a client certificate, and reports the ratio of their speeds: 1 is as fast as bare. One run of both on
// one machine cancels out what the machine does besides.

func BenchmarkPullSecretsGet(b *testing.B) {
	request := &quaygenv1.PullSecretsGetRequest{Name: "puller", Namespace: "prod-shop"}
	compare(b, func(c *grpc.ClientConn) func() (*quaygenv1.PullSecretsGetResponse, error) {
		client := quaygenv1.NewPullSecretsClient(c)
		return func() (*quaygenv1.PullSecretsGetResponse, error) { return client.Get(b.Context(), request) }
	}, func(s *grpc.Server, answer *quaygenv1.PullSecretsGetResponse) {
		quaygenv1.RegisterPullSecretsServer(s, barePullSecrets{answer: answer})
	})
}

func BenchmarkGetSecretMap(b *testing.B) {
	request := &providerv1.GetSecretMapRequest{RemoteRef: remote("puller", ""), ProviderRef: cluster("quaygen"), SourceNamespace: "prod-shop"}
	compare(b, func(c *grpc.ClientConn) func() (*providerv1.GetSecretMapResponse, error) {
		client := providerv1.NewSecretStoreProviderClient(c)
		return func() (*providerv1.GetSecretMapResponse, error) { return client.GetSecretMap(b.Context(), request) }
	}, func(s *grpc.Server, answer *providerv1.GetSecretMapResponse) {
		providerv1.RegisterSecretStoreProviderServer(s, bareProvider{answer: answer})
	})
}

type barePullSecrets struct {
	quaygenv1.UnimplementedPullSecretsServer
	answer *quaygenv1.PullSecretsGetResponse
}

func (s barePullSecrets) Get(context.Context, *quaygenv1.PullSecretsGetRequest) (*quaygenv1.PullSecretsGetResponse, error) {
	return s.answer, nil
}

type bareProvider struct {
	providerv1.UnimplementedSecretStoreProviderServer
	answer *providerv1.GetSecretMapResponse
}

func (s bareProvider) GetSecretMap(context.Context, *providerv1.GetSecretMapRequest) (*providerv1.GetSecretMapResponse, error) {
	return s.answer, nil
}

func compare[T any](b *testing.B, asker func(*grpc.ClientConn) func() (T, error), serve func(*grpc.Server, T)) {
	w := onSockets(b)
	w.mint(b, "puller")
	tireless := *w.settings // no limit that a benchmark could meet; there still is one to be looked at
	tireless.Limits = map[string]quaygen.Limits{"eso-grpc": {QPS: 1e9, Burst: 1e9, Concurrent: 1000, Namespaces: 1000}}
	w.service.Apply(&tireless)
	ours := asker(w.showing(b, w.ca.Client(controller)))
	answer, err := ours()
	check(b, err)

	listener, err := net.Listen("tcp", "127.0.0.1:0")
	check(b, err)
	bare := grpc.NewServer(grpc.Creds(credentials.NewTLS(w.config.TLS)))
	serve(bare, answer)
	go func() { _ = bare.Serve(listener) }()
	b.Cleanup(bare.Stop)
	w.dial = func() (net.Conn, error) { return net.Dial("tcp", listener.Addr().String()) }
	theirs := asker(w.showing(b, w.ca.Client(controller)))
	_, err = theirs()
	check(b, err)

	spend := func(ask func() (T, error), total *time.Duration) {
		start := time.Now()
		if _, err := ask(); err != nil {
			b.Fatal(err)
		}
		*total += time.Since(start)
	}
	var spentOurs, spentBare time.Duration
	for oursFirst := true; b.Loop(); oursFirst = !oursFirst {
		if oursFirst {
			spend(ours, &spentOurs)
			spend(theirs, &spentBare)
			continue
		}
		spend(theirs, &spentBare)
		spend(ours, &spentOurs)
	}
	b.ReportMetric(float64(spentBare)/float64(spentOurs), "of-bare")
	b.ReportMetric(float64(spentOurs.Nanoseconds())/float64(b.N), "ours-ns/op")
	b.ReportMetric(float64(spentBare.Nanoseconds())/float64(b.N), "bare-ns/op")
}
