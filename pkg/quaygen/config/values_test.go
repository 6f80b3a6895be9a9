package config_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/quaygen/quaygen/pkg/quaygen/config"
	"github.com/quaygen/quaygen/pkg/quaygen/policy"
	"github.com/quaygen/quaygen/pkg/quaygen/quay"
	"github.com/quaygen/quaygen/pkg/quaygen/rotation"
)

var compareConfigs = cmp.Options{
	cmpopts.IgnoreUnexported(config.Config{}),
	cmp.Comparer(func(a, b quay.Robot) bool { return a == b }),
}

func robot(t *testing.T, owner quay.Owner, err error, short string) quay.Robot {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	r, err := quay.NewRobot(owner, short)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestEveryValueOfAFileArrives(t *testing.T) {
	got, err := config.Options{SkipFiles: true}.Load("testdata/full.good.yaml")
	if err != nil {
		t.Fatal(err)
	}
	myorg, orgErr := quay.ParseOrganization("myorg")
	partner, userErr := quay.ParseUser("partner")
	limits := config.Limits{QPS: 1000, Burst: 5000, Concurrent: 1000}
	want := &config.Config{
		Instance: "prod-eu",
		Registries: []config.Registry{
			{Name: "quay", Host: "registry.example.com", TokenExpires: time.Date(2094, 11, 5, 0, 0, 0, 0, time.UTC), Quay: quay.Config{
				URL: "https://quay.example.com:8443", TokenFile: "/var/run/secrets/quaygen/quay", CAFile: "/etc/quaygen/quay-ca.crt", QPS: 5, Burst: 10,
			}},
			{Name: "quay-io", Host: "quay.io", Quay: quay.Config{
				URL: "https://quay.io", TokenFile: "/var/run/secrets/quaygen/quay-io", QPS: 5, Burst: 10,
			}},
		},
		Robots: []config.Robot{
			{Registry: "quay", Email: "robots@myorg.example.com", Spec: rotation.Spec{
				Name: "prod-puller", Instance: "prod-eu", Base: robot(t, myorg, orgErr, "k8s_prod_puller"), Strategy: rotation.Overlap,
				Every: 720 * time.Hour, Overlap: 24 * time.Hour, Quiet: 2 * time.Hour, Max: 168 * time.Hour,
				MaxRefresh: time.Hour, Sync: 30 * time.Second, Safety: rotation.DefaultSafety(),
				Permissions: rotation.Permissions{
					Repositories: []rotation.RepositoryGrant{{Pattern: "my-app", Role: quay.RoleRead}, {Pattern: "backend/*", Role: quay.RoleRead}},
					Teams:        []string{"pullers"}, From: robot(t, myorg, orgErr, "k8s_template"), Prune: true,
				},
			}},
			{Registry: "quay-io", Spec: rotation.Spec{
				Name: "partner-puller", Instance: "prod-eu", Base: robot(t, partner, userErr, "puller"), Strategy: rotation.None,
				Every: 720 * time.Hour, Overlap: 24 * time.Hour, Quiet: 2 * time.Hour, Max: 168 * time.Hour,
				MaxRefresh: time.Hour, Sync: 30 * time.Second, Safety: rotation.DefaultSafety(),
				Permissions: rotation.Permissions{Repositories: []rotation.RepositoryGrant{{Pattern: "*", Role: quay.RoleRead}}},
			}},
			{Registry: "quay", Spec: rotation.Spec{
				Name: "own-puller", Instance: "prod-eu", Base: robot(t, myorg, orgErr, "k8s_own"), Strategy: rotation.Overlap, Scope: rotation.PerNamespace,
				Every: 720 * time.Hour, Overlap: 24 * time.Hour, Quiet: 2 * time.Hour, Max: 168 * time.Hour, Idle: 720 * time.Hour,
				MaxRefresh: time.Hour, Sync: 30 * time.Second, Safety: rotation.DefaultSafety(),
				Permissions: rotation.Permissions{Repositories: []rotation.RepositoryGrant{{Pattern: "my-app", Role: quay.RoleRead}}},
			}},
			{Registry: "quay", Spec: rotation.Spec{
				Name: "fixed-puller", Instance: "prod-eu", Base: robot(t, myorg, orgErr, "k8s_fixed"), Strategy: rotation.Regenerate,
				Every: 720 * time.Hour, Overlap: 24 * time.Hour, Quiet: 2 * time.Hour, Max: 168 * time.Hour,
				MaxRefresh: time.Hour, Sync: 30 * time.Second, Safety: rotation.DefaultSafety(),
				Permissions: rotation.Permissions{Repositories: []rotation.RepositoryGrant{{Pattern: "my-app", Role: quay.RoleRead}}},
			}},
		},
		Ledger: config.Ledger{Kubernetes: config.LedgerKube{Namespace: "quaygen"}},
		Audit:  config.Audit{File: "/var/log/quaygen/audit.jsonl", Buffer: 4096},
		Tracing: config.Tracing{OTLP: config.OTLP{
			Endpoint: "otel-collector.observability:4317", Protocol: config.ProtocolGRPC, CAFile: "/etc/quaygen/otel-ca.crt", CertFile: "/etc/quaygen/otel/tls.crt", KeyFile: "/etc/quaygen/otel/tls.key",
		}, Sampling: 0.1},
		PullSecrets: []config.PullSecret{{Name: "everything", Robots: []string{"prod-puller", "partner-puller"}}},
		Clients: []config.Client{
			{Name: "eso", BearerTokenFile: "/var/run/secrets/quaygen/clients/eso", Certificate: config.Certificate{
				CommonName: "external-secrets-controller", DNSNames: []string{"external-secrets.example.com"},
				URIs: []string{"spiffe://cluster.local/ns/external-secrets/sa/external-secrets"},
			}, Limits: config.Limits{QPS: 500, Burst: 2000, Concurrent: 200}, MaxNamespaces: 300},
			{Name: "team-a", BearerTokenFile: "/var/run/secrets/quaygen/clients/team-a", Namespace: "team-a", Limits: limits, MaxNamespaces: 1000},
			{Name: "dashboard", BearerTokenFile: "/var/run/secrets/quaygen/clients/dashboard", Operator: policy.OperatorView, Limits: limits, MaxNamespaces: 1000},
			{Name: "on-call", Certificate: config.Certificate{CommonName: "on-call"}, Operator: policy.OperatorManage, OperatorOnly: true, Limits: limits, MaxNamespaces: 1000},
			{Name: "ci", ServiceAccount: config.ServiceAccount{Audience: "quaygen", Namespaces: []string{"ci-*"}, Names: []string{"builder"}}, Limits: limits, MaxNamespaces: 1000},
		},
		Rules: policy.Rules{
			{Clients: []string{"eso"}, Namespaces: []string{"prod-*"}, Names: []string{"prod-puller", "everything"}},
			{Clients: []string{"eso"}, Namespaces: []string{"*"}, NamespaceLabels: map[string]string{"team": "shop"}, Names: []string{"own-puller"}, Formats: []string{"dockerconfigjson", "basic"}},
			{Clients: []string{"dashboard"}, Namespaces: []string{"status"}, Names: []string{"partner-puller"}},
			{Clients: []string{"team-*"}, Namespaces: []string{"team-a"}, Names: []string{"*-puller"}},
			{Clients: []string{"ci"}, Namespaces: []string{"ci-*"}, Names: []string{"own-puller"}},
		},
		Server: config.Server{
			HTTP: config.HTTP{Listen: ":8443"},
			GRPC: config.GRPC{Enabled: true, Listen: ":9443", Reflection: true, TLS: config.TLS{
				CertFile: "/etc/quaygen/grpc/tls.crt", KeyFile: "/etc/quaygen/grpc/tls.key", ClientCAFile: "/etc/quaygen/grpc/ca.crt",
			}},
			Admin: config.Admin{Listen: "127.0.0.1:9090"},
			TLS:   config.TLS{CertFile: "/etc/quaygen/tls/tls.crt", KeyFile: "/etc/quaygen/tls/tls.key", ClientCAFile: "/etc/quaygen/client-ca.crt"},
		},
		Sync:   30 * time.Second,
		Safety: rotation.DefaultSafety(),
	}
	if diff := cmp.Diff(want, got, compareConfigs); diff != "" {
		t.Error(diff)
	}
	if got.Digest() == "" {
		t.Error("no digest")
	}
}

func TestValuesThatAreNotDefaults(t *testing.T) {
	got, err := config.Parse("dir/demo.yaml", []byte(`
apiVersion: quaygen.dev/v1alpha1
kind: GeneratorConfig
instance: demo
registries:
- {name: quay, url: "http://[::1]:18080/", tokenFile: ./token, tokenExpires: "2094-11-05T13:00:00.25+01:00", caFile: ../ca, limits: {qps: 12.5, burst: 200}}
robots:
- name: puller
  registry: quay
  organization: demo
  robot: puller
  permissions: {repositories: [{name: app, role: admin}]}
  rotation: {every: 60s, overlap: 12s, drain: {quiet: 2s, max: 30s}}
  maxRefresh: 3s
server: {http: {listen: "0.0.0.0:0", allowPlaintext: true}, admin: {listen: "[::1]:0"}}
sync: 1s500ms
safety: {settle: 1s, stepDeadline: 500ms, clockAllowance: 400ms, allowUnsafeTiming: true}
`))
	if err != nil {
		t.Fatal(err)
	}
	demo, orgErr := quay.ParseOrganization("demo")
	safety := rotation.Safety{Settle: time.Second, StepDeadline: 500 * time.Millisecond, ClockAllowance: 400 * time.Millisecond, AllowUnsafeTiming: true}
	want := &config.Config{
		Instance: "demo",
		Registries: []config.Registry{{Name: "quay", Host: "[::1]:18080", TokenExpires: time.Date(2094, 11, 5, 12, 0, 0, 250e6, time.UTC), Quay: quay.Config{
			URL: "http://[::1]:18080", TokenFile: "dir/token", CAFile: "ca", QPS: 12.5, Burst: 200,
		}}},
		Robots: []config.Robot{{Registry: "quay", Spec: rotation.Spec{
			Name: "puller", Instance: "demo", Base: robot(t, demo, orgErr, "puller"), Strategy: rotation.Overlap,
			Every: time.Minute, Overlap: 12 * time.Second, Quiet: 2 * time.Second, Max: 30 * time.Second,
			MaxRefresh: 3 * time.Second, Sync: 1500 * time.Millisecond, Safety: safety,
			Permissions: rotation.Permissions{Repositories: []rotation.RepositoryGrant{{Pattern: "app", Role: quay.RoleAdmin}}},
		}}},
		Server: config.Server{
			HTTP:  config.HTTP{Listen: "0.0.0.0:0", AllowPlaintext: true},
			Admin: config.Admin{Listen: "[::1]:0"},
		},
		Sync:   1500 * time.Millisecond,
		Safety: safety,
	}
	if diff := cmp.Diff(want, got, compareConfigs); diff != "" {
		t.Error(diff)
	}
}

func TestGRPCListensOnlyWhereItIsWritten(t *testing.T) {
	for server, want := range map[string]config.GRPC{
		`{}`:                              {},
		`{grpc: {}}`:                      {Enabled: true, Listen: ":9443"},
		`{grpc: {listen: "127.0.0.1:0"}}`: {Enabled: true, Listen: "127.0.0.1:0"},
	} {
		c, err := config.Parse("f", []byte(`
apiVersion: quaygen.dev/v1alpha1
kind: GeneratorConfig
instance: lab
registries: [{name: quay, url: "https://quay.io", tokenFile: /run/token}]
robots: [{name: a, registry: quay, organization: myorg, robot: puller}]
server: `+strings.Replace(server, "{", `{tls: {certFile: /run/crt, keyFile: /run/key}, `, 1)))
		if err != nil {
			t.Fatal(err)
		}
		if c.Server.GRPC != want {
			t.Errorf("%s: %+v", server, c.Server.GRPC)
		}
	}
}

func TestParseAndLoadAgreeOnRelativePaths(t *testing.T) {
	in := newInstallation(t)
	if got, want := in.load().Registries[0].Quay.TokenFile, in.path("token"); got != want {
		t.Errorf("tokenFile = %s, want %s", got, want)
	}
	c, err := config.Parse("some/where.yaml", []byte(content("one")))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := c.Registries[0].Quay.TokenFile, "some/token"; got != want {
		t.Errorf("tokenFile = %s, want %s", got, want)
	}
}
