package config

import (
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/quaygen/quaygen/pkg/quaygen/glob"
	"github.com/quaygen/quaygen/pkg/quaygen/policy"
	"github.com/quaygen/quaygen/pkg/quaygen/quay"
)

func (d *decoder) rule(v value) policy.Rule {
	o := v.object()
	defer o.end()
	namespaces, labels := o.get("namespaces"), o.get("namespaceLabels")
	r := policy.Rule{
		Clients:         d.names(o.require("clients", "the names of clients, or \"*\""), "client"),
		Namespaces:      d.names(namespaces, "namespace"),
		NamespaceLabels: d.labels(labels),
		Names:           d.names(o.require("names", "the names of robots and pull secrets, or \"*\""), "name"),
		Formats:         unique(o.get("formats").nonEmpty("format").items(), value.format),
	}
	if o.entries != nil && !namespaces.written() && !labels.written() {
		namespaces.fail("is missing; write names of namespaces, with * for any run of characters, or namespaceLabels: with the labels that a namespace has to have")
	}
	return r
}

// format reads the name of a format; those are the service's.
func (v value) format() string { return v.oneOf("", "dockerconfigjson", "basic", "dockercfg") }

const mostLabels = 100

var (
	// What Kubernetes takes for the key of a label, with and without a prefix, and for its value.
	labelKeyRE   = regexp.MustCompile(`\A(?:[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?/)?[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?\z`)
	labelValueRE = regexp.MustCompile(`\A(?:[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?\z`)
)

// labels reads keys and values as they are written at a namespace. Keys have dots and slashes, which paths have not, so that
// each problem is placed by its node.
func (d *decoder) labels(v value) map[string]string {
	o := v.object()
	if o.entries == nil {
		return nil
	}
	if n := len(o.keys); n == 0 || n > mostLabels {
		v.fail("has %d labels, not 1 to %d; write a label that a namespace has to have, such as team: shop", n, mostLabels)
		return nil
	}
	labels := make(map[string]string, len(o.keys))
	for _, e := range o.keys {
		key, value, path := e.key.Value, e.value, join(v.path, e.key.Value)
		at := position{e.key.Line, e.key.Column}
		switch {
		case strings.Contains(key+value.Value, "*"):
			d.failAt(at, path, "labels are compared as they are: there are no patterns here; write namespaces: for a pattern of names")
		case !labelKeyRE.MatchString(key):
			d.failAt(at, path, "is no label's key; write one such as team or example.com/team")
		case value.Kind != yaml.ScalarNode || value.Tag != "!!str" || value.Style&yaml.TaggedStyle != 0:
			d.failAt(at, path, "expected a string, found %s; labels are strings: put it in quotes", describe(value))
		case !labelValueRE.MatchString(value.Value):
			d.failAt(at, path, "%q is no label's value: up to 63 letters, digits, '.', '_' and '-', first and last a letter or digit", clip(value.Value))
		default:
			labels[key] = value.Value
		}
	}
	return labels
}

// checkExposed warns where a rule hands out more than pulling: whoever reads the Secret in the namespace can do it too.
func (d *decoder) checkExposed(c *Config) {
	type powerful struct{ name, does string }
	var all []powerful
	does := map[string]string{}
	for _, r := range c.Robots {
		for _, g := range r.Permissions.Repositories {
			if g.Role == quay.RoleWrite || g.Role == quay.RoleAdmin {
				does[r.Name] = g.Role.String() + " on " + g.Pattern
				all = append(all, powerful{name: r.Name, does: does[r.Name]})
				break
			}
		}
	}
	for _, p := range c.PullSecrets {
		if i := slices.IndexFunc(p.Robots, func(robot string) bool { return does[robot] != "" }); i >= 0 {
			all = append(all, powerful{name: p.Name, does: does[p.Robots[i]]})
		}
	}
	for i, rule := range c.Rules {
		for j, pattern := range rule.Names {
			for _, p := range all {
				if p.name != "" && glob.Match(pattern, p.name) {
					d.warn(item(item("rules", i)+".names", j), "hands out %q, which has more than pulling needs (%s): whoever reads the pull secret in a namespace has that; a robot for pulling wants role read", clip(p.name), clip(p.does))
				}
			}
		}
	}
}
