package rotation_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/quaygen/quaygen/pkg/quaygen/quay"
	"github.com/quaygen/quaygen/pkg/quaygen/rotation"
)

// docs/sizing.md: in steady state an organization costs Quay three calls a sync, and three more every twentieth, however many robots
// there are; a rotation costs what it grants, and seven at the most.
func TestCallsToQuayAreWhatTheSizingGuideSays(t *testing.T) {
	for _, n := range []int{1, 20} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			play(t, func(t *testing.T, s *scene) {
				const repositories, syncs = 5, 100
				s.spec.Sync = time.Hour
				e, stop := s.fleet(n, repositories)
				defer stop()
				s.pass(2 * time.Hour)
				before := s.quay.Calls().Counts()
				s.pass(syncs * s.spec.Sync)
				steady := since(s.quay.Calls().Counts(), before)
				// An interval is a tenth shorter at most.
				for operation, most := range map[string]int{
					"robot.list": syncs, "config": syncs, "robot.permissions": syncs,
					"permission.list": syncs / 20, "prototypes.list": syncs / 20, "user.robots": syncs / 20,
				} {
					if got := steady[operation]; got < most*9/10 || got > most*10/9+2 {
						t.Errorf("%s: %d times in %d syncs", operation, got, syncs)
					}
					delete(steady, operation)
				}
				if len(steady) > 0 {
					t.Errorf("besides: %v", steady)
				}

				before = s.quay.Calls().Counts()
				first := s.await(e)
				s.rotated(e, first)
				s.pass(150 * time.Hour) // all have rotated, and the old ones are retired
				rotation := since(s.quay.Calls().Counts(), before)
				for operation, want := range map[string]int{"robot.create": n, "permission.put": n * repositories, "auth": n, "robot.delete": n} {
					if got := rotation[operation]; got != want {
						t.Errorf("%s: %d times in %d rotations, want %d", operation, got, n, want)
					}
				}
				// What is listed besides once a sync; roles are read once a sync.
				if lists := rotation["robot.list"] - rotation["robot.permissions"]; lists > 4*n {
					t.Errorf("%d lists more in %d rotations", lists, n)
				}
			})
		})
	}
}

// since returns which calls came after.
func since(now, before map[string]int) map[string]int {
	out := map[string]int{}
	for operation, n := range now {
		if n > before[operation] {
			out[operation] = n - before[operation]
		}
	}
	return out
}

// fleet runs an engine with n robots, the first of which is called puller, of r repositories each.
func (s *scene) fleet(n, r int) (*rotation.Engine, func()) {
	var grants []rotation.RepositoryGrant
	for i := range r {
		name := fmt.Sprintf("repository%d", i)
		s.quay.AddRepository("myorg", name)
		grants = append(grants, rotation.RepositoryGrant{Pattern: name, Role: quay.RoleRead})
	}
	s.spec.Permissions = rotation.Permissions{Repositories: grants}
	var all []rotation.Assignment
	for i := range n {
		spec := s.spec
		if i > 0 {
			spec.Name = fmt.Sprintf("puller%02d", i)
			base, err := quay.NewRobot(s.spec.Base.Owner(), spec.Name)
			if err != nil {
				s.t.Fatal(err)
			}
			spec.Base = base
		}
		all = append(all, rotation.Assignment{Spec: spec, Registry: "quay", Client: s.client})
	}
	e := rotation.New(rotation.Config{Holder: "test"})
	e.Apply(all)
	return e, s.run(e)
}
