package product

import (
	"context"
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

// Service is one address for any number of replicas, as a Service in Kubernetes
// is: it passes connections on, in turn, and sees nothing of what is in them. It can
// also stand before something else, to take that away.
type Service struct {
	listener net.Listener
	running  sync.WaitGroup
	ctx      context.Context
	cancel   context.CancelFunc

	mu       sync.Mutex // guards what follows
	backends []string
	next     int
	links    context.Context // of the connections that are passed on now
	cut      context.CancelFunc
}

// NewService makes a Service without replicas: it takes connections and drops
// them. Close ends it.
func NewService(ctx context.Context) (*Service, error) {
	var lc net.ListenConfig
	listener, err := lc.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listening for the Service: %w", err)
	}
	s := &Service{listener: listener}
	s.ctx, s.cancel = context.WithCancel(context.WithoutCancel(ctx))
	s.links, s.cut = context.WithCancel(s.ctx)
	s.running.Go(s.accept)
	return s, nil
}

// Address is the Service's host and port.
func (s *Service) Address() string { return s.listener.Addr().String() }

// Use makes the Service pass new connections on to these replicas. Those that
// exist stay with theirs.
func (s *Service) Use(replicas ...*Generator) {
	var addresses []string
	for _, r := range replicas {
		addresses = append(addresses, r.Address)
	}
	s.Lead(addresses...)
}

// Lead is Use for whatever listens at these addresses, host and port.
func (s *Service) Lead(addresses ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.backends = addresses
}

// Cut ends the connections that exist.
func (s *Service) Cut() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cut()
	s.links, s.cut = context.WithCancel(s.ctx)
}

// Close ends the Service and all connections through it.
func (s *Service) Close() {
	s.cancel()
	s.listener.Close()
	s.running.Wait()
}

func (s *Service) accept() {
	for {
		client, err := s.listener.Accept()
		if err != nil {
			return // closed
		}
		s.running.Go(func() { s.pass(client) })
	}
}

// backend returns the next one, or "", and what ends a connection to it.
func (s *Service) backend() (address string, links context.Context) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.backends) == 0 {
		return "", s.links
	}
	s.next++
	return s.backends[s.next%len(s.backends)], s.links
}

// pass copies both ways until both have ended, the Service has, or it is cut.
func (s *Service) pass(client net.Conn) {
	defer client.Close()
	address, links := s.backend()
	if address == "" {
		return
	}
	d := net.Dialer{Timeout: 5 * time.Second}
	server, err := d.DialContext(links, "tcp", address)
	if err != nil {
		return // the replica is gone; so is the client's connection
	}
	defer server.Close()
	stop := context.AfterFunc(links, func() {
		client.Close()
		server.Close()
	})
	defer stop()
	var both sync.WaitGroup
	both.Go(func() { forward(server, client) })
	both.Go(func() { forward(client, server) })
	both.Wait()
}

// forward passes the end of the stream on too. An error is the other side's to notice.
func forward(to, from net.Conn) {
	_, _ = io.Copy(to, from)
	if half, ok := to.(*net.TCPConn); ok {
		_ = half.CloseWrite()
	}
}
