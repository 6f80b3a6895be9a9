package main

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	quaygenv1 "github.com/quaygen/quaygen/proto/quaygen/v1"
)

// running is a command that has not ended.
type running struct {
	t              *testing.T
	stdout, stderr lockedBuffer
	interrupt      context.CancelFunc
	exit           chan int
}

// start runs a command against the server at noon until it ends or is interrupted, at the latest with the test.
func (o *operated) start(args ...string) *running {
	ctx, cancel := context.WithCancel(o.t.Context())
	r := &running{t: o.t, interrupt: cancel, exit: make(chan int, 1)}
	go func() {
		r.exit <- runAt(ctx, func() time.Time { return noon }, append(args, o.flags()...), &r.stdout, &r.stderr)
	}()
	o.t.Cleanup(func() {
		cancel()
		r.code()
		fmt.Fprint(&o.said, r.stdout.String(), r.stderr.String())
	})
	return r
}

// code waits for the end.
func (r *running) code() int {
	r.t.Helper()
	select {
	case code := <-r.exit:
		r.exit <- code
		return code
	case <-time.After(patience):
		r.t.Fatalf("it does not end:\n%s%s", r.stdout.String(), r.stderr.String())
		return -1
	}
}

func event(kind quaygenv1.EventType, name string, generation int64, reason string) *quaygenv1.Event {
	e := &quaygenv1.Event{Type: kind, Name: name, Registry: "quay", Organization: "myorg", Reason: reason, ObserveTime: at(0)}
	if generation > 0 {
		e.Generation = proto.Int64(generation)
	}
	return e
}

const (
	published  = quaygenv1.EventType_EVENT_TYPE_PUBLISHED
	superseded = quaygenv1.EventType_EVENT_TYPE_SUPERSEDED
	retired    = quaygenv1.EventType_EVENT_TYPE_RETIRED
	failed     = quaygenv1.EventType_EVENT_TYPE_FAILED
	recovered  = quaygenv1.EventType_EVENT_TYPE_RECOVERED
)

func TestAWatchShowsHowRobotsStandThenALineForEachEvent(t *testing.T) {
	s := newScripted(fleet()...)
	o := operate(t, s, nil)
	r := o.start("watch")
	s.watched(t, 1)
	s.happen(event(published, "prod-puller", 474241, "proven with a login"))
	s.happen(event(superseded, "prod-puller", 469980, ""))
	s.happen(event(failed, "", 0, "listing robots of myorg: timeout\nagain"))
	tenant := event(recovered, "tenant", 0, "")
	tenant.Namespace = "team-a-with-a-long-name"
	s.happen(tenant)
	s.happen(event(retired, "prod-puller", 426780, "unused for 2h"))
	r.stdout.await(t, "unused for 2h")
	const want = `
4 robots, 2 of them well
ROBOT          GENERATION  NEXT ROTATION  STATE
builder        4           due for 10m    Quay does not answer
prod-puller    469980      in 27d         ok, 1 draining
tenant/team-a  474240      in 29d         ok
tenant/team-b  none        -              none served yet
2026-11-26T12:00:00Z  prod-puller    published   generation 474241  proven with a login
2026-11-26T12:00:00Z  prod-puller    superseded  generation 469980
2026-11-26T12:00:00Z  all of myorg in quay  failed      listing robots of myorg: timeout again
2026-11-26T12:00:00Z  tenant/team-a-with-a-long-name  recovered
2026-11-26T12:00:00Z  prod-puller                     retired     generation 426780  unused for 2h
`
	if diff := cmp.Diff(want, "\n"+r.stdout.String()); diff != "" {
		t.Error(diff)
	}
	r.interrupt()
	if code := r.code(); code != exitOK || r.stderr.String() != "" {
		t.Errorf("interrupted: %d %s", code, r.stderr.String())
	}
}

func TestNothingIsMissedAndNothingPrintedTwiceWhereverTheConnectionIsCut(t *testing.T) {
	s := newScripted(fleet()...)
	o := operate(t, s, nil)
	r := o.start("watch")
	s.watched(t, 1)
	var want []string
	happen := func(n int) {
		want = append(want, fmt.Sprintf("event-%d.", n))
		s.happen(event(published, "prod-puller", int64(n), want[len(want)-1]))
	}
	const cuts = 8
	n := 0
	for i := range cuts {
		n++
		happen(n)
		if i%2 == 0 {
			r.stdout.await(t, want[len(want)-1])
		}
		o.cut()
		n++
		happen(n) // while there is no connection
		s.watched(t, 2+i)
	}
	r.stdout.await(t, want[len(want)-1])
	var got []string
	for line := range strings.Lines(r.stdout.String()) {
		if at := strings.Index(line, "event-"); at >= 0 {
			got = append(got, strings.TrimSpace(line[at:]))
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if said := r.stderr.String(); !strings.Contains(said, "broke") || !strings.Contains(said, "connecting again") || !strings.Contains(said, "connected again") || noise(said) {
		t.Errorf("it says:\n%s", said)
	}
	if strings.Count(r.stdout.String(), "4 robots") != 1 {
		t.Errorf("more listings than one:\n%s", r.stdout.String())
	}
}

func TestAListingInsteadOfEventsIsExplained(t *testing.T) {
	for name, c := range map[string]struct {
		lose func(*scripted)
		says string
	}{
		"too old":         {(*scripted).forget, "the server no longer has what happened while there was no connection; this is how the robots stand now"},
		"another process": {(*scripted).restart, "another replica answers, or a restarted one"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScripted(fleet()...)
			o := operate(t, s, nil)
			r := o.start("watch")
			r.stdout.await(t, "4 robots")
			s.mu.Lock() // holds back a watch that begins anew
			s.events = append(s.events, event(published, "prod-puller", 5, "nobody sees this"))
			c.lose(s)
			o.cut()
			s.mu.Unlock()
			r.stderr.await(t, c.says)
			s.happen(event(published, "prod-puller", 6, "the next one"))
			r.stdout.await(t, "the next one")
			if n := strings.Count(r.stdout.String(), "4 robots"); n != 2 {
				t.Errorf("%d listings", n)
			}
			if strings.Contains(r.stdout.String(), "nobody sees this") {
				t.Error("an event from before")
			}
		})
	}
}

func TestMachinesGetOneObjectPerLineOfAWatch(t *testing.T) {
	s := newScripted(fleet()...)
	o := operate(t, s, nil)
	r := o.start("watch", "-o", "json")
	s.watched(t, 1)
	s.happen(event(published, "prod-puller", 474241, "one"))
	s.happen(event(retired, "tenant", 426780, "two"))
	r.stdout.await(t, "two")
	var got []string
	for line := range strings.Lines(r.stdout.String()) {
		message := &quaygenv1.RobotsWatchResponse{}
		if err := protojson.Unmarshal([]byte(line), message); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		got = append(got, fmt.Sprintf("%s %d %s", message.GetPosition(), len(message.GetListing().GetRobots()), message.GetEvent().GetReason()))
	}
	if diff := cmp.Diff([]string{"a/0 4 ", "a/1 0 one", "a/2 0 two"}, got); diff != "" {
		t.Error(diff)
	}
}

func TestAWatchOfOneRobotShowsItAndWhatHappensToItsOrganization(t *testing.T) {
	s := newScripted(fleet()...)
	o := operate(t, s, nil)
	r := o.start("watch", "prod-puller")
	s.watched(t, 1)
	elsewhere := event(failed, "", 0, "of another organization")
	elsewhere.Organization = "elsewhere"
	s.happen(elsewhere)
	s.happen(event(published, "builder", 5, "of another robot"))
	s.happen(event(failed, "", 0, "of its organization"))
	s.happen(event(published, "prod-puller", 6, "its own"))
	r.stdout.await(t, "its own")
	if text := r.stdout.String(); strings.Contains(text, "another") || strings.Contains(text, "builder") || !strings.Contains(text, "of its organization") || !strings.Contains(text, "1 robot, 1 of them well") {
		t.Errorf("it prints\n%s", text)
	}
	r = o.start("watch", "nobody")
	r.stderr.await(t, "there is no robot \"nobody\" now; waiting for one")
}

func TestAWatchThatCannotBeginOrIsRefusedEnds(t *testing.T) {
	s := newScripted(fleet()...)
	s.deny = status.Error(codes.PermissionDenied, "you may not watch")
	o := operate(t, s, nil)
	if code, stdout, stderr := o.try("watch"); code != exitDenied || stdout != "" || stderr != "generator: you may not watch\n" {
		t.Errorf("refused: %d %s", code, stderr)
	}
	s.deny = status.Error(codes.Unavailable, "not yet")
	if code, _, stderr := o.try("watch"); code != exitFailed || stderr != "generator: not yet\n" {
		t.Errorf("unavailable: %d %s", code, stderr)
	}
	if code, _, stderr := o.bare("watch", "--server", "127.0.0.1:1"); code != exitFailed || !strings.Contains(stderr, "cannot be reached") {
		t.Errorf("no server: %d %s", code, stderr)
	}
}

// The server looks at the token of a watch at each event, and tokens are replaced in their files.
func TestAWatchGoesOnWithTheTokenThatReplacedItsOwnAndEndsWithoutOne(t *testing.T) {
	s := newScripted(fleet()...)
	s.expire = make(chan error)
	o := operate(t, s, nil)
	r := o.start("watch")
	s.watched(t, 1)
	r.stdout.await(t, "team-b")
	s.expire <- status.Error(codes.Unauthenticated, "no client has this token any more")
	s.watched(t, 2)
	s.happen(event(published, "prod-puller", 474241, "after the replacement"))
	r.stdout.await(t, "after the replacement")
	o.write("token", []byte("nobody-has-this-token\n"))
	s.expire <- status.Error(codes.Unauthenticated, "no client has this token any more")
	if code := r.code(); code != exitDenied || !strings.Contains(r.stderr.String(), "generator: no client has this token") {
		t.Errorf("it ends with %d: %s", code, r.stderr.String())
	}
}

func TestOfManyRobotsAWatchListsThoseThatAreNotWell(t *testing.T) {
	robots := fleet()
	for i := range few {
		robots = append(robots, &quaygenv1.Robot{Name: fmt.Sprintf("well-%d", i), Generation: proto.Int64(1), Strategy: quaygenv1.Strategy_STRATEGY_NONE})
	}
	s := newScripted(robots...)
	o := operate(t, s, nil)
	r := o.start("watch")
	r.stdout.await(t, "team-b")
	if text := r.stdout.String(); strings.Count(text, "\n") != 4 || !strings.HasPrefix(text, "24 robots, 22 of them well\n") {
		t.Errorf("it prints\n%s", text)
	}
}
