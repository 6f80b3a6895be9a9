package manifests_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/quaygen/quaygen/manifests/tests/chart"
	"github.com/quaygen/quaygen/pkg/quaygen/config"
)

var update = flag.Bool("update", false, "write what the chart makes now into the golden files, the schema's part for config, and README's table")

// asValues is the schema of config in the values: that of the file, without what the chart adds. References stay as they
// are, since its definitions move along.
func asValues(t *testing.T) (schema map[string]any, definitions map[string]any) {
	t.Helper()
	if err := json.Unmarshal(config.Schema(), &schema); err != nil {
		t.Fatal(err)
	}
	definitions = schema["$defs"].(map[string]any)
	for _, key := range []string{"$schema", "$id", "title", "$defs", "required"} {
		delete(schema, key)
	}
	without := func(definition, list, key string) {
		m := definitions[definition].(map[string]any)
		m[list] = slices.DeleteFunc(m[list].([]any), func(v any) bool { return v == key })
	}
	without("registry", "required", "tokenFile")
	delete(definitions["client"].(map[string]any), "anyOf") // one of the credentials
	server := definitions["server"].(map[string]any)["properties"].(map[string]any)
	delete(server["tls"].(map[string]any), "dependentRequired") // the certificate and its key
	return schema, definitions
}

func TestTheSchemaOfValuesKnowsTheConfiguration(t *testing.T) {
	path := filepath.Join(chart.Dir(), "values.schema.json")
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var schema map[string]any
	if err := json.Unmarshal(content, &schema); err != nil {
		t.Fatal(err)
	}
	want, definitions := asValues(t)
	all := schema["$defs"].(map[string]any)
	has := map[string]any{}
	for name := range definitions {
		has[name] = all[name]
	}
	difference := cmp.Diff(want, schema["properties"].(map[string]any)["config"]) + cmp.Diff(definitions, has)
	if difference == "" {
		return
	}
	if !*update {
		t.Fatalf("values.schema.json is not what the configuration's schema says; run make manifests-update (- the configuration's, + the chart's):\n%s", difference)
	}
	schema["properties"].(map[string]any)["config"] = want
	maps.Copy(all, definitions)
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	if err := errors.Join(encoder.Encode(schema), os.WriteFile(path, out.Bytes(), 0o644)); err != nil {
		t.Fatal(err)
	}
}

func TestTheSchemaRefusesWhatTheChartDoesNotKnow(t *testing.T) {
	c := load(t)
	for _, tt := range []struct{ values, want string }{
		{"replicas: 3", "replicas"},
		{"replicaCount: two", "replicaCount"},
		{"replicaCount: -1", "replicaCount"},
		{"image: {tags: v1}", "tags"},
		{"image: {repository: ''}", "repository"},
		{"image: {tag: 'v1@sha256:0'}", "tag"},
		{"image: {digest: 'sha256:0'}", "digest"},
		{"image: {pullPolicy: Sometimes}", "pullPolicy"},
		{"imagePullSecrets: [registry]", "imagePullSecrets"},
		{"commonLabels: {team: 7}", "commonLabels"},
		{"clientSecrets: {eso: [quaygen-client]}", "clientSecrets"},
		{"clientSecrets: {a/b: quaygen-client}", "clientSecrets"},
		{"quay: {existingSecret: ''}", "existingSecret"},
		{"quay: {token: abc}", "token"},
		{"tls: {certManager: {enabled: 'yes'}}", "enabled"},
		{"tls: {certManager: {issuer: internal}}", "issuer"},
		{"grpc: {certManager: {duration: 1h}}", "duration"},
		{"ledger: {type: redis}", "type"},
		{"ledger: {file: {size: big}}", "size"},
		{"service: {type: ExternalName}", "type"},
		{"service: {port: 0}", "port"},
		{"resources: {request: {cpu: 1}}", "request"},
		{"podDisruptionBudget: {minAvailable: most}", "minAvailable"},
		{"networkPolicy: {callers: [{}]}", "callers"},
		{"networkPolicy: {callers: [{namespace: external-secrets}]}", "callers"},
		{"networkPolicy: {quay: {ports: []}}", "ports"},
		{"networkPolicy: {dnsPorts: []}", "dnsPorts"},
		{"networkPolicy: {dnsPorts: [53, 53]}", "dnsPorts"},
		{"networkPolicy: {dnsPorts: [domain]}", "dnsPorts"},
		{"serviceMonitor: {interval: often}", "interval"},
		{"eso: {caProvider: {type: ConfigMap}}", "caProvider"},
		{"eso: {clusterSecretStores: {}}", "clusterSecretStores"},
		{"extraArgs: --log-level=debug", "extraArgs"},
		{"extraVolumeMounts: [{name: a, mountPath: relative}]", "mountPath"},
		{"config: {instances: a}", "instances"},
		{"config: {instance: A}", "instance"},
		{"config: {registries: [{name: quay, url: 'ftp://quay'}]}", "url"},
		{"config: {robots: [{name: a, registry: quay, robot: b, organisation: c}]}", "organisation"},
		{"config: {rules: [{clients: [eso], names: [a]}]}", "rules"},
	} {
		t.Run(tt.values, func(t *testing.T) {
			_, err := c.Render(chart.Merge(small(t), parse(t, tt.values)), chart.Release{})
			if err == nil || !strings.Contains(err.Error(), "schema") || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v; want the schema to name %q", err, tt.want)
			}
		})
	}
}
