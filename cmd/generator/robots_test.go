package main

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	quaygenv1 "github.com/quaygen/quaygen/proto/quaygen/v1"
)

// noon is when the tests of this package take place, for what is told to people.
var noon = time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)

// at is a time before noon, or after it where the duration is negative.
func at(ago time.Duration) *timestamppb.Timestamp { return timestamppb.New(noon.Add(-ago)) }

// scripted is a Robots server whose robots are what the test says. It keeps events and positions as the contract wants.
type scripted struct {
	quaygenv1.UnimplementedRobotsServer
	rotate func(context.Context, *quaygenv1.RobotsRotateRequest) (*quaygenv1.RobotsRotateResponse, error)
	retire func(context.Context, *quaygenv1.RobotsRetireRequest) (*quaygenv1.RobotsRetireResponse, error)
	deny   error      // what Watch answers
	expire chan error // ends a watch under way; nil: none

	mu       sync.Mutex // guards what follows
	robots   []*quaygenv1.Robot
	process  string
	events   []*quaygenv1.Event
	oldest   int // the first of events that is kept
	changed  chan struct{}
	watchers int // watches that have sent their listing, or gone on without
	pageSize int
}

func newScripted(robots ...*quaygenv1.Robot) *scripted {
	return &scripted{robots: robots, process: "a", changed: make(chan struct{}), pageSize: 2}
}

func (s *scripted) List(_ context.Context, r *quaygenv1.RobotsListRequest) (*quaygenv1.RobotsListResponse, error) {
	from := 0
	if r.GetPageToken() != "" {
		if _, err := fmt.Sscanf(r.GetPageToken(), "from-%d", &from); err != nil {
			return nil, status.Error(codes.InvalidArgument, "page_token is not one of ours")
		}
	}
	to := min(len(s.robots), from+s.pageSize)
	answer := &quaygenv1.RobotsListResponse{Robots: s.robots[from:to]}
	if to < len(s.robots) {
		answer.NextPageToken = fmt.Sprintf("from-%d", to)
	}
	return answer, nil
}

func (s *scripted) Get(_ context.Context, r *quaygenv1.RobotsGetRequest) (*quaygenv1.RobotsGetResponse, error) {
	for _, robot := range s.robots {
		if robot.GetName() == r.GetName() && robot.GetNamespace() == r.GetNamespace() {
			return &quaygenv1.RobotsGetResponse{Robot: robot}, nil
		}
	}
	return nil, status.Errorf(codes.NotFound, "there is no robot %q", r.GetName())
}

func (s *scripted) Rotate(ctx context.Context, r *quaygenv1.RobotsRotateRequest) (*quaygenv1.RobotsRotateResponse, error) {
	return s.rotate(ctx, r)
}

func (s *scripted) Retire(ctx context.Context, r *quaygenv1.RobotsRetireRequest) (*quaygenv1.RobotsRetireResponse, error) {
	return s.retire(ctx, r)
}

// happen adds an event.
func (s *scripted) happen(e *quaygenv1.Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.events = append(s.events, e)
	s.wake()
}

// restart makes the server another process, with no events. It is called with the mutex held.
func (s *scripted) restart() {
	s.process, s.events, s.oldest = s.process+"a", nil, 0
}

// forget drops the events there are. It is called with the mutex held.
func (s *scripted) forget() {
	s.oldest = len(s.events)
}

// wake is called with the mutex held.
func (s *scripted) wake() {
	close(s.changed)
	s.changed = make(chan struct{})
}

// watched waits until so many watches have begun in all.
func (s *scripted) watched(t *testing.T, n int) {
	t.Helper()
	for timeout := time.After(patience); ; {
		s.mu.Lock()
		watchers, changed := s.watchers, s.changed
		s.mu.Unlock()
		if watchers >= n {
			return
		}
		select {
		case <-changed:
		case <-timeout:
			t.Fatal("nobody watches")
		}
	}
}

func (s *scripted) Watch(r *quaygenv1.RobotsWatchRequest, stream quaygenv1.Robots_WatchServer) error {
	if s.deny != nil {
		return s.deny
	}
	next, err := s.begin(r.GetPosition(), stream)
	if err != nil {
		return err
	}
	for {
		s.mu.Lock()
		events, process, changed := s.events[next:], s.process, s.changed
		s.mu.Unlock()
		for _, e := range events {
			next++
			answer := &quaygenv1.RobotsWatchResponse{Position: fmt.Sprintf("%s/%d", process, next), Content: &quaygenv1.RobotsWatchResponse_Event{Event: e}}
			if err := stream.Send(answer); err != nil {
				return err
			}
		}
		select {
		case <-changed:
		case err := <-s.expire:
			return err
		case <-stream.Context().Done():
			return status.FromContextError(stream.Context().Err()).Err()
		}
	}
}

// begin sends a listing in parts of one robot where the position cannot be gone on from.
func (s *scripted) begin(position string, stream quaygenv1.Robots_WatchServer) (next int, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.watchers++
	defer s.wake()
	process, number, given := strings.Cut(position, "/")
	reason := quaygenv1.ListingReason_LISTING_REASON_NO_POSITION
	if given {
		if _, err := fmt.Sscan(number, &next); err != nil {
			return 0, status.Error(codes.InvalidArgument, "position is not one of ours")
		}
		switch {
		case process != s.process:
			reason = quaygenv1.ListingReason_LISTING_REASON_POSITION_OF_ANOTHER_PROCESS
		case next < s.oldest:
			reason = quaygenv1.ListingReason_LISTING_REASON_POSITION_TOO_OLD
		default:
			return next, nil
		}
	}
	for i := range max(1, len(s.robots)) {
		last := i >= len(s.robots)-1
		answer := &quaygenv1.RobotsWatchResponse{Content: &quaygenv1.RobotsWatchResponse_Listing{Listing: &quaygenv1.Listing{
			Reason: reason, Robots: s.robots[i:min(i+1, len(s.robots))], Complete: last,
		}}}
		if last {
			answer.Position = fmt.Sprintf("%s/%d", s.process, len(s.events))
		}
		if err := stream.Send(answer); err != nil {
			return 0, err
		}
	}
	return len(s.events), nil
}

// fleet is robots in each of the states that a table can show.
func fleet() []*quaygenv1.Robot {
	const day = 24 * time.Hour
	return []*quaygenv1.Robot{
		{
			Name: "builder", Registry: "quay", Base: "myorg+k8s_builder", Strategy: quaygenv1.Strategy_STRATEGY_REGENERATE, Generation: proto.Int64(4),
			Generations:      []*quaygenv1.Generation{{Username: "myorg+k8s_builder", State: quaygenv1.GenerationState_GENERATION_STATE_CURRENT, CreateTime: at(90 * day)}},
			NextRotationTime: at(10 * time.Minute), ObserveTime: at(12 * time.Second), Problem: "Quay does not answer",
		},
		{
			Name: "prod-puller", Registry: "quay", Base: "myorg+k8s_prod_puller", Strategy: quaygenv1.Strategy_STRATEGY_OVERLAP, Generation: proto.Int64(469980),
			Generations: []*quaygenv1.Generation{
				{Number: 426780, Username: "myorg+k8s_prod_puller_g426780", State: quaygenv1.GenerationState_GENERATION_STATE_DRAINING, CreateTime: at(33 * day), LastAccessTime: at(5 * time.Hour)},
				{Number: 469980, Username: "myorg+k8s_prod_puller_g469980", State: quaygenv1.GenerationState_GENERATION_STATE_CURRENT, CreateTime: at(3 * day), LastAccessTime: at(12 * time.Minute)},
			},
			NextRotationTime: at(-27*day - time.Hour), ObserveTime: at(12 * time.Second),
			Waiting: []string{"myorg+k8s_prod_puller_g426780 is kept: it was used at 2026-11-26T07:00:00Z; it ends at 2026-11-30T12:00:00Z at the latest"},
		},
		{
			Name: "tenant", Namespace: "team-a", Registry: "quay", Base: "myorg+k8s_tenant_team-a", Strategy: quaygenv1.Strategy_STRATEGY_OVERLAP, Generation: proto.Int64(474240),
			Generations: []*quaygenv1.Generation{
				{Number: 474240, Username: "myorg+k8s_tenant_team-a_g474240", State: quaygenv1.GenerationState_GENERATION_STATE_CURRENT, CreateTime: at(100 * time.Minute)},
			},
			NextRotationTime: at(-29 * day), ObserveTime: at(12 * time.Second),
		},
		{
			Name: "tenant", Namespace: "team-b", Registry: "quay", Base: "myorg+k8s_tenant_team-b", Strategy: quaygenv1.Strategy_STRATEGY_OVERLAP,
			ObserveTime: at(12 * time.Second), Warnings: []string{"repository app does not exist; it is granted as soon as it does"},
		},
	}
}
