package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/quaygen/quaygen/pkg/quaygen"
	"github.com/quaygen/quaygen/pkg/quaygen/config"
	"github.com/quaygen/quaygen/pkg/quaygen/httpapi"
	"github.com/quaygen/quaygen/pkg/quaygen/ledger"
	"github.com/quaygen/quaygen/pkg/quaygen/rotation"
)

// drainTime is how long requests under way may take to end after SIGTERM.
const drainTime = 15 * time.Second

func newServe(root *rootOptions) *cobra.Command {
	var configPath func() (string, error)
	var httpListen, adminListen string
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
			cfg, err := config.Load(path)
			if err != nil {
				return err
			}
			store, err := openLedger(c.Context(), cfg)
			if err != nil {
				return err
			}
			if store != nil {
				defer func() { _ = store.Close() }() // every write is on the disk already
			}
			s, err := newServer(root.log, path, cfg, store)
			if err != nil {
				return err
			}
			if c.Flags().Changed("http-listen") {
				s.listen.HTTP.Listen = httpListen
			}
			if c.Flags().Changed("admin-listen") {
				s.listen.Admin.Listen = adminListen
			}
			// The file was checked with its own listeners; plaintext beyond loopback must not slip in by a flag.
			if err := s.listen.Check(); err != nil {
				return usageError{err}
			}
			return s.run(c.Context())
		},
	}
	configPath = configFlag(c)
	c.Flags().StringVar(&httpListen, "http-listen", "", "listen here for callers instead of at server.http.listen")
	c.Flags().StringVar(&adminListen, "admin-listen", "", "listen here for probes and metrics instead of at server.admin.listen")
	return c
}

// server is everything that one generator serve consists of.
type server struct {
	log     *slog.Logger
	path    string
	started *config.Config // what the process started with
	listen  config.Server  // listeners and certificates: fixed until restart

	identities map[string]*identity // by listener, http and grpc; none for one that serves plaintext

	registry *prometheus.Registry
	engine   *rotation.Engine
	service  *quaygen.Service
	auth     authenticator
	quay     *quayMetrics
	reloaded prometheus.Gauge
	loadErr  atomic.Pointer[error]
	draining atomic.Bool
}

func newServer(log *slog.Logger, path string, cfg *config.Config, store ledger.Store) (*server, error) {
	s := &server{log: log, path: path, started: cfg, listen: cfg.Server, registry: prometheus.NewRegistry()}
	s.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), buildInfo())
	s.quay = newQuayMetrics(s.registry)
	s.reloaded = prometheus.NewGauge(prometheus.GaugeOpts{Name: "quaygen_config_last_reload_successful", Help: "Whether the configuration file, as it is now, is in use."})
	s.registry.MustRegister(s.reloaded)
	s.engine = rotation.New(rotation.Config{Log: log, Registerer: s.registry, Ledger: store, Holder: holder()})
	s.service = quaygen.New(s.engine, log)
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
	files := map[string]config.TLS{"http": s.started.Server.TLS}
	if s.started.Server.GRPC.Enabled {
		files["grpc"] = s.started.Server.GRPCTLS()
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
	authenticate, err := authenticators(cfg)
	if err != nil {
		return err
	}
	s.auth.current.Store(&authenticate)
	s.engine.Apply(robots)
	s.service.Apply(settings(cfg))
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
	return s.apply(cfg)
}

// keep reports a configuration that cannot be used; the one in use stays.
func (s *server) keep(err error) {
	s.reloaded.Set(0)
	s.loadErr.Store(&err)
	s.log.Error("the new configuration is not used; the old one stays", "file", s.path, "error", err)
}

func (s *server) run(ctx context.Context) error {
	listener, err := net.Listen("tcp", s.listen.HTTP.Listen) //nolint:noctx // closed by the server
	if err != nil {
		return fmt.Errorf("listening for callers (server.http.listen): %w", err)
	}
	adminListener, err := net.Listen("tcp", s.listen.Admin.Listen) //nolint:noctx // closed by the server
	if err != nil {
		return errors.Join(fmt.Errorf("listening for probes and metrics (server.admin.listen): %w", err), listener.Close())
	}
	api := httpapi.NewServer(httpapi.New(httpapi.Config{Service: s.service, Authenticate: s.auth.Authenticate, Log: s.log, Metrics: quaygen.NewMetrics(s.registry)}), s.log)
	admin := httpapi.NewServer(httpapi.NewAdmin(s.registry, s.checks), s.log)
	scheme := "http"
	if identity := s.identities["http"]; identity != nil {
		scheme = "https"
		api.TLSConfig = identity.config()
		listener = tls.NewListener(listener, api.TLSConfig)
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
	run("watching the configuration", func() error { return config.Watch(work, s.started, s.reload, s.keep) })
	run("serving callers", func() error { return api.Serve(listener) })
	run("serving probes and metrics", func() error { return admin.Serve(adminListener) })
	s.log.Info("serving", "version", buildVersion(), "http", scheme+"://"+listener.Addr().String(), "admin", "http://"+adminListener.Addr().String())

	<-failed.Done()
	s.draining.Store(true)
	s.log.Info("draining")
	closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTime)
	defer cancel()
	err = api.Shutdown(closing)
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

// checks says what is in order, from memory. An organization that cannot be worked with makes this replica unready only
// if it has nothing to answer with: otherwise all replicas would leave the Service together while Quay is down.
func (s *server) checks() []httpapi.Check {
	if s.draining.Load() {
		return []httpapi.Check{{Name: "running", Err: errors.New("draining")}}
	}
	checks := []httpapi.Check{{Name: "config"}}
	if err := s.loadErr.Load(); err != nil {
		checks[0].Note = "the file as it is now is not valid, an earlier one is in use: " + firstLine(*err)
	}
	for _, listener := range slices.Sorted(maps.Keys(s.identities)) {
		checks = append(checks, s.identities[listener].checks(listener)...)
	}
	for _, h := range s.engine.Health() {
		c := httpapi.Check{Name: "quay/" + h.Registry + "/" + h.Owner.Name()}
		switch {
		case h.Err == nil:
			c.Note = "listed " + time.Since(h.At).Round(time.Second).String() + " ago"
		case h.Serving > 0:
			c.Note = fmt.Sprintf("%d robots are answered from memory: %s", h.Serving, firstLine(h.Err))
		default:
			c.Err = h.Err
		}
		checks = append(checks, c)
	}
	return checks
}

func firstLine(err error) string {
	line, _, _ := strings.Cut(err.Error(), "\n")
	return line
}

func buildInfo() prometheus.Collector {
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "quaygen_build_info", Help: "Always 1; the label says what runs.", ConstLabels: prometheus.Labels{"version": buildVersion()},
	}, func() float64 { return 1 })
}
