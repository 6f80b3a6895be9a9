package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"strings"
	"testing"

	"github.com/quaygen/quaygen/e2e/cluster"
	"github.com/quaygen/quaygen/e2e/parts"
)

// shippedNamespaces are the namespaces of shipped objects, the first one as kustomize's base makes it.
const shippedNamespaces = `
apiVersion: v1
kind: Namespace
metadata: {name: quaygen, labels: {pod-security.kubernetes.io/enforce: restricted}}
---
{apiVersion: v1, kind: Namespace, metadata: {name: monitoring}}
`

// TestTheAPIServerTakesAllThatIsShipped: every object of the chart, for every two settings of its values, and of kustomize's
// base with each component, and of the examples, in a dry run, in which a field that the kind lacks is an error; and each pod under the
// restricted Pod Security Standard.
func TestTheAPIServerTakesAllThatIsShipped(t *testing.T) {
	c := shared(t)
	ctx, cancel := context.WithTimeout(t.Context(), startTimeout)
	defer cancel()
	check(t, c.InstallCRDs(ctx))
	check(t, c.Apply(ctx, "", []byte(shippedNamespaces)))
	sets, err := parts.Render(ctx, "sets")
	check(t, err)

	makeNamespacesOf(t, ctx, c, sets)

	tried, kinds, pods := map[string]bool{}, map[string]int{}, 0
	for _, set := range sets {
		for _, o := range set.Objects {
			content, err := json.Marshal(o)
			check(t, err)
			if tried[string(content)] {
				continue
			}
			tried[string(content)] = true
			kinds[o["kind"].(string)]++
			if o["kind"] == "Pod" {
				account := o["spec"].(map[string]any)["serviceAccountName"]
				check(t, c.Apply(ctx, "ci-demo", fmt.Appendf(nil, "{apiVersion: v1, kind: ServiceAccount, metadata: {name: %s}}", account)))
			}
			if err := c.DryRun(ctx, o); err != nil {
				t.Errorf("%s: %v", set.Name, err)
			}
			if o["kind"] == "Deployment" {
				pods++
				if err := c.DryRun(ctx, podOf(t, ctx, c, o)); err != nil {
					t.Errorf("%s: %v", set.Name, err)
				}
			}
		}
	}
	t.Logf("%d sets, %d different objects, %d different pods: %v", len(sets), len(tried), pods, kinds)
	theAPIServerLooks(t, ctx, c, sets)
}

// makeNamespacesOf makes the namespaces that examples are for, until the test ends.
func makeNamespacesOf(t *testing.T, ctx context.Context, c *cluster.Cluster, sets []parts.Rendered) {
	t.Helper()
	known := map[string]bool{"": true, "quaygen": true, "monitoring": true}
	for _, set := range sets {
		for _, o := range set.Objects {
			namespace, _ := o["metadata"].(map[string]any)["namespace"].(string)
			if known[namespace] {
				continue
			}
			known[namespace] = true
			made := makeNamespace(t, ctx, c, namespace)
			t.Cleanup(func() {
				ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanTimeout)
				defer cancel()
				remove(t, ctx, c, made)
				await(t, ctx, c, made, gone)
			})
		}
	}
}

// podOf is the pod that a Deployment would have. Its ServiceAccount has to be there, since the API server looks for it.
func podOf(t *testing.T, ctx context.Context, c *cluster.Cluster, deployment map[string]any) map[string]any {
	t.Helper()
	template := deployment["spec"].(map[string]any)["template"].(map[string]any)
	spec := template["spec"].(map[string]any)
	check(t, c.Apply(ctx, "quaygen", fmt.Appendf(nil, "{apiVersion: v1, kind: ServiceAccount, metadata: {name: %s}}", spec["serviceAccountName"])))
	metadata := map[string]any{"name": "pod", "namespace": "quaygen"}
	maps.Copy(metadata, template["metadata"].(map[string]any))
	return map[string]any{"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}
}

// theAPIServerLooks shows that the dry runs prove something: one wrong field in an object of each group is refused, and so is a
// pod that is not restricted.
func theAPIServerLooks(t *testing.T, ctx context.Context, c *cluster.Cluster, sets []parts.Rendered) {
	t.Helper()
	spoiled := map[string]string{
		"Deployment": "replica", "NetworkPolicy": "egres", "PodDisruptionBudget": "maxAvailable", "Certificate": "dnsName",
		"ServiceMonitor": "endpoint", "ClusterSecretStore": "providers", "ClusterExternalSecret": "namespaceSelectorss",
	}
	seen := false
	for _, set := range sets {
		for _, o := range set.Objects {
			kind := o["kind"].(string)
			spec, _ := o["spec"].(map[string]any)
			if kind == "Deployment" && !seen {
				seen = true
				pod := podOf(t, ctx, c, o)
				container := pod["spec"].(map[string]any)["containers"].([]any)[0].(map[string]any)
				secure := container["securityContext"]
				delete(container, "securityContext")
				if err := c.DryRun(ctx, pod); err == nil || !strings.Contains(err.Error(), "PodSecurity") {
					t.Errorf("a pod that is not restricted: %v, want a refusal by PodSecurity", err)
				}
				container["securityContext"] = secure
			}
			field := spoiled[kind]
			if field == "" {
				continue
			}
			delete(spoiled, kind)
			spec[field] = []any{}
			if err := c.DryRun(ctx, o); err == nil || !strings.Contains(err.Error(), field) {
				t.Errorf("%s with a field %s: %v, want a refusal that names it", kind, field, err)
			}
			delete(spec, field)
		}
	}
	for kind := range spoiled {
		t.Errorf("no %s is shipped", kind)
	}
}
