package main

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/quaygen/quaygen/cmd/internal/await"
)

// What people do without the service: one robot for all, its token copied into each namespace by a script.

// perNamespace is how long the script takes for one namespace; kubectl takes longer.
const perNamespace = 50 * time.Millisecond

// scripted makes a robot and gives its token to its consumers, then regenerates it on schedule until ctx ends.
func (w *world) scripted(ctx context.Context, i int, consumers []*consumer) error {
	short := robotName(i)
	token, err := w.quay.makeRobot(ctx, short, "rotated by a script")
	if err != nil {
		return err
	}
	if err := w.hand(ctx, short, token, consumers, 0); err != nil {
		return nil
	}
	// Robots take turns, as they do in the other scenarios once they have run for a while.
	if await.Time(ctx, w.every*time.Duration(i)/time.Duration(w.robots)) != nil {
		return nil
	}
	for ctx.Err() == nil {
		var made struct{ Token string }
		err := w.quay.do(ctx, http.MethodPost, "/api/v1/organization/"+organization+"/robots/"+short+"/regenerate", nil, &made)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			return err
		}
		w.journal.regenerated()
		if w.hand(ctx, short, made.Token, consumers, perNamespace) != nil || await.Time(ctx, w.every) != nil {
			return nil
		}
	}
	return nil
}

// hand updates one namespace after the other.
func (w *world) hand(ctx context.Context, short, token string, consumers []*consumer, each time.Duration) error {
	user := organization + "+" + short
	data, err := json.Marshal(map[string]any{"auths": map[string]any{w.quay.host(): map[string]string{
		"username": user, "password": token, "auth": base64.StdEncoding.EncodeToString([]byte(user + ":" + token)),
	}}})
	if err != nil {
		return fmt.Errorf("writing a pull secret: %w", err)
	}
	for _, c := range consumers {
		if err := await.Time(ctx, each); err != nil {
			return err
		}
		c.current.Store(&content{robot: user, data: string(data), got: time.Now()})
	}
	return nil
}

func (j *journal) regenerated() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.rotations++
}
