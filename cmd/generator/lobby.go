package main

import (
	linked "container/list"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quaygen/quaygen/pkg/quaygen/auth"
	"github.com/quaygen/quaygen/pkg/quaygen/policy"
)

// What a connection may do over which nobody has authenticated yet. A caller needs a handshake, of some KiB, and one request,
// of 64 KiB with headers of 16 KiB at most.
const (
	unknownTime    = time.Minute
	unknownBytes   = 96 << 10 // as they come in, encrypted where there is TLS
	unknownGuesses = 10       // beyond the pace of failed attempts
)

// The reasons for which a connection is closed here, in metrics.
const (
	closedCrowded = "crowded"
	closedUnknown = "unknown"
)

var errUnknownBytes = errors.New("too much was sent over a connection before anybody authenticated")

// A lobby is a listener that bounds how many connections there are, and what those may do of which it is not known that a
// client is behind them. Where there are too many, each further one costs another one its place: of the address that has
// most of them, the oldest that is not known, or if all of its are, the one used longest ago. So whoever holds thousands
// keeps out itself alone, and of those at the same address whose first request takes longer than opening all of them anew.
type lobby struct {
	net.Listener
	config lobbyConfig

	mu      sync.Mutex // guards what follows
	guests  map[string]*guest
	sources map[netip.Prefix]*source
	came    uint64
	warned  time.Time
}

type lobbyConfig struct {
	name    string // of the listener, in logs
	most    int    // connections at a time
	anybody bool   // nobody authenticates here: only their number is bounded
	log     *slog.Logger
	closed  func(reason string) // told of each that is closed here
}

// A guest is a connection.
type guest struct {
	net.Conn
	lobby   *lobby
	address string
	number  uint64       // of those that came before
	read    atomic.Int64 // bytes, while it is not known
	known   atomic.Bool

	// Guarded by the lobby's mutex.
	source  *source
	place   *linked.Element // nil: it has left
	guesses int
	timer   *time.Timer // nil: nothing ends it
}

// A source is an address, or what one party has of them, with its connections. The first is closed first.
type source struct {
	network        netip.Prefix
	unknown, known linked.List // of *guest
}

func (s *source) len() int { return s.unknown.Len() + s.known.Len() }

// first returns the one of a source that is closed first.
func (s *source) first() *guest {
	e := s.unknown.Front()
	if e == nil {
		e = s.known.Front()
	}
	g, _ := e.Value.(*guest) // it is nothing else, and no source is empty
	return g
}

// before reports whether g is closed before another one, of a source with as many connections.
func (g *guest) before(other *guest) bool {
	if a, b := g.known.Load(), other.known.Load(); a != b {
		return b
	}
	return g.number < other.number
}

func newLobby(config lobbyConfig) *lobby {
	return &lobby{config: config, guests: make(map[string]*guest), sources: make(map[netip.Prefix]*source)}
}

// over returns l as a listener for what another one accepts. Call it once.
func (l *lobby) over(listener net.Listener) net.Listener {
	l.Listener = listener
	return l
}

// Accept waits for the next connection, never for room.
func (l *lobby) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	g := &guest{Conn: c, lobby: l, address: c.RemoteAddr().String()}
	if out := l.enter(g); out != nil {
		l.config.closed(closedCrowded)
		out.Conn.Close()
	}
	return g, nil
}

// enter gives a connection a place, and returns the one that loses its own for it, if any.
func (l *lobby) enter(g *guest) (out *guest) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.guests) >= l.config.most {
		out = l.leastLocked()
		l.removeLocked(out)
		if now := time.Now(); now.Sub(l.warned) >= time.Minute {
			l.warned = now
			l.config.log.Warn("too many connections; for each further one, one of the address that has most is closed",
				"listener", l.config.name, "connections", l.config.most, "from", out.source.network.String())
		}
	}
	network := auth.Network(g.address)
	g.source = l.sources[network]
	if g.source == nil {
		g.source = &source{network: network}
		l.sources[network] = g.source
	}
	l.came++
	g.number = l.came
	g.place = g.source.unknown.PushBack(g)
	l.guests[g.address] = g
	if !l.config.anybody {
		g.timer = time.AfterFunc(unknownTime, func() { l.expel(g) })
	}
	return out
}

// leastLocked returns who is closed first; there is somebody.
func (l *lobby) leastLocked() (least *guest) {
	most := 0
	for _, s := range l.sources {
		if n, g := s.len(), s.first(); n > most || n == most && g.before(least) {
			most, least = n, g
		}
	}
	return least
}

// removeLocked reports whether g was still there.
func (l *lobby) removeLocked(g *guest) bool {
	if g.place == nil {
		return false
	}
	g.source.unknown.Remove(g.place) // one of these does nothing
	g.source.known.Remove(g.place)
	g.place = nil
	if g.source.len() == 0 {
		delete(l.sources, g.source.network)
	}
	if l.guests[g.address] == g { // the same address may have connected again before we were done
		delete(l.guests, g.address)
	}
	if g.timer != nil {
		g.timer.Stop()
	}
	return true
}

// expel closes a connection that has had its chance.
func (l *lobby) expel(g *guest) {
	l.mu.Lock()
	unknown := !g.known.Load() && l.removeLocked(g)
	l.mu.Unlock()
	if unknown {
		l.config.closed(closedUnknown)
		g.Conn.Close()
	}
}

// len returns how many connections there are.
func (l *lobby) len() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.guests)
}

// watching returns an authenticator that asks another one, and learns from it over which connections clients come.
func (l *lobby) watching(authenticate auth.Authenticator) auth.Authenticator {
	return func(p auth.Presented) (policy.Caller, error) {
		caller, err := authenticate(p)
		switch {
		case err == nil:
			l.know(p.From)
		case errors.Is(err, auth.ErrGuessing):
			l.guessed(p.From)
		}
		return caller, err
	}
}

// know remembers that a client is behind a connection, now.
func (l *lobby) know(address string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	g := l.guests[address]
	switch {
	case g == nil:
	case g.known.Load():
		g.source.known.MoveToBack(g.place)
	default:
		g.source.unknown.Remove(g.place)
		g.place = g.source.known.PushBack(g)
		g.known.Store(true)
		if g.timer != nil {
			g.timer.Stop()
		}
	}
}

// guessed counts a failed attempt that was one too many. Each ten of them cost a handshake; who shares a connection with
// somebody who has authenticated over it is spared.
func (l *lobby) guessed(address string) {
	l.mu.Lock()
	g := l.guests[address]
	enough := false
	if g != nil && !g.known.Load() {
		g.guesses++
		enough = g.guesses >= unknownGuesses
	}
	l.mu.Unlock()
	if enough {
		l.expel(g)
	}
}

// Read ends a connection over which much comes in before anybody authenticates: it could fill 100 calls at a time.
func (g *guest) Read(p []byte) (int, error) {
	if g.known.Load() || g.lobby.config.anybody {
		return g.Conn.Read(p)
	}
	n, err := g.Conn.Read(p)
	if g.read.Add(int64(n)) > unknownBytes && !g.known.Load() {
		g.lobby.expel(g)
		return 0, errUnknownBytes
	}
	return n, err
}

func (g *guest) Close() error {
	g.lobby.mu.Lock()
	g.lobby.removeLocked(g)
	g.lobby.mu.Unlock()
	return g.Conn.Close()
}
