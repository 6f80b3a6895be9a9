package cluster

import (
	"strings"
	"testing"
)

func TestDecode(t *testing.T) {
	for _, tt := range []struct{ name, manifest, want string }{
		{"nothing", "", ""},
		{"comments only", "# a\n---\n# b\n", ""},
		{"leading separator", "---\n{apiVersion: v1, kind: Secret, metadata: {name: a}}\n", "Secret a"},
		{"two documents", "{apiVersion: v1, kind: Secret, metadata: {name: a}}\n---\n{apiVersion: v1, kind: Secret, metadata: {name: b, namespace: apps}}\n", "Secret a, Secret apps/b"},
		{"list", "apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: Secret, metadata: {name: a}}\n- {apiVersion: v1, kind: ConfigMap, metadata: {name: b}}\n", "Secret a, ConfigMap b"},
		{"no name", "{apiVersion: v1, kind: Secret}", "error"},
		{"no kind", "{apiVersion: v1, metadata: {name: a}}", "error"},
		{"no mapping", "- a\n", "error"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			objects, err := decode([]byte(tt.manifest))
			var names []string
			for _, o := range objects {
				names = append(names, object(o).String())
			}
			got := strings.Join(names, ", ")
			if err != nil {
				got = "error"
			}
			if got != tt.want {
				t.Errorf("decode = %q (%v), want %q", got, err, tt.want)
			}
		})
	}
}

func TestConversionWebhooksAreRefused(t *testing.T) {
	const crd = "{apiVersion: apiextensions.k8s.io/v1, kind: CustomResourceDefinition, metadata: {name: a}, spec: {conversion: {strategy: %}}}"
	if err := refuseConversionWebhooks([]byte(strings.ReplaceAll(crd, "%", "None"))); err != nil {
		t.Errorf("strategy None: %v", err)
	}
	if err := refuseConversionWebhooks([]byte(strings.ReplaceAll(crd, "%", "Webhook"))); err == nil {
		t.Error("strategy Webhook was accepted")
	}
}
