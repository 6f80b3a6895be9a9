package httpapi

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// A Server is an [http.Server] that, when it is shut down, also answers those who have connected and not asked yet: the one it
// is made of would read their requests and hang up. Make one with [NewServer]; call Serve once.
type Server struct {
	*http.Server

	mu       sync.Mutex // guards what follows
	listener net.Listener
	closing  bool
	silent   map[net.Conn]struct{} // on which no request has begun
	heard    chan struct{}         // closed and replaced when one of them asks, or goes
}

type connKey struct{}

// conn is what a request's context knows of its connection.
type conn struct {
	net.Conn
	since time.Time
	asked atomic.Bool // a request has begun; the requests after the first need no lock
}

// NewServer wraps a handler with limits on time and size. The caller listens.
func NewServer(handler http.Handler, log *slog.Logger) *Server {
	s := &Server{silent: map[net.Conn]struct{}{}, heard: make(chan struct{})}
	idle := newIdle()
	s.Server = &http.Server{
		Handler:           http.MaxBytesHandler(s.hearing(handler), maxBodyBytes),
		ReadHeaderTimeout: readHeaderTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       -1, // see idle
		MaxHeaderBytes:    maxHeaderBytes,
		HTTP2:             &http.HTTP2Config{MaxConcurrentStreams: maxStreams, MaxReadFrameSize: maxFrameBytes, WriteByteTimeout: writeStalled},
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug), // ESO's store validation connects and hangs up
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.silent[c] = struct{}{}
			return context.WithValue(ctx, connKey{}, &conn{Conn: c, since: time.Now()})
		},
		ConnState: func(c net.Conn, state http.ConnState) {
			idle.state(c, state)
			if state == http.StateClosed {
				s.hear(c)
			}
		},
	}
	return s
}

// hearing notes that a request on a connection has begun: from here on, it is waited for.
func (s *Server) hearing(handler http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if c, ok := r.Context().Value(connKey{}).(*conn); ok && !c.asked.Swap(true) {
			s.hear(c.Conn)
		}
		handler.ServeHTTP(w, r)
	})
}

func (s *Server) hear(c net.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, silent := s.silent[c]; silent {
		delete(s.silent, c)
		close(s.heard)
		s.heard = make(chan struct{})
	}
}

// Serve answers requests on listener, and returns [http.ErrServerClosed] when Shutdown has begun.
func (s *Server) Serve(listener net.Listener) error {
	s.mu.Lock()
	s.listener = listener
	if s.closing {
		listener.Close()
	}
	s.mu.Unlock()
	err := s.Server.Serve(listener)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing && errors.Is(err, net.ErrClosed) {
		return http.ErrServerClosed
	}
	return err
}

// Shutdown takes no new connections, and returns when all there are have been answered, or ctx ends. Who has connected has as long
// to ask as always.
func (s *Server) Shutdown(ctx context.Context) error {
	s.mu.Lock()
	s.closing = true
	if s.listener != nil {
		s.listener.Close()
	}
	s.mu.Unlock()
	s.SetKeepAlivesEnabled(false)
	timer := time.NewTimer(readHeaderTimeout)
	defer timer.Stop()
	for {
		s.mu.Lock()
		silent, heard := len(s.silent), s.heard
		s.mu.Unlock()
		if silent == 0 {
			break
		}
		select {
		case <-heard:
			continue
		case <-timer.C: // HTTP/2, where who says nothing is told by itself; or the connection is about to be closed
		case <-ctx.Done():
		}
		break
	}
	// Where Serve has yet to notice that the listener is closed, it is closed once more, which is no failure.
	if err := s.Server.Shutdown(ctx); !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}
