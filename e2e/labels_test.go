package e2e

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/rest"

	"github.com/quaygen/quaygen/e2e/cluster"
	"github.com/quaygen/quaygen/e2e/product"
)

// maxSilence takes the place of namespaces.MaxSilence in this story. The API server may say nothing for longer, so that nothing
// here is asked for only once where labels decide.
const maxSilence = 15 * time.Second

// byLabels lets ESO ask for whatever namespace has the label, and for one by its name.
const byLabels = `
rules:
- {clients: [eso], namespaceLabels: {quaygen.example.com/pulls: shop}, names: [prod-puller]}
- {clients: [eso], namespaces: [labels-named], names: [prod-puller]}
`

const (
	shopLabel  = "quaygen.example.com/pulls: shop"
	otherLabel = "quaygen.example.com/pulls: other"
)

// TestRulesWithLabelsFollowTheNamespaces tells of labels that the real API server shows, with no more rights than the shipped ClusterRole
// has: of namespaces that get, lose and take along the label, and of an API server that cannot be reached for too long.
func TestRulesWithLabelsFollowTheNamespaces(t *testing.T) {
	c := shared(t)
	programs := forgetfulPrograms(t)
	s := emptyStage(t)
	s.c, s.programs = c, programs
	t.Cleanup(s.look)
	began := time.Now()
	s.makeNamespace("labels-quaygen")
	s.apply("labels-quaygen", rights(t, "labels-quaygen", "ServiceAccount", "quaygen"))
	s.makeNamespace("labels-shop")
	api := s.beforeAPI()
	s.configure(byLabels)
	s.start(s.kubeconfig("kubeconfig", s.through(api, "labels-quaygen", "quaygen")))
	s.gets("labels-named", http.StatusOK)

	s.gets("labels-shop", http.StatusServiceUnavailable)
	s.admits("status 403", "quaygen", "the component namespace-labels of the manifests gives the right")
	s.say(began, "without rights labels are not known, and the probe says why")
	for _, kind := range []string{"ClusterRole", "ClusterRoleBinding"} {
		s.apply("", rights(t, "labels-quaygen", kind, "quaygen-namespace-labels"))
	}
	s.gets("labels-shop", http.StatusForbidden)
	s.say(began, "with them a namespace without the label gets nothing")

	for _, step := range []struct {
		label string
		want  int
	}{{shopLabel, http.StatusOK}, {"", http.StatusForbidden}, {shopLabel, http.StatusOK}, {otherLabel, http.StatusForbidden}, {shopLabel, http.StatusOK}} {
		s.makeNamespace("labels-shop", step.label)
		s.gets("labels-shop", step.want)
	}
	s.say(began, "labels are given and taken away")

	shop := cluster.Object{APIVersion: "v1", Kind: "Namespace", Name: "labels-shop"}
	remove(t, s.ctx, c, shop)
	s.gets("labels-shop", http.StatusForbidden)
	s.makeNamespace("labels-shop", otherLabel)
	s.makeNamespace("labels-new", shopLabel)
	s.gets("labels-new", http.StatusOK) // what came before it is known, too
	if got := s.askWith(s.bearers["eso"], "labels-shop"); got == http.StatusOK {
		t.Error("a namespace that came back without the label has that of the one before it")
	}
	s.makeNamespace("labels-shop", shopLabel)
	s.gets("labels-shop", http.StatusOK)
	s.say(began, "a namespace is deleted, and comes back")

	s.outage(api, began)
	s.makeNamespace("labels-shop", shopLabel)
	s.gets("labels-shop", http.StatusOK)
}

// outage takes the API server away for longer than it may be silent. Meanwhile one namespace loses the label, and another gets it.
func (s *stage) outage(api *product.Service, began time.Time) {
	s.t.Helper()
	s.makeNamespace("labels-other")
	s.makeNamespace("labels-last") // when this is heard of, so is what came before
	s.makeNamespace("labels-last", shopLabel)
	s.gets("labels-last", http.StatusOK)
	api.Lead()
	api.Cut()
	away := time.Now()
	if got := s.askWith(s.bearers["eso"], "labels-shop"); got != http.StatusOK && time.Since(away) < time.Second {
		s.t.Errorf("as soon as the API server is away, what is known of labels counts for nothing: %d", got)
	}
	s.makeNamespace("labels-shop")
	s.makeNamespace("labels-other", shopLabel)
	s.gets("labels-shop", http.StatusServiceUnavailable)
	if took := time.Since(away); took > maxSilence+10*time.Second {
		s.t.Errorf("labels counted for %v after the API server was last heard", took)
	}
	s.gets("labels-other", http.StatusServiceUnavailable)
	s.gets("labels-named", http.StatusOK)
	s.admits("namespaces")
	s.say(began, "the API server was away for %v, and labels are not known any more", time.Since(away).Round(time.Second))

	api.Lead(s.apiAddress())
	s.until("labels are known again", func() bool {
		if s.askWith(s.bearers["eso"], "labels-shop") == http.StatusOK {
			s.t.Fatal("a namespace that lost the label while the API server was away gets the pull secret")
		}
		return s.askWith(s.bearers["eso"], "labels-other") == http.StatusOK
	})
	s.gets("labels-shop", http.StatusForbidden)
	s.say(began, "it is back, and labels are as they are by now")
}

// gets waits until ESO's client gets this status for a namespace.
func (s *stage) gets(namespace string, want int) {
	s.t.Helper()
	s.until("namespace "+namespace+" gets "+http.StatusText(want), func() bool { return s.askWith(s.bearers["eso"], namespace) == want })
}

// admits demands that the replica is ready, and says this of labels.
func (s *stage) admits(texts ...string) {
	s.t.Helper()
	status, body, err := s.replica.Ask(s.ctx, "/readyz?verbose")
	check(s.t, err)
	_, line, _ := strings.Cut(body, "[+]namespace-labels ok: ")
	line, _, _ = strings.Cut(line, "\n")
	for _, text := range texts {
		if status != http.StatusOK || line == "" || !strings.Contains(line, text) {
			s.t.Errorf("the probe answers %d and says of labels %q, nothing of %q", status, line, text)
		}
	}
}

func (s *stage) apiAddress() string { return strings.TrimPrefix(s.c.Config.Host, "https://") }

// beforeAPI puts something before the API server by which it can be taken away from a replica.
func (s *stage) beforeAPI() *product.Service {
	s.t.Helper()
	before, err := product.NewService(s.ctx)
	check(s.t, err)
	s.t.Cleanup(before.Close)
	before.Lead(s.apiAddress())
	return before
}

// through is account for a replica that has the API server behind something.
func (s *stage) through(before *product.Service, namespace, name string) *rest.Config {
	s.t.Helper()
	config := s.account(namespace, name)
	config.Host = "https://" + before.Address()
	return config
}
