package quaygen

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/quaygen/quaygen/pkg/quaygen/audit"
	"github.com/quaygen/quaygen/pkg/quaygen/policy"
	"github.com/quaygen/quaygen/pkg/quaygen/rotation"
)

// What operators may do with robots. Rules do not come into it: they say who may have a pull secret, and whoever may
// have one must not be able to end it. Every error is an [*Error].

// Robots returns what is known of all robots, ordered by name and namespace, to a caller that may view them.
func (s *Service) Robots(caller policy.Caller) ([]rotation.Status, error) {
	if err := s.operates(caller, policy.OperatorView, "list", rotation.Ref{}); err != nil {
		return nil, err
	}
	return s.engine.Statuses(), nil
}

// Robot returns what is known of one robot to a caller that may view robots.
func (s *Service) Robot(caller policy.Caller, ref rotation.Ref) (rotation.Status, error) {
	if err := s.operates(caller, policy.OperatorView, "look at", ref); err != nil {
		return rotation.Status{}, err
	}
	return s.known(ref)
}

// MayView says whether a caller may view robots: nil, or that it is denied.
func (s *Service) MayView(caller policy.Caller) error {
	return s.operates(caller, policy.OperatorView, "view", rotation.Ref{})
}

// Watch follows what happens to robots, for a caller that may view them; see [rotation.Engine.Watch].
func (s *Service) Watch(caller policy.Caller, position string) (*rotation.Watch, rotation.Restart, error) {
	if err := s.operates(caller, policy.OperatorView, "watch", rotation.Ref{}); err != nil {
		return nil, rotation.RestartNone, err
	}
	w, restart, err := s.engine.Watch(position)
	if err != nil {
		return nil, rotation.RestartNone, &Error{Kind: KindInvalid, Detail: "the position is none that this service gave out; begin without one", cause: err}
	}
	return w, restart, nil
}

// Rotate makes the next generation now, for a caller that manages robots, and returns when it is served. It goes on when
// ctx ends.
func (s *Service) Rotate(ctx context.Context, caller policy.Caller, ref rotation.Ref) error {
	o, err := s.manages(ctx, caller, "rotate", ref, -1)
	if err != nil {
		return err
	}
	_, err = s.engine.Rotate(ctx, ref)
	return s.ended(o, s.done(err, ref, "the rotation goes on", "ask again"))
}

// Revoke does the same and ends every generation up to through, all that exist if it is negative, without overlap. It
// returns the number it acted on when nothing up to it exists any more.
func (s *Service) Revoke(ctx context.Context, caller policy.Caller, ref rotation.Ref, through int64) (int64, error) {
	o, err := s.manages(ctx, caller, "revoke", ref, through)
	if err != nil {
		return through, err
	}
	acted, err := s.engine.Revoke(ctx, ref, through)
	advice := "to be sure that the revocation is complete, ask for it again"
	if acted >= 0 {
		advice += fmt.Sprintf(", through generation %d", acted)
	}
	o.Through = acted
	return acted, s.ended(o, s.done(err, ref, advice, advice))
}

// Retire ends superseded generations up to a number, for a caller that manages robots, and returns when they are gone.
func (s *Service) Retire(ctx context.Context, caller policy.Caller, ref rotation.Ref, generation int64) error {
	o, err := s.manages(ctx, caller, "retire", ref, generation)
	if err != nil {
		return err
	}
	const advice = "to be sure that the retirement is complete, ask for it again"
	return s.ended(o, s.done(s.engine.Retire(ctx, ref, generation), ref, advice, advice))
}

// manages lets an order begin, and returns what the audit trail is to say of its end.
func (s *Service) manages(ctx context.Context, caller policy.Caller, what string, ref rotation.Ref, through int64) (audit.Operation, error) {
	o := operation(caller, what, ref, through)
	if err := s.operates(caller, policy.OperatorManage, what, ref); err != nil {
		return o, err
	}
	if _, err := s.known(ref); err != nil {
		return o, s.ended(o, err)
	}
	started := o
	started.Result = audit.ResultStarted
	if err := s.audit(ctx, &started); err != nil {
		return o, err
	}
	s.log.InfoContext(ctx, "an operator gives an order", "order", what, "client", caller.Name, "how", caller.How, "robot", ref.String())
	return o, nil
}

func (s *Service) operates(caller policy.Caller, least policy.Operator, what string, ref rotation.Ref) error {
	if caller.Name != "" && caller.Operator >= least {
		return nil
	}
	s.log.Warn("request refused", "client", caller.Name, "how", caller.How, "robot", ref.String(), "reason", "the client may not "+what+" robots")
	takes := policy.OperatorManage.String()
	if least == policy.OperatorView {
		takes = "view or manage"
	}
	err := &Error{Kind: KindDenied, Detail: fmt.Sprintf("this client may not %s robots; that takes operator: %s in the configuration", what, takes)}
	return s.ended(operation(caller, what, ref, -1), err)
}

// known finds a robot. One that no namespace asked for yet, and that no list shows, is none: it would be made by being asked for.
func (s *Service) known(ref rotation.Ref) (rotation.Status, error) {
	if ref.Name == "" {
		return rotation.Status{}, &Error{Kind: KindInvalid, Detail: "the robot's name is missing"}
	}
	status, ok := s.engine.Status(ref)
	if !ok {
		return rotation.Status{}, &Error{Kind: KindUnknown, Detail: "there is no robot " + Clip(ref.String())}
	}
	return status, nil
}

// done translates what became of an operator's order: unfinished says what to do if its caller stopped waiting, lost if nobody
// will finish it.
func (s *Service) done(err error, ref rotation.Ref, unfinished, lost string) error {
	underWay, isUnderWay := errors.AsType[*rotation.UnderWayError](err)
	_, inUse := errors.AsType[*rotation.InUseError](err)
	switch {
	case err == nil:
		return nil
	case isUnderWay:
		e := &Error{Kind: KindConflict, Detail: err.Error(), cause: err}
		if status, ok := s.engine.Status(ref); ok && !underWay.Until.IsZero() { // both are Quay's time
			e.RetryAfter = max(time.Second, underWay.Until.Sub(status.At))
		}
		return e
	case inUse, errors.Is(err, rotation.ErrNotRotated):
		return &Error{Kind: KindConflict, Detail: err.Error(), cause: err}
	case errors.Is(err, rotation.ErrNoGeneration):
		return &Error{Kind: KindUnknown, Detail: err.Error(), cause: err}
	case errors.Is(err, rotation.ErrOrderLost):
		return &Error{Kind: KindNotReady, Detail: "the order was lost: the server ends, or the robot left the configuration; " + lost, RetryAfter: time.Second, cause: err}
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return &Error{Kind: KindUnfinished, Detail: "it is not done yet; " + unfinished, cause: err}
	}
	return translate(err)
}
