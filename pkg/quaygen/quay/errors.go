package quay

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// What went wrong with a call to Quay. Every error of a [Client] that is not about a name matches exactly one of
// these, except that a login refused because robots are disabled matches both [ErrRobotsDisabled] and
// [ErrLoginRefused].
var (
	ErrRobotMissing   = errors.New("no such robot")
	ErrRobotExists    = errors.New("the robot exists already")
	ErrTokenRejected  = errors.New("the API token was not accepted")
	ErrForbidden      = errors.New("the API token is not allowed to do this")
	ErrNotFound       = errors.New("not found")
	ErrRobotsDisabled = errors.New("robot accounts are disabled in Quay")
	ErrReadOnly       = errors.New("the registry is read-only")
	ErrRateLimited    = errors.New("too many calls")
	ErrMirrorInUse    = errors.New("the robot is in use by a repository mirror")
	ErrNoPermission   = errors.New("there is no such permission")
	ErrAlreadyMember  = errors.New("already a member of the team")
	ErrNotMember      = errors.New("not a member of the team")
	ErrInvalid        = errors.New("the request was refused")
	ErrUnavailable    = errors.New("the registry is unavailable")
	ErrRedirect       = errors.New("redirected, and redirects are not followed")
	ErrUnreachable    = errors.New("no complete answer")
	ErrMalformed      = errors.New("the answer was not understood")
	ErrLoginRefused   = errors.New("the robot's login was refused")
)

// Kind says what went wrong with a call. The zero value is no kind.
type Kind int

// The kinds of failure; each matches the sentinel of the same name.
const (
	_                  Kind = iota
	KindRobotMissing        // 400; Quay knows no 404 for robots
	KindRobotExists         // 400, in any of three forms
	KindTokenRejected       // 401, or on writes 403 with the CSRF text
	KindForbidden           // 403: scope or right missing, or the organization is unknown
	KindNotFound            // 404 with a JSON body
	KindRobotsDisabled      // ROBOTS_DISALLOW is set
	KindReadOnly            // 503 that says so
	KindRateLimited         // 429; with Status 0 the client's own pacing, and nothing was sent
	KindMirrorInUse         // on deleting a robot
	KindNoPermission        // on reading or removing a grant
	KindAlreadyMember       // on adding to a team
	KindNotMember           // on removing from a team
	KindInvalid             // other 4xx
	KindUnavailable         // 5xx, and web pages where JSON was due
	KindRedirect            // 3xx
	KindUnreachable         // connection failed, broke or timed out: the call may have taken effect
	KindMalformed           // success by status, but the answer is too large, incomplete or about something else
	KindLoginRefused        // 401 of the registry login
)

var sentinels = [...]error{
	KindRobotMissing:   ErrRobotMissing,
	KindRobotExists:    ErrRobotExists,
	KindTokenRejected:  ErrTokenRejected,
	KindForbidden:      ErrForbidden,
	KindNotFound:       ErrNotFound,
	KindRobotsDisabled: ErrRobotsDisabled,
	KindReadOnly:       ErrReadOnly,
	KindRateLimited:    ErrRateLimited,
	KindMirrorInUse:    ErrMirrorInUse,
	KindNoPermission:   ErrNoPermission,
	KindAlreadyMember:  ErrAlreadyMember,
	KindNotMember:      ErrNotMember,
	KindInvalid:        ErrInvalid,
	KindUnavailable:    ErrUnavailable,
	KindRedirect:       ErrRedirect,
	KindUnreachable:    ErrUnreachable,
	KindMalformed:      ErrMalformed,
	KindLoginRefused:   ErrLoginRefused,
}

func (k Kind) sentinel() error {
	if k <= 0 || int(k) >= len(sentinels) {
		return nil
	}
	return sentinels[k]
}

func (k Kind) String() string {
	if err := k.sentinel(); err != nil {
		return err.Error()
	}
	return fmt.Sprintf("Kind(%d)", int(k))
}

// APIError tells of one failed call.
type APIError struct {
	// Operation is what was asked, such as "robot.create".
	Operation string
	// Subject is what it was asked about: a robot, repository, organization or team. Empty if there is none.
	Subject string
	// Status is the HTTP status; 0 if no answer came, or nothing was sent.
	Status int
	// Kind is what went wrong.
	Kind Kind
	// Message is Quay's reason, taken from the error fields of a JSON answer or the title of a web page: one line of
	// at most 300 bytes, without what the request carried as a credential, or what looks like one. Never a body.
	Message string
	// RetryAfter is what Quay asked to wait; 0 if it did not say.
	RetryAfter time.Duration
	// Date is Quay's clock when it answered, in UTC; zero if unknown.
	Date time.Time

	cause error // of KindUnreachable and of an unreadable token file
}

// Error names the operation, the subject, what went wrong and Quay's reason.
func (e *APIError) Error() string {
	var b strings.Builder
	b.WriteString(e.Operation)
	if e.Subject != "" {
		b.WriteString(" " + e.Subject)
	}
	b.WriteString(": " + e.Kind.String())
	if e.Status != 0 {
		fmt.Fprintf(&b, " (HTTP %d)", e.Status)
	}
	if e.Message != "" {
		b.WriteString(": " + e.Message)
	}
	return b.String()
}

// Is reports whether target is the sentinel of the error's kind. Every 401 of the registry login is also
// [ErrLoginRefused].
func (e *APIError) Is(target error) bool {
	if target == ErrLoginRefused && e.Operation == opAuth && e.Status == 401 && e.Kind == KindRobotsDisabled {
		return true
	}
	s := e.Kind.sentinel()
	return s != nil && target == s
}

// Unwrap returns the failure of the transport, of the file or of the context, if there was one.
func (e *APIError) Unwrap() error { return e.cause }

// Temporary reports whether the same call may succeed later without anybody changing a request, a right or a token.
func (e *APIError) Temporary() bool {
	return e.retryable() || e.Kind == KindReadOnly
}

// retryable is narrower than Temporary: a registry is read-only for longer than any call waits.
func (e *APIError) retryable() bool {
	return e.Kind == KindRateLimited || e.Kind == KindUnavailable || e.Kind == KindUnreachable
}
