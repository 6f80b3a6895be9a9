package dockerconfig

import (
	"slices"
	"strings"
)

// Scope chooses the narrowest set of keys that sends each image to the right one of several credentials.
//
// Going in, Paths name the repositories each credential is known to pull ("myorg/my-app"), none if that is not known, or
// if there are none; Wider says that they are not all. Coming out, in the same order, they are the scopes to write:
//
//   - a credential alone on its host gets the whole host;
//   - where several share a host, each gets the organizations that no other claims, "myorg". A credential that is Wider,
//     or without Paths, claims the organization in its robot's name, "myorg+robot"; a user name of another form leaves it
//     the whole host;
//   - in an organization that several claim, each gets its repositories; one that several can pull goes to the first.
//     The first that is Wider, or if none is the first without Paths, gets the organization as well, for what is left. There
//     is only one such key: whatever others could pull beyond their Paths is not sent to them.
//
// The same credential given twice counts once, with the paths of both. One left without anything is dropped.
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
			dropped[group[i]] = len(paths) == 0 && len(organizations(group[i])) > 0
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
		if i < 0 {
			merged = append(merged, e)
			continue
		}
		m := &merged[i]
		m.Wider = m.Wider || e.Wider || (len(m.Paths) == 0) != (len(e.Paths) == 0)
		m.Paths = append(m.Paths, e.Paths...)
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
	taken, rest := make(map[string]bool), remainders(group)
	for i, e := range group {
		for _, organization := range organizations(e) {
			if claimants[organization] == 1 {
				scopes[i] = append(scopes[i], organization)
				continue
			}
			claims := e.Paths
			if rest[organization] == e {
				claims = append(slices.Clone(claims), organization)
			}
			for _, path := range claims {
				if first, _, _ := strings.Cut(path, "/"); first == organization && !taken[path] {
					taken[path] = true
					scopes[i] = append(scopes[i], path)
				}
			}
		}
		slices.Sort(scopes[i])
	}
	return scopes
}

// remainders returns which entry of group gets what of an organization nobody is known to pull.
func remainders(group []*Entry) map[string]*Entry {
	rest := make(map[string]*Entry)
	for _, e := range group {
		own, claimed := e.organization()
		if first := rest[own]; claimed && (first == nil || e.Wider && !first.Wider) {
			rest[own] = e
		}
	}
	return rest
}

// organization returns the one that a robot is of, and whether e claims it by its name.
func (e Entry) organization() (name string, claimed bool) {
	name, _, isRobot := strings.Cut(e.Username, "+")
	return name, isRobot && (e.Wider || len(e.Paths) == 0)
}

// organizations returns the organizations e claims something of, sorted; none if it names none.
func organizations(e *Entry) []string {
	found := make([]string, 0, len(e.Paths)+1)
	for _, path := range e.Paths {
		organization, _, _ := strings.Cut(path, "/")
		found = append(found, organization)
	}
	if own, claimed := e.organization(); claimed {
		found = append(found, own)
	}
	slices.Sort(found)
	return slices.Compact(found)
}
