package rotation

import (
	"testing"
	"time"
)

// Each refused creation may have happened all the same, so that the plan waits most of the time: for alerts the rotation is late meanwhile.
func TestARotationThatIsDueSaysSoAlsoWhileItsCreationMayHaveHappened(t *testing.T) {
	d := newDesk(t)
	d.gen(0)
	d.list(0.1)
	due := d.memory.Plan().Next
	d.watch(100)
	d.memory.Taken(number(100))
	d.list(100.01)
	plan := d.memory.Plan()
	if len(plan.Steps) != 0 || len(plan.Waiting) == 0 {
		t.Fatalf("the creation is not waited for: %v", plan)
	}
	if due.IsZero() || !plan.Next.Equal(due) {
		t.Errorf("the rotation was due at %v, and now at %v", due, plan.Next)
	}
}

func TestASupersededGenerationSaysWhenItHasToBeGone(t *testing.T) {
	d := newDesk(t)
	d.superseded(91)
	// h was created at 90, max is 72 h; a process that starts then serves it for maxRefresh and a sync before it deletes.
	want := at(90 + 72).Add(time.Hour + d.spec.Sync)
	for _, g := range d.memory.Plan().Generations {
		switch {
		case g.State == StateDraining && !g.Deadline.Equal(want):
			t.Errorf("it has to be gone at %v, not %v", want, g.Deadline)
		case g.State != StateDraining && !g.Deadline.IsZero():
			t.Errorf("%s of %v has to be gone at %v", g.State, g.Created, g.Deadline)
		}
	}
	d.used(0, 161.9) // somebody pulls with it to the end
	d.watch(161.9)
	d.list(want.Sub(at(0)).Hours())
	if steps := d.memory.Plan().Steps; len(steps) != 1 || steps[0].Action != Delete {
		t.Errorf("at its deadline there is planned %v", steps)
	}
}
