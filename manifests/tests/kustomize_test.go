package manifests_test

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/quaygen/quaygen/manifests/tests/chart"
)

// asComponent are the values of the chart that do what a component of kustomize does.
var asComponent = map[string]string{
	"grpc":              "grpc: {enabled: true}",
	chart.OtherLedger:   "ledger: {type: file}\nreplicaCount: 1\npodDisruptionBudget: {enabled: false}",
	"ledger-kubernetes": "ledger: {type: kubernetes}",
	"namespace-labels":  "namespaceLabels: {enabled: true}",
	"tokenreview":       "tokenReview: {enabled: true}",
	"openshift":         "podSecurityContext: {runAsUser: null, runAsGroup: null, fsGroup: null}\nnetworkPolicy: {dns: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: openshift-dns}}}], dnsPorts: [5353]}",
	"monitoring":        "serviceMonitor: {enabled: true}\nprometheusRule: {enabled: true}\ngrafanaDashboard: {enabled: true}",
}

func TestTheChartMakesWhatKustomizeMakes(t *testing.T) {
	overlays, err := chart.Overlays()
	if err != nil {
		t.Fatal(err)
	}
	for name, kustomized := range overlays {
		t.Run(name, func(t *testing.T) {
			values := map[string]any{"config": baseConfig(t, kustomized)}
			for component, as := range asComponent {
				if name == component || name == "all" && component != chart.OtherLedger {
					chart.Merge(values, parse(t, as))
				}
			}
			if name != "base" && name != "all" && asComponent[name] == "" {
				t.Fatalf("no values of the chart are known that do what the component %s does", name)
			}
			want, got := likened(t, kustomized, false), likened(t, render(t, load(t), values).Objects, false)
			delete(want, "v1 Namespace /quaygen") // helm install --create-namespace
			if d := cmp.Diff(slices.Sorted(maps.Keys(want)), slices.Sorted(maps.Keys(got))); d != "" {
				t.Errorf("other objects (- kustomize, + chart):\n%s", d)
			}
			for id, o := range want {
				if other, both := got[id]; both {
					if d := cmp.Diff(o, other); d != "" {
						t.Errorf("%s (- kustomize, + chart):\n%s", id, d)
					}
				}
			}
		})
	}
}

// baseConfig is the base's configuration as values of the chart, which says itself where the server listens.
func baseConfig(t *testing.T, objects []chart.Object) map[string]any {
	t.Helper()
	out := parse(t, chart.Find(objects, "ConfigMap", "quaygen").Text("data", "generator.yaml"))
	delete(out, "server")
	return out
}

// likened returns objects by ID, without what may differ: labels and selectors by labels, which Helm has more of; the
// image, which an overlay sets; and defaults of Kubernetes that only one of them writes. Unless the configurations are the
// same, gRPC and the ledger are left out: components of kustomize do not change the base's.
func likened(t *testing.T, objects []chart.Object, same bool) map[string]map[string]any {
	t.Helper()
	out := map[string]map[string]any{}
	for _, o := range objects {
		id := o.ID()
		switch o.Kind() {
		case "Deployment":
			delete(o.Get("spec").(map[string]any), "selector")
			delete(o.Get("spec", "template").(map[string]any), "metadata")
			container := o.Get("spec", "template", "spec", "containers").([]any)[0].(map[string]any)
			delete(container, "image")
			delete(container, "imagePullPolicy")
		case "Service":
			spec := o.Get("spec").(map[string]any)
			delete(spec, "selector")
			if spec["type"] == nil && spec["clusterIP"] == nil {
				spec["type"] = "ClusterIP"
			}
		case "PersistentVolumeClaim":
			if notes, ok := o.Get("metadata", "annotations").(map[string]any); ok {
				delete(notes, "helm.sh/resource-policy") // kustomize removes nothing by itself
				if len(notes) == 0 {
					delete(o.Get("metadata").(map[string]any), "annotations")
				}
			}
		case "ConfigMap":
			// The text may differ, what it says may not.
			if text := o.Text("data", "generator.yaml"); text != "" {
				config := parse(t, text)
				if !same {
					delete(config, "ledger")
					delete(config["server"].(map[string]any), "grpc")
				}
				o.Get("data").(map[string]any)["generator.yaml"] = config
			}
		}
		withoutLabels(map[string]any(o))
		out[id] = o
	}
	return out
}

// withoutLabels removes labels, and what selects pods of ours by them. It sorts lists of what has names: components put theirs first.
func withoutLabels(v any) {
	switch v := v.(type) {
	case map[string]any:
		if selector, ok := v["matchLabels"].(map[string]any); ok && selector["app.kubernetes.io/name"] == "quaygen" {
			v["matchLabels"] = "those of quaygen's pods"
		}
		delete(v, "labels")
		for _, value := range v {
			withoutLabels(value)
		}
	case []any:
		for _, value := range v {
			withoutLabels(value)
		}
		slices.SortStableFunc(v, func(a, b any) int { return strings.Compare(named(a), named(b)) })
	}
}

// named is the name of an element, or "".
func named(v any) string {
	m, _ := v.(map[string]any)
	name, _ := m["name"].(string)
	return name
}
