package rotation

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quaygen/quaygen/pkg/quaygen/ledger"
	"github.com/quaygen/quaygen/pkg/quaygen/quay"
	"github.com/quaygen/quaygen/pkg/quaygen/secret"
)

// inPlaceSpec has times in whole ticks where the rules add them up: a request is on its way for one, a lease is two,
// and takeover three.
func inPlaceSpec() Spec {
	spec := modelSpec()
	spec.Strategy = Regenerate
	spec.Safety.StepDeadline, spec.Safety.Settle, spec.Safety.ClockAllowance = 20*time.Second, 40*time.Second, tick
	return spec
}

// remembering is a process that has proven the token "one" of its robot, which the ledger knows since begun.
func remembering(spec Spec, begun time.Time) *Memory {
	m := NewMemory(spec)
	seen(m, begun)
	m.Remembered(ledger.Record{Robot: spec.Base, Fingerprint: secret.New("one").Fingerprint(), Changed: begun}, "1", nil, begun)
	m.TokenRead(0, secret.New("one"))
	m.Proved(0, begun, true, "")
	return m
}

func seen(m *Memory, at time.Time) {
	mark := marker{Instance: m.spec.Instance, Robot: m.spec.Base.Short(), Timing: m.spec.timing()}
	m.Observe(Listing{At: at, Sent: at, Robots: []quay.RobotInfo{{
		Robot: m.spec.Base, Created: startOfTest, Description: mark.String(), Repositories: []string{"app"}, HasPermissions: true,
	}}}, Wanted{Grants: map[string]quay.Role{"app": quay.RoleRead}})
}

func planned(m *Memory) (out []Action) {
	for _, s := range m.Plan().Steps {
		out = append(out, s.Action)
	}
	return out
}

// Quay's database was behind: it showed the token of before a rotation that the ledger knew of already.
func TestATokenThatTheLedgerDoesNotNameAnyMoreIsProvenAnewBeforeItIsRecordedOrServed(t *testing.T) { // G6
	begun := startOfTest.Add(tick)
	m := remembering(inPlaceSpec(), begun)
	if g, _, why := m.servable(); g == nil {
		t.Fatalf("nothing is served at first: %s", why)
	}
	seen(m, begun.Add(tick))
	m.Remembered(ledger.Record{Robot: m.spec.Base, Fingerprint: secret.New("two").Fingerprint(), Changed: begun, Rotations: 1}, "2", nil, begun.Add(tick))
	m.TokenRead(0, secret.New("one"))
	if got := planned(m); !slices.Equal(got, []Action{Prove}) {
		t.Errorf("it plans %v", got)
	}
	m.Proved(0, begun.Add(tick), false, "refused")
	if got := planned(m); slices.Contains(got, Record) {
		t.Errorf("after a refused login it plans %v", got)
	}
	if g, _, _ := m.servable(); g != nil {
		t.Error("it is served")
	}
}

func TestNothingIsPlannedFromATokenThatWasReadBeforeTheLedger(t *testing.T) {
	begun := startOfTest.Add(tick)
	m := remembering(inPlaceSpec(), begun)
	seen(m, begun) // another pass within the same second, in which the robot cannot be read
	m.Remembered(ledger.Record{Robot: m.spec.Base, Fingerprint: secret.New("two").Fingerprint(), Changed: begun, Rotations: 1}, "2", nil, begun)
	if got := planned(m); len(got) > 0 {
		t.Errorf("it plans %v", got)
	}
}

func TestATokenThatCannotBeReadIsServedForATimeOnly(t *testing.T) { // rule 13
	begun := startOfTest.Add(tick)
	m := remembering(inPlaceSpec(), begun)
	for passed := tick; passed < 2*m.spec.Every; passed += tick {
		seen(m, begun.Add(passed))
		m.Remembered(ledger.Record{}, "", errNoLedger, begun.Add(passed))
		if g, validity, _ := m.servable(); g != nil && passed+validity > max(m.spec.Every, 3*m.spec.Sync) {
			t.Fatalf("%v after it was last read it is served for another %v", passed, validity)
		}
	}
}

const slowly = time.Second

// A slowLedger has something written while it is being read.
type slowLedger struct{ *ledger.Memory }

func (l slowLedger) Load(ctx context.Context, robot quay.Robot) (ledger.Record, ledger.Version, error) {
	time.Sleep(slowly)
	_, _ = l.Create(ctx, ledger.Record{Robot: robot, Fingerprint: "one", Changed: startOfTest})
	return l.Memory.Load(ctx, robot)
}

func TestWhatTheLedgerHoldsIsObservedFromWhenItsAnswerIsThere(t *testing.T) { // G1
	synctest.Test(t, func(t *testing.T) {
		o := &organization{engine: &Engine{config: Config{Ledger: slowLedger{ledger.NewMemory()}}}}
		m, began := NewMemory(inPlaceSpec()), time.Now()
		o.remembered(t.Context(), m, true)
		if m.kept.version == "" || m.kept.since.Before(began.Add(slowly)) {
			t.Errorf("%q counts as seen %v after its reading began", m.kept.version, m.kept.since.Sub(began))
		}
	})
}
