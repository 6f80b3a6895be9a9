package main

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/protoadapt"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/durationpb"

	quaygenv1 "github.com/quaygen/quaygen/proto/quaygen/v1"
)

// rotated is the robot prod-puller of the fleet after a rotation.
func rotated() *quaygenv1.Robot {
	robot := proto.CloneOf(fleet()[1])
	robot.Generation = proto.Int64(474240)
	robot.Generations = []*quaygenv1.Generation{
		{Number: 469980, Username: "myorg+k8s_prod_puller_g469980", State: quaygenv1.GenerationState_GENERATION_STATE_DRAINING, CreateTime: at(72 * time.Hour)},
		{Number: 474240, Username: "myorg+k8s_prod_puller_g474240", State: quaygenv1.GenerationState_GENERATION_STATE_CURRENT, CreateTime: at(0)},
	}
	robot.Waiting = []string{"myorg+k8s_prod_puller_g469980 is kept: its overlap runs for another 24h0m0s"}
	return robot
}

func TestARotationShowsHowItGoesAndWhenTheOldGenerationEnds(t *testing.T) {
	s := newScripted(fleet()...)
	var asked *quaygenv1.RobotsRotateRequest
	go1 := make(chan struct{})
	s.rotate = func(_ context.Context, r *quaygenv1.RobotsRotateRequest) (*quaygenv1.RobotsRotateResponse, error) {
		asked = r
		<-go1
		return &quaygenv1.RobotsRotateResponse{Robot: rotated()}, nil
	}
	o := operate(t, s, nil)
	r := o.start("rotate", "prod-puller")
	s.watched(t, 1)
	s.happen(event(failed, "prod-puller", 474240, "granting read on app: timeout"))
	s.happen(event(published, "builder", 5, "of another robot"))
	s.happen(event(published, "prod-puller", 474240, ""))
	r.stderr.await(t, "474240 is published")
	close(go1)
	code := r.code()
	const wantErr = `
prod-puller: asking for a new generation
prod-puller: generation 474240 failed: granting read on app: timeout
prod-puller: generation 474240 is published
`
	const wantOut = `
prod-puller: generation 474240 is served, as myorg+k8s_prod_puller_g474240
generation 469980 lives on: its overlap runs for another 24h0m0s
`
	if diff := cmp.Diff(wantErr, "\n"+r.stderr.String()); code != exitOK || diff != "" {
		t.Errorf("%d %s", code, diff)
	}
	if diff := cmp.Diff(wantOut, "\n"+r.stdout.String()); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(&quaygenv1.RobotsRotateRequest{Name: "prod-puller"}, asked, protocmp.Transform()); diff != "" {
		t.Errorf("asked for: %s", diff)
	}
}

func TestAWatchThatIsDeniedDoesNotFailARotation(t *testing.T) {
	s := newScripted(fleet()...)
	s.deny = status.Error(codes.PermissionDenied, "you may not watch")
	s.rotate = func(context.Context, *quaygenv1.RobotsRotateRequest) (*quaygenv1.RobotsRotateResponse, error) {
		return &quaygenv1.RobotsRotateResponse{Robot: rotated()}, nil
	}
	o := operate(t, s, nil)
	code, stdout, stderr := o.try("rotate", "prod-puller", "-o", "json")
	answer := &quaygenv1.RobotsRotateResponse{}
	if err := protojson.Unmarshal([]byte(stdout), answer); code != exitOK || err != nil || strings.Contains(stderr, "watch") {
		t.Fatalf("%d %v %s", code, err, stderr)
	}
	if diff := cmp.Diff(&quaygenv1.RobotsRotateResponse{Robot: rotated()}, answer, protocmp.Transform()); diff != "" {
		t.Error(diff)
	}
}

func TestARefusedRotationSaysWhyAndWhenToRepeatIt(t *testing.T) {
	s := newScripted(fleet()...)
	st, err := status.New(codes.FailedPrecondition, "myorg+k8s_prod_puller_g426780 is still alive").WithDetails(
		protoadapt.MessageV1Of(&errdetails.ErrorInfo{Domain: "quaygen.dev", Reason: "CONFLICT"}),
		protoadapt.MessageV1Of(&errdetails.RetryInfo{RetryDelay: durationpb.New(96 * time.Hour)}),
	)
	if err != nil {
		t.Fatal(err)
	}
	s.rotate = func(context.Context, *quaygenv1.RobotsRotateRequest) (*quaygenv1.RobotsRotateResponse, error) {
		return nil, st.Err()
	}
	o := operate(t, s, nil)
	code, stdout, stderr := o.try("rotate", "prod-puller")
	if code != exitFailed || stdout != "" || !strings.HasSuffix(stderr, "\ngenerator: myorg+k8s_prod_puller_g426780 is still alive (CONFLICT); it can be repeated in 4d, at 2026-11-30T12:00:00Z\n") {
		t.Errorf("%d %s", code, stderr)
	}
}

func TestARevocationSaysWhatItWillDoAndWhatItEnded(t *testing.T) {
	s := newScripted(fleet()...)
	var asked []*quaygenv1.RobotsRotateRequest
	s.rotate = func(_ context.Context, r *quaygenv1.RobotsRotateRequest) (*quaygenv1.RobotsRotateResponse, error) {
		asked = append(asked, r)
		robot := rotated()
		robot.Generations, robot.Waiting = robot.GetGenerations()[1:], nil
		return &quaygenv1.RobotsRotateResponse{Robot: robot, RevokedThrough: proto.Int64(469980)}, nil
	}
	o := operate(t, s, nil)
	code, stdout, stderr := o.try("rotate", "prod-puller", "--revoke")
	const wantOut = `
prod-puller: generation 474240 is served, as myorg+k8s_prod_puller_g474240
nothing up to generation 469980 exists any more (ended: 426780, 469980)
registry tokens that Quay issued before may pull for up to an hour
`
	if diff := cmp.Diff(wantOut, "\n"+stdout); code != exitOK || diff != "" {
		t.Errorf("%d %s", code, diff)
	}
	const announced = "prod-puller: revoking generation 469980 and every older one as soon as a new one is served; consumers that have not refreshed by then fail to pull until they do\n"
	if !strings.HasPrefix(stderr, announced) {
		t.Errorf("it announces %s", stderr)
	}
	if code, _, stderr := o.try("rotate", "prod-puller", "--revoke", "--through", "426780"); code != exitOK || !strings.HasPrefix(stderr, "prod-puller: revoking generation 426780 and") {
		t.Errorf("%d %s", code, stderr)
	}
	want := []*quaygenv1.RobotsRotateRequest{{Name: "prod-puller", Revoke: true}, {Name: "prod-puller", Revoke: true, RevokeThrough: proto.Int64(426780)}}
	if diff := cmp.Diff(want, asked, protocmp.Transform()); diff != "" {
		t.Errorf("asked for: %s", diff)
	}
}

func TestARevokedTokenThatWasReplacedInPlaceComesWithItsWarning(t *testing.T) {
	s := newScripted(fleet()...)
	s.rotate = func(context.Context, *quaygenv1.RobotsRotateRequest) (*quaygenv1.RobotsRotateResponse, error) {
		robot := proto.CloneOf(s.robots[0])
		robot.Generation = proto.Int64(5)
		return &quaygenv1.RobotsRotateResponse{Robot: robot, RevokedThrough: proto.Int64(4)}, nil
	}
	o := operate(t, s, nil)
	code, stdout, stderr := o.try("rotate", "builder", "--revoke")
	if code != exitOK || !strings.Contains(stderr, "replacing the token, which ends at once") || !strings.Contains(stdout, "whoever holds one can renew it") {
		t.Errorf("%d %s%s", code, stdout, stderr)
	}
}

func TestARevocationThatIsCutOffSaysHowToRepeatIt(t *testing.T) {
	for name, c := range map[string]struct {
		args []string
		says string
	}{
		"revocation":             {[]string{"rotate", "prod-puller", "--revoke"}, "repeat it with generator rotate prod-puller --revoke --through 469980\n"},
		"up to a generation":     {[]string{"rotate", "prod-puller", "--revoke", "--through", "426780"}, "repeat it with generator rotate prod-puller --revoke --through 426780\n"},
		"of a namespace":         {[]string{"rotate", "tenant", "--namespace", "team-a", "--revoke"}, "repeat it with generator rotate tenant --revoke --through 474240 --namespace team-a\n"},
		"of an unknown state":    {[]string{"rotate", "hidden", "--revoke"}, "repeat it with --through and the newest generation that is to end; generator status hidden shows"},
		"plain rotation":         {[]string{"rotate", "prod-puller"}, "the rotation may go on at the server: generator status prod-puller shows"},
		"retirement":             {[]string{"retire", "prod-puller", "426780"}, "repeat it with generator retire prod-puller 426780\n"},
		"interrupted revocation": {[]string{"rotate", "prod-puller", "--revoke"}, "interrupted; the revocation may not be complete: repeat it with generator rotate prod-puller --revoke --through 469980\n"},
		"slow revocation":        {[]string{"rotate", "prod-puller", "--revoke", "--timeout", "300ms"}, "did not answer in time; the revocation may not be complete: repeat it"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScripted(fleet()...)
			begun := make(chan struct{})
			wait := func(ctx context.Context) error {
				close(begun)
				<-ctx.Done()
				return status.FromContextError(ctx.Err()).Err()
			}
			s.rotate = func(ctx context.Context, _ *quaygenv1.RobotsRotateRequest) (*quaygenv1.RobotsRotateResponse, error) {
				return nil, wait(ctx)
			}
			s.retire = func(ctx context.Context, _ *quaygenv1.RobotsRetireRequest) (*quaygenv1.RobotsRetireResponse, error) {
				return nil, wait(ctx)
			}
			o := operate(t, s, nil)
			r := o.start(c.args...)
			<-begun
			switch {
			case strings.HasPrefix(name, "interrupted"):
				r.interrupt()
			case !slices.Contains(c.args, "--timeout"):
				o.cut()
			}
			if code := r.code(); code != exitFailed || !strings.Contains(r.stderr.String(), c.says) || noise(r.stderr.String()) || r.stdout.String() != "" {
				t.Errorf("%d %s", code, r.stderr.String())
			}
		})
	}
}

func TestAnOrderThatNeverReachedAServerHasNothingToRepeat(t *testing.T) {
	o := operate(t, newScripted(), nil)
	for _, args := range []string{"rotate prod-puller --revoke", "retire prod-puller 5"} {
		code, _, stderr := o.bare(append(strings.Fields(args), "--server", "127.0.0.1:1")...)
		if code != exitFailed || !strings.Contains(stderr, "cannot be reached") || strings.Contains(stderr, "repeat") {
			t.Errorf("%s: %d %s", args, code, stderr)
		}
	}
}

func TestARetirementSaysWhatItEnded(t *testing.T) {
	s := newScripted(fleet()...)
	s.retire = func(_ context.Context, r *quaygenv1.RobotsRetireRequest) (*quaygenv1.RobotsRetireResponse, error) {
		if r.GetGeneration() == 469980 {
			return nil, detailed(codes.FailedPrecondition, "CONFLICT", "generation 469980 is served")
		}
		robot := proto.CloneOf(s.robots[1])
		robot.Generations = robot.GetGenerations()[1:]
		return &quaygenv1.RobotsRetireResponse{Robot: robot}, nil
	}
	o := operate(t, s, nil)
	code, stdout, stderr := o.try("retire", "prod-puller", "426780")
	if code != exitOK || stdout != "prod-puller: nothing up to generation 426780 exists any more (ended: 426780); generation 469980 is served\n" ||
		!strings.HasPrefix(stderr, "prod-puller: ending generation 426780 and every older one\n") {
		t.Errorf("%d %s%s", code, stdout, stderr)
	}
	code, stdout, _ = o.try("retire", "prod-puller", "426780", "-o", "yaml")
	answer := &quaygenv1.RobotsRetireResponse{}
	if err := protojson.Unmarshal(asJSON(t, "yaml", stdout), answer); code != exitOK || err != nil || len(answer.GetRobot().GetGenerations()) != 1 {
		t.Errorf("%d %v %s", code, err, stdout)
	}
	if code, _, stderr := o.try("retire", "prod-puller", "469980"); code != exitFailed || !strings.Contains(stderr, "generation 469980 is served (CONFLICT)") || strings.Contains(stderr, "half done") {
		t.Errorf("%d %s", code, stderr)
	}
}
