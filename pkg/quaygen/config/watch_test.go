package config_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quaygen/quaygen/pkg/quaygen/config"
)

// installation is a configuration with all the files it names, in a directory of its own.
type installation struct {
	t   *testing.T
	dir string
}

func newInstallation(t *testing.T) *installation {
	t.Helper()
	in := &installation{t: t, dir: t.TempDir()}
	in.write("token", "not-a-real-token")
	in.write("config.yaml", content("one"))
	return in
}

// content is a valid configuration that is told from others by its instance.
func content(instance string) string {
	return `apiVersion: quaygen.dev/v1alpha1
kind: GeneratorConfig
instance: ` + instance + `
registries:
- {name: quay, url: "https://quay.io", tokenFile: ./token}
robots:
- {name: a, registry: quay, organization: myorg, robot: puller, permissions: {repositories: [{name: app}]}}
server: {http: {listen: "127.0.0.1:0"}}
`
}

func (in *installation) path(name string) string { return filepath.Join(in.dir, name) }

// write replaces a file as careful writers do, by renaming.
func (in *installation) write(name, text string) {
	in.t.Helper()
	in.inPlace(name+".new", text)
	if err := os.Rename(in.path(name+".new"), in.path(name)); err != nil {
		in.t.Fatal(err)
	}
}

func (in *installation) inPlace(name, text string) {
	in.t.Helper()
	if err := os.WriteFile(in.path(name), []byte(text), 0o600); err != nil {
		in.t.Fatal(err)
	}
}

func (in *installation) load() *config.Config {
	in.t.Helper()
	c, err := config.Load(in.path("config.yaml"))
	if err != nil {
		in.t.Fatal(err)
	}
	return c
}

// watching is a running Watch. What it calls arrives in one channel, in order.
type watching struct {
	t     *testing.T
	calls chan string
	done  chan error
}

// watch starts a Watch that ends with the test.
func watch(t *testing.T, current *config.Config) *watching {
	w := &watching{t: t, calls: make(chan string, 10), done: make(chan error, 1)}
	go func() {
		w.done <- config.Watch(t.Context(), current,
			func(c *config.Config) error { w.calls <- "apply " + c.Instance; return nil },
			func(err error) { w.calls <- "report " + err.Error() })
	}()
	return w
}

// expect waits for the next call and demands its beginning.
func (w *watching) expect(beginning string) {
	w.t.Helper()
	select {
	case got := <-w.calls:
		if !strings.HasPrefix(got, beginning) {
			w.t.Fatalf("got %q, want %q...", got, beginning)
		}
	case <-time.After(20 * time.Second):
		w.t.Fatalf("no call within 20 s, want %q...", beginning)
	}
}

func TestWatchAppliesEachValidVersionOnceAndKeepsTheOldOverABadOne(t *testing.T) {
	in := newInstallation(t)
	w := watch(t, in.load())

	in.write("config.yaml", content("two"))
	w.expect("apply two")
	in.write("config.yaml", content("Three"))
	w.expect("report " + in.path("config.yaml") + `:3:1: instance: "Three" must be`)
	in.inPlace("config.yaml", content("four"))
	w.expect("apply four")
	if err := os.Remove(in.path("config.yaml")); err != nil {
		t.Fatal(err)
	}
	w.expect("report reading the configuration: ")
	in.write("config.yaml", content("four"))
	w.expect("apply four") // again, so that whoever shows the state learns that all is well
}

func TestWatchSeesKubernetesSwapItsDataLink(t *testing.T) {
	in := newInstallation(t)
	for _, version := range []string{"one", "two"} {
		if err := os.Mkdir(in.path(".."+version), 0o700); err != nil {
			t.Fatal(err)
		}
		in.inPlace(".."+version+"/config.yaml", content(version))
	}
	link := func(target, name string) {
		t.Helper()
		if err := errors.Join(os.Symlink(target, in.path("new")), os.Rename(in.path("new"), in.path(name))); err != nil {
			t.Fatal(err)
		}
	}
	link("..one", "..data")
	link("..data/config.yaml", "config.yaml")
	w := watch(t, in.load())

	link("..two", "..data")
	w.expect("apply two")
}

func TestWatchSeesWhatChangedBetweenLoadAndWatch(t *testing.T) {
	in := newInstallation(t)
	current := in.load()
	in.write("config.yaml", content("two"))
	watch(t, current).expect("apply two")
}

func TestWatchEndsWithItsContext(t *testing.T) {
	in := newInstallation(t)
	var w *watching
	t.Run("running", func(t *testing.T) { w = watch(t, in.load()) })
	if err := <-w.done; err != nil {
		t.Error(err)
	}
}

// polling is a running Poll inside a bubble.
type polling struct {
	t       *testing.T
	calls   chan string
	refused atomic.Bool // apply does not take anything
}

func poll(t *testing.T, current *config.Config) *polling {
	p := &polling{t: t, calls: make(chan string, 10)}
	apply := func(c *config.Config) error {
		if p.refused.Load() {
			return errors.New("no room")
		}
		p.calls <- "apply " + c.Instance
		return nil
	}
	go config.Poll(t.Context(), current, apply, func(err error) { p.calls <- "report " + err.Error() })
	return p
}

// pass lets time pass and demands the beginnings of what is called meanwhile.
func (p *polling) pass(d time.Duration, want ...string) {
	p.t.Helper()
	time.Sleep(d)
	synctest.Wait()
	for _, beginning := range want {
		select {
		case got := <-p.calls:
			if !strings.HasPrefix(got, beginning) {
				p.t.Fatalf("got %q, want %q...", got, beginning)
			}
		default:
			p.t.Fatalf("no call, want %q...", beginning)
		}
	}
	if len(p.calls) > 0 {
		p.t.Fatalf("got %q as well", <-p.calls)
	}
}

func TestWithoutNotificationsTheFileIsPolled(t *testing.T) {
	in := newInstallation(t)
	current := in.load()
	synctest.Test(t, func(t *testing.T) {
		p := poll(t, current)
		p.pass(10 * time.Minute)
		in.write("config.yaml", content("two"))
		p.pass(31*time.Second, "apply two")
	})
}

func TestHalfAFileIsNotBelievedBeforeItHasBeenSeenTwice(t *testing.T) {
	in := newInstallation(t)
	current := in.load()
	synctest.Test(t, func(t *testing.T) {
		p := poll(t, current)
		p.pass(time.Second)
		in.write("config.yaml", content("half"))
		p.pass(29*time.Second + 300*time.Millisecond) // read once
		in.write("config.yaml", content("whole"))
		p.pass(time.Second, "apply whole")
	})
}

func TestARefusedFileIsTriedAgainAndComplainedOfOnce(t *testing.T) {
	in := newInstallation(t)
	current := in.load()
	synctest.Test(t, func(t *testing.T) {
		p := poll(t, current)
		if err := os.Remove(in.path("token")); err != nil {
			t.Fatal(err)
		}
		in.write("config.yaml", content("two"))
		p.pass(10*time.Minute, "report "+in.path("config.yaml")+":5:40: registries[0].tokenFile: ")
		in.write("token", "not-a-real-token")
		p.pass(31*time.Second, "apply two")

		p.refused.Store(true)
		in.write("config.yaml", content("three"))
		p.pass(10*time.Minute, "report applying the new configuration: no room")
		p.refused.Store(false)
		p.pass(31*time.Second, "apply three")
	})
}
