package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"runtime/debug"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"
	"k8s.io/client-go/rest"

	"github.com/quaygen/quaygen/pkg/quaygen"
	"github.com/quaygen/quaygen/pkg/quaygen/audit"
	"github.com/quaygen/quaygen/pkg/quaygen/auth"
	"github.com/quaygen/quaygen/pkg/quaygen/config"
	"github.com/quaygen/quaygen/pkg/quaygen/grpcapi"
	"github.com/quaygen/quaygen/pkg/quaygen/httpapi"
	"github.com/quaygen/quaygen/pkg/quaygen/ledger"
	"github.com/quaygen/quaygen/pkg/quaygen/namespaces"
	"github.com/quaygen/quaygen/pkg/quaygen/rotation"
	"github.com/quaygen/quaygen/pkg/quaygen/tracing"
	"github.com/quaygen/quaygen/pkg/quaygen/tracing/otlp"
)

// drainTime is how long requests under way may take to end after SIGTERM.
const drainTime = 15 * time.Second

func newServe(root *rootOptions) *cobra.Command {
	var configPath func() (string, error)
	var flags listenFlags
	c := &cobra.Command{
		Use:   "serve --config FILE",
		Short: "Run the service",
		Long: `Run the service. The configuration is read again when the file changes; a file that is not valid
changes nothing. SIGTERM ends the service after the requests under way.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			path, err := configPath()
			if err != nil {
				return err
			}
			cfg, err := loadConfig(path, config.Options{})
			if err != nil {
				return err
			}
			listen, err := flags.over(cfg.Server)
			if err != nil {
				return err
			}
			collectSooner()
			return serve(c.Context(), root.log, path, cfg, listen, c.OutOrStdout())
		},
	}
	configPath = configFlag(c)
	c.Flags().StringVar(&flags.http, "http-listen", "", "listen here for callers instead of at server.http.listen")
	c.Flags().StringVar(&flags.grpc, "grpc-listen", "", "listen here for callers that use gRPC, also where the configuration has no server.grpc")
	c.Flags().StringVar(&flags.admin, "admin-listen", "", "listen here for probes and metrics instead of at server.admin.listen")
	return c
}

// collectSooner lets garbage grow to half of what is in use, unless GOGC says otherwise. Lists of many robots are garbage as soon as
// they are read; collecting them more often costs a fraction of a second per minute (docs/sizing.md).
func collectSooner() {
	if os.Getenv("GOGC") == "" { //nolint:forbidigo // as the runtime reads it, and docs/sizing.md says so
		debug.SetGCPercent(50)
	}
}

// serve runs the service until ctx ends. The audit trail may go to stdout.
func serve(ctx context.Context, log *slog.Logger, path string, cfg *config.Config, listen config.Server, stdout io.Writer) (err error) {
	to := outlets{registry: prometheus.NewRegistry()}
	if to.ledger, err = openLedger(ctx, cfg); err != nil {
		return err
	}
	if to.ledger != nil {
		defer func() { _ = to.ledger.Close() }() // every write is on the disk already
	}
	if to.traces, err = openTracing(ctx, cfg, to.registry, log); err != nil {
		return err
	}
	defer endTracing(ctx, to.traces, log)
	if to.trail, err = openAudit(cfg, to.registry, log, stdout); err != nil {
		return err
	}
	s, err := newServer(log, path, cfg, listen, to)
	if err == nil {
		err = s.run(ctx)
	}
	return endAudit(ctx, to.trail, err)
}

// listenFlags replace addresses of the configuration; an empty one replaces nothing.
type listenFlags struct{ http, grpc, admin string }

func (f listenFlags) over(s config.Server) (config.Server, error) {
	if f.http != "" {
		s.HTTP.Listen = f.http
	}
	if f.grpc != "" {
		s.GRPC.Enabled, s.GRPC.Listen = true, f.grpc
	}
	if f.admin != "" {
		s.Admin.Listen = f.admin
	}
	// The file was checked with its own listeners; plaintext beyond loopback must not slip in by a flag.
	if err := s.Check(); err != nil {
		return s, usageError{err}
	}
	return s, nil
}

// server is everything that one generator serve consists of.
type server struct {
	log     *slog.Logger
	path    string
	started *config.Config // what the process started with
	listen  config.Server  // listeners and certificates: fixed until restart

	identities map[string]*identity // by listener, http and grpc; none for one that serves plaintext
	lobbies    lobbies

	outlets
	requests *tracing.Requests // that are traced, on all ways in; nil: none are
	engine   *rotation.Engine
	service  *quaygen.Service
	labels   *namespaces.Watcher // of namespaces
	auth     authenticator
	guard    *auth.Guard
	reviews  *reviews
	quay     *quayMetrics
	reloaded prometheus.Gauge
	loadErr  atomic.Pointer[error]
	draining atomic.Bool
	wasReady atomic.Bool // every organization could be answered for, once
	inUse    atomic.Pointer[inUse]
	since    time.Time // when the process started
}

// outlets are what a server writes to beside its log. All but the registry may be nil: there is none.
type outlets struct {
	registry *prometheus.Registry
	ledger   ledger.Store
	trail    *audit.Log
	traces   *otlp.Provider
}

func newServer(log *slog.Logger, path string, cfg *config.Config, listen config.Server, to outlets) (*server, error) {
	s := &server{log: withTraces(log, to.traces), path: path, started: cfg, listen: listen, outlets: to, requests: tracing.NewRequests(tracerOf(to.traces)), since: time.Now()}
	s.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), buildInfo())
	s.quay = newQuayMetrics(s.registry)
	log = s.log
	s.lobbies = newLobbies(log, s.registry)
	s.guard, s.reviews = newGuard(log, s.registry), newReviews(s.registry)
	s.reloaded = prometheus.NewGauge(prometheus.GaugeOpts{Name: "quaygen_config_last_reload_successful", Help: "Whether the configuration file, as it is now, is in use."})
	s.registry.MustRegister(s.reloaded)
	s.engine = rotation.New(rotation.Config{Log: log, Registerer: s.registry, Ledger: s.ledger, Holder: holder(), Acted: quaygen.AuditActs(s.trail), Tracer: tracerOf(s.traces)})
	s.service = quaygen.New(s.engine, log)
	s.labels = namespaces.New(func() (*rest.Config, error) { return kubernetes("namespaceLabels") }, log)
	s.service.Audit(s.trail)
	if err := s.loadIdentities(); err != nil {
		return nil, err
	}
	if err := s.apply(cfg); err != nil {
		return nil, err
	}
	return s, nil
}

// loadIdentities reads what the listeners show. Two that show the same each follow the files by themselves.
func (s *server) loadIdentities() error {
	s.identities = make(map[string]*identity)
	files := map[string]config.TLS{"http": s.listen.TLS}
	if s.listen.GRPC.Enabled {
		files["grpc"] = s.listen.GRPCTLS()
	}
	for listener, names := range files {
		identity, err := loadIdentity(names)
		if err != nil {
			return err
		}
		if identity != nil {
			identity.register(s.registry, listener)
			s.identities[listener] = identity
		}
	}
	return nil
}

// apply builds all that a configuration asks for, and only then puts it to use.
func (s *server) apply(cfg *config.Config) error {
	robots, err := assignments(cfg, s.quay)
	if err != nil {
		return err
	}
	authenticate, err := authenticators(cfg, s.reviews.reviewer)
	if err != nil {
		return err
	}
	authenticate = s.guard.Over(authenticate)
	if cfg.Rules.NeedLabels() {
		if err := s.labels.Need(); err != nil {
			s.log.Warn("rules with namespaceLabels allow nothing", "reason", err)
		}
	}
	s.trail.Record(&audit.Configuration{Digest: cfg.Digest(), Result: audit.ResultOK})
	s.auth.current.Store(&authenticate)
	s.engine.Apply(robots)
	s.quay.apply(cfg)
	answers := settings(cfg)
	answers.Labels = s.labels.Labels
	s.service.Apply(answers)
	s.inUse.Store(newInUse(cfg))
	s.reloaded.Set(1)
	s.loadErr.Store(nil)
	for _, w := range cfg.Warnings() {
		s.log.Warn("configuration", "problem", w.String())
	}
	s.log.Info("configuration in use", "file", s.path, "digest", cfg.Digest(), "robots", len(cfg.Robots), "clients", len(cfg.Clients))
	return nil
}

func (s *server) reload(cfg *config.Config) error {
	if cfg.Server != s.started.Server {
		s.log.Warn("changes of server: take effect at the next start", "file", s.path)
	}
	if cfg.Ledger != s.started.Ledger {
		s.log.Warn("changes of ledger: take effect at the next start", "file", s.path)
	}
	if cfg.Audit != s.started.Audit {
		s.log.Warn("changes of audit: take effect at the next start", "file", s.path)
	}
	if cfg.Tracing != s.started.Tracing {
		s.log.Warn("changes of tracing: take effect at the next start", "file", s.path)
	}
	return s.apply(cfg)
}

// keep reports a configuration that cannot be used; the one in use stays.
func (s *server) keep(err error) {
	s.reloaded.Set(0)
	s.loadErr.Store(&err)
	s.trail.Record(&audit.Configuration{Result: audit.ResultInvalid, Reason: firstLine(err)})
	s.log.Error("the new configuration is not used; the old one stays", "file", s.path, "error", err)
}

// listeners are the ports that are open; grpc is nil where nobody asked for it.
type listeners struct{ http, grpc, admin net.Listener }

// open opens all ports, or none.
func (s *server) open() (l listeners, err error) {
	defer func() {
		if err != nil {
			l.close()
		}
	}()
	if l.http, err = listen(s.listen.HTTP.Listen, "callers (server.http.listen)"); err != nil {
		return l, err
	}
	if s.listen.GRPC.Enabled {
		if l.grpc, err = listen(s.listen.GRPC.Listen, "callers that use gRPC (server.grpc.listen)"); err != nil {
			return l, err
		}
	}
	if l.admin, err = listen(s.listen.Admin.Listen, "probes and metrics (server.admin.listen)"); err != nil {
		return l, err
	}
	return s.lobbies.over(l), nil
}

func listen(address, whom string) (net.Listener, error) {
	l, err := net.Listen("tcp", address) //nolint:noctx // closed by the server
	if err != nil {
		return nil, fmt.Errorf("listening for %s: %w", whom, err)
	}
	return l, nil
}

func (l listeners) close() {
	for _, listener := range []net.Listener{l.http, l.grpc, l.admin} {
		if listener != nil {
			listener.Close()
		}
	}
}

// newGRPC returns nil where there is no listener for it.
func (s *server) newGRPC(metrics *quaygen.Metrics) *grpcapi.Server {
	if !s.listen.GRPC.Enabled {
		return nil
	}
	c := grpcapi.Config{Service: s.service, Authenticate: s.lobbies.grpc.watching(s.auth.Authenticate), Log: s.log, Metrics: metrics, Traces: s.requests, Reflection: s.listen.GRPC.Reflection}
	if identity := s.identities["grpc"]; identity != nil {
		c.TLS = identity.config()
	}
	return grpcapi.New(c)
}

func (s *server) run(ctx context.Context) error {
	l, err := s.open()
	if err != nil {
		return err
	}
	metrics := quaygen.NewMetrics(s.registry)
	s.service.Measure(metrics)
	api := httpapi.NewServer(httpapi.New(httpapi.Config{
		Service: s.service, Authenticate: s.lobbies.http.watching(s.auth.Authenticate), Log: s.log, Metrics: metrics,
		Traces: s.requests,
	}), s.log)
	admin := httpapi.NewServer(httpapi.NewAdmin(s.registry, s.checks, s.status), s.log)
	grpc := s.newGRPC(metrics)
	addresses := []any{"version", currentBuild().String(), "http", "http://" + l.http.Addr().String()}
	if identity := s.identities["http"]; identity != nil {
		addresses[3] = "https://" + l.http.Addr().String()
		api.TLSConfig = identity.config()
		l.http = tls.NewListener(l.http, api.TLSConfig)
	}

	// Work ends after requests do, so that those under way can still be answered.
	work, stopWork := context.WithCancel(context.WithoutCancel(ctx))
	defer stopWork()
	var group errgroup.Group
	failed, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	run := func(what string, f func() error) {
		group.Go(func() error {
			if err := f(); err != nil && !errors.Is(err, http.ErrServerClosed) {
				err = fmt.Errorf("%s: %w", what, err)
				fail(err)
				return err
			}
			return nil
		})
	}
	run("looking after robots", func() error { return s.engine.Run(work) })
	run("following the labels of namespaces", func() error { return s.labels.Run(work) })
	run("watching the configuration", func() error { return config.Watch(work, s.started, s.reload, s.keep) })
	run("serving callers", func() error { return api.Serve(l.http) })
	run("serving probes and metrics", func() error { return admin.Serve(l.admin) })
	if grpc != nil {
		run("serving callers that use gRPC", func() error { return grpc.Serve(l.grpc) })
		addresses = append(addresses, "grpc", l.grpc.Addr().String())
	}
	s.log.Info("serving", append(addresses, "admin", "http://"+l.admin.Addr().String())...)

	<-failed.Done()
	s.draining.Store(true)
	s.log.Info("draining")
	closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTime)
	defer cancel()
	err = drain(closing, api, grpc)
	stopWork()
	err = errors.Join(err, admin.Shutdown(closing))
	if groupErr := group.Wait(); groupErr != nil {
		return groupErr
	}
	if err != nil {
		return fmt.Errorf("requests were still under way after %v: %w", drainTime, err)
	}
	s.log.Info("stopped")
	return nil
}

// drain ends both ways in at the same time.
func drain(ctx context.Context, api *httpapi.Server, grpc *grpcapi.Server) error {
	var both errgroup.Group
	both.Go(func() error { return api.Shutdown(ctx) })
	if grpc != nil {
		both.Go(func() error { return grpc.Shutdown(ctx) })
	}
	return both.Wait()
}
