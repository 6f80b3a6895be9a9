package dockerconfig

import (
	"slices"
	"strings"
)

// Scope chooses the narrowest set of keys that sends each image to the right one of several credentials.
//
// Going in, Paths name the repositories each credential is known to pull ("myorg/my-app"), none if that is not known.
// Coming out, in the same order, they are the scopes to write:
//
//   - a credential alone on its host gets the whole host;
//   - where several share a host, each gets the organizations that no other claims, "myorg". A credential without Paths
//     claims the organization in its robot's name, "myorg+robot"; a user name of another form leaves it the whole host;
//   - in an organization that several claim, each gets its repositories; one that several can pull goes to the first.
//     A credential without Paths gets the organization as a whole, for what the others leave. Two such cannot be told
//     apart, and [Encode] will say so.
//
// The same credential given twice counts once, with the paths of both. One left without any repository is dropped.
//
// Keys have no trailing slash. podman and skopeo look a key up as text, cutting the image name back segment by segment,
// and never find "host/org/". The kubelet takes a key for a plain prefix of the image name: "host/org" fits
// "host/org2/app" as well. It tries all keys that fit, longest first, until a pull succeeds; so the key "host/org2"
// comes before "host/org", and the exact repository before everything. What remains is an image that only a wider
// key is for: with "host/org/app" and "host/org", the kubelet tries the first on "host/org/app2" too, is refused, and
// goes on. A second key with a slash would change nothing, since the one without is needed and fits all the same.
//
// Clients that know no paths (docker, and podman reading the older ".dockercfg") find none of several on one host.
func Scope(entries []Entry) []Entry {
	scoped := merge(entries)
	hosts := make(map[string][]*Entry)
	for i := range scoped {
		hosts[scoped[i].Host] = append(hosts[scoped[i].Host], &scoped[i])
	}
	dropped := make(map[*Entry]bool)
	for _, group := range hosts {
		if len(group) == 1 {
			group[0].Paths = nil
			continue
		}
		for i, paths := range share(group) {
			// An entry that claimed something and got nothing must not become one for the whole host.
			dropped[group[i]] = len(paths) == 0 && len(group[i].Paths) > 0
			group[i].Paths = paths
		}
	}
	kept := make([]Entry, 0, len(scoped))
	for i := range scoped {
		if !dropped[&scoped[i]] {
			kept = append(kept, scoped[i])
		}
	}
	return kept
}

// merge copies entries and joins those with the same credential. Not knowing the paths of one is not knowing them.
func merge(entries []Entry) []Entry {
	var merged []Entry
	for _, e := range entries {
		e.Paths = slices.Clone(e.Paths)
		i := slices.IndexFunc(merged, e.sameCredential)
		switch {
		case i < 0:
			merged = append(merged, e)
		case len(e.Paths) == 0 || len(merged[i].Paths) == 0:
			merged[i].Paths = nil
		default:
			merged[i].Paths = append(merged[i].Paths, e.Paths...)
		}
	}
	return merged
}

// share returns the scopes of each entry of group, all of which are for one host; none is the whole host.
func share(group []*Entry) [][]string {
	claimants := make(map[string]int) // organization → entries that claim something of it
	for _, e := range group {
		for _, organization := range organizations(e) {
			claimants[organization]++
		}
	}
	scopes := make([][]string, len(group))
	taken := make(map[string]bool)
	for i, e := range group {
		for _, organization := range organizations(e) {
			if claimants[organization] == 1 || len(e.Paths) == 0 {
				scopes[i] = append(scopes[i], organization)
				continue
			}
			for _, path := range e.Paths {
				if first, _, isRepository := strings.Cut(path, "/"); first != organization || taken[path] {
					continue
				} else if isRepository {
					taken[path] = true
				}
				scopes[i] = append(scopes[i], path)
			}
		}
		slices.Sort(scopes[i])
		scopes[i] = slices.Compact(scopes[i])
	}
	return scopes
}

// organizations returns the organizations e claims something of, sorted; none if it names none.
func organizations(e *Entry) []string {
	if len(e.Paths) == 0 {
		if organization, _, isRobot := strings.Cut(e.Username, "+"); isRobot {
			return []string{organization}
		}
		return nil
	}
	found := make([]string, len(e.Paths))
	for i, path := range e.Paths {
		found[i], _, _ = strings.Cut(path, "/")
	}
	slices.Sort(found)
	return slices.Compact(found)
}
