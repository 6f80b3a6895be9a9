package grpcapi_test

import (
	"context"
	"errors"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/quaygen/quaygen/pkg/quaygen/quay/quaytest"
	quaygenv1 "github.com/quaygen/quaygen/proto/quaygen/v1"
)

// ending is what became of a call.
type ending struct {
	what string
	err  error
}

// shutdown begins to shut down with this much time, and returns how long it took.
func (w *world) shutdown(t testing.TB, grace time.Duration) (time.Duration, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), grace)
	defer cancel()
	start := time.Now()
	err := w.server.Shutdown(ctx)
	return time.Since(start), err
}

func TestTheDrainEndsWhatWaitsAndSaysWhy(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.mint(t, "puller")
		first := w.robot(t, "puller", "").GetGeneration()
		w.quay.Inject(quaytest.Fault{Operation: "robot.create", Status: 503})
		watching := w.watch(t, w.as(t, "viewer"), "")
		watching.listing(t)
		manager := w.robotsAs(t, "manager")
		ends := make(chan ending, 10)
		go func() {
			_, err := manager.Rotate(t.Context(), &quaygenv1.RobotsRotateRequest{Name: "puller"})
			ends <- ending{"a rotation", err}
		}()
		go func() {
			_, err := manager.Rotate(t.Context(), &quaygenv1.RobotsRotateRequest{Name: "partner", Revoke: true})
			ends <- ending{"a revocation", err}
		}()
		go func() {
			for {
				if _, err := watching.Recv(); err != nil {
					ends <- ending{"a watch", err}
					return
				}
			}
		}()
		health, err := grpc_health_v1.NewHealthClient(w.as(t, "")).Watch(t.Context(), &grpc_health_v1.HealthCheckRequest{})
		check(t, err)
		if r, err := health.Recv(); err != nil || r.GetStatus() != grpc_health_v1.HealthCheckResponse_SERVING {
			t.Errorf("health: %v, %v", r, err)
		}
		pass(5 * time.Second)
		if took, err := w.shutdown(t, time.Minute); err != nil || took > time.Second {
			t.Errorf("the shutdown took %v: %v", took, err)
		}
		synctest.Wait()
		if len(ends) != 3 {
			t.Fatalf("%d calls of 3 have ended", len(ends))
		}
		for range 3 {
			e := <-ends
			is(t, e.what, e.err, codes.Unavailable, "this server ends")
			if reason, _ := detailsOf(t, e.err); reason != "NOT_READY" {
				t.Errorf("%s ended with the reason %q", e.what, reason)
			}
		}
		for err = nil; err == nil; {
			_, err = health.Recv()
		}
		if w.engine.Statuses()[1].Current != first {
			t.Error("it rotated all the same")
		}
	})
}

// A request that waits for a robot that is being minted is answered, as any other that is under way.
func TestCallsUnderWayAreAnsweredDuringTheDrain(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		c := w.store(t, "eso", "prod-shop")
		ends := make(chan ending, 1)
		go func() {
			_, err := c.get(t, "puller", "")
			ends <- ending{"a request", err}
		}()
		pass(time.Second)
		if took, err := w.shutdown(t, time.Minute); err != nil || took < time.Second || took > 5*time.Second {
			t.Errorf("the shutdown took %v: %v", took, err)
		}
		if e := <-ends; e.err != nil {
			t.Errorf("the request ended with %v", e.err)
		}
		_, err := c.get(t, "puller", "")
		is(t, "a call afterwards", err, codes.Unavailable)
	}, func(w *world) { w.quay.Inject(quaytest.Fault{Operation: "robot.create", Delay: 4 * time.Second}) })
}

func TestWhatDoesNotEndIsCutOffWhenTheTimeIsOver(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.mint(t, "puller")
		stuck := w.watch(t, w.as(t, "viewer"), "") // and does not read
		stuck.listing(t)
		w.flood(t, 2000)
		synctest.Wait()
		if took, err := w.shutdown(t, 15*time.Second); !errors.Is(err, context.DeadlineExceeded) || took != 15*time.Second {
			t.Errorf("the shutdown took %v: %v", took, err)
		}
		var err error
		for err == nil {
			_, err = stuck.Recv()
		}
		is(t, "the watch", err, codes.Unavailable)
	})
}

func TestHealthSaysWhatIsServedToAnybody(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		c := grpc_health_v1.NewHealthClient(w.as(t, ""))
		for _, service := range []string{
			"", "quaygen.v1.PullSecrets", "quaygen.v1.Robots", "provider.v1.SecretStoreProvider", "generator.v1.GeneratorProvider",
		} {
			if r, err := c.Check(t.Context(), &grpc_health_v1.HealthCheckRequest{Service: service}); err != nil || r.GetStatus() != grpc_health_v1.HealthCheckResponse_SERVING {
				t.Errorf("%q: %v, %v", service, r, err)
			}
		}
		_, err := c.Check(t.Context(), &grpc_health_v1.HealthCheckRequest{Service: "other"})
		is(t, "another service", err, codes.NotFound)
	})
}

// Whoever connects and says nothing is not waited for.
func TestAConnectionWithoutAWordIsClosed(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		c, err := w.dial()
		check(t, err)
		start := time.Now()
		if n, err := c.Read(make([]byte, 1)); err == nil || time.Since(start) > 10*time.Second {
			t.Errorf("after %v it said %d bytes, %v", time.Since(start), n, err)
		}
		silent, err := w.dial()
		check(t, err)
		if took, err := w.shutdown(t, time.Minute); err != nil || took > 10*time.Second {
			t.Errorf("the shutdown took %v: %v", took, err)
		}
		_ = silent.Close()
		if _, err := w.dial(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("afterwards it listens: %v", err)
		}
	})
}

// The server serves nothing any more when it begins to drain; who looks at its health goes elsewhere.
func TestTheDrainIsSeenInTheHealth(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		c := w.as(t, "all")
		ends := make(chan ending, 1)
		go func() {
			_, err := quaygenv1.NewPullSecretsClient(c).Get(t.Context(), &quaygenv1.PullSecretsGetRequest{Name: "puller", Namespace: "prod-shop"})
			ends <- ending{"a request", err}
		}()
		health, err := grpc_health_v1.NewHealthClient(c).Watch(t.Context(), &grpc_health_v1.HealthCheckRequest{})
		check(t, err)
		pass(time.Second)
		if _, err := w.shutdown(t, time.Minute); err != nil {
			t.Error(err)
		}
		if e := <-ends; e.err != nil {
			t.Errorf("the request ended with %v", e.err)
		}
		last := grpc_health_v1.HealthCheckResponse_UNKNOWN
		for {
			r, err := health.Recv()
			if err != nil {
				if code := status.Code(err); code != codes.Unavailable && code != codes.Canceled {
					t.Errorf("the watch of the health ended with %v", err)
				}
				break
			}
			last = r.GetStatus()
		}
		if last != grpc_health_v1.HealthCheckResponse_NOT_SERVING {
			t.Errorf("the last that it said was %v", last)
		}
	}, func(w *world) { w.quay.Inject(quaytest.Fault{Operation: "robot.create", Delay: 4 * time.Second}) })
}
