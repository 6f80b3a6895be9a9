package grpcapi_test

import (
	"context"
	"testing"

	"google.golang.org/grpc"

	quaygenv1 "github.com/quaygen/quaygen/proto/quaygen/v1"
)

// A watching is a watch as a client sees it.
type watching struct {
	grpc.ServerStreamingClient[quaygenv1.RobotsWatchResponse]
	cancel   context.CancelFunc
	position string // of what was taken in last
}

func (w *world) watch(t testing.TB, c *grpc.ClientConn, position string) *watching {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	stream, err := quaygenv1.NewRobotsClient(c).Watch(ctx, &quaygenv1.RobotsWatchRequest{Position: position})
	check(t, err)
	return &watching{stream, cancel, position}
}

// listing takes in all parts of a listing, and returns them as one.
func (x *watching) listing(t testing.TB) *quaygenv1.Listing {
	t.Helper()
	var whole *quaygenv1.Listing
	for {
		r, err := x.Recv()
		check(t, err)
		part := r.GetListing()
		if part == nil {
			t.Fatalf("an event in place of a listing: %v", r)
		}
		if whole != nil {
			part.Robots = append(whole.GetRobots(), part.GetRobots()...)
		}
		whole = part
		if (r.GetPosition() != "") != part.GetComplete() {
			t.Errorf("the position behind a part (complete: %v) is %q", part.GetComplete(), r.GetPosition())
		}
		if part.GetComplete() {
			x.position = r.GetPosition()
			return whole
		}
	}
}

// event takes in the next response, which has to be an event.
func (x *watching) event(t testing.TB) *quaygenv1.Event {
	t.Helper()
	r, err := x.Recv()
	check(t, err)
	if r.GetEvent() == nil || r.GetPosition() == "" {
		t.Fatalf("not an event with its position: %v", r)
	}
	x.position = r.GetPosition()
	return r.GetEvent()
}
