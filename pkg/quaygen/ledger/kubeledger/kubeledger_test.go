package kubeledger_test

import (
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	"k8s.io/client-go/rest"

	"github.com/quaygen/quaygen/pkg/quaygen/ledger"
	"github.com/quaygen/quaygen/pkg/quaygen/ledger/kubeledger"
	"github.com/quaygen/quaygen/pkg/quaygen/ledger/ledgertest"
	"github.com/quaygen/quaygen/pkg/quaygen/quay"
)

func TestLeasesKeepTheContract(t *testing.T) {
	ledgertest.Run(t, func(t *testing.T) func() ledger.Store {
		_, api := newServer(t)
		return func() ledger.Store {
			return open(t, kubeledger.Config{API: api, Namespace: "quaygen", Instance: "prod-eu"})
		}
	})
}

// Two writers of the same record must not both believe that theirs was the one that took place.
func TestWritingTheSameAgainIsAWrite(t *testing.T) {
	_, api := newServer(t)
	store := open(t, kubeledger.Config{API: api, Namespace: "quaygen"})
	r := sample(t)
	first, err := store.Create(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	second, err := store.Replace(t.Context(), r, first)
	if err != nil || second == first {
		t.Fatalf("version %q, then %q, %v", first, second, err)
	}
	for _, old := range []ledger.Version{first, "", "0", "no version"} {
		if _, err := store.Replace(t.Context(), r, old); !errors.Is(err, ledger.ErrConflict) {
			t.Errorf("Replace at version %q: %v, want %v", old, err, ledger.ErrConflict)
		}
	}
}

func open(t *testing.T, c kubeledger.Config) *kubeledger.Store {
	t.Helper()
	store, err := kubeledger.Open(c)
	if err != nil {
		t.Fatal(err)
	}
	return store
}

func sample(t *testing.T) ledger.Record {
	t.Helper()
	owner, err := quay.ParseOrganization("acme")
	if err != nil {
		t.Fatal(err)
	}
	robot, err := quay.NewRobot(owner, "deploy")
	if err != nil {
		t.Fatal(err)
	}
	at := time.Date(2026, 11, 24, 9, 0, 0, 123_456_789, time.UTC)
	return ledger.Record{
		Robot: robot, Fingerprint: "0123456789ab", Changed: at,
		Intent: ledger.Intent{ID: "i", Holder: "quaygen-0", Fingerprint: "0123456789ab", At: at, Lease: 90*time.Second + 1, Reason: "due"},
	}
}

// lease returns the only one there is.
func (s *server) lease(t *testing.T) coordinationv1.Lease {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.leases) != 1 {
		t.Fatalf("there are %d Leases", len(s.leases))
	}
	var lease coordinationv1.Lease
	for _, stored := range s.leases {
		data, err := json.Marshal(stored)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(data, &lease); err != nil {
			t.Fatal(err)
		}
	}
	return lease
}

func TestALeaseShowsPeopleTheOpenRotation(t *testing.T) {
	server, api := newServer(t)
	store := open(t, kubeledger.Config{API: api, Namespace: "quaygen", Instance: "prod-eu"})
	r := sample(t)
	version, err := store.Create(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	lease := server.lease(t)
	if got, want := lease.Labels, map[string]string{"app.kubernetes.io/managed-by": "quaygen", "quaygen.dev/instance": "prod-eu"}; !maps.Equal(got, want) {
		t.Errorf("labels %v, want %v", got, want)
	}
	if s := lease.Spec; s.HolderIdentity == nil || *s.HolderIdentity != "quaygen-0" || s.LeaseDurationSeconds == nil || *s.LeaseDurationSeconds != 91 ||
		s.AcquireTime == nil || !s.AcquireTime.Time.Equal(r.Intent.At.Truncate(time.Microsecond)) {
		t.Errorf("with an open rotation the spec is %+v", s)
	}

	r.Intent = ledger.Intent{}
	if _, err := store.Replace(t.Context(), r, version); err != nil {
		t.Fatal(err)
	}
	if s := server.lease(t).Spec; s != (coordinationv1.LeaseSpec{}) {
		t.Errorf("without one the spec is %+v", s)
	}
}

func TestALeaseOfSomebodyElseIsLeftAlone(t *testing.T) {
	for name, spoil := range map[string]func(metadata map[string]any){
		"without our annotation":          func(m map[string]any) { delete(m, "annotations") },
		"with an annotation not ours":     func(m map[string]any) { m["annotations"] = map[string]any{kubeledger.Annotation: "theirs"} },
		"with another robot's record":     replaced(`"robot":"acme+deploy"`, `"robot":"acme+other"`),
		"with a record of a later format": replaced(`"format":1`, `"format":2`),
	} {
		t.Run(name, func(t *testing.T) {
			server, api := newServer(t)
			store := open(t, kubeledger.Config{API: api, Namespace: "quaygen"})
			r := sample(t)
			if _, err := store.Create(t.Context(), r); err != nil {
				t.Fatal(err)
			}
			for _, stored := range server.leases {
				spoil(stored["metadata"].(map[string]any))
			}
			before := server.lease(t)
			_, _, loaded := store.Load(t.Context(), r.Robot)
			_, created := store.Create(t.Context(), r)
			for call, err := range map[string]error{"Load": loaded, "Create": created} {
				if err == nil || errors.Is(err, ledger.ErrNotFound) || errors.Is(err, ledger.ErrExists) || !strings.Contains(err.Error(), "Lease quaygen/quaygen-acme-deploy-") {
					t.Errorf("%s: %v", call, err)
				}
			}
			if after := server.lease(t); after.String() != before.String() {
				t.Errorf("it was changed to %v", after)
			}
		})
	}
}

func replaced(old, new string) func(map[string]any) {
	return func(metadata map[string]any) {
		annotations := metadata["annotations"].(map[string]any)
		annotations[kubeledger.Annotation] = strings.ReplaceAll(annotations[kubeledger.Annotation].(string), old, new)
	}
}

func TestAConfigurationThatCannotWorkIsRefused(t *testing.T) {
	_, api := newServer(t)
	for name, c := range map[string]kubeledger.Config{
		"no namespace":                 {API: api},
		"a namespace that cannot be":   {API: api, Namespace: "../kube-system"},
		"an instance that cannot be":   {API: api, Namespace: "quaygen", Instance: "-"},
		"an API server that cannot be": {API: &rest.Config{Host: "::"}, Namespace: "quaygen"},
	} {
		if _, err := kubeledger.Open(c); err == nil {
			t.Errorf("%s: it was opened", name)
		}
	}
}

// An answer may be lost after the write. Sent again by itself, the write would then find its own result in the way, and
// its caller would hear of a conflict.
func TestAWriteIsSentOnce(t *testing.T) {
	var mu sync.Mutex
	sent := map[string]int{}
	unavailable := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		sent[r.Method]++
		w.Header().Set("Retry-After", "0")
		refuse(w, http.StatusServiceUnavailable, "ServiceUnavailable")
	}))
	defer unavailable.Close()
	store := open(t, kubeledger.Config{API: &rest.Config{Host: unavailable.URL}, Namespace: "quaygen"})
	r := sample(t)
	_, created := store.Create(t.Context(), r)
	_, replaced := store.Replace(t.Context(), r, "7")
	for call, err := range map[string]error{"Create": created, "Replace": replaced} {
		if err == nil || errors.Is(err, ledger.ErrExists) || errors.Is(err, ledger.ErrConflict) {
			t.Errorf("%s: %v", call, err)
		}
	}
	if want := map[string]int{http.MethodPost: 1, http.MethodPatch: 1}; !maps.Equal(sent, want) {
		t.Errorf("sent %v, want %v", sent, want)
	}
}
