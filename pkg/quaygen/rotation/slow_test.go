package rotation_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/quaygen/quaygen/pkg/quaygen/ledger"
	"github.com/quaygen/quaygen/pkg/quaygen/quay"
	"github.com/quaygen/quaygen/pkg/quaygen/quay/quaytest"
	"github.com/quaygen/quaygen/pkg/quaygen/rotation"
)

// paced returns a client that asks Quay as often as the default configuration lets it.
func (s *scene) paced() *quay.Client {
	s.t.Helper()
	c, err := quay.New(quay.Config{URL: "https://quay.test", TokenFile: s.tokenFile, QPS: 5, Burst: 10, Transport: s.quay.Transport()})
	if err != nil {
		s.t.Fatal(err)
	}
	return c
}

// like returns n assignments like the scene's robot, each with a name of its own and as change changes it; the first is puller.
func (s *scene) like(n int, change func(i int, spec *rotation.Spec)) []rotation.Assignment {
	s.t.Helper()
	var all []rotation.Assignment
	for i := range n {
		spec := s.spec
		if i > 0 {
			spec.Name = fmt.Sprintf("puller%03d", i)
			base, err := quay.NewRobot(spec.Base.Owner(), spec.Name)
			if err != nil {
				s.t.Fatal(err)
			}
			spec.Base = base
		}
		change(i, &spec)
		all = append(all, rotation.Assignment{Spec: spec, Registry: "quay", Client: s.client})
	}
	return all
}

// served lets time pass until every robot is served, or for so long.
func (s *scene) served(e *rotation.Engine, robots []rotation.Assignment, within time.Duration) {
	s.t.Helper()
	waiting := map[string]error{}
	for end := time.Now().Add(within); time.Now().Before(end); s.pass(10 * time.Second) {
		clear(waiting)
		for _, a := range robots {
			if _, err := e.Current(rotation.Ref{Name: a.Spec.Name}); err != nil {
				waiting[a.Spec.Name] = err
			}
		}
		if len(waiting) == 0 {
			return
		}
	}
	for _, err := range waiting {
		s.t.Fatalf("%d of %d robots are not served after %v; of one: %v", len(waiting), len(robots), within, err)
	}
}

// What takes longer than a list stays fresh is done once, and the steps follow on the next list of the same sync.
func TestLookingForManyRepositoriesDoesNotKeepTheirRobotsFromBeingMade(t *testing.T) {
	play(t, func(t *testing.T, s *scene) {
		s.client = s.paced()
		robots := s.like(40, func(i int, spec *rotation.Spec) {
			spec.Permissions = rotation.Permissions{}
			for j := range 5 {
				name := fmt.Sprintf("app-%d-%d", i, j)
				s.quay.AddRepository("myorg", name)
				spec.Permissions.Repositories = append(spec.Permissions.Repositories, rotation.RepositoryGrant{Pattern: name, Role: quay.RoleRead})
			}
		})
		e := rotation.New(rotation.Config{Holder: "test"})
		e.Apply(robots)
		defer s.run(e)()
		s.served(e, robots, 2*s.spec.Sync)
	})
}

func TestReadingManyTokensDoesNotKeepThemFromBeingServed(t *testing.T) {
	play(t, func(t *testing.T, s *scene) {
		s.ledger = ledger.NewMemory()
		s.spec.Strategy, s.spec.Every = rotation.Regenerate, 200*time.Hour
		robots := s.like(200, func(int, *rotation.Spec) {})
		first := rotation.New(rotation.Config{Holder: "first", Ledger: s.ledger})
		first.Apply(robots)
		stop := s.run(first)
		s.served(first, robots, 2*s.spec.Sync)
		stop()
		s.client = s.paced()
		for i := range robots {
			robots[i].Client = s.client
		}
		again := rotation.New(rotation.Config{Holder: "again", Ledger: s.ledger})
		again.Apply(robots)
		defer s.run(again)()
		s.served(again, robots, 2*s.spec.Sync)
	})
}

// One that hangs is waited for once in a sync, and the others are looked after all the same.
func TestALookupThatHangsKeepsNoOtherRobotFromBeingMade(t *testing.T) {
	for _, what := range []string{"a repository", "the list of repositories", "the grants of a template"} {
		t.Run(what, func(t *testing.T) {
			play(t, func(t *testing.T, s *scene) {
				hanging := quaytest.Fault{Hang: true}
				robots := s.like(8, func(i int, spec *rotation.Spec) {
					spec.Permissions = rotation.Permissions{Repositories: []rotation.RepositoryGrant{{Pattern: "app", Role: quay.RoleRead}}}
					if i%2 == 0 {
						return
					}
					switch what {
					case "a repository":
						spec.Permissions.Repositories = append(spec.Permissions.Repositories, rotation.RepositoryGrant{Pattern: "hanging", Role: quay.RoleRead})
						hanging.Operation = "repository.get"
						hanging.Match = func(r *http.Request) bool { return strings.Contains(r.URL.Path, "hanging") }
					case "the list of repositories":
						spec.Permissions.Repositories = append(spec.Permissions.Repositories, rotation.RepositoryGrant{Pattern: "*-svc", Role: quay.RoleRead})
						hanging.Operation = "repository.list"
					default:
						template, err := quay.NewRobot(spec.Base.Owner(), "template")
						if err != nil {
							t.Fatal(err)
						}
						spec.Permissions.From = template
						hanging.Operation = "robot.permissions"
						hanging.Match = func(r *http.Request) bool { return strings.Contains(r.URL.Path, "/template/") }
					}
				})
				s.quay.AddRobot("myorg", "template", "made by hand")
				s.quay.Grant("myorg", "app", "template", "read")
				s.quay.Inject(hanging)
				e := rotation.New(rotation.Config{Holder: "test"})
				e.Apply(robots)
				defer s.run(e)()
				var free []rotation.Assignment
				for i := 0; i < len(robots); i += 2 {
					free = append(free, robots[i])
				}
				s.served(e, free, 2*s.spec.Sync)
			})
		})
	}
}

// A repository that somebody was granted exists, although the list of repositories that is kept does not have it yet.
func TestAGrantOnARepositoryThatIsNewerThanTheListOfThemIsNotPruned(t *testing.T) {
	play(t, func(t *testing.T, s *scene) {
		for i := range 3000 {
			s.quay.AddRepository("myorg", fmt.Sprintf("old-%d", i))
		}
		s.spec.Sync, s.spec.Permissions.Prune = 30*time.Second, true
		e, stop := s.start()
		defer stop()
		s.await(e)
		s.pass(2 * time.Minute)
		s.quay.AddRepository("myorg", "new-svc")
		for _, r := range s.quay.Robots("myorg") {
			s.quay.Grant("myorg", "new-svc", r.Short, "read") // as another replica does
		}
		s.pass(time.Hour)
		if n := s.quay.Calls().Counts()["permission.delete"]; n > 0 {
			t.Errorf("grants were taken away %d times", n)
		}
	})
}

// hanging is a ledger that never answers.
type hanging struct{ ledger.Store }

func (hanging) Load(ctx context.Context, _ quay.Robot) (ledger.Record, ledger.Version, error) {
	<-ctx.Done()
	return ledger.Record{}, "", ctx.Err()
}

// The robots of the same organization that need none are looked after as often as otherwise.
func TestALedgerThatHangsIsWaitedForOnceInASync(t *testing.T) {
	play(t, func(t *testing.T, s *scene) {
		s.spec.Sync, s.spec.Every = time.Minute, 200*time.Hour
		robots := s.like(100, func(i int, spec *rotation.Spec) {
			if i > 0 {
				spec.Strategy = rotation.Regenerate
			}
		})
		e := rotation.New(rotation.Config{Holder: "test", Ledger: hanging{ledger.NewMemory()}})
		e.Apply(robots)
		defer s.run(e)()
		s.served(e, robots[:1], 5*time.Minute)
		before := s.quay.Calls().Counts()["robot.list"]
		s.pass(time.Hour)
		if lists := s.quay.Calls().Counts()["robot.list"] - before; lists < 45 {
			t.Errorf("%d lists in an hour", lists)
		}
	})
}

// cleared lets a repository look as one does that was deleted, and that Quay has not cleared away: it is in no list of them and
// cannot be granted, but still shown among the grants of robots.
func (s *scene) cleared(name string) {
	named := func(r *http.Request) bool { return strings.Contains(r.URL.Path, name) }
	s.quay.Inject(quaytest.Fault{Operation: "repository.list", Status: http.StatusOK, ContentType: "application/json", Body: `{"repositories":[]}`})
	s.quay.Inject(quaytest.Fault{Operation: "repository.get", Status: http.StatusNotFound, ContentType: "application/json", Body: `{"status":404,"error_type":"not_found","detail":"Not Found"}`, Match: named})
	s.quay.Inject(quaytest.Fault{Operation: "permission.put", Status: http.StatusInternalServerError, Match: named})
}

func TestARepositoryThatWasDeletedAndIsStillShownAsGrantedFitsNoPattern(t *testing.T) {
	play(t, func(t *testing.T, s *scene) {
		s.spec.Permissions.Prune = true
		s.quay.AddRepository("myorg", "old-svc")
		e, stop := s.start()
		defer stop()
		s.await(e)
		s.cleared("old-svc")
		s.pass(20 * s.spec.Sync)
		if s.quay.Calls().Counts()["permission.delete"] == 0 {
			t.Error("it is kept")
		}
	})
}

// Otherwise nothing would be rotated until Quay has cleared it away.
func TestWhatPeopleGrantedOnARepositoryThatWasDeletedKeepsNoGenerationFromBeingPublished(t *testing.T) {
	play(t, func(t *testing.T, s *scene) {
		s.quay.AddRepository("myorg", "by-hand")
		e, stop := s.start()
		defer stop()
		first := s.await(e)
		s.quay.Grant("myorg", "by-hand", first.Robot.Short(), "read")
		s.pass(time.Hour)
		s.cleared("by-hand")
		if second := s.rotated(e, first); !s.pulls(second) {
			t.Error("it does not pull")
		}
	})
}
