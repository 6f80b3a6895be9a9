package main

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	quaygenv1 "github.com/quaygen/quaygen/proto/quaygen/v1"
)

const (
	firstPause = 200 * time.Millisecond
	lastPause  = 15 * time.Second
	// steadyTime is how long a stream that brings nothing must hold to count as made again.
	steadyTime = 2 * time.Second
)

// errStreamEnded is a server that ended a watch in good order, as one does that is stopped.
var errStreamEnded = errors.New("the server ended the stream")

// follow hands what happens to take, across connections: each listing as a whole, and each event once. When the stream
// breaks it tells broken, waits and goes on from the last response that take has taken in; when a stream holds it tells
// steady, from another goroutine as it may be. It ends with ctx, which is
// no error, with an error of take, when the first connection fails, and when a server refuses.
func (s *session) follow(ctx context.Context, take func(*quaygenv1.RobotsWatchResponse) error, broken func(error), steady func()) error {
	f := &feed{session: s, take: take, steady: steady}
	pause := firstPause
	for {
		began := time.Now()
		progressed, err := f.once(ctx)
		if ctx.Err() != nil {
			return nil //nolint:nilerr // whoever ended the context knows
		}
		var mine takeError
		if errors.As(err, &mine) {
			return mine.error
		}
		// A token that was taken in the beginning may have been replaced since; its file has the new one.
		replaced := status.Code(err) == codes.Unauthenticated && (progressed || time.Since(began) >= steadyTime)
		if !f.began || refuses(err) && !replaced {
			return err
		}
		if progressed {
			pause = firstPause
		}
		broken(err)
		// Not all at once: a server that was restarted has many of us.
		wait := time.NewTimer(pause/2 + rand.N(pause/2)) //nolint:gosec // spreads load, guards nothing
		select {
		case <-ctx.Done():
			wait.Stop()
			return nil
		case <-wait.C:
		}
		pause = min(2*pause, lastPause)
		s.conn.ResetConnectBackoff() // the pause above is the one that counts
	}
}

// refuses tells errors that do not mend by themselves.
func refuses(err error) bool {
	switch status.Code(err) {
	case codes.PermissionDenied, codes.Unauthenticated, codes.InvalidArgument, codes.NotFound, codes.Unimplemented:
		return true
	default:
		return false
	}
}

// takeError is an error of whoever takes in what a feed hands out.
type takeError struct{ error }

// feed is one watch over its connections.
type feed struct {
	session  *session
	take     func(*quaygenv1.RobotsWatchResponse) error
	steady   func()
	position string // of the last response that was taken in
	began    bool   // something was
}

// once watches until the stream breaks, and reports whether anything was taken in.
func (f *feed) once(ctx context.Context) (progressed bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := f.session.robots.Watch(ctx, &quaygenv1.RobotsWatchRequest{Position: f.position})
	if err != nil {
		return false, err
	}
	holds := time.AfterFunc(steadyTime, f.steady)
	defer holds.Stop()
	var parts *quaygenv1.Listing
	for {
		r, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return progressed, errStreamEnded
		}
		if err != nil {
			return progressed, err
		}
		if part := r.GetListing(); part != nil {
			if parts == nil {
				parts = &quaygenv1.Listing{Reason: part.GetReason()}
			}
			parts.Robots = append(parts.Robots, part.GetRobots()...)
			if !part.GetComplete() {
				continue
			}
			parts.Complete = true
			r, parts = &quaygenv1.RobotsWatchResponse{Position: r.GetPosition(), Content: &quaygenv1.RobotsWatchResponse_Listing{Listing: parts}}, nil
		}
		if !progressed {
			f.steady()
		}
		if err := f.take(r); err != nil {
			return progressed, takeError{err}
		}
		if r.GetPosition() != "" {
			f.position = r.GetPosition()
		}
		f.began, progressed = true, true
	}
}
