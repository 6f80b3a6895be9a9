package auth

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/quaygen/quaygen/pkg/quaygen/policy"
	"github.com/quaygen/quaygen/pkg/quaygen/secret"
)

// ServiceAccountClient is a client that is known by tokens of Kubernetes' ServiceAccounts. Each caller's namespace is that
// of its ServiceAccount, and it may speak for no other.
type ServiceAccountClient struct {
	Name       string   // required, unique
	Audience   string   // required; tokens must be for it
	Namespaces []string // of the ServiceAccounts; "*" stands for any run of characters; none: all
	Names      []string // of the ServiceAccounts, likewise

	Operator     policy.Operator // what it may do with robots
	OperatorOnly bool            // it has nothing to do with pull secrets
}

func (c ServiceAccountClient) has(who account) bool {
	return matches(c.Namespaces, who.namespace) && matches(c.Names, who.name)
}

func matches(patterns []string, s string) bool {
	return len(patterns) == 0 || slices.ContainsFunc(patterns, func(pattern string) bool { return policy.Match(pattern, s) })
}

// ServiceAccountAuthenticator knows clients by tokens of ServiceAccounts, which it has the API server review.
type ServiceAccountAuthenticator struct {
	clients  []ServiceAccountClient
	reviewer *Reviewer
}

// ServiceAccounts checks clients that are known by their ServiceAccounts. No clients is no error, and nobody is known;
// only then reviewer may be nil.
func ServiceAccounts(clients []ServiceAccountClient, reviewer *Reviewer) (*ServiceAccountAuthenticator, error) {
	names := make(map[string]bool)
	var problems []error
	for i, c := range clients {
		if c.Name == "" || names[c.Name] {
			problems = append(problems, fmt.Errorf("ServiceAccount client %d: its name %q is empty or taken", i, c.Name))
		}
		names[c.Name] = true
		if c.Audience == "" {
			problems = append(problems, fmt.Errorf("ServiceAccount client %q: the audience is missing", c.Name))
		}
	}
	if len(clients) > 0 && reviewer == nil {
		problems = append(problems, errors.New("ServiceAccount clients: nobody reviews their tokens"))
	}
	if len(problems) > 0 {
		return nil, errors.Join(problems...)
	}
	return &ServiceAccountAuthenticator{clients: slices.Clone(clients), reviewer: reviewer}, nil
}

// errNoServiceAccount is what every caller with another bearer token runs into; it is not made anew each time.
var errNoServiceAccount = fmt.Errorf("%w: the bearer token is not a ServiceAccount's", ErrNoCredential)

// Authenticate is the [Authenticator] of these clients. It declines what is no token of a ServiceAccount, and one that no
// client has or the API server does not accept (ErrNoCredential, in the latter cases ErrRejected too). A token of two
// clients is ErrRejected alone. If the API server cannot be asked the error wraps [ErrUnavailable]. It is asked only about
// tokens that say they are valid now and of a ServiceAccount and for an audience that a client here has.
func (a *ServiceAccountAuthenticator) Authenticate(p Presented) (policy.Caller, error) {
	presented, err := bearerToken(p.Authorization)
	if err != nil {
		return policy.Caller{}, err
	}
	said, ok := parseClaims(presented)
	if !ok || len(a.clients) == 0 {
		return policy.Caller{}, errNoServiceAccount
	}
	var audiences []string
	for _, c := range a.clients {
		if said.isFor(c.Audience) && c.has(said.account) && !slices.Contains(audiences, c.Audience) {
			audiences = append(audiences, c.Audience)
		}
	}
	switch {
	case len(audiences) == 0:
		return policy.Caller{}, fmt.Errorf("%w: %w: no client has a ServiceAccount and audience like those of this token", ErrNoCredential, ErrRejected)
	case !time.Now().Before(said.expires):
		return policy.Caller{}, fmt.Errorf("%w: %w: the ServiceAccount token has expired, by the clock of this machine", ErrNoCredential, ErrRejected)
	}
	v, err := a.reviewer.review(question{
		token: secret.New(presented), audiences: audiences, expires: said.expires, guess: p.guessing != nil && p.guessing(), told: p.Reviewed,
	})
	switch {
	case err != nil:
		return policy.Caller{}, err
	case len(v.audiences) == 0:
		return policy.Caller{}, fmt.Errorf("%w: %w: the API server does not accept the ServiceAccount token: it has expired, its ServiceAccount or pod is gone, or it is not of this cluster", ErrNoCredential, ErrRejected)
	}
	return WhoseServiceAccount(a.clients, v.account.namespace, v.account.name, v.audiences)
}

// WhoseServiceAccount returns the one client that a ServiceAccount is by a token for these audiences which the API server
// vouches for. The error wraps [ErrRejected], and [ErrNoCredential] too unless it is that of two clients.
func WhoseServiceAccount(clients []ServiceAccountClient, namespace, name string, audiences []string) (policy.Caller, error) {
	who := account{namespace, name}
	var found *ServiceAccountClient
	for i := range clients {
		c := &clients[i]
		switch {
		case !slices.Contains(audiences, c.Audience) || !c.has(who):
		case found != nil:
			return policy.Caller{}, fmt.Errorf("%w: the ServiceAccount %s/%s is that of two clients, %q and %q", ErrRejected, namespace, name, found.Name, c.Name)
		default:
			found = c
		}
	}
	if found == nil { // in the service, where the API server names another ServiceAccount than the token does
		return policy.Caller{}, fmt.Errorf("%w: %w: no client has this ServiceAccount", ErrNoCredential, ErrRejected)
	}
	return policy.Caller{
		Name: found.Name, Namespace: namespace, How: "serviceAccount", Account: name,
		Operator: found.Operator, OperatorOnly: found.OperatorOnly,
	}, nil
}
