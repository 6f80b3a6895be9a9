package quaygen_test

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/quaygen/quaygen/pkg/quaygen"
)

// Where two kinds share a status or code, the reason tells them apart.
func TestEveryKindOfErrorHasItsRow(t *testing.T) {
	want := []struct {
		kind   quaygen.Kind
		reason string
		http   int
		grpc   string
		exit   int
	}{
		{quaygen.KindInternal, "INTERNAL", 500, "INTERNAL", 1},
		{quaygen.KindInvalid, "INVALID_REQUEST", 400, "INVALID_ARGUMENT", 2},
		{quaygen.KindUnauthenticated, "NOT_AUTHENTICATED", 401, "UNAUTHENTICATED", 4},
		{quaygen.KindDenied, "NOT_ALLOWED", 403, "PERMISSION_DENIED", 4},
		{quaygen.KindUnknown, "NOT_FOUND", 404, "NOT_FOUND", 3},
		{quaygen.KindConflict, "CONFLICT", 409, "FAILED_PRECONDITION", 1},
		{quaygen.KindRefused, "REFUSED_BY_QUAY", 424, "FAILED_PRECONDITION", 4},
		{quaygen.KindNotReady, "NOT_READY", 503, "UNAVAILABLE", 1},
		{quaygen.KindUnfinished, "UNFINISHED", 504, "DEADLINE_EXCEEDED", 1},
		{quaygen.KindUnsupported, "UNSUPPORTED", 501, "UNIMPLEMENTED", 1},
		{quaygen.KindTooMany, "TOO_MANY_REQUESTS", 429, "RESOURCE_EXHAUSTED", 1},
	}
	if len(want) != len(quaygen.Kinds()) {
		t.Errorf("%d kinds, %d rows here", len(quaygen.Kinds()), len(want))
	}
	statuses, titles := map[int]quaygen.Kind{}, map[string]bool{}
	for i, w := range want {
		r := w.kind.Row()
		if quaygen.Kinds()[i] != w.kind || r.Reason != w.reason || r.HTTP != w.http || r.GRPC != w.grpc || r.Exit != w.exit || r.Title != w.kind.String() {
			t.Errorf("%v: %+v", w.kind, r)
		}
		if other, taken := statuses[r.HTTP]; taken {
			t.Errorf("%v and %v share the status %d: ESO shows little else", w.kind, other, r.HTTP)
		}
		statuses[r.HTTP] = w.kind
		if titles[r.Title] {
			t.Errorf("two kinds are called %q", r.Title)
		}
		titles[r.Title] = true
		if kind, ok := quaygen.KindOf(w.reason); !ok || kind != w.kind {
			t.Errorf("the reason %s is of kind %v", w.reason, kind)
		}
	}
	if _, ok := quaygen.KindOf("NO_SUCH_REASON"); ok {
		t.Error("a reason that nobody gives has a kind")
	}
	if quaygen.Kind(-1).Row() != quaygen.KindInternal.Row() || quaygen.Kind(99).Row() != quaygen.KindInternal.Row() {
		t.Error("what is no kind is not told as an internal error")
	}
	if quaygen.AsError(errors.New("boom")).Kind != quaygen.KindInternal {
		t.Error("an unknown error is not an internal one")
	}
}

func TestTheDocumentsTableOfErrorsIsTheTable(t *testing.T) {
	doc, err := os.ReadFile("../../docs/api.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, kind := range quaygen.Kinds() {
		r := kind.Row()
		row := fmt.Sprintf("| `%s` | %d | `%s` | %d |\n", r.Reason, r.HTTP, r.GRPC, r.Exit)
		if !strings.Contains(string(doc), row) {
			t.Errorf("docs/api.md has no row for %v that ends with %s", kind, row)
		}
	}
	if rows := strings.Count(string(doc), "` | 1 |\n") + strings.Count(string(doc), "` | 2 |\n") + strings.Count(string(doc), "` | 3 |\n") + strings.Count(string(doc), "` | 4 |\n"); rows != len(quaygen.Kinds()) {
		t.Errorf("docs/api.md has %d rows of errors for %d kinds", rows, len(quaygen.Kinds()))
	}
}
