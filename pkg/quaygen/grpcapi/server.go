package grpcapi

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"math"
	"net"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/reflection"

	"github.com/quaygen/quaygen/pkg/quaygen"
	"github.com/quaygen/quaygen/pkg/quaygen/auth"
	"github.com/quaygen/quaygen/pkg/quaygen/tracing"
	generatorv1 "github.com/quaygen/quaygen/proto/externalsecrets/generator/v1"
	providerv1 "github.com/quaygen/quaygen/proto/externalsecrets/provider/v1"
	quaygenv1 "github.com/quaygen/quaygen/proto/quaygen/v1"
)

// Config is what a Server needs.
type Config struct {
	Service      *quaygen.Service
	Authenticate auth.Authenticator
	Log          *slog.Logger
	TLS          *tls.Config       // nil: plaintext
	Metrics      *quaygen.Metrics  // nil: nothing is measured
	Traces       *tracing.Requests // nil: nothing is traced
	Reflection   bool              // tell whoever asks which services there are
}

// Limits of the server. ESO pings every 10 s, also without a call, and keeps a connection for up to 30 min; the age bounds
// for how long a connection outlives the certificate authority that let it in.
const (
	handshakeTime     = 5 * time.Second
	minPing           = 5 * time.Second
	maxIdle           = 15 * time.Minute
	maxAge, ageGrace  = 30 * time.Minute, 5 * time.Minute
	ping, pingTimeout = 5 * time.Minute, time.Minute
	maxRequestBytes   = 64 << 10
	maxHeaderBytes    = 16 << 10
	maxStreams        = 100     // at once, on one connection
	readBuffer        = 8 << 10 // requests are small, and each connection has one also while it does nothing
)

// Server answers calls until it is shut down. Make one with [New].
type Server struct {
	Config
	grpc    *grpc.Server
	health  *health.Server
	drained context.Context // ends when the server begins to shut down
	drain   context.CancelFunc
}

// New returns a server that does not listen yet.
func New(config Config) *Server {
	if config.Metrics == nil {
		config.Metrics = quaygen.NewMetrics(nil)
	}
	s := &Server{Config: config, health: health.NewServer()}
	s.drained, s.drain = context.WithCancel(context.Background())
	creds := insecure.NewCredentials()
	if config.TLS != nil {
		creds = credentials.NewTLS(config.TLS)
	}
	s.grpc = grpc.NewServer(
		grpc.Creds(creds),
		grpc.ConnectionTimeout(handshakeTime),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: minPing, PermitWithoutStream: true}),
		grpc.KeepaliveParams(keepalive.ServerParameters{
			MaxConnectionIdle: maxIdle, MaxConnectionAge: maxAge, MaxConnectionAgeGrace: ageGrace, Time: ping, Timeout: pingTimeout,
		}),
		grpc.MaxRecvMsgSize(maxRequestBytes),
		grpc.MaxSendMsgSize(math.MaxInt32),
		grpc.MaxHeaderListSize(maxHeaderBytes),
		grpc.MaxConcurrentStreams(maxStreams),
		grpc.ReadBufferSize(readBuffer),
		grpc.UnaryInterceptor(s.unary),
		grpc.StreamInterceptor(s.stream),
	)
	quaygenv1.RegisterPullSecretsServer(s.grpc, &pullSecrets{Server: s})
	quaygenv1.RegisterRobotsServer(s.grpc, &robots{Server: s})
	providerv1.RegisterSecretStoreProviderServer(s.grpc, &provider{Server: s})
	generatorv1.RegisterGeneratorProviderServer(s.grpc, &generator{Server: s})
	for name := range s.grpc.GetServiceInfo() {
		s.health.SetServingStatus(name, grpc_health_v1.HealthCheckResponse_SERVING)
	}
	grpc_health_v1.RegisterHealthServer(s.grpc, s.health)
	if config.Reflection {
		reflection.Register(s.grpc)
	}
	return s
}

// Serve answers calls on listener until [Server.Shutdown], which is no error, not even if it came first.
func (s *Server) Serve(listener net.Listener) error {
	if err := s.grpc.Serve(listener); !errors.Is(err, grpc.ErrServerStopped) {
		return err
	}
	return nil
}

// Shutdown takes no new calls and returns when those under way are answered, or ctx ends: then they are cut off, and its
// error is returned. Calls that wait for something to happen, watches and orders, end at once and say why.
func (s *Server) Shutdown(ctx context.Context) error {
	s.health.Shutdown()
	s.drain()
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.grpc.GracefulStop()
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		s.grpc.Stop()
		<-done
		return ctx.Err()
	}
}

// untilDrained returns a context that also ends when the server is shut down.
func (s *Server) untilDrained(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(s.drained, cancel)
	return ctx, func() { stop(); cancel() }
}
