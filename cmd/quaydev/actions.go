package main

import (
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quaygen/quaygen/pkg/quaygen/quay/quaytest"
)

// addRepository makes a repository, unless there is one, and puts an image into it.
func (c *control) addRepository(r *http.Request) (any, error) {
	ask := struct {
		Name string `json:"name"`
		Tag  string `json:"tag"`
	}{Tag: imageTag}
	if err := decode(r, &ask); err != nil {
		return nil, err
	}
	var digest string
	push := func() { digest = c.quay.PushImage(organization, ask.Name, ask.Tag) }
	if attempt(push) == nil {
		return map[string]string{"digest": digest}, nil
	}
	err := attempt(func() {
		c.quay.AddRepository(organization, ask.Name)
		push()
	})
	return map[string]string{"digest": digest}, err
}

func (c *control) deleteRepository(r *http.Request) (any, error) {
	var ask struct {
		Name string `json:"name"`
	}
	if err := decode(r, &ask); err != nil {
		return nil, err
	}
	return nil, attempt(func() { c.quay.DeleteRepository(organization, ask.Name) })
}

// replaceToken does what an administrator of Quay does when the API token expires.
func (c *control) replaceToken(*http.Request) (any, error) {
	if c.tokenFile == "" {
		return nil, fmt.Errorf("%w: without --token-out nobody would learn the new token", errRequest)
	}
	c.quay.RevokeTokens(owner)
	if err := writeFile(c.tokenFile, []byte(c.quay.AddToken(owner, scopes...)), 0o600); err != nil {
		return nil, fmt.Errorf("writing the API token: %w", err)
	}
	return nil, nil
}

func (c *control) switches(r *http.Request) (any, error) {
	var ask struct {
		ReadOnly       *bool `json:"read_only"`
		RobotsDisallow *bool `json:"robots_disallow"`
		RateLimits     *bool `json:"rate_limits"`
		LastAccessed   *bool `json:"last_accessed"`
	}
	if err := decode(r, &ask); err != nil {
		return nil, err
	}
	if ask.ReadOnly != nil {
		c.quay.SetReadOnly(*ask.ReadOnly)
	}
	if ask.RobotsDisallow != nil {
		c.quay.SetRobotsDisallow(*ask.RobotsDisallow)
	}
	if ask.RateLimits != nil {
		c.quay.SetRateLimits(*ask.RateLimits)
	}
	if ask.LastAccessed != nil {
		c.quay.SetLastAccessed(*ask.LastAccessed)
	}
	return nil, nil
}

// calls counts requests by operation; with status, those that Quay answered so.
func (c *control) calls(r *http.Request) (any, error) {
	text := r.URL.Query().Get("status")
	if text == "" {
		return c.quay.Calls().Counts(), nil
	}
	status, err := strconv.Atoi(text)
	if err != nil {
		return nil, fmt.Errorf("%w: %q is no status", errRequest, text)
	}
	return c.quay.Calls().Answered(status), nil
}

func (c *control) resetCalls(*http.Request) (any, error) {
	c.quay.Calls().Reset()
	return nil, nil
}

// faultRequest is a quaytest.Fault in JSON; durations as "1m30s".
type faultRequest struct {
	Operation   string            `json:"operation"`
	Host        string            `json:"host"` // as in the request; empty: all. See --doors
	Status      int               `json:"status"`
	Body        string            `json:"body"`
	ContentType string            `json:"content_type"`
	Header      map[string]string `json:"header"`
	Delay       string            `json:"delay"`
	Late        bool              `json:"late"`
	AnswerDelay string            `json:"answer_delay"`
	Hang        bool              `json:"hang"`
	LostAnswer  bool              `json:"lost_answer"`
	CutBody     bool              `json:"cut_body"`
	StaleBy     string            `json:"stale_by"`
	Times       int               `json:"times"`
	Probability float64           `json:"probability"`
}

func (q faultRequest) fault() (quaytest.Fault, error) {
	f := quaytest.Fault{
		Operation: q.Operation, Status: q.Status, Body: q.Body, ContentType: q.ContentType, Header: http.Header{},
		Late: q.Late, Hang: q.Hang, LostAnswer: q.LostAnswer, CutBody: q.CutBody, Times: q.Times, Probability: q.Probability,
	}
	if q.Status != 0 && (q.Status < 200 || q.Status > 599) {
		return f, fmt.Errorf("%w: no answer has the status %d", errRequest, q.Status)
	}
	if q.Host != "" {
		f.Match = func(r *http.Request) bool { return r.Host == q.Host }
	}
	for key, value := range q.Header {
		f.Header.Set(key, value)
	}
	for text, into := range map[*string]*time.Duration{&q.Delay: &f.Delay, &q.AnswerDelay: &f.AnswerDelay, &q.StaleBy: &f.StaleBy} {
		if *text == "" {
			continue
		}
		d, err := time.ParseDuration(*text)
		if err != nil || d < 0 {
			return f, fmt.Errorf("%w: %q is no duration such as 1m30s", errRequest, *text)
		}
		*into = d
	}
	return f, nil
}

func (c *control) addFault(r *http.Request) (any, error) {
	var ask faultRequest
	if err := decode(r, &ask); err != nil {
		return nil, err
	}
	f, err := ask.fault()
	if err != nil {
		return nil, err
	}
	armed := &armedFault{hit: make(chan struct{})}
	f.Hit = armed.happened
	if err := attempt(func() { armed.remove = c.quay.Inject(f) }); err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lastID++
	c.faults[c.lastID] = armed
	return map[string]int{"id": c.lastID}, nil
}

// armedFault is a fault that was asked for.
type armedFault struct {
	remove func()
	hits   atomic.Int64
	once   sync.Once
	hit    chan struct{} // closed when it first happens
}

func (a *armedFault) happened() {
	a.hits.Add(1)
	a.once.Do(func() { close(a.hit) })
}

func (a *armedFault) view() map[string]int64 { return map[string]int64{"hits": a.hits.Load()} }

func (c *control) fault(r *http.Request) (id int, a *armedFault, err error) {
	id, err = strconv.Atoi(r.PathValue("id"))
	c.mu.Lock()
	defer c.mu.Unlock()
	a = c.faults[id]
	if err != nil || a == nil {
		return 0, nil, fmt.Errorf("%w: no fault %q", errRequest, r.PathValue("id"))
	}
	return id, a, nil
}

// showFault says how often a fault has happened; with wait, as soon as it has happened at all.
func (c *control) showFault(r *http.Request) (any, error) {
	_, a, err := c.fault(r)
	if err != nil {
		return nil, err
	}
	if text := r.URL.Query().Get("wait"); text != "" {
		d, err := time.ParseDuration(text)
		if err != nil {
			return nil, fmt.Errorf("%w: %q is no duration such as 1m30s", errRequest, text)
		}
		timer := time.NewTimer(d)
		defer timer.Stop()
		select {
		case <-a.hit:
		case <-timer.C:
		case <-r.Context().Done():
		}
	}
	return a.view(), nil
}

func (c *control) removeFault(r *http.Request) (any, error) {
	id, a, err := c.fault(r)
	if err != nil {
		return nil, err
	}
	a.remove()
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.faults, id)
	return a.view(), nil
}

func (c *control) removeFaults(*http.Request) (any, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, a := range c.faults {
		a.remove()
	}
	clear(c.faults)
	return nil, nil
}
