package grpcapi_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"

	generatorv1 "github.com/quaygen/quaygen/proto/externalsecrets/generator/v1"
)

func generatorRef(name, namespace string) *generatorv1.GeneratorRef {
	return &generatorv1.GeneratorRef{ApiVersion: "quaygen.dev/v1", Kind: "Any", Name: name, Namespace: namespace}
}

func TestAGeneratorReturnsThePullSecretAndAStateWithoutTokens(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.mint(t, "both")
		g := generatorv1.NewGeneratorProviderClient(w.as(t, "eso"))
		for name, parts := range map[string]int{"puller": 1, "both": 2} {
			r, err := g.Generate(t.Context(), &generatorv1.GenerateRequest{GeneratorRef: generatorRef(name, "prod-shop"), SourceNamespace: "prod-shop"})
			check(t, err)
			want, err := w.store(t, "eso", "prod-shop").getMap(t, name, "")
			check(t, err)
			if !cmp.Equal(want, texts(r.GetSecrets())) {
				t.Errorf("%s: the generator's answer is not the store's", name)
			}
			var state struct {
				Name        string
				Credentials []struct {
					Robot      string
					Generation int64
				}
			}
			check(t, json.Unmarshal(r.GetState(), &state))
			if state.Name != name || len(state.Credentials) != parts || state.Credentials[0].Generation <= 0 || !strings.HasPrefix(state.Credentials[0].Robot, "myorg+k8s_puller_g") {
				t.Errorf("%s: state %s", name, r.GetState())
			}
			w.noTokens(t, "the state", string(r.GetState()))
			again, err := g.Generate(t.Context(), &generatorv1.GenerateRequest{GeneratorRef: generatorRef(name, ""), SourceNamespace: "prod-shop"})
			if err != nil || !cmp.Equal(texts(r.GetSecrets()), texts(again.GetSecrets())) {
				t.Errorf("%s: asked again, it is another one, or %v", name, err)
			}
		}
	})
}

func TestAGeneratorIsRefusedWhatAStoreIs(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.mint(t, "puller")
		for _, c := range []struct {
			what, client, namespace string
			ref                     *generatorv1.GeneratorRef
			want                    codes.Code
		}{
			{"a name without a rule", "eso", "prod-shop", generatorRef("partner", ""), codes.PermissionDenied},
			{"a name that is not configured", "eso", "prod-shop", generatorRef("ghost", ""), codes.NotFound},
			{"a namespace without a rule", "eso", "dev-shop", generatorRef("puller", ""), codes.PermissionDenied},
			{"a generator of another namespace", "eso", "prod-shop", generatorRef("puller", "prod-other"), codes.PermissionDenied},
			{"another namespace than the client's", "team-a", "prod-shop", generatorRef("puller", ""), codes.PermissionDenied},
			{"no namespace", "eso", "", generatorRef("puller", ""), codes.InvalidArgument},
			{"no namespace, but the generator's", "eso", "", generatorRef("puller", "prod-shop"), codes.PermissionDenied},
			{"no generator", "eso", "prod-shop", nil, codes.InvalidArgument},
			{"nobody", "", "prod-shop", generatorRef("puller", ""), codes.Unauthenticated},
		} {
			g := generatorv1.NewGeneratorProviderClient(w.as(t, c.client))
			_, err := g.Generate(t.Context(), &generatorv1.GenerateRequest{GeneratorRef: c.ref, SourceNamespace: c.namespace})
			is(t, c.what, err, c.want)
		}
	})
}

// ESO cleans up the states of refreshes before the last one: mostly of the generation that is still served. A cleanup
// that fails would keep ESO's finalizer, and with it the namespace.
func TestCleanupSucceedsAndEndsNothing(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		g := generatorv1.NewGeneratorProviderClient(w.as(t, "eso"))
		generate := func() []byte {
			r, err := g.Generate(t.Context(), &generatorv1.GenerateRequest{GeneratorRef: generatorRef("puller", ""), SourceNamespace: "prod-shop"})
			check(t, err)
			return r.GetState()
		}
		old := generate()
		w.revoke(t, "puller")
		now := generate()
		before := w.quay.Robots("myorg")
		for what, state := range map[string][]byte{
			"of what is served": now, "of what is gone": old, "none": nil, "not JSON": []byte("\xff{"), "other JSON": []byte(`["x"]`), "of another type": []byte(`{"name":7}`),
			"JSON null": []byte("null"), "of something unknown": []byte(`{"name":"` + strings.Repeat("x", 1000) + `","credentials":[{"robot":"other+robot","generation":-1}]}`),
			"of a robot that is not ours": []byte(`{"name":"admin","credentials":[{"robot":"myorg+foreign"}]}`),
		} {
			for range 2 {
				if _, err := g.Cleanup(t.Context(), &generatorv1.CleanupRequest{GeneratorRef: generatorRef("puller", "prod-shop"), State: state, SourceNamespace: "prod-shop"}); err != nil {
					t.Errorf("a state %s: %v", what, err)
				}
			}
		}
		if _, err := g.Cleanup(t.Context(), &generatorv1.CleanupRequest{}); err != nil {
			t.Errorf("nothing at all: %v", err)
		}
		if after := w.quay.Robots("myorg"); len(after) != len(before) || string(generate()) != string(now) {
			t.Errorf("there were %d robots, now %d", len(before), len(after))
		}
		_, err := generatorv1.NewGeneratorProviderClient(w.as(t, "")).Cleanup(t.Context(), &generatorv1.CleanupRequest{State: now})
		is(t, "by nobody", err, codes.Unauthenticated)
	})
}
