package e2e

import (
	"context"
	"encoding/base64"
	"fmt"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/quaygen/quaygen/e2e/cluster"
)

// smokeTimeout bounds what the parts do once they run: a few seconds, but the
// garbage collector learns of new kinds only every 30 seconds.
const smokeTimeout = 2 * time.Minute

const fakeStoreManifest = `
# Later documents need the earlier ones: Apply keeps the order.
apiVersion: external-secrets.io/v1
kind: ClusterSecretStore
metadata:
  name: smoke
spec:
  provider:
    fake:
      data:
      - {key: greeting, value: hello}
---
apiVersion: external-secrets.io/v1
kind: ExternalSecret
metadata:
  name: smoke
spec:
  refreshInterval: 1h
  secretStoreRef: {kind: ClusterSecretStore, name: smoke}
  target: {name: synced}
  data:
  - {secretKey: text, remoteRef: {key: greeting}}
`

// TestControlPlane proves the control plane before any story relies on it: a
// namespace gets its ServiceAccount, and is emptied when it goes.
func TestControlPlane(t *testing.T) {
	c := shared(t)
	ctx, cancel := context.WithTimeout(t.Context(), smokeTimeout)
	defer cancel()

	namespace := makeNamespace(t, ctx, c, "smoke-control-plane")
	account := cluster.Object{APIVersion: "v1", Kind: "ServiceAccount", Namespace: namespace.Name, Name: "default"}
	await(t, ctx, c, account, exists)

	remove(t, ctx, c, namespace)
	await(t, ctx, c, namespace, gone)
}

// TestOperator proves ESO: it fills a Secret, which is collected with the
// ExternalSecret that owns it.
func TestOperator(t *testing.T) {
	c := shared(t)
	operator(t, c, "--concurrent", "10")
	ctx, cancel := context.WithTimeout(t.Context(), smokeTimeout)
	defer cancel()

	namespace := makeNamespace(t, ctx, c, "smoke-operator")
	if err := c.Apply(ctx, namespace.Name, []byte(fakeStoreManifest)); err != nil {
		t.Fatal(err)
	}
	external := cluster.Object{APIVersion: "external-secrets.io/v1", Kind: "ExternalSecret", Namespace: namespace.Name, Name: "smoke"}
	await(t, ctx, c, external, cluster.Condition("Ready"))
	secret := cluster.Object{APIVersion: "v1", Kind: "Secret", Namespace: namespace.Name, Name: "synced"}
	synced := await(t, ctx, c, secret, exists)
	got, _, err := unstructured.NestedString(synced.Object, "data", "text")
	if want := base64.StdEncoding.EncodeToString([]byte("hello")); err != nil || got != want {
		t.Errorf("Secret has text %q (%v), want %q", got, err, want)
	}

	// ESO leaves the Secret of a deleted ExternalSecret to garbage collection.
	remove(t, ctx, c, external)
	await(t, ctx, c, secret, gone)
}

// makeNamespace makes a namespace for one test. Nobody has to remove it: the
// control plane goes with the test binary.
func makeNamespace(t *testing.T, ctx context.Context, c *cluster.Cluster, name string) cluster.Object {
	t.Helper()
	o := cluster.Object{APIVersion: "v1", Kind: "Namespace", Name: name}
	manifest := fmt.Appendf(nil, "{apiVersion: %s, kind: %s, metadata: {name: %s}}", o.APIVersion, o.Kind, o.Name)
	if err := c.Apply(ctx, "", manifest); err != nil {
		t.Fatal(err)
	}
	return o
}

func exists(o *unstructured.Unstructured) bool { return o != nil }

func gone(o *unstructured.Unstructured) bool { return o == nil }

func await(t *testing.T, ctx context.Context, c *cluster.Cluster, o cluster.Object, holds func(*unstructured.Unstructured) bool) *unstructured.Unstructured {
	t.Helper()
	found, err := c.Await(ctx, o, holds)
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func remove(t *testing.T, ctx context.Context, c *cluster.Cluster, o cluster.Object) {
	t.Helper()
	resource, err := c.Resource(o.APIVersion, o.Kind, o.Namespace)
	if err != nil {
		t.Fatal(err)
	}
	if err := resource.Delete(ctx, o.Name, metav1.DeleteOptions{}); err != nil {
		t.Fatalf("deleting %s: %v", o, err)
	}
}
