package main

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/quaygen/quaygen/pkg/quaygen"
	"github.com/quaygen/quaygen/pkg/quaygen/config"
)

// apiServer vouches for the tokens that it has issued, as long as it is not away.
type apiServer struct {
	issued   sync.Map    // token → vouched
	away     atomic.Bool // it answers with errors
	gullible atomic.Bool // it takes what a token says of itself for true, whoever signed it
	asked    atomic.Int64
}

// vouched is what the API server knows of a token.
type vouched struct {
	username  string
	audiences []string
}

// issue makes a token of a ServiceAccount. The signature tells it from others that say the same.
func (s *apiServer) issue(namespace, name, signature string, audiences ...string) string {
	token := accountToken(namespace, name, signature, time.Hour, audiences...)
	s.issued.Store(token, vouched{"system:serviceaccount:" + namespace + ":" + name, audiences})
	return token
}

func (s *apiServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var review struct {
		Spec struct {
			Token     string   `json:"token"`
			Audiences []string `json:"audiences"`
		} `json:"spec"`
	}
	s.asked.Add(1)
	if s.away.Load() || r.URL.Path != "/apis/authentication.k8s.io/v1/tokenreviews" || json.NewDecoder(r.Body).Decode(&review) != nil {
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusCreated)
	_ = json.NewEncoder(w).Encode(map[string]any{
		"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "status": s.review(review.Spec.Token, review.Spec.Audiences),
	})
}

// review names those of the audiences asked about that the token is for, as the real one does.
func (s *apiServer) review(token string, asked []string) map[string]any {
	found, ok := s.issued.Load(token)
	known, _ := found.(vouched)
	if !ok && s.gullible.Load() {
		known, ok = saidBy(token), true
	}
	audiences := slices.DeleteFunc(slices.Clone(known.audiences), func(audience string) bool { return !slices.Contains(asked, audience) })
	if !ok || len(audiences) == 0 {
		return map[string]any{"authenticated": false, "error": "it is not accepted: " + token}
	}
	return map[string]any{"authenticated": true, "audiences": audiences, "user": map[string]any{"username": known.username}}
}

// accountToken makes a token of a ServiceAccount that nobody has signed.
func accountToken(namespace, name, signature string, lives time.Duration, audiences ...string) string {
	payload, _ := json.Marshal(map[string]any{"sub": "system:serviceaccount:" + namespace + ":" + name, "aud": audiences, "exp": time.Now().Add(lives).Unix()})
	encode := base64.RawURLEncoding.EncodeToString
	return encode([]byte(`{"alg":"RS256"}`)) + "." + encode(payload) + "." + signature
}

// saidBy is what a token says of itself.
func saidBy(token string) vouched {
	var said struct {
		Subject   string   `json:"sub"`
		Audiences []string `json:"aud"`
	}
	payload, err := base64.RawURLEncoding.DecodeString(strings.Split(token, ".")[1])
	if err == nil {
		_ = json.Unmarshal(payload, &said)
	}
	return vouched{said.Subject, said.Audiences}
}

// kubeconfig is what the environment variable KUBECONFIG names, of an API server at url.
func kubeconfig(url string) string {
	return fmt.Sprintf(`{"apiVersion": "v1", "kind": "Config", "current-context": "c", "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
		"clusters": [{"name": "c", "cluster": {"server": %q}}], "users": [{"name": "u", "user": {}}]}`, url)
}

// withAPIServer gives the process an API server, by the environment, and a client that needs it.
func (p *process) withAPIServer(s http.Handler) {
	p.t.Helper()
	listener := httptest.NewServer(s)
	p.t.Cleanup(listener.Close)
	p.write("kubeconfig", kubeconfig(listener.URL))
	p.t.Setenv("KUBECONFIG", p.dir+"/kubeconfig")
	p.edit("clients: [", "clients: [{name: ci, serviceAccount: {audience: quaygen}}, ")
	p.edit("clients: [eso]", "clients: [eso, ci]")
}

func TestAClientIsKnownByItsServiceAccount(t *testing.T) {
	p, s := newProcess(t), &apiServer{}
	good := s.issue("prod-a", "builder", "good", "quaygen")
	madeUp := func(signature string) string {
		return accountToken("prod-a", "builder", signature, time.Hour, "quaygen")
	}
	p.words = append(p.words, good, p.token()) // the latter stays the last
	p.withAPIServer(s)
	p.start()
	p.ready()
	p.until("there is a pull secret", func() bool { status, _ := p.ask(p.token()); return status == http.StatusOK })
	if s.asked.Load() != 0 {
		t.Error("the API server was asked about a token in a client's file")
	}
	for range 3 {
		if status, body := p.ask(good); status != http.StatusOK {
			t.Errorf("%d %s", status, body)
		}
	}
	if status, body := p.ask(madeUp("made-up")); status != http.StatusUnauthorized {
		t.Errorf("a token that was made up: %d %s", status, body)
	}
	if n := s.asked.Load(); n != 2 {
		t.Errorf("the API server was asked %d times", n)
	}
	s.away.Store(true)
	if status, body := p.ask(madeUp("another")); status != http.StatusServiceUnavailable || !strings.Contains(body, "ask again") {
		t.Errorf("with the API server away: %d %s", status, body)
	}
	if status, _ := p.ask(good); status != http.StatusOK {
		t.Errorf("a known caller with the API server away: %d", status)
	}
	if status, body := p.admin("/readyz?verbose"); status != http.StatusOK || !strings.Contains(body, "token-reviews ok: the last one failed: ") {
		t.Errorf("%d %s", status, body)
	}
	_, text := p.admin("/metrics")
	for _, line := range []string{`quaygen_token_reviews_total{outcome="accepted"} 1`, `quaygen_token_reviews_total{outcome="refused"} 1`, `quaygen_token_reviews_total{outcome="failed"} 1`} {
		if !strings.Contains(text, line+"\n") {
			t.Errorf("no %s", line)
		}
	}

	// A reload keeps what is known.
	p.edit("namespaces: [\"prod-*\"]", "namespaces: [\"prod-*\", x]")
	p.logged(`(?s)configuration in use.*configuration in use`)
	if status, _ := p.ask(good); status != http.StatusOK {
		t.Errorf("after a reload: %d", status)
	}
}

func TestServiceAccountsNeedACluster(t *testing.T) {
	p := newProcess(t)
	t.Setenv("KUBECONFIG", p.dir+"/absent")
	t.Setenv("KUBERNETES_SERVICE_HOST", "")
	p.edit("clients: [", "clients: [{name: ci, serviceAccount: {audience: quaygen}}, ")
	if code := run(t.Context(), []string{"serve", "--config", p.dir + "/generator.yaml"}, p, p); code != exitFailed {
		t.Errorf("exit code %d", code)
	}
	if log := p.log.String(); !strings.Contains(log, "serviceAccount of a client needs a cluster") {
		t.Error(log)
	}
}

func TestGuessingTokensKeepsNobodyWithAGoodOneOut(t *testing.T) {
	p := newProcess(t)
	p.start()
	p.ready()
	p.until("there is a pull secret", func() bool { status, _ := p.ask(p.token()); return status == http.StatusOK })
	seen := map[int]int{}
	for i := 0; seen[http.StatusTooManyRequests] < 10 && i < 1000; i++ { // each over a connection of its own
		status, _ := p.ask(fmt.Sprintf("no-client-has-this-token-%d", i))
		seen[status]++
		if i%10 != 0 {
			continue
		}
		if status, body := p.ask(p.token()); status != http.StatusOK {
			t.Errorf("a good token meanwhile: %d %s", status, body)
		}
	}
	if seen[http.StatusTooManyRequests] < 10 || seen[http.StatusUnauthorized] < 60 || len(seen) != 2 {
		t.Errorf("guesses were answered %v", seen)
	}
	p.logged(`msg="too many failed attempts to authenticate; further ones are not logged one by one" from=127.0.0.1/32`)
	p.mu.Lock()
	defer p.mu.Unlock()
	if n := strings.Count(p.log.String(), "caller not authenticated"); n != seen[http.StatusUnauthorized] {
		t.Errorf("%d lines for %d failures", n, seen[http.StatusUnauthorized])
	}
}

func TestAClientWithoutLimitsHasTheDefaultOnes(t *testing.T) {
	p := newProcess(t)
	c, err := config.Options{SkipFiles: true}.Load(p.dir + "/generator.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if got := settings(c).Limits["eso"]; got != quaygen.DefaultLimits() {
		t.Errorf("%+v, want %+v", got, quaygen.DefaultLimits())
	}
}
