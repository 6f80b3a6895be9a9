package e2e

import (
	"testing"
	"time"
)

// images are those that the shipped configuration grants.
var images = []string{"my-app", "backend-api", "worker-service"}

// Story 1: one store for the cluster, a pull secret as a whole and by property.
func TestAStoreMakesPullSecretsThatPull(t *testing.T) {
	s := setStage(t, "")
	s.store()
	check(t, s.quay.AddRepository(s.ctx, "vault"))
	s.makeNamespace("prod-shop")
	s.shipped("externalsecret.yaml")
	s.shipped("externalsecret-property.yaml")
	for _, name := range []string{"quay-pull", "quay-pull-property"} {
		secret := s.secret("prod-shop", name)
		s.pulls(secret, images...)
		s.refuses(secret, "vault")
	}
	s.refreshed(externalSecret("prod-shop", "quay-pull"), time.Now())
	s.refreshed(externalSecret("prod-shop", "quay-pull-property"), time.Now())
	s.robots(1)
}

// robots demands that Quay ever had so many robots: asking again mints nothing.
func (s *stage) robots(want int) {
	s.t.Helper()
	robots, err := s.quay.Robots(s.ctx)
	check(s.t, err)
	if len(robots) != want {
		s.t.Errorf("Quay has had %d robots, want %d: %v", len(robots), want, robots)
	}
}

// Story 3: every namespace with the label, those added later too, and no other.
func TestAClusterExternalSecretReachesLabelledNamespacesAndThoseAddedLater(t *testing.T) {
	s := setStage(t, "")
	s.store()
	const label = "quaygen.dev/pull: prod-puller"
	for _, name := range []string{"prod-spread-1", "prod-spread-2", "prod-spread-3"} {
		s.makeNamespace(name, label)
	}
	s.makeNamespace("prod-spread-none")
	s.applied("the chart's ClusterExternalSecret", charted(t, "values.yaml", "quaygen", "ClusterExternalSecret", "quay-pull"))
	for _, name := range []string{"prod-spread-1", "prod-spread-2", "prod-spread-3"} {
		s.pulls(s.secret(name, "quay-pull"), "my-app")
	}
	s.makeNamespace("prod-spread-4", label)
	s.pulls(s.secret("prod-spread-4", "quay-pull"), "my-app")
	s.holdsNone("prod-spread-none")
	s.robots(1)
}
