package httpapi_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/quaygen/quaygen/pkg/quaygen/auth"
	"github.com/quaygen/quaygen/pkg/quaygen/httpapi"
	"github.com/quaygen/quaygen/pkg/quaygen/policy"
	"github.com/quaygen/quaygen/pkg/quaygen/quay/quaytest"
)

func TestStatusOfARequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		time.Sleep(time.Minute)
		for _, test := range []struct {
			what, method, target, token string
			want                        int
		}{
			{"what ESO asks with an empty property", "GET", target + "&property=", esoToken, 200},
			{"with a property", "GET", target + "&property=.dockerconfigjson", esoToken, 200},
			{"with a format", "GET", target + "&format=basic&property=password", esoToken, 200},
			{"name escaped letter by letter", "GET", "/v1/pullsecrets/%70uller?namespace=prod-shop", esoToken, 200},
			{"namespace escaped", "GET", "/v1/pullsecrets/puller?namespace=prod%2Dshop", esoToken, 200},
			{"HEAD", "HEAD", target, esoToken, 200},
			{"a client's own namespace", "GET", "/v1/pullsecrets/puller?namespace=team-a", teamToken, 200},

			{"another than the client's own", "GET", target, teamToken, 403},
			{"a client's own namespace, not named", "GET", "/v1/pullsecrets/puller", teamToken, 403},
			{"a client's own namespace, named empty", "GET", "/v1/pullsecrets/puller?namespace=", teamToken, 403},
			{"exists, not allowed", "GET", "/v1/pullsecrets/partner?namespace=prod-shop", esoToken, 403},
			{"does not exist, not allowed", "GET", "/v1/pullsecrets/nothing?namespace=prod-shop", esoToken, 403},
			{"does not exist, allowed", "GET", "/v1/pullsecrets/nothing?namespace=prod-shop", allToken, 404},
			{"namespace not allowed", "GET", "/v1/pullsecrets/puller?namespace=dev", esoToken, 403},

			{"no token", "GET", target, "", 401},
			{"wrong token", "GET", target, "wrong-token-0123456789", 401},
			{"token that a template left unset", "GET", target, "<no value>", 401},
			{"no token, unknown name", "GET", "/v1/pullsecrets/nothing?namespace=prod-shop", "", 401},
			{"no token, malformed name", "GET", "/v1/pullsecrets/NO?namespace=prod-shop", "", 401},

			{"no namespace", "GET", "/v1/pullsecrets/puller", esoToken, 400},
			{"empty namespace", "GET", "/v1/pullsecrets/puller?namespace=", esoToken, 400},
			{"no value for the name", "GET", "/v1/pullsecrets/%3Cno+value%3E?namespace=prod-shop", esoToken, 400},
			{"no value, its blank as %20", "GET", "/v1/pullsecrets/%3Cno%20value%3E?namespace=prod-shop", esoToken, 400},
			{"no value for the namespace", "GET", "/v1/pullsecrets/puller?namespace=%3Cno+value%3E", esoToken, 400},
			{"no value for the property", "GET", target + "&property=%3Cno+value%3E", esoToken, 400},
			{"no value for the format", "GET", target + "&format=%3Cno+value%3E", esoToken, 400},
			{"plus is a space in the path", "GET", "/v1/pullsecrets/pul+ler?namespace=prod-shop", allToken, 400},
			{"%2B is a plus", "GET", "/v1/pullsecrets/pul%2Bler?namespace=prod-shop", allToken, 400},
			{"%2F is a slash of the name", "GET", "/v1/pullsecrets/team%2Fpuller?namespace=prod-shop", allToken, 400},
			{"a slash in the name", "GET", "/v1/pullsecrets/team/puller?namespace=prod-shop", allToken, 400},
			{"a slash after the name", "GET", "/v1/pullsecrets/puller/?namespace=prod-shop", allToken, 400},
			{"dots for a name", "GET", "/v1/pullsecrets/..?namespace=prod-shop", allToken, 400},
			{"escaped dots for a name", "GET", "/v1/pullsecrets/%2e%2e?namespace=prod-shop", allToken, 400},
			{"name with NUL", "GET", "/v1/pullsecrets/pul%00ler?namespace=prod-shop", allToken, 400},
			{"name with a line break", "GET", "/v1/pullsecrets/puller%0A?namespace=prod-shop", allToken, 400},
			{"name not in UTF-8", "GET", "/v1/pullsecrets/pull%FFer?namespace=prod-shop", allToken, 400},
			{"name in upper case", "GET", "/v1/pullsecrets/Puller?namespace=prod-shop", allToken, 400},
			{"no name", "GET", "/v1/pullsecrets/?namespace=prod-shop", allToken, 400},
			{"namespace twice", "GET", target + "&namespace=prod-other", esoToken, 400},
			{"property twice", "GET", target + "&property=&property=", esoToken, 400},
			{"unknown parameter", "GET", target + "&generation=3", esoToken, 400},
			{"parameter in another case", "GET", "/v1/pullsecrets/puller?Namespace=prod-shop", esoToken, 400},
			{"bad escape in the query", "GET", target + "&property=%zz", esoToken, 400},
			{"semicolon in the query", "GET", target + ";property=x", esoToken, 400},
			{"unknown format", "GET", target + "&format=xml", esoToken, 400},
			{"unknown property", "GET", target + "&property=password", esoToken, 400},

			// ESO takes 404 for "deleted upstream": a mistyped path must not be one.
			{"unknown path", "GET", "/v1/pullsecret/puller?namespace=prod-shop", esoToken, 400},
			{"root", "GET", "/", esoToken, 400},
			{"other version", "GET", "/v2/pullsecrets/puller", esoToken, 400},
			{"without the last slash", "GET", "/v1/pullsecrets", esoToken, 400},
			{"admin's path", "GET", "/metrics", esoToken, 400},
			{"double slash", "GET", "/v1//pullsecrets/puller?namespace=prod-shop", esoToken, 400},
			{"dots on the way", "GET", "/v1/x/../pullsecrets/puller?namespace=prod-shop", esoToken, 400},
			{"a dot on the way", "GET", "/v1/./pullsecrets/puller?namespace=prod-shop", esoToken, 400},
			{"escaped slash on the way", "GET", "/v1%2Fpullsecrets/puller?namespace=prod-shop", esoToken, 400},
			{"too long", "GET", target + "&property=" + strings.Repeat("x", 4096), esoToken, 414},

			{"POST", "POST", target, esoToken, 405},
			{"PUT", "PUT", target, esoToken, 405},
			{"DELETE, as PushSecret does", "DELETE", target, esoToken, 405},
			{"PATCH", "PATCH", target, esoToken, 405},
			{"OPTIONS", "OPTIONS", target, esoToken, 405},
			{"TRACE", "TRACE", target, esoToken, 405},
			{"a method of nobody", "BREW", target, esoToken, 405},
		} {
			a := w.do(test.method, test.target, test.token)
			if a.Code != test.want {
				t.Errorf("%s: %s %s is %d, want %d: %s", test.what, test.method, test.target, a.Code, test.want, a.Body)
				continue
			}
			if a.Header().Get("Cache-Control") != "no-store" {
				t.Errorf("%s: it may be kept in caches", test.what)
			}
			if location := a.Header().Get("Location"); location != "" {
				t.Errorf("%s: it sends the caller to %s", test.what, location)
			}
			if a.Code != http.StatusOK {
				problemOf(t, a)
			}
			switch allow, challenge := a.Header().Get("Allow"), a.Header().Get("WWW-Authenticate"); {
			case a.Code == http.StatusMethodNotAllowed && allow != "GET, HEAD",
				a.Code == http.StatusUnauthorized && !strings.HasPrefix(challenge, "Bearer "):
				t.Errorf("%s: headers %v", test.what, a.Header())
			}
		}
	})
}

func TestSeveralAuthorizationHeadersAreRefused(t *testing.T) {
	w := newWorld(t)
	r := httptest.NewRequest(http.MethodGet, target, http.NoBody)
	r.Header.Add("Authorization", "Bearer "+esoToken)
	r.Header.Add("Authorization", "Bearer "+allToken)
	a := httptest.NewRecorder()
	if w.handler.ServeHTTP(a, r); a.Code != http.StatusUnauthorized {
		t.Errorf("%d", a.Code)
	}
}

func TestWhatIsNotAllowedCannotBeToldFromWhatDoesNotExist(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		time.Sleep(time.Minute)
		exists := w.do("GET", "/v1/pullsecrets/partner?namespace=prod-shop", esoToken)
		not := w.do("GET", "/v1/pullsecrets/nobodys?namespace=prod-shop", esoToken)
		if exists.Code != not.Code || exists.Body.String() != not.Body.String() || len(exists.Header()) != len(not.Header()) {
			t.Errorf("%d %v %s\n%d %v %s", exists.Code, exists.Header(), exists.Body, not.Code, not.Header(), not.Body)
		}
	})
}

func TestHeadIsGetWithoutTheBody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		get, head := w.do("GET", target, esoToken), w.do("HEAD", target, esoToken)
		if head.Body.Len() > 0 || get.Body.Len() == 0 {
			t.Errorf("bodies of %d and %d bytes", head.Body.Len(), get.Body.Len())
		}
		for _, key := range []string{"Content-Type", "Content-Length", "Cache-Control"} {
			if get.Header().Get(key) != head.Header().Get(key) || get.Header().Get(key) == "" {
				t.Errorf("%s: %q, %q", key, get.Header().Get(key), head.Header().Get(key))
			}
		}
	})
}

func TestNotYetIsNeverUnknown(t *testing.T) {
	for _, test := range []struct {
		what  string
		fault quaytest.Fault
		want  int
	}{
		{"Quay is down", quaytest.Fault{Status: 502}, 503},
		{"Quay hangs", quaytest.Fault{Hang: true}, 503},
		{"nginx answers 404 in Quay's place", quaytest.Fault{Status: 404}, 503},
		{"Quay refuses the token", quaytest.Fault{Status: 401, Body: `{"error_type":"invalid_token"}`, ContentType: "application/json"}, 424},
		{"Quay limits", quaytest.Fault{Status: 429}, 503},
		{"minting is slow", quaytest.Fault{Operation: "robot.create", Delay: 14 * time.Second}, 503},
	} {
		t.Run(test.what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newIdleWorld(t)
				w.quay.Inject(test.fault)
				w.start(t)
				start := time.Now()
				a := w.do("GET", target, esoToken)
				if waited := time.Since(start); a.Code != test.want || waited > 10*time.Second {
					t.Errorf("%d after %v, want %d: %s", a.Code, waited, test.want, a.Body)
				}
				problemOf(t, a)
				if after := a.Header().Get("Retry-After"); a.Code == http.StatusServiceUnavailable && (after == "" || after == "0") {
					t.Errorf("Retry-After: %q", after)
				}
			})
		})
	}
}

// stalling is a client's connection behind a process that is stopped for a day between Get and the first byte.
type stalling struct{ *httptest.ResponseRecorder }

func (s stalling) Header() http.Header {
	if h := s.ResponseRecorder.Header(); h.Get("Content-Type") == "" {
		return h
	}
	time.Sleep(25 * time.Hour)
	return s.ResponseRecorder.Header()
}

func TestNoAnswerIsSentAfterItsLeaseEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		if a := w.do("GET", target, esoToken); a.Code != http.StatusOK {
			t.Fatal(a.Body)
		}
		w.quay.Inject(quaytest.Fault{Status: 503}) // the lease is not renewed meanwhile
		r := httptest.NewRequest(http.MethodGet, target, http.NoBody)
		r.Header.Set("Authorization", "Bearer "+esoToken)
		a := httptest.NewRecorder()
		w.handler.ServeHTTP(stalling{a}, r)
		if a.Code != http.StatusServiceUnavailable || strings.Contains(a.Body.String(), "auths") || a.Header().Get("Retry-After") == "" {
			t.Errorf("%d %v: %s", a.Code, a.Header(), a.Body)
		}
		problemOf(t, a)
	})
}

func TestAPanicIsAnAnswerAndALogLine(t *testing.T) {
	w := newWorld(t)
	panicking := httpapi.New(httpapi.Config{
		Service: serviceOf(t), Log: logTo(w.log),
		Authenticate: func(auth.Presented) (policy.Caller, error) { panic(errors.New(esoToken)) },
	})
	a := httptest.NewRecorder()
	panicking.ServeHTTP(a, httptest.NewRequest(http.MethodGet, target, http.NoBody))
	if p := problemOf(t, a); a.Code != http.StatusInternalServerError || strings.Contains(a.Body.String(), esoToken) {
		t.Errorf("%d %+v", a.Code, p)
	}
	if log := w.log.String(); !strings.Contains(log, "level=ERROR") || !strings.Contains(log, "TestAPanicIs") || strings.Contains(log, esoToken) {
		t.Errorf("log: %s", log)
	}
}

// Names come from callers: only those that are configured may become labels.
func TestRequestsAreCountedUnderConfiguredNamesOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.do("GET", target, esoToken)
		w.do("GET", target, esoToken)
		w.do("GET", target, "")
		w.do("GET", "/v1/pullsecrets/partner?namespace=prod-shop", esoToken)
		w.do("GET", "/v1/pullsecrets/nothing?namespace=prod-shop", allToken)
		w.do("GET", "/v1/pullsecrets/other?namespace=prod-shop", esoToken)
		w.do("POST", target, esoToken)
		w.do("GET", "/elsewhere", esoToken)
		const want = `
# HELP quaygen_requests_total Requests answered, by HTTP status or gRPC code. Names that are not configured count as "other".
# TYPE quaygen_requests_total counter
quaygen_requests_total{code="200",name="puller",transport="http"} 2
quaygen_requests_total{code="400",name="other",transport="http"} 1
quaygen_requests_total{code="401",name="other",transport="http"} 1
quaygen_requests_total{code="403",name="other",transport="http"} 1
quaygen_requests_total{code="403",name="partner",transport="http"} 1
quaygen_requests_total{code="404",name="other",transport="http"} 1
quaygen_requests_total{code="405",name="other",transport="http"} 1
`
		if err := testutil.GatherAndCompare(w.registry, strings.NewReader(want), "quaygen_requests_total"); err != nil {
			t.Error(err)
		}
	})
}

func TestTheLogHoldsNoCredential(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.do("GET", target, esoToken)
		w.do("GET", target, "wrong-token-0123456789")
		w.do("GET", target+"&token="+allToken, allToken)
		w.do("GET", "/v1/pullsecrets/puller?namespace=x", teamToken)
		w.do("GET", "/v1/pullsecrets/nothing?namespace=x", allToken)
		w.do("POST", target, esoToken)
		log := w.log.String()
		for _, secret := range slices.Concat(w.quay.Tokens(), []string{esoToken, teamToken, allToken, "wrong-token"}) {
			if strings.Contains(log, secret) {
				t.Errorf("the log holds %q", secret)
			}
		}
	})
}

// 401 would tell a caller with a good token to get another one.
func TestACredentialThatCannotBeCheckedNowIsNotReady(t *testing.T) {
	w := newWorld(t)
	unsure := httpapi.New(httpapi.Config{
		Service: serviceOf(t), Log: logTo(w.log),
		Authenticate: func(auth.Presented) (policy.Caller, error) {
			return policy.Caller{}, fmt.Errorf("%w: the API server is away", auth.ErrUnavailable)
		},
	})
	a := httptest.NewRecorder()
	unsure.ServeHTTP(a, httptest.NewRequest(http.MethodGet, target, http.NoBody))
	problemOf(t, a)
	if a.Code != http.StatusServiceUnavailable || a.Header().Get("Retry-After") != "5" || a.Header().Get("WWW-Authenticate") != "" || strings.Contains(a.Body.String(), "API server") {
		t.Errorf("%d %v %s", a.Code, a.Header(), a.Body)
	}
	if !strings.Contains(w.log.String(), "the API server is away") {
		t.Error("the operator is not told")
	}
}
