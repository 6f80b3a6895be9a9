package httpapi_test

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/quaygen/quaygen/pkg/quaygen/httpapi"
)

// A certificate authority that was removed must not leave connections open for ever that it let in.
func TestAnHTTP2ConnectionInUseIsReplacedAfterHalfAnHourAndNoRequestFails(t *testing.T) {
	config, roots := loopbackTLS(t)
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		ask, dials := http2Client(t, roots, w.serve(t, config))
		for start := time.Now(); time.Since(start) < 30*time.Minute; {
			ask()
			time.Sleep(20 * time.Second) // it is never idle for long
		}
		if *dials != 1 {
			t.Errorf("%d connections before half an hour is over", *dials)
		}
		for range 3 {
			ask()
			time.Sleep(20 * time.Second)
		}
		if *dials != 2 {
			t.Errorf("%d connections when half an hour is over", *dials)
		}
	})
}

// rawHTTP2 connects, and returns the connection inside TLS after the server's first frame, its settings, with a framer for it.
func rawHTTP2(t *testing.T, trust *tls.Config, dial func() net.Conn) (net.Conn, *http2.Framer, *http2.SettingsFrame) {
	t.Helper()
	c := tls.Client(dial(), trust)
	if _, err := io.WriteString(c, http2.ClientPreface); err != nil {
		t.Fatal(err)
	}
	f := http2.NewFramer(c, c)
	first, err := f.ReadFrame()
	if err != nil {
		t.Fatal(err)
	}
	settings, ok := first.(*http2.SettingsFrame)
	if !ok {
		t.Fatalf("the server begins with %v", first)
	}
	return c, f, settings
}

// The standard library's own limit is 1 MiB, taken from memory as soon as a frame of that size is announced.
func TestAnHTTP2FrameOfMoreThan16KiBIsRefusedBeforeItComes(t *testing.T) {
	config, roots := loopbackTLS(t)
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		c, f, settings := rawHTTP2(t, &tls.Config{RootCAs: roots, ServerName: "127.0.0.1", NextProtos: []string{"h2"}}, w.serve(t, config))
		if size, ok := settings.Value(http2.SettingMaxFrameSize); !ok || size != 16<<10 {
			t.Errorf("a frame may have %d bytes", size)
		}
		go func() {
			_ = f.WriteSettings()
			_, _ = c.Write([]byte{0, 0x40, 1, byte(http2.FrameData), 0, 0, 0, 0, 1}) // the header alone
		}()
		start := time.Now()
		for {
			frame, err := f.ReadFrame()
			if err != nil {
				t.Fatalf("it ended without a reason: %v", err)
			}
			away, ok := frame.(*http2.GoAwayFrame)
			if !ok {
				continue
			}
			if away.ErrCode != http2.ErrCodeFrameSize || time.Since(start) > time.Second {
				t.Errorf("after %v: %v", time.Since(start), away.ErrCode)
			}
			return
		}
	})
}

// What is written for it waits in memory meanwhile, and the connection is not idle.
func TestAnHTTP2ConnectionWhoseOtherEndDoesNotReadIsClosed(t *testing.T) {
	config, roots := loopbackTLS(t)
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		c, f, _ := rawHTTP2(t, &tls.Config{RootCAs: roots, ServerName: "127.0.0.1", NextProtos: []string{"h2"}}, w.serve(t, config))
		if err := f.WriteSettings(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		_ = c.SetWriteDeadline(time.Now().Add(time.Second))
		if err := f.WritePing(false, [8]byte{}); !errors.Is(err, io.ErrClosedPipe) {
			t.Errorf("after a minute a ping is taken, or not even refused: %v", err)
		}
	})
}

// remembered is a connection of which a test learns when nobody can reach it any more.
type remembered struct{ net.Conn }

// keeping is a listener that does something with each connection before it hands it out.
type keeping struct {
	net.Listener
	remember func(*remembered)
}

func (k *keeping) Accept() (net.Conn, error) {
	c, err := k.Listener.Accept()
	if err != nil {
		return nil, err
	}
	r := &remembered{Conn: c}
	k.remember(r)
	return r, nil
}

// Whoever asks and hangs up, again and again, would fill the memory otherwise: with 50 KiB for half a minute each time.
func TestNothingOfAnHTTP2ConnectionThatBreaksUnderARequestStaysInMemory(t *testing.T) {
	config, roots := loopbackTLS(t)
	begun, forgotten := make(chan struct{}), make(chan struct{})
	server := httpapi.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		close(begun)
		<-r.Context().Done() // the connection is gone
	}), slog.New(slog.DiscardHandler))
	server.TLSConfig = config
	plain, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	listener := &keeping{plain, func(r *remembered) { runtime.AddCleanup(r, func(done chan struct{}) { close(done) }, forgotten) }}
	go func() { _ = server.Serve(tls.NewListener(listener, config)) }() // ends below
	defer func() { _ = server.Close() }()
	c, f, _ := rawHTTP2(t, &tls.Config{RootCAs: roots, ServerName: "127.0.0.1", NextProtos: []string{"h2"}}, func() net.Conn {
		c, err := net.Dial("tcp", plain.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		return c
	})
	if err := f.WriteSettings(); err != nil {
		t.Fatal(err)
	}
	var block bytes.Buffer
	encoder := hpack.NewEncoder(&block)
	for _, field := range []hpack.HeaderField{{Name: ":method", Value: "GET"}, {Name: ":scheme", Value: "https"}, {Name: ":path", Value: "/"}, {Name: ":authority", Value: "x"}} {
		if err := encoder.WriteField(field); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block.Bytes(), EndHeaders: true, EndStream: true}); err != nil {
		t.Fatal(err)
	}
	<-begun
	_ = c.Close()
	deadline, again := time.After(15*time.Second), time.NewTicker(20*time.Millisecond)
	defer again.Stop()
	for {
		runtime.GC()
		select {
		case <-forgotten:
			return
		case <-again.C:
		case <-deadline:
			t.Fatal("it is still there after 15 s")
		}
	}
}
