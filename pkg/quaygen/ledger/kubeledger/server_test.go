package kubeledger_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"

	"k8s.io/client-go/rest"
)

// server is what the ledger needs of an API server: Leases that are created once and patched at a version. The same
// suite runs against kube-apiserver in e2e, which proves that this one behaves like it.
type server struct {
	mu      sync.Mutex
	version int
	leases  map[string]map[string]any // by path
}

func newServer(t *testing.T) (*server, *rest.Config) {
	t.Helper()
	s := &server{version: 100, leases: map[string]map[string]any{}}
	listening := httptest.NewServer(s)
	t.Cleanup(listening.Close)
	return s, &rest.Config{Host: listening.URL, QPS: -1}
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !strings.HasPrefix(r.URL.Path, "/apis/coordination.k8s.io/v1/namespaces/") {
		refuse(w, http.StatusNotFound, "NotFound")
		return
	}
	body := map[string]any{}
	if r.Method != http.MethodGet {
		if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
			refuse(w, http.StatusBadRequest, "BadRequest")
			return
		}
	}
	metadata, _ := body["metadata"].(map[string]any)
	path := r.URL.Path
	if r.Method == http.MethodPost {
		path = fmt.Sprintf("%s/%v", path, metadata["name"])
	}
	stored, exists := s.leases[path]
	switch {
	case r.Method == http.MethodPost && exists:
		refuse(w, http.StatusConflict, "AlreadyExists")
		return
	case r.Method != http.MethodPost && !exists:
		refuse(w, http.StatusNotFound, "NotFound")
		return
	case r.Method == http.MethodPost:
		s.leases[path] = map[string]any{}
		s.store(path, body)
	case r.Method == http.MethodPatch && r.Header.Get("Content-Type") == "application/merge-patch+json":
		now := stored["metadata"].(map[string]any)["resourceVersion"]
		if wanted, ok := metadata["resourceVersion"]; ok && wanted != now {
			refuse(w, http.StatusConflict, "Conflict")
			return
		}
		s.store(path, body)
	case r.Method != http.MethodGet:
		refuse(w, http.StatusMethodNotAllowed, "MethodNotAllowed")
		return
	}
	answer(w, http.StatusOK, s.leases[path])
}

// store merges patch into a Lease, and gives it a new version if that changes it.
func (s *server) store(path string, patch map[string]any) {
	before, _ := json.Marshal(s.leases[path])
	merge(s.leases[path], patch)
	if after, _ := json.Marshal(s.leases[path]); string(before) != string(after) {
		s.version++
		s.leases[path]["metadata"].(map[string]any)["resourceVersion"] = strconv.Itoa(s.version)
	}
}

func merge(into, patch map[string]any) {
	for key, value := range patch {
		inner, isObject := value.(map[string]any)
		old, wasObject := into[key].(map[string]any)
		switch {
		case value == nil:
			delete(into, key)
		case isObject && wasObject:
			merge(old, inner)
		case isObject:
			fresh := map[string]any{}
			merge(fresh, inner)
			into[key] = fresh
		default:
			into[key] = value
		}
	}
}

func refuse(w http.ResponseWriter, code int, reason string) {
	answer(w, code, map[string]any{
		"apiVersion": "v1", "kind": "Status", "status": "Failure", "reason": reason, "code": code, "message": "refused: " + reason,
	})
}

func answer(w http.ResponseWriter, code int, content map[string]any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(content)
}
