package httpapi

import (
	"net/http"
	"testing"

	"github.com/quaygen/quaygen/pkg/quaygen"
)

// A kind without a row would be answered with status 0, which panics; two rows for one status would say less than we know.
func TestEveryKindHasExactlyOneStatus(t *testing.T) {
	want := map[quaygen.Kind]int{
		quaygen.KindInternal:        http.StatusInternalServerError,
		quaygen.KindInvalid:         http.StatusBadRequest,
		quaygen.KindUnauthenticated: http.StatusUnauthorized,
		quaygen.KindDenied:          http.StatusForbidden,
		quaygen.KindUnknown:         http.StatusNotFound,
		quaygen.KindRefused:         http.StatusFailedDependency,
		quaygen.KindNotReady:        http.StatusServiceUnavailable,
	}
	kinds := 0
	seen := map[int]quaygen.Kind{}
	// What is no kind is called as KindInternal is.
	for kind := quaygen.KindInternal; kind == quaygen.KindInternal || kind.String() != quaygen.KindInternal.String(); kind++ {
		kinds++
		status, ok := statusOf[kind]
		if !ok || status != want[kind] {
			t.Errorf("%v has the status %d, want %d", kind, status, want[kind])
		}
		if other, taken := seen[status]; taken {
			t.Errorf("%v and %v share the status %d", kind, other, status)
		}
		seen[status] = kind
	}
	if len(statusOf) != kinds || len(want) != kinds {
		t.Errorf("%d rows and %d expectations for %d kinds", len(statusOf), len(want), kinds)
	}
}
