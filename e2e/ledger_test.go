package e2e

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"

	"github.com/quaygen/quaygen/e2e/cluster"
	"github.com/quaygen/quaygen/pkg/quaygen/ledger"
	"github.com/quaygen/quaygen/pkg/quaygen/ledger/kubeledger"
	"github.com/quaygen/quaygen/pkg/quaygen/ledger/ledgertest"
	"github.com/quaygen/quaygen/pkg/quaygen/quay"
)

// ledgerBinding gives its rights to the user "ledger".
const ledgerBinding = `
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: ledger}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: quaygen-ledger}
subjects:
- {apiGroup: rbac.authorization.k8s.io, kind: User, name: ledger}
`

// TestLeasesKeepTheLedgersContract runs the suite that every store passes against a real API server, with no more
// rights than the shipped Role has.
func TestLeasesKeepTheLedgersContract(t *testing.T) {
	c := shared(t)
	var namespaces atomic.Int64
	ledgertest.Run(t, func(t *testing.T) func() ledger.Store {
		namespace := ledgerNamespace(t, c, fmt.Sprintf("ledger-%d", namespaces.Add(1)))
		return func() ledger.Store { return openLedger(t, c, namespace) }
	})
}

// TestLeasesAmongPeople: what others do to the Leases of the ledger, or have put in their place, neither is lost nor
// misleads it.
func TestLeasesAmongPeople(t *testing.T) {
	c := shared(t)
	ctx, cancel := context.WithTimeout(t.Context(), smokeTimeout)
	defer cancel()
	namespace := ledgerNamespace(t, c, "ledger-people")
	store := openLedger(t, c, namespace)
	leases, err := c.Resource("coordination.k8s.io/v1", "Lease", namespace)
	if err != nil {
		t.Fatal(err)
	}

	r := ledgerRecord(t, "deploy")
	version, err := store.Create(ctx, r)
	if err != nil {
		t.Fatal(err)
	}
	name := onlyLease(t, ctx, leases).GetName()

	// A person's label counts as a change, and survives the next write.
	label := []byte(`{"metadata":{"labels":{"team":"a"}}}`)
	if _, err := leases.Patch(ctx, name, types.MergePatchType, label, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := store.Replace(ctx, r, version); !errors.Is(err, ledger.ErrConflict) {
		t.Errorf("Replace after a person's change: %v, want %v", err, ledger.ErrConflict)
	}
	if _, version, err = store.Load(ctx, r.Robot); err != nil {
		t.Fatal(err)
	}
	r.Intent = ledger.Intent{ID: "i", Holder: "quaygen-0", Fingerprint: r.Fingerprint, At: r.Changed, Lease: 6*time.Minute + 1, Reason: "due"}
	if version, err = store.Replace(ctx, r, version); err != nil {
		t.Fatal(err)
	}
	shown := onlyLease(t, ctx, leases)
	wantLabels := map[string]string{"team": "a", kubeledger.ManagedByLabel: "quaygen", kubeledger.InstanceLabel: "stories"}
	if got := shown.GetLabels(); !maps.Equal(got, wantLabels) {
		t.Errorf("labels %v, want %v", got, wantLabels)
	}
	wantSpec(t, shown, map[string]any{"holderIdentity": "quaygen-0", "acquireTime": "2026-11-24T09:00:00.000000Z", "leaseDurationSeconds": int64(361)})

	r.Intent = ledger.Intent{}
	if version, err = store.Replace(ctx, r, version); err != nil {
		t.Fatal(err)
	}
	wantSpec(t, onlyLease(t, ctx, leases), map[string]any{})

	// An update would make a Lease that is gone anew.
	if err := leases.Delete(ctx, name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := store.Replace(ctx, r, version); !errors.Is(err, ledger.ErrConflict) {
		t.Errorf("Replace of a Lease that is gone: %v, want %v", err, ledger.ErrConflict)
	}
	if _, _, err := store.Load(ctx, r.Robot); !errors.Is(err, ledger.ErrNotFound) {
		t.Errorf("Load of a Lease that is gone: %v, want %v", err, ledger.ErrNotFound)
	}
	// Nor does a version serve for a Lease that came after it.
	if _, err := store.Create(ctx, r); err != nil {
		t.Fatal(err)
	}
	if _, err := store.Replace(ctx, r, version); !errors.Is(err, ledger.ErrConflict) {
		t.Errorf("Replace of a later Lease: %v, want %v", err, ledger.ErrConflict)
	}

	// Somebody else's Lease under the name.
	theirs := []byte(`{"metadata":{"annotations":{"` + kubeledger.Annotation + `":null}},"spec":{"holderIdentity":"them"}}`)
	if _, err := leases.Patch(ctx, name, types.MergePatchType, theirs, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	before := onlyLease(t, ctx, leases).GetResourceVersion()
	_, _, loaded := store.Load(ctx, r.Robot)
	_, created := store.Create(ctx, r)
	for call, err := range map[string]error{"Load": loaded, "Create": created} {
		if err == nil || !strings.Contains(err.Error(), name) || !strings.Contains(err.Error(), "somebody else's") {
			t.Errorf("%s with somebody else's Lease in the way: %v", call, err)
		}
	}
	if after := onlyLease(t, ctx, leases).GetResourceVersion(); after != before {
		t.Error("somebody else's Lease was changed")
	}
}

// TestTheLedgerSaysWhatItMayNotDo: an API server that refuses is no empty ledger.
func TestTheLedgerSaysWhatItMayNotDo(t *testing.T) {
	c := shared(t)
	ctx, cancel := context.WithTimeout(t.Context(), smokeTimeout)
	defer cancel()
	namespace := makeNamespace(t, ctx, c, "ledger-without-rights").Name
	store := openLedger(t, c, namespace)
	r := ledgerRecord(t, "deploy")
	_, _, loaded := store.Load(ctx, r.Robot)
	_, created := store.Create(ctx, r)
	_, replaced := store.Replace(ctx, r, "1")
	for verb, err := range map[string]error{"get": loaded, "create": created, "patch": replaced} {
		if err == nil || errors.Is(err, ledger.ErrNotFound) || errors.Is(err, ledger.ErrExists) || errors.Is(err, ledger.ErrConflict) ||
			!strings.Contains(err.Error(), `"ledger" cannot `+verb) {
			t.Errorf("without the right to %s: %v", verb, err)
		}
	}
}

// ledgerNamespace makes a namespace in which the user "ledger" has its rights.
func ledgerNamespace(t *testing.T, c *cluster.Cluster, name string) string {
	t.Helper()
	role := rights(t, name, "Role", "quaygen-ledger") // before the time runs: it may have to be built
	ctx, cancel := context.WithTimeout(t.Context(), smokeTimeout)
	defer cancel()
	namespace := makeNamespace(t, ctx, c, name).Name
	check(t, c.Apply(ctx, namespace, []byte(role)))
	check(t, c.Apply(ctx, namespace, []byte(ledgerBinding)))
	// The API server learns of new rights by a watch.
	store, robot := openLedger(t, c, namespace), ledgerRecord(t, "nobody").Robot
	for {
		_, _, err := store.Load(ctx, robot)
		if errors.Is(err, ledger.ErrNotFound) {
			return namespace
		}
		select {
		case <-ctx.Done():
			t.Fatal("the rights do not take effect: ", err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func openLedger(t *testing.T, c *cluster.Cluster, namespace string) *kubeledger.Store {
	t.Helper()
	store, err := kubeledger.Open(kubeledger.Config{API: c.User("ledger"), Namespace: namespace, Instance: "stories"})
	if err != nil {
		t.Fatal(err)
	}
	return store
}

func ledgerRecord(t *testing.T, short string) ledger.Record {
	t.Helper()
	owner, err := quay.ParseOrganization("acme")
	if err != nil {
		t.Fatal(err)
	}
	robot, err := quay.NewRobot(owner, short)
	if err != nil {
		t.Fatal(err)
	}
	return ledger.Record{Robot: robot, Fingerprint: "0123456789ab", Changed: time.Date(2026, 11, 24, 9, 0, 0, 0, time.UTC)}
}

func onlyLease(t *testing.T, ctx context.Context, leases dynamic.ResourceInterface) *unstructured.Unstructured {
	t.Helper()
	list, err := leases.List(ctx, metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if len(list.Items) != 1 {
		t.Fatalf("there are %d Leases", len(list.Items))
	}
	return &list.Items[0]
}

func wantSpec(t *testing.T, lease *unstructured.Unstructured, want map[string]any) {
	t.Helper()
	got, _, err := unstructured.NestedMap(lease.Object, "spec")
	if err != nil {
		t.Fatal(err)
	}
	if !maps.Equal(got, want) {
		t.Errorf("the Lease shows %v, want %v", got, want)
	}
}
