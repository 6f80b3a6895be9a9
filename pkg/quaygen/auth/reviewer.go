package auth

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/singleflight"
	"golang.org/x/time/rate"
	authenticationv1 "k8s.io/api/authentication/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/client-go/rest"

	"github.com/quaygen/quaygen/pkg/quaygen/secret"
)

// How long an answer of the API server counts, and how much it is asked.
const (
	acceptedFor = time.Minute      // at most: a token's own end comes first
	refusedFor  = 10 * time.Second // a token may be used before every API server has its signing key
	reviewTime  = 3 * time.Second  // for one review, the wait for its turn included

	reviewsPerSecond = 20
	guessesPerSecond = 2 // of these, for addresses that have failed too often
	reviewsAtOnce    = 8
	maxVerdicts      = 1024
)

// Reviewer asks the API server of Kubernetes whose tokens are (TokenReview), and remembers what it said for a short
// time. It takes the right to create tokenreviews. A Reviewer outlives configurations; make one with [NewReviewer].
type Reviewer struct {
	client  *rest.RESTClient
	observe func(outcome string)
	flights singleflight.Group
	turns   *rate.Limiter
	guesses *rate.Limiter
	atOnce  chan struct{}
	problem atomic.Pointer[error]

	mu       sync.Mutex // guards what follows
	verdicts map[verdictKey]verdict
}

// The outcomes of reviews that [ReviewerConfig].Observe is told.
const (
	ReviewAccepted = "accepted" // the token is valid for an audience of ours
	ReviewRefused  = "refused"  // it is not
	ReviewFailed   = "failed"   // the API server did not say
	ReviewLimited  = "limited"  // it was not asked: too many tokens were to be reviewed
)

// ReviewerConfig says whom to ask.
type ReviewerConfig struct {
	API     *rest.Config         // the API server, and who we are there
	Observe func(outcome string) // told of each review, not of answers from memory; nil: nobody is
}

// verdictKey does not hold the token, which would lie around in memory.
type verdictKey struct {
	hash      [sha256.Size]byte
	audiences string // that were asked about
}

// verdict is what the API server said. Zero but for until: the token is not accepted.
type verdict struct {
	account   account
	audiences []string // of those asked about, the ones that the token is for; empty: not accepted
	until     time.Time
}

// NewReviewer does not talk to the API server yet.
func NewReviewer(c ReviewerConfig) (*Reviewer, error) {
	// A client of this one kind, which links no other.
	scheme := runtime.NewScheme()
	if err := authenticationv1.AddToScheme(scheme); err != nil {
		return nil, fmt.Errorf("preparing reviews of tokens: %w", err)
	}
	metav1.AddToGroupVersion(scheme, schema.GroupVersion{Version: "v1"}) // errors are of this kind
	api := rest.CopyConfig(c.API)
	api.APIPath = "/apis"
	api.GroupVersion = &authenticationv1.SchemeGroupVersion
	api.NegotiatedSerializer = serializer.NewCodecFactory(scheme).WithoutConversion()
	api.ContentType, api.AcceptContentTypes = runtime.ContentTypeJSON, runtime.ContentTypeJSON
	api.QPS = -1 // the limit is ours
	client, err := rest.RESTClientFor(api)
	if err != nil {
		return nil, fmt.Errorf("preparing reviews of tokens: %w", err)
	}
	r := &Reviewer{
		client:   client,
		observe:  c.Observe,
		turns:    rate.NewLimiter(reviewsPerSecond, 2*reviewsPerSecond),
		guesses:  rate.NewLimiter(guessesPerSecond, guessesPerSecond),
		atOnce:   make(chan struct{}, reviewsAtOnce),
		verdicts: make(map[verdictKey]verdict),
	}
	if r.observe == nil {
		r.observe = func(string) {}
	}
	return r, nil
}

// Err returns why the API server did not answer the last review, nil if it did. It is for health reports.
func (r *Reviewer) Err() error {
	if err := r.problem.Load(); err != nil {
		return *err
	}
	return nil
}

// question is what a review is to find out.
type question struct {
	token     secret.String
	audiences []string
	expires   time.Time // as the token says
	guess     bool      // it comes from where many were that are none

	told func(start time.Time, outcome string) // of the outcome; nil: nobody is
}

// review returns what the API server says, or said a short time ago, of a token. Requests with the same token wait for one
// review. The error wraps [ErrUnavailable].
func (r *Reviewer) review(q question) (verdict, error) {
	key := verdictKey{sha256.Sum256([]byte(q.token.Reveal())), strings.Join(q.audiences, "\n")}
	if known, ok := r.remembered(key); ok {
		return known, nil
	}
	start := time.Now()
	// Nobody's request bounds a review that others wait for; reviewTime does.
	answer, err, _ := r.flights.Do(string(key.hash[:])+key.audiences, func() (any, error) {
		if known, ok := r.remembered(key); ok { // the flight before this one
			return known, nil
		}
		fresh, err := r.ask(q)
		if err == nil {
			r.remember(key, fresh)
		}
		return fresh, err
	})
	v, ok := answer.(verdict)
	if err == nil && !ok {
		err = errors.New("internal error: a review without a verdict")
	}
	if q.told != nil {
		q.told(start, outcome(v, err))
	}
	return v, err
}

// outcome is what became of a review, in a word.
func outcome(v verdict, err error) string {
	switch {
	case errors.Is(err, errBusy):
		return ReviewLimited
	case err != nil:
		return ReviewFailed
	case len(v.audiences) == 0:
		return ReviewRefused
	}
	return ReviewAccepted
}

// errBusy tells that the API server was not asked.
var errBusy = errors.New("too many tokens are to be reviewed")

func (r *Reviewer) remembered(key verdictKey) (verdict, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	v, ok := r.verdicts[key]
	return v, ok && time.Now().Before(v.until)
}

// remember makes room if it has to: what has ended goes, and if that is nothing, what ends first: mostly a refusal.
func (r *Reviewer) remember(key verdictKey, v verdict) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.verdicts) >= maxVerdicts {
		now, first := time.Now(), verdictKey{}
		for k, old := range r.verdicts {
			if !now.Before(old.until) {
				delete(r.verdicts, k)
				continue
			}
			if at, ok := r.verdicts[first]; !ok || old.until.Before(at.until) {
				first = k
			}
		}
		if len(r.verdicts) >= maxVerdicts {
			delete(r.verdicts, first)
		}
	}
	r.verdicts[key] = v
}

// ask reviews a token now.
func (r *Reviewer) ask(q question) (verdict, error) {
	ctx, cancel := context.WithTimeout(context.Background(), reviewTime)
	defer cancel()
	if err := r.turn(ctx, q.guess); err != nil {
		r.observe(ReviewLimited)
		return verdict{}, fmt.Errorf("%w: %w: %w", ErrUnavailable, errBusy, err)
	}
	defer func() { <-r.atOnce }()
	var answer authenticationv1.TokenReview
	err := r.client.Post().Resource("tokenreviews").MaxRetries(0).Body(&authenticationv1.TokenReview{
		Spec: authenticationv1.TokenReviewSpec{Token: q.token.Reveal(), Audiences: q.audiences},
	}).Do(ctx).Into(&answer)
	if err != nil {
		// An API server's own words could quote what it was sent.
		err = fmt.Errorf("%w: the API server did not review a token: %w", ErrUnavailable, withoutWords(err))
		r.problem.Store(&err)
		r.observe(ReviewFailed)
		return verdict{}, err
	}
	r.problem.Store(nil)
	v := judge(answer.Status, q.audiences, q.expires)
	r.observe(outcome(v, nil))
	return v, nil
}

// turn waits until another review may be sent. Its place is given back by receiving from atOnce. What may be a guess waits
// for its own turn first, so that guesses leave room for others.
func (r *Reviewer) turn(ctx context.Context, guess bool) error {
	if guess {
		if err := r.guesses.Wait(ctx); err != nil {
			return err
		}
	}
	if err := r.turns.Wait(ctx); err != nil {
		return err
	}
	select {
	case r.atOnce <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// judge accepts a token that is a ServiceAccount's and for an audience of ours. A server that does not know of audiences
// names none, and would accept a token that is for somebody else.
func judge(status authenticationv1.TokenReviewStatus, asked []string, expires time.Time) verdict {
	now := time.Now()
	v := verdict{until: now.Add(refusedFor)}
	who, ok := parseAccount(status.User.Username)
	if !status.Authenticated || status.Error != "" || !ok {
		return v
	}
	for _, audience := range status.Audiences {
		for _, ours := range asked {
			if audience == ours {
				v.audiences = append(v.audiences, audience)
			}
		}
	}
	if len(v.audiences) == 0 {
		return v
	}
	v.account, v.until = who, now.Add(acceptedFor)
	if expires.Before(v.until) {
		v.until = expires
	}
	return v
}

// withoutWords reduces an answer of the API server to its status; an error on the way to it stays as it is.
func withoutWords(err error) error {
	status, ok := errors.AsType[*apierrors.StatusError](err)
	switch {
	case !ok:
		return err
	case apierrors.IsForbidden(err):
		return errors.New("it is forbidden: quaygen's ServiceAccount needs the right to create tokenreviews")
	}
	return fmt.Errorf("it answers %d (%s)", status.ErrStatus.Code, status.ErrStatus.Reason)
}
