package auth

import (
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quaygen/quaygen/pkg/quaygen/policy"
	"github.com/quaygen/quaygen/pkg/quaygen/secret"
)

// checkEvery is how old what is known of the token files may be.
const checkEvery = time.Second

// BearerClient is a client that is known by a token in its requests' Authorization header or metadata.
type BearerClient struct {
	Name      string // required, unique
	Namespace string // the only one it may speak for; "" if its rules decide
	TokenFile string // required; holds the token on one line, or two tokens on two: both are accepted

	Operator     policy.Operator // what it may do with robots
	OperatorOnly bool            // it has nothing to do with pull secrets
}

func (c BearerClient) caller() policy.Caller {
	return policy.Caller{Name: c.Name, Namespace: c.Namespace, How: "bearer", Operator: c.Operator, OperatorOnly: c.OperatorOnly}
}

// BearerAuthenticator knows clients by their bearer tokens (RFC 6750). Token files are looked at again, at most once a
// second and as requests come in, and read again when they have changed.
type BearerAuthenticator struct {
	clients []BearerClient
	known   atomic.Pointer[snapshot]
	start   time.Time
	due     atomic.Int64 // when the files are to be looked at again, in nanoseconds since start

	// Held while files are read, which may take long on a broken mount: nobody waits for it.
	mu    sync.Mutex
	files []tokenFile // as they were read last; as long as clients
}

// snapshot is what requests are compared with, never changed once published.
type snapshot struct {
	tokens  []token
	problem error // of the look at the files that led to it
}

// token is the hash of what a client has to present: hashes have one length, and comparing them in constant time leaves
// no trace of where two tokens differ.
type token struct {
	hash   [sha256.Size]byte
	caller policy.Caller
}

// Bearer reads the token files of clients. Each must hold one token of [secret.MinBearer] to [secret.MaxBearer] characters that RFC 6750
// allows, or two while one replaces the other, and no two files the same one: nobody could tell those clients apart. No
// clients is no error, and nobody is known.
func Bearer(clients []BearerClient) (*BearerAuthenticator, error) {
	a := &BearerAuthenticator{
		clients: append([]BearerClient(nil), clients...),
		files:   make([]tokenFile, len(clients)),
		start:   time.Now(),
	}
	names := make(map[string]bool)
	var problems []error
	for i, c := range a.clients {
		if c.Name == "" || names[c.Name] {
			problems = append(problems, fmt.Errorf("bearer client %d: its name %q is empty or taken", i, c.Name))
		}
		names[c.Name] = true
		file, err := readTokenFile(c.TokenFile)
		if err != nil {
			problems = append(problems, fmt.Errorf("bearer client %q: %w", c.Name, err))
			continue
		}
		a.files[i] = file
	}
	if len(problems) == 0 {
		if i, j, same := twins(a.files); same {
			problems = append(problems, fmt.Errorf("bearer clients %q and %q have the same token", a.clients[i].Name, a.clients[j].Name))
		}
	}
	if len(problems) > 0 {
		return nil, errors.Join(problems...)
	}
	a.publishLocked(nil)
	a.due.Store(int64(checkEvery))
	return a, nil
}

// Authenticate is the [Authenticator] of these clients. It declines requests without an Authorization header, with one
// of another scheme, or with a token nobody here has (ErrNoCredential, in the last case ErrRejected too). Several
// Authorization headers, or a Bearer one that holds no well-formed token, are ErrRejected alone.
func (a *BearerAuthenticator) Authenticate(p Presented) (policy.Caller, error) {
	presented, err := bearerToken(p.Authorization)
	if err != nil {
		return policy.Caller{}, err
	}
	a.refresh()
	if caller, ok := find(a.known.Load().tokens, sha256.Sum256([]byte(presented))); ok {
		return caller, nil
	}
	return policy.Caller{}, fmt.Errorf("%w: %w: no client has this bearer token", ErrNoCredential, ErrRejected)
}

// Err returns what was wrong when the token files were looked at last, nil if nothing was. Clients whose file cannot be
// used keep the token they had. It is for health reports and changes only as requests come in.
func (a *BearerAuthenticator) Err() error {
	return a.known.Load().problem
}

// find compares with every token, whichever matches, so that time tells nothing about which.
func find(known []token, hash [sha256.Size]byte) (policy.Caller, bool) {
	found := -1
	for i := range known {
		found = subtle.ConstantTimeSelect(subtle.ConstantTimeCompare(known[i].hash[:], hash[:]), i, found)
	}
	if found < 0 {
		return policy.Caller{}, false
	}
	return known[found].caller, true
}

// errNoAuthorization is what every caller with a certificate alone runs into; it is not made anew each time.
var errNoAuthorization = fmt.Errorf("%w: no Authorization header", ErrNoCredential)

func bearerToken(values []string) (string, error) {
	switch {
	case len(values) == 0:
		return "", errNoAuthorization
	case len(values) > 1:
		return "", fmt.Errorf("%w: %d Authorization headers", ErrRejected, len(values))
	}
	scheme, rest, _ := strings.Cut(values[0], " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return "", fmt.Errorf("%w: the Authorization header is not of scheme Bearer", ErrNoCredential)
	}
	presented := strings.TrimLeft(rest, " ") // RFC 9110 section 11.4: one or more
	switch {
	case len(values[0]) > len("Bearer ")+secret.MaxBearer:
		return "", fmt.Errorf("%w: the bearer token is longer than %d characters", ErrRejected, secret.MaxBearer)
	case !secret.IsBearer(presented):
		return "", fmt.Errorf("%w: what follows Bearer is not one token; a template may have left its variable unset", ErrRejected)
	}
	return presented, nil
}

// refresh looks at the files if that is due. One request does it; others meanwhile go on with what is known.
func (a *BearerAuthenticator) refresh() {
	now := int64(time.Since(a.start))
	due := a.due.Load()
	if now < due || !a.due.CompareAndSwap(due, now+int64(checkEvery)) {
		return
	}
	if !a.mu.TryLock() {
		return
	}
	defer a.mu.Unlock()
	a.rereadLocked()
}

func (a *BearerAuthenticator) rereadLocked() {
	var problems []error
	next := append([]tokenFile(nil), a.files...)
	for i, c := range a.clients {
		file, err := a.files[i].reread(c.TokenFile)
		if err != nil {
			problems = append(problems, fmt.Errorf("bearer client %q keeps what it had: %w", c.Name, err))
			continue
		}
		next[i] = file
	}
	// Two files may change at once, even trade tokens; so what counts is the result. What was before has no twins,
	// which ends the loop.
	for {
		i, j, same := twins(next)
		if !same {
			break
		}
		problems = append(problems, fmt.Errorf("bearer clients %q and %q keep what they had: their files hold the same token", a.clients[i].Name, a.clients[j].Name))
		next[i], next[j] = a.files[i], a.files[j]
	}
	a.files = next
	a.publishLocked(errors.Join(problems...))
}

// publishLocked makes what was read what requests are compared with.
func (a *BearerAuthenticator) publishLocked(problem error) {
	var known []token
	for i, c := range a.clients {
		for _, hash := range a.files[i].hashes {
			known = append(known, token{hash: hash, caller: c.caller()})
		}
	}
	a.known.Store(&snapshot{tokens: known, problem: problem})
}

// twins returns two files that have a token in common.
func twins(files []tokenFile) (i, j int, found bool) {
	seen := make(map[[sha256.Size]byte]int, len(files))
	for j, file := range files {
		for _, hash := range file.hashes {
			if i, same := seen[hash]; same {
				return i, j, true
			}
			seen[hash] = j
		}
	}
	return 0, 0, false
}
