package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"

	"github.com/quaygen/quaygen/pkg/quaygen"
	"github.com/quaygen/quaygen/pkg/quaygen/auth"
	"github.com/quaygen/quaygen/pkg/quaygen/certificate/certificatetest"
	"github.com/quaygen/quaygen/pkg/quaygen/config"
	"github.com/quaygen/quaygen/pkg/quaygen/grpcapi"
	"github.com/quaygen/quaygen/pkg/quaygen/httpapi"
	"github.com/quaygen/quaygen/pkg/quaygen/policy"
	"github.com/quaygen/quaygen/pkg/quaygen/quay/quaytest"
	"github.com/quaygen/quaygen/pkg/quaygen/secret/secrettest"
)

const matrixConfig = `apiVersion: quaygen.dev/v1alpha1
kind: GeneratorConfig
instance: test
registries: [{name: quay, url: %q, tokenFile: ./token, limits: {qps: 100, burst: 100}}]
robots:
- {name: puller, registry: quay, organization: myorg, robot: k8s_puller, permissions: {repositories: [{name: app}]}}
- {name: partner, registry: quay, organization: myorg, robot: k8s_partner, permissions: {repositories: [{name: lib}]}}
pullSecrets: [{name: pull-both, robots: [puller, partner]}, {name: puller-2, robots: [partner]}]
audit: {stdout: true}
server: {http: {listen: "127.0.0.1:0"}, grpc: {listen: "127.0.0.1:0"}, admin: {listen: "127.0.0.1:0"}, tls: {certFile: ./tls.crt, keyFile: ./tls.key, clientCAFile: ./ca.crt}}
`

// A mutant is a service that decides otherwise than it should, made by what it is given. The zero mutant changes nothing.
type mutant struct {
	config   func(*config.Config) // what a service is configured with that reads it otherwise
	caller   func(*policy.Caller)
	settings func(*quaygen.Settings)
	gullible bool                     // nobody looks whether a token of a ServiceAccount is one
	about    func(matrixRequest) bool // what has to tell it from a good one; nil: whatever does
}

// A matrix is a service with every way in open, on loopback, whose rules are replaced again and again.
type matrix struct {
	t      *testing.T
	dir    string
	quay   string // its URL
	api    *apiServer
	server *server
	mutant atomic.Pointer[mutant]
	http   string // host:port
	grpc   string
	roots  *x509.CertPool
	show   map[string]*tls.Certificate // by client
	conns  map[string]*grpc.ClientConn // by way and client
	https  map[string]*http.Client
	tokens map[matrixAccount]string
	said   lockedBuffer // log, audit trail and refusals
}

func matrixToken(client string) string { return client + "-token-0123456789abcdef" }

func newMatrix(t *testing.T) *matrix {
	t.Helper()
	m := &matrix{t: t, dir: t.TempDir(), api: &apiServer{}, show: map[string]*tls.Certificate{}, conns: map[string]*grpc.ClientConn{}, https: map[string]*http.Client{}, tokens: map[matrixAccount]string{}}
	m.write("kubeconfig", kubeconfig("http://"+newLoopback(t, m.api))) // it is asked about tokens; labels are the matrix's own
	t.Setenv("KUBECONFIG", filepath.Join(m.dir, "kubeconfig"))
	inMemory := quaytest.New(quaytest.Options{})
	t.Cleanup(func() { m.hunt(inMemory.Tokens()) }) // when all else has ended
	inMemory.AddUser("admin")
	inMemory.AddOrganization("myorg", "admin")
	inMemory.AddRepository("myorg", "app")
	inMemory.AddRepository("myorg", "lib")
	quayListener := newLoopback(t, inMemory)
	inMemory.SetHostname("http", quayListener)
	m.quay = "http://" + quayListener
	m.write("token", inMemory.AddToken("admin", "org:admin", "repo:admin", "user:admin"))
	ca := certificatetest.Authority("authority")
	m.write("ca.crt", string(ca.CertPEM()))
	m.roots = ca.Pool()
	for _, c := range append([]matrixClient{{name: "nobody"}}, matrixClients...) {
		m.write(c.name, matrixToken(c.name))
		m.show[c.name] = ca.Client(c.name)
	}
	own := ca.Issue("server", certificatetest.ForLoopback)
	m.write("tls.crt", string(own.CertPEM()))
	m.write("tls.key", string(own.KeyPEM()))
	m.serve()
	return m
}

func newLoopback(t *testing.T, h http.Handler) (address string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: h}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = s.Serve(l)
	}()
	t.Cleanup(func() { _ = s.Close(); <-done })
	return l.Addr().String()
}

func (m *matrix) write(name, content string) {
	m.t.Helper()
	if err := os.WriteFile(filepath.Join(m.dir, name), []byte(content), 0o600); err != nil {
		m.t.Fatal(err)
	}
}

// load reads a configuration with these rules.
func (m *matrix) load(rules []statement) *config.Config {
	m.t.Helper()
	text := m.text(rules)
	m.write("generator.yaml", text)
	cfg, err := config.Load(filepath.Join(m.dir, "generator.yaml"))
	if err != nil {
		m.t.Fatalf("%v\n%s", err, text)
	}
	return cfg
}

func (m *matrix) text(rules []statement) string {
	text := fmt.Sprintf(matrixConfig, m.quay) + "clients:\n"
	for _, c := range matrixClients {
		if c.accounts != nil {
			text += c.yaml()
			continue
		}
		speaks := map[string]string{"": "namespaceFrom: request", "-": "operator: view"}[c.namespace]
		if speaks == "" {
			speaks = "namespace: " + c.namespace
		}
		text += fmt.Sprintf("- {name: %s, bearerTokenFile: ./%s, certificate: {commonName: %s}, %s}\n", c.name, c.name, c.name, speaks)
	}
	if len(rules) > 0 {
		text += "rules:\n"
	}
	return text + writtenRules(rules)
}

// serve opens the ways in, and waits until there are credentials.
func (m *matrix) serve() {
	t := m.t
	t.Helper()
	log := slog.New(slog.NewTextHandler(&m.said, &slog.HandlerOptions{Level: slog.LevelDebug}))
	everything := []statement{{clients: []string{"*"}, namespaces: []string{"*"}, names: []string{"*"}}}
	cfg := m.load(everything)
	registry := prometheus.NewRegistry()
	trail, err := openAudit(cfg, registry, log, &m.said)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := endAudit(context.WithoutCancel(t.Context()), trail, nil); err != nil {
			t.Error(err)
		}
	})
	if m.server, err = newServer(log, filepath.Join(m.dir, "generator.yaml"), cfg, cfg.Server, outlets{registry: registry, trail: trail}); err != nil {
		t.Fatal(err)
	}
	m.mutant.Store(&mutant{})
	var requests atomic.Uint32
	authenticate := func(p auth.Presented) (policy.Caller, error) {
		// Each from a network of its own: how many fail is not what this is about.
		p.From = fmt.Sprintf("[2001:db8:%x:%x::1]:1", requests.Add(1)>>16, requests.Load()&0xffff)
		caller, err := m.server.auth.Authenticate(p)
		if change := m.mutant.Load().caller; change != nil && err == nil {
			change(&caller)
		}
		return caller, err
	}
	ctx, stop := context.WithCancel(context.Background())
	open, err := m.server.open()
	if err != nil {
		t.Fatal(err)
	}
	_ = open.admin.Close()
	m.http, m.grpc = open.http.Addr().String(), open.grpc.Addr().String()
	api := httpapi.NewServer(httpapi.New(httpapi.Config{Service: m.server.service, Authenticate: m.server.lobbies.http.watching(authenticate), Log: log}), log)
	calls := grpcapi.New(grpcapi.Config{Service: m.server.service, Authenticate: m.server.lobbies.grpc.watching(authenticate), Log: log, TLS: m.server.identities["grpc"].config()})
	done := make(chan struct{}, 3)
	run := func(f func() error) {
		go func() {
			defer func() { done <- struct{}{} }()
			if err := f(); err != nil && !errors.Is(err, http.ErrServerClosed) {
				t.Error(err)
			}
		}()
	}
	run(func() error { return m.server.engine.Run(ctx) })
	run(func() error { return api.Serve(tls.NewListener(open.http, m.server.identities["http"].config())) })
	run(func() error { return calls.Serve(open.grpc) })
	t.Cleanup(func() {
		for _, c := range m.conns {
			_ = c.Close()
		}
		stop()
		_ = api.Close()
		_ = calls.Shutdown(ctx) // cuts off what is left
		for range cap(done) {
			<-done
		}
	})
	deadline := time.Now().Add(patience)
	for {
		_, err := m.server.service.Get(t.Context(), policy.Caller{Name: "eso"}, quaygen.Request{Name: "pull-both", Namespace: "prod-a"})
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}

// use puts rules to use, as a mutant of the service sees them.
func (m *matrix) use(rules []statement, as mutant) {
	m.t.Helper()
	cfg := m.load(rules)
	if as.config != nil {
		as.config(cfg)
	}
	if err := m.server.apply(cfg); err != nil {
		m.t.Fatal(err)
	}
	answers := settings(cfg)
	answers.Labels = func(namespace string) policy.Labels {
		labels, found := matrixLabels[namespace]
		switch {
		case namespace == "prod-new":
			return policy.Labels{Knowledge: policy.LabelsLater}
		case !found:
			return policy.Labels{}
		}
		return policy.Labels{Knowledge: policy.LabelsKnown, Values: labels}
	}
	if as.settings != nil {
		as.settings(answers)
	}
	m.mutant.Store(&as)
	m.server.service.Apply(answers)
}

// play draws sets of rules and requests, and returns what is not as the oracle says, up to most.
func (m *matrix) play(seed uint64, sets, perWay, most int, as mutant) (wrong []string, seen map[string]int) {
	m.t.Helper()
	m.api.gullible.Store(as.gullible)
	m.server.reviews.made.Store(nil) // what another service was told of tokens
	random := rand.New(rand.NewPCG(seed, 5))
	seen = map[string]int{}
	for range sets {
		rules := drawRules(random)
		m.use(rules, as)
		for _, r := range drawRequests(random, rules, perWay) {
			if as.about != nil && !as.about(r) {
				continue
			}
			want := oracle(rules, r)
			seen[r.way+": "+want]++
			got, users := m.ask(r)
			if problem := compareOutcome(r, got, want, users); problem != "" {
				wrong = append(wrong, fmt.Sprintf("%v: %s\nrules:\n%s", r, problem, writtenRules(rules)))
			}
			if len(wrong) >= most {
				return wrong, seen
			}
		}
	}
	return wrong, seen
}

// hunt looks for tokens where nobody may read one, those that came with requests included.
func (m *matrix) hunt(secrets []string) {
	for _, c := range matrixClients {
		secrets = append(secrets, matrixToken(c.name))
	}
	for _, token := range m.tokens {
		secrets = append(secrets, token)
	}
	said := m.said.String()
	for _, secret := range secrets {
		if secrettest.Reveals(said, secret) {
			m.t.Error("the log, the audit trail or a refusal holds a token")
		}
	}
	if !strings.Contains(said, `"type":"request"`) || !strings.Contains(said, "request refused") || !strings.Contains(said, "application/problem+json") || !strings.Contains(said, "PermissionDenied") {
		m.t.Error("what is said is not all looked through")
	}
}

func compareOutcome(r matrixRequest, got, want string, users []string) string {
	if got != want {
		return fmt.Sprintf("%s, not %s", got, want)
	}
	if got != granted {
		return ""
	}
	robots := matrixSecrets[r.name]
	if len(users) != len(robots) {
		return fmt.Sprintf("the credentials of %v, not of %v", users, robots)
	}
	for _, robot := range robots {
		if !slices.ContainsFunc(users, func(u string) bool { return strings.HasPrefix(u, "myorg+k8s_"+robot+"_g") }) {
			return fmt.Sprintf("the credentials of %v, not of %v", users, robots)
		}
	}
	return ""
}

func writtenRules(rules []statement) (text string) {
	for _, r := range rules {
		text += r.yaml()
	}
	return text
}
