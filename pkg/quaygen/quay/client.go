package quay

import (
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"time"
)

// Config says how to reach one Quay.
type Config struct {
	// URL is Quay's address, such as "https://quay.example.com:8443"; required. http:// sends tokens in the clear
	// and is for loopback.
	URL string
	// TokenFile holds the OAuth token for the API; required. It need not exist yet: it is read, again whenever it
	// has changed, before a call, and a call without a token fails with [ErrTokenRejected].
	TokenFile string
	// CAFile holds certificates in PEM form that are trusted besides the system's; empty means those alone. It is
	// read once. It has no effect together with Transport.
	CAFile string
	// QPS and Burst bound the calls per second; 0 means 5 and 10. Lists of robots, and logins, have as much again,
	// each of their own, so that they never wait for other calls.
	QPS   float64
	Burst int
	// Timeout bounds each attempt, from sending to the last byte; 0 means 15 s.
	Timeout time.Duration
	// MaxAttempts bounds how often a call is sent that may be repeated: reads other than lists of robots, grants,
	// and team memberships. 0 means 3.
	MaxAttempts int
	// Transport carries the requests; nil means an own one: HTTP/2, proxy from the environment.
	Transport http.RoundTripper
	// Registry is what traces call this Quay.
	Registry string
	// Observe is told of each attempt that was sent; nil means nobody is. code is the HTTP status, or "error" if no
	// complete answer came; elapsed does not include waiting for the limit. It must not block.
	Observe func(operation, code string, elapsed time.Duration)
	// Waited is told of each attempt how long it waited for its turn under QPS and Burst, or after a 429, also where its
	// turn did not come in time and it was not sent; nil means nobody is. lane is "calls", "lists" or "logins". It must not
	// block.
	Waited func(lane string, waited time.Duration)
}

// The names of operations in errors and for Config.Observe: a closed set, fit for metric labels.
const (
	opRobotCreate      = "robot.create"
	opRobotGet         = "robot.get"
	opRobotList        = "robot.list"
	opRobotDelete      = "robot.delete"
	opRobotRegenerate  = "robot.regenerate"
	opRobotPermissions = "robot.permissions"
	opRepositoryList   = "repository.list"
	opRepositoryGet    = "repository.get"
	opPermissionList   = "permission.list"
	opPermissionPut    = "permission.put"
	opPermissionDelete = "permission.delete"
	opTeamMembers      = "team.members"
	opTeamAdd          = "team.add"
	opTeamRemove       = "team.remove"
	opOrganizationGet  = "organization.get"
	opPrototypesList   = "prototypes.list"
	opUserRobots       = "user.robots"
	opAuth             = "auth"
	opConfig           = "config"
	opOther            = "other"
)

const (
	defaultQPS      = 5
	defaultBurst    = 10
	defaultTimeout  = 15 * time.Second
	defaultAttempts = 3
)

// Client speaks to one Quay. It is safe for concurrent use and owns no goroutine.
type Client struct {
	url      url.URL
	registry string
	http     *http.Client
	token    tokenFile
	timeout  time.Duration
	attempts int
	observe  func(operation, code string, elapsed time.Duration)
	waited   func(lane string, waited time.Duration)

	calls, lists, logins *lane
}

// Answer tells when an answer was given.
type Answer struct {
	// Date is Quay's clock, from the Date header, in UTC and whole seconds; zero if absent.
	Date time.Time
	// Sent is the local time, with monotonic reading, when the attempt that was answered was sent, after waiting
	// for the limit: what the answer says may be as old as that.
	Sent time.Time
}

// New checks cfg and returns a client. It sends nothing.
func New(cfg Config) (*Client, error) {
	u, err := parseURL(cfg.URL)
	if err != nil {
		return nil, err
	}
	switch {
	case cfg.TokenFile == "":
		return nil, errors.New("a Quay client needs the file of its API token")
	case cfg.QPS < 0 || math.IsNaN(cfg.QPS) || math.IsInf(cfg.QPS, 0) || cfg.Burst < 0:
		return nil, fmt.Errorf("calls per second %v, burst %d: must be positive", cfg.QPS, cfg.Burst)
	case cfg.Timeout < 0 || cfg.MaxAttempts < 0:
		return nil, fmt.Errorf("timeout %v, attempts %d: must be positive", cfg.Timeout, cfg.MaxAttempts)
	}
	transport := cfg.Transport
	if transport == nil {
		if transport, err = newTransport(cfg.CAFile); err != nil {
			return nil, err
		}
	}
	qps, burst := orDefault(cfg.QPS, defaultQPS), orDefault(cfg.Burst, defaultBurst)
	return &Client{
		url:      *u,
		registry: cfg.Registry,
		http: &http.Client{
			Transport: transport,
			// A 3xx of Quay is a wrong path (docs/quay-contract.md 1.3), and a token must not travel on.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		token:    tokenFile{path: cfg.TokenFile},
		timeout:  orDefault(cfg.Timeout, defaultTimeout),
		attempts: orDefault(cfg.MaxAttempts, defaultAttempts),
		observe:  cfg.Observe,
		waited:   cfg.Waited,
		calls:    newLane("calls", qps, burst),
		lists:    newLane("lists", qps, burst),
		logins:   newLane("logins", qps, burst),
	}, nil
}

// URL returns the address of Quay.
func (c *Client) URL() *url.URL {
	u := c.url
	return &u
}

func parseURL(s string) (*url.URL, error) {
	u, err := url.Parse(s)
	if err != nil {
		return nil, errors.New("the URL of Quay cannot be read") // the error would quote it, with a password perhaps
	}
	switch {
	case u.Scheme != "https" && u.Scheme != "http", u.Hostname() == "", u.Opaque != "":
		return nil, fmt.Errorf("the URL of Quay, %q, must be https://<host> or http://<host>", u.Redacted())
	case u.User != nil, u.RawQuery != "", u.ForceQuery, u.Fragment != "", u.Path != "" && u.Path != "/":
		return nil, fmt.Errorf("the URL of Quay, %q, must name a host and nothing else: no user, path or query", u.Redacted())
	}
	return &url.URL{Scheme: u.Scheme, Host: u.Host}, nil
}

func orDefault[T comparable](value, otherwise T) T {
	var zero T
	if value == zero {
		return otherwise
	}
	return value
}
