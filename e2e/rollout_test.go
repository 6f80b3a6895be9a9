package e2e

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/quaygen/quaygen/e2e/product"
)

// rolled are three robots of different kinds: with short times, so that they rotate while replicas are replaced; with a role that has
// to be read back; and the same for all time.
const rolled = `
registries:
- {name: quay, limits: {qps: 100, burst: 100}}
robots:
- {name: prod-puller, registry: quay, organization: myorg, robot: k8s_prod_puller, ` + shortTimes + `,
   permissions: {repositories: [{name: my-app}, {name: backend-api}, {name: worker-service}]}}
- {name: pusher, registry: quay, organization: myorg, robot: k8s_pusher, ` + shortTimes + `,
   permissions: {repositories: [{name: my-app, role: write}]}}
- {name: fixed, registry: quay, organization: myorg, robot: k8s_fixed, rotation: {strategy: none}, maxRefresh: 2s,
   permissions: {repositories: [{name: my-app}]}}
rules:
- {clients: [eso], namespaces: ["prod-*"], names: ["*"]}
` + shortSafety

// nextVersion is what a later version of the configuration has besides: a repository more, a robot more.
const nextVersion = `
registries:
- {name: quay, limits: {qps: 100, burst: 100}}
robots:
- {name: prod-puller, registry: quay, organization: myorg, robot: k8s_prod_puller, ` + shortTimes + `,
   permissions: {repositories: [{name: my-app}, {name: backend-api}]}}
- {name: pusher, registry: quay, organization: myorg, robot: k8s_pusher, ` + shortTimes + `,
   permissions: {repositories: [{name: my-app, role: write}, {name: backend-api}]}}
- {name: fixed, registry: quay, organization: myorg, robot: k8s_fixed, rotation: {strategy: none}, maxRefresh: 2s,
   permissions: {repositories: [{name: my-app}, {name: backend-api}]}}
- {name: another, registry: quay, organization: myorg, robot: k8s_another, ` + shortTimes + `, permissions: {repositories: [{name: my-app}]}}
rules:
- {clients: [eso], namespaces: ["prod-*"], names: ["*"]}
` + shortSafety

const (
	replicasOfRollout = 3
	perSecond         = 200 // requests over HTTPS, each with a connection of its own
	perSecondGRPC     = 60
)

// A rollout is a Deployment as it is shipped, on a stage, behind two Services.
type rollout struct {
	*stage
	began      time.Time
	http, grpc *product.Service
	deployment *product.Deployment
}

func newRollout(t *testing.T, reshape func(*product.Shape)) *rollout {
	t.Helper()
	s := emptyStage(t)
	t.Cleanup(s.look)
	s.configure(rolled)
	manifest, err := os.ReadFile(filepath.Join("..", "manifests", "base", "deployment.yaml"))
	check(t, err)
	shape, err := product.ReadShape(manifest, replicasOfRollout)
	check(t, err)
	if reshape != nil {
		reshape(&shape)
	}
	r := &rollout{stage: s}
	for _, service := range []**product.Service{&r.http, &r.grpc} {
		*service, err = product.NewService(s.ctx)
		check(t, err)
		t.Cleanup((*service).Close)
	}
	r.began = time.Now()
	r.deployment, err = product.Deploy(s.ctx, shape, r.http, r.grpc, func() *product.Generator { return s.start() })
	check(t, err)
	t.Cleanup(func() {
		if err := r.deployment.Close(); err != nil {
			t.Error(err)
		}
	})
	s.say(r.began, "%d replicas are ready: %+v", replicasOfRollout, shape)
	return r
}

// loads asks over HTTPS and gRPC, for what all versions of the configuration have.
func (r *rollout) loads() (https, grpc *load) {
	names := []string{"prod-puller", "pusher", "fixed"}
	https = r.newLoad("HTTPS, a connection each", perSecond, r.overHTTPS(r.http.Address(), names...))
	grpc = r.newLoad("gRPC, connections that stay", perSecondGRPC, r.overGRPC(r.grpc.Address(), replicasOfRollout, names...))
	return https, grpc
}

// Story 11: three replicas are replaced one after the other: with the same configuration, with another version of it, and back to the
// first. Nobody who asks meanwhile is left without an answer.
func TestARollingRestartFailsNoRequest(t *testing.T) {
	r := newRollout(t, nil)
	https, grpc := r.loads()
	check(t, r.deployment.Roll(r.ctx))
	r.say(r.began, "all are replaced")

	r.config = r.path("generator-2.yaml") // in a cluster, a ConfigMap of another name: replicas that run do not see it
	r.configure(nextVersion)
	check(t, r.deployment.Roll(r.ctx))
	r.say(r.began, "all are replaced by some with another configuration")

	r.config = r.path("generator.yaml")
	check(t, r.deployment.Roll(r.ctx))
	r.say(r.began, "all are replaced by some with the first configuration")
	check(t, r.deployment.Close())
	demandNoFailure(t, https, grpc)
	robots, err := r.quay.Robots(r.ctx)
	check(t, err)
	r.say(r.began, "%d robots were made meanwhile", len(robots))
}

// Story 11, the other way round: without the pause before SIGTERM, callers are sent to a replica that has closed its port. If this
// did not fail, the story above would prove nothing.
func TestWithoutAPauseBeforeItsEndAReplicaFailsRequests(t *testing.T) {
	r := newRollout(t, func(s *product.Shape) { s.PreStop = 0 })
	https, grpc := r.loads()
	check(t, r.deployment.Roll(r.ctx))
	check(t, r.deployment.Close())
	for _, l := range []*load{https, grpc} {
		l.stop()
		t.Log(l)
	}
	if len(https.failures) == 0 {
		t.Error("no request failed")
	}
}
