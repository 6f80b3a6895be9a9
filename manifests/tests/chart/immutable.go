package chart

import (
	"fmt"
	"reflect"
	"strings"
)

// immutable are the fields, by kind, that the API server lets nobody change: an upgrade that tries fails half way.
var immutable = map[string][]string{
	"Deployment":            {"spec.selector"},
	"Service":               {"spec.clusterIP"},
	"RoleBinding":           {"roleRef"},
	"ClusterRoleBinding":    {"roleRef"},
	"PersistentVolumeClaim": {"spec.accessModes", "spec.storageClassName", "spec.volumeName", "spec.volumeMode"},
	"ConfigMap":             {"immutable"},
	"Secret":                {"type", "immutable"},
}

// Immutable returns what an upgrade from one set of objects to another would change and cannot.
func Immutable(from, to []Object) []string {
	now := map[string]Object{}
	for _, o := range to {
		now[o.ID()] = o
	}
	var out []string
	for _, before := range from {
		after, stays := now[before.ID()]
		if !stays {
			continue // deleted, which is allowed
		}
		for _, field := range immutable[before.Kind()] {
			path := strings.Split(field, ".")
			if was, is := before.Get(path...), after.Get(path...); !reflect.DeepEqual(was, is) {
				out = append(out, fmt.Sprintf("%s: %s changes from %v to %v", before.ID(), field, was, is))
			}
		}
	}
	return out
}
