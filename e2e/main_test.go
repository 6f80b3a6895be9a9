package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/quaygen/quaygen/e2e/cluster"
	"github.com/quaygen/quaygen/e2e/process"
	"github.com/quaygen/quaygen/e2e/product"
)

// startTimeout bounds the start of a part, a cold build included.
const startTimeout = 45 * time.Minute

// stopTimeout bounds the orderly end of ESO, which takes well under a second.
const stopTimeout = 20 * time.Second

// control is the one control plane that the stories share, each in namespaces
// of its own. It starts with the first story that asks for it.
var control struct {
	sync.Mutex
	dir     string
	cluster *cluster.Cluster
	err     error
}

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) int {
	var err error
	if control.dir, err = os.MkdirTemp("", "quaygen-e2e-"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	code := m.Run()
	if control.cluster != nil {
		control.cluster.Close()
	}
	if err := known.hunt(control.dir); err != nil {
		fmt.Fprintln(os.Stderr, "FAIL: what must never be logged:", err)
		code = 1
	}
	if code != 0 {
		fmt.Fprintln(os.Stderr, "the logs of all parts are kept in", control.dir)
		return code
	}
	if err := os.RemoveAll(control.dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// shared returns the shared control plane.
func shared(t *testing.T) *cluster.Cluster {
	t.Helper()
	control.Lock()
	defer control.Unlock()
	if control.cluster == nil && control.err == nil {
		ctx, cancel := context.WithTimeout(t.Context(), startTimeout)
		defer cancel()
		control.cluster, control.err = cluster.Start(ctx, control.dir)
	}
	if control.err != nil {
		t.Fatal(control.err)
	}
	return control.cluster
}

// built are the programs of this repository, built by the first story that
// asks for them; offClock those with a wall clock that can be set wrong, forgetful
// those that believe what they know of labels for maxSilence only.
var built, offClock, forgetful build

type build struct {
	sync.Once
	programs product.Programs
	err      error
}

func programs(t *testing.T) product.Programs {
	t.Helper()
	return built.by(t, "bin", product.Build)
}

func offClockPrograms(t *testing.T) product.Programs {
	t.Helper()
	return offClock.by(t, "bin-off-clock", product.BuildOffClock)
}

func forgetfulPrograms(t *testing.T) product.Programs {
	t.Helper()
	return forgetful.by(t, "bin-forgetful", product.BuildForgetful(maxSilence))
}

func (b *build) by(t *testing.T, dir string, with func(context.Context, string) (product.Programs, error)) product.Programs {
	t.Helper()
	b.Do(func() {
		ctx, cancel := context.WithTimeout(t.Context(), startTimeout)
		defer cancel()
		b.programs, b.err = with(ctx, filepath.Join(control.dir, dir))
	})
	check(t, b.err)
	return b.programs
}

// operator runs ESO on c, with args, until the test ends. ESO acts on the whole
// cluster, so a test that calls this cannot run in parallel with another one.
func operator(t *testing.T, c *cluster.Cluster, args ...string) *process.Process {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), startTimeout)
	defer cancel()
	eso, err := c.StartESO(ctx, args...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		// The test's own context has ended by now.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), stopTimeout)
		defer cancel()
		if err := eso.Stop(ctx); err != nil {
			t.Error(err)
		}
	})
	return eso
}
