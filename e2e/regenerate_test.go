package e2e

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/rest"

	"github.com/quaygen/quaygen/e2e/cluster"
	"github.com/quaygen/quaygen/e2e/product"
	"github.com/quaygen/quaygen/pkg/quaygen/ledger"
	"github.com/quaygen/quaygen/pkg/quaygen/ledger/kubeledger"
	"github.com/quaygen/quaygen/pkg/quaygen/quay"
)

// regenerating is the shipped robot with another strategy, and times as short as that permits (I12). %s is where the Leases are.
const regenerating = `
registries:
- {name: quay, limits: {qps: 200, burst: 200}}
robots:
- {name: prod-puller, registry: quay, organization: myorg, robot: k8s_prod_puller,
   rotation: {strategy: regenerate, every: 30s}, maxRefresh: 2s,
   permissions: {repositories: [{name: my-app}, {name: backend-api}, {name: worker-service}]}}
ledger: {kubernetes: {namespace: %s}}
sync: 500ms
safety: {settle: 1200ms, stepDeadline: 1s, clockAllowance: 800ms, allowUnsafeTiming: true}
`

const (
	// takeover is stepDeadline + settle + clockAllowance + stepDeadline + settle.
	takeover = 5200 * time.Millisecond
	// staleWindow is for how long a replica that has not heard of a rotation yet hands out the old token: until its next
	// sync, and for three syncs if that one takes its time.
	staleWindow = 1500 * time.Millisecond
	// due is longer than until the next rotation at the latest.
	due = 33 * time.Second
)

// A ledgerCrew shares a ledger in Leases, each with the rights that are shipped.
type ledgerCrew struct {
	*crew
	robot     quay.Robot
	namespace string
	store     *kubeledger.Store // with an administrator's rights
	env       []string          // of a replica that reaches the ledger
}

// newLedgerCrew starts three replicas; those of cutOff find nobody where the API
// server should be.
func newLedgerCrew(t *testing.T, namespace string, cutOff ...int) *ledgerCrew {
	t.Helper()
	c := shared(t)
	s := emptyStage(t)
	s.c = c
	l := &ledgerCrew{namespace: namespace}
	s.makeNamespace(namespace)
	s.apply(namespace, rights(t, namespace, "ServiceAccount", "quaygen"))
	for _, kind := range []string{"Role", "RoleBinding"} {
		s.apply(namespace, rights(t, namespace, kind, "quaygen-ledger"))
	}
	owner, err := quay.ParseOrganization(product.Organization)
	check(t, err)
	l.robot, err = quay.NewRobot(owner, "k8s_prod_puller")
	check(t, err)
	l.store, err = kubeledger.Open(kubeledger.Config{API: c.Config, Namespace: namespace})
	check(t, err)

	user := s.account(namespace, "quaygen")
	s.awaitRights(user, namespace, l.robot)
	l.env = []string{s.kubeconfig("kubeconfig", user)}
	nowhere, err := product.NewService(s.ctx) // nobody behind it
	check(t, err)
	t.Cleanup(nowhere.Close)
	lost := rest.CopyConfig(user)
	lost.Host = "https://" + nowhere.Address()
	environments := [][]string{l.env, l.env, l.env}
	for _, i := range cutOff {
		environments[i] = []string{s.kubeconfig("kubeconfig-nowhere", lost)}
	}
	s.configure(fmt.Sprintf(regenerating, namespace))
	l.crew = newCrew(t, s, environments...)
	return l
}

// account returns the configuration of a ServiceAccount with a token as pods have it.
func (s *stage) account(namespace, name string) *rest.Config {
	s.t.Helper()
	token := s.tokenFor(namespace, name)
	config := rest.AnonymousClientConfig(s.c.Config)
	config.BearerToken = token
	return config
}

// awaitRights returns when the API server, which learns of rights by a watch, lets a
// user read a ledger that is empty yet.
func (s *stage) awaitRights(user *rest.Config, namespace string, robot quay.Robot) {
	s.t.Helper()
	store, err := kubeledger.Open(kubeledger.Config{API: user, Namespace: namespace})
	check(s.t, err)
	s.until("the rights take effect", func() bool {
		_, _, err := store.Load(s.ctx, robot)
		return errors.Is(err, ledger.ErrNotFound)
	})
}

// kubeconfig writes a configuration into a file, and returns the environment that names it.
func (s *stage) kubeconfig(file string, config *rest.Config) string {
	s.t.Helper()
	check(s.t, cluster.WriteKubeconfig(s.path(file), config))
	return "KUBECONFIG=" + s.path(file)
}

// record returns what the ledger holds.
func (l *ledgerCrew) record() ledger.Record {
	l.t.Helper()
	r, _, err := l.store.Load(l.ctx, l.robot)
	check(l.t, err)
	return r
}

// holder waits for a rotation to be intended, and returns the replica that does.
func (l *ledgerCrew) holder() *member {
	l.t.Helper()
	var intent ledger.Intent
	l.untilSeen(10*time.Millisecond, "a rotation is intended", func() bool {
		intent = l.record().Intent
		return !intent.IsZero()
	})
	i := slices.IndexFunc(l.members, func(m *member) bool {
		return strings.HasSuffix(intent.Holder, fmt.Sprintf("process %d", m.process.PID()))
	})
	if i < 0 {
		l.t.Fatalf("a rotation is intended by %q, which is no replica", intent.Holder)
	}
	return l.members[i]
}

// happened waits some seconds for a fault.
func (l *ledgerCrew) happened(fault int) bool {
	l.t.Helper()
	happened, err := l.quay.Happened(l.ctx, fault)
	check(l.t, err)
	return happened
}

// regenerated demands that Quay was made to regenerate so often, that as many tokens
// followed the first one, and that the ledger says the same.
func (l *ledgerCrew) regenerated(want int) {
	l.t.Helper()
	done, err := l.quay.Done(l.ctx, "robot.regenerate")
	check(l.t, err)
	if done != want || l.register.count() != want+1 {
		l.t.Errorf("Quay regenerated %d times, and made %d tokens; want %d and %d", done, l.register.count(), want, want+1)
	}
	if r := l.record(); r.Rotations != int64(want) || !r.Intent.IsZero() || r.Fingerprint != l.register.newest() {
		l.t.Errorf("the ledger knows of %d rotations, of the token %s and of the intent %q; want %d, %s and none",
			r.Rotations, r.Fingerprint, r.Intent.Reason, want, l.register.newest())
	}
}

// silent demands that between two moments no other replica than one handed out anything: those who ask wait (G9). When the old
// token ended is only known to lookInterval, so that the first answers with the fresh one may seem to come before that.
func (l *ledgerCrew) silent(one *member, fresh string, from, to time.Time) {
	l.t.Helper()
	for _, m := range l.members {
		stale := func(a answer) bool {
			return a.status == http.StatusOK && a.token != fresh && a.got.After(from) && a.got.Before(to)
		}
		if n := m.count(stale); m != one && n > 0 {
			l.t.Errorf("%s handed out something %d times while %s had its intent open", m.name, n, one.name)
		}
	}
	l.say(l.began, "for %v nobody handed out anything", to.Sub(from).Round(time.Millisecond))
}

// Story 9: three replicas with one ledger. One rotation like any other; one whose replica dies after Quay has done it; one whose
// replica is stopped between the intent and Quay, for so long that the others take over.
func TestThreeReplicasWithOneLedgerMakeQuayRegenerateOncePerRotation(t *testing.T) {
	t.Parallel()
	l := newLedgerCrew(t, "ledger-story")
	token := l.agree()
	l.say(l.began, "all serve %s", token)

	token = l.changed(token)
	l.agree()
	l.regenerated(1)
	l.say(l.began, "all serve %s", token)

	// Whoever intends a rotation looks at the token before it asks Quay. That slowed down gives the time to see who it is.
	_, err := l.quay.Inject(l.ctx, product.Fault{Operation: "robot.get", Delay: "150ms"})
	check(t, err)
	lost, err := l.quay.Inject(l.ctx, product.Fault{Operation: "robot.regenerate", Hang: true, LostAnswer: true, Times: 1})
	check(t, err)
	victim := l.holder()
	l.until("Quay is asked to regenerate", func() bool { return l.happened(lost) })
	l.kill(victim)
	check(t, l.quay.Mend(l.ctx))
	token = l.changed(token)
	l.say(l.began, "%s is killed; Quay has the token %s, and nobody has written so", victim.name, token)
	l.restart(victim)
	l.agree()
	l.regenerated(2)
	l.say(l.began, "all serve %s", token)

	// So slow that not enough of the lease is left to ask Quay: whoever is stopped meanwhile certainly has not asked. It looks twice, and
	// is stopped in its second look. When it wakes up it finds the answer, the old token, or its own time for the call over.
	_, err = l.quay.Inject(l.ctx, product.Fault{Operation: "robot.get", Delay: "450ms"})
	check(t, err)
	sleeper := l.holder()
	intended := time.Now()
	l.untilSeen(10*time.Millisecond, "it looks once more", func() bool { return time.Since(intended) > 650*time.Millisecond })
	l.pause(sleeper)
	stopped := time.Now()
	check(t, l.quay.Mend(l.ctx))
	if done, err := l.quay.Done(l.ctx, "robot.regenerate"); err != nil || done != 2 {
		t.Fatalf("%s is stopped after its intent, and Quay has regenerated %d times already (%v)", sleeper.name, done, err)
	}
	l.say(l.began, "%s is stopped after its intent", sleeper.name)
	old := token
	token = l.changed(old)
	end, _ := l.register.gone(old)
	if after := end.Sub(intended); after < takeover-lookInterval {
		t.Errorf("the others took over after %v, and must leave the holder alone for %v", after, takeover)
	}
	l.silent(sleeper, token, stopped.Add(staleWindow), end)
	l.until("it is stopped for longer than takeover", func() bool { return time.Since(stopped) > takeover })
	others := time.Now()
	l.until("another replica serves the new token", func() bool {
		return slices.ContainsFunc(l.members, func(m *member) bool {
			a, ok := m.last(others)
			return m != sleeper && ok && a.token == token
		})
	})
	l.say(l.began, "the others serve %s", token)
	l.resume(sleeper)
	l.say(l.began, "%s goes on after %v", sleeper.name, time.Since(stopped).Round(time.Millisecond))
	resumed := time.Now()
	l.agree()
	l.until("it has had its chance to take over", func() bool { return time.Since(resumed) > takeover })
	l.agree()
	l.regenerated(3)
	l.tell(promise{window: staleWindow})
}

// warned waits until replicas say that they cannot use the ledger, with what they serve.
func (l *ledgerCrew) warned(members ...*member) {
	l.t.Helper()
	after := time.Now()
	l.until("the replicas say that the ledger cannot be used", func() bool {
		for _, m := range members {
			a, ok := m.last(after)
			if !ok || !strings.Contains(strings.Join(a.warnings, "\n"), "the ledger cannot be used") {
				return false
			}
		}
		return true
	})
}

// Story 10: one replica never reaches the API server, and the others lose their rights there. What Quay shows is served on, nothing is
// rotated, and all heals when the ledger is back.
func TestWithoutTheAPIServerATokenIsServedButNotRotated(t *testing.T) {
	t.Parallel()
	l := newLedgerCrew(t, "ledger-outage", 2)
	lost := l.members[2]
	token := l.agree()
	l.warned(lost)
	l.say(l.began, "all serve %s, %s without the ledger", token, lost.name)
	token = l.changed(token)
	l.agree()
	l.regenerated(1)
	l.say(l.began, "all serve %s, %s too", token, lost.name)

	binding := rights(t, l.namespace, "RoleBinding", "quaygen-ledger")
	check(t, l.c.Delete(l.ctx, l.namespace, []byte(binding)))
	began := time.Now()
	l.warned(l.members...)
	l.say(l.began, "nobody may use the ledger any more")
	l.until("a rotation is overdue", func() bool { return time.Since(began) > due })
	l.agree()
	l.regenerated(1)
	for _, m := range l.members {
		if n := m.count(func(a answer) bool { return a.asked.After(began) && a.status != http.StatusOK }); n > 0 {
			t.Errorf("%s refused %d requests while the ledger could not be used", m.name, n)
		}
	}
	l.say(l.began, "a rotation is overdue, and all serve %s", token)

	l.apply(l.namespace, binding)
	l.kill(lost)
	lost.env = l.env
	l.restart(lost)
	token = l.changed(token)
	l.agree()
	l.regenerated(2)
	l.say(l.began, "all serve %s", token)
	l.tell(promise{window: staleWindow})
}

// count counts answers.
func (m *member) count(which func(answer) bool) (n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, a := range m.answers {
		if which(a) {
			n++
		}
	}
	return n
}
