package e2e

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// byAccounts lets ServiceAccounts called builder ask, each for its own namespace.
const byAccounts = `
clients:
- {name: ci, serviceAccount: {audience: quaygen, namespaces: ["accounts-*"], names: [builder]}}
rules:
- {clients: [ci], namespaces: ["accounts-*"], names: [prod-puller]}
`

// TestServiceAccountsAskForTheirOwnNamespace tells of callers with Kubernetes' own tokens, which quaygen has the real API
// server review with no more rights than the shipped ClusterRole has.
func TestServiceAccountsAskForTheirOwnNamespace(t *testing.T) {
	c := shared(t)
	s := emptyStage(t)
	s.c = c
	t.Cleanup(s.look)
	s.makeNamespace("accounts-quaygen")
	s.apply("accounts-quaygen", rights(t, "accounts-quaygen", "ServiceAccount", "quaygen"))
	for _, kind := range []string{"ClusterRole", "ClusterRoleBinding"} {
		s.apply("", rights(t, "accounts-quaygen", kind, "quaygen-token-reviews"))
	}
	for _, namespace := range []string{"accounts-a", "accounts-b"} {
		s.makeNamespace(namespace)
		s.apply(namespace, "{apiVersion: v1, kind: ServiceAccount, metadata: {name: builder}}")
		s.apply(namespace, "{apiVersion: v1, kind: ServiceAccount, metadata: {name: other}}")
	}
	s.configure(byAccounts)
	s.start(s.kubeconfig("kubeconfig", s.account("accounts-quaygen", "quaygen")))

	a, b := s.tokenFor("accounts-a", "builder", "quaygen"), s.tokenFor("accounts-b", "builder", "quaygen")
	ask := func(what, token, namespace string, want int) {
		t.Helper()
		if got := s.askWith(token, namespace); got != want {
			t.Errorf("%s: %d, want %d", what, got, want)
		}
	}
	// The right to review takes effect in a moment, and so does the first pull secret.
	s.until("a ServiceAccount gets its pull secret", func() bool { return s.askWith(a, "accounts-a") == http.StatusOK })
	ask("another namespace's ServiceAccount", b, "accounts-b", http.StatusOK)
	ask("another namespace's URL", a, "accounts-b", http.StatusForbidden)
	ask("no namespace in the URL", a, "", http.StatusForbidden)
	ask("another ServiceAccount", s.tokenFor("accounts-a", "other", "quaygen"), "accounts-a", http.StatusUnauthorized)
	ask("a token for somebody else", s.tokenFor("accounts-a", "builder", "vault"), "accounts-a", http.StatusUnauthorized)
	ask("a token for several", s.tokenFor("accounts-a", "builder", "vault", "quaygen"), "accounts-a", http.StatusOK)
	ask("a token for the API server", s.tokenFor("accounts-a", "builder"), "accounts-a", http.StatusUnauthorized)
	ask("a token whose signature is another's", a[:strings.LastIndex(a, ".")]+b[strings.LastIndex(b, "."):], "accounts-a", http.StatusUnauthorized)

	// The API server issues no token for less than ten minutes; its key does.
	short := s.sign("accounts-b", "builder", 4*time.Second)
	ask("a token that ends soon", short, "accounts-b", http.StatusOK)
	s.until("it has expired", func() bool { return s.askWith(short, "accounts-b") == http.StatusUnauthorized })

	// Deleted: seen at once by a replica that has not asked about this token, and within a minute by the one that has.
	fresh := s.tokenFor("accounts-a", "builder", "quaygen")
	accounts, err := c.Resource("v1", "ServiceAccount", "accounts-a")
	check(t, err)
	began := time.Now()
	check(t, accounts.Delete(s.ctx, "builder", metav1.DeleteOptions{}))
	s.until("a deleted ServiceAccount's token gets nothing", func() bool { return s.askWith(fresh, "accounts-a") == http.StatusUnauthorized })
	s.until("nor does one that was known", func() bool { return s.askWith(a, "accounts-a") == http.StatusUnauthorized })
	if took := time.Since(began); took > time.Minute+10*time.Second {
		t.Errorf("that took %v", took)
	}
	s.say(began, "the deletion is seen")
	ask("one that is not deleted", b, "accounts-b", http.StatusOK)
}

// tokenFor has the API server issue a token for these audiences, or for itself if there are none.
func (s *stage) tokenFor(namespace, name string, audiences ...string) string {
	s.t.Helper()
	spec := map[string]any{}
	if len(audiences) > 0 {
		var list []any
		for _, audience := range audiences {
			list = append(list, audience)
		}
		spec["audiences"] = list
	}
	accounts, err := s.c.Resource("v1", "ServiceAccount", namespace)
	check(s.t, err)
	request := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "metadata": map[string]any{"name": name}, "spec": spec,
	}}
	answer, err := accounts.Create(s.ctx, request, metav1.CreateOptions{}, "token")
	check(s.t, err)
	token, _, err := unstructured.NestedString(answer.Object, "status", "token")
	check(s.t, err)
	known.credential("a token of a ServiceAccount", token)
	return token
}

// sign makes a token of a ServiceAccount with the key of the API server.
func (s *stage) sign(namespace, name string, lives time.Duration) string {
	s.t.Helper()
	accounts, err := s.c.Resource("v1", "ServiceAccount", namespace)
	check(s.t, err)
	account, err := accounts.Get(s.ctx, name, metav1.GetOptions{})
	check(s.t, err)
	text, err := os.ReadFile(filepath.Join(control.dir, "accounts.key"))
	check(s.t, err)
	block, _ := pem.Decode(text)
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	check(s.t, err)
	key, ok := parsed.(*ecdsa.PrivateKey)
	if !ok {
		s.t.Fatal("the key is of another kind")
	}
	now := time.Now()
	payload, err := json.Marshal(map[string]any{
		"iss": "https://kubernetes.default.svc", "sub": "system:serviceaccount:" + namespace + ":" + name, "aud": []string{"quaygen"},
		"iat": now.Unix(), "nbf": now.Unix(), "exp": now.Add(lives).Unix(),
		"kubernetes.io": map[string]any{"namespace": namespace, "serviceaccount": map[string]any{"name": name, "uid": string(account.GetUID())}},
	})
	check(s.t, err)
	encode := base64.RawURLEncoding.EncodeToString
	signed := encode([]byte(`{"alg":"ES256"}`)) + "." + encode(payload)
	digest := sha256.Sum256([]byte(signed))
	r, v, err := ecdsa.Sign(rand.Reader, key, digest[:])
	check(s.t, err)
	token := signed + "." + encode(append(r.FillBytes(make([]byte, 32)), v.FillBytes(make([]byte, 32))...))
	known.credential("a token of a ServiceAccount", token)
	return token
}

// askWith asks the last replica for the pull secret, and returns the status.
func (s *stage) askWith(token, namespace string) int {
	s.t.Helper()
	query := url.Values{}
	if namespace != "" {
		query.Set("namespace", namespace)
	}
	request, err := http.NewRequestWithContext(s.ctx, http.MethodGet, "https://"+s.replica.Address+"/v1/pullsecrets/prod-puller?"+query.Encode(), nil)
	check(s.t, err)
	request.Header.Set("Authorization", "Bearer "+token)
	transport := s.quay.Transport.Clone() // quaygen's certificate is of the same authority
	defer transport.CloseIdleConnections()
	response, err := (&http.Client{Transport: transport}).Do(request)
	check(s.t, err)
	_, err = io.Copy(io.Discard, response.Body)
	check(s.t, errors.Join(err, response.Body.Close()))
	return response.StatusCode
}
