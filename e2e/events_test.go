package e2e

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/quaygen/quaygen/e2e/cluster"
)

// events lists the warnings of a namespace.
func (s *stage) events(ctx context.Context, namespace string) ([]corev1.Event, error) {
	resource, err := s.c.Resource("v1", "Event", namespace)
	if err != nil {
		return nil, err
	}
	list, err := resource.List(ctx, metav1.ListOptions{FieldSelector: "type=" + corev1.EventTypeWarning})
	if err != nil {
		return nil, fmt.Errorf("listing the events of %s: %w", namespace, err)
	}
	var out []corev1.Event
	for _, o := range list.Items {
		var e corev1.Event
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(o.Object, &e); err != nil {
			return nil, err
		}
		out = append(out, e)
	}
	return out, nil
}

// told waits until an event of an object says something, which is all that its
// owner gets to see.
func (s *stage) told(o cluster.Object, says string) {
	s.t.Helper()
	s.until(fmt.Sprintf("an event of %s says %q", o, says), func() bool {
		events, err := s.events(s.ctx, o.Namespace)
		check(s.t, err)
		return slices.ContainsFunc(events, func(e corev1.Event) bool {
			return e.InvolvedObject.Kind == o.Kind && e.InvolvedObject.Name == o.Name && strings.Contains(e.Message, says)
		})
	})
}

// reportEvents logs each warning of a namespace once.
func (s *stage) reportEvents(ctx context.Context, namespace string) {
	events, err := s.events(ctx, namespace)
	if err != nil {
		s.t.Error(err)
		return
	}
	seen := map[string]int32{}
	for _, e := range events {
		seen[fmt.Sprintf("%s/%s %s: %s", e.InvolvedObject.Namespace, e.InvolvedObject.Name, e.Reason, e.Message)] += max(1, e.Count)
	}
	for _, text := range slices.Sorted(maps.Keys(seen)) {
		s.t.Logf("event (%d times) %s", seen[text], text)
	}
}
