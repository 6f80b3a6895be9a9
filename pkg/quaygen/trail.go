package quaygen

import (
	"context"
	"time"

	"github.com/quaygen/quaygen/pkg/quaygen/audit"
	"github.com/quaygen/quaygen/pkg/quaygen/policy"
	"github.com/quaygen/quaygen/pkg/quaygen/rotation"
)

// Audit makes the service keep an audit trail. Call it before the first request.
func (s *Service) Audit(trail *audit.Log) { s.trail = trail }

// Refuse records that a transport refused a request of a caller by itself, and returns why, for the caller: err, or that the
// refusal cannot be recorded.
func (s *Service) Refuse(ctx context.Context, caller policy.Caller, r Request, err error) error {
	if err := s.audit(ctx, request(caller, r, policy.Decision{}, nil, err)); err != nil {
		return err
	}
	return err
}

// RefuseStranger records that somebody did not prove who it is. It never waits: nothing is handed out.
func (s *Service) RefuseStranger(transport, from string, reason error) {
	s.trail.Record(&audit.Authentication{Transport: transport, From: from, Reason: reason.Error()})
}

// crowdedOut records a request beyond what the caller may ask, of which nothing else is known. Nobody waits for it: that would
// make what limits are against cost us more.
func (s *Service) crowdedOut(caller policy.Caller, err error) {
	e := request(caller, Request{}, policy.Decision{}, nil, err)
	e.Crowd = true
	s.trail.Record(e)
}

// audit writes entries down. With an audit trail that blocks, nothing is handed out and no order is taken on that is not in it.
func (s *Service) audit(ctx context.Context, entries ...audit.Entry) error {
	if s.trail == nil {
		return nil
	}
	if !s.trail.Blocks() { // the request that finds everything in memory pays for no context
		s.trail.Record(entries...)
		return nil
	}
	waiting, cancel := context.WithTimeout(ctx, maxWait)
	defer cancel()
	if err := s.trail.Commit(waiting, entries...); err != nil {
		return &Error{Kind: KindNotReady, Detail: "the audit trail cannot be written, and nothing is handed out without", RetryAfter: time.Second, cause: err}
	}
	return nil
}

// request is what the trail says of a request. Only what the trail holds itself is in it: nothing of the answer's data.
func request(c policy.Caller, r Request, decision policy.Decision, answer *Answer, err error) *audit.Request {
	e := &audit.Request{
		Client: c.Name, How: c.How, Transport: c.Transport, From: c.From,
		Namespace: r.Namespace, Name: r.Name, Property: r.Property, Format: r.Format, Reason: decision.Reason,
	}
	if c.Account != "" {
		e.Account = c.Namespace + "/" + c.Account
	}
	if decision.Outcome != 0 {
		e.Decision = decision.Outcome.String()
	}
	if e.Result = result(err); err == nil {
		e.Credentials = answer.audited
	} else if AsError(err).Kind != KindDenied || e.Reason == "" {
		e.Reason = reason(err)
	}
	return e
}

func operation(c policy.Caller, what string, ref rotation.Ref, through int64) audit.Operation {
	return audit.Operation{
		Client: c.Name, How: c.How, Transport: c.Transport, From: c.From, Action: what, Name: ref.Name, Namespace: ref.Namespace, Through: through,
	}
}

// ended records what became of an operation, and returns err. Nobody waits for that: what was done is done.
func (s *Service) ended(o audit.Operation, err error) error {
	if o.Result = result(err); err != nil {
		o.Reason = reason(err)
	}
	s.trail.Record(&o)
	return err
}

func result(err error) string {
	if err == nil {
		return audit.ResultOK
	}
	return AsError(err).Kind.Row().Reason
}

// reason is for operators: the cause says more than what the caller is told.
func reason(err error) string {
	e := AsError(err)
	if e.cause != nil {
		return e.cause.Error()
	}
	return e.Detail
}

// steps are the actions that change something outside of this process. An intent is not among them: the question that follows is.
var steps = map[rotation.Action]string{
	rotation.Create: "create", rotation.Delete: "delete", rotation.Grant: "grant", rotation.Ungrant: "ungrant",
	rotation.Join: "join", rotation.Leave: "leave", rotation.RegenerateToken: "regenerate", rotation.Record: "record",
}

// AuditActs returns what records the acts of an engine. Failures are not among them: they are tried again, and the log and
// watches tell of them.
func AuditActs(trail *audit.Log) func(rotation.Act) {
	return func(a rotation.Act) {
		e := a.Event
		if action, ok := steps[a.Step.Action]; ok {
			step := &audit.Step{
				Action: action, Name: e.Name, Namespace: e.Namespace, Registry: e.Registry, Organization: e.Owner.Name(), Robot: e.Robot, Generation: e.Generation,
				Repository: a.Step.Repository, Team: a.Step.Team, Token: a.Step.Token, Reason: e.Reason,
			}
			switch a.Step.Action {
			case rotation.Grant:
				step.Role = a.Step.Role.String()
			case rotation.Record:
				step.Action = string(a.Step.Kind)
			default:
			}
			trail.Record(step)
			return
		}
		switch e.Type {
		case rotation.EventPublished, rotation.EventSuperseded, rotation.EventRetired, rotation.EventRemoved:
			trail.Record(&audit.Event{
				Event: e.Type.String(), Name: e.Name, Namespace: e.Namespace, Registry: e.Registry, Organization: e.Owner.Name(),
				Robot: e.Robot, Generation: e.Generation, Reason: e.Reason,
			})
		default:
		}
	}
}
