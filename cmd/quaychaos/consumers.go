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
)

// consumer is a pull secret in a namespace: something fetches it now and then, as ESO does, and keeps it meanwhile.
type consumer struct {
	name      string
	secret    string // the name it asks for
	namespace string
	current   atomic.Pointer[content]
}

func (w *world) consumers() []*consumer {
	var all []*consumer
	for i := range w.robots {
		for n := range w.namespaces {
			namespace := fmt.Sprintf("team-%d", n)
			all = append(all, &consumer{name: publicName(i) + "/" + namespace, secret: publicName(i), namespace: namespace})
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
		_ = pause(ctx, wait)
	}
}

// outcomeOf names a failed refresh in few words.
func outcomeOf(err error) string {
	if status := statusOf(err); status != 0 {
		return fmt.Sprint(status)
	}
	return "no answer"
}

// fetch asks one replica as ESO's webhook provider does: over a new connection.
func (w *world) fetch(ctx context.Context, c *consumer, client *http.Client, r *replica) error {
	ctx, cancel := context.WithTimeout(ctx, w.refresh/2)
	defer cancel()
	url, _ := r.where()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/v1/pullsecrets/"+c.secret+"?namespace="+c.namespace+"&property=", nil)
	if err != nil {
		return err
	}
	request.Header.Set("Authorization", "Bearer "+w.bearer)
	asked := time.Now()
	body, err := read(client, request)
	if err != nil {
		return err
	}
	var answer struct {
		Robot     string            `json:"robot"`
		RefreshAt time.Time         `json:"refreshAt"`
		Data      map[string]string `json:"data"`
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		return err
	}
	if answer.Robot == "" || answer.Data[".dockerconfigjson"] == "" {
		return errors.New("an answer without a credential")
	}
	now := &content{robot: answer.Robot, data: answer.Data[".dockerconfigjson"], refreshAt: answer.RefreshAt, asked: asked, got: time.Now()}
	w.journal.took(c, c.current.Load(), *now)
	c.current.Store(now)
	return nil
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
