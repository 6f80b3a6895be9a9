package main

import (
	"fmt"
	"net/http"
	"strconv"
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

func (c *control) resetCalls(*http.Request) (any, error) {
	c.quay.Calls().Reset()
	return nil, nil
}

// faultRequest is a quaytest.Fault in JSON; durations as "1m30s".
type faultRequest struct {
	Operation   string            `json:"operation"`
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
	var remove func()
	if err := attempt(func() { remove = c.quay.Inject(f) }); err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lastID++
	c.faults[c.lastID] = remove
	return map[string]int{"id": c.lastID}, nil
}

func (c *control) removeFault(r *http.Request) (any, error) {
	id, err := strconv.Atoi(r.PathValue("id"))
	c.mu.Lock()
	defer c.mu.Unlock()
	remove := c.faults[id]
	if err != nil || remove == nil {
		return nil, fmt.Errorf("%w: no fault %q", errRequest, r.PathValue("id"))
	}
	remove()
	delete(c.faults, id)
	return nil, nil
}

func (c *control) removeFaults(*http.Request) (any, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, remove := range c.faults {
		remove()
	}
	clear(c.faults)
	return nil, nil
}
