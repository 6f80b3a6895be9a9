package quaygen

import (
	"errors"
	"slices"
	"strings"
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
	// KindConflict is a request that cannot be carried out as things are: a rotation is under way, or a generation in use.
	KindConflict
	// KindRefused means that Quay refuses this installation: its token, the organization, or robots altogether.
	KindRefused
	// KindNotReady means that there is no credential to hand out now.
	KindNotReady
	// KindUnfinished is a rotation or retirement that was not done when the caller's time was over. It goes on.
	KindUnfinished
	// KindUnsupported is what is not offered.
	KindUnsupported
	// KindTooMany is a caller that asks for more, or more often, than it may.
	KindTooMany
)

// A Row is how a kind of error is told on each way in and out.
type Row struct {
	Title  string // for people
	Reason string // for programs, in google.rpc.ErrorInfo
	HTTP   int    // status
	GRPC   string // name of a google.rpc.Code
	Exit   int    // of the command line: 1 failed, 2 wrong usage, 3 not found, 4 denied
}

// rows is the one table from kinds to what is told. 404 and NOT_FOUND are special: ESO may delete the Secret on it.
var rows = [...]Row{
	KindInternal:        {"internal error", "INTERNAL", 500, "INTERNAL", 1},
	KindInvalid:         {"invalid request", "INVALID_REQUEST", 400, "INVALID_ARGUMENT", 2},
	KindUnauthenticated: {"not authenticated", "NOT_AUTHENTICATED", 401, "UNAUTHENTICATED", 4},
	KindDenied:          {"not allowed", "NOT_ALLOWED", 403, "PERMISSION_DENIED", 4},
	KindUnknown:         {"not found", "NOT_FOUND", 404, "NOT_FOUND", 3},
	KindConflict:        {"not possible now", "CONFLICT", 409, "FAILED_PRECONDITION", 1},
	KindRefused:         {"refused by Quay", "REFUSED_BY_QUAY", 424, "FAILED_PRECONDITION", 4},
	KindNotReady:        {"not ready", "NOT_READY", 503, "UNAVAILABLE", 1},
	KindUnfinished:      {"not finished yet", "UNFINISHED", 504, "DEADLINE_EXCEEDED", 1},
	KindUnsupported:     {"not supported", "UNSUPPORTED", 501, "UNIMPLEMENTED", 1},
	KindTooMany:         {"too many requests", "TOO_MANY_REQUESTS", 429, "RESOURCE_EXHAUSTED", 1},
}

// Kinds returns all kinds.
func Kinds() []Kind {
	kinds := make([]Kind, len(rows))
	for i := range kinds {
		kinds[i] = Kind(i)
	}
	return kinds
}

// KindOf returns the kind with this reason, as it comes over the wire.
func KindOf(reason string) (Kind, bool) {
	i := slices.IndexFunc(rows[:], func(r Row) bool { return r.Reason == reason })
	return Kind(max(i, 0)), i >= 0
}

// Row returns how a kind is told; a kind that does not exist is an internal error.
func (k Kind) Row() Row {
	if k < 0 || int(k) >= len(rows) {
		return rows[KindInternal]
	}
	return rows[k]
}

func (k Kind) String() string { return k.Row().Title }

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
	if notReady, ok := errors.AsType[*rotation.NotReadyError](err); ok {
		e := &Error{Kind: KindNotReady, Detail: notReady.Error(), RetryAfter: notReady.RetryAfter, cause: err}
		if notReady.Refused {
			e.Kind = KindRefused
		}
		return e
	}
	return AsError(err)
}

// Clip bounds what a caller can have written into an answer. It cuts between characters: what is no UTF-8 fits into no message.
func Clip(s string) string {
	if len(s) > 100 {
		return strings.ToValidUTF8(s[:100], "") + "..."
	}
	return s
}
