package grpcapi

import (
	"cmp"
	"context"
	"encoding/base64"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/quaygen/quaygen/pkg/quaygen/rotation"
	quaygenv1 "github.com/quaygen/quaygen/proto/quaygen/v1"
)

type robots struct {
	quaygenv1.UnsafeRobotsServer
	*Server
}

// Sizes of a page of robots.
const (
	defaultPage = 100
	maxPage     = 1000
)

// List returns one page of robots. The token of the next page is where this one ended, so that robots that come or go
// meanwhile shift nothing.
func (s *robots) List(ctx context.Context, r *quaygenv1.RobotsListRequest) (*quaygenv1.RobotsListResponse, error) {
	size := int(r.GetPageSize())
	switch {
	case size < 0:
		return nil, invalid("page_size is negative")
	case size == 0:
		size = defaultPage
	}
	size = min(size, maxPage)
	after, err := parsePage(r.GetPageToken())
	if err != nil {
		return nil, err
	}
	all, err := s.Service.Robots(of(ctx).caller)
	if err != nil {
		return nil, err
	}
	all = slices.DeleteFunc(all, func(status rotation.Status) bool {
		return r.GetPageToken() != "" && compareRefs(refOf(status), after) <= 0
	})
	response := &quaygenv1.RobotsListResponse{}
	if len(all) > size {
		all = all[:size]
		response.NextPageToken = page(refOf(all[size-1]))
	}
	response.Robots = described(all)
	return response, nil
}

func refOf(s rotation.Status) rotation.Ref {
	return rotation.Ref{Name: s.Name, Namespace: s.Namespace}
}

func compareRefs(a, b rotation.Ref) int {
	return cmp.Or(strings.Compare(a.Name, b.Name), strings.Compare(a.Namespace, b.Namespace))
}

// page writes down where a page ended; neither name holds a slash.
func page(last rotation.Ref) string {
	return base64.RawURLEncoding.EncodeToString([]byte(last.Name + "/" + last.Namespace))
}

func parsePage(token string) (rotation.Ref, error) {
	text, err := base64.RawURLEncoding.DecodeString(token)
	name, namespace, ok := strings.Cut(string(text), "/")
	if token != "" && (err != nil || !ok) {
		return rotation.Ref{}, invalid("page_token is not one that this service gave out")
	}
	return rotation.Ref{Name: name, Namespace: namespace}, nil
}

// Get returns one robot.
func (s *robots) Get(ctx context.Context, r *quaygenv1.RobotsGetRequest) (*quaygenv1.RobotsGetResponse, error) {
	robot, err := s.robot(ctx, rotation.Ref{Name: r.GetName(), Namespace: r.GetNamespace()})
	if err != nil {
		return nil, err
	}
	return &quaygenv1.RobotsGetResponse{Robot: robot}, nil
}

func (s *robots) robot(ctx context.Context, ref rotation.Ref) (*quaygenv1.Robot, error) {
	of(ctx).name, of(ctx).namespace = ref.Name, ref.Namespace
	status, err := s.Service.Robot(of(ctx).caller, ref)
	if err != nil {
		return nil, err
	}
	return Describe(status), nil
}

// Rotate makes the next generation now and returns when it is served, and what a revocation ends is gone.
func (s *robots) Rotate(ctx context.Context, r *quaygenv1.RobotsRotateRequest) (*quaygenv1.RobotsRotateResponse, error) {
	c, ref := of(ctx), rotation.Ref{Name: r.GetName(), Namespace: r.GetNamespace()}
	c.name, c.waits = ref.Name, true
	waiting, cancel := s.untilDrained(ctx)
	defer cancel()
	response := &quaygenv1.RobotsRotateResponse{}
	switch {
	case !r.GetRevoke() && r.RevokeThrough != nil:
		return nil, invalid("revoke_through says how far to revoke; set revoke as well")
	case r.RevokeThrough != nil && r.GetRevokeThrough() < 0:
		return nil, invalid("revoke_through is negative")
	case r.GetRevoke():
		through := int64(-1)
		if r.RevokeThrough != nil {
			through = r.GetRevokeThrough()
		}
		through, err := s.Service.Revoke(waiting, c.caller, ref, through)
		if err != nil {
			return nil, err
		}
		response.RevokedThrough = &through
	default:
		if err := s.Service.Rotate(waiting, c.caller, ref); err != nil {
			return nil, err
		}
	}
	robot, err := s.robot(ctx, ref)
	if err != nil {
		return nil, err
	}
	response.Robot = robot
	return response, nil
}

// Retire ends superseded generations and returns when they are gone.
func (s *robots) Retire(ctx context.Context, r *quaygenv1.RobotsRetireRequest) (*quaygenv1.RobotsRetireResponse, error) {
	c, ref := of(ctx), rotation.Ref{Name: r.GetName(), Namespace: r.GetNamespace()}
	c.name, c.waits = ref.Name, true
	if r.GetGeneration() <= 0 {
		return nil, invalid("generation is missing: the newest one to end")
	}
	waiting, cancel := s.untilDrained(ctx)
	defer cancel()
	if err := s.Service.Retire(waiting, c.caller, ref, r.GetGeneration()); err != nil {
		return nil, err
	}
	robot, err := s.robot(ctx, ref)
	if err != nil {
		return nil, err
	}
	return &quaygenv1.RobotsRetireResponse{Robot: robot}, nil
}

var strategies = map[rotation.Strategy]quaygenv1.Strategy{
	rotation.Overlap:    quaygenv1.Strategy_STRATEGY_OVERLAP,
	rotation.Regenerate: quaygenv1.Strategy_STRATEGY_REGENERATE,
	rotation.None:       quaygenv1.Strategy_STRATEGY_NONE,
}

var generationStates = map[rotation.State]quaygenv1.GenerationState{
	rotation.StateCurrent:  quaygenv1.GenerationState_GENERATION_STATE_CURRENT,
	rotation.StatePending:  quaygenv1.GenerationState_GENERATION_STATE_PENDING,
	rotation.StateDraining: quaygenv1.GenerationState_GENERATION_STATE_DRAINING,
	rotation.StateStray:    quaygenv1.GenerationState_GENERATION_STATE_STRAY,
	rotation.StateConflict: quaygenv1.GenerationState_GENERATION_STATE_CONFLICT,
	rotation.StateMissing:  quaygenv1.GenerationState_GENERATION_STATE_MISSING,
}

func described(statuses []rotation.Status) []*quaygenv1.Robot {
	out := make([]*quaygenv1.Robot, len(statuses))
	for i, s := range statuses {
		out[i] = Describe(s)
	}
	return out
}

// Describe says what is known of a robot in the words of the API.
func Describe(s rotation.Status) *quaygenv1.Robot {
	r := &quaygenv1.Robot{
		Name: s.Name, Namespace: s.Namespace, Registry: s.Registry, Base: s.Spec.Base.Username(), Strategy: strategies[s.Spec.Strategy],
		Problem: s.Why, NextRotationTime: timestamp(s.Plan.Next), ObserveTime: timestamp(s.At), Warnings: s.Plan.Warnings, Waiting: s.Plan.Waiting,
	}
	if s.Current >= 0 {
		r.Generation = &s.Current
	}
	for _, g := range s.Plan.Generations {
		r.Generations = append(r.Generations, &quaygenv1.Generation{
			Number: g.Number, Username: g.Robot.Username(), State: generationStates[g.State], Note: g.Note,
			CreateTime: timestamp(g.Created), LastAccessTime: timestamp(g.LastAccessed),
		})
	}
	for _, f := range s.Failures {
		r.Failures = append(r.Failures, f.String())
	}
	return r
}

// timestamp leaves a time out that is not known.
func timestamp(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t)
}
