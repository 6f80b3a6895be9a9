package grpcapi_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/quaygen/quaygen/pkg/quaygen"
	"github.com/quaygen/quaygen/pkg/quaygen/auth"
	"github.com/quaygen/quaygen/pkg/quaygen/policy"
	quaygenv1 "github.com/quaygen/quaygen/proto/quaygen/v1"
)

// tooMany checks that an error says so, and when to come again.
func tooMany(t *testing.T, what string, err error, again time.Duration) {
	t.Helper()
	is(t, what, err, codes.ResourceExhausted)
	var reason string
	var wait time.Duration
	for _, d := range status.Convert(err).Details() {
		switch d := d.(type) {
		case *errdetails.ErrorInfo:
			reason = d.GetReason()
		case *errdetails.RetryInfo:
			wait = d.GetRetryDelay().AsDuration()
		}
	}
	if reason != "TOO_MANY_REQUESTS" || wait != again {
		t.Errorf("%s: reason %q, again after %v", what, reason, wait)
	}
}

func TestWhoCallsTooOftenIsToldWhenToComeAgain(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.mint(t, "puller")
		w.mint(t, "partner")
		limits := quaygen.Limits{QPS: .2, Burst: 2, Concurrent: 10, Namespaces: 10}
		limited := settings()
		limited.Limits = map[string]quaygen.Limits{"eso": limits}
		w.service.Apply(limited)
		eso := w.store(t, "eso", "prod-shop")
		for range 2 {
			_, err := eso.get(t, "puller", "")
			check(t, err)
		}
		_, err := eso.get(t, "puller", "")
		tooMany(t, "a third call", err, 5*time.Second)
		_, err = w.store(t, "all", "prod-shop").get(t, "puller", "")
		check(t, err)
		pass(5 * time.Second)
		_, err = eso.get(t, "puller", "")
		check(t, err)
	})
}

func TestAWatchCountsAsACallWhileItLasts(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		limited := settings()
		limited.Limits = map[string]quaygen.Limits{"viewer": {QPS: 1e6, Burst: 1e6, Concurrent: 1, Namespaces: 10}}
		w.service.Apply(limited)
		robots := quaygenv1.NewRobotsClient(w.as(t, "viewer"))
		ctx, stop := context.WithCancel(t.Context())
		watch, err := robots.Watch(ctx, &quaygenv1.RobotsWatchRequest{})
		check(t, err)
		_, err = watch.Recv()
		check(t, err)
		_, err = robots.List(t.Context(), &quaygenv1.RobotsListRequest{})
		tooMany(t, "a call beside it", err, time.Second)
		stop()
		pass(time.Second)
		_, err = robots.List(t.Context(), &quaygenv1.RobotsListRequest{})
		check(t, err)
	})
}

func TestGuessesAreToldSoAndNotLogged(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		var guessing auth.Authenticator = func(p auth.Presented) (policy.Caller, error) {
			if p.From == "" {
				t.Error("it came from nowhere")
			}
			return policy.Caller{}, fmt.Errorf("%w: %w", auth.ErrGuessing, auth.ErrRejected)
		}
		w.who.Store(&guessing)
		_, err := w.store(t, "eso", "prod-shop").get(t, "puller", "")
		tooMany(t, "a guess", err, time.Second)
		if strings.Contains(w.log.String(), "not authenticated") {
			t.Error("each guess is logged")
		}
	})
}
