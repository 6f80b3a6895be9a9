package quaygen

import (
	"errors"
	"time"

	"github.com/quaygen/quaygen/pkg/quaygen/rotation"
)

// Kind is what went wrong with a request, in the terms that every transport translates. ESO shows its users little more
// than the HTTP status, so the kind has to carry the meaning.
type Kind int

const (
	// KindInternal is a mistake of ours. The zero value, so that an unknown error is one.
	KindInternal Kind = iota
	// KindInvalid is a malformed request.
	KindInvalid
	// KindUnauthenticated is a caller that did not prove who it is.
	KindUnauthenticated
	// KindDenied is a caller that may not have what it asks for, whether or not it exists.
	KindDenied
	// KindUnknown is a name that certainly does not exist. ESO may delete the Secret on it: never use it for "not yet".
	KindUnknown
	// KindRefused means that Quay refuses this installation: its token, the organization, or robots altogether.
	KindRefused
	// KindNotReady means that there is no credential to hand out now.
	KindNotReady
)

var kindNames = [...]string{"internal error", "invalid request", "not authenticated", "not allowed", "not found", "refused by Quay", "not ready"}

func (k Kind) String() string {
	if k < 0 || int(k) >= len(kindNames) {
		return kindNames[KindInternal]
	}
	return kindNames[k]
}

// Error is what a caller is told. It names neither rules nor anything another caller could ask for.
type Error struct {
	Kind       Kind
	Detail     string        // for the caller: what is wrong and what to do about it
	RetryAfter time.Duration // when asking again makes sense; 0: unknown
	cause      error         // for the log
}

func (e *Error) Error() string {
	if e.cause != nil {
		return e.Kind.String() + ": " + e.cause.Error()
	}
	return e.Kind.String() + ": " + e.Detail
}

func (e *Error) Unwrap() error { return e.cause }

// AsError returns err as an *Error; an error of no known kind becomes an internal one whose detail says nothing.
func AsError(err error) *Error {
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	return &Error{Kind: KindInternal, Detail: "something went wrong inside quaygen; its log says what", cause: err}
}

// translate turns an error of the engine into a public one.
func translate(err error) *Error {
	if errors.Is(err, rotation.ErrUnknownRobot) {
		// The name was allowed and configured a moment ago: the configuration is being replaced.
		return &Error{Kind: KindNotReady, Detail: "the configuration is being replaced", RetryAfter: time.Second, cause: err}
	}
	notReady, ok := errors.AsType[*rotation.NotReadyError](err)
	if !ok {
		return AsError(err)
	}
	e := &Error{Kind: KindNotReady, Detail: notReady.Error(), RetryAfter: notReady.RetryAfter, cause: err}
	if notReady.Refused {
		e.Kind = KindRefused
	}
	return e
}
