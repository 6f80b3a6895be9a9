package grpcapi_test

import (
	"context"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"

	generatorv1 "github.com/quaygen/quaygen/proto/externalsecrets/generator/v1"
	providerv1 "github.com/quaygen/quaygen/proto/externalsecrets/provider/v1"
	quaygenv1 "github.com/quaygen/quaygen/proto/quaygen/v1"
)

// team-a is a client whose namespace is fixed; its rule would permit any.
func TestAFixedNamespaceIsNamedInEveryCallAndNothingElseNamesIt(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.mint(t, "puller")
		c := w.as(t, "team-a")
		claim := metadata.AppendToOutgoingContext(t.Context(), "namespace", "team-a", "source_namespace", "team-a", "x-namespace", "team-a")
		for _, ask := range []struct {
			what, namespace, reference string
			ctx                        context.Context
			want                       codes.Code
		}{
			{"its own", "team-a", "team-a", t.Context(), codes.OK},
			{"its own, without a reference", "team-a", "", t.Context(), codes.OK},
			{"another's", "prod-shop", "", t.Context(), codes.PermissionDenied},
			{"another's, with a reference to its own", "prod-shop", "team-a", t.Context(), codes.PermissionDenied},
			{"another's, with a reference to that", "prod-shop", "prod-shop", t.Context(), codes.PermissionDenied},
			{"its own, with a reference to another's", "team-a", "prod-shop", t.Context(), codes.PermissionDenied},
			{"none", "", "", t.Context(), codes.PermissionDenied},
			{"none, but a reference to its own", "", "team-a", t.Context(), codes.PermissionDenied},
			{"none, but metadata that names it", "", "", claim, codes.PermissionDenied},
			{"another's, with metadata that names its own", "prod-shop", "", claim, codes.PermissionDenied},
			{"in upper case", "TEAM-A", "", t.Context(), codes.InvalidArgument},
			{"with a blank", "team-a ", "", t.Context(), codes.InvalidArgument},
		} {
			_, err := providerv1.NewSecretStoreProviderClient(c).GetSecret(ask.ctx, &providerv1.GetSecretRequest{
				ProviderRef: &providerv1.ProviderReference{StoreRefKind: "SecretStore", Namespace: ask.reference}, SourceNamespace: ask.namespace,
				RemoteRef: &providerv1.ExternalSecretDataRemoteRef{Key: "puller"},
			})
			is(t, "provider, "+ask.what, err, ask.want)
			_, err = generatorv1.NewGeneratorProviderClient(c).Generate(ask.ctx, &generatorv1.GenerateRequest{
				GeneratorRef: generatorRef("puller", ask.reference), SourceNamespace: ask.namespace,
			})
			is(t, "generator, "+ask.what, err, ask.want)
			if ask.reference == "" {
				_, err = quaygenv1.NewPullSecretsClient(c).Get(ask.ctx, &quaygenv1.PullSecretsGetRequest{Name: "puller", Namespace: ask.namespace})
				is(t, "our own, "+ask.what, err, ask.want)
			}
		}
	})
}

func TestTwoTokensInOneCallAreNone(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.mint(t, "puller")
		team, all := "Bearer team-a"+tokenTail, "Bearer all"+tokenTail
		for _, c := range []struct {
			what   string
			values []string
			want   codes.Code
		}{
			{"one", []string{team}, codes.OK},
			{"two", []string{team, all}, codes.Unauthenticated},
			{"the same twice", []string{team, team}, codes.Unauthenticated},
			{"two in one value", []string{team + ", " + all}, codes.Unauthenticated},
			{"another scheme before it", []string{"Basic eDp5", team}, codes.Unauthenticated},
			{"the token in other case", []string{strings.ToUpper(team)}, codes.Unauthenticated},
		} {
			ctx := t.Context()
			for _, v := range c.values {
				ctx = metadata.AppendToOutgoingContext(ctx, "authorization", v)
			}
			_, err := quaygenv1.NewPullSecretsClient(w.as(t, "")).Get(ctx, &quaygenv1.PullSecretsGetRequest{Name: "puller", Namespace: "team-a"})
			is(t, c.what, err, c.want)
		}
	})
}
