// Package quaytest is Quay in memory: a strict, stateful [http.Handler] with the parts of Quay's HTTP interface that
// matter for the life of robot accounts, its oddities included, and a real container registry behind its token service.
//
// Use it in process through [Server.Transport], which needs no port and works inside a testing/synctest bubble, or put
// the [Server] behind any listener. What exists is put there with Go methods ([Server.AddOrganization] and the like),
// which stand for people at the web page; everything else goes through HTTP as it would with a real Quay. [Server.Inject]
// adds failures, [Server.Calls] tells what was asked.
//
// The behaviour follows docs/quay-contract.md; comments cite its sections. The package's own tests are the contract
// suite, which also runs against a real Quay.
//
// The package contains no test framework: methods panic when a test asks for something impossible.
package quaytest

import (
	"crypto/rand"
	"maps"
	"math/big"
	"net/http"
	"slices"
	"sync"
	"time"
)

// Options configure a [Server]. The zero value works.
type Options struct {
	// Hostname is Quay's SERVER_HOSTNAME: host or host:port, the audience of registry tokens and part of their realm.
	// Empty means "quay.test".
	Hostname string
	// Scheme is Quay's PREFERRED_URL_SCHEME. Empty means "https".
	Scheme string
	// LastAccessedThreshold is how long Quay waits before it writes a robot's last_accessed again.
	// Zero means Quay's default, 60 s.
	LastAccessedThreshold time.Duration
	// Now is the clock; it also makes the Date header. Nil means time.Now.
	Now func() time.Time
	// CallCost is how long each call with an Authorization header takes, at least. Real Quay's bcrypt check takes
	// about 0.4 s (docs/quay-contract.md 1.1). Zero means no delay.
	CallCost time.Duration
	// ProxyProtocol says that the listener knows client addresses by the proxy protocol, in which case the rate limits
	// for HTTP/1.1 apply per client address (docs/quay-contract.md 5). They never apply to HTTP/1.1 otherwise.
	ProxyProtocol bool
}

// Server is one Quay. Make it with [New]. All methods may be used concurrently.
type Server struct {
	threshold     time.Duration
	clock         func() time.Time
	callCost      time.Duration
	proxyProtocol bool

	calls  CallLog
	faults faultList
	limits limiter
	images imageStore
	pages  pageSealer

	mu           sync.Mutex // guards what follows; never held while waiting
	scheme       string
	hostname     string
	sw           switches
	namespaces   map[string]*namespace // users and organizations share one name space
	robots       map[string]*robot     // by username, those that exist
	everyRobot   []*robot              // in order of creation, deleted ones included
	repositories []*repository         // by id, deleted ones included
	tokens       map[string]*apiToken
	minted       []string // tokens of robots and of the API
	jwts         []string // the latest registry tokens
	lastID       int64
}

// switches is the part of Quay's configuration that can be changed while it runs.
type switches struct {
	robotsDisallow  bool
	robotsWhitelist []string
	readOnly        bool
	lastAccessedOff bool
}

// New returns an empty Quay.
func New(o Options) *Server {
	s := &Server{
		threshold:     o.LastAccessedThreshold,
		clock:         o.Now,
		callCost:      o.CallCost,
		proxyProtocol: o.ProxyProtocol,
		scheme:        o.Scheme,
		hostname:      o.Hostname,
		namespaces:    map[string]*namespace{},
		robots:        map[string]*robot{},
		tokens:        map[string]*apiToken{},
		images:        newImageStore(),
		pages:         newPageSealer(),
	}
	if s.threshold == 0 {
		s.threshold = time.Minute
	}
	if s.clock == nil {
		s.clock = time.Now
	}
	if s.scheme == "" {
		s.scheme = "https"
	}
	if s.hostname == "" {
		s.hostname = "quay.test"
	}
	return s
}

// SetHostname changes PREFERRED_URL_SCHEME and SERVER_HOSTNAME, for a server that learns its address from its
// listener. Registry tokens issued before are refused afterwards, because their audience is another one.
func (s *Server) SetHostname(scheme, host string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.scheme, s.hostname = scheme, host
}

// SetRobotsDisallow sets ROBOTS_DISALLOW, and ROBOTS_WHITELIST to the full names of robots that may log in all the same
// (docs/quay-contract.md 2.11).
func (s *Server) SetRobotsDisallow(on bool, whitelist ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sw.robotsDisallow, s.sw.robotsWhitelist = on, slices.Clone(whitelist)
}

// SetReadOnly sets REGISTRY_STATE to readonly: API writes answer 503 and last_accessed stands still
// (docs/quay-contract.md 1.3, 2.11).
func (s *Server) SetReadOnly(on bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sw.readOnly = on
}

// SetLastAccessed sets FEATURE_USER_LAST_ACCESSED, which is on in a new Server (docs/quay-contract.md 2.5, 2.10).
func (s *Server) SetLastAccessed(on bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sw.lastAccessedOff = !on
}

// SetRateLimits sets FEATURE_RATE_LIMITS, which is off in a new Server (docs/quay-contract.md 5).
func (s *Server) SetRateLimits(on bool) { s.limits.set(on) }

// SetOrganizationEnabled disables or enables the logins of an organization's robots; the API goes on working
// (docs/quay-contract.md 2.11).
func (s *Server) SetOrganizationEnabled(org string, enabled bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mustNamespace(org).enabled = enabled
}

// RevokeTokens makes every API token of user invalid, at once.
func (s *Server) RevokeTokens(user string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	maps.DeleteFunc(s.tokens, func(_ string, t *apiToken) bool { return t.user == user })
}

// ServeHTTP answers as Quay behind its nginx. A connection that a [Fault] breaks ends with http.ErrAbortHandler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a, err := s.exchange(r)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	a.deliver(w, r)
}

// origin returns scheme://SERVER_HOSTNAME, called H in the contract.
func (s *Server) origin() string { return s.scheme + "://" + s.hostname }

func (s *Server) nextID() int64 {
	s.lastID++
	return s.lastID
}

// mint makes a random word of n characters from Quay's alphabet and remembers it for [Server.Tokens].
func (s *Server) mint(n int) string {
	word := randomWord(n)
	s.minted = append(s.minted, word)
	return word
}

func randomWord(n int) string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
	b := make([]byte, n)
	for i := range b {
		k, err := rand.Int(rand.Reader, big.NewInt(int64(len(alphabet))))
		if err != nil {
			panic(err) // crypto/rand does not fail
		}
		b[i] = alphabet[k.Int64()]
	}
	return string(b)
}
