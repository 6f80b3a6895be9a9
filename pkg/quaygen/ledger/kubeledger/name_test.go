package kubeledger

import (
	"math/rand/v2"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/quaygen/quaygen/pkg/quaygen/quay"
)

func TestEveryRobotHasALeaseNameOfItsOwn(t *testing.T) {
	names := map[string]quay.Robot{}
	check := func(robot quay.Robot) {
		t.Helper()
		name := leaseName(robot)
		if problems := validation.IsDNS1123Subdomain(name); len(problems) > 0 || len(name) > 63 {
			t.Fatalf("%s: Lease name %q: %v", robot, name, problems)
		}
		if other, taken := names[name]; taken && other != robot {
			t.Fatalf("%s and %s both have the Lease %q", robot, other, name)
		}
		names[name] = robot
	}
	random := rand.New(rand.NewPCG(1, 2))
	for range 5_000 {
		owner, short := randomName(random, 120), randomName(random, 120)
		for _, parse := range []func(string) (quay.Owner, error){quay.ParseOrganization, quay.ParseUser} {
			o, err := parse(owner)
			if err != nil {
				t.Fatal(err)
			}
			robot, err := quay.NewRobot(o, short)
			if err != nil {
				t.Fatal(err)
			}
			check(robot)
		}
	}
	if len(names) < 5_000 {
		t.Errorf("only %d different robots were tried", len(names))
	}
}

// randomName returns a name that Quay takes, from an alphabet so small that many differ in their separators alone.
func randomName(random *rand.Rand, length int) string {
	var name strings.Builder
	for range 2 + random.IntN(4) {
		if name.Len() > 0 {
			name.WriteByte("._-"[random.IntN(3)])
		}
		name.WriteString(strings.Repeat(string("a0"[random.IntN(2)]), 1+random.IntN(3)))
	}
	if random.IntN(4) == 0 { // with an end that the readable part has no room for
		name.WriteString(strings.Repeat("z", length-20) + string("ab"[random.IntN(2)]))
	}
	return name.String()
}

// People look for it, and a later version has to find it.
func TestALeaseNameStaysAsItIs(t *testing.T) {
	owner, err := quay.ParseOrganization("acme.corp")
	if err != nil {
		t.Fatal(err)
	}
	robot, err := quay.NewRobot(owner, "k8s_prod-puller")
	if err != nil {
		t.Fatal(err)
	}
	if got, want := leaseName(robot), "quaygen-acme-corp-k8s-prod-puller-43b53d4b324bb36e7431"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
