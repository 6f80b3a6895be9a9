package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/quaygen/quaygen/pkg/quaygen/ledger"
	"github.com/quaygen/quaygen/pkg/quaygen/quay"
	"github.com/quaygen/quaygen/pkg/quaygen/quay/quaytest"
)

// regenerated configures a robot that is given another token every 30 days, and returns what the ledger may hold of it.
func regenerated(t *testing.T, where string) (path string, server *quaytest.Server, r ledger.Record) {
	t.Helper()
	permissions := "permissions: {repositories: [{name: app}]}}\n"
	path, server = configure(t, permissions, "rotation: {strategy: regenerate, every: 720h}, "+permissions+"ledger: {"+where+"}\n")
	server.AddRobot("myorg", "k8s_puller", marked("test", "k8s_puller", 0))
	server.Grant("myorg", "app", "k8s_puller", "read")
	owner, err := quay.ParseOrganization("myorg")
	if err != nil {
		t.Fatal(err)
	}
	robot, err := quay.NewRobot(owner, "k8s_puller")
	if err != nil {
		t.Fatal(err)
	}
	return path, server, ledger.Record{Robot: robot, Fingerprint: server.Ever("myorg")[0].Token.Fingerprint(), Changed: time.Now().Add(-time.Hour)}
}

// planned returns what the plan of the robot says, as text and for machines.
func planned(t *testing.T, path string, server *quaytest.Server) (text string, document planDocument) {
	t.Helper()
	code, text, stderr := try(t, "plan", "puller", "--config", path)
	if code != exitOK {
		t.Fatalf("%d, %s", code, stderr)
	}
	_, stdout, stderr := try(t, "plan", "puller", "--config", path, "-o", "json")
	var documents []planDocument
	if err := json.Unmarshal([]byte(stdout), &documents); err != nil || len(documents) != 1 {
		t.Fatalf("%v, %s%s", err, stdout, stderr)
	}
	for _, call := range server.Calls().Entries() {
		if call.Method != "GET" || call.Operation == "auth" {
			t.Errorf("it called %s %s", call.Method, call.Path)
		}
	}
	for _, token := range server.Tokens() {
		if strings.Contains(text+stdout+stderr, token) {
			t.Error("it shows a token")
		}
	}
	return text, documents[0]
}

// files returns the content of each file of a directory.
func files(t *testing.T, dir string) map[string]string {
	t.Helper()
	all, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for _, name := range all {
		content, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		out[name] = string(content)
	}
	return out
}

func TestThePlanOfARobotThatIsRegeneratedIsThatOfTheLedgerFileOfARunningService(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(*ledger.Record)
		text   string
		steps  int
	}{
		{"before it is due", func(*ledger.Record) {}, "nothing to do\n  next rotation: ", 0},
		{"when it is due", func(r *ledger.Record) { r.Changed = time.Now().Add(-800 * time.Hour) }, "would intend to regenerate myorg+k8s_puller", 1},
		{"amid one", func(r *ledger.Record) {
			r.Intent = ledger.Intent{ID: "x", Holder: "replica-7", Fingerprint: r.Fingerprint, At: time.Now(), Lease: time.Minute, Reason: "due"}
		}, "replica-7 intended to", 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path, server, r := regenerated(t, "file: ./ledger.db")
			store, err := ledger.OpenFile(t.Context(), filepath.Join(filepath.Dir(path), "ledger.db"))
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = store.Close() }() // the lock is held until then, as a service does
			tt.change(&r)
			if _, err := store.Create(t.Context(), r); err != nil {
				t.Fatal(err)
			}
			before := files(t, filepath.Dir(path))
			text, document := planned(t, path, server)
			if !strings.Contains(text, tt.text) || len(document.Steps) != tt.steps || len(document.Warnings) != 0 {
				t.Errorf("there is no %q in\n%s%+v", tt.text, text, document)
			}
			if diff := cmp.Diff(before, files(t, filepath.Dir(path))); diff != "" {
				t.Errorf("looking changed a file: %s", diff)
			}
		})
	}
}

func TestThePlanOfARobotThatIsRegeneratedIsThatOfTheLeaseInTheCluster(t *testing.T) {
	path, server, r := regenerated(t, "kubernetes: {namespace: quaygen}")
	r.Changed = time.Now().Add(-800 * time.Hour)
	record, err := ledger.Encode(r)
	if err != nil {
		t.Fatal(err)
	}
	var calls []string
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		calls = append(calls, r.Method)
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "l", "resourceVersion": "7", "annotations": {"quaygen.dev/ledger": %q}}}`,
			fmt.Sprintf(`{"format": 1, "write": "x", "record": %s}`, record))
	}))
	defer api.Close()
	file := filepath.Join(t.TempDir(), "kubeconfig")
	if err := os.WriteFile(file, []byte(kubeconfig(api.URL)), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("KUBECONFIG", file)
	text, document := planned(t, path, server)
	if !strings.Contains(text, "would intend to regenerate myorg+k8s_puller") || len(document.Steps) != 1 || len(document.Warnings) != 0 {
		t.Errorf("%s%+v", text, document)
	}
	if !slices.Equal(calls, []string{"GET", "GET"}) {
		t.Errorf("the cluster was called with %v", calls)
	}
}

func TestAPlanWithoutTheLedgerSaysThatItDoesNotKnowOfRotations(t *testing.T) {
	for where, says := range map[string]string{
		"file: ./ledger.db":                "there is no ledger ",
		"file: ./generator.yaml":           "it is not a ledger, or damaged",
		"kubernetes: {namespace: quaygen}": "ledger.kubernetes needs a cluster",
	} {
		t.Run(where, func(t *testing.T) {
			path, server, _ := regenerated(t, where)
			t.Setenv("KUBECONFIG", filepath.Join(t.TempDir(), "absent"))
			t.Setenv("KUBERNETES_SERVICE_HOST", "")
			before := files(t, filepath.Dir(path))
			text, document := planned(t, path, server)
			if len(document.Warnings) != 1 || len(document.Steps) != 0 || document.NextRotation != nil {
				t.Fatalf("%+v", document)
			}
			warning := document.Warnings[0]
			if !strings.Contains(warning, "its rotations are in the ledger, which was not read: ") || !strings.Contains(warning, says) || !strings.Contains(warning, "see generator status") {
				t.Errorf("it warns: %s", warning)
			}
			if strings.Contains(text, "nothing to do") || !strings.Contains(text, "\n  warning: "+warning+"\n") {
				t.Errorf("it says\n%s", text)
			}
			if diff := cmp.Diff(before, files(t, filepath.Dir(path))); diff != "" {
				t.Errorf("looking changed a file: %s", diff)
			}
		})
	}
}

func TestAPlanThatDoesNotKnowTheTokenSaysSo(t *testing.T) {
	path, server, r := regenerated(t, "file: ./ledger.db")
	store, err := ledger.OpenFile(t.Context(), filepath.Join(filepath.Dir(path), "ledger.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = store.Close() }()
	if _, err := store.Create(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	server.Inject(quaytest.Fault{Operation: "robot.get", Status: http.StatusForbidden})
	text, document := planned(t, path, server)
	if strings.Contains(text, "nothing to do") || len(document.Warnings) != 1 || !strings.Contains(document.Warnings[0], "read token myorg+k8s_puller") {
		t.Errorf("%s%+v", text, document)
	}
}
