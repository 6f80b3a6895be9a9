package cluster

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/yaml"
)

// fieldManager marks what the stories own of an object.
const fieldManager = "quaygen-e2e"

const crdKind = "CustomResourceDefinition"

// Apply applies a manifest of any number of YAML documents, as
// "kubectl apply --server-side -n namespace -f" would: namespace is where
// objects go that name none. Namespaces come first, then custom resource
// definitions, for which it waits; the rest keeps its order.
func (c *Cluster) Apply(ctx context.Context, namespace string, manifest []byte) error {
	objects, err := decode(manifest)
	if err != nil {
		return fmt.Errorf("reading the manifest: %w", err)
	}
	slices.SortStableFunc(objects, func(a, b *unstructured.Unstructured) int {
		return cmp.Compare(rank(a), rank(b))
	})
	definitions, rest := split(objects)
	for _, o := range definitions {
		if err := c.applyOne(ctx, namespace, o); err != nil {
			return err
		}
	}
	for _, o := range definitions {
		if err := c.awaitUsable(ctx, o); err != nil {
			return err
		}
	}
	for _, o := range rest {
		if err := c.applyOne(ctx, namespace, o); err != nil {
			return err
		}
	}
	return nil
}

// rank orders by what must exist first.
func rank(o *unstructured.Unstructured) int {
	switch o.GetKind() {
	case "Namespace":
		return 0
	case crdKind:
		return 1
	default:
		return 2
	}
}

// split cuts sorted objects after the definitions and what precedes them.
func split(sorted []*unstructured.Unstructured) (definitions, rest []*unstructured.Unstructured) {
	n := 0
	for n < len(sorted) && rank(sorted[n]) < 2 {
		n++
	}
	return sorted[:n], sorted[n:]
}

// awaitUsable returns when o, if it is a definition, can be used.
func (c *Cluster) awaitUsable(ctx context.Context, o *unstructured.Unstructured) error {
	if o.GetKind() != crdKind {
		return nil
	}
	_, err := c.Await(ctx, object(o), func(o *unstructured.Unstructured) bool {
		return Condition("Established")(o) && c.discovered(o)
	})
	return err
}

// discovered says whether the API server already lists the kind: that happens
// separately from establishing it, and only then can it be looked up.
func (c *Cluster) discovered(definition *unstructured.Unstructured) bool {
	fields, _, _ := unstructured.NestedMap(definition.Object, "spec")
	group, _, _ := unstructured.NestedString(fields, "group")
	kind, _, _ := unstructured.NestedString(fields, "names", "kind")
	versions, _, _ := unstructured.NestedSlice(fields, "versions")
	for _, v := range versions {
		version, _ := v.(map[string]any)
		if version["served"] != true {
			continue
		}
		if _, err := c.Resource(fmt.Sprintf("%s/%s", group, version["name"]), kind, ""); err != nil {
			return false
		}
	}
	return true
}

func (c *Cluster) applyOne(ctx context.Context, namespace string, o *unstructured.Unstructured) error {
	if o.GetNamespace() != "" {
		namespace = o.GetNamespace()
	}
	resource, err := c.Resource(o.GetAPIVersion(), o.GetKind(), namespace)
	if err != nil {
		return fmt.Errorf("applying %s: %w", object(o), err)
	}
	_, err = resource.Apply(ctx, o.GetName(), o, metav1.ApplyOptions{FieldManager: fieldManager, Force: true})
	if err != nil {
		return fmt.Errorf("applying %s: %w", object(o), err)
	}
	return nil
}

func object(o *unstructured.Unstructured) Object {
	return Object{APIVersion: o.GetAPIVersion(), Kind: o.GetKind(), Namespace: o.GetNamespace(), Name: o.GetName()}
}

// decode reads documents until the end, flattens lists and skips documents
// that hold nothing but comments.
func decode(manifest []byte) ([]*unstructured.Unstructured, error) {
	documents := yaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(manifest)))
	var objects []*unstructured.Unstructured
	for {
		document, err := documents.Read()
		if errors.Is(err, io.EOF) {
			return objects, nil
		}
		if err != nil {
			return nil, err
		}
		var fields map[string]any
		if err := yaml.Unmarshal(document, &fields); err != nil {
			return nil, err
		}
		if len(fields) == 0 {
			continue
		}
		found, err := flatten(&unstructured.Unstructured{Object: fields})
		if err != nil {
			return nil, err
		}
		objects = append(objects, found...)
	}
}

func flatten(o *unstructured.Unstructured) ([]*unstructured.Unstructured, error) {
	if !o.IsList() {
		if o.GetAPIVersion() == "" || o.GetKind() == "" || o.GetName() == "" {
			return nil, errors.New("a document lacks apiVersion, kind or metadata.name")
		}
		return []*unstructured.Unstructured{o}, nil
	}
	var items []*unstructured.Unstructured
	err := o.EachListItem(func(item runtime.Object) error {
		flat, err := flatten(item.(*unstructured.Unstructured))
		items = append(items, flat...)
		return err
	})
	return items, err
}

// Delete removes what Apply made of a manifest, in the reverse order, and
// returns when all of it is gone. Finalizers have run by then, so whoever
// serves them must be at work.
func (c *Cluster) Delete(ctx context.Context, namespace string, manifest []byte) error {
	objects, err := decode(manifest)
	if err != nil {
		return fmt.Errorf("reading the manifest: %w", err)
	}
	for _, o := range slices.Backward(objects) {
		target := object(o)
		if target.Namespace == "" {
			target.Namespace = namespace
		}
		resource, err := c.Resource(target.APIVersion, target.Kind, target.Namespace)
		if err != nil {
			return fmt.Errorf("deleting %s: %w", target, err)
		}
		if err := resource.Delete(ctx, target.Name, metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
			return fmt.Errorf("deleting %s: %w", target, err)
		}
		if _, err := c.Await(ctx, target, func(o *unstructured.Unstructured) bool { return o == nil }); err != nil {
			return err
		}
	}
	return nil
}
