package dockerconfig_test

import (
	"encoding/json"
	"errors"
	"maps"
	"math/rand/v2"
	"net/url"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/quaygen/quaygen/pkg/quaygen/dockerconfig"
)

// kubelet returns the keys the kubelet tries for an image name without tag, in its order (Kubernetes 1.34,
// pkg/credentialprovider): keys are cut into host labels, port and path; labels are globs, the port is compared as
// text, the path is a plain prefix. "/v1" and "/v2" in front of a path with more to it are cut off.
func kubelet(keys []string, image string) []string {
	type candidate struct{ effective, key string }
	var fitting []candidate
	imageHost, imagePath, _ := strings.Cut(image, "/")
	for _, key := range keys {
		u, err := url.Parse("https://" + strings.TrimPrefix(strings.TrimPrefix(key, "https://"), "http://"))
		if err != nil {
			continue
		}
		keyPath := u.Path
		for _, version := range []string{"/v1/", "/v2/"} {
			if strings.HasPrefix(keyPath, version) {
				keyPath = keyPath[len(version)-1:]
				break
			}
		}
		if keyPath == "/" {
			keyPath = ""
		}
		if hostFits(u.Host, imageHost) && strings.HasPrefix("/"+imagePath, keyPath) {
			fitting = append(fitting, candidate{u.Host + keyPath, key})
		}
	}
	slices.SortStableFunc(fitting, func(a, b candidate) int { return strings.Compare(b.effective, a.effective) })
	tried := make([]string, len(fitting))
	for i, c := range fitting {
		tried[i] = c.key
	}
	return tried
}

func hostFits(pattern, host string) bool {
	patternName, patternPort, _ := strings.Cut(pattern, ":")
	name, port, _ := strings.Cut(host, ":")
	labels, patterns := strings.Split(name, "."), strings.Split(patternName, ".")
	if patternPort != port || len(labels) != len(patterns) {
		return false
	}
	for i := range labels {
		if ok, err := path.Match(patterns[i], labels[i]); err != nil || !ok {
			return false
		}
	}
	return true
}

// podman returns the one key that podman and skopeo use, or "" (containers-auth.json(5)): the image name as text, then
// without its last segment, and so on down to the host. Keys with a scheme count for their host alone.
func podman(keys []string, image string) string {
	for name := image; ; {
		if slices.Contains(keys, name) {
			return name
		}
		slash := strings.LastIndexByte(name, '/')
		if slash < 0 {
			break
		}
		name = name[:slash]
	}
	registry, _, _ := strings.Cut(image, "/")
	for _, key := range keys {
		if _, rest, ok := strings.Cut(key, "://"); ok {
			if host, _, _ := strings.Cut(rest, "/"); host == registry {
				return key
			}
		}
	}
	return ""
}

// Pins what the oracles say of the forms a key could have, and with it the choice among the forms.
func TestWhatEachFormOfAKeyFits(t *testing.T) {
	for _, c := range []struct {
		key, image         string
		forKubelet, forPod bool
	}{
		{"h", "h/org/app", true, true},
		{"h", "h:443/org/app", false, false},
		{"h:443", "h:443/org/app", true, true},
		{"h:443", "h/org/app", false, false},
		{"h/org", "h/org/app", true, true},
		{"h/org", "h/org2/app", true, false}, // the trap
		{"h/org/", "h/org/app", true, false}, // its remedy, which podman does not take
		{"h/org/", "h/org2/app", false, false},
		{"h/org/app", "h/org/app", true, true},
		{"h/org/app", "h/org/app2", true, false},
		{"h/org/app", "h/org/app/sub", true, true},
		{"h/v2", "h/v2/app", true, true},
		{"h/v2/app", "h/v2/app", false, true}, // why such scopes are refused
		{"h/v2/app", "h/app", true, false},
		{"*.h", "x.h/org/app", true, false},
		{"*.h", "h/org/app", false, false},
		{"https://h/org/", "h/org2/app", false, true},
	} {
		if got := len(kubelet([]string{c.key}, c.image)) == 1; got != c.forKubelet {
			t.Errorf("%s for %s: kubelet %v", c.key, c.image, got)
		}
		if got := podman([]string{c.key}, c.image) != ""; got != c.forPod {
			t.Errorf("%s for %s: podman %v", c.key, c.image, got)
		}
	}
	both := []string{"h/org", "h/org/", "h/org2"}
	if got := kubelet(both, "h/org2/app"); !slices.Equal(got, []string{"h/org2", "h/org"}) {
		t.Errorf("a second key with a slash changes something: %v", got)
	}
}

// written returns, after Scope and Encode, which user name stands under which key.
func written(t *testing.T, entries []dockerconfig.Entry) map[string]string {
	t.Helper()
	data, err := dockerconfig.Encode(dockerconfig.Scope(entries))
	if err != nil {
		t.Fatal(err)
	}
	var document struct {
		Auths map[string]struct{ Username string }
	}
	if err := json.Unmarshal(data, &document); err != nil {
		t.Fatal(err)
	}
	users := make(map[string]string)
	for key, account := range document.Auths {
		users[key] = account.Username
	}
	return users
}

// users translates keys to the robots under them.
func robots(users map[string]string, keys ...string) string {
	var found []string
	for _, key := range keys {
		found = append(found, users[key])
	}
	return strings.Join(found, " ")
}

func keysOf(users map[string]string) []string {
	var keys []string
	for key := range users {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}

func TestScope(t *testing.T) {
	for _, c := range []struct {
		what    string
		entries []dockerconfig.Entry
		want    string
	}{
		{"alone on its host", []dockerconfig.Entry{entry("h", "org+a", "p", "org/app")}, "h"},
		{"other port, other host", []dockerconfig.Entry{entry("h", "org+a", "p"), entry("h:443", "org+b", "q")}, "h h:443"},
		{"two organizations", []dockerconfig.Entry{entry("h", "org+a", "p"), entry("h", "org2+b", "q")}, "h/org h/org2"},
		{"repositories do not matter there", []dockerconfig.Entry{entry("h", "org+a", "p", "org/x", "org/y"), entry("h", "org2+b", "q", "org2/z")}, "h/org h/org2"},
		{"one organization", []dockerconfig.Entry{entry("h", "org+a", "p", "org/x", "org/y"), entry("h", "org+b", "q", "org/z")}, "h/org/x h/org/y h/org/z"},
		{"one organization and another", []dockerconfig.Entry{entry("h", "org+a", "p", "org/x"), entry("h", "org+b", "q", "org/z"), entry("h", "org2+c", "r", "org2/x")}, "h/org/x h/org/z h/org2"},
		{"unknown repositories: what is left", []dockerconfig.Entry{entry("h", "org+a", "p"), entry("h", "org+b", "q", "org/z")}, "h/org h/org/z"},
		{"shared repository: the first", []dockerconfig.Entry{entry("h", "org+a", "p", "org/x"), entry("h", "org+b", "q", "org/x", "org/y")}, "h/org/x h/org/y"},
		{"no robot: the whole host", []dockerconfig.Entry{entry("h", "person", "p"), entry("h", "org+b", "q", "org/z")}, "h h/org"},
		{"the same twice", []dockerconfig.Entry{entry("h", "org+a", "p", "org/x"), entry("h", "org+a", "p", "org/y")}, "h"},
		{"the same twice beside another", []dockerconfig.Entry{entry("h", "org+a", "p", "org/x"), entry("h", "org+b", "q", "org/z"), entry("h", "org+a", "p", "org/y")}, "h/org/x h/org/y h/org/z"},
		{"wider than its repositories: those, and what is left", []dockerconfig.Entry{entry("h", "org+b", "q", "org/z"), wider(entry("h", "org+a", "p", "org/x"))}, "h/org h/org/x h/org/z"},
		{"wider, but asked for what another has", []dockerconfig.Entry{entry("h", "org+b", "q", "org/x"), wider(entry("h", "org+a", "p", "org/x"))}, "h/org h/org/x"},
		{"two wider ones: what is left is the first's", []dockerconfig.Entry{wider(entry("h", "org+a", "p", "org/x")), wider(entry("h", "org+b", "q", "org/z"))}, "h/org h/org/x h/org/z"},
		{"two that nothing is known of: the first", []dockerconfig.Entry{entry("h", "org+a", "p"), entry("h", "org+b", "q")}, "h/org"},
		{"wider in an organization of its own", []dockerconfig.Entry{wider(entry("h", "org+a", "p", "org/x")), entry("h", "org2+b", "q", "org2/z")}, "h/org h/org2"},
		{"the same twice, once unknown", []dockerconfig.Entry{entry("h", "org+a", "p", "org/x"), entry("h", "org+b", "q", "org/z"), entry("h", "org+a", "p")}, "h/org h/org/x h/org/z"},
		{"one that nothing is known of, and one that is wider", []dockerconfig.Entry{entry("h", "org+a", "p"), wider(entry("h", "org+b", "q", "org/z"))}, "h/org h/org/z"},
		{"both the organization as a whole", []dockerconfig.Entry{entry("h", "org+a", "p", "org"), entry("h", "org+b", "q", "org")}, "h/org"},
		{"repositories of two organizations", []dockerconfig.Entry{entry("h", "org+a", "p", "org/x", "org2/x"), entry("h", "org2+b", "q", "org2/y")}, "h/org h/org2/x h/org2/y"},
	} {
		if got := strings.Join(keysOf(written(t, c.entries)), " "); got != c.want {
			t.Errorf("%s: %s, want %s", c.what, got, c.want)
		}
	}
}

// What is left goes to the first that claims it.
func TestOneOfSeveralWiderRobotsIsAskedForWhatIsNotKnown(t *testing.T) {
	users := written(t, []dockerconfig.Entry{entry("h", "org+a", "p", "org/x"), wider(entry("h", "org+b", "q", "org/y")), wider(entry("h", "org+c", "r", "org/z")), entry("h", "org+d", "s")})
	want := map[string]string{"h/org/x": "org+a", "h/org/y": "org+b", "h/org": "org+b", "h/org/z": "org+c"}
	if !maps.Equal(users, want) {
		t.Error(users)
	}
}

func wider(e dockerconfig.Entry) dockerconfig.Entry {
	e.Wider = true
	return e
}

func TestScopeNeverWidensWhatIsLeftWithoutARepository(t *testing.T) {
	entries := []dockerconfig.Entry{entry("h", "org+a", "p", "org/x", "org/y"), entry("h", "org+b", "q", "org/x")}
	want := []dockerconfig.Entry{entry("h", "org+a", "p", "org/x", "org/y")}
	if d := diff(want, dockerconfig.Scope(entries)); d != "" {
		t.Error(d)
	}
}

func TestScopeLeavesItsArgumentAlone(t *testing.T) {
	paths := []string{"org/y", "org/x", "org/x"}
	entries := []dockerconfig.Entry{entry("h", "org+a", "p", paths...), entry("h", "org+b", "q", "org/z"), entry("h", "org+a", "p", "org/w")}
	dockerconfig.Scope(entries)
	if !slices.Equal(entries[0].Paths, []string{"org/y", "org/x", "org/x"}) || len(entries[1].Paths) != 1 {
		t.Errorf("%v", entries)
	}
	if got := dockerconfig.Scope(nil); len(got) != 0 {
		t.Error(got)
	}
}

func TestTwoUsersWhoAreNoRobotsAreRefused(t *testing.T) {
	if _, err := dockerconfig.Encode(dockerconfig.Scope([]dockerconfig.Entry{entry("h", "a", "p"), entry("h", "b", "q")})); !errors.Is(err, dockerconfig.ErrDuplicate) {
		t.Error(err)
	}
}

func TestOrgAndOrg2EachGetTheirRobot(t *testing.T) {
	users := written(t, []dockerconfig.Entry{entry("h:8443", "org+a", "p"), entry("h:8443", "org2+b", "q"), entry("h:8443", "or+c", "r")})
	keys := keysOf(users)
	for image, want := range map[string]string{"h:8443/org/app": "org+a", "h:8443/org2/app": "org2+b", "h:8443/or/app": "or+c", "h:8443/org/org2": "org+a"} {
		if got := users[podman(keys, image)]; got != want {
			t.Errorf("podman uses %q for %s", got, image)
		}
		if got := robots(users, kubelet(keys, image)[0]); got != want {
			t.Errorf("the kubelet tries %q first for %s", got, image)
		}
	}
	if got := podman(keys, "h:8443/org3/app"); got != "" {
		t.Errorf("podman uses %s for a stranger", got)
	}
}

// The one case in which the kubelet starts with a robot that will be refused. It goes on to the right one.
func TestAWiderKeyComesSecondForTheKubelet(t *testing.T) {
	users := written(t, []dockerconfig.Entry{entry("h", "org+app", "p", "org/app"), entry("h", "org+rest", "q")})
	if got := robots(users, kubelet(keysOf(users), "h/org/app2")...); got != "org+app org+rest" {
		t.Errorf("the kubelet tries %q", got)
	}
	if got := users[podman(keysOf(users), "h/org/app2")]; got != "org+rest" {
		t.Errorf("podman uses %q", got)
	}
}

// fleet draws robots of a few organizations with few, colliding names, and what each can pull.
func fleet(random *rand.Rand) []dockerconfig.Entry {
	organizations := []string{"or", "org", "org2", "org-x", "v2"}
	names := []string{"app", "app2", "app-x", "ap", "app/sub", "org", "v2"}
	var entries []dockerconfig.Entry
	for i := range 1 + random.IntN(6) {
		organization := organizations[random.IntN(len(organizations))]
		var paths []string
		for _, name := range names {
			// Below an organization called "v2" two robots could not be told apart.
			if organization != "v2" && random.IntN(2) == 0 {
				paths = append(paths, organization+"/"+name)
			}
		}
		e := entry([]string{"h", "h:443"}[random.IntN(2)], organization+"+"+string(rune('a'+i)), string(rune('p'+i)), paths...)
		e.Wider = random.IntN(3) == 0
		entries = append(entries, e)
	}
	return entries
}

// For every repository that a robot is known to pull, both kinds of client end up, at the first try, with a robot that
// can pull it; and for one that nobody is known to pull with the first that is wider, or else the first of which nothing is known.
func FuzzEachRepositoryGetsARobotThatCanPullIt(f *testing.F) {
	for seed := range uint64(200) {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, seed uint64) {
		entries := fleet(rand.New(rand.NewPCG(seed, 1)))
		users := written(t, entries)
		keys := keysOf(users)
		for _, e := range entries {
			for _, repository := range e.Paths {
				image := e.Host + "/" + repository
				able := func(user string) bool {
					return slices.ContainsFunc(entries, func(e dockerconfig.Entry) bool {
						return e.Username == user && slices.Contains(e.Paths, repository)
					})
				}
				if user := users[podman(keys, image)]; !able(user) {
					t.Errorf("podman uses %q for %s, keys %v", user, image, keys)
				}
				if tried := kubelet(keys, image); len(tried) == 0 || !able(users[tried[0]]) {
					t.Errorf("the kubelet tries %q for %s, keys %v", robots(users, tried...), image, keys)
				}
			}
			organization, _, _ := strings.Cut(e.Username, "+")
			of := func(o dockerconfig.Entry) bool {
				return o.Host == e.Host && strings.HasPrefix(o.Username, organization+"+")
			}
			first := slices.IndexFunc(entries, func(o dockerconfig.Entry) bool { return of(o) && o.Wider })
			if first < 0 {
				first = slices.IndexFunc(entries, func(o dockerconfig.Entry) bool { return of(o) && len(o.Paths) == 0 })
			}
			if first < 0 {
				continue
			}
			image := e.Host + "/" + organization + "/zzz"
			if user := users[podman(keys, image)]; user != entries[first].Username {
				t.Errorf("podman uses %q for %s, keys %v", user, image, keys)
			}
			if tried := kubelet(keys, image); len(tried) == 0 || users[tried[0]] != entries[first].Username {
				t.Errorf("the kubelet tries %q for %s, keys %v", robots(users, tried...), image, keys)
			}
		}
	})
}
