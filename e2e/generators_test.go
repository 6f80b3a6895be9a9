package e2e

import (
	"strings"
	"testing"
	"time"
)

// twoTeamsRotating are the two teams' robots with short times.
var twoTeamsRotating = strings.NewReplacer("registry: quay\n", "registry: quay\n  "+strings.ReplaceAll(shortTimes, ", maxRefresh", "\n  maxRefresh")+"\n").Replace(twoTeams) + twoTeamsRules + shortSafety

// Story 2: generators of two teams, of a kind for one namespace and of a kind for the cluster, ten refreshes at a time. Whatever
// a Secret ever held was its own namespace's.
func TestGeneratorsOfTwoTeamsNeverMixTheirCredentials(t *testing.T) {
	s := setStage(t, twoTeamsRotating, "--concurrent", "10")
	for _, team := range []string{"team-a", "team-b"} {
		namespace := "prod-" + team
		s.makeNamespace(namespace)
		s.trust(namespace)
		s.token(namespace, team)
		s.shipped("webhook-generator.yaml", "pullsecrets/prod-puller", "pullsecrets/"+team+"-puller", "prod-team-a", namespace)
	}
	s.shipped("clustergenerator.yaml")
	history, stop := s.record()
	own := map[string]string{
		"prod-team-a/quay-pull": "myorg+k8s_team_a_g", "prod-team-b/quay-pull": "myorg+k8s_team_b_g", "prod-team-a/quay-pull-cluster": "myorg+k8s_prod_puller_g",
	}
	s.pulls(s.secret("prod-team-a", "quay-pull"), "backend-api")
	s.pulls(s.secret("prod-team-b", "quay-pull"), "worker-service")
	s.pulls(s.secret("prod-team-a", "quay-pull-cluster"), "my-app")
	s.refuses(s.secret("prod-team-a", "quay-pull"), "worker-service")
	began := time.Now()
	s.until("every Secret was rotated", func() bool {
		for key := range own {
			versions := history.of(key)
			if len(versions) == 0 || versions[0].robot == versions[len(versions)-1].robot {
				return false
			}
		}
		return true
	})
	stop()
	for key, robot := range own {
		versions := history.of(key)
		for _, v := range versions {
			if !strings.HasPrefix(v.robot, robot) {
				t.Errorf("%s held %s", key, v.robot)
			}
		}
		s.say(began, "%s held %d credentials, each its own", key, len(versions))
	}
	for _, problem := range history.problems() {
		t.Error(problem)
	}
}
