package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"

	quaygenv1 "github.com/quaygen/quaygen/proto/quaygen/v1"
)

const (
	// callTime bounds calls that a server answers from memory.
	callTime = 30 * time.Second
	// maxAnswer is the largest message that is taken from a server, in bytes.
	maxAnswer = 64 << 20
)

// remote says how a running server is reached.
type remote struct {
	server, serverName                   string
	tokenFile, caFile, certFile, keyFile string
	plaintext                            bool

	command *cobra.Command // that has the flags
}

// remoteNames are the flags that say how a server is reached.
var remoteNames = []string{"server", "token-file", "ca-file", "cert-file", "key-file", "server-name", "plaintext"}

// remoteFlags adds the flags that say how a server is reached. Each can be given by an environment variable as well.
func remoteFlags(c *cobra.Command) *remote {
	r := &remote{command: c}
	f := c.Flags()
	f.StringVar(&r.server, "server", "127.0.0.1:9443", "host:port of the server's gRPC listener")
	f.StringVar(&r.tokenFile, "token-file", "", "file with the bearer token that says who you are")
	f.StringVar(&r.caFile, "ca-file", "", "file with the authorities that the server's certificate may be from (default: the system's)")
	f.StringVar(&r.certFile, "cert-file", "", "file with the client certificate that says who you are")
	f.StringVar(&r.keyFile, "key-file", "", "file with the key of the client certificate")
	f.StringVar(&r.serverName, "server-name", "", "name that the server's certificate must have (default: the host of --server)")
	f.BoolVar(&r.plaintext, "plaintext", false, "without TLS; for loopback addresses only")
	for _, name := range remoteNames {
		f.Lookup(name).Usage += "; $" + variable(name)
	}
	return r
}

// variable is the environment variable that stands for a flag which is not given.
func variable(flag string) string {
	return "QUAYGEN_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// fromEnvironment fills in what no flag gives. An empty variable counts as none.
func (r *remote) fromEnvironment() error {
	for _, name := range remoteNames {
		flag := r.command.Flags().Lookup(name)
		value := os.Getenv(variable(name)) //nolint:forbidigo // a program, and its help says so
		// Who asks for plaintext by hand has not asked for the certificates that the environment names.
		elsewhere := r.plaintext && r.command.Flags().Changed("plaintext") && name != "server" && name != "token-file"
		if value == "" || flag.Changed || elsewhere {
			continue
		}
		if err := flag.Value.Set(value); err != nil {
			return usageError{fmt.Errorf("%s (--%s): %q: %w", variable(name), name, value, err)}
		}
	}
	return nil
}

// check says which flag is wrong.
func (r *remote) check() error {
	host, port, err := net.SplitHostPort(r.server)
	if err != nil || host == "" || port == "" || strings.ContainsAny(r.server, "/ ") {
		return usageError{fmt.Errorf("--server %q is not host:port", r.server)}
	}
	if (r.certFile == "") != (r.keyFile == "") {
		return usageError{errors.New("--cert-file and --key-file belong together: give both or none")}
	}
	if !r.plaintext {
		return nil
	}
	if !loopback(host) {
		return usageError{fmt.Errorf("--plaintext is for loopback addresses only, and --server %s is none: the token and the answers could be read on the way", r.server)}
	}
	for _, f := range []struct{ flag, value string }{{"ca-file", r.caFile}, {"cert-file", r.certFile}, {"server-name", r.serverName}} {
		if f.value != "" {
			return usageError{fmt.Errorf("--%s has no meaning with --plaintext", f.flag)}
		}
	}
	return nil
}

// loopback reports whether a host never leaves the machine. Where "localhost" leads is looked at again when it is connected to.
func loopback(host string) bool {
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && addr.Unmap().IsLoopback()
}

// session is a way to a server that connects when it is first used.
type session struct {
	*remote
	conn   *grpc.ClientConn
	link   *link
	robots quaygenv1.RobotsClient
	now    func() time.Time
}

// open returns a way to the server, or a usage error where what is given cannot lead to one.
func (r *remote) open(now func() time.Time) (*session, error) {
	if err := r.fromEnvironment(); err != nil {
		return nil, err
	}
	if err := r.check(); err != nil {
		return nil, err
	}
	l := &link{plaintext: r.plaintext, TransportCredentials: insecure.NewCredentials()}
	if !r.plaintext {
		config, err := r.tls()
		if err != nil {
			return nil, usageError{err}
		}
		l.TransportCredentials = credentials.NewTLS(config)
	}
	options := []grpc.DialOption{
		grpc.WithTransportCredentials(l),
		grpc.WithUserAgent(currentBuild().userAgent()),
		grpc.WithDisableServiceConfig(), // or each name costs a look for TXT records
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxAnswer)),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff: backoff.Config{BaseDelay: 100 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: 10 * time.Second}, MinConnectTimeout: 10 * time.Second,
		}),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 30 * time.Second, Timeout: 20 * time.Second}), // ours bear more
	}
	if r.plaintext {
		options = append(options, grpc.WithNoProxy())
	}
	if r.tokenFile != "" {
		token, err := newBearer(r.tokenFile, !r.plaintext)
		if err != nil {
			return nil, usageError{err}
		}
		options = append(options, grpc.WithPerRPCCredentials(token))
	}
	conn, err := grpc.NewClient("dns:///"+r.server, options...)
	if err != nil {
		return nil, usageError{fmt.Errorf("--server %q cannot be connected to: %w", r.server, err)}
	}
	return &session{remote: r, conn: conn, link: l, now: now, robots: quaygenv1.NewRobotsClient(conn)}, nil
}

// close ends the connection. That it fails interests nobody: nothing is sent any more.
func (s *session) close() { _ = s.conn.Close() }

func (r *remote) tls() (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: r.serverName}
	if r.caFile != "" {
		content, err := os.ReadFile(r.caFile)
		if err != nil {
			return nil, fmt.Errorf("--ca-file: %w", err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(content) {
			return nil, fmt.Errorf("--ca-file %s holds no certificate in PEM form", r.caFile)
		}
	}
	if r.certFile == "" {
		return config, nil
	}
	first, err := tls.LoadX509KeyPair(r.certFile, r.keyFile)
	if err != nil {
		return nil, fmt.Errorf("--cert-file %s, --key-file %s: %w", r.certFile, r.keyFile, err)
	}
	// A watch outlives short-lived certificates: each handshake takes what is there, if it can be used.
	config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		if now, err := tls.LoadX509KeyPair(r.certFile, r.keyFile); err == nil {
			return &now, nil
		}
		return &first, nil
	}
	return config, nil
}
