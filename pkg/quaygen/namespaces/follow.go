package namespaces

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// Bounds of one call. Namespaces have no more than a megabyte each, with all that clings to them.
const (
	pageSize    = 500
	maxPage     = 256 << 20 // bytes
	maxEvent    = 8 << 20   // bytes
	listTime    = 30 * time.Second
	watchTime   = 4 * time.Minute // at least, and up to twice that
	maxQuiet    = 2 * time.Minute // the API server sends a bookmark each minute
	maxProblem  = 4 << 10         // bytes of an answer that says no
	metadataFor = "application/json;as=%s;g=meta.k8s.io;v=v1"
)

// object is what is read of a namespace.
type object struct {
	Metadata struct {
		Name            string            `json:"name"`
		ResourceVersion string            `json:"resourceVersion"`
		Labels          map[string]string `json:"labels"`
	} `json:"metadata"`
}

type page struct {
	Metadata struct {
		ResourceVersion string `json:"resourceVersion"`
		Continue        string `json:"continue"`
	} `json:"metadata"`
	Items []object `json:"items"`
}

type event struct {
	Type   string `json:"type"`
	Object object `json:"object"`
}

// errWatchEnded is how a watch ends that the API server has ended in time.
var errWatchEnded = errors.New("the watch ended")

// list reads all namespaces, puts them in place of those known, and returns the version that a watch begins after.
func (w *Watcher) list(ctx context.Context) (version string, err error) {
	ctx, cancel := context.WithTimeout(ctx, listTime)
	defer cancel()
	sent := time.Now()
	all := make(map[string]map[string]string)
	query := url.Values{"limit": {strconv.Itoa(pageSize)}}
	for {
		var p page
		if err := w.page(ctx, query, &p); err != nil {
			return "", fmt.Errorf("listing namespaces: %w", err)
		}
		for _, o := range p.Items {
			all[o.Metadata.Name] = o.Metadata.Labels
		}
		if p.Metadata.Continue == "" {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.labels, w.heard = all, sent
			return p.Metadata.ResourceVersion, nil
		}
		query.Set("continue", p.Metadata.Continue)
	}
}

func (w *Watcher) page(ctx context.Context, query url.Values, p *page) error {
	body, err := w.get(ctx, query, "PartialObjectMetadataList")
	if err != nil {
		return err
	}
	defer body.Close()
	return json.NewDecoder(io.LimitReader(body, maxPage)).Decode(p)
}

// get returns the body of an answer that says yes.
func (w *Watcher) get(ctx context.Context, query url.Values, kind string) (io.ReadCloser, error) {
	target := w.base.JoinPath("api/v1/namespaces")
	target.RawQuery = query.Encode()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, target.String(), http.NoBody)
	if err != nil {
		return nil, err
	}
	request.Header.Set("Accept", fmt.Sprintf(metadataFor, kind))
	response, err := w.client.Do(request)
	if err != nil {
		return nil, err
	}
	if response.StatusCode == http.StatusOK {
		return response.Body, nil
	}
	defer response.Body.Close()
	var problem struct {
		Message string `json:"message"`
	}
	_ = json.NewDecoder(io.LimitReader(response.Body, maxProblem)).Decode(&problem) // it may be anything
	return nil, &statusError{code: response.StatusCode, message: problem.Message}
}

// statusError is an answer of the API server that says no.
type statusError struct {
	code    int
	message string
}

func (e *statusError) Error() string {
	text := fmt.Sprintf("the API server answers with status %d", e.code)
	if e.message != "" {
		text += ": " + e.message
	}
	if e.code == http.StatusForbidden {
		text += "; the component namespace-labels of the manifests gives the right to list and watch namespaces"
	}
	return text
}

// follow takes in what happens after version, one watch after the other, until that fails.
func (w *Watcher) follow(ctx context.Context, version string) error {
	for {
		began := time.Now()
		err := w.watch(ctx, &version)
		if !errors.Is(err, errWatchEnded) || time.Since(began) < firstPause { // what ends at once is not asked for again at once
			return fmt.Errorf("watching namespaces: %w", err)
		}
	}
}

// watch takes in the events of one watch, and moves version on with each.
func (w *Watcher) watch(ctx context.Context, version *string) error {
	quiet, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	timer := time.AfterFunc(maxQuiet, func() { cancel(fmt.Errorf("nothing was heard for %v", maxQuiet)) })
	defer timer.Stop()
	seconds := int((watchTime + rand.N(watchTime)).Seconds()) //nolint:gosec // G404: jitter
	body, err := w.get(quiet, url.Values{
		"watch": {"1"}, "allowWatchBookmarks": {"true"}, "resourceVersion": {*version}, "timeoutSeconds": {strconv.Itoa(seconds)},
	}, "PartialObjectMetadata")
	if err != nil {
		return cmp.Or(context.Cause(quiet), err)
	}
	defer body.Close()
	lines := bufio.NewScanner(body)
	lines.Buffer(nil, maxEvent)
	for lines.Scan() {
		timer.Reset(maxQuiet)
		var e event
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			return fmt.Errorf("an event: %w", err)
		}
		if err := w.take(&e); err != nil {
			return err
		}
		*version = e.Object.Metadata.ResourceVersion
	}
	if err := cmp.Or(context.Cause(quiet), lines.Err()); err != nil {
		return err
	}
	return errWatchEnded
}

// take enters one event.
func (w *Watcher) take(e *event) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	m := e.Object.Metadata
	switch e.Type {
	case "ADDED", "MODIFIED":
		w.labels[m.Name] = m.Labels
	case "DELETED":
		delete(w.labels, m.Name)
	case "BOOKMARK":
	default: // ERROR: the version is too old, mostly
		return fmt.Errorf("an event of type %q", e.Type)
	}
	w.heard = time.Now()
	return nil
}
