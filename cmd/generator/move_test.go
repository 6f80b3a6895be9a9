package main

import (
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/quaygen/quaygen/pkg/quaygen/quay/quaytest"
)

// What docs/operating.md says of a robot that moves from one installation to another, step by step.
func TestARobotMovesToAnotherInstallationWithoutAMomentWithoutACredential(t *testing.T) {
	var later atomic.Int64
	old := newProcessWith(t, quaytest.Options{Now: func() time.Time { return time.Now().Add(time.Duration(later.Load())) }})
	old.start()
	old.served()
	first := alive(old.quay)
	if len(first) != 1 {
		t.Fatalf("there are %v", first)
	}
	copied := filepath.Join(old.dir, "before.yaml")
	if err := os.WriteFile(copied, []byte(old.read("generator.yaml")), 0o600); err != nil {
		t.Fatal(err)
	}

	// 1. The new installation gets the robot too, under the same name, and makes a generation of its own.
	next := old.elsewhere("instance: test", "instance: other")
	next.start()
	next.served()
	both := alive(old.quay)
	if len(both) != 2 || !slices.Contains(both, first[0]) {
		t.Fatalf("there are %v", both)
	}
	for name, p := range map[string]*process{"old": old, "new": next} {
		p.until("the "+name+" one shows that the other's is in the way", func() bool {
			_, metrics := p.admin("/metrics")
			return strings.Contains(metrics, `quaygen_robot_generations{name="puller",state="conflict"} 1`)
		})
		p.served()
	}

	// 2. Consumers move. 3. The old installation forgets it, and touches nothing.
	old.edit("- name: puller\n", "- name: rest\n")
	old.edit("robot: k8s_puller\n", "robot: k8s_rest\n")
	old.until("it looks after the other one", func() bool { return slices.ContainsFunc(alive(old.quay), isRest) })
	if got := slices.DeleteFunc(alive(old.quay), isRest); !slices.Equal(got, both) {
		t.Errorf("there are %v", got)
	}

	// 4. What the old one had of it ends, and nothing else.
	later.Store(int64(2 * time.Minute)) // its number has passed
	code, stdout, stderr := try(t, "retire", "puller", "--all", "--config", copied, "--yes")
	if code != exitOK || !strings.Contains(stdout, "deleted myorg+"+first[0]) || !strings.Contains(stdout, "1 robot deleted") {
		t.Errorf("%d\n%s%s", code, stdout, stderr)
	}
	left := alive(old.quay)
	if slices.Contains(left, first[0]) || !slices.ContainsFunc(left, isRest) || len(slices.DeleteFunc(left, isRest)) != 1 {
		t.Errorf("there are %v", alive(old.quay))
	}
	next.served()
}

func isRest(short string) bool { return strings.HasPrefix(short, "k8s_rest_g") }

// served waits until a request gets a credential.
func (p *process) served() {
	p.t.Helper()
	p.until("there is a pull secret", func() bool { status, _ := p.ask(p.token()); return status == http.StatusOK })
}

// elsewhere is a process of another installation with the same Quay, whose configuration differs in one text.
func (p *process) elsewhere(from, to string) *process {
	p.t.Helper()
	q := p.again()
	q.dir = p.t.TempDir()
	for _, name := range []string{"generator.yaml", "token", "eso", "tls.crt", "tls.key"} {
		q.write(name, p.read(name))
	}
	q.edit(from, to)
	return q
}
