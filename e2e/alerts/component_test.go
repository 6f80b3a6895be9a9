package alerts

import (
	"flag"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"
)

var update = flag.Bool("update", false, "write the component's copies of rules and dashboard anew")

const (
	component = "../../manifests/components/monitoring/"
	ruleHead  = `# Written by make alerts-update from manifests/helm/quaygen/files/alerts.yaml: change that.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: quaygen
  labels:
    app.kubernetes.io/name: quaygen
    app.kubernetes.io/part-of: quaygen
spec:
`
)

// Kustomize reads no file outside of a component's directory, so that there are copies.
func TestTheComponentHasTheRulesAndTheDashboardOfTheChart(t *testing.T) {
	var rule strings.Builder
	rule.WriteString(ruleHead)
	for line := range strings.Lines(read(t, rulesFile)) {
		if line != "\n" {
			rule.WriteString("  ")
		}
		rule.WriteString(line)
	}
	for name, want := range map[string]string{"prometheusrule.yaml": rule.String(), "dashboard.json": read(t, dashboardFile)} {
		if *update {
			if err := os.WriteFile(component+name, []byte(want), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if diff := cmp.Diff(want, read(t, component+name)); diff != "" {
			t.Errorf("%s is not what make alerts-update would write (-want +got):\n%s", name, diff)
		}
	}
	var groups, spec struct {
		Spec struct {
			Groups any `yaml:"groups"`
		} `yaml:"spec"`
		Groups any `yaml:"groups"`
	}
	for name, into := range map[string]any{rulesFile: &groups, component + "prometheusrule.yaml": &spec} {
		if err := yaml.Unmarshal([]byte(read(t, name)), into); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(groups.Groups, spec.Spec.Groups); diff != "" || groups.Groups == nil {
		t.Errorf("PrometheusRule has other groups:\n%s", diff)
	}
}

// labelled is what a Service, and those who find it, have in common.
type labelled struct {
	Metadata struct {
		Labels map[string]string `yaml:"labels"`
	} `yaml:"metadata"`
	Spec struct {
		Selector  any    `yaml:"selector"`
		JobLabel  string `yaml:"jobLabel"`
		Endpoints []struct {
			Port string `yaml:"port"`
		} `yaml:"endpoints"`
		Ports []struct {
			Name       string `yaml:"name"`
			TargetPort string `yaml:"targetPort"`
		} `yaml:"ports"`
	} `yaml:"spec"`
}

func TestTheServiceMonitorFindsTheServiceAndItsPort(t *testing.T) {
	var service, monitor labelled
	for name, into := range map[string]*labelled{"service.yaml": &service, "servicemonitor.yaml": &monitor} {
		if err := yaml.Unmarshal([]byte(read(t, component+name)), into); err != nil {
			t.Fatal(err)
		}
	}
	selector, _ := monitor.Spec.Selector.(map[string]any)
	match, _ := selector["matchLabels"].(map[string]any)
	if len(match) == 0 {
		t.Error("the ServiceMonitor selects every Service")
	}
	for k, v := range match {
		if service.Metadata.Labels[k] != v {
			t.Errorf("the Service has no label %s: %v", k, v)
		}
	}
	if service.Metadata.Labels[monitor.Spec.JobLabel] != "quaygen" {
		t.Error("the label job is not quaygen, as dashboards and people expect")
	}
	if len(monitor.Spec.Endpoints) != 1 || len(service.Spec.Ports) != 1 || monitor.Spec.Endpoints[0].Port != service.Spec.Ports[0].Name {
		t.Error("the ServiceMonitor asks for a port that the Service does not have")
	}
	if want := "{name: " + service.Spec.Ports[0].TargetPort + ", containerPort:"; !strings.Contains(read(t, "../../manifests/base/deployment.yaml"), want) {
		t.Error("no container has the port of the Service")
	}
}
