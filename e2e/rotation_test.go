package e2e

import (
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// shortTimes let a whole rotation be watched; they are safe for nothing else.
const shortTimes = `rotation: {strategy: overlap, every: 20s, overlap: 9s, drain: {quiet: 4s, max: 15s}}, maxRefresh: 2s`

const shortSafety = `
sync: 500ms
safety: {settle: 3s, stepDeadline: 2s, clockAllowance: 1s, allowUnsafeTiming: true}
`

// rotating is the shipped robot with short times.
const rotating = `
robots:
- {name: prod-puller, registry: quay, organization: myorg, robot: k8s_prod_puller, ` + shortTimes + `,
   permissions: {repositories: [{name: my-app}, {name: backend-api}, {name: worker-service}]}}
` + shortSafety

// Story 4: a rotation changes every Secret at its next refresh; whoever still holds the old content pulls with it until its
// overlap is over, and not after that.
func TestARotationReachesEverySecretAndBreaksNoPull(t *testing.T) {
	s := setStage(t, rotating)
	s.store()
	s.makeNamespace("prod-rotates-1")
	s.makeNamespace("prod-rotates-2")
	keys := []string{"prod-rotates-1/quay-pull", "prod-rotates-1/quay-pull-property", "prod-rotates-2/quay-pull"}
	s.shipped("externalsecret.yaml", "prod-shop", "prod-rotates-1")
	s.shipped("externalsecret-property.yaml", "prod-shop", "prod-rotates-1")
	s.shipped("externalsecret.yaml", "prod-shop", "prod-rotates-2")
	first := map[string]*corev1.Secret{}
	for _, key := range keys {
		namespace, name, _ := strings.Cut(key, "/")
		first[key] = s.secret(namespace, name)
	}
	history, _ := s.record()
	began := time.Now()
	old := s.robot(first[keys[0]])
	// Nodes pull with what the Secrets hold now, and others with what they held in the beginning.
	stopNew := s.keepPulling("my-app", func() (out []*corev1.Secret) {
		for _, v := range history.current() {
			out = append(out, v.secret)
		}
		return out
	})
	stopOld := s.keepPulling("backend-api", func() []*corev1.Secret { return []*corev1.Secret{first[keys[0]]} })

	s.until("every Secret holds another robot", func() bool {
		for _, key := range keys {
			if versions := history.of(key); versions[len(versions)-1].robot == old {
				return false
			}
		}
		return true
	})
	pullsOld := stopOld()
	s.say(began, "every Secret has another robot than %s, with which %d pulls went well", old, pullsOld)
	s.pulls(first[keys[0]], images...)

	s.until("the old robot is gone", func() bool {
		robots, err := s.quay.Robots(s.ctx)
		check(t, err)
		return robots[0].Name == old && !robots[0].Deleted.IsZero()
	})
	s.refuses(first[keys[0]], images...)
	pullsNew := stopNew()
	s.say(began, "%s is gone and refused; %d pulls with what the Secrets held went well", old, pullsNew)
	for _, problem := range history.problems() {
		t.Error(problem)
	}
	if pullsOld == 0 || pullsNew == 0 {
		t.Error("nobody pulled")
	}
}
