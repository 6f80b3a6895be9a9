package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
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
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	quaygenv1 "github.com/quaygen/quaygen/proto/quaygen/v1"
)

// noon is when the tests of this package take place, for what is told to people.
var noon = time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)

// at is a time before noon, or after it where the duration is negative.
func at(ago time.Duration) *timestamppb.Timestamp { return timestamppb.New(noon.Add(-ago)) }

const operatorToken = "operator-0123456789abcdef"

// scripted is a Robots server whose robots are what the test says. It keeps events and positions as the contract wants.
type scripted struct {
	quaygenv1.UnimplementedRobotsServer
	rotate func(context.Context, *quaygenv1.RobotsRotateRequest) (*quaygenv1.RobotsRotateResponse, error)
	retire func(context.Context, *quaygenv1.RobotsRetireRequest) (*quaygenv1.RobotsRetireResponse, error)
	deny   error // what Watch answers

	mu       sync.Mutex // guards what follows
	robots   []*quaygenv1.Robot
	process  string
	events   []*quaygenv1.Event
	oldest   int // the first of events that is kept
	changed  chan struct{}
	watchers int // watches that have sent their listing, or gone on without
	pageSize int
}

func newScripted(robots ...*quaygenv1.Robot) *scripted {
	return &scripted{robots: robots, process: "a", changed: make(chan struct{}), pageSize: 2}
}

func (s *scripted) List(_ context.Context, r *quaygenv1.RobotsListRequest) (*quaygenv1.RobotsListResponse, error) {
	from := 0
	if r.GetPageToken() != "" {
		if _, err := fmt.Sscanf(r.GetPageToken(), "from-%d", &from); err != nil {
			return nil, status.Error(codes.InvalidArgument, "page_token is not one of ours")
		}
	}
	to := min(len(s.robots), from+s.pageSize)
	answer := &quaygenv1.RobotsListResponse{Robots: s.robots[from:to]}
	if to < len(s.robots) {
		answer.NextPageToken = fmt.Sprintf("from-%d", to)
	}
	return answer, nil
}

func (s *scripted) Get(_ context.Context, r *quaygenv1.RobotsGetRequest) (*quaygenv1.RobotsGetResponse, error) {
	for _, robot := range s.robots {
		if robot.GetName() == r.GetName() && robot.GetNamespace() == r.GetNamespace() {
			return &quaygenv1.RobotsGetResponse{Robot: robot}, nil
		}
	}
	return nil, status.Errorf(codes.NotFound, "there is no robot %q", r.GetName())
}

func (s *scripted) Rotate(ctx context.Context, r *quaygenv1.RobotsRotateRequest) (*quaygenv1.RobotsRotateResponse, error) {
	return s.rotate(ctx, r)
}

func (s *scripted) Retire(ctx context.Context, r *quaygenv1.RobotsRetireRequest) (*quaygenv1.RobotsRetireResponse, error) {
	return s.retire(ctx, r)
}

// happen adds an event.
func (s *scripted) happen(e *quaygenv1.Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.events = append(s.events, e)
	s.wake()
}

// restart makes the server another process, with no events. It is called with the mutex held.
func (s *scripted) restart() {
	s.process, s.events, s.oldest = s.process+"a", nil, 0
}

// forget drops the events there are. It is called with the mutex held.
func (s *scripted) forget() {
	s.oldest = len(s.events)
}

// wake is called with the mutex held.
func (s *scripted) wake() {
	close(s.changed)
	s.changed = make(chan struct{})
}

// watched waits until so many watches have begun in all.
func (s *scripted) watched(t *testing.T, n int) {
	t.Helper()
	for timeout := time.After(patience); ; {
		s.mu.Lock()
		watchers, changed := s.watchers, s.changed
		s.mu.Unlock()
		if watchers >= n {
			return
		}
		select {
		case <-changed:
		case <-timeout:
			t.Fatal("nobody watches")
		}
	}
}

func (s *scripted) Watch(r *quaygenv1.RobotsWatchRequest, stream quaygenv1.Robots_WatchServer) error {
	if s.deny != nil {
		return s.deny
	}
	next, err := s.begin(r.GetPosition(), stream)
	if err != nil {
		return err
	}
	for {
		s.mu.Lock()
		events, process, changed := s.events[next:], s.process, s.changed
		s.mu.Unlock()
		for _, e := range events {
			next++
			answer := &quaygenv1.RobotsWatchResponse{Position: fmt.Sprintf("%s/%d", process, next), Content: &quaygenv1.RobotsWatchResponse_Event{Event: e}}
			if err := stream.Send(answer); err != nil {
				return err
			}
		}
		select {
		case <-changed:
		case <-stream.Context().Done():
			return status.FromContextError(stream.Context().Err()).Err()
		}
	}
}

// begin sends a listing in parts of one robot where the position cannot be gone on from.
func (s *scripted) begin(position string, stream quaygenv1.Robots_WatchServer) (next int, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.watchers++
	defer s.wake()
	process, number, given := strings.Cut(position, "/")
	reason := quaygenv1.ListingReason_LISTING_REASON_NO_POSITION
	if given {
		if _, err := fmt.Sscan(number, &next); err != nil {
			return 0, status.Error(codes.InvalidArgument, "position is not one of ours")
		}
		switch {
		case process != s.process:
			reason = quaygenv1.ListingReason_LISTING_REASON_POSITION_OF_ANOTHER_PROCESS
		case next < s.oldest:
			reason = quaygenv1.ListingReason_LISTING_REASON_POSITION_TOO_OLD
		default:
			return next, nil
		}
	}
	for i := range max(1, len(s.robots)) {
		last := i >= len(s.robots)-1
		answer := &quaygenv1.RobotsWatchResponse{Content: &quaygenv1.RobotsWatchResponse_Listing{Listing: &quaygenv1.Listing{
			Reason: reason, Robots: s.robots[i:min(i+1, len(s.robots))], Complete: last,
		}}}
		if last {
			answer.Position = fmt.Sprintf("%s/%d", s.process, len(s.events))
		}
		if err := stream.Send(answer); err != nil {
			return 0, err
		}
	}
	return len(s.events), nil
}

// authority signs certificates for one test.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{t: t}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority"}, NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	a.key = a.newKey()
	raw, err := x509.CreateCertificate(rand.Reader, template, template, a.key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	if a.cert, err = x509.ParseCertificate(raw); err != nil {
		t.Fatal(err)
	}
	return a
}

func (a *authority) newKey() *ecdsa.PrivateKey {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	return key
}

func (a *authority) pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	return pool
}

// sign returns a certificate for loopback, with what change changes of it.
func (a *authority) sign(change func(*x509.Certificate)) (cert, key []byte) {
	a.t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "somebody"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		DNSNames: []string{"quaygen.example.com"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	if change != nil {
		change(template)
	}
	private := a.newKey()
	raw, err := x509.CreateCertificate(rand.Reader, template, a.cert, private.Public(), a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	encoded, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		a.t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: raw}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: encoded})
}

func pemOf(c *x509.Certificate) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})
}

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
func operate(t *testing.T, robots quaygenv1.RobotsServer, change func(*authority, *tls.Config) *tls.Config) *operated {
	t.Helper()
	return operateWith(t, func(ca *authority, config *tls.Config) serving {
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
func operateWith(t *testing.T, server func(*authority, *tls.Config) serving) *operated {
	t.Helper()
	o := &operated{t: t, dir: t.TempDir()}
	ca := newAuthority(t)
	pair, err := tls.X509KeyPair(ca.sign(nil))
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	o.address = listener.Addr().String()
	running := server(ca, &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{pair}})
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
	clientCert, clientKey := ca.sign(func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} })
	o.write("ca.crt", pemOf(ca.cert))
	o.write("client.crt", clientCert)
	o.write("client.key", clientKey)
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

// fleet is robots in each of the states that a table can show.
func fleet() []*quaygenv1.Robot {
	const day = 24 * time.Hour
	return []*quaygenv1.Robot{
		{
			Name: "builder", Registry: "quay", Base: "myorg+k8s_builder", Strategy: quaygenv1.Strategy_STRATEGY_REGENERATE, Generation: proto.Int64(4),
			Generations:      []*quaygenv1.Generation{{Username: "myorg+k8s_builder", State: quaygenv1.GenerationState_GENERATION_STATE_CURRENT, CreateTime: at(90 * day)}},
			NextRotationTime: at(10 * time.Minute), ObserveTime: at(12 * time.Second), Problem: "Quay does not answer",
		},
		{
			Name: "prod-puller", Registry: "quay", Base: "myorg+k8s_prod_puller", Strategy: quaygenv1.Strategy_STRATEGY_OVERLAP, Generation: proto.Int64(469980),
			Generations: []*quaygenv1.Generation{
				{Number: 426780, Username: "myorg+k8s_prod_puller_g426780", State: quaygenv1.GenerationState_GENERATION_STATE_DRAINING, CreateTime: at(33 * day), LastAccessTime: at(5 * time.Hour)},
				{Number: 469980, Username: "myorg+k8s_prod_puller_g469980", State: quaygenv1.GenerationState_GENERATION_STATE_CURRENT, CreateTime: at(3 * day), LastAccessTime: at(12 * time.Minute)},
			},
			NextRotationTime: at(-27*day - time.Hour), ObserveTime: at(12 * time.Second),
			Waiting: []string{"myorg+k8s_prod_puller_g426780 is kept: it was used at 2026-11-26T07:00:00Z; it ends at 2026-11-30T12:00:00Z at the latest"},
		},
		{
			Name: "tenant", Namespace: "team-a", Registry: "quay", Base: "myorg+k8s_tenant_team-a", Strategy: quaygenv1.Strategy_STRATEGY_OVERLAP, Generation: proto.Int64(474240),
			Generations: []*quaygenv1.Generation{
				{Number: 474240, Username: "myorg+k8s_tenant_team-a_g474240", State: quaygenv1.GenerationState_GENERATION_STATE_CURRENT, CreateTime: at(100 * time.Minute)},
			},
			NextRotationTime: at(-29 * day), ObserveTime: at(12 * time.Second),
		},
		{
			Name: "tenant", Namespace: "team-b", Registry: "quay", Base: "myorg+k8s_tenant_team-b", Strategy: quaygenv1.Strategy_STRATEGY_OVERLAP,
			ObserveTime: at(12 * time.Second), Warnings: []string{"repository app does not exist; it is granted as soon as it does"},
		},
	}
}
