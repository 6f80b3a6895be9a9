package manifests_test

import (
	"strings"
	"testing"

	"github.com/quaygen/quaygen/manifests/tests/chart"
)

// regenerate are values with a robot that needs a ledger.
const regenerate = "config: {robots: [{name: fixed, registry: quay, organization: myorg, robot: k8s_fixed, permissions: {repositories: [{name: my-app}]}, rotation: {strategy: regenerate}}]}\n"

func TestWhatCannotWorkIsRefusedWithTheFix(t *testing.T) {
	c := load(t)
	for _, tt := range []struct{ name, values, value, fix string }{
		{"two configurations", "existingConfigMap: theirs", "config and existingConfigMap", "remove one"},
		{"the ledger in the configuration", "config: {ledger: {kubernetes: {namespace: a}}}", "config.ledger", "set ledger.type"},
		{"another port", "config: {server: {http: {listen: ':443'}}}", "config.server.http.listen", "service.port"},
		{"gRPC in the configuration alone", "config: {server: {grpc: {}}}", "config.server.grpc", "grpc.enabled"},
		{"a file with two replicas", "ledger: {type: file}", "replicaCount", "ledger.type: kubernetes"},
		{"regenerate without a ledger", regenerate, "ledger.type: robot fixed", "set it to kubernetes"},
		{"a token that is not mounted", "config: {registries: [{name: quay, url: 'https://quay.example.com', tokenFile: /run/token}]}", "config.registries[0].tokenFile", "extraVolumeMounts"},
		{"a CA that is not mounted", "config: {registries: [{name: quay, url: 'https://quay.example.com', caFile: /etc/ssl/quay.pem}]}", "config.registries[0].caFile", "extraVolumeMounts"},
		{"clients' CA that is not mounted", "config: {server: {tls: {clientCAFile: /etc/clients/ca.crt}}}", "config.server.tls.clientCAFile", "extraVolumeMounts"},
		{"an audit trail without a volume", "config: {audit: {file: /var/log/quaygen/audit.jsonl}}", "config.audit.file", "extraVolumeMounts"},
		{"a CA of the collector that is not mounted", "config: {tracing: {otlp: {endpoint: 'otel:443', caFile: /etc/otel/ca.crt}}}", "config.tracing.otlp.caFile", "extraVolumeMounts"},
		{"a certificate for the collector that is not mounted", "config: {tracing: {otlp: {endpoint: 'otel:443', certFile: /etc/otel/tls.crt, keyFile: /var/run/secrets/quaygen/tls/tls.key}}}", "config.tracing.otlp.certFile", "extraVolumeMounts"},
		{"a key for the collector that is not mounted", "config: {tracing: {otlp: {endpoint: 'otel:443', certFile: /var/run/secrets/quaygen/tls/tls.crt, keyFile: /etc/otel/tls.key}}}", "config.tracing.otlp.keyFile", "extraVolumeMounts"},
		{"a CA beside the configuration", "config: {registries: [{name: quay, url: 'https://quay.example.com', caFile: /etc/quaygen/quay-ca.crt}]}", "config.registries[0].caFile: nothing is mounted at /etc/quaygen/quay-ca.crt", "extraVolumeMounts"},
		{"a CA at a relative path", "config: {registries: [{name: quay, url: 'https://quay.example.com', caFile: ./quay-ca.crt}]}", "config.registries[0].caFile: nothing is mounted at ./quay-ca.crt", "extraVolumeMounts"},
		{"a client's token that is not mounted", "config: {clients: [{name: eso, namespaceFrom: request, bearerTokenFile: /var/run/secrets/quaygen/clients/other/token}]}", "config.clients[0].bearerTokenFile", "clientSecrets"},
		{"a client without a credential", "config: {clients: [{name: eso, namespaceFrom: request}, {name: team-a, namespace: team-a}]}", "config.clients: team-a has no credential", "clientSecrets.team-a"},
		{"a Secret of nobody", "clientSecrets: {team-a: token}", "clientSecrets.team-a", "team-a: null"},
		{"rights for the default ServiceAccount", "ledger: {type: kubernetes}\nserviceAccount: {create: false}", "serviceAccount.name", "name another"},
		{"a pod that may never go", "replicaCount: 1", "podDisruptionBudget.minAvailable", "podDisruptionBudget.enabled: false"},
		{"pods that may never go", "podDisruptionBudget: {minAvailable: 100%}", "podDisruptionBudget.minAvailable", "lower it"},
		{"half of one pod", "replicaCount: 1\npodDisruptionBudget: {minAvailable: 50%}", "podDisruptionBudget.minAvailable", "lower it"},
		{"a share that is rounded up to all pods", "podDisruptionBudget: {minAvailable: 51%}", "podDisruptionBudget.minAvailable: with 51% of 2 replicas", "lower it"},
		{"a share that is rounded up to all of three", "replicaCount: 3\npodDisruptionBudget: {minAvailable: 67%}", "podDisruptionBudget.minAvailable", "lower it"},
		{"a port that is closed", "config: {registries: [{name: quay, url: 'https://quay.example.com:9443'}]}", "config.registries[0].url", "networkPolicy.quay.ports"},
		{"images behind a port that is closed", "config: {registries: [{name: quay, url: 'https://quay.example.com', host: 'images.example.com:5000'}]}", "config.registries[0].host", "networkPolicy.quay.ports"},
		{"a collector behind a port that is closed", "config: {tracing: {otlp: {endpoint: 'otel-collector.observability:4317', insecure: true}}}", "config.tracing.otlp.endpoint: networkPolicy lets nobody out to otel-collector.observability:4317", "networkPolicy.extraEgress, such as [{to: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: NAMESPACE}}}], ports: [{protocol: TCP, port: 4317}]}]"},
		{"a collector where Quay is not", "config: {tracing: {otlp: {endpoint: 'otel:443'}}}\nnetworkPolicy: {quay: {to: [{ipBlock: {cidr: 192.0.2.7/32}}]}}", "config.tracing.otlp.endpoint", "networkPolicy.extraEgress"},
		{"two who make the certificate", "tls: {existingSecret: a, certManager: {enabled: true, issuerRef: {name: a}}}", "tls.existingSecret", "remove"},
		{"nobody who signs", "tls: {certManager: {enabled: true}}", "tls.certManager.issuerRef", "name the Issuer"},
		{"two who make the certificate of gRPC", "grpc: {enabled: true, existingSecret: a, certManager: {enabled: true, issuerRef: {name: a}}}", "grpc.existingSecret", "remove"},
		{"a certificate for nothing", "grpc: {certManager: {enabled: true, issuerRef: {name: a}}}", "grpc.certManager.enabled", "set it to true"},
		{"nobody who signs for gRPC", "grpc: {enabled: true, certManager: {enabled: true}}", "grpc.certManager.issuerRef", "name the Issuer"},
		{"an issuer of gRPC without a name", "tls: {certManager: {enabled: true, issuerRef: {name: a}}}\ngrpc: {enabled: true, certManager: {enabled: true, issuerRef: {kind: ClusterIssuer}}}", "grpc.certManager.issuerRef", "name the Issuer"},
		{"a store of no client", "eso: {clusterSecretStore: {enabled: true, client: other}}", "eso.clusterSecretStore.client", "name a client"},
		{"a store of a client with one namespace", "eso: {clusterSecretStore: {enabled: true}}\nconfig: {clients: [{name: eso, namespace: a}]}", "eso.clusterSecretStore.client", "namespaceFrom: request"},
		{"no store", "eso: {clusterExternalSecret: {enabled: true, pullSecret: prod-puller, namespaceSelectors: [{}]}}", "eso.clusterExternalSecret.enabled", "eso.clusterSecretStore.enabled: true"},
		{"no namespaces", "eso: {clusterSecretStore: {enabled: true}, clusterExternalSecret: {enabled: true, pullSecret: prod-puller}}", "eso.clusterExternalSecret.namespaceSelectors", "matchLabels"},
		{"no such pull secret", "eso: {clusterSecretStore: {enabled: true}, clusterExternalSecret: {enabled: true, pullSecret: puller, namespaceSelectors: [{}]}}", "eso.clusterExternalSecret.pullSecret", "one of: prod-puller, test-puller"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := c.Render(chart.Merge(small(t), parse(t, tt.values)), chart.Release{})
			if err == nil || !strings.Contains(err.Error(), "\n- "+tt.value) || !strings.Contains(err.Error(), tt.fix) {
				t.Errorf("%v; want %q and %q", err, tt.value, tt.fix)
			}
		})
	}
}

func TestAShareThatLetsAPodGoIsTaken(t *testing.T) {
	c := load(t)
	for _, values := range []string{
		"podDisruptionBudget: {minAvailable: 50%}", "podDisruptionBudget: {minAvailable: 0%}", "podDisruptionBudget: {minAvailable: 0}",
		"replicaCount: 3\npodDisruptionBudget: {minAvailable: 66%}", "replicaCount: 5\npodDisruptionBudget: {minAvailable: 80%}",
		"replicaCount: 0\npodDisruptionBudget: {minAvailable: 100%}",
	} {
		render(t, c, chart.Merge(small(t), parse(t, values)))
	}
}

func TestACollectorThatCanBeReachedIsTaken(t *testing.T) {
	c := load(t)
	const at4317 = "config: {tracing: {otlp: {endpoint: 'otel-collector.observability:4317', caFile: /etc/otel/ca.crt}}}\nextraVolumes: [{name: otel, configMap: {name: otel}}]\nextraVolumeMounts: [{name: otel, mountPath: /etc/otel}]\n"
	for _, values := range []string{
		at4317 + "networkPolicy: {enabled: false}",
		at4317 + "networkPolicy: {extraEgress: [{to: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: observability}}}], ports: [{protocol: TCP, port: 4317}]}]}",
		"config: {tracing: {otlp: {endpoint: 'otel.example.com:443'}}}",
		"config: {tracing: {otlp: {endpoint: '127.0.0.1:4317', insecure: true}}}",
		"config: {tracing: {otlp: {endpoint: '[::1]:4317', insecure: true}}}",
		"config: {tracing: {otlp: {endpoint: 'localhost:4317', insecure: true}}}",
	} {
		r := render(t, c, chart.Merge(small(t), parse(t, values)))
		if err := valid(configuration(r)); err != nil {
			t.Errorf("%s: %v", values, err)
		}
	}
}

func TestWithoutAConfigurationNothingIsMade(t *testing.T) {
	_, err := load(t).Render(map[string]any{}, chart.Release{})
	if err == nil || !strings.Contains(err.Error(), "config: it is empty") {
		t.Errorf("%v, want that config is empty", err)
	}
}

func TestAllThatCannotWorkIsToldAtOnce(t *testing.T) {
	_, err := load(t).Render(chart.Merge(small(t), parse(t, "replicaCount: 1\ntls: {certManager: {enabled: true}}")), chart.Release{})
	if err == nil || !strings.Contains(err.Error(), "podDisruptionBudget") || !strings.Contains(err.Error(), "issuerRef") {
		t.Errorf("%v, want both problems", err)
	}
}

func TestHalfAConfigurationIsRefused(t *testing.T) {
	c := load(t)
	for _, key := range []string{"instance", "registries", "robots"} {
		values := small(t)
		delete(values["config"].(map[string]any), key)
		if _, err := c.Render(values, chart.Release{}); err == nil || !strings.Contains(err.Error(), "- config."+key+": it is missing") {
			t.Errorf("without %s: %v", key, err)
		}
	}
}

func TestADefaultCanBeTakenAway(t *testing.T) {
	values := chart.Merge(small(t), parse(t, "clientSecrets: {eso: null, other: token}\nconfig: {clients: [{name: other, namespace: a}], rules: [{clients: [other], namespaces: [a], names: ['*']}]}"))
	r := render(t, load(t), values)
	if d := chart.Find(r.Objects, "Deployment", "quaygen"); strings.Contains(manifest(r), "quaygen-client") || d == nil {
		t.Error("the default client's Secret is still there")
	}
}
