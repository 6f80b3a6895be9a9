package rotation

import (
	"slices"
	"testing"

	"github.com/quaygen/quaygen/pkg/quaygen/quay"
)

// Rule 19: the log names what an earlier configuration left behind, also what a robot of the same name was with another strategy.
func TestWhatNoConfiguredRobotCanBeIsAStranger(t *testing.T) {
	marked := func(short, instance, robot string, generation int64) quay.RobotInfo {
		m := marker{Instance: instance, Robot: robot, Generation: generation}
		return quay.RobotInfo{Robot: mustRobot("acme", short), Description: m.String()}
	}
	l := Listing{Robots: []quay.RobotInfo{
		marked("k8s_puller", "test", "k8s_puller", 0),
		marked("k8s_puller_g7", "test", "k8s_puller", 7),
		marked("k8s_puller_g8", "other", "k8s_puller", 8),
		marked("k8s_gone_g7", "test", "k8s_gone", 7),
		{Robot: mustRobot("acme", "by_hand"), Description: "made by hand"},
	}}
	for strategy, want := range map[Strategy][]string{
		Overlap:    {"k8s_gone_g7", "k8s_puller"},
		Regenerate: {"k8s_gone_g7", "k8s_puller_g7"},
		None:       {"k8s_gone_g7", "k8s_puller_g7"},
	} {
		var got []string
		for _, r := range strangers([]Spec{{Base: testBase, Instance: "test", Strategy: strategy}}, l) {
			got = append(got, r.Short())
		}
		if !slices.Equal(got, want) {
			t.Errorf("%v: %v", strategy, got)
		}
	}
}
