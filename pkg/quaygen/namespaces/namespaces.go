// Package namespaces knows the labels of the namespaces of the cluster that the service runs in, for rules that ask for
// them.
//
// A [Watcher] lists all namespaces once and follows them from there. It takes the verbs list and watch on namespaces. It
// answers from memory, and only while it hears from the API server: what it has not heard about for longer than [MaxSilence]
// is not known to it any more, since a label may have been taken away meanwhile.
package namespaces

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/url"
	"sync"
	"time"

	"k8s.io/client-go/rest"

	"github.com/quaygen/quaygen/pkg/quaygen/policy"
)

// MaxSilence is how long labels count after the API server was last heard. It says something every minute, by bookmarks.
const MaxSilence = 5 * time.Minute

// Pauses after a failure grow from the one to the other.
const (
	firstPause   = time.Second
	longestPause = 30 * time.Second
)

// Watcher follows the labels of namespaces once somebody needs them. Make one with [New]; it is safe for concurrent use.
type Watcher struct {
	connect func() (*rest.Config, error)
	log     *slog.Logger
	needed  chan struct{} // closed when there is an API server to ask

	mu      sync.RWMutex
	client  *http.Client
	base    *url.URL
	labels  map[string]map[string]string // nil until they were listed; the inner ones are never changed
	heard   time.Time                    // when the API server last said something
	failure error                        // of the last try; nil: none
}

// New returns a watcher that does nothing yet. connect says where the API server is, and is asked only when labels are needed.
func New(connect func() (*rest.Config, error), log *slog.Logger) *Watcher {
	return &Watcher{connect: connect, log: log, needed: make(chan struct{})}
}

// Need makes [Watcher.Run] begin. The error says why there are no labels to be known: all namespaces are without.
func (w *Watcher) Need() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.client != nil {
		return nil
	}
	client, base, err := w.dial()
	if err != nil {
		w.failure = fmt.Errorf("labels of namespaces are not known: %w", err)
		return w.failure
	}
	w.client, w.base, w.failure = client, base, nil
	close(w.needed)
	return nil
}

func (w *Watcher) dial() (*http.Client, *url.URL, error) {
	api, err := w.connect()
	if err != nil {
		return nil, nil, err
	}
	api = rest.CopyConfig(api)
	api.Timeout = 0 // a watch takes its time; each call has a context
	base, _, err := rest.DefaultServerUrlFor(api)
	if err != nil {
		return nil, nil, fmt.Errorf("the address of the API server: %w", err)
	}
	client, err := rest.HTTPClientFor(api)
	if err != nil {
		return nil, nil, fmt.Errorf("connecting to the API server: %w", err)
	}
	return client, base, nil
}

// Labels returns what is known of a namespace's labels now.
func (w *Watcher) Labels(namespace string) policy.Labels {
	w.mu.RLock()
	defer w.mu.RUnlock()
	switch {
	case w.client == nil:
		return policy.Labels{Knowledge: policy.NoLabels}
	case w.labels == nil || time.Since(w.heard) > MaxSilence:
		return policy.Labels{Knowledge: policy.LabelsLater}
	}
	labels, ok := w.labels[namespace]
	if !ok {
		return policy.Labels{Knowledge: policy.NoLabels}
	}
	return policy.Labels{Knowledge: policy.LabelsKnown, Values: labels}
}

// Status returns whether labels were ever needed, and what is wrong with knowing them, nil if nothing is.
func (w *Watcher) Status() (needed bool, err error) {
	w.mu.RLock()
	defer w.mu.RUnlock()
	return w.client != nil || w.failure != nil, w.failure
}

// Run follows the namespaces from when they are needed until ctx ends. It always returns nil.
func (w *Watcher) Run(ctx context.Context) error {
	select {
	case <-w.needed:
	case <-ctx.Done():
		return nil
	}
	pause := firstPause
	for ctx.Err() == nil {
		version, err := w.list(ctx)
		if err == nil {
			pause = firstPause
			w.noteSuccess()
			err = w.follow(ctx, version)
		}
		if ctx.Err() != nil {
			return nil
		}
		w.noteFailure(err)
		wait(ctx, pause/2+rand.N(pause/2)) //nolint:gosec // G404: jitter
		pause = min(2*pause, longestPause)
	}
	return nil
}

func (w *Watcher) noteSuccess() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.failure != nil {
		w.log.Info("the labels of namespaces are followed again", "namespaces", len(w.labels))
	}
	w.failure = nil
}

func (w *Watcher) noteFailure(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.failure == nil {
		w.log.Warn("the labels of namespaces are not followed", "error", err, "after", MaxSilence)
	}
	w.failure = err
}

func wait(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
