package auth

import (
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/quaygen/quaygen/pkg/quaygen/policy"
)

// How many failed attempts one address may make. Whoever holds a credential of ours does not fail; what does are a few
// stores with wrong tokens behind the one address of ESO.
const (
	failuresPerMinute = 60
	maxSources        = 10_000
	sweepEvery        = time.Second
)

// GuessAfter is when an address that has failed too often may fail again.
const GuessAfter = time.Minute / failuresPerMinute

// Guard knows addresses from which too many credentials were presented that are none. It keeps nobody with a good one
// out, wherever it comes from: only what a failure costs us is bounded.
type Guard struct {
	config GuardConfig

	mu      sync.Mutex // guards what follows
	sources map[netip.Prefix]*source
	rest    source // of all addresses that are too many to be told apart
	swept   time.Time
}

// GuardConfig says whom to tell. Both may be nil.
type GuardConfig struct {
	Failed  func(outcome string) // told of each failure: Failed... below
	Flooded func(from string)    // told, once a minute at most for each, of an address that has failed too often
}

// The outcomes that [GuardConfig].Failed is told.
const (
	FailedNone        = "none"        // no credential that we know
	FailedRejected    = "rejected"    // one that is not accepted
	FailedUnavailable = "unavailable" // one that could not be checked
	FailedLimited     = "limited"     // too many of the first two
)

type source struct {
	rate *rate.Limiter
	told time.Time
}

// NewGuard returns a guard that has seen nobody yet.
func NewGuard(config GuardConfig) *Guard {
	if config.Failed == nil {
		config.Failed = func(string) {}
	}
	if config.Flooded == nil {
		config.Flooded = func(string) {}
	}
	return &Guard{config: config, sources: make(map[netip.Prefix]*source), rest: source{rate: newFailures()}}
}

func newFailures() *rate.Limiter { return rate.NewLimiter(failuresPerMinute/60.0, failuresPerMinute) }

// Over returns an authenticator that asks another one, and whose error wraps [ErrGuessing] too once an address has
// failed too often. Failures that wrap [ErrUnavailable] are nobody's guesses.
func (g *Guard) Over(authenticate Authenticator) Authenticator {
	return func(p Presented) (policy.Caller, error) {
		from := Network(p.From)
		p.guessing = func() bool { return g.guesses(from) }
		caller, err := authenticate(p)
		switch {
		case err == nil:
			return caller, nil
		case errors.Is(err, ErrUnavailable):
			g.config.Failed(FailedUnavailable)
			return policy.Caller{}, err
		case !g.fail(from):
			g.config.Failed(FailedLimited)
			return policy.Caller{}, fmt.Errorf("%w: %w", ErrGuessing, err)
		case errors.Is(err, ErrRejected):
			g.config.Failed(FailedRejected)
		default:
			g.config.Failed(FailedNone)
		}
		return policy.Caller{}, err
	}
}

// Network is what one party has at its disposal of the addresses to which from, a host:port, belongs: one, or with IPv6 a
// network of 2^64. Zero: there is no address.
func Network(from string) netip.Prefix {
	port, err := netip.ParseAddrPort(from)
	if err != nil {
		return netip.Prefix{}
	}
	addr, bits := port.Addr().Unmap().WithZone(""), 32
	if addr.Is6() {
		bits = 64
	}
	prefix, err := addr.Prefix(bits)
	if err != nil {
		return netip.Prefix{}
	}
	return prefix
}

// guesses reports whether an address has failed too often.
func (g *Guard) guesses(from netip.Prefix) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	s, ok := g.sources[from]
	switch {
	case ok:
		return s.rate.Tokens() < 1
	case len(g.sources) >= maxSources:
		return g.rest.rate.Tokens() < 1
	}
	return false
}

// fail counts a failure, and reports whether it is not one too many.
func (g *Guard) fail(from netip.Prefix) bool {
	g.mu.Lock()
	s := g.sourceLocked(from)
	ok := s.rate.Allow()
	now := time.Now()
	flooded := !ok && now.Sub(s.told) >= time.Minute
	if flooded {
		s.told = now
	}
	g.mu.Unlock()
	if flooded {
		g.config.Flooded(from.String())
	}
	return ok
}

func (g *Guard) sourceLocked(from netip.Prefix) *source {
	if s, ok := g.sources[from]; ok {
		return s
	}
	now := time.Now()
	if len(g.sources) >= maxSources && now.Sub(g.swept) >= sweepEvery {
		g.swept = now
		for other, s := range g.sources {
			if s.rate.Tokens() >= failuresPerMinute {
				delete(g.sources, other)
			}
		}
	}
	if len(g.sources) >= maxSources {
		return &g.rest
	}
	s := &source{rate: newFailures()}
	g.sources[from] = s
	return s
}
