package main

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/quaygen/quaygen/pkg/quaygen/quay/quaytest"
	"github.com/quaygen/quaygen/pkg/quaygen/rotation"
)

// Every replica reads the same configuration: what made each of them unready would end the service.
func TestAnOrganizationThatComesWithAReloadAndDoesNotExistTakesNoOtherOut(t *testing.T) {
	p := newProcess(t)
	p.start()
	p.ready()
	p.until("there is a pull secret", func() bool { status, _ := p.ask(p.token()); return status == http.StatusOK })
	p.edit("robots:\n", "robots:\n- {name: typo, registry: quay, organization: myorgg, robot: k8s_typo, permissions: {repositories: [{name: app}]}, rotation: {strategy: none}}\n")
	p.until("the probe says what is wrong, and is well", func() bool {
		status, body := p.admin("/readyz?verbose")
		if status != http.StatusOK {
			t.Fatalf("it is not ready: %s", body)
		}
		return strings.Contains(body, "[+]quay/quay/myorgg ok: not all of it can be answered: ") && strings.Contains(body, "there is no such organization")
	})
	if status, _ := p.ask(p.token()); status != http.StatusOK {
		t.Errorf("a request gets %d", status)
	}
	p.end()

	// A rollout, on the other hand, must not go on with it.
	q := p.again()
	q.start()
	q.until("it says what is wrong, and is not ready", func() bool {
		status, body := q.admin("/readyz?verbose")
		return status == http.StatusServiceUnavailable && strings.Contains(body, "[-]quay/quay/myorgg failed") && strings.Contains(body, "[+]quay/quay/myorg ok")
	})
}

func TestAnOrganizationIsInOrderWhenItsFirstListIsWorkedThroughAndAfterwardsAsLongAsItAnswers(t *testing.T) {
	wrong, at := errors.New("wrong"), time.Now()
	for _, tt := range []struct {
		health rotation.Health
		ok     bool
	}{
		{rotation.Health{Err: wrong}, false},
		{rotation.Health{Err: wrong, Serving: 793}, false}, // of 1000 that the first list has
		{rotation.Health{At: at, Awaited: 1, Serving: 999}, false},
		{rotation.Health{At: at, Err: wrong, Awaited: 1, Serving: 999}, false},
		{rotation.Health{At: at, Serving: 1000}, true},
		{rotation.Health{At: at}, true}, // there is nothing yet
		{rotation.Health{At: at, Err: wrong, Serving: 1}, true},
		{rotation.Health{At: at, Err: wrong}, false},
	} {
		if c := organizationCheck(tt.health); (c.Err == nil) != tt.ok {
			t.Errorf("%+v: %v", tt.health, c.Err)
		}
	}
}

func TestAReplicaIsReadyOnlyWhenItAnswersForWhatIsInUse(t *testing.T) {
	p := newProcess(t)
	p.edit("rotation: {every: 1h, overlap: 9s, drain: {quiet: 4s, max: 20s}}", "rotation: {strategy: regenerate, every: 1h}")
	p.edit("robots:\n", "ledger: {file: ./ledger.db}\nrobots:\n")
	p.start()
	p.ready()
	p.until("there is a pull secret", func() bool { status, _ := p.ask(p.token()); return status == http.StatusOK })
	p.end()

	q := p.again()
	q.quay.Inject(quaytest.Fault{Operation: "auth", Delay: 700 * time.Millisecond})
	q.start()
	unready := false
	q.until("it is ready", func() bool {
		status, body := q.admin("/readyz?verbose")
		unready = unready || strings.Contains(body, "robots in use that are still being read: 1")
		return status == http.StatusOK
	})
	if !unready {
		t.Error("it was ready at once")
	}
	_, metrics := q.admin("/metrics")
	if !strings.Contains(metrics, `quaygen_robot_generation{name="puller"} 0`) {
		t.Error("it is ready, and serves nothing")
	}
}
