package main

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quaygen/quaygen/pkg/quaygen/auth"
	"github.com/quaygen/quaygen/pkg/quaygen/policy"
)

// queue is a listener of connections that are there already.
type queue chan net.Conn

func (q queue) Accept() (net.Conn, error) {
	c, open := <-q
	if !open {
		return nil, net.ErrClosed
	}
	return c, nil
}
func (q queue) Close() error   { close(q); return nil }
func (q queue) Addr() net.Addr { return &net.TCPAddr{} }

// fromAddress is one end of a pipe that says where it comes from.
type fromAddress struct {
	net.Conn
	remote *net.TCPAddr
}

func (c *fromAddress) RemoteAddr() net.Addr { return c.remote }

// hall is a lobby with everything around it that a test looks at.
type hall struct {
	*lobby
	t      *testing.T
	queue  queue
	log    strings.Builder
	theirs map[string]net.Conn // the other ends

	telling sync.Mutex // several may be closed at a time
	told    []string   // why connections were closed
}

// closed says why connections were closed so far.
func (h *hall) closed() []string {
	h.telling.Lock()
	defer h.telling.Unlock()
	return slices.Clone(h.told)
}

func newHall(t *testing.T, most int) *hall {
	t.Helper()
	h := &hall{t: t, queue: make(queue, 1), theirs: make(map[string]net.Conn)}
	h.lobby = newLobby(lobbyConfig{
		name: "http", most: most, log: slog.New(slog.NewTextHandler(&h.log, nil)),
		closed: func(reason string) {
			h.telling.Lock()
			defer h.telling.Unlock()
			h.told = append(h.told, reason)
		},
	})
	h.over(h.queue)
	t.Cleanup(func() {
		for _, c := range h.theirs {
			_ = c.Close()
		}
	})
	return h
}

// connect lets somebody in, from an address like 10.0.0.1:5.
func (h *hall) connect(address string) net.Conn {
	h.t.Helper()
	remote, err := net.ResolveTCPAddr("tcp", address)
	if err != nil {
		h.t.Fatal(err)
	}
	ours, theirs := net.Pipe()
	h.theirs[address] = theirs
	h.queue <- &fromAddress{ours, remote}
	c, err := h.Accept()
	if err != nil {
		h.t.Fatal(err)
	}
	return c
}

// open returns which connections of those that were made are still open at the other end.
func (h *hall) open() (addresses []string) {
	for address, c := range h.theirs {
		_ = c.SetReadDeadline(time.Now().Add(-time.Second))
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
			addresses = append(addresses, address)
		}
	}
	slices.Sort(addresses)
	return addresses
}

func (h *hall) want(what string, addresses ...string) {
	h.t.Helper()
	if got := h.open(); !slices.Equal(got, addresses) {
		h.t.Errorf("%s: open are %v, not %v", what, got, addresses)
	}
	if h.len() != len(addresses) {
		h.t.Errorf("%s: %d are counted", what, h.len())
	}
}

func TestWhoHasMostConnectionsMakesRoomWithTheOldestThatIsNotKnown(t *testing.T) {
	h := newHall(t, 4)
	for _, address := range []string{"10.0.0.1:1", "10.0.0.2:1", "10.0.0.1:2", "10.0.0.1:3"} {
		h.connect(address)
	}
	h.know("10.0.0.1:1")
	h.want("room for all", "10.0.0.1:1", "10.0.0.1:2", "10.0.0.1:3", "10.0.0.2:1")
	h.connect("10.0.0.3:1")
	h.want("one from elsewhere", "10.0.0.1:1", "10.0.0.1:3", "10.0.0.2:1", "10.0.0.3:1")
	h.connect("10.0.0.1:4")
	h.want("one more of the same", "10.0.0.1:1", "10.0.0.1:4", "10.0.0.2:1", "10.0.0.3:1")
	h.know("10.0.0.1:4")
	h.know("10.0.0.1:1") // again, and later than the other
	h.connect("10.0.0.4:1")
	h.want("all of those that have most are known: the one used longest ago", "10.0.0.1:1", "10.0.0.2:1", "10.0.0.3:1", "10.0.0.4:1")
	h.know("10.0.0.2:1")
	h.connect("10.0.0.5:1")
	h.want("nobody has most: the oldest that is not known", "10.0.0.1:1", "10.0.0.2:1", "10.0.0.4:1", "10.0.0.5:1")
	if len(h.closed()) != 4 || slices.ContainsFunc(h.closed(), func(reason string) bool { return reason != closedCrowded }) {
		t.Errorf("closed: %v", h.closed())
	}
	if n := strings.Count(h.log.String(), "too many connections"); n != 1 || !strings.Contains(h.log.String(), "from=10.0.0.1/32") {
		t.Errorf("told %d times: %s", n, h.log.String())
	}
}

// An IPv6 customer has 2^64 addresses, and would have most of none.
func TestANetworkOfIPv6IsOneSource(t *testing.T) {
	h := newHall(t, 3)
	h.connect("[2001:db8:2::1]:1")
	h.connect("[2001:db8:1::1]:1")
	h.connect("[2001:db8:1::2]:1")
	h.connect("[2001:db8:1::3]:1")
	h.want("one network", "[2001:db8:1::2]:1", "[2001:db8:1::3]:1", "[2001:db8:2::1]:1")
}

func TestWhatIsClosedIsForgotten(t *testing.T) {
	h := newHall(t, 2)
	for i := range 100 {
		c := h.connect(fmt.Sprintf("10.0.0.%d:1", i))
		if i%2 == 0 {
			h.know(c.RemoteAddr().String())
		}
		for range 2 { // TLS and the server both close
			_ = c.Close()
		}
	}
	again := h.connect("10.0.0.1:1")
	newer := h.connect("10.0.0.1:1") // before the server noticed that the first one is gone
	_ = again.Close()
	if h.len() != 1 || len(h.sources) != 1 {
		t.Errorf("%d connections, %d sources", h.len(), len(h.sources))
	}
	_ = newer.Close()
	if h.len() != 0 || len(h.sources) != 0 || len(h.closed()) != 0 {
		t.Errorf("%d connections, %d sources, closed by itself: %v", h.len(), len(h.sources), h.closed())
	}
}

func TestAConnectionOverWhichNobodyAuthenticatesIsClosedAfterAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHall(t, 10)
		h.connect("10.0.0.1:1")
		h.connect("10.0.0.1:2")
		time.Sleep(59 * time.Second)
		h.know("10.0.0.1:2")
		h.want("before", "10.0.0.1:1", "10.0.0.1:2")
		time.Sleep(time.Hour)
		h.want("after", "10.0.0.1:2")
		if !slices.Equal(h.closed(), []string{closedUnknown}) {
			t.Errorf("closed: %v", h.closed())
		}
	})
}

func TestMoreThanARequestIsNotReadBeforeSomebodyAuthenticates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHall(t, 10)
		stranger, client := h.connect("10.0.0.1:1"), h.connect("10.0.0.1:2")
		for _, address := range []string{"10.0.0.1:1", "10.0.0.1:2"} {
			go func() { _, _ = h.theirs[address].Write(make([]byte, 1<<20)) }() // the other end reads or closes
		}
		if n, err := io.Copy(io.Discard, stranger); !errors.Is(err, errUnknownBytes) || n < 84<<10 || n > unknownBytes {
			t.Errorf("of a stranger %d bytes are read: %v", n, err)
		}
		if _, err := io.ReadFull(client, make([]byte, 80<<10)); err != nil {
			t.Fatal(err)
		}
		h.know("10.0.0.1:2")
		if _, err := io.ReadFull(client, make([]byte, 1<<20-80<<10)); err != nil {
			t.Errorf("of a client: %v", err)
		}
		h.want("then", "10.0.0.1:2")
	})
}

func TestTenGuessesBeyondThePaceCostTheConnectionIfNobodyHasAuthenticatedOverIt(t *testing.T) {
	h := newHall(t, 10)
	h.connect("10.0.0.1:1")
	h.connect("10.0.0.1:2")
	var answer error
	authenticate := h.watching(func(auth.Presented) (policy.Caller, error) { return policy.Caller{Name: "eso"}, answer })
	ask := func(address string, with error) {
		t.Helper()
		answer = with
		if caller, err := authenticate(auth.Presented{From: address}); !errors.Is(err, with) || caller.Name != "eso" {
			t.Errorf("%v %v", caller, err)
		}
	}
	ask("10.0.0.1:2", nil)
	ask("10.0.0.9:9", nil) // whose connection is gone
	wrong, guess := fmt.Errorf("%w", auth.ErrRejected), fmt.Errorf("%w: %w", auth.ErrGuessing, auth.ErrRejected)
	for range 100 {
		ask("10.0.0.1:1", wrong)
		ask("10.0.0.1:2", guess)
		ask("10.0.0.9:9", guess)
	}
	for range 9 {
		ask("10.0.0.1:1", guess)
	}
	h.want("nine", "10.0.0.1:1", "10.0.0.1:2")
	ask("10.0.0.1:1", guess)
	h.want("ten", "10.0.0.1:2")
}

// The administrator's port knows nobody: there it is the number alone.
func TestWhereNobodyAuthenticatesConnectionsMayStay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHall(t, 2)
		h.config.anybody = true
		c := h.connect("10.0.0.1:1")
		go func() { _, _ = h.theirs["10.0.0.1:1"].Write(make([]byte, 1<<20)) }() // until the test ends
		if _, err := io.ReadFull(c, make([]byte, 1<<20)); err != nil {
			t.Error(err)
		}
		time.Sleep(time.Hour)
		h.connect("10.0.0.1:2")
		h.connect("10.0.0.1:3")
		h.want("two", "10.0.0.1:2", "10.0.0.1:3")
	})
}
