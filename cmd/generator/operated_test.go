package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/quaygen/quaygen/pkg/quaygen/certificate/certificatetest"
	quaygenv1 "github.com/quaygen/quaygen/proto/quaygen/v1"
)

const operatorToken = "operator-0123456789abcdef"

// operatedHosts are what the server's certificate is of.
var operatedHosts = []string{"127.0.0.1", operatedName}

const operatedName = "quaygen.example.com"

// operated is a Robots server over TLS on loopback, and who operates it with the command line.
type operated struct {
	t       *testing.T
	dir     string
	address string
	said    lockedBuffer // all that was ever printed

	mu    sync.Mutex
	conns []net.Conn
}

// serving is a gRPC server of whatever kind.
type serving interface {
	Serve(listener net.Listener) error
	Stop()
}

// operate serves robots until the test ends. change may change the server's side of TLS; without TLS where it returns nil.
func operate(t *testing.T, robots quaygenv1.RobotsServer, change func(*certificatetest.Pair, *tls.Config) *tls.Config) *operated {
	t.Helper()
	return operateWith(t, func(ca *certificatetest.Pair, config *tls.Config) serving {
		if change != nil {
			config = change(ca, config)
		}
		options := []grpc.ServerOption{grpc.UnaryInterceptor(admitUnary), grpc.StreamInterceptor(admitStream)}
		if config != nil {
			options = append(options, grpc.Creds(credentials.NewTLS(config)))
		}
		server := grpc.NewServer(options...)
		quaygenv1.RegisterRobotsServer(server, robots)
		return server
	})
}

// operateWith lets a server of any kind serve until the test ends.
func operateWith(t *testing.T, server func(*certificatetest.Pair, *tls.Config) serving) *operated {
	t.Helper()
	o := &operated{t: t, dir: t.TempDir()}
	ca := certificatetest.Authority("authority")
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	o.address = listener.Addr().String()
	running := server(ca, &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{*ca.Issue("server", certificatetest.ForServers(operatedHosts...)).TLS()}})
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = running.Serve(&remembering{Listener: listener, operated: o}) // it ends because it is stopped
	}()
	t.Cleanup(func() {
		running.Stop()
		<-done
		if said := o.said.String(); strings.Contains(said, operatorToken) {
			t.Error("the token was printed")
		}
	})
	client := ca.Issue("somebody", certificatetest.ForClients)
	o.write("ca.crt", ca.CertPEM())
	o.write("client.crt", client.CertPEM())
	o.write("client.key", client.KeyPEM())
	o.write("token", []byte(operatorToken+"\n"))
	return o
}

func (o *operated) write(name string, content []byte) {
	o.t.Helper()
	if err := os.WriteFile(o.file(name), content, 0o600); err != nil {
		o.t.Fatal(err)
	}
}

func (o *operated) file(name string) string { return filepath.Join(o.dir, name) }

// admit refuses who does not show the token.
func admit(ctx context.Context) error {
	md, _ := metadata.FromIncomingContext(ctx)
	if got := md.Get("authorization"); len(got) != 1 || got[0] != "Bearer "+operatorToken {
		return status.Error(codes.Unauthenticated, "no client has this token")
	}
	return nil
}

func admitUnary(ctx context.Context, r any, _ *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
	if err := admit(ctx); err != nil {
		return nil, err
	}
	return handle(ctx, r)
}

func admitStream(server any, stream grpc.ServerStream, _ *grpc.StreamServerInfo, handle grpc.StreamHandler) error {
	if err := admit(stream.Context()); err != nil {
		return err
	}
	return handle(server, stream)
}

// remembering is a listener whose connections can be cut.
type remembering struct {
	net.Listener
	*operated
}

func (r *remembering) Accept() (net.Conn, error) {
	conn, err := r.Listener.Accept()
	if err == nil {
		r.mu.Lock()
		r.conns = append(r.conns, conn)
		r.mu.Unlock()
	}
	return conn, err
}

// cut breaks every connection there is.
func (o *operated) cut() {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, conn := range o.conns {
		_ = conn.Close()
	}
	o.conns = nil
}

// flags is how the server is reached as it should be.
func (o *operated) flags() []string {
	return []string{"--server", o.address, "--ca-file", o.file("ca.crt"), "--token-file", o.file("token")}
}

// try runs a command against the server at noon.
func (o *operated) try(args ...string) (code int, stdout, stderr string) {
	o.t.Helper()
	return o.bare(append(args, o.flags()...)...)
}

// bare runs a command at noon, with just these arguments.
func (o *operated) bare(args ...string) (code int, stdout, stderr string) {
	o.t.Helper()
	var out, errs bytes.Buffer
	code = runAt(o.t.Context(), func() time.Time { return noon }, args, &out, &errs)
	fmt.Fprint(&o.said, out.String(), errs.String())
	return code, out.String(), errs.String()
}

// lockedBuffer can be read while it is written.
type lockedBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
	more chan struct{}
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.more != nil {
		close(b.more)
		b.more = nil
	}
	return b.text.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// await waits until the text is there.
func (b *lockedBuffer) await(t *testing.T, text string) {
	t.Helper()
	for timeout := time.After(patience); ; {
		b.mu.Lock()
		found := strings.Contains(b.text.String(), text)
		if b.more == nil {
			b.more = make(chan struct{})
		}
		more := b.more
		b.mu.Unlock()
		if found {
			return
		}
		select {
		case <-more:
		case <-timeout:
			t.Fatalf("nothing like %q in\n%s", text, b.String())
		}
	}
}
