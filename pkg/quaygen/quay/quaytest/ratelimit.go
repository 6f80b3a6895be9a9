package quaytest

import (
	"net"
	"net/http"
	"strings"
	"sync"
	"time"
)

// limiter is nginx's limit_req with the zones of docs/quay-contract.md 5. Where Quay lets nginx delay requests of a burst
// ("nodelay" absent), they pass at once here.
type limiter struct {
	mu    sync.Mutex
	on    bool
	zones map[string]*bucket
}

type bucket struct {
	excess float64 // requests above the rate
	last   time.Time
}

type rate struct {
	zone      string
	perSecond float64
	burst     float64
}

func (l *limiter) set(on bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.on, l.zones = on, map[string]*bucket{}
}

func (l *limiter) enabled() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.on
}

// refuse counts a request and reports whether it is one too many.
func (l *limiter) refuse(r *http.Request, now time.Time, proxyProtocol bool) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.on {
		return false
	}
	limit, key := limitOf(r, proxyProtocol)
	if key == "" {
		return false // nginx does not count requests whose key is empty
	}
	key = limit.zone + "\x00" + key
	b, found := l.zones[key]
	if !found {
		l.zones[key] = &bucket{last: now}
		return false
	}
	excess := max(0, b.excess-limit.perSecond*now.Sub(b.last).Seconds()+1)
	if excess > limit.burst {
		return true
	}
	b.excess, b.last = excess, now
	return false
}

func limitOf(r *http.Request, proxyProtocol bool) (rate, string) {
	where := areaOf(r.URL.Path)
	if where == areaAuth {
		return rate{"auth", 120, 2}, r.Header.Get("Authorization")
	}
	if where == areaOther {
		return rate{}, ""
	}
	if r.ProtoMajor >= 2 {
		return connectionRate(where, r.URL.Path), r.RemoteAddr
	}
	if !proxyProtocol {
		return rate{}, ""
	}
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		host = r.RemoteAddr
	}
	return addressRate(where, r.URL.Path), host
}

func connectionRate(where area, path string) rate {
	switch {
	case where == areaAPI:
		return rate{"h2 api", 50, 100}
	case strings.Contains(path, "/manifests/"):
		return rate{"h2 manifests", 500, 50}
	case strings.HasSuffix(path, "/tags/list"):
		return rate{"h2 tags", 50, 2}
	case strings.HasSuffix(path, "/_catalog"):
		return rate{"h2 catalog", 50, 5}
	}
	return rate{"h2 v2", 600, 80}
}

func addressRate(where area, path string) rate {
	switch {
	case where == areaAPI:
		return rate{"api", 5, 25}
	case strings.Contains(path, "/manifests/"):
		return rate{"manifests", 50, 10}
	case strings.HasSuffix(path, "/tags/list"):
		return rate{"tags", 5, 2}
	case strings.HasSuffix(path, "/_catalog"):
		return rate{"catalog", 5, 1}
	}
	return rate{"v2", 60, 20}
}
