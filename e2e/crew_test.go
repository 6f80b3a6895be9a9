package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"slices"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/quaygen/quaygen/e2e/product"
	"github.com/quaygen/quaygen/e2e/pull"
	"github.com/quaygen/quaygen/pkg/quaygen/secret"
)

// askInterval is how often each replica of a crew is asked.
const askInterval = 50 * time.Millisecond

// A crew is several replicas, each asked for the pull secret again and again, as
// ESO does: on a new connection each time.
type crew struct {
	*stage
	began    time.Time
	client   *http.Client
	members  []*member
	register *register
	asking   sync.WaitGroup
	stop     context.CancelFunc // ends asking
}

// A member is one replica: of a process that was killed and the one in its place.
type member struct {
	name string
	env  []string // of its processes

	mu      sync.Mutex // guards what follows
	process *product.Generator
	answers []answer    // in the order in which they came
	resumed []time.Time // just before a pause ended
}

// An answer is what a replica said to one request.
type answer struct {
	asked, got time.Time
	status     int // 0: there was none
	token      string
	secret     *corev1.Secret
	warnings   []string
}

// newCrew starts the replicas A, B and so on in front of the stage's Quay, one with
// each environment, and begins to ask them.
func newCrew(t *testing.T, s *stage, environments ...[]string) *crew {
	t.Helper()
	ctx, cancel := context.WithCancel(s.ctx)
	transport := s.quay.Transport.Clone() // quaygen's certificate is of the same authority
	transport.DisableKeepAlives = true
	c := &crew{stage: s, began: time.Now(), client: &http.Client{Transport: transport}, register: newRegister(), stop: cancel}
	c.asking.Go(func() { c.watchRobots(ctx) })
	// Asking ends before the replicas do.
	t.Cleanup(s.look)
	for i, env := range environments {
		m := &member{name: string(rune('A' + i)), env: env}
		m.process = s.start(env...)
		c.members = append(c.members, m)
		c.asking.Go(func() { c.keepAsking(ctx, m) })
	}
	t.Cleanup(c.rest)
	return c
}

// rest ends the asking.
func (c *crew) rest() {
	c.stop()
	c.asking.Wait()
}

// robotsInterval is how often Quay is looked at: so much later than it happened
// the register may know that a token was replaced.
const robotsInterval = 20 * time.Millisecond

// watchRobots keeps the register of tokens until ctx ends.
func (c *crew) watchRobots(ctx context.Context) {
	every(ctx, robotsInterval, func() {
		robots, err := c.quay.Robots(ctx)
		switch {
		case ctx.Err() != nil:
		case err != nil:
			c.t.Error(err)
		default:
			c.register.note(robots, time.Now())
		}
	})
}

func (c *crew) keepAsking(ctx context.Context, m *member) {
	every(ctx, askInterval, func() { c.ask(ctx, m) })
}

// every calls f at once, and then once per interval, until ctx ends.
func every(ctx context.Context, interval time.Duration, f func()) {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		f()
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// ask asks a replica once, for as long as ctx lets it, and keeps the answer.
func (c *crew) ask(ctx context.Context, m *member) {
	m.mu.Lock()
	address := m.process.Address
	m.mu.Unlock()
	a := answer{asked: time.Now()}
	status, document, err := c.get(ctx, "https://"+address+"/v1/pullsecrets/prod-puller?namespace=prod-shop&property=")
	if ctx.Err() != nil {
		return // nobody waits for it
	}
	a.got = time.Now()
	if err == nil { // else the process is gone, or not there yet
		a.status, a.warnings = status, document.Warnings
	}
	if a.status == http.StatusOK {
		a.secret = &corev1.Secret{Type: corev1.SecretTypeDockerConfigJson, Data: map[string][]byte{corev1.DockerConfigJsonKey: []byte(document.Data[corev1.DockerConfigJsonKey])}}
		a.secret.Namespace, a.secret.Name = "replica", m.name
		entry, err := pull.Entry(a.secret)
		if err != nil {
			c.t.Errorf("%s: %v", m.name, err)
			return
		}
		known.credential("the token of "+entry.Username, entry.Password)
		a.token = secret.New(entry.Password).Fingerprint()
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.answers = append(m.answers, a)
}

// document is an answer with a credential; of a refusal nothing is kept.
type document struct {
	Warnings []string          `json:"warnings"`
	Data     map[string]string `json:"data"`
}

func (c *crew) get(ctx context.Context, url string) (status int, d document, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, d, err
	}
	request.Header.Set("Authorization", "Bearer "+c.bearers["eso"])
	response, err := c.client.Do(request)
	if err != nil {
		return 0, d, err
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		return response.StatusCode, d, err
	}
	return response.StatusCode, d, json.Unmarshal(content, &d)
}

// last returns a replica's latest answer to a request that began after a time.
func (m *member) last(after time.Time) (answer, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, a := range slices.Backward(m.answers) {
		if a.asked.After(after) {
			return a, true
		}
	}
	return answer{}, false
}

// agree waits until every replica, asked from now on, serves Quay's newest token,
// and returns it. It pulls.
func (c *crew) agree() string {
	c.t.Helper()
	after, token := time.Now(), ""
	c.until("every replica serves Quay's token", func() bool {
		token = c.register.newest()
		for _, m := range c.members {
			if a, ok := m.last(after); !ok || a.status != http.StatusOK || a.token != token {
				return false
			}
		}
		return token != ""
	})
	for _, m := range c.members {
		if a, ok := m.last(after); ok && a.status == http.StatusOK {
			c.pulls(a.secret, "my-app")
		}
	}
	return token
}

// changed waits until Quay has another newest token than old.
func (c *crew) changed(old string) string {
	c.t.Helper()
	c.until("Quay has another token", func() bool { return c.register.newest() != old })
	return c.register.newest()
}

// kill ends a replica as a crash would.
func (c *crew) kill(m *member) { m.process.Kill() }

// restart starts a replica in place of one that was killed.
func (c *crew) restart(m *member) {
	c.t.Helper()
	g := c.start(m.env...)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.process = g
}

// pause stops a replica where it stands. It goes on with resume, or as the story ends.
func (c *crew) pause(m *member) {
	c.t.Helper()
	check(c.t, m.process.Pause())
	c.t.Cleanup(func() { _ = m.process.Resume() }) // it may be gone
}

// resume lets a replica go on after it has been asked many times in vain: the first
// thing it does is to answer, before it can learn what happened meanwhile.
func (c *crew) resume(m *member) {
	c.t.Helper()
	const callers = 20
	var connected, answered sync.WaitGroup
	connected.Add(callers)
	for range callers {
		once := sync.OnceFunc(connected.Done)
		ctx := httptrace.WithClientTrace(c.ctx, &httptrace.ClientTrace{ConnectDone: func(string, string, error) { once() }})
		answered.Go(func() {
			c.ask(ctx, m)
			once() // if it did not come to a connection
		})
	}
	connected.Wait()
	m.mu.Lock()
	m.resumed = append(m.resumed, time.Now())
	m.mu.Unlock()
	check(c.t, m.process.Resume())
	answered.Wait()
}

// tell logs what came of the asking, and fails the story for what may not be.
func (c *crew) tell(p promise) {
	c.t.Helper()
	c.rest()
	for _, m := range c.members {
		verdict := c.register.judge(m, p)
		for i, problem := range verdict.problems {
			if i == 5 {
				c.t.Errorf("%s: and %d more", m.name, len(verdict.problems)-i)
				break
			}
			c.t.Errorf("%s: %s", m.name, problem)
		}
		c.say(c.began, "%s gave %s", m.name, verdict)
	}
}

func (v verdict) String() string {
	text := fmt.Sprintf("%d credentials and %d times none", v.served, v.refused)
	if v.late > 0 {
		text += fmt.Sprintf(", and a token %v after it had ended at the latest", v.late.Round(time.Millisecond))
	}
	return text
}
