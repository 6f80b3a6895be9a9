package httpapi_test

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/http2"
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
