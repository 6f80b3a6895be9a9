package httpapi

import (
	"encoding/json"
	"log/slog"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/quaygen/quaygen/pkg/quaygen"
)

func TestEveryKindOfErrorIsToldWithItsStatus(t *testing.T) {
	h := &handler{Config{Log: slog.New(slog.DiscardHandler)}}
	for _, kind := range quaygen.Kinds() {
		answer := httptest.NewRecorder()
		code := h.fail(httptest.NewRequest("GET", "/", nil), answer, &quaygen.Error{Kind: kind, Detail: "what is wrong", RetryAfter: 1500 * time.Millisecond})
		var p struct {
			Title  string
			Status int
			Detail string
		}
		if err := json.Unmarshal(answer.Body.Bytes(), &p); err != nil {
			t.Fatal(err)
		}
		if code != kind.Row().HTTP || answer.Code != code || p.Status != code || p.Title != kind.String() || p.Detail != "what is wrong" || answer.Header().Get("Retry-After") != "2" {
			t.Errorf("%v: %d %+v %v", kind, answer.Code, p, answer.Header())
		}
	}
}
