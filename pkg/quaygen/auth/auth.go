// Package auth finds out who is calling.
//
// An [Authenticator] looks for one kind of credential among what a request has [Presented]. Several are tried in turn with
// [Chain]: one that finds nothing it knows says so with an error wrapping [ErrNoCredential], and the next is asked; any
// other error ends the matter. Where a request can hold credentials of several kinds at once, [Agreed] asks for all and
// lets them name one client only. There is no anonymous caller: a request without a credential is an error as well.
//
// Errors tell the operator what was wrong. They hold no credential and nothing else a caller has sent, and the caller
// is not to see them: to it, every refusal is the same 401, what wraps [ErrUnavailable] a 503, and what wraps
// [ErrGuessing] a 429.
package auth

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/quaygen/quaygen/pkg/quaygen/policy"
)

var (
	// ErrNoCredential is wrapped when a request holds no credential that an authenticator knows; another may.
	ErrNoCredential = errors.New("no credential of this kind")

	// ErrRejected is wrapped when a credential was presented and is not accepted. It comes together with
	// ErrNoCredential where the credential may yet be another authenticator's, and alone where it is malformed. After
	// the last authenticator, ErrRejected tells a wrong credential from none.
	ErrRejected = errors.New("credential not accepted")

	// ErrUnavailable is wrapped when whoever could say whose a credential is cannot be asked now. The credential may be
	// good: the caller is told to come again, which no 401 says.
	ErrUnavailable = errors.New("credential cannot be checked now")

	// ErrGuessing is wrapped, beside one of the others, when credentials that are none came from an address too often.
	ErrGuessing = errors.New("too many failed attempts")
)

// RetryAfter is when it makes sense to present the same credential again after [ErrUnavailable].
const RetryAfter = 5 * time.Second

// Presented is what a request shows of who sends it, whichever way it came in.
type Presented struct {
	// Authorization holds the values of the HTTP header of that name, or of the gRPC metadata "authorization".
	Authorization []string

	// Certificate is the client's own, which the TLS layer has verified against the CAs of clients and for use by a
	// client; nil: none was presented, or none that was verified.
	Certificate *x509.Certificate

	// From is the address it came from, as host:port; "" or anything else: unknown, and one with all others that are.
	From string

	// Reviewed is told when somebody else was asked whose a token is, with the time and the outcome as for
	// [ReviewerConfig].Observe; nil: nobody is. It is not told of what was remembered.
	Reviewed func(start time.Time, outcome string)

	guessing func() bool // whether that address has failed too often; nil: nobody counts
}

// FromRequest returns what an HTTP request shows.
func FromRequest(r *http.Request) Presented {
	p := Presented{Authorization: r.Header["Authorization"], From: r.RemoteAddr}
	// Certificates that were not verified are among PeerCertificates too.
	if r.TLS != nil && len(r.TLS.VerifiedChains) > 0 && len(r.TLS.VerifiedChains[0]) > 0 {
		p.Certificate = r.TLS.VerifiedChains[0][0]
	}
	return p
}

// Authenticator returns who has presented this. Its error wraps [ErrNoCredential] if it found nothing of its own.
type Authenticator func(Presented) (policy.Caller, error)

// Chain asks one authenticator after another. The first caller found is the answer, and so is the first error that does
// not wrap [ErrNoCredential]. If all decline, the error wraps all of theirs, and ErrNoCredential also when there are none.
func Chain(authenticators ...Authenticator) Authenticator {
	return func(p Presented) (policy.Caller, error) {
		var declined []error
		for _, authenticate := range authenticators {
			caller, err := ask(authenticate, p)
			switch {
			case err == nil:
				return caller, nil
			case !errors.Is(err, ErrNoCredential):
				return policy.Caller{}, err
			}
			declined = append(declined, err)
		}
		return policy.Caller{}, nobody(declined)
	}
}

// Agreed asks every authenticator. Those that find a caller have to find the same one: who presents the credentials of two
// clients is neither of them, and the error, which wraps [ErrRejected] alone, names both. Authenticators that decline
// are no contradiction, and if all do, the error is that of [Chain]; any other error ends the matter.
func Agreed(authenticators ...Authenticator) Authenticator {
	return func(p Presented) (policy.Caller, error) {
		var agreed policy.Caller
		var declined []error
		for _, authenticate := range authenticators {
			caller, err := ask(authenticate, p)
			switch {
			case err == nil && agreed.Name == "":
				agreed = caller
			case err == nil:
				if agreed, err = agree(agreed, caller); err != nil {
					return policy.Caller{}, err
				}
			case !errors.Is(err, ErrNoCredential):
				return policy.Caller{}, err
			case agreed.Name == "":
				declined = append(declined, err)
			}
		}
		if agreed.Name != "" {
			return agreed, nil
		}
		return policy.Caller{}, nobody(declined)
	}
}

// agree returns the caller that two credentials have shown.
func agree(a, b policy.Caller) (policy.Caller, error) {
	how := a.How + " and " + b.How
	a.How, b.How = how, how
	switch {
	case a.Name != b.Name:
		return policy.Caller{}, fmt.Errorf("%w: the credentials (%s) are those of two clients, %q and %q", ErrRejected, how, a.Name, b.Name)
	case a != b:
		return policy.Caller{}, fmt.Errorf("internal error: the credentials (%s) of client %q differ in what it may do", how, a.Name)
	}
	return a, nil
}

func ask(authenticate Authenticator, p Presented) (policy.Caller, error) {
	caller, err := authenticate(p)
	if err == nil && caller.Name == "" {
		return policy.Caller{}, errors.New("internal error: an authenticator found a caller without a name")
	}
	return caller, err
}

// nobody is the error after all have declined.
func nobody(declined []error) error {
	if len(declined) == 0 {
		return fmt.Errorf("%w: there is no way to authenticate", ErrNoCredential)
	}
	return errors.Join(declined...)
}
