package quaygen_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/quaygen/quaygen/pkg/quaygen"
	"github.com/quaygen/quaygen/pkg/quaygen/policy"
	"github.com/quaygen/quaygen/pkg/quaygen/quay/quaytest"
)

func TestTwoHundredNamespacesAskingAtOnceForANewNameCauseOneMint(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.quay.Inject(quaytest.Fault{Operation: "robot.create", Delay: 2 * time.Second}) // all of them arrive meanwhile
		w.start(t)
		bodies := make([]string, 200)
		var group sync.WaitGroup
		for i := range bodies {
			group.Go(func() {
				r := puller
				r.Namespace = "prod-" + strings.Repeat("x", i%50+1)
				answer, err := w.service.Get(t.Context(), eso, r)
				if err != nil {
					t.Error(err)
					return
				}
				bodies[i] = string(answer.Body())
			})
		}
		group.Wait()
		for _, body := range bodies {
			if body != bodies[0] || body == "" {
				t.Fatalf("two answers differ:\n%s\n%s", body, bodies[0])
			}
		}
		if n := w.quay.Calls().Count("robot.create"); n != 1 {
			t.Errorf("%d robots were created", n)
		}
		if ever := w.quay.Ever("myorg"); len(ever) != 1 {
			t.Errorf("the organization ever had %d robots", len(ever))
		}
	})
}

func TestTenThousandReadsCauseNoQuayCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.start(t)
		w.get(t, puller)
		synctest.Wait() // the engine sleeps until its next sync, and no time passes while this test computes
		w.quay.Calls().Reset()
		first := string(w.get(t, puller).Body())
		for range 10_000 {
			if body := string(w.get(t, puller).Body()); body != first {
				t.Fatal("a repeated read gave another credential")
			}
		}
		if calls := w.quay.Calls().Entries(); len(calls) > 0 {
			t.Errorf("reads caused calls of Quay: %v", calls)
		}
	})
}

func TestSteadyStateCostsAreThoseOfSyncsWhateverIsRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.start(t)
		w.get(t, puller)
		time.Sleep(time.Hour)
		count := func(reads int) map[string]int {
			w.quay.Calls().Reset()
			for range 60 {
				for range reads {
					w.get(t, puller)
				}
				time.Sleep(time.Minute)
			}
			return w.quay.Calls().Counts()
		}
		without, with := count(0), count(200)
		for operation, n := range with {
			// Syncs are jittered, so that an hour holds a few more or less.
			if calm := without[operation]; n > calm+calm/5+2 {
				t.Errorf("%s: %d calls in an hour with reads, %d without", operation, n, calm)
			}
		}
	})
}

func TestWaitersLeaveAtTheirOwnDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.quay.Inject(quaytest.Fault{Operation: "robot.create", Delay: 6 * time.Second})
		w.start(t)
		start := time.Now()
		short, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := w.service.Get(short, eso, puller)
		if e := quaygen.AsError(err); err == nil || e.Kind != quaygen.KindNotReady || e.RetryAfter <= 0 {
			t.Errorf("a caller that left early got %v", err)
		}
		if waited := time.Since(start); waited != time.Second {
			t.Errorf("it left after %v, not after its own second", waited)
		}
		// Whoever has more time gets what the other one did not wait for.
		if _, err := w.service.Get(t.Context(), eso, puller); err != nil {
			t.Error(err)
		}
		if n := w.quay.Calls().Count("robot.create"); n != 1 {
			t.Errorf("%d robots were created", n)
		}
	})
}

func TestARequestWithoutADeadlineIsAnsweredInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.quay.Inject(quaytest.Fault{Hang: true})
		w.start(t)
		start := time.Now()
		kind := w.kindOf(t, eso, puller)
		if waited := time.Since(start); kind != quaygen.KindNotReady || waited > 10*time.Second {
			t.Errorf("%v after %v", kind, waited)
		}
	})
}

func TestWaitingIsNotForWhatWillNotCome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.quay.Inject(quaytest.Fault{Status: 502})
		w.start(t)
		time.Sleep(time.Second)
		start := time.Now()
		for range 100 {
			if kind := w.kindOf(t, eso, puller); kind != quaygen.KindNotReady {
				t.Fatal(kind)
			}
		}
		if waited := time.Since(start); waited > 0 {
			t.Errorf("requests waited %v for a Quay that is down", waited)
		}
	})
}

func TestMemoryAnswersWhileQuayIsDownForAsLongAsNobodyCanHaveDeleted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.start(t)
		before := string(w.get(t, puller).Body())
		heal := w.quay.Inject(quaytest.Fault{Status: 503})
		// overlap 24h - maxRefresh 1h - settle 1m - clock allowance 5m, from the last list, which is up to a sync old
		time.Sleep(22*time.Hour + 53*time.Minute)
		answer := w.get(t, puller)
		if string(answer.Body()) != before {
			t.Error("the answer changed while Quay was down")
		}
		time.Sleep(2 * time.Minute)
		if answer.Valid() {
			t.Error("an answer is valid after its lease ended")
		}
		_, err := w.service.Get(t.Context(), eso, puller)
		if e := quaygen.AsError(err); err == nil || e.Kind != quaygen.KindNotReady || e.RetryAfter <= 0 {
			t.Errorf("after the lease ended: %v", err)
		}
		heal()
		time.Sleep(2 * time.Minute)
		if after := string(w.get(t, puller).Body()); after != before {
			t.Error("Quay came back and the answer is another one")
		}
	})
}

func TestOutcomeOfARequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.add(t, "partner", "k8s_partner", "lib")
		w.join("both", "puller", "partner")
		w.start(t)
		w.get(t, quaygen.Request{Name: "both", Namespace: "any"})
		settings := &quaygen.Settings{Secrets: w.parts}
		if err := settings.Check(quaygen.Request{Name: "both", Namespace: "any"}); err != nil {
			t.Errorf("what is answered does not pass the check: %v", err)
		}
		fixed := policy.Caller{Name: "eso", Namespace: "prod-shop", How: "test"}
		long := strings.Repeat("a", 254)
		for _, test := range []struct {
			what      string
			caller    policy.Caller
			name, ns  string
			prop, fmt string
			want      quaygen.Kind
		}{
			{"name without a rule for the client", eso, "partner", "prod-shop", "", "", quaygen.KindDenied},
			{"unknown name without a rule", eso, "partnerx", "prod-shop", "", "", quaygen.KindDenied},
			{"unknown name under a pattern", eso, "ghost-1", "prod-shop", "", "", quaygen.KindUnknown},
			{"unknown name under *", everything, "nothing", "any", "", "", quaygen.KindUnknown},
			{"namespace without a rule", eso, "puller", "dev-shop", "", "", quaygen.KindDenied},
			{"namespace with the pattern in the middle", eso, "puller", "x-prod-shop", "", "", quaygen.KindDenied},
			{"client without a rule", policy.Caller{Name: "who"}, "puller", "prod-shop", "", "", quaygen.KindDenied},
			{"client without a name", policy.Caller{}, "puller", "prod-shop", "", "", quaygen.KindDenied},
			{"fixed namespace, another in the URL", fixed, "puller", "prod-other", "", "", quaygen.KindDenied},
			{"fixed namespace, none in the URL", fixed, "puller", "", "", "", quaygen.KindDenied},
			{"no namespace in the URL", eso, "puller", "", "", "", quaygen.KindInvalid},
			{"unset variable as name", eso, "<no value>", "prod-shop", "", "", quaygen.KindInvalid},
			{"unset variable as namespace", eso, "puller", "<no value>", "", "", quaygen.KindInvalid},
			{"unset variable as property", eso, "puller", "prod-shop", "<no value>", "", quaygen.KindInvalid},
			{"unset variable as format", eso, "puller", "prod-shop", "", "<no value>", quaygen.KindInvalid},
			{"unset variable within the name", everything, "puller-<no value>", "prod-shop", "", "", quaygen.KindInvalid},
			{"unset variable, fixed namespace", fixed, "puller", "<no value>", "", "", quaygen.KindInvalid},
			{"empty name", eso, "", "prod-shop", "", "", quaygen.KindInvalid},
			{"star as name", everything, "*", "any", "", "", quaygen.KindInvalid},
			{"star as namespace", everything, "puller", "*", "", "", quaygen.KindInvalid},
			{"upper case name", everything, "Puller", "any", "", "", quaygen.KindInvalid},
			{"dots for a name", everything, "..", "any", "", "", quaygen.KindInvalid},
			{"slash in a name", everything, "a/b", "any", "", "", quaygen.KindInvalid},
			{"newline after a name", everything, "puller\n", "any", "", "", quaygen.KindInvalid},
			{"NUL in a name", everything, "pul\x00ler", "any", "", "", quaygen.KindInvalid},
			{"overlong name", everything, long, "any", "", "", quaygen.KindInvalid},
			{"overlong namespace", everything, "puller", long, "", "", quaygen.KindInvalid},
			{"namespace ending in a dash", everything, "puller", "any-", "", "", quaygen.KindInvalid},
			{"namespace with a dot", everything, "puller", "a.b", "", "", quaygen.KindInvalid},
			{"unknown format", everything, "puller", "any", "", "yaml", quaygen.KindInvalid},
			{"property of another format", everything, "puller", "any", "password", "", quaygen.KindInvalid},
			{"unknown property", everything, "puller", "any", "token", "basic", quaygen.KindInvalid},
			{"basic of several robots", everything, "both", "any", "", "basic", quaygen.KindInvalid},
			{"bad format, not allowed", eso, "partner", "prod-shop", "", "yaml", quaygen.KindDenied},
			{"bad property, unknown name", everything, "nothing", "any", "x", "", quaygen.KindUnknown},
		} {
			r := quaygen.Request{Name: test.name, Namespace: test.ns, Property: test.prop, Format: test.fmt}
			if got := w.kindOf(t, test.caller, r); got != test.want {
				t.Errorf("%s: %v, want %v", test.what, got, test.want)
			}
			if test.want == quaygen.KindDenied {
				continue // the check asks no rules
			}
			if err := settings.Check(r); err == nil || quaygen.AsError(err).Kind != test.want {
				t.Errorf("%s: the check says %v, want %v", test.what, err, test.want)
			}
		}
	})
}

func TestWhatIsNotAllowedCannotBeToldFromWhatDoesNotExist(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.add(t, "partner", "k8s_partner", "lib")
		w.start(t)
		time.Sleep(time.Minute)
		ask := func(name string) *quaygen.Error {
			_, err := w.service.Get(t.Context(), eso, quaygen.Request{Name: name, Namespace: "prod-shop"})
			e, ok := errors.AsType[*quaygen.Error](err)
			if !ok {
				t.Fatalf("%s: %v", name, err)
			}
			return e
		}
		exists, not := ask("partner"), ask("nothing")
		if exists.Kind != not.Kind || exists.Detail != not.Detail || exists.RetryAfter != not.RetryAfter {
			t.Errorf("%v and %v differ", exists, not)
		}
	})
}

func TestQuaysRefusalIsToldFromItsAbsence(t *testing.T) {
	down := func(f quaytest.Fault) func(*world) { return func(w *world) { w.quay.Inject(f) } }
	for _, test := range []struct {
		what  string
		spoil func(*world)
		want  quaygen.Kind
		says  string
	}{
		{"API token revoked", func(w *world) { w.quay.RevokeTokens("admin") }, quaygen.KindRefused, "token"},
		{"robots disabled", func(w *world) { w.quay.SetRobotsDisallow(true) }, quaygen.KindRefused, "robot"},
		{"403 from Quay", down(quaytest.Fault{Operation: "robot.list", Status: 403, Body: `{"error":"x"}`, ContentType: "application/json"}), quaygen.KindRefused, "myorg"},
		{"read-only", func(w *world) { w.quay.SetReadOnly(true) }, quaygen.KindNotReady, ""},
		{"500", down(quaytest.Fault{Status: 500}), quaygen.KindNotReady, ""},
		{"502 with a page", down(quaytest.Fault{Status: 502}), quaygen.KindNotReady, ""},
		{"429", down(quaytest.Fault{Status: 429}), quaygen.KindNotReady, ""},
		{"connection lost", down(quaytest.Fault{LostAnswer: true}), quaygen.KindNotReady, ""},
		{"cut answers", down(quaytest.Fault{CutBody: true}), quaygen.KindNotReady, ""},
		{"not JSON", down(quaytest.Fault{Status: 200, Body: "hello", ContentType: "text/plain"}), quaygen.KindNotReady, ""},
		{"login refused", down(quaytest.Fault{Operation: "auth", Status: 401}), quaygen.KindNotReady, "proven"},
		{"grant lost", down(quaytest.Fault{Operation: "permission.put", Status: 500}), quaygen.KindNotReady, "app"},
	} {
		t.Run(test.what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				test.spoil(w)
				w.start(t)
				time.Sleep(10 * time.Second)
				_, err := w.service.Get(t.Context(), eso, puller)
				if err == nil {
					t.Fatal("it was answered")
				}
				e := quaygen.AsError(err)
				if e.Kind != test.want || !strings.Contains(e.Detail, test.says) {
					t.Errorf("%v: %s; want %v", e.Kind, e.Detail, test.want)
				}
				if e.Kind == quaygen.KindNotReady && e.RetryAfter <= 0 {
					t.Error("it does not say when to ask again")
				}
				for _, token := range w.quay.Tokens() {
					if strings.Contains(e.Detail, token) || strings.Contains(err.Error(), token) {
						t.Errorf("the error holds a secret: %v", err)
					}
				}
			})
		})
	}
}

func TestATokenThatLacksAScopeIsToldByTheScope(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.quay.RevokeTokens("admin")
		w.retoken(t, w.quay.AddToken("admin", "org:admin"))
		w.start(t)
		time.Sleep(10 * time.Second)
		_, err := w.service.Get(t.Context(), eso, puller)
		if e := quaygen.AsError(err); err == nil || e.Kind != quaygen.KindRefused || !strings.Contains(e.Detail, "repo:admin") {
			t.Errorf("%v; it should name repo:admin", err)
		}
	})
}

func TestNewSettingsHoldAtOnceForWhatWasRenderedBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.start(t)
		before := w.get(t, puller).Data()[".dockerconfigjson"]
		moved := w.parts["puller"]
		moved.Parts = append([]quaygen.Part(nil), moved.Parts...)
		moved.Parts[0].Host, moved.Parts[0].Email = "other.test", "robots@example.com"
		w.service.Apply(&quaygen.Settings{Rules: w.rules, Secrets: map[string]quaygen.PullSecret{"puller": moved}})
		after := w.get(t, puller).Data()[".dockerconfigjson"]
		if !strings.Contains(before, `"quay.test"`) || !strings.Contains(after, `"other.test"`) || !strings.Contains(after, "robots@example.com") {
			t.Errorf("before %s\nafter %s", before, after)
		}
		w.service.Apply(&quaygen.Settings{Secrets: w.parts})
		if kind := w.kindOf(t, everything, puller); kind != quaygen.KindDenied {
			t.Errorf("without rules: %v", kind)
		}
	})
}

// While a configuration is replaced, a request may see a name whose robot the engine no longer looks after.
func TestARobotThatIsJustLeavingIsNeverCalledUnknown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.start(t)
		w.get(t, puller)
		w.engine.Apply(nil)
		if kind := w.kindOf(t, eso, puller); kind != quaygen.KindNotReady {
			t.Errorf("%v, want %v", kind, quaygen.KindNotReady)
		}
	})
}

func TestAnAnswerFollowsTheRotation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.specs[0].Every, w.specs[0].Overlap, w.specs[0].MaxRefresh = 3*time.Hour, time.Hour, 15*time.Minute
		w.start(t)
		old := w.get(t, puller)
		time.Sleep(181 * time.Minute)
		fresh := w.get(t, puller)
		if cmp.Equal(old.Data(), fresh.Data()) {
			t.Fatal("after the interval the same credential is served")
		}
		robots := w.quay.Robots("myorg")
		if last := robots[len(robots)-1]; !strings.Contains(fresh.Data()[".dockerconfigjson"], last.Token.Reveal()) {
			t.Error("the newest robot's token is not what is served")
		}
	})
}

func TestLabelsAreConfiguredNamesAlone(t *testing.T) {
	w := newWorld(t)
	w.service.Apply(&quaygen.Settings{Secrets: w.parts})
	for name, want := range map[string]string{"puller": "puller", "pulle": "other", "": "other"} {
		if got := w.service.Label(name); got != want {
			t.Errorf("the label of %q is %q", name, got)
		}
	}
}
