package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/credentials"
)

// What a connection may meet that is no error of TLS.
var (
	errSpeaksTLS     = errors.New("the server speaks TLS")
	errSilent        = errors.New("the server hangs up without a word")
	errSpeaksOther   = errors.New("the server does not speak HTTP/2")
	errLeavesMachine = errors.New("the name leads to another machine")
)

// link remembers what went wrong with the connection. gRPC reports that as text alone, and why a certificate was refused
// is better told from the error itself.
type link struct {
	credentials.TransportCredentials
	plaintext bool

	mu      sync.Mutex
	problem error
	reached bool
}

// note takes in how it went; without a problem the server has said something sensible.
func (l *link) note(problem error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.problem = problem
	l.reached = l.reached || problem == nil
}

// state returns what is wrong with the last connection, nil if nothing is known to be, and whether there ever was a good one.
func (l *link) state() (problem error, reached bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.problem, l.reached
}

// ClientHandshake remembers the error of a handshake that failed, and listens to what comes after one that did not: with
// TLS 1.3 a server refuses a client's certificate only then.
func (l *link) ClientHandshake(ctx context.Context, authority string, raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	if address, ok := raw.RemoteAddr().(*net.TCPAddr); l.plaintext && (!ok || !address.IP.IsLoopback()) {
		err := fmt.Errorf("%w: %v", errLeavesMachine, raw.RemoteAddr())
		l.note(err)
		return nil, nil, err
	}
	conn, info, err := l.TransportCredentials.ClientHandshake(ctx, authority, raw)
	if err != nil {
		l.note(err)
		return nil, nil, err
	}
	return &heard{Conn: conn, link: l}, info, nil
}

// Clone keeps the memory: gRPC works with a clone.
func (l *link) Clone() credentials.TransportCredentials { return l }

// heard is a connection that tells its link how it goes.
type heard struct {
	net.Conn
	link     *link
	greeting []byte // the first bytes, until they tell what the server speaks
	known    atomic.Bool
}

// Read is called by one goroutine alone.
func (h *heard) Read(p []byte) (int, error) {
	n, err := h.Conn.Read(p)
	if n > 0 && !h.known.Load() {
		h.greeting = append(h.greeting, p[:min(n, 5)]...)
		if len(h.greeting) >= 5 {
			h.known.Store(true)
			h.link.note(h.judge())
		}
	}
	if isAlert(err) {
		h.link.note(err)
	} else if err != nil && h.link.plaintext && len(h.greeting) == 0 {
		h.link.note(errSilent) // as many do that wait for TLS
	}
	return n, err
}

// alert is how crypto/tls names the operation whose error is an alert that the other side sent.
const alert = "remote error"

// Write hears out a server that hung up while we write: it may have said why.
func (h *heard) Write(p []byte) (int, error) {
	n, err := h.Conn.Write(p)
	if err == nil || h.known.Load() || h.link.plaintext {
		return n, err
	}
	_ = h.SetReadDeadline(time.Now().Add(time.Second)) // the connection is lost anyway
	var rest [512]byte
	for {
		if _, readErr := h.Conn.Read(rest[:]); readErr != nil {
			if isAlert(readErr) {
				h.link.note(readErr)
			}
			return n, err
		}
	}
}

func isAlert(err error) bool {
	op, ok := errors.AsType[*net.OpError](err)
	return ok && op.Op == alert
}

func (h *heard) judge() error {
	const tlsAlert, tlsHandshake, settingsFrame = 0x15, 0x16, 0x04
	g := h.greeting
	switch {
	case h.link.plaintext && (g[0] == tlsAlert || g[0] == tlsHandshake) && g[1] == 3:
		return errSpeaksTLS
	case g[3] != settingsFrame: // which is how every HTTP/2 server begins
		return errSpeaksOther
	}
	return nil
}
