// Package auth finds out who is calling.
//
// An [Authenticator] looks for one kind of credential in a request. Several are tried in turn with [Chain]: one that
// finds nothing it knows says so with an error wrapping [ErrNoCredential], and the next is asked; any other error ends
// the matter. There is no anonymous caller: a request without a credential is an error as well.
//
// Errors tell the operator what was wrong. They hold no credential and nothing else a caller has sent, and the caller
// is not to see them: to it, every refusal is the same 401.
package auth

import (
	"errors"
	"fmt"
	"net/http"

	"github.com/quaygen/quaygen/pkg/quaygen/policy"
)

var (
	// ErrNoCredential is wrapped when a request holds no credential that an authenticator knows; another may.
	ErrNoCredential = errors.New("no credential of this kind")

	// ErrRejected is wrapped when a credential was presented and is not accepted. It comes together with
	// ErrNoCredential where the credential may yet be another authenticator's, and alone where it is malformed. After
	// the last authenticator, ErrRejected tells a wrong credential from none.
	ErrRejected = errors.New("credential not accepted")
)

// Authenticator returns who sends a request. Its error wraps [ErrNoCredential] if it found nothing of its own.
type Authenticator func(*http.Request) (policy.Caller, error)

// Chain asks one authenticator after another. The first caller found is the answer, and so is the first error that does
// not wrap [ErrNoCredential]. If all decline, the error wraps all of theirs, and ErrNoCredential also when there are none.
func Chain(authenticators ...Authenticator) Authenticator {
	return func(r *http.Request) (policy.Caller, error) {
		var declined []error
		for _, authenticate := range authenticators {
			caller, err := authenticate(r)
			switch {
			case err == nil && caller.Name == "":
				return policy.Caller{}, errors.New("internal error: an authenticator found a caller without a name")
			case err == nil:
				return caller, nil
			case !errors.Is(err, ErrNoCredential):
				return policy.Caller{}, err
			}
			declined = append(declined, err)
		}
		if len(declined) == 0 {
			return policy.Caller{}, fmt.Errorf("%w: there is no way to authenticate", ErrNoCredential)
		}
		return policy.Caller{}, errors.Join(declined...)
	}
}
