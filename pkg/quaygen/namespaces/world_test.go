package namespaces_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"k8s.io/client-go/rest"

	"github.com/quaygen/quaygen/pkg/quaygen/namespaces"
	"github.com/quaygen/quaygen/pkg/quaygen/policy"
)

// An apiServer is what a watcher needs of one: namespaces that are listed by pages and watched. It is a transport, so that
// it works inside a bubble.
type apiServer struct {
	mu       sync.Mutex
	version  int
	spaces   []map[string]any // metadata
	watches  []*io.PipeWriter
	problem  func(*http.Request) *http.Response // answers instead, if not nil
	requests []string
}

func (s *apiServer) RoundTrip(r *http.Request) (*http.Response, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	query := r.URL.Query()
	s.requests = append(s.requests, r.URL.RawQuery)
	if r.URL.Path != "/api/v1/namespaces" || r.Header.Get("Authorization") != "Bearer of-a-service-account" {
		return answer(http.StatusUnauthorized, map[string]any{"message": "who is it?"}), nil
	}
	if s.problem != nil {
		if a := s.problem(r); a != nil {
			return a, nil
		}
	}
	if query.Get("watch") != "" {
		if query.Get("allowWatchBookmarks") != "true" || query.Get("timeoutSeconds") == "" || query.Get("resourceVersion") == "" {
			return answer(http.StatusBadRequest, map[string]any{"message": "an odd watch"}), nil
		}
		body, events := io.Pipe()
		context.AfterFunc(r.Context(), func() { _ = events.CloseWithError(r.Context().Err()) })
		s.watches = append(s.watches, events)
		return &http.Response{StatusCode: http.StatusOK, Body: body, Header: http.Header{}}, nil
	}
	begin, _ := strconv.Atoi(query.Get("continue"))
	metadata := map[string]any{"resourceVersion": strconv.Itoa(s.version)}
	end := min(begin+2, len(s.spaces)) // pages of two, whatever is asked for
	if end < len(s.spaces) {
		metadata["continue"] = strconv.Itoa(end)
	}
	items := []any{}
	for _, m := range s.spaces[begin:end] {
		items = append(items, map[string]any{"metadata": m})
	}
	return answer(http.StatusOK, map[string]any{"metadata": metadata, "items": items}), nil
}

func answer(status int, body any) *http.Response {
	encoded, err := json.Marshal(body)
	if err != nil {
		panic(err)
	}
	return &http.Response{StatusCode: status, Header: http.Header{}, Body: io.NopCloser(bytes.NewReader(encoded))}
}

// set gives namespaces labels, written "name key=value ...", before anybody looks.
func (s *apiServer) set(all ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.spaces = nil
	for _, text := range all {
		s.spaces = append(s.spaces, metadata(text))
	}
	s.version += 10
}

func metadata(text string) map[string]any {
	fields := strings.Fields(text)
	labels := map[string]any{}
	for _, f := range fields[1:] {
		key, value, _ := strings.Cut(f, "=")
		labels[key] = value
	}
	m := map[string]any{"name": fields[0], "annotations": map[string]any{"team": "annotations are no labels"}}
	if len(labels) > 0 {
		m["labels"] = labels
	}
	return m
}

// tell sends an event to the last watch, if there is one.
func (s *apiServer) tell(kind, text string) {
	s.mu.Lock()
	s.version++
	var events *io.PipeWriter
	if n := len(s.watches); n > 0 {
		events = s.watches[n-1]
	}
	m := metadata(text)
	m["resourceVersion"] = strconv.Itoa(s.version)
	s.mu.Unlock()
	encoded, err := json.Marshal(map[string]any{"type": kind, "object": map[string]any{"metadata": m}})
	if err != nil {
		panic(err)
	}
	if events != nil {
		_, _ = events.Write(append(encoded, '\n'))
	}
	synctest.Wait()
}

// hangUp ends the last watch; nil: in time.
func (s *apiServer) hangUp(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	_ = s.watches[len(s.watches)-1].CloseWithError(err)
}

// fail lets all answers be this status; 0: no more.
func (s *apiServer) fail(status int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.problem = nil
	if status != 0 {
		s.problem = func(*http.Request) *http.Response {
			return answer(status, map[string]any{"message": fmt.Sprint("it is ", status)})
		}
	}
}

func (s *apiServer) counted(what string) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.requests {
		if strings.Contains(r, what) {
			n++
		}
	}
	return n
}

func (s *apiServer) config() (*rest.Config, error) {
	return &rest.Config{Host: "https://api.test", BearerToken: "of-a-service-account", Transport: s}, nil
}

// inBubble tells a story about a watcher that runs.
func inBubble(t *testing.T, story func(*testing.T, *apiServer, *namespaces.Watcher)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := &apiServer{}
		w := namespaces.New(s.config, slog.New(slog.DiscardHandler))
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- w.Run(ctx) }()
		story(t, s, w)
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func is(t *testing.T, w *namespaces.Watcher, namespace string, want policy.Knowledge, labels ...string) {
	t.Helper()
	got := w.Labels(namespace)
	if got.Knowledge != want || want == policy.LabelsKnown && len(got.Values) != len(labels) {
		t.Errorf("%s: %+v, want %d and %v", namespace, got, want, labels)
	}
	for _, l := range labels {
		if key, value, _ := strings.Cut(l, "="); got.Values[key] != value {
			t.Errorf("%s: %+v has no %s", namespace, got, l)
		}
	}
}
