package kubeledger_test

import (
	"encoding/json"
	"os"
	"regexp"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/quaygen/quaygen/pkg/quaygen/ledger/kubeledger"
)

// docs/compatibility.md: what a released version wrote, every later one reads, and the other way round within a minor version. The
// files below testdata/compat are never changed.
func TestALeaseOfVersion0IsReadAndWrittenAsItWas(t *testing.T) {
	golden, err := os.ReadFile("testdata/compat/v0/lease.json")
	if err != nil {
		t.Fatal(err)
	}
	var lease map[string]any
	if err := json.Unmarshal(golden, &lease); err != nil {
		t.Fatal(err)
	}
	metadata := lease["metadata"].(map[string]any)
	server, api := newServer(t)
	store := open(t, kubeledger.Config{API: api, Namespace: "quaygen", Instance: "prod-eu"})
	path := "/apis/coordination.k8s.io/v1/namespaces/quaygen/leases/" + metadata["name"].(string)
	server.leases[path] = map[string]any{}
	server.store(path, lease)

	r := sample(t)
	r.Rotations = 3
	got, version, err := store.Load(t.Context(), r.Robot)
	if err != nil || got != r {
		t.Fatalf("%+v, %v; want %+v", got, err, r)
	}
	if _, err := store.Replace(t.Context(), got, version); err != nil {
		t.Fatal(err)
	}
	random := regexp.MustCompile(`\\"write\\":\\"[A-Z2-7]+\\"`)
	plain := func(l map[string]any) string {
		delete(l["metadata"].(map[string]any), "resourceVersion")
		text, err := json.Marshal(l)
		if err != nil {
			t.Fatal(err)
		}
		return random.ReplaceAllString(string(text), "")
	}
	var before map[string]any
	if err := json.Unmarshal(golden, &before); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(plain(before), plain(server.leases[path])); diff != "" {
		t.Errorf("the Lease as it was (-) and is written now (+):\n%s", diff)
	}
}
