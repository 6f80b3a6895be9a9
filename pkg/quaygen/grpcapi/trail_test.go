package grpcapi_test

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"

	"github.com/quaygen/quaygen/pkg/quaygen/audit"
	generatorv1 "github.com/quaygen/quaygen/proto/externalsecrets/generator/v1"
	providerv1 "github.com/quaygen/quaygen/proto/externalsecrets/provider/v1"
	quaygenv1 "github.com/quaygen/quaygen/proto/quaygen/v1"
)

// What a call is refused for before the service is asked is in the audit trail all the same.
func TestEveryCallForAPullSecretIsInTheAuditTrail(t *testing.T) {
	var text bytes.Buffer
	var trail *audit.Log
	inBubble(t, func(t *testing.T, w *world) {
		w.mint(t, "puller")
		s := w.store(t, "all", "prod-shop")
		foreign := &providerv1.ProviderReference{Namespace: "prod-other", StoreRefKind: "SecretStore"}
		_, _ = s.get(t, "puller", "password")
		_, err := s.get(t, "puller", "made-up")
		is(t, "a property that there is not", err, codes.InvalidArgument)
		_, err = s.GetSecret(t.Context(), &providerv1.GetSecretRequest{ProviderRef: foreign, RemoteRef: remote("puller", ""), SourceNamespace: "prod-shop"})
		is(t, "a store that refers to another namespace", err, codes.PermissionDenied)
		_, err = s.GetAllSecrets(t.Context(), &providerv1.GetAllSecretsRequest{ProviderRef: s.ref, SourceNamespace: "prod-shop", Find: &providerv1.ExternalSecretFind{Path: "nothing"}})
		is(t, "a search that finds nothing", err, codes.PermissionDenied)
		_, err = generatorv1.NewGeneratorProviderClient(w.as(t, "all")).Generate(t.Context(), &generatorv1.GenerateRequest{
			GeneratorRef: &generatorv1.GeneratorRef{Name: "puller", Namespace: "prod-other"}, SourceNamespace: "prod-shop",
		})
		is(t, "a generator of another namespace", err, codes.PermissionDenied)
		_, err = quaygenv1.NewPullSecretsClient(w.as(t, "all")).Get(t.Context(), &quaygenv1.PullSecretsGetRequest{Name: "puller", Namespace: "prod-shop", Format: 99})
		is(t, "a format that there is not", err, codes.InvalidArgument)
		_, err = quaygenv1.NewPullSecretsClient(w.as(t, "")).Get(t.Context(), &quaygenv1.PullSecretsGetRequest{Name: "puller"})
		is(t, "a stranger", err, codes.Unauthenticated)
		if err := trail.Close(t.Context()); err != nil {
			t.Error(err)
		}
		w.noTokens(t, "the audit trail", text.String())
	}, func(w *world) {
		var err error
		if trail, err = audit.Open(audit.Config{Stream: &text}); err != nil {
			t.Fatal(err)
		}
		w.service.Audit(trail)
	})
	var got []string
	for line := range strings.Lines(text.String()) {
		var r struct{ Type, Client, How, Transport, From, Namespace, Name, Property, Format, Result string }
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Fatal(err)
		}
		if r.Type == "open" {
			continue
		}
		if r.Transport != "grpc" || r.From == "" {
			t.Errorf("by %q from %q", r.Transport, r.From)
		}
		got = append(got, strings.Join([]string{r.Type, r.Client, r.How, r.Namespace, r.Name, r.Property, r.Format, r.Result}, " "))
	}
	want := []string{
		"request all bearer prod-shop puller  dockerconfigjson OK",
		"request all bearer prod-shop puller password basic OK",
		"request all bearer prod-shop puller made-up  INVALID_REQUEST",
		"request all bearer prod-shop puller   NOT_ALLOWED",
		"request all bearer prod-shop    NOT_ALLOWED",
		"request all bearer prod-shop puller   NOT_ALLOWED",
		"request all bearer prod-shop puller  99 INVALID_REQUEST",
		"authentication       ",
	}
	if !slices.Equal(got, want) {
		t.Errorf("%s", strings.Join(got, "\n"))
	}
}
