package quaygen_test

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/quaygen/quaygen/pkg/quaygen"
	"github.com/quaygen/quaygen/pkg/quaygen/policy"
	"github.com/quaygen/quaygen/pkg/quaygen/quay/quaytest"
	"github.com/quaygen/quaygen/pkg/quaygen/rotation"
)

// admitted counts how many of n requests are let in at this moment, and leave again.
func admitted(t *testing.T, s *quaygen.Service, caller policy.Caller, n int) int {
	t.Helper()
	in := 0
	for range n {
		leave, err := s.Admit(caller)
		if err == nil {
			in++
			leave()
			continue
		}
		if e := quaygen.AsError(err); e.Kind != quaygen.KindTooMany || e.RetryAfter < time.Second {
			t.Errorf("%v, again after %v", err, e.RetryAfter)
		}
	}
	return in
}

func limited(limits quaygen.Limits) *quaygen.Settings {
	return &quaygen.Settings{Limits: map[string]quaygen.Limits{"eso": limits}}
}

func TestAClientIsHeldToItsRateAndOthersAreNot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newWorld(t).service
		s.Apply(limited(quaygen.Limits{QPS: 10, Burst: 30, Concurrent: 5, Namespaces: 1}))
		for _, step := range []struct {
			pass time.Duration
			want int
		}{{0, 30}, {99 * time.Millisecond, 0}, {time.Millisecond, 1}, {time.Second, 10}, {time.Hour, 30}} {
			time.Sleep(step.pass)
			if got := admitted(t, s, eso, 100); got != step.want {
				t.Errorf("%v later %d came in, want %d", step.pass, got, step.want)
			}
		}
		if got := admitted(t, s, everything, 100); got != 100 {
			t.Errorf("of another client %d came in", got)
		}
		s.Apply(limited(quaygen.Limits{QPS: 1000, Burst: 40, Concurrent: 5, Namespaces: 1}))
		admitted(t, s, eso, 100) // they count from the next request on
		time.Sleep(time.Second)
		if got := admitted(t, s, eso, 100); got != 40 {
			t.Errorf("with new limits %d came in", got)
		}
	})
}

// ESO refreshes together what was made together.
func TestTwoThousandRefreshesInOneSecondAreNoReasonToRefuse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newWorld(t).service
		for range 10 {
			if got := admitted(t, s, eso, 2000); got != 2000 {
				t.Fatalf("%d came in", got)
			}
			time.Sleep(2 * time.Second)
		}
	})
}

func TestAClientIsHeldToSoManyRequestsAtOnce(t *testing.T) {
	s := newWorld(t).service
	s.Apply(limited(quaygen.Limits{QPS: 1e6, Burst: 1e6, Concurrent: 3, Namespaces: 1}))
	var leave []func()
	for range 3 {
		l, err := s.Admit(eso)
		if err != nil {
			t.Fatal(err)
		}
		leave = append(leave, l)
	}
	if got := admitted(t, s, eso, 5); got != 0 {
		t.Errorf("%d too many came in", got)
	}
	if got := admitted(t, s, everything, 5); got != 5 {
		t.Errorf("of another client %d came in", got)
	}
	s.Apply(limited(quaygen.Limits{QPS: 1e6, Burst: 1e6, Concurrent: 3, Namespaces: 1})) // who is inside stays counted
	leave[0]()
	l, err := s.Admit(eso)
	if err != nil {
		t.Fatal(err)
	}
	if got := admitted(t, s, eso, 5); got != 0 {
		t.Errorf("after a reload %d too many came in", got)
	}
	for _, leave := range append(leave[1:], l) {
		leave()
	}
	if got := admitted(t, s, eso, 5); got != 5 {
		t.Errorf("when all have left %d came in", got)
	}
}

// A client with serviceAccount is many callers; one of them must not keep the others out.
func TestCallersOfOneClientThatProveTheirNamespacesAreLimitedEach(t *testing.T) {
	s := newWorld(t).service
	s.Apply(&quaygen.Settings{Limits: map[string]quaygen.Limits{"ci": {QPS: .001, Burst: 2, Concurrent: 5, Namespaces: 1}}})
	for i := range 5000 { // more than are kept
		caller := policy.Caller{Name: "ci", Namespace: fmt.Sprintf("ci-%d", i), Account: "builder"}
		if got := admitted(t, s, caller, 5); got != 2 {
			t.Fatalf("for namespace %d %d came in", i, got)
		}
	}
}

// newTenants returns a world with a robot for each namespace, of which eso may have so many.
func newTenants(t *testing.T, namespaces int) *world {
	t.Helper()
	w := newWorld(t)
	w.add(t, "own", "k8s_own", "app")
	w.specs[1].Scope, w.specs[1].Idle = rotation.PerNamespace, 720*time.Hour
	w.parts["own"] = quaygen.PullSecret{Parts: []quaygen.Part{{Robot: "own", Host: "quay.test", PerNamespace: true}}}
	w.rules = policy.Rules{{Clients: []string{"eso", "ci"}, Namespaces: []string{"prod-*"}, Names: []string{"own"}}, {Clients: []string{"everything"}, Namespaces: []string{"*"}, Names: []string{"*"}}}
	limits := quaygen.DefaultLimits()
	limits.Namespaces = namespaces
	w.limits = map[string]quaygen.Limits{"eso": limits, "ci": limits}
	return w
}

func own(namespace string) quaygen.Request {
	return quaygen.Request{Name: "own", Namespace: namespace}
}

func TestNobodyExhaustsQuayByMakingUpNamespaces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTenants(t, 3)
		w.start(t)
		time.Sleep(time.Minute)
		for _, namespace := range []string{"prod-a", "prod-b", "prod-c"} {
			if _, err := w.service.Get(t.Context(), eso, own(namespace)); err != nil {
				t.Fatal(err)
			}
		}
		var group sync.WaitGroup
		for i := range 500 {
			group.Go(func() {
				if kind := w.kindOf(t, eso, own(fmt.Sprintf("prod-made-up-%d", i))); kind != quaygen.KindTooMany {
					t.Errorf("one more: %v", kind)
				}
			})
		}
		group.Wait()
		if _, err := w.service.Get(t.Context(), eso, own("prod-b")); err != nil {
			t.Errorf("one that exists: %v", err)
		}
		if _, err := w.service.Get(t.Context(), everything, own("dev-x")); err != nil {
			t.Errorf("another client: %v", err)
		}
		if n := len(w.quay.Robots("myorg")); n != 5 { // of puller, three of eso, one of everything
			t.Errorf("there are %d robots", n)
		}
	})
}

func TestManyAtOnceMakeNoMoreNamespacesThanOneAfterTheOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTenants(t, 10)
		w.start(t)
		time.Sleep(time.Minute)
		var group sync.WaitGroup
		var mu sync.Mutex
		got := map[quaygen.Kind]int{}
		for i := range 100 {
			group.Go(func() {
				_, err := w.service.Get(t.Context(), eso, own(fmt.Sprintf("prod-%d", i)))
				kind := quaygen.Kind(-1)
				if err != nil {
					kind = quaygen.AsError(err).Kind
				}
				mu.Lock()
				defer mu.Unlock()
				got[kind]++
			})
		}
		group.Wait()
		if got[-1] != 10 || got[quaygen.KindTooMany] != 90 {
			t.Errorf("%v", got)
		}
	})
}

// What a process does not remember, Quay's list tells.
func TestNamespacesAreCountedTheSameAfterARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTenants(t, 3)
		w.start(t)
		long := "prod-" + strings.Repeat("x", 58) // known to the list by its hash alone
		for _, namespace := range []string{"prod-a", "prod-b", long} {
			if _, err := w.service.Get(t.Context(), eso, own(namespace)); err != nil {
				t.Fatal(err)
			}
		}
		again := *w
		again.engine = rotation.New(rotation.Config{})
		again.service = quaygen.New(again.engine, slog.New(slog.DiscardHandler))
		again.start(t)
		time.Sleep(time.Minute)
		if kind := again.kindOf(t, eso, own("prod-d")); kind != quaygen.KindTooMany {
			t.Errorf("one more: %v", kind)
		}
		for _, namespace := range []string{long, "prod-a", "prod-b"} {
			if _, err := again.service.Get(t.Context(), eso, own(namespace)); err != nil {
				t.Errorf("one that exists: %v", err)
			}
		}
	})
}

func TestANamespaceThatIsFixedCountsItselfOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTenants(t, 1)
		w.start(t)
		time.Sleep(time.Minute)
		fixed := func(namespace, account string) policy.Caller {
			return policy.Caller{Name: "ci", Namespace: namespace, Account: account}
		}
		if _, err := w.service.Get(t.Context(), fixed("prod-a", ""), own("prod-a")); err != nil {
			t.Error(err)
		}
		if _, err := w.service.Get(t.Context(), fixed("prod-b", ""), own("prod-b")); err != nil {
			t.Errorf("a second client's own namespace: %v", err)
		}
		if kind := w.kindOf(t, fixed("prod-c", "builder"), own("prod-c")); kind != quaygen.KindTooMany {
			t.Errorf("another ServiceAccount of a client that has its share: %v", kind)
		}
	})
}

func TestOnlySoManyNamespacesWaitForTheirFirstRobot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTenants(t, 1000)
		w.start(t)
		time.Sleep(time.Minute)
		mended := w.quay.Inject(quaytest.Fault{Operation: "robot.create", Status: 503})
		var group sync.WaitGroup
		var mu sync.Mutex
		got := map[quaygen.Kind]int{}
		for i := range 300 {
			group.Go(func() {
				_, err := w.service.Get(t.Context(), eso, own(fmt.Sprintf("prod-%d", i)))
				mu.Lock()
				defer mu.Unlock()
				got[quaygen.AsError(err).Kind]++
			})
		}
		group.Wait()
		if got[quaygen.KindNotReady] != 200 || got[quaygen.KindTooMany] != 100 {
			t.Errorf("%v", got)
		}
		if _, err := w.service.Get(t.Context(), everything, quaygen.Request{Name: "puller", Namespace: "prod-a"}); err != nil {
			t.Errorf("who asks for what exists: %v", err)
		}
		mended()
		time.Sleep(10 * time.Minute)
		if _, err := w.service.Get(t.Context(), eso, own("prod-later")); err != nil {
			t.Errorf("when they have theirs: %v", err)
		}
	})
}

func TestRefusalsAreCountedByConfiguredClients(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTenants(t, 1)
		limits := quaygen.Limits{QPS: 1, Burst: 2, Concurrent: 1, Namespaces: 1}
		w.limits = map[string]quaygen.Limits{"eso": limits}
		registry := prometheus.NewRegistry()
		w.service.Measure(quaygen.NewMetrics(registry))
		w.start(t)
		time.Sleep(time.Minute)
		leave, err := w.service.Admit(eso)
		_, second := w.service.Admit(eso) // at once
		if err != nil || second == nil {
			t.Fatal(err, second)
		}
		leave()
		admitted(t, w.service, eso, 3) // of which one comes in
		if _, err := w.service.Get(t.Context(), eso, own("prod-a")); err != nil {
			t.Fatal(err)
		}
		w.kindOf(t, eso, own("prod-b"))
		w.kindOf(t, eso, own("prod-c"))
		const want = `
# HELP quaygen_limited_total Requests that were refused because of a limit of their client.
# TYPE quaygen_limited_total counter
quaygen_limited_total{client="eso",reason="concurrent"} 1
quaygen_limited_total{client="eso",reason="minting"} 0
quaygen_limited_total{client="eso",reason="namespaces"} 2
quaygen_limited_total{client="eso",reason="rate"} 2
`
		if err := testutil.GatherAndCompare(registry, strings.NewReader(want), "quaygen_limited_total"); err != nil {
			t.Error(err)
		}
		if e, ok := errors.AsType[*quaygen.Error](second); !ok || strings.Contains(e.Detail, "eso") {
			t.Errorf("%v", second)
		}
	})
}

// What is kept for a namespace holds its robot's token; nothing asks for it when the namespace is gone.
func TestAnswersForNamespacesThatAreGoneAreNotKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTenants(t, 1000)
		w.specs[1].Idle, w.specs[1].Sync = 8*time.Hour, 10*time.Minute
		w.start(t)
		time.Sleep(time.Minute)
		ask := func(what string, n int) {
			t.Helper()
			for i := range n {
				if _, err := w.service.Get(t.Context(), everything, own(fmt.Sprintf("%s-%d", what, i))); err != nil {
					t.Fatal(err)
				}
			}
		}
		ask("short-lived", 60)
		if n := quaygen.Rendered(w.service); n != 60 {
			t.Fatalf("%d answers are kept for 60 namespaces", n)
		}
		time.Sleep(w.specs[1].Overlap + 16*time.Hour) // before an overlap has passed, nobody deletes what is idle
		ask("later", 200)
		if n := quaygen.Rendered(w.service); n != 200 {
			t.Errorf("%d answers are kept for 200 namespaces that are left", n)
		}
	})
}
