package main

import (
	"log/slog"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/quaygen/quaygen/pkg/quaygen/auth"
	"github.com/quaygen/quaygen/pkg/quaygen/config"
	"github.com/quaygen/quaygen/pkg/quaygen/httpapi"
	"github.com/quaygen/quaygen/pkg/quaygen/policy"
)

// authenticator can be replaced under requests that use it.
type authenticator struct {
	current atomic.Pointer[auth.Authenticator]
}

func (a *authenticator) Authenticate(p auth.Presented) (policy.Caller, error) {
	return (*a.current.Load())(p)
}

// newGuard counts failed attempts, and reports addresses from which too many come.
func newGuard(log *slog.Logger, registerer prometheus.Registerer) *auth.Guard {
	failures := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "quaygen_authentication_failures_total", Help: "Requests whose caller is not known, by what was wrong.",
	}, []string{"reason"})
	for _, reason := range []string{auth.FailedNone, auth.FailedRejected, auth.FailedUnavailable, auth.FailedLimited} {
		failures.WithLabelValues(reason)
	}
	registerer.MustRegister(failures)
	return auth.NewGuard(auth.GuardConfig{
		Failed: func(reason string) { failures.WithLabelValues(reason).Inc() },
		Flooded: func(from string) {
			log.Warn("too many failed attempts to authenticate; further ones are not logged one by one", "from", from)
		},
	})
}

// authenticators knows the clients by their tokens, certificates and ServiceAccounts. reviewer is asked for only where
// there are some of the last kind.
func authenticators(c *config.Config, reviewer func() (*auth.Reviewer, error)) (auth.Authenticator, error) {
	var tokens []auth.BearerClient
	var certificates []auth.CertificateClient
	for _, client := range c.Clients {
		if client.BearerTokenFile != "" {
			tokens = append(tokens, auth.BearerClient{
				Name: client.Name, Namespace: client.Namespace, TokenFile: client.BearerTokenFile,
				Operator: client.Operator, OperatorOnly: client.OperatorOnly,
			})
		}
		if like := client.Certificate; !like.IsZero() {
			certificates = append(certificates, auth.CertificateClient{
				Name: client.Name, Namespace: client.Namespace, CommonName: like.CommonName, DNSNames: like.DNSNames, URIs: like.URIs,
				Operator: client.Operator, OperatorOnly: client.OperatorOnly,
			})
		}
	}
	byToken, err := auth.Bearer(tokens)
	if err != nil {
		return nil, err
	}
	byCertificate, err := auth.Certificates(certificates)
	if err != nil {
		return nil, err
	}
	accounts := accountClients(c)
	if len(accounts) == 0 {
		return auth.Agreed(byToken.Authenticate, byCertificate.Authenticate), nil
	}
	r, err := reviewer()
	if err != nil {
		return nil, err
	}
	byAccount, err := auth.ServiceAccounts(accounts, r)
	if err != nil {
		return nil, err
	}
	// One Authorization header holds one token: if it is in a client's file nobody else is asked.
	return auth.Agreed(auth.Chain(byToken.Authenticate, byAccount.Authenticate), byCertificate.Authenticate), nil
}

// accountClients are the clients that are known by their ServiceAccounts.
func accountClients(c *config.Config) (all []auth.ServiceAccountClient) {
	for _, client := range c.Clients {
		if like := client.ServiceAccount; !like.IsZero() {
			all = append(all, auth.ServiceAccountClient{
				Name: client.Name, Audience: like.Audience, Namespaces: like.Namespaces, Names: like.Names,
				Operator: client.Operator, OperatorOnly: client.OperatorOnly,
			})
		}
	}
	return all
}

// reviews makes the one Reviewer of a process when a configuration first asks for it.
type reviews struct {
	count *prometheus.CounterVec
	made  atomic.Pointer[auth.Reviewer]
}

func newReviews(registerer prometheus.Registerer) *reviews {
	r := &reviews{count: prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "quaygen_token_reviews_total", Help: "Tokens of ServiceAccounts that Kubernetes was asked about, by what it said. Answers from memory are not in it.",
	}, []string{"outcome"})}
	for _, outcome := range []string{auth.ReviewAccepted, auth.ReviewRefused, auth.ReviewFailed, auth.ReviewLimited} {
		r.count.WithLabelValues(outcome)
	}
	registerer.MustRegister(r.count)
	return r
}

// reviewer is called by one goroutine at a time: whoever applies configurations.
func (r *reviews) reviewer() (*auth.Reviewer, error) {
	if made := r.made.Load(); made != nil {
		return made, nil
	}
	api, err := kubernetes("serviceAccount of a client")
	if err != nil {
		return nil, err
	}
	made, err := auth.NewReviewer(auth.ReviewerConfig{API: api, Observe: func(outcome string) { r.count.WithLabelValues(outcome).Inc() }})
	if err != nil {
		return nil, err
	}
	r.made.Store(made)
	return made, nil
}

// checks says whether tokens can be reviewed. That they cannot makes no replica unready: other clients go on.
func (r *reviews) checks() []httpapi.Check {
	made := r.made.Load()
	if made == nil {
		return nil
	}
	c := httpapi.Check{Name: "token-reviews"}
	if err := made.Err(); err != nil {
		c.Note = "the last one failed: " + firstLine(err)
	}
	return []httpapi.Check{c}
}
