package e2e

import (
	"strings"
	"testing"
	"time"

	"github.com/quaygen/quaygen/e2e/cluster"
)

// Story 5: Quay goes down. Refreshes are answered from memory; a replica that starts meanwhile knows nothing, and says so. No Secret
// is deleted or emptied, and all heals when Quay returns.
func TestWithQuayDownNoSecretIsLostAndAllHeals(t *testing.T) {
	s := setStage(t, "")
	s.store()
	s.makeNamespace("prod-outage")
	s.shipped("externalsecret.yaml", "prod-shop", "prod-outage")
	secret, external := s.secret("prod-outage", "quay-pull"), externalSecret("prod-outage", "quay-pull")
	s.pulls(secret, images...)
	history, _ := s.record()
	began := time.Now()

	check(t, s.quay.Down(s.ctx))
	// ESO tells the time of a refresh in whole seconds.
	for range 3 {
		s.refreshed(external, time.Now())
	}
	s.say(began, "Quay is down, and refreshes are answered from memory")

	s.replica.Kill()
	fresh := s.start()
	s.service.Use(fresh)
	s.until("the new replica says what is wrong", func() bool {
		status, body, err := fresh.Ask(s.ctx, "/readyz?verbose")
		return err == nil && status == 503 && strings.Contains(body, "quay/quay/myorg")
	})
	s.told(external, "503 Service Unavailable")
	s.failing(external)
	s.say(began, "the replica was killed, and the one in its place answers 503")

	check(t, s.quay.Up(s.ctx))
	await(t, s.ctx, s.c, external, cluster.Condition("Ready"))
	s.refreshed(external, time.Now())
	s.pulls(s.secret("prod-outage", "quay-pull"), images...)
	s.say(began, "Quay is up, and all is well")
	if versions := history.of("prod-outage/quay-pull"); len(versions) != 1 {
		t.Errorf("the Secret held %d contents", len(versions))
	}
	for _, problem := range history.problems() {
		t.Error(problem)
	}
	s.robots(1)
}
