package httpapi_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/quaygen/quaygen/pkg/quaygen"
	"github.com/quaygen/quaygen/pkg/quaygen/auth"
	"github.com/quaygen/quaygen/pkg/quaygen/httpapi"
	"github.com/quaygen/quaygen/pkg/quaygen/policy"
	"github.com/quaygen/quaygen/pkg/quaygen/quay"
	"github.com/quaygen/quaygen/pkg/quaygen/quay/quaytest"
	"github.com/quaygen/quaygen/pkg/quaygen/rotation"
	"github.com/quaygen/quaygen/pkg/quaygen/secret/secrettest"
)

const (
	esoToken  = "eso-token-0123456789abcdef"
	teamToken = "team-token-0123456789abcdef"
	allToken  = "all-token-0123456789abcdef"
)

// A world is the handler for callers with all that is behind it, down to a Quay in memory.
type world struct {
	quay     *quaytest.Server
	handler  http.Handler
	log      *logBuffer
	refusals logBuffer // what callers were told that got no credential
	registry *prometheus.Registry
	engine   *rotation.Engine
	service  *quaygen.Service
}

// A bubble's clock starts in the year 2000; generations are numbered from 2026.
const sinceThen = 27 * 365 * 24 * time.Hour

// newWorld returns a world whose robots are being minted.
func newWorld(t testing.TB) *world {
	t.Helper()
	w := newIdleWorld(t)
	w.start(t)
	return w
}

// newIdleWorld returns a world in which nothing has happened yet.
func newIdleWorld(t testing.TB, changes ...func(*httpapi.Config)) *world {
	t.Helper()
	w := &world{
		quay:     quaytest.New(quaytest.Options{Now: func() time.Time { return time.Now().Add(sinceThen) }}),
		log:      &logBuffer{},
		registry: prometheus.NewRegistry(),
	}
	t.Cleanup(func() { w.hunt(t) }) // when all else has ended
	w.quay.AddUser("admin")
	w.quay.AddOrganization("myorg", "admin")
	w.quay.AddRepository("myorg", "app")
	client, err := quay.New(quay.Config{
		URL: "https://quay.test", TokenFile: file(t, "api", w.quay.AddToken("admin", "org:admin", "repo:admin", "user:admin")),
		QPS: 1e6, Burst: 1e6, Transport: w.quay.Transport(),
	})
	if err != nil {
		t.Fatal(err)
	}
	bearer, err := auth.Bearer([]auth.BearerClient{
		{Name: "eso", TokenFile: file(t, "eso", esoToken)},
		{Name: "team-a", Namespace: "team-a", TokenFile: file(t, "team", teamToken)},
		{Name: "all", TokenFile: file(t, "all", allToken)},
	})
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.NewTextHandler(w.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	engine := rotation.New(rotation.Config{Log: log})
	service := quaygen.New(engine, log)
	engine.Apply([]rotation.Assignment{assignment(t, client, "puller"), assignment(t, client, "partner")})
	service.Apply(settings())
	w.engine, w.service = engine, service
	config := httpapi.Config{Service: service, Authenticate: auth.Chain(bearer.Authenticate), Log: log, Metrics: quaygen.NewMetrics(w.registry)}
	for _, change := range changes {
		change(&config)
	}
	w.handler = httpapi.New(config)
	return w
}

func (w *world) start(t testing.TB) {
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = w.engine.Run(ctx) // always nil
	}()
	t.Cleanup(func() { stop(); <-done })
}

func settings() *quaygen.Settings {
	part := func(name string) quaygen.PullSecret {
		return quaygen.PullSecret{Parts: []quaygen.Part{{Robot: name, Host: "quay.test"}}}
	}
	return &quaygen.Settings{
		Rules: policy.Rules{
			{Clients: []string{"eso"}, Namespaces: []string{"prod-*"}, Names: []string{"puller"}},
			{Clients: []string{"team-a"}, Namespaces: []string{"*"}, Names: []string{"puller"}},
			{Clients: []string{"all"}, Namespaces: []string{"*"}, Names: []string{"*"}},
		},
		Secrets: map[string]quaygen.PullSecret{"puller": part("puller"), "partner": part("partner")},
	}
}

func assignment(t testing.TB, client *quay.Client, name string) rotation.Assignment {
	t.Helper()
	owner, err := quay.ParseOrganization("myorg")
	if err != nil {
		t.Fatal(err)
	}
	base, err := quay.NewRobot(owner, "k8s_"+name)
	if err != nil {
		t.Fatal(err)
	}
	return rotation.Assignment{Registry: "quay", Client: client, Spec: rotation.Spec{
		Name: name, Instance: "test", Base: base, Strategy: rotation.Overlap,
		Every: 720 * time.Hour, Overlap: 24 * time.Hour, Quiet: 2 * time.Hour, Max: 168 * time.Hour, MaxRefresh: time.Hour,
		Sync: 30 * time.Second, Safety: rotation.DefaultSafety(),
		Permissions: rotation.Permissions{Repositories: []rotation.RepositoryGrant{{Pattern: "app", Role: quay.RoleRead}}},
	}}
}

func file(t testing.TB, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// do sends a request straight to the handler.
func (w *world) do(method, target, token string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, target, http.NoBody)
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	recorder := httptest.NewRecorder()
	w.handler.ServeHTTP(recorder, r)
	if recorder.Code != http.StatusOK {
		_, _ = fmt.Fprintln(&w.refusals, recorder.Header(), recorder.Body) // into memory
	}
	return recorder
}

// hunt looks for tokens where none may be.
func (w *world) hunt(t testing.TB) {
	t.Helper()
	said := w.log.String() + w.refusals.String()
	families, err := w.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		said += family.String()
	}
	for _, token := range append(w.quay.Tokens(), esoToken, teamToken, allToken) {
		if secrettest.Reveals(said, token) {
			t.Error("the log, a metric or a refusal holds a token")
		}
	}
}

const target = "/v1/pullsecrets/puller?namespace=prod-shop"

type problem struct {
	Type   string `json:"type"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail"`
}

// problemOf checks that an answer is a problem document (RFC 9457), and returns it.
func problemOf(t testing.TB, a *httptest.ResponseRecorder) problem {
	t.Helper()
	var p problem
	decoder := json.NewDecoder(bytes.NewReader(a.Body.Bytes()))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&p); err != nil {
		t.Fatalf("%d: %v: %s", a.Code, err, a.Body)
	}
	if kind := a.Header().Get("Content-Type"); kind != "application/problem+json" || p.Status != a.Code || p.Title == "" || p.Detail == "" || p.Type != "about:blank" {
		t.Errorf("%d %s is no good problem document: %+v", a.Code, kind, p)
	}
	return p
}

// logBuffer keeps what is logged.
type logBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

func logTo(b *logBuffer) *slog.Logger {
	return slog.New(slog.NewTextHandler(b, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// serviceOf returns a service without any robot.
func serviceOf(t testing.TB) *quaygen.Service {
	t.Helper()
	return quaygen.New(rotation.New(rotation.Config{}), slog.New(slog.DiscardHandler))
}
