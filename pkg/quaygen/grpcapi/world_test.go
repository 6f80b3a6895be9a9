package grpcapi_test

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"

	"github.com/quaygen/quaygen/pkg/quaygen"
	"github.com/quaygen/quaygen/pkg/quaygen/auth"
	"github.com/quaygen/quaygen/pkg/quaygen/certificate"
	"github.com/quaygen/quaygen/pkg/quaygen/certificate/certificatetest"
	"github.com/quaygen/quaygen/pkg/quaygen/grpcapi"
	"github.com/quaygen/quaygen/pkg/quaygen/policy"
	"github.com/quaygen/quaygen/pkg/quaygen/quay"
	"github.com/quaygen/quaygen/pkg/quaygen/quay/quaytest"
	"github.com/quaygen/quaygen/pkg/quaygen/rotation"
	quaygenv1 "github.com/quaygen/quaygen/proto/quaygen/v1"
)

// Clients with a bearer token; the token is the name with this behind it. One more has a certificate: "eso-grpc".
const tokenTail = "-token-0123456789abcdef"

// A world is a server with all that is behind it, down to a Quay in memory, and the CA that its clients are known by.
type world struct {
	quay     *quaytest.Server
	client   *quay.Client
	engine   *rotation.Engine
	service  *quaygen.Service
	settings *quaygen.Settings
	robots   []rotation.Assignment
	log      *logBuffer
	errors   logBuffer // what calls came to that failed
	registry *prometheus.Registry
	ca       *certificatetest.Pair
	dir      string // holds the server's certificate and the CA of clients
	server   *grpcapi.Server
	config   grpcapi.Config
	who      atomic.Pointer[auth.Authenticator]
	extra    *grpc.ServiceDesc // a service of the test's own

	address string                   // where it listens
	dial    func() (net.Conn, error) // connects
}

// A bubble's clock starts in the year 2000; generations are numbered from 2026.
const sinceThen = 27 * 365 * 24 * time.Hour

// inBubble plays a story in which time costs nothing, with a server behind connections in memory.
// What is prepared is so before anything happens.
func inBubble(t *testing.T, story func(*testing.T, *world), prepare ...func(*world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		for _, p := range prepare {
			p(w)
		}
		w.look(t)
		w.serve(t, newPipes())
		story(t, w)
	})
}

// onSockets returns a world that is served on loopback.
func onSockets(t testing.TB, changes ...func(*grpcapi.Config)) *world {
	t.Helper()
	w := newWorld(t)
	for _, change := range changes {
		change(&w.config)
	}
	w.look(t)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w.serve(t, listener)
	return w
}

// newWorld returns a world in which nothing has happened yet. Its robots are puller and partner, its pull secrets one of
// each, "both" of them joined, and "own" with a robot for each namespace.
func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{
		quay: quaytest.New(quaytest.Options{Now: func() time.Time { return time.Now().Add(sinceThen) }}),
		log:  &logBuffer{}, registry: prometheus.NewRegistry(), dir: t.TempDir(), ca: certificatetest.Authority("CA"),
	}
	t.Cleanup(func() { w.hunt(t) }) // when all else has ended
	w.quay.AddUser("admin")
	w.quay.AddOrganization("myorg", "admin")
	w.quay.AddRepository("myorg", "app")
	w.quay.AddRepository("myorg", "lib")
	var err error
	w.client, err = quay.New(quay.Config{
		URL: "https://quay.test", TokenFile: w.write(t, "api", w.quay.AddToken("admin", "org:admin", "repo:admin", "user:admin")),
		QPS: 1e6, Burst: 1e6, Transport: w.quay.Transport(),
	})
	check(t, err)
	log := slog.New(slog.NewTextHandler(w.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	w.engine = rotation.New(rotation.Config{Log: log})
	w.service = quaygen.New(w.engine, log)
	own := w.assignment(t, "own", "app")
	own.Spec.Scope, own.Spec.Idle = rotation.PerNamespace, 720*time.Hour
	w.robots = []rotation.Assignment{w.assignment(t, "puller", "app"), w.assignment(t, "partner", "lib"), own}
	w.settings = settings()
	w.authenticate(t, allClients)
	w.issueServer(t, "server", w.ca)
	w.write(t, "ca.crt", string(w.ca.CertPEM()))
	pair, err := certificate.Load(w.path("tls.crt"), w.path("tls.key"))
	check(t, err)
	authority, err := certificate.LoadAuthority(w.path("ca.crt"))
	check(t, err)
	w.config = grpcapi.Config{
		Service: w.service, Log: log, TLS: pair.TLSConfig(authority), Metrics: quaygen.NewMetrics(w.registry), Reflection: true,
		Authenticate: func(p auth.Presented) (policy.Caller, error) { return (*w.who.Load())(p) },
	}
	return w
}

func settings() *quaygen.Settings {
	secret := func(robots ...string) quaygen.PullSecret {
		s := quaygen.PullSecret{Tags: map[string]string{"registry": "quay", "organization": "myorg"}}
		for _, r := range robots {
			s.Parts = append(s.Parts, quaygen.Part{Robot: r, Host: "quay.test", PerNamespace: r == "own"})
		}
		return s
	}
	own := secret("own")
	own.Tags["scope"] = "namespace"
	return &quaygen.Settings{
		Rules: policy.Rules{
			{Clients: []string{"eso", "eso-grpc"}, Namespaces: []string{"prod-*"}, Names: []string{"puller", "both", "own", "ghost"}},
			{Clients: []string{"team-a"}, Namespaces: []string{"*"}, Names: []string{"puller"}},
			{Clients: []string{"all"}, Namespaces: []string{"*"}, Names: []string{"*"}},
		},
		Secrets: map[string]quaygen.PullSecret{"puller": secret("puller"), "partner": secret("partner"), "both": secret("puller", "partner"), "own": own},
	}
}

// A bearerClient is known by a token. Which ones there are can change while the server runs.
var allClients = []auth.BearerClient{
	{Name: "eso"}, {Name: "all"}, {Name: "stranger"}, {Name: "team-a", Namespace: "team-a"},
	{Name: "viewer", Operator: policy.OperatorView, OperatorOnly: true}, {Name: "manager", Operator: policy.OperatorManage, OperatorOnly: true},
}

// authenticate makes these the clients with a token.
func (w *world) authenticate(t testing.TB, clients []auth.BearerClient) {
	t.Helper()
	clients = append([]auth.BearerClient(nil), clients...)
	for i := range clients {
		clients[i].TokenFile = w.write(t, "client-"+clients[i].Name, clients[i].Name+tokenTail)
	}
	bearer, err := auth.Bearer(clients)
	check(t, err)
	certificates, err := auth.Certificates([]auth.CertificateClient{{Name: "eso-grpc", CommonName: "external-secrets-controller"}})
	check(t, err)
	agreed := auth.Agreed(bearer.Authenticate, certificates.Authenticate)
	w.who.Store(&agreed)
}

func (w *world) assignment(t testing.TB, name string, repositories ...string) rotation.Assignment {
	t.Helper()
	owner, err := quay.ParseOrganization("myorg")
	check(t, err)
	base, err := quay.NewRobot(owner, "k8s_"+strings.ReplaceAll(name, "-", "_"))
	check(t, err)
	spec := rotation.Spec{
		Name: name, Instance: "test", Base: base, Strategy: rotation.Overlap,
		Every: 720 * time.Hour, Overlap: 24 * time.Hour, Quiet: 2 * time.Hour, Max: 168 * time.Hour, MaxRefresh: time.Hour,
		Sync: 30 * time.Second, Safety: rotation.DefaultSafety(),
	}
	for _, r := range repositories {
		spec.Permissions.Repositories = append(spec.Permissions.Repositories, rotation.RepositoryGrant{Pattern: r, Role: quay.RoleRead})
	}
	return rotation.Assignment{Registry: "quay", Client: w.client, Spec: spec}
}

// look begins to look after the robots, until the test ends.
func (w *world) look(t testing.TB) {
	t.Helper()
	w.engine.Apply(w.robots)
	w.service.Apply(w.settings)
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = w.engine.Run(ctx) // always nil
	}()
	t.Cleanup(func() { stop(); <-done })
}

// serve runs the server until the test ends. The listener is a socket's or pipes.
func (w *world) serve(t testing.TB, listener net.Listener) {
	t.Helper()
	w.server = grpcapi.New(w.config)
	if w.extra != nil {
		w.server.Register(w.extra)
	}
	w.address = listener.Addr().String()
	w.dial = func() (net.Conn, error) { return net.Dial("tcp", w.address) }
	if p, ok := listener.(*pipes); ok {
		w.dial = p.connect
	}
	server, done := w.server, make(chan struct{})
	go func() {
		defer close(done)
		if err := server.Serve(listener); err != nil && !errors.Is(err, grpc.ErrServerStopped) {
			t.Error(err)
		}
	}()
	t.Cleanup(func() {
		ended, cancel := context.WithCancel(context.Background())
		cancel()
		_ = server.Shutdown(ended) // cuts off what a test left open
		<-done
	})
}

// as connects as a client with a bearer token; "" has none.
func (w *world) as(t testing.TB, client string) *grpc.ClientConn {
	t.Helper()
	return w.connect(t, &tls.Config{RootCAs: w.ca.Pool(), ServerName: "server"}, client)
}

// showing connects with a certificate, whatever CAs the server says that it knows.
func (w *world) showing(t testing.TB, c *tls.Certificate) *grpc.ClientConn {
	t.Helper()
	return w.connect(t, presenting(w.ca, c), "")
}

func presenting(roots *certificatetest.Pair, c *tls.Certificate) *tls.Config {
	return &tls.Config{RootCAs: roots.Pool(), ServerName: "server",
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return c, nil }}
}

func (w *world) connect(t testing.TB, config *tls.Config, client string) *grpc.ClientConn {
	t.Helper()
	return w.with(t, credentials.NewTLS(config), client)
}

// with connects as a client with a bearer token, or as one with none.
func (w *world) with(t testing.TB, secured credentials.TransportCredentials, client string) *grpc.ClientConn {
	t.Helper()
	options := []grpc.DialOption{
		grpc.WithTransportCredentials(secured),
		grpc.WithContextDialer(func(context.Context, string) (net.Conn, error) { return w.dial() }),
	}
	if client != "" {
		options = append(options, grpc.WithPerRPCCredentials(bearer(client+tokenTail)))
	}
	options = append(options, grpc.WithUnaryInterceptor(
		func(ctx context.Context, method string, in, out any, conn *grpc.ClientConn, call grpc.UnaryInvoker, options ...grpc.CallOption) error {
			err := call(ctx, method, in, out, conn, options...)
			w.failed(err)
			return err
		}), grpc.WithStreamInterceptor(
		func(ctx context.Context, description *grpc.StreamDesc, conn *grpc.ClientConn, method string, open grpc.Streamer, options ...grpc.CallOption) (grpc.ClientStream, error) {
			stream, err := open(ctx, description, conn, method, options...)
			w.failed(err)
			return &listenedTo{stream, w}, err
		}))
	c, err := grpc.NewClient("passthrough:///server", options...)
	check(t, err)
	t.Cleanup(func() { _ = c.Close() })
	return c
}

type bearer string

func (b bearer) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return map[string]string{"authorization": "Bearer " + string(b)}, nil
}

func (bearer) RequireTransportSecurity() bool { return false }

// mint waits until a pull secret is there.
func (w *world) mint(t testing.TB, name string) *quaygenv1.PullSecret {
	t.Helper()
	response, err := quaygenv1.NewPullSecretsClient(w.as(t, "all")).Get(t.Context(), &quaygenv1.PullSecretsGetRequest{Name: name, Namespace: "prod-shop"})
	check(t, err)
	return response.GetPullSecret()
}

// revoke replaces a robot's generation, and ends those before it at once.
func (w *world) revoke(t testing.TB, name string) {
	t.Helper()
	_, err := w.engine.Revoke(t.Context(), rotation.Ref{Name: name}, -1)
	check(t, err)
}

func (w *world) path(name string) string { return filepath.Join(w.dir, name) }

// write replaces a file, and returns its path.
func (w *world) write(t testing.TB, name, content string) string {
	t.Helper()
	check(t, os.WriteFile(w.path(name), []byte(content), 0o600))
	return w.path(name)
}

// pass lets time go by inside a bubble, and all that happens in it.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// is checks an error's code, and that its message has every text.
func is(t testing.TB, what string, err error, code codes.Code, texts ...string) {
	t.Helper()
	if status.Code(err) != code {
		t.Errorf("%s: %v, want %v", what, err, code)
		return
	}
	for _, text := range texts {
		if message := status.Convert(err).Message(); !strings.Contains(message, text) {
			t.Errorf("%s: %q does not say %q", what, message, text)
		}
	}
}

func codeOf(err error) string { return status.Code(err).String() }

// requests is how many calls were counted under a name and code.
func (w *world) requests(t testing.TB, name, code string) (n float64) {
	t.Helper()
	families, err := w.registry.Gather()
	check(t, err)
	for _, family := range families {
		for _, m := range family.GetMetric() {
			has := map[string]string{}
			for _, label := range m.GetLabel() {
				has[label.GetName()] = label.GetValue()
			}
			if family.GetName() == "quaygen_requests_total" && has["transport"] == "grpc" && has["name"] == name && has["code"] == code {
				n += m.GetCounter().GetValue()
			}
		}
	}
	return n
}

// underWay is how many calls are being answered, as the metrics say.
func (w *world) underWay(t testing.TB) (n float64) {
	t.Helper()
	families, err := w.registry.Gather()
	check(t, err)
	for _, family := range families {
		if family.GetName() == "quaygen_requests_in_flight" {
			n += family.GetMetric()[0].GetGauge().GetValue()
		}
	}
	return n
}
