package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/quaygen/quaygen/pkg/quaygen/quay/quaytest"
)

// control serves /quaydev/ beside Quay:
//
//	GET    /quaydev/robots[?ever=true]           the robots, with fingerprints instead of tokens
//	POST   /quaydev/robots/{short}/delete        a person deletes a robot
//	POST   /quaydev/robots/{short}/regenerate    a person gives it another token
//	POST   /quaydev/robots/{short}/ungrant       {"repository"}: a person takes a role away
//	POST   /quaydev/repositories                 {"name", "tag"}: a repository, if it is new, with an image
//	POST   /quaydev/repositories/delete          {"name"}
//	POST   /quaydev/token                        the API token is revoked; another one is in the file of --token-out
//	POST   /quaydev/switches                     {"read_only", "robots_disallow", "rate_limits", "last_accessed"}
//	POST   /quaydev/down, /quaydev/up            502 for everything, as when Quay's workers are gone, and back
//	GET    /quaydev/calls[?status=503]           requests so far, by operation; those answered so
//	POST   /quaydev/calls/reset                  counting starts anew
//	POST   /quaydev/faults                       a fault; the answer has its id
//	GET    /quaydev/faults/{id}[?wait=10s]       {"hits"}: how often it happened; waits for the first time
//	DELETE /quaydev/faults[/{id}]                no fault any more; the answer for one has its hits
//
// There is no password: loopback and the checks of ServeHTTP are what keeps strangers out.
type control struct {
	quay      *quaytest.Server
	host      string
	tokenFile string
	mux       *http.ServeMux
	guard     *http.CrossOriginProtection

	mu     sync.Mutex // guards what follows
	down   bool
	lastID int
	faults map[int]*armedFault
}

func newControl(quay *quaytest.Server, host, tokenFile string) *control {
	c := &control{quay: quay, host: host, tokenFile: tokenFile, mux: http.NewServeMux(), guard: http.NewCrossOriginProtection(), faults: map[int]*armedFault{}}
	for pattern, handle := range map[string]func(*http.Request) (any, error){
		"GET /quaydev/robots":                     c.robots,
		"POST /quaydev/robots/{short}/delete":     c.deleteRobot,
		"POST /quaydev/robots/{short}/regenerate": c.regenerateRobot,
		"POST /quaydev/robots/{short}/ungrant":    c.ungrant,
		"POST /quaydev/repositories":              c.addRepository,
		"POST /quaydev/repositories/delete":       c.deleteRepository,
		"POST /quaydev/token":                     c.replaceToken,
		"POST /quaydev/switches":                  c.switches,
		"POST /quaydev/down":                      func(*http.Request) (any, error) { return c.setDown(true), nil },
		"POST /quaydev/up":                        func(*http.Request) (any, error) { return c.setDown(false), nil },
		"GET /quaydev/calls":                      c.calls,
		"POST /quaydev/calls/reset":               c.resetCalls,
		"POST /quaydev/faults":                    c.addFault,
		"GET /quaydev/faults/{id}":                c.showFault,
		"DELETE /quaydev/faults":                  c.removeFaults,
		"DELETE /quaydev/faults/{id}":             c.removeFault,
	} {
		c.mux.Handle(pattern, answering(handle))
	}
	return c
}

// ServeHTTP keeps web pages that a browser on this machine shows from reaching the control: by their origin, and, should
// they have pointed a name of theirs at loopback, by the Host header.
func (c *control) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !strings.HasPrefix(r.URL.Path, "/quaydev/") {
		if c.isDown() {
			w.Header().Set("Content-Type", "text/html; charset=utf-8")
			w.WriteHeader(http.StatusBadGateway)
			_, _ = io.WriteString(w, "<html><body><h1>502 Bad Gateway</h1></body></html>\n")
			return
		}
		c.quay.ServeHTTP(w, r)
		return
	}
	if err := c.guard.Check(r); err != nil || r.Host != c.host {
		http.Error(w, "requests to /quaydev/ come from this machine, and name "+c.host, http.StatusForbidden)
		return
	}
	c.mux.ServeHTTP(w, r)
}

// errRequest is wrapped by errors about what was asked for.
var errRequest = errors.New("impossible request")

// answering turns a function into a handler that speaks JSON.
func answering(handle func(*http.Request) (any, error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		result, err := handle(r)
		status := http.StatusOK
		switch {
		case errors.Is(err, errRequest):
			status, result = http.StatusBadRequest, map[string]string{"error": err.Error()}
		case err != nil:
			status, result = http.StatusInternalServerError, map[string]string{"error": err.Error()}
		case result == nil:
			result = map[string]bool{"ok": true}
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(result)
	})
}

// decode reads a small JSON object without unknown keys; no body is an empty object.
func decode(r *http.Request, into any) error {
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); r.ContentLength != 0 && (err != nil || kind != "application/json") {
		return fmt.Errorf("%w: the body must be application/json", errRequest)
	}
	d := json.NewDecoder(io.LimitReader(r.Body, 1<<16))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("%w: %w", errRequest, err)
	}
	return nil
}

// attempt turns the double's panics, which say what cannot be, into errors.
func attempt(do func()) (err error) {
	defer func() {
		if problem := recover(); problem != nil {
			text, is := problem.(string)
			if !is {
				panic(problem)
			}
			err = fmt.Errorf("%w: %s", errRequest, strings.TrimPrefix(text, "quaytest: "))
		}
	}()
	do()
	return nil
}

func (c *control) isDown() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.down
}

func (c *control) setDown(down bool) any {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.down = down
	return nil
}

// robotView is a robot without its token.
type robotView struct {
	Name         string            `json:"name"`
	Fingerprint  string            `json:"token_fingerprint"`
	Created      time.Time         `json:"created"`
	LastAccessed time.Time         `json:"last_accessed,omitzero"`
	Deleted      time.Time         `json:"deleted,omitzero"`
	Description  string            `json:"description,omitempty"`
	Metadata     map[string]any    `json:"metadata,omitempty"`
	Grants       map[string]string `json:"grants"`
	Teams        []string          `json:"teams,omitempty"`
}

func (c *control) robots(r *http.Request) (any, error) {
	states := c.quay.Robots(organization)
	if ever, _ := strconv.ParseBool(r.URL.Query().Get("ever")); ever {
		states = c.quay.Ever(organization)
	}
	views := []robotView{}
	for _, s := range states {
		views = append(views, robotView{
			Name: organization + "+" + s.Short, Fingerprint: s.Token.Fingerprint(),
			Created: s.Created, LastAccessed: s.LastAccessed, Deleted: s.Deleted,
			Description: s.Description, Metadata: s.Metadata, Grants: s.Grants, Teams: s.Teams,
		})
	}
	return map[string]any{"robots": views}, nil
}

func (c *control) deleteRobot(r *http.Request) (any, error) {
	return nil, attempt(func() { c.quay.DeleteRobot(organization, r.PathValue("short")) })
}

func (c *control) regenerateRobot(r *http.Request) (any, error) {
	return nil, attempt(func() { c.quay.RegenerateRobot(organization, r.PathValue("short")) })
}

func (c *control) ungrant(r *http.Request) (any, error) {
	var ask struct {
		Repository string `json:"repository"`
	}
	if err := decode(r, &ask); err != nil {
		return nil, err
	}
	return nil, attempt(func() { c.quay.RemoveGrant(organization, ask.Repository, r.PathValue("short")) })
}
