package grpcapi_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"

	"github.com/quaygen/quaygen/pkg/quaygen"
	"github.com/quaygen/quaygen/pkg/quaygen/policy"
	"github.com/quaygen/quaygen/pkg/quaygen/quay/quaytest"
	providerv1 "github.com/quaygen/quaygen/proto/externalsecrets/provider/v1"
)

// A store is what ESO knows when it calls: whose store it is, and for which namespace.
type store struct {
	providerv1.SecretStoreProviderClient
	ref       *providerv1.ProviderReference
	namespace string
}

// store is that of a client, as ESO calls it for an ExternalSecret in namespace.
func (w *world) store(t testing.TB, client, namespace string) store {
	t.Helper()
	return store{providerv1.NewSecretStoreProviderClient(w.as(t, client)), cluster("quaygen"), namespace}
}

func cluster(namespace string) *providerv1.ProviderReference {
	return &providerv1.ProviderReference{ApiVersion: "quaygen.dev/v1", Kind: "Any", Name: "main", Namespace: namespace, StoreRefKind: "ClusterSecretStore"}
}

func remote(key, property string) *providerv1.ExternalSecretDataRemoteRef {
	return &providerv1.ExternalSecretDataRemoteRef{Key: key, Property: property, DecodingStrategy: "None", MetadataPolicy: "None"}
}

func (s store) get(t testing.TB, key, property string) (string, error) {
	t.Helper()
	r, err := s.GetSecret(t.Context(), &providerv1.GetSecretRequest{RemoteRef: remote(key, property), ProviderRef: s.ref, SourceNamespace: s.namespace})
	return string(r.GetValue()), err
}

func (s store) getMap(t testing.TB, key, property string) (map[string]string, error) {
	t.Helper()
	r, err := s.GetSecretMap(t.Context(), &providerv1.GetSecretMapRequest{RemoteRef: remote(key, property), ProviderRef: s.ref, SourceNamespace: s.namespace})
	return texts(r.GetSecrets()), err
}

func (s store) find(t testing.TB, find *providerv1.ExternalSecretFind) (map[string]string, error) {
	t.Helper()
	r, err := s.GetAllSecrets(t.Context(), &providerv1.GetAllSecretsRequest{ProviderRef: s.ref, Find: find, SourceNamespace: s.namespace})
	return texts(r.GetSecrets()), err
}

func (s store) exists(t testing.TB, key string) (bool, error) {
	t.Helper()
	r, err := s.SecretExists(t.Context(), &providerv1.SecretExistsRequest{ProviderRef: s.ref, RemoteRef: &providerv1.PushSecretRemoteRef{RemoteKey: key}, SourceNamespace: s.namespace})
	return r.GetExists(), err
}

func (s store) validate(t testing.TB) *providerv1.ValidateResponse {
	t.Helper()
	r, err := s.Validate(t.Context(), &providerv1.ValidateRequest{ProviderRef: s.ref, SourceNamespace: s.namespace})
	check(t, err)
	return r
}

func texts(data map[string][]byte) map[string]string {
	out := map[string]string{}
	for key, value := range data {
		out[key] = string(value)
	}
	return out
}

// login is the user and token of a Docker configuration's only entry.
func login(t testing.TB, dockerconfig string) (user, token string) {
	t.Helper()
	var parsed struct {
		Auths map[string]struct{ Username, Password string }
	}
	check(t, json.Unmarshal([]byte(dockerconfig), &parsed))
	if len(parsed.Auths) != 1 || parsed.Auths["quay.test"].Password == "" {
		t.Fatalf("%d entries, none of them for quay.test with a password", len(parsed.Auths))
	}
	return parsed.Auths["quay.test"].Username, parsed.Auths["quay.test"].Password
}

func TestESOGetsEachPropertyOfAPullSecret(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		s := w.store(t, "eso", "prod-shop")
		whole, err := s.get(t, "puller", "")
		check(t, err)
		user, token := login(t, whole)
		robot := w.quay.Robots("myorg")
		if i := slices.IndexFunc(robot, func(r quaytest.RobotState) bool { return "myorg+"+r.Short == user }); i < 0 || robot[i].Token.Reveal() != token {
			t.Errorf("it is not the credential of a robot in Quay: %s", user)
		}
		for property, want := range map[string]string{".dockerconfigjson": whole, "username": user, "password": token, "registry": "quay.test"} {
			if got, err := s.get(t, "puller", property); err != nil || got != want {
				t.Errorf("the property %s is not as in the whole: %v", property, err)
			}
			if got, err := s.getMap(t, "puller", property); err != nil || len(got) != 1 || got[property] != want {
				t.Errorf("as a map of the property %s alone: %d values, %v", property, len(got), err)
			}
		}
		legacy, err := s.get(t, "puller", ".dockercfg")
		if err != nil || !strings.HasPrefix(legacy, `{"quay.test":{`) || !strings.Contains(legacy, token) {
			t.Errorf(".dockercfg: %v", err)
		}
		got, err := s.getMap(t, "puller", "")
		if diff := cmp.Diff(map[string]string{".dockerconfigjson": whole}, got); err != nil || diff != "" {
			t.Errorf("the whole as a map: %v", err)
		}
		again, err := w.store(t, "eso", "prod-other").get(t, "puller", "")
		if err != nil || again != whole {
			t.Errorf("for another namespace it is another credential, or %v", err)
		}
	})
}

func TestWhatESOIsToldWhenItGetsNothing(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.mint(t, "both")
		namespaced := func(kind, namespace string) *providerv1.ProviderReference {
			ref := cluster(namespace)
			ref.StoreRefKind = kind
			return ref
		}
		for _, c := range []struct {
			what, client, namespace string
			ref                     *providerv1.ProviderReference
			key, property           string
			want                    codes.Code
			says                    string
		}{
			{"allowed and not configured", "eso", "prod-shop", nil, "ghost", "", codes.NotFound, `there is no pull secret "ghost"`},
			{"not configured, and by a client that may have all", "all", "prod-shop", nil, "nothing", "", codes.NotFound, `"nothing"`},
			{"configured, not allowed", "eso", "prod-shop", nil, "partner", "", codes.PermissionDenied, "may not have"},
			{"not configured, not allowed", "eso", "prod-shop", nil, "nothing", "", codes.PermissionDenied, "may not have"},
			{"the wrong namespace", "eso", "dev-shop", nil, "puller", "", codes.PermissionDenied, "may not have"},
			{"no namespace", "eso", "", nil, "puller", "", codes.InvalidArgument, "the namespace is missing"},
			{"no namespace, of a client with a fixed one", "team-a", "", nil, "puller", "", codes.PermissionDenied, "may not have"},
			{"not the client's namespace", "team-a", "team-b", nil, "puller", "", codes.PermissionDenied, "may not have"},
			{"a namespace that cannot be", "eso", "prod_shop", nil, "puller", "", codes.InvalidArgument, `"prod_shop" cannot be a namespace`},
			{"no key", "eso", "prod-shop", nil, "", "", codes.InvalidArgument, "name"},
			{"an unset variable", "eso", "prod-shop", nil, "<no value>", "", codes.InvalidArgument, "template"},
			{"a client without any rule", "stranger", "prod-shop", nil, "puller", "", codes.PermissionDenied, "may not have"},
			{"an operator", "manager", "prod-shop", nil, "puller", "", codes.PermissionDenied, "may not have"},
			{"an unknown property", "eso", "prod-shop", nil, "puller", "tokn", codes.InvalidArgument, `"tokn"; it has .dockercfg, .dockerconfigjson, password, registry, username`},
			{"one user of several", "eso", "prod-shop", nil, "both", "username", codes.InvalidArgument, "joins several robots"},
			{"a SecretStore that refers to another namespace", "eso", "prod-shop", namespaced("SecretStore", "prod-other"), "puller", "", codes.PermissionDenied, `"prod-other"`},
			{"a store of no kind that does", "eso", "prod-shop", namespaced("", "prod-other"), "puller", "", codes.PermissionDenied, `"prod-other"`},
			{"a store of an unknown kind that does", "eso", "prod-shop", namespaced("clustersecretstore", "prod-other"), "puller", "", codes.PermissionDenied, `"prod-other"`},
			{"a SecretStore in its own namespace", "eso", "prod-shop", namespaced("SecretStore", "prod-shop"), "puller", "", codes.OK, ""},
			{"a SecretStore that names none", "eso", "prod-shop", namespaced("SecretStore", ""), "puller", "", codes.OK, ""},
			{"a ClusterSecretStore that refers to another namespace", "eso", "prod-shop", cluster("prod-other"), "puller", "", codes.OK, ""},
			{"no reference at all", "eso", "prod-shop", &providerv1.ProviderReference{}, "puller", "", codes.OK, ""},
		} {
			s := w.store(t, c.client, c.namespace)
			if c.ref != nil {
				s.ref = c.ref
			}
			_, err := s.get(t, c.key, c.property)
			is(t, c.what+", GetSecret", err, c.want, c.says)
			_, err = s.getMap(t, c.key, c.property)
			is(t, c.what+", GetSecretMap", err, c.want, c.says)
			if c.property != "" {
				continue
			}
			exists, err := s.exists(t, c.key)
			want := c.want
			if want == codes.NotFound {
				want = codes.OK
			}
			is(t, c.what+", SecretExists", err, want)
			if exists != (c.want == codes.OK) {
				t.Errorf("%s: it exists: %v", c.what, exists)
			}
		}
	})
}

// On NotFound ESO may delete a Secret that pods pull with.
func TestWhatIsNotReadyIsNotNotFound(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		pass(time.Second)
		s := w.store(t, "eso", "prod-shop")
		_, err := s.get(t, "puller", "")
		is(t, "GetSecret", err, codes.Unavailable)
		_, err = s.getMap(t, "both", "")
		is(t, "GetSecretMap", err, codes.Unavailable)
		_, err = s.find(t, &providerv1.ExternalSecretFind{Name: &providerv1.FindName{Regexp: "puller"}})
		is(t, "GetAllSecrets", err, codes.Unavailable)
		if exists, err := s.exists(t, "puller"); err != nil || !exists {
			t.Errorf("SecretExists: %v, %v", exists, err)
		}
		if r := s.validate(t); r.GetValid() || r.GetError() == "" {
			t.Errorf("Validate: %v", r)
		}
	}, func(w *world) {
		w.settings.Rules = policy.Rules{{Clients: []string{"eso"}, Namespaces: []string{"*"}, Names: []string{"puller", "both"}}}
		w.quay.Inject(quaytest.Fault{Status: 503})
	})
}

func TestESOFindsWhatTheClientMayHave(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.mint(t, "both")
		named := func(pattern string) *providerv1.ExternalSecretFind {
			return &providerv1.ExternalSecretFind{Name: &providerv1.FindName{Regexp: pattern}}
		}
		tagged := func(key, value string) *providerv1.ExternalSecretFind {
			return &providerv1.ExternalSecretFind{Tags: map[string]string{"registry": "quay", key: value}}
		}
		for _, c := range []struct {
			what, client, namespace string
			find                    *providerv1.ExternalSecretFind
			want                    string // names, or a code
		}{
			{"all", "all", "any", nil, "both own partner puller"},
			{"all that there are rules for", "eso", "prod-shop", nil, "both own puller"},
			{"by name", "all", "any", named("^p"), "partner puller"},
			{"by a part of the name", "all", "any", named("ner|wn"), "own partner"},
			{"by tag", "all", "any", tagged("scope", "namespace"), "own"},
			{"by tags that all have", "all", "any", tagged("organization", "myorg"), "both own partner puller"},
			{"by path", "all", "any", &providerv1.ExternalSecretFind{Path: "pa"}, "partner"},
			{"by name and path", "all", "any", &providerv1.ExternalSecretFind{Path: "p", Name: &providerv1.FindName{Regexp: "ll"}}, "puller"},
			{"by what nothing is called", "all", "any", named("nothing"), "PermissionDenied"},
			{"by a tag's value that nothing has", "all", "any", tagged("organization", "other"), "PermissionDenied"},
			{"by what it may not have", "eso", "prod-shop", named("^partner$"), "PermissionDenied"},
			{"by a bad pattern", "all", "any", named("a(b"), "InvalidArgument"},
			{"by a pattern that is too long", "all", "any", named(strings.Repeat("a", 257)), "InvalidArgument"},
			{"by a pattern that is too large", "all", "any", named("(((a{999}){999}){999})"), "InvalidArgument"},
			{"without a rule for the namespace", "eso", "dev-shop", nil, "PermissionDenied"},
			{"without a rule at all", "stranger", "prod-shop", nil, "PermissionDenied"},
			{"for another namespace than the client's", "team-a", "team-b", nil, "PermissionDenied"},
			{"for the client's namespace", "team-a", "team-a", nil, "puller"},
			{"without a namespace", "all", "", nil, "InvalidArgument"},
			{"for a namespace that cannot be", "all", "no/namespace", nil, "InvalidArgument"},
		} {
			s := w.store(t, c.client, c.namespace)
			found, err := s.find(t, c.find)
			var names []string
			for name, value := range found {
				names = append(names, name)
				if alone, err := s.get(t, name, ""); err != nil || alone != value {
					t.Errorf("%s: %s is another one alone, or %v", c.what, name, err)
				}
			}
			slices.Sort(names)
			got := strings.Join(names, " ")
			if err != nil {
				got = codeOf(err)
			}
			if got != c.want {
				t.Errorf("%s: %s, want %s (%v)", c.what, got, c.want, err)
			}
		}
	})
}

func TestValidateSaysWhyAStoreWouldNotWork(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.mint(t, "puller")
		foreign := cluster("prod-other")
		foreign.StoreRefKind = "SecretStore"
		own := cluster("prod-shop")
		own.StoreRefKind = "SecretStore"
		for _, c := range []struct {
			what, client, namespace string
			ref                     *providerv1.ProviderReference
			valid                   bool
			why                     string
		}{
			{"a namespaced store", "eso", "prod-shop", own, true, ""},
			{"a namespaced store without rules for it", "eso", "dev-shop", nil, false, `the namespace "dev-shop"`},
			{"a namespaced store that refers elsewhere", "eso", "prod-shop", foreign, false, `"prod-other"`},
			{"a cluster store, no namespace told", "eso", "", nil, true, ""},
			{"a cluster store of a client without rules", "stranger", "", nil, false, "no rule"},
			{"a cluster store of an operator", "manager", "", nil, false, "looks after robots only"},
			{"a store of an operator", "manager", "prod-shop", nil, false, "looks after robots only"},
			{"a client with a fixed namespace, there", "team-a", "team-a", nil, true, ""},
			{"a client with a fixed namespace, elsewhere", "team-a", "team-b", nil, false, `the namespace "team-b"`},
			{"a cluster store of a client with a fixed namespace", "team-a", "", nil, true, ""},
			{"a namespace that cannot be", "eso", "NO", nil, false, `"NO" cannot be a namespace`},
		} {
			s := w.store(t, c.client, c.namespace)
			if c.ref != nil {
				s.ref = c.ref
			}
			r := s.validate(t)
			if wide := c.client == "team-a" && c.namespace == ""; wide != (len(r.GetWarnings()) > 0) {
				t.Errorf("%s: warnings %q", c.what, r.GetWarnings())
			}
			if r.GetValid() != c.valid || (r.GetError() == "") != c.valid || !strings.Contains(r.GetError(), c.why) {
				t.Errorf("%s: %v", c.what, r)
			}
		}
		if n := len(w.quay.Ever("myorg")); n != 2 {
			t.Errorf("there are %d robots, not those of puller and partner alone", n)
		}
	})
}

func TestCapabilitiesAreReadOnlyAndWritesAreRefusedWithAReason(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		s := w.store(t, "eso", "prod-shop")
		r, err := s.Capabilities(t.Context(), &providerv1.CapabilitiesRequest{ProviderRef: s.ref})
		if err != nil || r.GetCapabilities() != providerv1.SecretStoreCapabilities_READ_ONLY {
			t.Errorf("%v, %v", r, err)
		}
		_, err = s.PushSecret(t.Context(), &providerv1.PushSecretRequest{ProviderRef: s.ref, SecretData: map[string][]byte{"a": []byte("b")}})
		is(t, "PushSecret", err, codes.Unimplemented, "nothing can be pushed")
		_, err = s.DeleteSecret(t.Context(), &providerv1.DeleteSecretRequest{ProviderRef: s.ref, RemoteRef: &providerv1.PushSecretRemoteRef{RemoteKey: "puller"}})
		is(t, "DeleteSecret", err, codes.Unimplemented, "cannot be deleted")
	})
}

// A namespace's robot is made when it is asked for, by whichever call, and for that namespace alone.
func TestEachNamespaceGetsARobotOfItsOwnWhereItIsToHaveOne(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		users := map[string]bool{}
		for _, namespace := range []string{"prod-a", "prod-b"} {
			s := w.store(t, "eso", namespace)
			value, err := s.get(t, "own", "")
			check(t, err)
			user, _ := login(t, value)
			users[user] = true
			found, err := s.find(t, &providerv1.ExternalSecretFind{Path: "own"})
			if err != nil || found["own"] != value {
				t.Errorf("found, it is another credential, or %v", err)
			}
		}
		if len(users) != 2 {
			t.Errorf("two namespaces share %v", users)
		}
	})
}

// ESO works off one ExternalSecret after the other: many that are minted must not add up.
func TestFindingManyThatAreMintedTakesNoLongerThanGettingOne(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		var names []string
		for _, name := range []string{"own-a", "own-b", "own-c", "own-d", "own-e"} {
			robot := w.assignment(t, name, "app")
			robot.Spec.Scope, robot.Spec.Idle = w.robots[2].Spec.Scope, w.robots[2].Spec.Idle
			w.robots = append(w.robots, robot)
			names = append(names, name)
			w.settings.Secrets[name] = quaygen.PullSecret{Parts: []quaygen.Part{{Robot: name, Host: "quay.test", PerNamespace: true}}}
		}
		joined := quaygen.PullSecret{}
		for _, name := range names {
			joined.Parts = append(joined.Parts, w.settings.Secrets[name].Parts...)
		}
		w.settings.Secrets["joined"] = joined
		w.settings.Rules = policy.Rules{{Clients: []string{"eso"}, Namespaces: []string{"*"}, Names: append(names, "joined")}}
		w.engine.Apply(w.robots)
		w.service.Apply(w.settings)
		w.quay.Inject(quaytest.Fault{Operation: "robot.create", Delay: 6 * time.Second})
		for what, ask := range map[string]func(store) error{
			"find":         func(s store) error { _, err := s.find(t, &providerv1.ExternalSecretFind{Path: "own-"}); return err },
			"a joined one": func(s store) error { _, err := s.get(t, "joined", ""); return err },
		} {
			s := w.store(t, "eso", "prod-"+what[:1])
			start := time.Now()
			err := ask(s)
			for range 10 {
				if waited := time.Since(start); waited > 10*time.Second {
					t.Errorf("%s: the answer took %v: %v", what, waited, err)
				}
				if err == nil {
					break
				}
				is(t, what, err, codes.Unavailable)
				pass(time.Minute)
				start = time.Now()
				err = ask(s)
			}
			is(t, what+", in the end", err, codes.OK)
		}
	})
}
