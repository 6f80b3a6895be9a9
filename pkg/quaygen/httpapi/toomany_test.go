package httpapi_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quaygen/quaygen/pkg/quaygen"
	"github.com/quaygen/quaygen/pkg/quaygen/auth"
	"github.com/quaygen/quaygen/pkg/quaygen/httpapi"
	"github.com/quaygen/quaygen/pkg/quaygen/policy"
)

func TestWhoAsksTooOftenIsToldWhenToComeAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.do("GET", target, allToken) // which is minted now
		limited := settings()
		limited.Limits = map[string]quaygen.Limits{"eso": {QPS: .2, Burst: 3, Concurrent: 10, Namespaces: 10}}
		w.service.Apply(limited)
		for i, is := range []struct {
			token, target string
			want          int
		}{
			{esoToken, target, 200},
			{esoToken, "/v1/pullsecrets/puller?namespace=prod-shop&what=ever", 400}, // malformed requests count as well
			{esoToken, "/v1/pullsecrets/partner?namespace=prod-shop", 403},          // and those that are denied
			{esoToken, target, 429},
			{esoToken, "/v1/pullsecrets/puller?namespace=prod-shop&what=ever", 429},
			{allToken, target, 200},
		} {
			a := w.do("GET", is.target, is.token)
			if a.Code != is.want {
				t.Errorf("request %d: %d %s", i, a.Code, a.Body)
			}
			if is.want == 429 {
				if p := problemOf(t, a); p.Title != "too many requests" || a.Header().Get("Retry-After") != "5" {
					t.Errorf("request %d: %+v %v", i, p, a.Header())
				}
			}
		}
		time.Sleep(5 * time.Second)
		if a := w.do("GET", target, esoToken); a.Code != http.StatusOK {
			t.Errorf("afterwards: %d %s", a.Code, a.Body)
		}
	})
}

func TestARequestThatIsAnsweredDoesNotCountAnyMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		limited := settings()
		limited.Limits = map[string]quaygen.Limits{"eso": {QPS: 1e6, Burst: 1e6, Concurrent: 1, Namespaces: 10}}
		w.service.Apply(limited)
		for range 10 {
			w.do("GET", target, esoToken)
			w.do("GET", target+"&x=", esoToken)
			w.do("GET", "/v1/pullsecrets/nothing?namespace=prod-shop", esoToken)
		}
		if a := w.do("GET", target, esoToken); a.Code != http.StatusOK {
			t.Errorf("%d %s", a.Code, a.Body)
		}
	})
}

func TestGuessesAreToldSoAndNotLogged(t *testing.T) {
	w := newIdleWorld(t)
	guesses := httpapi.New(httpapi.Config{
		Service: serviceOf(t), Log: logTo(w.log),
		Authenticate: func(p auth.Presented) (policy.Caller, error) {
			if p.From != "192.0.2.1:1234" {
				t.Errorf("it came from %q", p.From)
			}
			return policy.Caller{}, fmt.Errorf("%w: %w", auth.ErrGuessing, auth.ErrRejected)
		},
	})
	a := httptest.NewRecorder()
	guesses.ServeHTTP(a, httptest.NewRequest(http.MethodGet, target, http.NoBody))
	problemOf(t, a)
	if a.Code != http.StatusTooManyRequests || a.Header().Get("Retry-After") != "1" || strings.Contains(w.log.String(), "authenticated") {
		t.Errorf("%d %v, log %q", a.Code, a.Header(), w.log.String())
	}
}
