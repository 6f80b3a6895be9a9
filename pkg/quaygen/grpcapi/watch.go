package grpcapi

import (
	"context"
	"errors"

	"google.golang.org/grpc"

	"github.com/quaygen/quaygen/pkg/quaygen"
	"github.com/quaygen/quaygen/pkg/quaygen/rotation"
	quaygenv1 "github.com/quaygen/quaygen/proto/quaygen/v1"
)

// listingPart is how many robots are in one message: well below the 4 MiB that clients take by default.
const listingPart = 200

var restarts = map[rotation.Restart]quaygenv1.ListingReason{
	rotation.RestartNoPosition:   quaygenv1.ListingReason_LISTING_REASON_NO_POSITION,
	rotation.RestartTooOld:       quaygenv1.ListingReason_LISTING_REASON_POSITION_TOO_OLD,
	rotation.RestartOtherProcess: quaygenv1.ListingReason_LISTING_REASON_POSITION_OF_ANOTHER_PROCESS,
}

var eventTypes = map[rotation.EventType]quaygenv1.EventType{
	rotation.EventPublished:  quaygenv1.EventType_EVENT_TYPE_PUBLISHED,
	rotation.EventSuperseded: quaygenv1.EventType_EVENT_TYPE_SUPERSEDED,
	rotation.EventRetired:    quaygenv1.EventType_EVENT_TYPE_RETIRED,
	rotation.EventFailed:     quaygenv1.EventType_EVENT_TYPE_FAILED,
	rotation.EventRecovered:  quaygenv1.EventType_EVENT_TYPE_RECOVERED,
	rotation.EventRemoved:    quaygenv1.EventType_EVENT_TYPE_REMOVED,
}

// Watch sends what happens until the caller ends it. Whoever may not watch any more, because the token or certificate is
// not taken any more or the configuration says so, is cut off at the next event.
func (s *robots) Watch(r *quaygenv1.RobotsWatchRequest, stream grpc.ServerStreamingServer[quaygenv1.RobotsWatchResponse]) error {
	ctx, cancel := s.untilDrained(stream.Context())
	defer cancel()
	w, restart, err := s.Service.Watch(of(ctx).caller, r.GetPosition())
	if err != nil {
		return err
	}
	for {
		if restart != rotation.RestartNone {
			if err := sendListing(stream, w, restart); err != nil {
				return err
			}
			restart = rotation.RestartNone
		}
		entries, err := w.Next(ctx)
		switch {
		case errors.Is(err, rotation.ErrBehind):
			restart = rotation.RestartTooOld
		case errors.Is(err, context.Canceled) && s.drained.Err() != nil:
			return &quaygen.Error{Kind: quaygen.KindNotReady, Detail: "this server ends; go on with another one, or with this one when it is back"}
		case err != nil:
			return err
		}
		if err := s.mayStillWatch(ctx); err != nil {
			return err
		}
		for _, e := range entries {
			if err := stream.Send(&quaygenv1.RobotsWatchResponse{Position: e.Position, Content: &quaygenv1.RobotsWatchResponse_Event{Event: event(e.Event)}}); err != nil {
				return err
			}
		}
	}
}

func (s *robots) mayStillWatch(ctx context.Context) error {
	caller, err := s.who(ctx, &call{})
	if err != nil {
		return err
	}
	return s.Service.MayView(caller)
}

// sendListing sends all robots. Only with the last part is there a position to go on from.
func sendListing(stream grpc.ServerStreamingServer[quaygenv1.RobotsWatchResponse], w *rotation.Watch, why rotation.Restart) error {
	all, position := w.List()
	for {
		part := all[:min(len(all), listingPart)]
		all = all[len(part):]
		listing := &quaygenv1.Listing{Reason: restarts[why], Robots: described(part), Complete: len(all) == 0}
		response := &quaygenv1.RobotsWatchResponse{Content: &quaygenv1.RobotsWatchResponse_Listing{Listing: listing}}
		if listing.GetComplete() {
			response.Position = position
		}
		if err := stream.Send(response); err != nil || listing.GetComplete() {
			return err
		}
	}
}

func event(e rotation.Event) *quaygenv1.Event {
	out := &quaygenv1.Event{
		Type: eventTypes[e.Type], Name: e.Name, Namespace: e.Namespace, Registry: e.Registry, Organization: e.Owner.Name(),
		Username: e.Robot, Reason: e.Reason, ObserveTime: timestamp(e.At),
	}
	if e.Generation >= 0 {
		out.Generation = &e.Generation
	}
	return out
}
