package grpcapi_test

import (
	"strings"
	"testing"

	"google.golang.org/grpc/codes"

	providerv1 "github.com/quaygen/quaygen/proto/externalsecrets/provider/v1"
)

// Anybody who may write an ExternalSecret chooses the pattern.
func TestAPatternThatCountsFarIsRefusedBeforeItCostsAnything(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.mint(t, "puller")
		c := providerv1.NewSecretStoreProviderClient(w.as(t, "eso"))
		for pattern, want := range map[string]codes.Code{
			"^p[a-z]{5}$":                       codes.OK,
			"^[a-z0-9.-]{1,253}$":               codes.OK,
			"^(p|q){1,3}u(l{2}){1,}er":          codes.OK,
			"^pu.*$":                            codes.OK,
			strings.Repeat("(a?){999}", 28):     codes.InvalidArgument,
			strings.Repeat("((a?){31}){32}", 2): codes.InvalidArgument,
			strings.Repeat(`\pL{500,}`, 5):      codes.InvalidArgument,
			strings.Repeat("p", 257):            codes.InvalidArgument,
			"(":                                 codes.InvalidArgument,
		} {
			find := &providerv1.ExternalSecretFind{Name: &providerv1.FindName{Regexp: pattern}, Path: "puller"}
			_, err := c.GetAllSecrets(t.Context(), &providerv1.GetAllSecretsRequest{SourceNamespace: "prod-shop", Find: find})
			is(t, pattern, err, want)
		}
	})
}
