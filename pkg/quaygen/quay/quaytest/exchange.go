package quaytest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"
)

// maxJSON is the largest JSON body Quay takes, in bytes; docs/quay-contract.md 2.2.
const maxJSON = 1 << 20

// errBroken is the error of a connection that a fault broke.
var errBroken = fmt.Errorf("quaytest: connection broken by a fault: %w", io.EOF)

// exchange plays one request to its end: call log, rate limit, fault, view. An error means that nothing is answered.
func (s *Server) exchange(r *http.Request) (*answer, error) {
	m := find(r)
	done := s.calls.begin(m.operation, r, s.clock())
	a, err := s.play(r, m, done)
	if err != nil {
		return nil, err
	}
	done(a.status)
	a.finish(r, s.clock())
	return a, nil
}

func (s *Server) play(r *http.Request, m match, done func(status int)) (*answer, error) {
	if s.limits.refuse(r, s.clock(), s.proxyProtocol) {
		return page(http.StatusTooManyRequests), nil
	}
	body, err := takeBody(r)
	if err != nil {
		return nil, err
	}
	ctx := r.Context()
	if s.callCost > 0 && r.Header.Get("Authorization") != "" {
		if err := wait(ctx, s.callCost); err != nil {
			return nil, err
		}
	}
	f := s.faults.pick(m.operation, r)
	if f == nil {
		return s.serve(r, m, body, 0), nil
	}
	if f.Hit != nil {
		f.Hit()
	}
	if err := s.before(ctx, f, func() { s.serve(detached(r), m, body, 0) }); err != nil {
		return nil, err
	}
	if f.Status != 0 {
		return f.answer(), nil
	}
	a := s.serve(r, m, body, f.StaleBy)
	if err := after(ctx, f); err != nil {
		done(a.status)
		return nil, err
	}
	a.cut = f.CutBody
	return a, nil
}

// before plays the part of a fault that comes before Quay's own work.
func (s *Server) before(ctx context.Context, f *Fault, effect func()) error {
	if f.Hang && !f.LostAnswer {
		<-ctx.Done()
		return ctx.Err()
	}
	if f.Delay <= 0 {
		return nil
	}
	started := time.Now()
	err := wait(ctx, f.Delay)
	if err != nil && f.Late && f.Status == 0 {
		time.AfterFunc(f.Delay-time.Since(started), effect)
	}
	return err
}

// after plays the part of a fault that comes after Quay's own work.
func after(ctx context.Context, f *Fault) error {
	if f.AnswerDelay > 0 {
		if err := wait(ctx, f.AnswerDelay); err != nil {
			return err
		}
	}
	switch {
	case f.LostAnswer && f.Hang:
		<-ctx.Done()
		return ctx.Err()
	case f.LostAnswer:
		return errBroken
	}
	return nil
}

func wait(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// takeBody reads the body of an API request before anything else happens: only then does net/http notice that a
// client has gone, which is what ends a hanging request. Registry uploads are streamed instead.
func takeBody(r *http.Request) ([]byte, error) {
	if r.Body == nil || areaOf(r.URL.Path) == areaRegistry {
		return nil, nil
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, maxJSON+1))
	if err != nil {
		return nil, errors.Join(errors.New("quaytest: reading the request"), err)
	}
	return body, nil
}

// detached returns r for work that outlives its client.
func detached(r *http.Request) *http.Request {
	d := r.Clone(context.WithoutCancel(r.Context()))
	d.Body = http.NoBody
	return d
}

// serve does what Quay does with one request. Lists are answered as of staleBy ago.
func (s *Server) serve(r *http.Request, m match, body []byte, staleBy time.Duration) *answer {
	switch areaOf(r.URL.Path) {
	case areaAPI:
		if m.route == nil {
			return unrouted(r, m)
		}
		return s.serveAPI(r, m, body, staleBy)
	case areaAuth:
		return s.serveAuth(r)
	case areaRegistry:
		return s.serveRegistry(r)
	default:
		return s.serveWeb(r)
	}
}

// Transport returns a client's view of the server, without a network: each request runs in the caller's goroutine and
// ends, however long a [Fault] holds it, when the request's context does. It counts as one HTTP/2 connection.
func (s *Server) Transport() http.RoundTripper {
	return &transport{server: s, connection: fmt.Sprintf("connection-%s", randomWord(8))}
}

type transport struct {
	server     *Server
	connection string
}

// RoundTrip hands the request to the server, as the server's side of a connection would see it.
func (t *transport) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Body != nil {
		defer func() { _ = r.Body.Close() }()
	}
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	in := r.Clone(r.Context())
	if in.Host == "" {
		in.Host = r.URL.Host
	}
	if in.Body == nil {
		in.Body = http.NoBody
	}
	if in.Header.Get("User-Agent") == "" {
		in.Header.Set("User-Agent", "Go-http-client/2.0")
	}
	in.Proto, in.ProtoMajor, in.ProtoMinor = "HTTP/2.0", 2, 0
	in.RequestURI, in.RemoteAddr = r.URL.RequestURI(), t.connection
	a, err := t.server.exchange(in)
	if err != nil {
		return nil, err
	}
	return a.response(r), nil
}

var _ http.RoundTripper = (*transport)(nil)

// saysJSON reports whether the request says that its body is JSON.
func saysJSON(r *http.Request) bool {
	kind, _, _ := bytes.Cut([]byte(r.Header.Get("Content-Type")), []byte(";"))
	return string(bytes.ToLower(bytes.TrimSpace(kind))) == jsonType
}
