package e2e

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/util/yaml"

	"github.com/quaygen/quaygen/e2e/cluster"
	"github.com/quaygen/quaygen/e2e/process"
	"github.com/quaygen/quaygen/e2e/product"
	"github.com/quaygen/quaygen/pkg/quaygen/certificate/certificatetest"
)

const (
	// storyTimeout bounds one story once its parts run; the longest takes two minutes.
	storyTimeout = 4 * time.Minute
	// cleanTimeout bounds the removal of a story's objects.
	cleanTimeout = time.Minute
	// lookInterval is how often a story looks whether something has come about.
	lookInterval = 100 * time.Millisecond
)

// A stage is what one story plays on: Quay, quaygen behind a Service, and ESO;
// less where the story needs less.
// Everything on it goes with the story, but for namespaces: no two stories use
// the same one, except "quaygen".
type stage struct {
	t        *testing.T
	ctx      context.Context
	c        *cluster.Cluster
	eso      *process.Process
	dir      string
	ca       *certificatetest.Pair
	programs product.Programs
	quay     *product.Quay
	service  *product.Service
	pair     [2]string          // files of quaygen's certificate and key
	config   string             // file of quaygen's configuration
	replicas int                // started so far
	replica  *product.Generator // the last one started

	bearers    map[string]string // token by client
	namespaces map[string]bool   // that the story has made
}

// setStage starts Quay, quaygen with the chart's configuration changed as
// configure says, and ESO with args.
func setStage(t *testing.T, changes string, args ...string) *stage {
	t.Helper()
	c := shared(t)
	eso := operator(t, c, args...)
	s := emptyStage(t)
	s.c, s.eso = c, eso
	var err error
	s.service, err = product.NewService(s.ctx)
	check(t, err)
	t.Cleanup(s.service.Close)
	s.configure(changes)
	s.service.Use(s.start())
	s.makeNamespace("quaygen")
	s.trust("quaygen")
	s.token("quaygen", "eso")
	t.Cleanup(s.look)
	return s
}

// emptyStage starts Quay alone, and with it the story's time: call it when the
// other parts are there, since to build them takes longer than any story.
func emptyStage(t *testing.T) *stage {
	t.Helper()
	chartObject(t, "values.yaml", "quaygen", "ConfigMap", "quaygen") // which builds what renders it
	s := &stage{t: t, programs: programs(t), bearers: map[string]string{}, namespaces: map[string]bool{}}
	s.dir = filepath.Join(control.dir, t.Name())
	check(t, os.MkdirAll(s.dir, 0o700))
	s.config = s.path("generator.yaml")

	ctx, cancel := context.WithTimeout(t.Context(), storyTimeout)
	t.Cleanup(cancel)
	s.ctx = ctx
	s.ca = certificatetest.Authority("quaygen-e2e")
	var err error
	s.quay, err = s.programs.StartQuay(ctx, s.dir, s.ca)
	check(t, err)
	t.Cleanup(s.quay.Kill)
	token, err := s.quay.APIToken()
	check(t, err)
	known.credential("the API token", token)
	own := s.ca.Issue("quaygen", certificatetest.ForLoopback)
	s.pair = [2]string{s.write("tls.crt", own.CertPEM()), s.write("tls.key", own.KeyPEM())}
	return s
}

func (s *stage) path(name string) string { return filepath.Join(s.dir, name) }

func (s *stage) write(name string, content []byte) string {
	s.t.Helper()
	check(s.t, os.WriteFile(s.path(name), content, 0o600))
	return s.path(name)
}

// configure writes the configuration that the chart makes of testdata/values.yaml,
// with the top-level keys that changes has in place of its own. Addresses, files
// and ports become those of the stage, and every client gets a token. A
// replica that runs takes it up by itself.
func (s *stage) configure(changes string) {
	s.t.Helper()
	shipped := chartObject(s.t, "values.yaml", "quaygen", "ConfigMap", "quaygen")["data"].(map[string]any)["generator.yaml"].(string)
	config := map[string]any{}
	check(s.t, yaml.Unmarshal([]byte(shipped), &config))
	check(s.t, yaml.Unmarshal([]byte(changes), &config))

	for _, registry := range entries(config["registries"]) {
		registry["url"], registry["tokenFile"], registry["caFile"] = s.quay.URL, s.quay.TokenFile, s.quay.CAFile
	}
	for _, client := range entries(config["clients"]) {
		if client["serviceAccount"] != nil {
			continue // the cluster gives it its token
		}
		name := client["name"].(string)
		if s.bearers[name] == "" {
			s.bearers[name] = rand.Text()
			known.credential("the bearer token of "+name, s.bearers[name])
		}
		client["bearerTokenFile"] = s.write("client-"+name, []byte(s.bearers[name]))
	}
	anyPort := map[string]any{"listen": "127.0.0.1:0"}
	config["server"] = map[string]any{
		"http": anyPort, "grpc": anyPort, "admin": anyPort, "tls": map[string]any{"certFile": s.pair[0], "keyFile": s.pair[1]},
	}
	if config["audit"] == nil {
		config["audit"] = map[string]any{"stdout": true} // for the hunt
	}
	content, err := json.MarshalIndent(config, "", "  ") // JSON is YAML
	check(s.t, err)
	// Nobody may ever read half of it.
	check(s.t, os.Rename(s.write("generator.yaml.new", content), s.config))
}

// entries returns a list of maps as such.
func entries(list any) []map[string]any {
	var out []map[string]any
	for _, item := range list.([]any) {
		out = append(out, item.(map[string]any))
	}
	return out
}

// start starts one more replica, with this environment. The Service does not know
// it yet.
func (s *stage) start(env ...string) *product.Generator {
	s.t.Helper()
	s.replicas++
	name := fmt.Sprintf("generator-%d", s.replicas)
	g, err := s.programs.StartGenerator(s.ctx, s.config, s.path(name+".log"), env...)
	check(s.t, err)
	s.replica = g
	s.t.Cleanup(func() { s.end(name, g) })
	return g
}

// end ends a replica as Kubernetes does, and keeps what monitoring saw of it
// for the hunt. One that a story has killed is left alone.
func (s *stage) end(name string, g *product.Generator) {
	select {
	case <-g.Done():
		return
	default:
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(s.t.Context()), stopTimeout)
	defer cancel()
	for _, path := range []string{"/metrics", "/readyz?verbose", "/statusz"} {
		_, body, err := g.Ask(ctx, path)
		if err != nil {
			s.t.Error(err)
		}
		s.write(name+strings.NewReplacer("/", "-", "?", "-").Replace(path)+".log", []byte(body))
	}
	if err := g.Stop(ctx); err != nil {
		s.t.Error(err)
	}
}

// look ends a story: it reports the events that its users saw, and remembers
// the robots' tokens for the hunt.
func (s *stage) look() {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(s.t.Context()), stopTimeout)
	defer cancel()
	for namespace := range s.namespaces {
		s.reportEvents(ctx, namespace)
	}
	robots, err := s.quay.Robots(ctx)
	if err != nil {
		s.t.Error(err)
	}
	for _, r := range robots {
		known.fingerprint("the token of "+r.Name, r.Fingerprint)
	}
}

// until returns as soon as holds does.
func (s *stage) until(what string, holds func() bool) {
	s.t.Helper()
	s.untilSeen(lookInterval, what, holds)
}

// untilSeen is until for what does not last, and is looked for more often.
func (s *stage) untilSeen(interval time.Duration, what string, holds func() bool) {
	s.t.Helper()
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for !holds() {
		select {
		case <-tick.C:
		case <-s.ctx.Done():
			s.t.Fatalf("waiting until %s: %v", what, s.ctx.Err())
		}
	}
}

// say logs a step of the story with the time since began.
func (s *stage) say(began time.Time, format string, args ...any) {
	s.t.Helper()
	s.t.Logf("%5.1fs  %s", time.Since(began).Seconds(), fmt.Sprintf(format, args...))
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
