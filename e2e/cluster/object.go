package cluster

import (
	"context"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
)

// awaitInterval is how often Await looks; a loopback read costs about 1 ms.
const awaitInterval = 100 * time.Millisecond

// Object names one object.
type Object struct {
	APIVersion, Kind string
	Namespace        string // empty for cluster-wide kinds
	Name             string
}

func (o Object) String() string {
	if o.Namespace == "" {
		return o.Kind + " " + o.Name
	}
	return o.Kind + " " + o.Namespace + "/" + o.Name
}

// Resource returns the administrator's client for a kind, in a namespace when
// the kind has them.
func (c *Cluster) Resource(apiVersion, kind, namespace string) (dynamic.ResourceInterface, error) {
	gv, err := schema.ParseGroupVersion(apiVersion)
	if err != nil {
		return nil, fmt.Errorf("looking up kind %s: %w", kind, err)
	}
	mapping, err := c.mapper.RESTMapping(gv.WithKind(kind).GroupKind(), gv.Version)
	if meta.IsNoMatchError(err) {
		// Kinds come with custom resource definitions: ask the server again.
		c.mapper.Reset()
		mapping, err = c.mapper.RESTMapping(gv.WithKind(kind).GroupKind(), gv.Version)
	}
	if err != nil {
		return nil, fmt.Errorf("looking up kind %s: %w", kind, err)
	}
	if mapping.Scope.Name() == meta.RESTScopeNameNamespace {
		return c.Client.Resource(mapping.Resource).Namespace(namespace), nil
	}
	return c.Client.Resource(mapping.Resource), nil
}

// Await returns the object as soon as holds says yes to it; holds is called
// with nil while it does not exist. When ctx ends first, the error shows the
// object's last status (never its data: that may be a credential).
func (c *Cluster) Await(ctx context.Context, o Object, holds func(*unstructured.Unstructured) bool) (*unstructured.Unstructured, error) {
	resource, err := c.Resource(o.APIVersion, o.Kind, o.Namespace)
	if err != nil {
		return nil, fmt.Errorf("waiting for %s: %w", o, err)
	}
	tick := time.NewTicker(awaitInterval)
	defer tick.Stop()
	last := "never seen"
	for {
		found, err := resource.Get(ctx, o.Name, metav1.GetOptions{})
		switch {
		case apierrors.IsNotFound(err):
			found, last = nil, "does not exist"
		case err != nil && ctx.Err() == nil:
			return nil, fmt.Errorf("waiting for %s: %w", o, err)
		case err == nil:
			last = fmt.Sprintf("resourceVersion %s, status %v", found.GetResourceVersion(), found.Object["status"])
		}
		if (err == nil || apierrors.IsNotFound(err)) && holds(found) {
			return found, nil
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("waiting for %s: %w; last: %s", o, context.Cause(ctx), last)
		case <-tick.C:
		}
	}
}

// Condition returns a test for Await: the status condition of that type is True.
func Condition(kind string) func(*unstructured.Unstructured) bool {
	return func(o *unstructured.Unstructured) bool {
		if o == nil {
			return false
		}
		conditions, _, err := unstructured.NestedSlice(o.Object, "status", "conditions")
		if err != nil {
			return false
		}
		for _, condition := range conditions {
			if fields, ok := condition.(map[string]any); ok && fields["type"] == kind {
				return fields["status"] == string(metav1.ConditionTrue)
			}
		}
		return false
	}
}
