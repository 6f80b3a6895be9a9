package chart

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"

	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"
)

// Object is an object of Kubernetes as a manifest has it.
type Object map[string]any

// Decode reads the documents of a manifest, without those that are empty. A key that is there twice is an error.
func Decode(manifest []byte) ([]Object, error) {
	documents := utilyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(manifest)))
	var out []Object
	for {
		document, err := documents.Read()
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return nil, fmt.Errorf("reading a document: %w", err)
		}
		var o Object
		if err := yaml.UnmarshalStrict(document, &o); err != nil {
			return nil, fmt.Errorf("parsing a document: %w", err)
		}
		if len(o) > 0 {
			out = append(out, o)
		}
	}
}

// Get returns what is at a path, or nil.
func (o Object) Get(path ...string) any {
	var at any = map[string]any(o)
	for _, key := range path {
		m, _ := at.(map[string]any)
		at = m[key]
	}
	return at
}

// Text returns the string at a path, or "".
func (o Object) Text(path ...string) string {
	s, _ := o.Get(path...).(string)
	return s
}

// Kind is the object's kind.
func (o Object) Kind() string { return o.Text("kind") }

// Name is the object's name.
func (o Object) Name() string { return o.Text("metadata", "name") }

// ID names the object among others: apiVersion, kind, namespace and name.
func (o Object) ID() string {
	return fmt.Sprintf("%s %s %s/%s", o.Text("apiVersion"), o.Kind(), o.Text("metadata", "namespace"), o.Name())
}

// Find returns the object of this kind and name, or nil.
func Find(objects []Object, kind, name string) Object {
	for _, o := range objects {
		if o.Kind() == kind && o.Name() == name {
			return o
		}
	}
	return nil
}

// Of returns the objects of a kind.
func Of(objects []Object, kind string) []Object {
	var out []Object
	for _, o := range objects {
		if o.Kind() == kind {
			out = append(out, o)
		}
	}
	return out
}
