package e2e

import (
	"testing"
	"time"
)

// twoTeams lets two teams bring generators of their own: each with its token,
// its namespace, and a robot that pulls what the other's does not.
const twoTeams = `
robots:
- name: prod-puller
  registry: quay
  organization: myorg
  robot: k8s_prod_puller
  permissions: {repositories: [{name: my-app}]}
- name: team-a-puller
  registry: quay
  organization: myorg
  robot: k8s_team_a
  permissions: {repositories: [{name: backend-api}]}
- name: team-b-puller
  registry: quay
  organization: myorg
  robot: k8s_team_b
  permissions: {repositories: [{name: worker-service}]}
clients:
- {name: eso, namespaceFrom: request}
- {name: team-a, namespace: prod-team-a}
- {name: team-b, namespace: prod-team-b}
`

const twoTeamsRules = `
rules:
- {clients: [eso], namespaces: ["prod-*"], names: [prod-puller]}
- {clients: [team-a], namespaces: [prod-team-a], names: [prod-puller, team-a-puller]}
- {clients: [team-b], namespaces: [prod-team-b], names: [prod-puller, team-b-puller]}
`

// Story 6: whatever no rule allows is refused, and whoever asked is told so.
func TestANamespaceThatNoRuleAllowsGetsNothingAndIsToldSo(t *testing.T) {
	s := setStage(t, twoTeams+twoTeamsRules)
	s.store()
	s.makeNamespace("dev-sandbox")
	s.shipped("externalsecret.yaml", "prod-shop", "dev-sandbox")
	denied := externalSecret("dev-sandbox", "quay-pull")
	s.told(denied, "403 Forbidden")
	s.failing(denied)
	s.holdsNone("dev-sandbox")

	// A namespace's own token is no proof of another namespace: token and URL
	// have to agree.
	s.makeNamespace("prod-team-a")
	s.trust("prod-team-a")
	s.token("prod-team-a", "team-a")
	s.shipped("webhook-generator.yaml", "pullsecrets/prod-puller?namespace=prod-team-a", "pullsecrets/team-b-puller?namespace=prod-team-b")
	s.told(externalSecret("prod-team-a", "quay-pull"), "403 Forbidden")
	s.holdsNone("prod-team-a")
}

// Story 6, later: a rule is taken back, and given again, while quaygen runs.
func TestARuleTakenBackLeavesSecretsAndRefusesRefreshes(t *testing.T) {
	s := setStage(t, "")
	s.store()
	s.makeNamespace("prod-moved")
	s.shipped("externalsecret.yaml", "prod-shop", "prod-moved")
	secret, external := s.secret("prod-moved", "quay-pull"), externalSecret("prod-moved", "quay-pull")
	history, _ := s.record()

	s.configure(`rules: [{clients: [eso], namespaces: ["prod-other"], names: [prod-puller]}]`)
	s.told(external, "403 Forbidden")
	s.failing(external)
	s.pulls(secret, "my-app")

	s.configure("")
	s.refreshed(external, time.Now())
	if problems := history.problems(); len(problems) > 0 || len(history.of("prod-moved/quay-pull")) != 1 {
		t.Errorf("the Secret was touched: %v", problems)
	}
}
