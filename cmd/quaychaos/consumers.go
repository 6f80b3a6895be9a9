package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/quaygen/quaygen/cmd/internal/await"
	"github.com/quaygen/quaygen/pkg/quaygen/secret"
)

// consumer is a pull secret in a namespace: something fetches it now and then, as ESO does, and keeps it meanwhile.
type consumer struct {
	name      string
	secret    string // the name it asks for
	namespace string
	current   atomic.Pointer[content]
	told      chan struct{} // capacity 1: ask now
}

func (c *consumer) tell() {
	select {
	case c.told <- struct{}{}:
	default:
	}
}

func (w *world) consumers() []*consumer {
	var all []*consumer
	for i := range w.robots {
		for n := range w.namespaces {
			namespace := fmt.Sprintf("team-%d", n)
			all = append(all, &consumer{name: publicName(i) + "/" + namespace, secret: publicName(i), namespace: namespace, told: make(chan struct{}, 1)})
		}
	}
	return all
}

// refreshing keeps a consumer's content fresh until ctx ends. It asks again well within maxRefresh; where it is refused, or
// a replica is dead, it keeps what it has and soon tries another.
func (w *world) refreshing(ctx context.Context, c *consumer, client *http.Client, draw *rand.Rand) {
	const retry = 200 * time.Millisecond
	for ctx.Err() == nil {
		wait := w.refresh/4 + time.Duration(draw.Int64N(int64(w.refresh/4)))
		if err := w.fetch(ctx, c, client, w.replicas[draw.IntN(len(w.replicas))]); err != nil {
			wait = retry
			if ctx.Err() == nil {
				w.journal.refused(outcomeOf(err))
			}
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-c.told:
		case <-ctx.Done():
		}
		timer.Stop()
	}
}

// telling does what the service's controller does in a cluster: it makes the consumers of one robot ask as soon as there
// is something new for them.
func (w *world) telling(ctx context.Context, own []*consumer, client *http.Client) {
	const interval = 50 * time.Millisecond
	last := ""
	for ctx.Err() == nil {
		// Nobody pulls with what this one is told, and it is no consumer.
		now, err := w.ask(ctx, own[0], client, w.replicas[0])
		if err == nil && now.data != last {
			last = now.data
			for _, c := range own {
				c.tell()
			}
		}
		_ = await.Time(ctx, interval)
	}
}

// outcomeOf names a failed refresh in few words.
func outcomeOf(err error) string {
	if status := statusOf(err); status != 0 {
		return fmt.Sprint(status)
	}
	return "no answer"
}

// fetch gives a consumer what a replica answers.
func (w *world) fetch(ctx context.Context, c *consumer, client *http.Client, r *replica) error {
	now, err := w.ask(ctx, c, client, r)
	if err != nil {
		return err
	}
	w.journal.took(c, c.current.Load(), *now)
	c.current.Store(now)
	return nil
}

// ask asks one replica as ESO's webhook provider does: over a new connection.
func (w *world) ask(ctx context.Context, c *consumer, client *http.Client, r *replica) (*content, error) {
	ctx, cancel := context.WithTimeout(ctx, w.refresh/2)
	defer cancel()
	url, _ := r.where()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/v1/pullsecrets/"+c.secret+"?namespace="+c.namespace+"&property=", nil)
	if err != nil {
		return nil, err
	}
	request.Header.Set("Authorization", "Bearer "+w.bearer)
	asked := time.Now()
	body, err := read(client, request)
	if err != nil {
		return nil, err
	}
	var answer struct {
		Robot     string            `json:"robot"`
		RefreshAt time.Time         `json:"refreshAt"`
		Data      map[string]string `json:"data"`
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		return nil, err
	}
	data := answer.Data[".dockerconfigjson"]
	if answer.Robot == "" || data == "" {
		return nil, errors.New("an answer without a credential")
	}
	if w.way == wayRegenerate { // the name stays, and the token tells one credential from another
		var file struct {
			Auths map[string]struct{ Password secret.String }
		}
		if err := json.Unmarshal([]byte(data), &file); err != nil {
			return nil, errors.New("an answer that is no docker configuration")
		}
		answer.Robot += " with " + file.Auths[w.quay.host()].Password.Fingerprint()
	}
	return &content{robot: answer.Robot, data: data, refreshAt: answer.RefreshAt, asked: asked, got: time.Now()}, nil
}

// freshConnections is how ESO calls where a CA is configured: each time anew.
func freshConnections(caFile string) (*http.Client, error) {
	transport, err := trusting(caFile)
	if err != nil {
		return nil, err
	}
	transport.DisableKeepAlives = true
	return &http.Client{Transport: transport}, nil
}
