package grpcapi_test

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/quaygen/quaygen/pkg/quaygen/auth"
	"github.com/quaygen/quaygen/pkg/quaygen/quay"
	"github.com/quaygen/quaygen/pkg/quaygen/rotation"
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

// next takes in one response, whatever it is.
func (x *watching) next(t testing.TB) *quaygenv1.RobotsWatchResponse {
	t.Helper()
	r, err := x.Recv()
	check(t, err)
	if r.GetPosition() != "" {
		x.position = r.GetPosition()
	}
	return r
}

func TestAWatchBeginsWithAListingAndGoesOnWithEvents(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		first := w.mint(t, "puller").GetCredentials()[0]
		w.mint(t, "partner")
		x := w.watch(t, w.as(t, "viewer"), "")
		listing := x.listing(t)
		if listing.GetReason() != quaygenv1.ListingReason_LISTING_REASON_NO_POSITION || len(listing.GetRobots()) != 2 || listing.GetRobots()[1].GetGeneration() != first.GetGeneration() {
			t.Errorf("%v", listing)
		}
		if _, err := w.robotsAs(t, "manager").Rotate(t.Context(), &quaygenv1.RobotsRotateRequest{Name: "puller"}); err != nil {
			t.Fatal(err)
		}
		second := w.mint(t, "puller").GetCredentials()[0]
		for i, want := range []*quaygenv1.Event{
			{Type: quaygenv1.EventType_EVENT_TYPE_PUBLISHED, Generation: &second.Generation, Username: second.GetUsername()},
			{Type: quaygenv1.EventType_EVENT_TYPE_SUPERSEDED, Generation: &first.Generation, Username: first.GetUsername()},
		} {
			e := x.event(t)
			want.Name, want.Registry, want.Organization = "puller", "quay", "myorg"
			if e.GetObserveTime() == nil {
				t.Errorf("event %d has no time", i)
			}
			want.ObserveTime = e.GetObserveTime()
			if !proto.Equal(want, e) {
				t.Errorf("event %d is %v, want %v", i, e, want)
			}
		}
	})
}

func TestAWatchGoesOnFromAPositionOrSaysWhyNot(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.mint(t, "puller")
		c := w.as(t, "viewer")
		x := w.watch(t, c, "")
		x.listing(t)
		w.revoke(t, "puller")
		x.cancel()
		if e := w.watch(t, c, x.position).event(t); e.GetType() != quaygenv1.EventType_EVENT_TYPE_PUBLISHED {
			t.Errorf("gone on from where it was: %v", e)
		}
		other := newWorld(t)
		other.look(t)
		other.serve(t, newPipes())
		elsewhere := other.watch(t, other.as(t, "viewer"), "")
		elsewhere.listing(t)
		if l := w.watch(t, c, elsewhere.position).listing(t); l.GetReason() != quaygenv1.ListingReason_LISTING_REASON_POSITION_OF_ANOTHER_PROCESS {
			t.Errorf("with another process's position: %v", l.GetReason())
		}
		for _, garbage := range []string{"x", "-", x.position + "999999", x.position + "x", strings.Repeat("9", 1000), "\u20ac"} {
			_, err := w.watch(t, c, garbage).Recv()
			is(t, "the position "+garbage[:1], err, codes.InvalidArgument, "position")
		}
		w.flood(t, 9000)
		if l := w.watch(t, c, x.position).listing(t); l.GetReason() != quaygenv1.ListingReason_LISTING_REASON_POSITION_TOO_OLD {
			t.Errorf("with a position of long ago: %v", l.GetReason())
		}
	})
}

// crowd are robots of an organization that Quay does not have, so that none is ever made.
func (w *world) crowd(t testing.TB, n int) []rotation.Assignment {
	t.Helper()
	owner, err := quay.ParseOrganization("nowhere")
	check(t, err)
	var robots []rotation.Assignment
	for i := range n {
		name := fmt.Sprintf("crowd-%04d", i)
		robot := w.assignment(t, name, "app")
		robot.Spec.Base, err = quay.NewRobot(owner, strings.ReplaceAll(name, "-", "_"))
		check(t, err)
		robots = append(robots, robot)
	}
	return robots
}

// flood makes at least n events: of robots that are added and taken away again.
func (w *world) flood(t testing.TB, n int) {
	t.Helper()
	crowd := w.crowd(t, 500)
	for made := 0; made < n; made += len(crowd) {
		w.engine.Apply(append(slices.Clone(w.robots), crowd...))
		w.engine.Apply(w.robots)
	}
}

func TestAListingOfManyRobotsComesInParts(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		for _, n := range []int{0, 1, 199, 200, 201, 400, 1001} {
			w.engine.Apply(w.crowd(t, n))
			x := w.watch(t, w.as(t, "viewer"), "")
			var names []string
			for parts := 1; ; parts++ {
				r := x.next(t)
				if len(r.GetListing().GetRobots()) > 200 {
					t.Errorf("a part has %d robots", len(r.GetListing().GetRobots()))
				}
				for _, robot := range r.GetListing().GetRobots() {
					names = append(names, robot.GetName())
				}
				if r.GetListing().GetComplete() {
					if want := max(1, (n+199)/200); parts != want {
						t.Errorf("%d robots came in %d parts", n, parts)
					}
					break
				}
				if r.GetPosition() != "" {
					t.Error("there is a position in the middle of a listing")
				}
			}
			if len(names) != n || !slices.IsSorted(names) {
				t.Errorf("of %d robots %d came", n, len(names))
			}
			x.cancel()
		}
	})
}

// The connection breaks at any byte, also in the middle of a listing; the client goes on from what it took in last.
func TestAWatchThatIsCutOffMissesNothingAndSeesNothingTwice(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		rng := rand.New(rand.NewPCG(1, 2))
		w.mint(t, "puller")
		reference, _, err := w.engine.Watch("")
		check(t, err)
		_, position := reference.List()
		connect := w.dial
		lengths, dialing := rand.New(rand.NewPCG(3, 4)), sync.Mutex{} // gRPC dials by itself, and more than once
		w.dial = func() (net.Conn, error) {
			c, err := connect()
			if err != nil {
				return nil, err
			}
			f := &fragile{Conn: c}
			dialing.Lock()
			defer dialing.Unlock()
			f.left.Store(1000 + lengths.Int64N(4000)) // some break in the handshake
			return f, nil
		}
		var seen []string
		cuts := 0
		for step := range 300 {
			switch step % 10 {
			case 3:
				w.engine.Apply(append(slices.Clone(w.robots), w.crowd(t, rng.IntN(40))...))
			case 7:
				w.engine.Apply(w.robots)
			}
			pass(time.Duration(rng.IntN(100)) * time.Second)
			c := w.as(t, "viewer")
			ctx, cancel := context.WithTimeout(t.Context(), time.Duration(rng.IntN(60))*time.Second)
			stream, err := quaygenv1.NewRobotsClient(c).Watch(ctx, &quaygenv1.RobotsWatchRequest{Position: position})
			for err == nil {
				var r *quaygenv1.RobotsWatchResponse
				if r, err = stream.Recv(); err != nil {
					break
				}
				if r.GetEvent() == nil {
					t.Fatalf("a listing, although there is a position: %v", r.GetListing().GetReason())
				}
				seen, position = append(seen, r.GetPosition()), r.GetPosition()
			}
			if status.Code(err) == codes.Unavailable {
				cuts++
			} else if code := status.Code(err); code != codes.DeadlineExceeded {
				t.Fatalf("the watch ended with %v", err)
			}
			cancel()
			_ = c.Close()
		}
		w.dial = connect
		var want []string
		ended, end := context.WithCancel(t.Context())
		end() // what there is by now is taken, and nothing waited for
		for {
			entries, err := reference.Next(ended)
			if err != nil {
				break
			}
			for _, e := range entries {
				want = append(want, e.Position)
			}
		}
		x := w.watch(t, w.as(t, "viewer"), position)
		for len(seen) < len(want) {
			x.event(t)
			seen = append(seen, x.position)
		}
		if len(want) < 100 || cuts < 20 {
			t.Errorf("only %d events and %d cuts happened", len(want), cuts)
		}
		if diff := cmp.Diff(want, seen); diff != "" {
			t.Errorf("what the watcher saw (-all +seen):\n%s", diff)
		}
	})
}

// fragile is a connection that breaks after so many bytes.
type fragile struct {
	net.Conn
	left atomic.Int64
}

func (f *fragile) Read(p []byte) (int, error) {
	n, err := f.Conn.Read(p)
	if left := f.left.Add(-int64(n)); left < 0 {
		_ = f.Close()
		return max(0, n+int(left)), io.ErrUnexpectedEOF
	}
	return n, err
}

// A client that does not read holds up nobody; what it missed too much of is told anew.
func TestAWatcherThatFallsBehindGetsAnotherListing(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.mint(t, "puller")
		slow := w.watch(t, w.as(t, "viewer"), "")
		slow.listing(t)
		w.flood(t, 2000) // more than fits between the two
		synctest.Wait()
		w.flood(t, 9000) // more than is kept
		w.revoke(t, "puller")
		pass(time.Minute)
		events := 0
		for {
			r := slow.next(t)
			if l := r.GetListing(); l != nil {
				if l.GetReason() != quaygenv1.ListingReason_LISTING_REASON_POSITION_TOO_OLD || !l.GetComplete() {
					t.Errorf("the listing is %v, complete: %v", l.GetReason(), l.GetComplete())
				}
				if now := w.robot(t, "puller", ""); l.GetRobots()[len(l.GetRobots())-1].GetGeneration() != now.GetGeneration() {
					t.Error("it shows what was")
				}
				break
			}
			events++
		}
		if events > 12_000 {
			t.Errorf("%d events came before the listing", events)
		}
		w.revoke(t, "puller")
		if e := slow.event(t); e.GetName() != "puller" {
			t.Errorf("after the listing came %v", e)
		}
	})
}

func TestWhoMayNotWatchAnyMoreIsCutOffAtTheNextEvent(t *testing.T) {
	for what, test := range map[string]struct {
		clients []auth.BearerClient
		want    codes.Code
	}{
		"the client is gone":  {allClients[:4], codes.Unauthenticated},
		"it is no operator":   {append(slices.Clone(allClients[:4]), auth.BearerClient{Name: "viewer"}), codes.PermissionDenied},
		"it is one all along": {allClients, codes.OK},
	} {
		inBubble(t, func(t *testing.T, w *world) {
			w.mint(t, "puller")
			x := w.watch(t, w.as(t, "viewer"), "")
			x.listing(t)
			w.authenticate(t, test.clients)
			w.revoke(t, "puller")
			_, err := x.Recv()
			is(t, what, err, test.want)
		})
	}
}
