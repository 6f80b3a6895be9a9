package grpcapi_test

import (
	"fmt"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"

	"github.com/quaygen/quaygen/pkg/quaygen/auth"
	"github.com/quaygen/quaygen/pkg/quaygen/policy"
)

// UNAUTHENTICATED would tell a caller with a good token to get another one.
func TestACredentialThatCannotBeCheckedNowIsUnavailable(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		var unsure auth.Authenticator = func(auth.Presented) (policy.Caller, error) {
			return policy.Caller{}, fmt.Errorf("%w: the API server is away", auth.ErrUnavailable)
		}
		w.who.Store(&unsure)
		_, err := w.store(t, "eso", "prod-shop").get(t, "puller", "")
		is(t, "a call", err, codes.Unavailable, "cannot be checked now")
		if strings.Contains(err.Error(), "API server") || !strings.Contains(w.log.String(), "the API server is away") {
			t.Errorf("the caller is told too much, or the operator too little: %v", err)
		}
	})
}
