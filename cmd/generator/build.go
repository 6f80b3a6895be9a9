package main

import (
	"context"
	"fmt"
	"maps"
	"os"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/quaygen/quaygen/pkg/quaygen"
	"github.com/quaygen/quaygen/pkg/quaygen/config"
	"github.com/quaygen/quaygen/pkg/quaygen/ledger"
	"github.com/quaygen/quaygen/pkg/quaygen/ledger/kubeledger"
	"github.com/quaygen/quaygen/pkg/quaygen/quay"
	"github.com/quaygen/quaygen/pkg/quaygen/rotation"
)

// quayMetrics count the calls to Quay.
type quayMetrics struct {
	requests *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
	waits    *prometheus.HistogramVec
	limit    *prometheus.GaugeVec
	expiry   *prometheus.GaugeVec
}

func newQuayMetrics(registerer prometheus.Registerer) *quayMetrics {
	m := &quayMetrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "quaygen_quay_requests_total", Help: "Calls to Quay, by HTTP status; \"error\" where no complete answer came.",
		}, []string{"registry", "operation", "code"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "quaygen_quay_request_duration_seconds", Help: "Duration of calls to Quay, without waiting for our own limit.",
			Buckets: []float64{.01, .05, .1, .25, .5, 1, 2.5, 5, 10, 20},
		}, []string{"registry", "operation"}),
		waits: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "quaygen_quay_wait_seconds", Help: "How long calls to Quay waited for their turn under our own limit; lists and logins have as much of it as all other calls together, each of their own.",
			Buckets: []float64{.01, .1, 1, 10, 30},
		}, []string{"registry", "lane"}),
		limit: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "quaygen_quay_limit_calls_per_second", Help: "Our own limit for calls to Quay: qps of the registry's limits.",
		}, []string{"registry"}),
		expiry: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "quaygen_quay_token_expiry_timestamp_seconds", Help: "When the API token ends, as tokenExpires of the registry says; absent where it is not said, since no call with a token tells when that one ends.",
		}, []string{"registry"}),
	}
	registerer.MustRegister(m.requests, m.seconds, m.waits, m.limit, m.expiry)
	return m
}

func (m *quayMetrics) observer(registry string) func(operation, code string, elapsed time.Duration) {
	if m == nil {
		return nil
	}
	return func(operation, code string, elapsed time.Duration) {
		m.requests.WithLabelValues(registry, operation, code).Inc()
		m.seconds.WithLabelValues(registry, operation).Observe(elapsed.Seconds())
	}
}

func (m *quayMetrics) waited(registry string) func(lane string, waited time.Duration) {
	if m == nil {
		return nil
	}
	return func(lane string, waited time.Duration) {
		m.waits.WithLabelValues(registry, lane).Observe(waited.Seconds())
	}
}

// apply shows what the configuration that is in use now says.
func (m *quayMetrics) apply(c *config.Config) {
	m.limit.Reset()
	m.expiry.Reset()
	for _, r := range c.Registries {
		m.limit.WithLabelValues(r.Name).Set(r.Quay.QPS)
		if !r.TokenExpires.IsZero() {
			m.expiry.WithLabelValues(r.Name).Set(float64(r.TokenExpires.Unix()))
		}
	}
}

// maxCall bounds one call to Quay. No call may outlast the step deadline, since what it rests on would be too old.
const maxCall = 15 * time.Second

// assignments connects robots with clients for their registries.
func assignments(c *config.Config, m *quayMetrics) ([]rotation.Assignment, error) {
	clients := map[string]*quay.Client{}
	for _, r := range c.Registries {
		settings := r.Quay
		settings.Timeout = min(maxCall, c.Safety.StepDeadline)
		settings.Registry = r.Name
		settings.Observe, settings.Waited = m.observer(r.Name), m.waited(r.Name)
		client, err := quay.New(settings)
		if err != nil {
			return nil, fmt.Errorf("registry %q: %w", r.Name, err)
		}
		clients[r.Name] = client
	}
	var out []rotation.Assignment
	for _, r := range c.Robots {
		out = append(out, rotation.Assignment{Spec: r.Spec, Registry: r.Registry, Client: clients[r.Registry]})
	}
	return out, nil
}

// openLedger returns nil where no robot needs a ledger.
func openLedger(ctx context.Context, c *config.Config) (ledger.Store, error) {
	switch {
	case c.Ledger.File != "":
		return ledger.OpenFile(ctx, c.Ledger.File)
	case c.Ledger.Kubernetes.Namespace != "":
		api, err := kubernetes("ledger.kubernetes")
		if err != nil {
			return nil, err
		}
		return kubeledger.Open(kubeledger.Config{API: api, Namespace: c.Ledger.Kubernetes.Namespace, Instance: c.Instance})
	}
	return nil, nil //nolint:nilnil // no ledger is what was asked for
}

// readLedger returns the ledger for somebody who only looks. One that there is no way to says why to whoever asks it.
func readLedger(ctx context.Context, c *config.Config) ledger.Reader {
	if c.Ledger.File != "" {
		snapshot, err := ledger.ReadFile(c.Ledger.File)
		if err != nil {
			return unreadable{err}
		}
		return snapshot
	}
	store, err := openLedger(ctx, c)
	if err != nil {
		return unreadable{err}
	}
	return store
}

// unreadable is a ledger that there is no way to.
type unreadable struct{ why error }

func (u unreadable) Load(context.Context, quay.Robot) (ledger.Record, ledger.Version, error) {
	return ledger.Record{}, "", u.why
}

// kubernetes returns the way to the API server, for what the configuration calls key: the one that KUBECONFIG names, or
// that of the pod.
func kubernetes(key string) (*rest.Config, error) {
	api, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(clientcmd.NewDefaultClientConfigLoadingRules(), nil).ClientConfig()
	if err != nil {
		return nil, fmt.Errorf("%s needs a cluster: run as a pod with a ServiceAccount, or set KUBECONFIG: %w", key, err)
	}
	api.UserAgent = currentBuild().userAgent()
	api.QPS, api.Burst = 50, 100 // one read for each robot that is regenerated, at each sync
	return api, nil
}

// holder names this process for people who look into the ledger.
func holder() string {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown host"
	}
	return fmt.Sprintf("%s, process %d", host, os.Getpid())
}

// settings says what callers may ask for.
func settings(c *config.Config) *quaygen.Settings {
	hosts := map[string]string{}
	for _, r := range c.Registries {
		hosts[r.Name] = r.Host
	}
	parts := map[string]quaygen.Part{}
	out := &quaygen.Settings{Rules: c.Rules, Secrets: map[string]quaygen.PullSecret{}, Limits: map[string]quaygen.Limits{}}
	for _, client := range c.Clients {
		out.Limits[client.Name] = quaygen.Limits{
			QPS: client.Limits.QPS, Burst: client.Limits.Burst, Concurrent: client.Limits.Concurrent, Namespaces: client.MaxNamespaces,
		}
	}
	for _, r := range c.Robots {
		p := quaygen.Part{Robot: r.Name, Host: hosts[r.Registry], Email: r.Email, PerNamespace: r.Scope == rotation.PerNamespace}
		parts[r.Name] = p
		out.Secrets[r.Name] = quaygen.PullSecret{Parts: []quaygen.Part{p}, Tags: map[string]string{
			"registry": r.Registry, "organization": r.Base.Owner().Name(), "strategy": r.Strategy.String(), "scope": r.Scope.String(),
		}}
	}
	for _, s := range c.PullSecrets {
		secret := quaygen.PullSecret{Tags: maps.Clone(out.Secrets[s.Robots[0]].Tags)}
		for _, name := range s.Robots {
			secret.Parts = append(secret.Parts, parts[name])
			maps.DeleteFunc(secret.Tags, func(tag, value string) bool { return out.Secrets[name].Tags[tag] != value })
		}
		out.Secrets[s.Name] = secret
	}
	return out
}
