package manifests_test

import (
	"fmt"
	"maps"
	"testing"

	"github.com/quaygen/quaygen/manifests/tests/chart"
)

// TestWhateverTheValuesTheObjectsFitTogether: what selects pods selects these, ports exist, bindings bind what is there. The
// release has another name and namespace than everywhere else.
func TestWhateverTheValuesTheObjectsFitTogether(t *testing.T) {
	c := load(t)
	for _, row := range rows(t) {
		r, err := c.Render(row.Values, chart.Release{Name: "other", Namespace: "elsewhere"})
		if err != nil {
			t.Fatalf("%s: %v", row.Name, err)
		}
		f := fit{t: t, row: row.Name, objects: r.Objects}
		pods := chart.Of(r.Objects, "Deployment")[0]
		f.pod = pods.Get("spec", "template").(map[string]any)
		f.selects(pods, pods.Get("spec", "selector", "matchLabels"))
		for _, o := range r.Objects {
			f.check(o)
		}
		seen := map[string]bool{}
		for _, o := range r.Objects {
			if seen[o.ID()] {
				t.Errorf("%s: there are two of %s", row.Name, o.ID())
			}
			seen[o.ID()] = true
		}
	}
}

type fit struct {
	t       *testing.T
	row     string
	objects []chart.Object
	pod     map[string]any // the template
}

func (f fit) fail(o chart.Object, format string, args ...any) {
	f.t.Helper()
	f.t.Errorf("%s: %s: %s", f.row, o.ID(), fmt.Sprintf(format, args...))
}

func (f fit) check(o chart.Object) {
	namespace, _ := o.Get("metadata", "namespace").(string)
	switch o.Kind() {
	case "ClusterRole", "ClusterRoleBinding", "ClusterSecretStore", "ClusterExternalSecret":
		if namespace != "" {
			f.fail(o, "belongs to no namespace")
		}
	case "ServiceMonitor", "PrometheusRule":
		if namespace != "elsewhere" && namespace != "monitoring" {
			f.fail(o, "is in the wrong namespace")
		}
	default:
		if namespace != "elsewhere" {
			f.fail(o, "is in the wrong namespace")
		}
	}
	switch o.Kind() {
	case "Service":
		f.selects(o, o.Get("spec", "selector"))
		for _, port := range o.Get("spec", "ports").([]any) {
			f.port(o, port.(map[string]any)["targetPort"])
		}
	case "PodDisruptionBudget":
		f.selects(o, o.Get("spec", "selector", "matchLabels"))
	case "NetworkPolicy":
		f.selects(o, o.Get("spec", "podSelector", "matchLabels"))
		rules, _ := o.Get("spec", "ingress").([]any)
		for _, rule := range rules {
			ports, _ := rule.(map[string]any)["ports"].([]any)
			for _, port := range ports {
				f.port(o, port.(map[string]any)["port"])
			}
		}
	case "RoleBinding", "ClusterRoleBinding":
		if chart.Find(f.objects, o.Text("roleRef", "kind"), o.Text("roleRef", "name")) == nil {
			f.fail(o, "there is no such role")
		}
		subject := o.Get("subjects").([]any)[0].(map[string]any)
		spec := f.pod["spec"].(map[string]any)
		if subject["name"] != spec["serviceAccountName"] || subject["namespace"] != "elsewhere" || spec["automountServiceAccountToken"] != true {
			f.fail(o, "pods are %v, with a token: %v", spec["serviceAccountName"], spec["automountServiceAccountToken"])
		}
	case "ServiceMonitor":
		for _, s := range chart.Of(f.objects, "Service") {
			if within(o.Get("spec", "selector", "matchLabels"), s.Get("metadata", "labels")) && s.Name() != "other-quaygen-metrics" && s.Get("spec", "clusterIP") != "None" {
				f.fail(o, "selects %s too", s.Name())
			}
		}
	}
}

// selects demands that labels are those of the pods.
func (f fit) selects(o chart.Object, labels any) {
	f.t.Helper()
	want, _ := labels.(map[string]any)
	has := f.pod["metadata"].(map[string]any)["labels"].(map[string]any)
	if len(want) == 0 || !within(want, has) {
		f.fail(o, "selects %v, pods have %v", want, maps.Clone(has))
	}
}

// port demands that the container has a port of this name.
func (f fit) port(o chart.Object, name any) {
	f.t.Helper()
	for _, port := range f.pod["spec"].(map[string]any)["containers"].([]any)[0].(map[string]any)["ports"].([]any) {
		if port.(map[string]any)["name"] == name {
			return
		}
	}
	f.fail(o, "pods have no port %v", name)
}
