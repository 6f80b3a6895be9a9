package quaytest

import (
	"maps"
	"net/http"
	"slices"
	"sync"
	"time"
)

// maxEntries bounds what a CallLog remembers one by one; counts go on beyond it.
const maxEntries = 100_000

// Call is one request that reached the server.
type Call struct {
	Operation string
	Method    string
	Path      string
	Query     string
	// Status is what Quay answered, also where a fault then lost the answer. Zero means that the request has not
	// been answered: it is still running, or ended before Quay did anything.
	Status int
	At     time.Time // arrival, by the server's clock
}

// CallLog counts requests by operation: robot.create, robot.get, robot.list, robot.delete, robot.regenerate,
// robot.permissions, repository.list, repository.get, permission.list, permission.put, permission.get, permission.delete,
// team.members, team.add, team.remove, organization.get, prototypes.list, user.robots (the list of a user's robots with
// limit=0), auth (/v2/auth), config (/config), registry (the rest of /v2) and other.
//
// It may be used while the server runs.
type CallLog struct {
	mu      sync.Mutex
	entries []*Call
	counts  map[string]int
	answers map[outcome]int
}

type outcome struct {
	operation string
	status    int
}

// Calls returns the server's log.
func (s *Server) Calls() *CallLog { return &s.calls }

// Count returns how many requests of one operation arrived; of all, if operation is empty.
func (l *CallLog) Count(operation string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	if operation != "" {
		return l.counts[operation]
	}
	n := 0
	for _, c := range l.counts {
		n += c
	}
	return n
}

// Counts returns the number of requests per operation.
func (l *CallLog) Counts() map[string]int {
	l.mu.Lock()
	defer l.mu.Unlock()
	counts := maps.Clone(l.counts)
	if counts == nil {
		counts = map[string]int{}
	}
	return counts
}

// Answered returns the number of requests that Quay answered with a status, per operation, also where a fault then lost
// the answer.
func (l *CallLog) Answered(status int) map[string]int {
	l.mu.Lock()
	defer l.mu.Unlock()
	counts := map[string]int{}
	for o, n := range l.answers {
		if o.status == status {
			counts[o.operation] = n
		}
	}
	return counts
}

// Entries returns the requests in order of arrival; of very many, the latest.
func (l *CallLog) Entries() []Call {
	l.mu.Lock()
	defer l.mu.Unlock()
	entries := make([]Call, len(l.entries))
	for i, c := range l.entries {
		entries[i] = *c
	}
	return entries
}

// Reset forgets everything.
func (l *CallLog) Reset() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.entries, l.counts, l.answers = nil, nil, nil
}

// begin logs an arrival; the function it returns adds the status.
func (l *CallLog) begin(operation string, r *http.Request, at time.Time) func(status int) {
	c := &Call{Operation: operation, Method: r.Method, Path: r.URL.Path, Query: r.URL.RawQuery, At: at}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.counts == nil {
		l.counts, l.answers = map[string]int{}, map[outcome]int{}
	}
	l.counts[operation]++
	if len(l.entries) == maxEntries {
		l.entries = slices.Clone(l.entries[maxEntries/2:])
	}
	l.entries = append(l.entries, c)
	return func(status int) {
		l.mu.Lock()
		defer l.mu.Unlock()
		c.Status = status
		if l.answers != nil { // a reset may have come between
			l.answers[outcome{operation, status}]++
		}
	}
}
