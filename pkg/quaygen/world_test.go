package quaygen_test

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/quaygen/quaygen/pkg/quaygen"
	"github.com/quaygen/quaygen/pkg/quaygen/policy"
	"github.com/quaygen/quaygen/pkg/quaygen/quay"
	"github.com/quaygen/quaygen/pkg/quaygen/quay/quaytest"
	"github.com/quaygen/quaygen/pkg/quaygen/rotation"
)

// A world is a Quay with an organization, and a service in front of it that looks after what [world.with] names. Make it
// inside a synctest bubble where time matters.
type world struct {
	quay    *quaytest.Server
	token   string // of the API
	service *quaygen.Service
	engine  *rotation.Engine
	client  *quay.Client
	specs   []rotation.Spec
	parts   map[string]quaygen.PullSecret
	rules   policy.Rules
	limits  map[string]quaygen.Limits
}

// A bubble's clock starts in the year 2000; generations are numbered from 2026.
const sinceThen = 27 * 365 * 24 * time.Hour

var apiScopes = []string{"org:admin", "repo:admin", "repo:create", "user:admin"}

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{
		quay:  quaytest.New(quaytest.Options{Now: func() time.Time { return time.Now().Add(sinceThen) }}),
		parts: map[string]quaygen.PullSecret{},
		rules: policy.Rules{
			{Clients: []string{"eso"}, Namespaces: []string{"prod-*"}, Names: []string{"puller", "both", "ghost-*"}},
			{Clients: []string{"everything"}, Namespaces: []string{"*"}, Names: []string{"*"}},
		},
	}
	w.quay.AddUser("admin")
	w.quay.AddOrganization("myorg", "admin")
	w.quay.AddRepository("myorg", "app")
	w.quay.AddRepository("myorg", "lib")
	w.token = w.quay.AddToken("admin", apiScopes...)
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte(w.token), 0o600); err != nil {
		t.Fatal(err)
	}
	var err error
	w.client, err = quay.New(quay.Config{URL: "https://quay.test", TokenFile: file, QPS: 1e6, Burst: 1e6, Transport: w.quay.Transport()})
	if err != nil {
		t.Fatal(err)
	}
	w.engine = rotation.New(rotation.Config{})
	w.service = quaygen.New(w.engine, slog.New(slog.DiscardHandler))
	w.add(t, "puller", "k8s_puller", "app")
	return w
}

// add configures a robot of myorg that may pull from repositories, and a pull secret of the same name.
func (w *world) add(t testing.TB, name, short string, repositories ...string) {
	t.Helper()
	owner, err := quay.ParseOrganization("myorg")
	if err != nil {
		t.Fatal(err)
	}
	base, err := quay.NewRobot(owner, short)
	if err != nil {
		t.Fatal(err)
	}
	spec := rotation.Spec{
		Name: name, Instance: "test", Base: base, Strategy: rotation.Overlap,
		Every: 720 * time.Hour, Overlap: 24 * time.Hour, Quiet: 2 * time.Hour, Max: 168 * time.Hour, MaxRefresh: time.Hour,
		Sync: 30 * time.Second, Safety: rotation.DefaultSafety(),
	}
	part := quaygen.Part{Robot: name, Host: "quay.test"}
	for _, r := range repositories {
		spec.Permissions.Repositories = append(spec.Permissions.Repositories, rotation.RepositoryGrant{Pattern: r, Role: quay.RoleRead})
	}
	w.specs = append(w.specs, spec)
	w.parts[name] = quaygen.PullSecret{Parts: []quaygen.Part{part}}
}

// join configures a pull secret of several robots.
func (w *world) join(name string, robots ...string) {
	var s quaygen.PullSecret
	for _, r := range robots {
		s.Parts = append(s.Parts, w.parts[r].Parts...)
	}
	w.parts[name] = s
}

// start begins to look after the robots, until the test ends.
func (w *world) start(t testing.TB) {
	t.Helper()
	var robots []rotation.Assignment
	for _, spec := range w.specs {
		robots = append(robots, rotation.Assignment{Spec: spec, Registry: "quay", Client: w.client})
	}
	w.engine.Apply(robots)
	w.service.Apply(&quaygen.Settings{Rules: w.rules, Secrets: w.parts, Limits: w.limits})
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = w.engine.Run(ctx) // always nil
	}()
	t.Cleanup(func() { stop(); <-done })
}

var (
	eso        = policy.Caller{Name: "eso", How: "test"}
	everything = policy.Caller{Name: "everything", How: "test"}
	puller     = quaygen.Request{Name: "puller", Namespace: "prod-shop"}
)

// get asks for a pull secret that must be there.
func (w *world) get(t testing.TB, r quaygen.Request) *quaygen.Answer {
	t.Helper()
	answer, err := w.service.Get(t.Context(), everything, r)
	if err != nil {
		t.Fatalf("Get(%+v): %v", r, err)
	}
	return answer
}

// kindOf asks for what must be refused.
func (w *world) kindOf(t testing.TB, caller policy.Caller, r quaygen.Request) quaygen.Kind {
	t.Helper()
	answer, err := w.service.Get(t.Context(), caller, r)
	if err == nil {
		t.Fatalf("Get(%+v) answered %s", r, answer.Body())
	}
	return quaygen.AsError(err).Kind
}

// retoken makes a client that uses another API token.
func (w *world) retoken(t testing.TB, token string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte(token), 0o600); err != nil {
		t.Fatal(err)
	}
	client, err := quay.New(quay.Config{URL: "https://quay.test", TokenFile: file, QPS: 1e6, Burst: 1e6, Transport: w.quay.Transport()})
	if err != nil {
		t.Fatal(err)
	}
	w.client = client
}
