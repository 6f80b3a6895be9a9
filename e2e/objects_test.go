package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/quaygen/quaygen/e2e/cluster"
	"github.com/quaygen/quaygen/e2e/pull"
)

func externalSecret(namespace, name string) cluster.Object {
	return cluster.Object{APIVersion: "external-secrets.io/v1", Kind: "ExternalSecret", Namespace: namespace, Name: name}
}

func secretObject(namespace, name string) cluster.Object {
	return cluster.Object{APIVersion: "v1", Kind: "Secret", Namespace: namespace, Name: name}
}

func (s *stage) apply(namespace, manifest string) {
	s.t.Helper()
	check(s.t, s.c.Apply(s.ctx, namespace, []byte(manifest)))
}

func (s *stage) makeNamespace(name string, labels ...string) {
	s.t.Helper()
	s.apply("", fmt.Sprintf("{apiVersion: v1, kind: Namespace, metadata: {name: %s, labels: {%s}}}", name, strings.Join(labels, ", ")))
	s.namespaces[name] = true
}

// token makes the Secret in which ESO finds a client's token. ESO looks only at
// Secrets with this label.
func (s *stage) token(namespace, client string) {
	s.t.Helper()
	s.apply(namespace, fmt.Sprintf(`{apiVersion: v1, kind: Secret, metadata: {name: quaygen-client, labels: {external-secrets.io/type: webhook}},
		stringData: {token: %q, namespace: %q}}`, s.bearers[client], namespace))
}

// trust makes the ConfigMap that says whose certificates quaygen has.
func (s *stage) trust(namespace string) {
	s.t.Helper()
	s.apply(namespace, fmt.Sprintf("{apiVersion: v1, kind: ConfigMap, metadata: {name: quaygen-ca}, data: {ca.crt: %q}}", s.ca.CertPEM()))
}

// shipped applies a file of manifests/eso, as applied does.
func (s *stage) shipped(file string, swaps ...string) {
	s.t.Helper()
	content, err := os.ReadFile(filepath.Join("..", "manifests", "eso", file))
	check(s.t, err)
	s.applied(file, string(content), swaps...)
}

// applied applies what is shipped as it is, but for the service's address, the
// refresh interval, and what swaps says: pairs of an old and a new text, mostly
// names. It is removed again with the story.
func (s *stage) applied(what, content string, swaps ...string) {
	s.t.Helper()
	for i := 0; i < len(swaps); i += 2 {
		if !strings.Contains(content, swaps[i]) {
			s.t.Fatalf("%s has no %q", what, swaps[i])
		}
	}
	swaps = append([]string{"quaygen.quaygen.svc:8443", s.service.Address(), "refreshInterval: 15m", "refreshInterval: 1s"}, swaps...)
	manifest := strings.NewReplacer(swaps...).Replace(content)
	s.apply("", manifest)
	s.t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(s.t.Context()), cleanTimeout)
		defer cancel()
		if err := s.c.Delete(ctx, "", []byte(manifest)); err != nil {
			s.t.Error(err)
		}
	})
}

// store applies the chart's ClusterSecretStore and waits until ESO takes it.
func (s *stage) store() {
	s.t.Helper()
	s.applied("the chart's store", charted(s.t, "values.yaml", "quaygen", "ClusterSecretStore", "quaygen"))
	store := cluster.Object{APIVersion: "external-secrets.io/v1", Kind: "ClusterSecretStore", Name: "quaygen"}
	await(s.t, s.ctx, s.c, store, cluster.Condition("Ready"))
}

// secret waits for a pull secret of the right type, and returns it.
func (s *stage) secret(namespace, name string) *corev1.Secret {
	s.t.Helper()
	var secret *corev1.Secret
	await(s.t, s.ctx, s.c, secretObject(namespace, name), func(o *unstructured.Unstructured) bool {
		var err error
		secret, err = asSecret(o)
		return err == nil
	})
	return secret
}

var errNoPullSecret = errors.New("no pull secret")

// asSecret converts a pull secret. What is in it must never be logged.
func asSecret(o *unstructured.Unstructured) (*corev1.Secret, error) {
	if o == nil {
		return nil, errNoPullSecret
	}
	secret := &corev1.Secret{}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(o.Object, secret); err != nil {
		return nil, err
	}
	if secret.Type != corev1.SecretTypeDockerConfigJson || len(secret.Data[corev1.DockerConfigJsonKey]) == 0 {
		return nil, errNoPullSecret
	}
	entry, err := pull.Entry(secret)
	if err != nil {
		return nil, err
	}
	known.credential("the token of "+entry.Username, entry.Password)
	known.credential("the login of "+entry.Username, entry.Username+":"+entry.Password)
	return secret, nil
}

// robot returns the robot whose credential a pull secret holds.
func (s *stage) robot(secret *corev1.Secret) string {
	s.t.Helper()
	entry, err := pull.Entry(secret)
	check(s.t, err)
	return entry.Username
}

func (s *stage) pull(secret *corev1.Secret, repository string) error {
	_, err := pull.Image(s.ctx, s.quay.Transport, secret, s.quay.Image(repository))
	return err
}

// pulls demands that a pull secret pulls from each of these repositories.
func (s *stage) pulls(secret *corev1.Secret, repositories ...string) {
	s.t.Helper()
	for _, repository := range repositories {
		digest, err := pull.Image(s.ctx, s.quay.Transport, secret, s.quay.Image(repository))
		if err != nil {
			s.t.Errorf("%s/%s: %v", secret.Namespace, secret.Name, err)
			continue
		}
		s.t.Logf("%s/%s pulled %s as %s: %s", secret.Namespace, secret.Name, repository, s.robot(secret), digest)
	}
}

// refuses demands that Quay refuses a pull secret for these repositories.
func (s *stage) refuses(secret *corev1.Secret, repositories ...string) {
	s.t.Helper()
	for _, repository := range repositories {
		if err := s.pull(secret, repository); !errors.Is(err, pull.ErrRefused) {
			s.t.Errorf("%s/%s on %s: %v, want a refusal", secret.Namespace, secret.Name, repository, err)
		}
	}
}

// holdsNone demands that a namespace has no pull secret.
func (s *stage) holdsNone(namespace string) {
	s.t.Helper()
	secrets, err := s.c.Resource("v1", "Secret", namespace)
	check(s.t, err)
	list, err := secrets.List(s.ctx, metav1.ListOptions{FieldSelector: "type=" + string(corev1.SecretTypeDockerConfigJson)})
	check(s.t, err)
	for _, o := range list.Items {
		s.t.Errorf("Secret %s/%s exists", namespace, o.GetName())
	}
}

// refreshTime is when ESO last had an answer for an ExternalSecret, in whole
// seconds; zero before the first.
func refreshTime(o *unstructured.Unstructured) time.Time {
	if o == nil {
		return time.Time{}
	}
	text, _, _ := unstructured.NestedString(o.Object, "status", "refreshTime")
	at, _ := time.Parse(time.RFC3339, text)
	return at
}

// refreshed waits until an ExternalSecret was refreshed after a time, and is Ready.
func (s *stage) refreshed(o cluster.Object, after time.Time) {
	s.t.Helper()
	await(s.t, s.ctx, s.c, o, func(o *unstructured.Unstructured) bool {
		return cluster.Condition("Ready")(o) && refreshTime(o).After(after)
	})
}

// failing waits until ESO says that an ExternalSecret is not Ready.
func (s *stage) failing(o cluster.Object) {
	s.t.Helper()
	await(s.t, s.ctx, s.c, o, func(o *unstructured.Unstructured) bool {
		_, has, _ := unstructured.NestedSlice(o.Object, "status", "conditions")
		return has && !cluster.Condition("Ready")(o)
	})
}
