package e2e

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/quaygen/quaygen/e2e/authority"
	"github.com/quaygen/quaygen/e2e/cluster"
	"github.com/quaygen/quaygen/e2e/product"
	"github.com/quaygen/quaygen/e2e/pull"
)

// storyTimeout bounds one story once its parts run.
const storyTimeout = 4 * time.Minute

// configuration has times in which a whole rotation can be watched; they are safe for nothing else.
const configuration = `apiVersion: quaygen.dev/v1alpha1
kind: GeneratorConfig
instance: e2e
registries:
- {name: quay, url: %q, tokenFile: %q, caFile: %q, limits: {qps: 50, burst: 50}}
robots:
- name: prod-puller
  registry: quay
  organization: myorg
  robot: k8s_prod_puller
  permissions: {repositories: [{name: my-app}, {name: backend-api}]}
  rotation: {strategy: overlap, every: 20s, overlap: 9s, drain: {quiet: 4s, max: 15s}}
  maxRefresh: 2s
- name: team-b-puller
  registry: quay
  organization: myorg
  robot: k8s_team_b
  permissions: {repositories: [{name: my-app}]}
  rotation: {strategy: overlap, every: 20s, overlap: 9s, drain: {quiet: 4s, max: 15s}}
  maxRefresh: 2s
clients:
- {name: eso, bearerTokenFile: %q, namespaceFrom: request}
- {name: team-a, bearerTokenFile: %q, namespace: prod-team-a}
- {name: team-b, bearerTokenFile: %q, namespace: prod-team-b}
rules:
- {clients: [eso, team-a], namespaces: ["prod-*"], names: [prod-puller]}
- {clients: [team-b], namespaces: [prod-team-b], names: [team-b-puller]}
server: {http: {listen: "127.0.0.1:0"}, admin: {listen: "127.0.0.1:0"}, tls: {certFile: %q, keyFile: %q}}
sync: 500ms
safety: {settle: 3s, stepDeadline: 2s, clockAllowance: 1s, allowUnsafeTiming: true}
`

// A stage is Quay, the service and ESO with the shipped store, for one story.
type stage struct {
	t       *testing.T
	ctx     context.Context
	c       *cluster.Cluster
	quay    *product.Quay
	service *product.Service
	gen     *product.Generator
	start   func() *product.Generator
	ca      []byte
	team    map[string]string // bearer tokens by namespace
}

func setStage(t *testing.T) *stage {
	t.Helper()
	c := shared(t)
	operator(t, c, "--concurrent", "10")
	ctx, cancel := context.WithTimeout(t.Context(), storyTimeout)
	t.Cleanup(cancel)
	dir := t.TempDir()
	ca, err := authority.New("quaygen-e2e")
	check(t, err)
	programs, err := product.Build(ctx, filepath.Join(dir, "bin"))
	check(t, err)
	s := &stage{t: t, ctx: ctx, c: c, ca: ca.CertPEM, team: map[string]string{"prod-team-a": rand.Text(), "prod-team-b": rand.Text()}}
	s.quay, err = programs.StartQuay(ctx, dir, ca)
	check(t, err)
	t.Cleanup(s.quay.Kill)
	pair, err := ca.Server("127.0.0.1")
	check(t, err)
	bearer := rand.Text()
	write := func(name string, content []byte) string {
		path := filepath.Join(dir, name)
		check(t, os.WriteFile(path, content, 0o600))
		return path
	}
	config := write("generator.yaml", fmt.Appendf(nil, configuration, s.quay.URL, s.quay.TokenFile, s.quay.CAFile,
		write("eso", []byte(bearer)), write("team-a", []byte(s.team["prod-team-a"])), write("team-b", []byte(s.team["prod-team-b"])), write("tls.crt", pair.CertPEM), write("tls.key", pair.KeyPEM)))
	s.service, err = product.NewService(ctx)
	check(t, err)
	t.Cleanup(s.service.Close)
	started := 0
	s.start = func() *product.Generator {
		started++
		g, err := programs.StartGenerator(ctx, config, filepath.Join(dir, fmt.Sprintf("generator-%d.log", started)))
		check(t, err)
		t.Cleanup(g.Kill)
		s.service.Use(g)
		return g
	}
	s.gen = s.start()
	makeNamespace(t, ctx, c, "quaygen")
	s.apply("", fmt.Sprintf(`
apiVersion: v1
kind: Secret
metadata: {name: quaygen-client, namespace: quaygen, labels: {external-secrets.io/type: webhook}}
stringData: {token: %q}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: quaygen-ca, namespace: quaygen}
data: {ca.crt: %q}
`, bearer, ca.CertPEM))
	s.shipped("clustersecretstore.yaml", nil)
	return s
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (s *stage) apply(namespace, manifest string) {
	s.t.Helper()
	check(s.t, s.c.Apply(s.ctx, namespace, []byte(manifest)))
}

// shipped applies a manifest of manifests/eso as it is, but for the service's address, the refresh interval and, where
// given, namespaces. It goes again with the story, since stores are the cluster's.
func (s *stage) shipped(file string, namespaces map[string]string) {
	s.t.Helper()
	s.shippedAs(file, func(manifest string) string {
		for from, to := range namespaces {
			manifest = strings.ReplaceAll(manifest, "namespace: "+from, "namespace: "+to)
		}
		return manifest
	})
}

// shippedAs applies a shipped manifest with a change of the story's own.
func (s *stage) shippedAs(file string, change func(string) string) {
	s.t.Helper()
	content, err := os.ReadFile(filepath.Join("..", "manifests", "eso", file))
	check(s.t, err)
	manifest := strings.NewReplacer("quaygen.quaygen.svc:8443", s.service.Address(), "refreshInterval: 15m", "refreshInterval: 1s").Replace(string(content))
	manifest = change(manifest)
	s.apply("", manifest)
	s.t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(s.t.Context()), stopTimeout)
		defer cancel()
		if err := s.c.Delete(ctx, "", []byte(manifest)); err != nil {
			s.t.Error(err)
		}
	})
}

// secret waits for a pull secret that holds accepts, and returns it.
func (s *stage) secret(namespace, name string, accept func(*corev1.Secret) bool) *corev1.Secret {
	s.t.Helper()
	var found *corev1.Secret
	await(s.t, s.ctx, s.c, cluster.Object{APIVersion: "v1", Kind: "Secret", Namespace: namespace, Name: name}, func(o *unstructured.Unstructured) bool {
		if o == nil {
			return false
		}
		var secret corev1.Secret
		if runtime.DefaultUnstructuredConverter.FromUnstructured(o.Object, &secret) != nil || !accept(&secret) {
			return false
		}
		found = &secret
		return true
	})
	return found
}

func typed(s *corev1.Secret) bool { return s.Type == corev1.SecretTypeDockerConfigJson }

func (s *stage) pull(secret *corev1.Secret) error {
	_, err := pull.Image(s.ctx, s.quay.Transport, secret, s.quay.Image("my-app"))
	return err
}

func (s *stage) pulls(secret *corev1.Secret) {
	s.t.Helper()
	check(s.t, s.pull(secret))
}

func TestAStoreMakesPullSecretsThatPullAndRotateWithoutAGap(t *testing.T) {
	s := setStage(t)
	makeNamespace(t, s.ctx, s.c, "prod-shop")
	s.shipped("externalsecret.yaml", nil)
	s.shipped("externalsecret-property.yaml", nil)
	old := s.secret("prod-shop", "quay-pull", typed)
	s.pulls(old)
	s.pulls(s.secret("prod-shop", "quay-pull-property", typed))

	// While the next generation comes up, what a node holds must pull at every moment.
	done, ended := context.WithCancel(s.ctx)
	failed := make(chan error, 1)
	go func() {
		tick := time.NewTicker(200 * time.Millisecond)
		defer tick.Stop()
		for {
			if err := s.pull(old); err != nil && done.Err() == nil {
				failed <- err
				return
			}
			select {
			case <-tick.C:
			case <-done.Done():
				failed <- nil
				return
			}
		}
	}()
	content := string(old.Data[corev1.DockerConfigJsonKey])
	fresh := s.secret("prod-shop", "quay-pull", func(x *corev1.Secret) bool { return typed(x) && string(x.Data[corev1.DockerConfigJsonKey]) != content })
	s.pulls(fresh)
	s.pulls(old)
	ended()
	if err := <-failed; err != nil {
		t.Fatalf("a pull failed during the rotation: %v", err)
	}
	s.until("the old credential is refused", func() bool { return s.gone() >= 1 })
	if err := s.pull(old); !errors.Is(err, pull.ErrRefused) {
		t.Errorf("the retired credential: %v", err)
	}
	s.pulls(s.secret("prod-shop", "quay-pull", typed))
}

// gone counts the robots that were retired; asking for it is no use of them.
func (s *stage) gone() int {
	s.t.Helper()
	robots, err := s.quay.Robots(s.ctx)
	check(s.t, err)
	n := 0
	for _, r := range robots {
		if !r.Deleted.IsZero() {
			n++
		}
	}
	return n
}

func (s *stage) until(what string, holds func() bool) {
	s.t.Helper()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-tick.C:
		case <-s.ctx.Done():
			s.t.Fatalf("waiting until %s: %v", what, s.ctx.Err())
		}
	}
}

func TestANamespaceThatNoRuleAllowsGetsNothingAndIsToldSo(t *testing.T) {
	s := setStage(t)
	makeNamespace(t, s.ctx, s.c, "dev-shop")
	s.shipped("externalsecret.yaml", map[string]string{"prod-shop": "dev-shop"})
	var told string
	s.until("an event says 403", func() bool {
		events, err := s.c.Resource("v1", "Event", "dev-shop")
		check(t, err)
		list, err := events.List(s.ctx, metav1.ListOptions{})
		check(t, err)
		for _, e := range list.Items {
			if told, _, _ = unstructured.NestedString(e.Object, "message"); strings.Contains(told, "403 Forbidden") {
				return true
			}
		}
		return false
	})
	t.Log(told)
	secrets, err := s.c.Resource("v1", "Secret", "dev-shop")
	check(t, err)
	if list, err := secrets.List(s.ctx, metav1.ListOptions{}); err != nil || len(list.Items) > 0 {
		t.Errorf("%d Secrets, %v", len(list.Items), err)
	}
}

func TestAClusterExternalSecretReachesLabelledNamespacesAndThoseAddedLater(t *testing.T) {
	s := setStage(t)
	label := func(name string) {
		s.apply("", "{apiVersion: v1, kind: Namespace, metadata: {name: "+name+", labels: {quaygen.dev/pull: prod-puller}}}")
	}
	names := []string{"prod-a", "prod-b", "prod-c"}
	for _, n := range names {
		label(n)
	}
	s.shipped("clusterexternalsecret.yaml", nil)
	for _, n := range names {
		s.pulls(s.secret(n, "quay-pull", typed))
	}
	label("prod-d")
	s.pulls(s.secret("prod-d", "quay-pull", typed))
}

func TestWithQuayDownAndTheServiceRestartedNoSecretIsLostAndAllHeals(t *testing.T) {
	s := setStage(t)
	makeNamespace(t, s.ctx, s.c, "prod-outage")
	s.shipped("externalsecret.yaml", map[string]string{"prod-shop": "prod-outage"})
	before := s.secret("prod-outage", "quay-pull", typed)
	s.pulls(before)
	check(t, s.quay.Down(s.ctx))
	s.gen.Kill()
	restarted := s.start()
	s.until("the restarted service says that it is not ready", func() bool {
		status, body, err := restarted.Ask(s.ctx, "/readyz")
		return err == nil && status == 503 && strings.Contains(body, "quay/quay/myorg failed")
	})
	external := cluster.Object{APIVersion: "external-secrets.io/v1", Kind: "ExternalSecret", Namespace: "prod-outage", Name: "quay-pull"}
	ready := cluster.Condition("Ready")
	await(t, s.ctx, s.c, external, func(o *unstructured.Unstructured) bool { return o != nil && !ready(o) })
	during := s.secret("prod-outage", "quay-pull", typed)
	if got := base64.StdEncoding.EncodeToString(during.Data[corev1.DockerConfigJsonKey]); got == "" {
		t.Error("the Secret was emptied")
	}
	if during.UID != before.UID {
		t.Error("the Secret was made anew")
	}
	check(t, s.quay.Up(s.ctx))
	await(t, s.ctx, s.c, external, ready)
	s.until("the Secret pulls again", func() bool { return s.pull(s.secret("prod-outage", "quay-pull", typed)) == nil })
}

func TestGeneratorsOfTwoTeamsNeverMixTheirCredentials(t *testing.T) {
	s := setStage(t)
	for namespace, token := range s.team {
		makeNamespace(t, s.ctx, s.c, namespace)
		s.apply(namespace, fmt.Sprintf(`
apiVersion: v1
kind: Secret
metadata: {name: quaygen-client, labels: {external-secrets.io/type: webhook}}
stringData: {token: %q, namespace: %q}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: quaygen-ca}
data: {ca.crt: %q}
`, token, namespace, s.ca))
	}
	s.shipped("webhook-generator.yaml", nil)
	s.shipped("clustergenerator.yaml", nil)
	own := strings.NewReplacer("prod-team-a", "prod-team-b", "pullsecrets/prod-puller", "pullsecrets/team-b-puller")
	s.shippedAs("webhook-generator.yaml", own.Replace)

	robots := map[string]string{"prod-team-a/quay-pull": "myorg+k8s_prod_puller_g", "prod-team-a/quay-pull-cluster": "myorg+k8s_prod_puller_g", "prod-team-b/quay-pull": "myorg+k8s_team_b_g"}
	// Each refreshes once a second, ten at a time; half a minute holds a rotation too.
	refreshed := map[string]map[string]bool{}
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); {
		for key, robot := range robots {
			namespace, name, _ := strings.Cut(key, "/")
			secret := s.secret(namespace, name, typed)
			auths := string(secret.Data[corev1.DockerConfigJsonKey])
			if !strings.Contains(auths, `"`+robot) {
				t.Fatalf("%s holds another robot than %s...", key, robot)
			}
			if refreshed[key] == nil {
				refreshed[key] = map[string]bool{}
				s.pulls(secret)
			}
			refreshed[key][secret.ResourceVersion] = true
		}
	}
	for key := range robots {
		if len(refreshed[key]) < 2 {
			t.Errorf("%s was never refreshed with something new", key)
		}
	}
}
