package grpcapi_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/metadata"
	reflectionv1 "google.golang.org/grpc/reflection/grpc_reflection_v1"

	providerv1 "github.com/quaygen/quaygen/proto/externalsecrets/provider/v1"
	quaygenv1 "github.com/quaygen/quaygen/proto/quaygen/v1"
)

func TestRequestsAndHeadersAreBounded(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.mint(t, "puller")
		c := providerv1.NewSecretStoreProviderClient(w.as(t, "eso"))
		for _, test := range []struct {
			what          string
			body, headers int
			want          codes.Code
		}{
			{"a large request", 60 << 10, 0, codes.OK},
			{"one that is too large", 65 << 10, 0, codes.ResourceExhausted},
			{"large headers", 0, 15 << 10, codes.OK},
			{"headers that are too large", 0, 17 << 10, codes.Internal}, // which the client's side says, since the server told it
		} {
			ctx := metadata.AppendToOutgoingContext(t.Context(), "x", strings.Repeat("x", test.headers))
			remote := &providerv1.ExternalSecretDataRemoteRef{Key: "puller", Version: strings.Repeat("x", test.body)}
			_, err := c.GetSecret(ctx, &providerv1.GetSecretRequest{RemoteRef: remote, SourceNamespace: "prod-shop"})
			is(t, test.what, err, test.want)
		}
	})
}

// A rawConn is a connection of HTTP/2 whose frames a test writes itself.
type rawConn struct {
	*http2.Framer
	ends chan error // what the server closed it with
}

func (w *world) rawConn(t testing.TB) *rawConn {
	t.Helper()
	plain, err := w.dial()
	check(t, err)
	c := tls.Client(plain, &tls.Config{RootCAs: w.ca.Pool(), ServerName: "server", NextProtos: []string{"h2"}})
	t.Cleanup(func() { _ = plain.Close() })
	raw := &rawConn{http2.NewFramer(c, c), make(chan error, 1)}
	go func() {
		for {
			switch frame, err := raw.ReadFrame(); f := frame.(type) {
			case *http2.GoAwayFrame:
				raw.ends <- fmt.Errorf("%v: %s", f.ErrCode, f.DebugData())
				return
			default:
				if err != nil {
					raw.ends <- err
					return
				}
			}
		}
	}()
	_, err = io.WriteString(c, http2.ClientPreface)
	check(t, err)
	check(t, raw.WriteSettings())
	return raw
}

// ESO pings every 10 s, also without a call.
func TestPingsAsESOSendsThemAreFineAndAFloodIsNot(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		calm := w.rawConn(t)
		for range 80 {
			pass(10 * time.Second)
			check(t, calm.WritePing(false, [8]byte{}))
		}
		pass(time.Second)
		select {
		case err := <-calm.ends:
			t.Errorf("pings every 10 s: %v", err)
		default:
		}
		flood := w.rawConn(t)
		for range 10 {
			pass(100 * time.Millisecond)
			_ = flood.WritePing(false, [8]byte{}) // it is closed on the way
		}
		pass(time.Second)
		select {
		case err := <-flood.ends:
			if !strings.Contains(err.Error(), "too_many_pings") {
				t.Errorf("a flood: %v", err)
			}
		default:
			t.Error("a flood of pings is taken")
		}
	})
}

func TestIdleAndDeadConnectionsAreClosed(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		dead := w.rawConn(t) // answers no ping
		start := time.Now()
		if err := <-dead.ends; time.Since(start) != 6*time.Minute {
			t.Errorf("a dead one ended after %v: %v", time.Since(start), err)
		}
		w.mint(t, "puller")
		c := w.as(t, "eso")
		is(t, "a call", getSecret(t, c), codes.OK)
		start = time.Now()
		if c.WaitForStateChange(t.Context(), connectivity.Ready); time.Since(start) != 15*time.Minute {
			t.Errorf("an idle one ended after %v", time.Since(start))
		}
		is(t, "a call over another one", getSecret(t, c), codes.OK)
	})
}

// A connection stays what the handshake made it; so none lives for ever.
func TestNoConnectionOutlivesItsAge(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.mint(t, "puller")
		c := w.as(t, "viewer")
		x := w.watch(t, c, "")
		x.listing(t)
		start := time.Now()
		_, err := x.Recv()
		is(t, "the watch", err, codes.Unavailable)
		if age := time.Since(start); age < 30*time.Minute || age > 40*time.Minute {
			t.Errorf("it lived for %v", age)
		}
		y := w.watch(t, c, x.position)
		w.revoke(t, "puller")
		if e := y.event(t); e.GetName() != "puller" {
			t.Errorf("gone on, it says %v", e)
		}
	})
}

func TestStreamsOfOneConnectionAreBounded(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.mint(t, "puller")
		c := w.as(t, "viewer")
		for range 100 {
			w.watch(t, c, "").listing(t)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		_, err := quaygenv1.NewRobotsClient(c).List(ctx, &quaygenv1.RobotsListRequest{})
		is(t, "one more", err, codes.DeadlineExceeded)
		_, err = w.robotsAs(t, "viewer").List(t.Context(), &quaygenv1.RobotsListRequest{})
		is(t, "on another connection", err, codes.OK)
	})
}

func TestReflectionTellsTheServicesWhereItIsOn(t *testing.T) {
	for _, on := range []bool{true, false} {
		inBubble(t, func(t *testing.T, w *world) {
			stream, err := reflectionv1.NewServerReflectionClient(w.as(t, "")).ServerReflectionInfo(t.Context())
			check(t, err)
			_ = stream.Send(&reflectionv1.ServerReflectionRequest{MessageRequest: &reflectionv1.ServerReflectionRequest_ListServices{}}) // what is wrong is said when receiving
			r, err := stream.Recv()
			if !on {
				is(t, "off", err, codes.Unimplemented)
				return
			}
			check(t, err)
			var names []string
			for _, s := range r.GetListServicesResponse().GetService() {
				names = append(names, s.GetName())
			}
			for _, want := range []string{"quaygen.v1.PullSecrets", "quaygen.v1.Robots", "provider.v1.SecretStoreProvider", "generator.v1.GeneratorProvider"} {
				if !slices.Contains(names, want) {
					t.Errorf("%s is not among %q", want, names)
				}
			}
			check(t, stream.CloseSend())
			if _, err := stream.Recv(); !errors.Is(err, io.EOF) {
				t.Errorf("it ended with %v", err)
			}
		}, func(w *world) { w.config.Reflection = on })
	}
}

// Each test looks for tokens in its log and metrics at its end; this one looks at all that operators and the refused get.
func TestNoTokenLeavesButInAPullSecret(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.mint(t, "both")
		w.mint(t, "own")
		told := &strings.Builder{}
		x := w.watch(t, w.as(t, "viewer"), "")
		fmt.Fprintln(told, x.listing(t))
		for range 3 {
			w.revoke(t, "puller")
			for range 3 {
				if _, err := w.robotsAs(t, "manager").Rotate(t.Context(), &quaygenv1.RobotsRotateRequest{Name: "partner"}); err != nil {
					fmt.Fprintln(told, err)
				}
			}
			s := w.store(t, "stranger", "prod-shop")
			for _, key := range []string{"puller", "both", "own", "nothing"} {
				_, err := s.get(t, key, "password")
				fmt.Fprintln(told, err)
			}
			fmt.Fprintln(told, w.store(t, "eso", "prod-shop").validate(t))
			list, err := w.robotsAs(t, "viewer").List(t.Context(), &quaygenv1.RobotsListRequest{})
			fmt.Fprintln(told, list, err)
			fmt.Fprintln(told, x.event(t))
		}
		w.noTokens(t, "what was told", told.String())
		if n := len(w.quay.Ever("myorg")); n < 6 {
			t.Errorf("there were only %d robots", n)
		}
	})
}
