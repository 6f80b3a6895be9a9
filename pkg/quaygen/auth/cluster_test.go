package auth_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	"k8s.io/client-go/rest"

	"github.com/quaygen/quaygen/pkg/quaygen/auth"
)

// cluster is what a Reviewer needs of an API server, in the same process: within a bubble no time passes on the way to it.
// e2e shows that the real one behaves like it.
type cluster struct {
	mu      sync.Mutex
	tokens  map[string]authenticationv1.TokenReviewStatus
	status  int           // answer this instead; 0: review
	down    bool          // connections are refused
	asked   []string      // tokens, in the order they came in
	holding chan struct{} // answer no sooner than it is closed; nil: at once

	counts map[string]int // of outcomes
}

func newCluster(t *testing.T) (*cluster, *auth.Reviewer) {
	t.Helper()
	c := &cluster{tokens: map[string]authenticationv1.TokenReviewStatus{}, counts: map[string]int{}}
	r, err := auth.NewReviewer(auth.ReviewerConfig{API: &rest.Config{Host: "http://api.test", Transport: c}, Observe: func(outcome string) {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.counts[outcome]++
	}})
	if err != nil {
		t.Fatal(err)
	}
	return c, r
}

// issue makes a token that the API server accepts, for at most as long as it lives.
func (c *cluster) issue(namespace, name string, lives time.Duration, audiences ...string) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	username := "system:serviceaccount:" + namespace + ":" + name
	token := jwt(username, time.Now().Add(lives).Unix(), "signature-"+strconv.Itoa(len(c.tokens)), audiences...)
	c.tokens[token] = authenticationv1.TokenReviewStatus{
		Authenticated: true, User: authenticationv1.UserInfo{Username: username}, Audiences: audiences,
	}
	return token
}

// jwt makes a token of which nothing but the form is right.
func jwt(subject string, expires int64, signature string, audiences ...string) string {
	payload, _ := json.Marshal(map[string]any{"sub": subject, "aud": audiences, "exp": expires, "iss": "https://kubernetes.default.svc"})
	encode := base64.RawURLEncoding.EncodeToString
	return encode([]byte(`{"alg":"RS256"}`)) + "." + encode(payload) + "." + signature
}

func (c *cluster) set(change func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	change()
}

func (c *cluster) reviews() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.asked)
}

// RoundTrip answers as the API server does: of the audiences asked about it names those that the token is for.
func (c *cluster) RoundTrip(r *http.Request) (*http.Response, error) {
	var review authenticationv1.TokenReview
	if r.Method != http.MethodPost || r.URL.Path != "/apis/authentication.k8s.io/v1/tokenreviews" || json.NewDecoder(r.Body).Decode(&review) != nil {
		return respond(http.StatusNotFound, map[string]any{"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "code": 404}), nil
	}
	c.mu.Lock()
	c.asked = append(c.asked, review.Spec.Token)
	holding, down, status, answer := c.holding, c.down, c.status, c.tokens[review.Spec.Token]
	c.mu.Unlock()
	if holding != nil {
		select {
		case <-holding:
		case <-r.Context().Done():
			return nil, r.Context().Err()
		}
	}
	switch {
	case down:
		return nil, errors.New("connection refused")
	case status != 0:
		return respond(status, map[string]any{
			"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": http.StatusText(status), "code": status,
			"message": "no: " + review.Spec.Token,
		}), nil
	}
	answer.Audiences = slices.DeleteFunc(slices.Clone(answer.Audiences), func(audience string) bool {
		return audience != "everything" && !slices.Contains(review.Spec.Audiences, audience)
	})
	if len(answer.Audiences) == 0 && answer.User.Username != "" && answer.Error == "" {
		answer = authenticationv1.TokenReviewStatus{Error: "token audiences are invalid: " + review.Spec.Token}
	}
	review.Status = answer
	review.Kind, review.APIVersion = "TokenReview", "authentication.k8s.io/v1"
	return respond(http.StatusCreated, review), nil
}

func respond(status int, content any) *http.Response {
	body, _ := json.Marshal(content)
	return &http.Response{
		StatusCode: status, ProtoMajor: 1, ProtoMinor: 1, Header: http.Header{"Content-Type": {"application/json"}},
		Body: io.NopCloser(bytes.NewReader(body)), ContentLength: int64(len(body)),
	}
}
