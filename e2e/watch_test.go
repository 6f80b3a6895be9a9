package e2e

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/watch"
)

// watch calls seen, one call at a time, with every object of a kind in the
// story's namespaces and then with every change to one, without a gap, until
// the story ends or stop is called. The API server keeps all versions in
// between, so nothing is too short-lived to be seen.
func (s *stage) watch(apiVersion, kind string, seen func(watch.EventType, *unstructured.Unstructured)) (stop func()) {
	s.t.Helper()
	resource, err := s.c.Resource(apiVersion, kind, metav1.NamespaceAll)
	check(s.t, err)
	list, err := resource.List(s.ctx, metav1.ListOptions{})
	check(s.t, err)
	ctx, cancel := context.WithCancel(s.ctx)
	changes, err := resource.Watch(ctx, metav1.ListOptions{ResourceVersion: list.GetResourceVersion()})
	check(s.t, err)
	for _, o := range list.Items {
		if s.namespaces[o.GetNamespace()] {
			seen(watch.Added, &o)
		}
	}
	var running sync.WaitGroup
	running.Go(func() {
		defer changes.Stop()
		for change := range changes.ResultChan() {
			if ctx.Err() != nil {
				return // the end of the watch comes as an error too
			}
			o, ok := change.Object.(*unstructured.Unstructured)
			if !ok || change.Type == watch.Error {
				s.t.Errorf("watching each %s: %v", kind, change.Object)
				return
			}
			if s.namespaces[o.GetNamespace()] {
				seen(change.Type, o)
			}
		}
		if ctx.Err() == nil {
			s.t.Errorf("watching each %s: the API server ended it", kind)
		}
	})
	stop = sync.OnceFunc(func() {
		cancel()
		running.Wait()
	})
	s.t.Cleanup(stop)
	return stop
}

// history is all that the pull secrets of a story ever held.
type history struct {
	mu       sync.Mutex // guards what follows
	versions map[string][]version
	faults   []string
}

// version is one content of one pull secret.
type version struct {
	at     time.Time
	robot  string
	secret *corev1.Secret
}

// record starts the history of the story's pull secrets. Namespaces made later
// are not in it.
func (s *stage) record() (h *history, stop func()) {
	s.t.Helper()
	h = &history{versions: map[string][]version{}}
	stop = s.watch("v1", "Secret", func(change watch.EventType, o *unstructured.Unstructured) {
		if o.GetName() == "quaygen-client" {
			return
		}
		h.add(s, change, o)
	})
	return h, stop
}

func (h *history) add(s *stage, change watch.EventType, o *unstructured.Unstructured) {
	key := o.GetNamespace() + "/" + o.GetName()
	secret, err := asSecret(o)
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case change == watch.Deleted:
		h.faults = append(h.faults, key+" was deleted")
		return
	case err != nil:
		h.faults = append(h.faults, fmt.Sprintf("%s: %v", key, err))
		return
	}
	// ESO touches a Secret's metadata too.
	if all := h.versions[key]; len(all) == 0 || !bytes.Equal(all[len(all)-1].secret.Data[corev1.DockerConfigJsonKey], secret.Data[corev1.DockerConfigJsonKey]) {
		h.versions[key] = append(all, version{time.Now(), s.robot(secret), secret})
	}
}

// of returns all versions of one pull secret, oldest first.
func (h *history) of(key string) []version {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.versions[key])
}

// current returns what every pull secret holds now.
func (h *history) current() []version {
	h.mu.Lock()
	defer h.mu.Unlock()
	var out []version
	for _, all := range h.versions {
		out = append(out, all[len(all)-1])
	}
	return out
}

// problems returns what must never happen to a pull secret.
func (h *history) problems() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.faults)
}

// keepPulling pulls with whatever contents returns, again and again, until stop
// is called, which returns how many pulls there were. A pull that fails fails
// the story.
func (s *stage) keepPulling(repository string, contents func() []*corev1.Secret) (stop func() int) {
	ctx, cancel := context.WithCancel(s.ctx)
	var running sync.WaitGroup
	pulls := 0
	running.Go(func() {
		tick := time.NewTicker(lookInterval)
		defer tick.Stop()
		for {
			for _, secret := range contents() {
				if err := s.pull(secret, repository); err != nil {
					s.t.Errorf("at %s: %s/%s as %s: %v", time.Now().Format(time.TimeOnly), secret.Namespace, secret.Name, s.robot(secret), err)
				}
				pulls++
			}
			select {
			case <-tick.C:
			case <-ctx.Done():
				return
			}
		}
	})
	stop = func() int {
		cancel()
		running.Wait()
		return pulls
	}
	s.t.Cleanup(func() { stop() })
	return stop
}
