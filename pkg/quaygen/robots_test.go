package quaygen_test

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/quaygen/quaygen/pkg/quaygen"
	"github.com/quaygen/quaygen/pkg/quaygen/policy"
	"github.com/quaygen/quaygen/pkg/quaygen/quay/quaytest"
	"github.com/quaygen/quaygen/pkg/quaygen/rotation"
)

var (
	viewer  = policy.Caller{Name: "viewer", How: "test", Operator: policy.OperatorView, OperatorOnly: true}
	manager = policy.Caller{Name: "manager", How: "test", Operator: policy.OperatorManage, OperatorOnly: true}
	robot   = rotation.Ref{Name: "puller"}
)

func kindOfError(err error) string {
	if err == nil {
		return "done"
	}
	return quaygen.AsError(err).Kind.String()
}

// Who may have every pull secret may not touch a robot, and the other way round.
func TestWhoMayDoWhatWithRobots(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.start(t)
		w.get(t, puller)
		calls := map[string]func(policy.Caller) error{
			"list":   func(c policy.Caller) error { _, err := w.service.Robots(c); return err },
			"get":    func(c policy.Caller) error { _, err := w.service.Robot(c, robot); return err },
			"watch":  func(c policy.Caller) error { _, _, err := w.service.Watch(c, ""); return err },
			"retire": func(c policy.Caller) error { return w.service.Retire(t.Context(), c, robot, 1) },
			"rotate": func(c policy.Caller) error { return w.service.Rotate(t.Context(), c, robot) },
			"revoke": func(c policy.Caller) error { _, err := w.service.Revoke(t.Context(), c, robot, 1); return err },
		}
		nobody := policy.Caller{Operator: policy.OperatorManage}
		for _, c := range []policy.Caller{everything, eso, {}, nobody} {
			for what, call := range calls {
				if kind := kindOfError(call(c)); kind != quaygen.KindDenied.String() {
					t.Errorf("%q wants to %s: %s", c.Name, what, kind)
				}
			}
		}
		for what, want := range map[string]string{"list": "done", "get": "done", "watch": "done", "retire": "not allowed", "rotate": "not allowed", "revoke": "not allowed"} {
			if kind := kindOfError(calls[what](viewer)); kind != want {
				t.Errorf("the viewer wants to %s: %s", what, kind)
			}
		}
		for what, want := range map[string]string{"list": "done", "get": "done", "watch": "done", "retire": "not found", "rotate": "done"} {
			if kind := kindOfError(calls[what](manager)); kind != want {
				t.Errorf("the manager wants to %s: %s", what, kind)
			}
		}
		if kind := w.kindOf(t, manager, puller); kind != quaygen.KindDenied {
			t.Errorf("the manager asks for a pull secret: %v", kind)
		}
	})
}

func TestWhatCannotBeDoneWithARobotIsSaidInPublicTerms(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.add(t, "fixed", "k8s_fixed", "app")
		w.specs[1].Strategy = rotation.None
		w.start(t)
		w.get(t, puller)
		first, err := w.service.Robot(viewer, robot)
		if err != nil {
			t.Fatal(err)
		}
		for _, test := range []struct {
			what string
			err  error
			want quaygen.Kind
		}{
			{"a robot that is not configured", w.service.Rotate(t.Context(), manager, rotation.Ref{Name: "nothing"}), quaygen.KindUnknown},
			{"a namespace that a shared robot does not have", w.service.Rotate(t.Context(), manager, rotation.Ref{Name: "puller", Namespace: "prod-shop"}), quaygen.KindUnknown},
			{"no name", w.service.Rotate(t.Context(), manager, rotation.Ref{}), quaygen.KindInvalid},
			{"what is not rotated here", w.service.Rotate(t.Context(), manager, rotation.Ref{Name: "fixed"}), quaygen.KindConflict},
			{"what is served", w.service.Retire(t.Context(), manager, robot, first.Current), quaygen.KindConflict},
			{"a number that nothing has", w.service.Retire(t.Context(), manager, robot, 1), quaygen.KindUnknown},
		} {
			if got := quaygen.AsError(test.err); test.err == nil || got.Kind != test.want {
				t.Errorf("%s: %v", test.what, test.err)
			}
		}
		if err := w.service.Rotate(t.Context(), manager, robot); err != nil {
			t.Fatal(err)
		}
		err = w.service.Rotate(t.Context(), manager, robot)
		if e := quaygen.AsError(err); err == nil || e.Kind != quaygen.KindConflict || e.RetryAfter < 24*time.Hour || e.RetryAfter > 200*time.Hour {
			t.Errorf("a rotation upon another: %v, try again after %v", err, quaygen.AsError(err).RetryAfter)
		}
	})
}

func TestAnOrderGoesOnWhenItsCallerLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.start(t)
		w.get(t, puller)
		before, _ := w.service.Robot(viewer, robot)
		mended := w.quay.Inject(quaytest.Fault{Operation: "robot.create", Status: 503})
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		if kind := kindOfError(w.service.Rotate(ctx, manager, robot)); kind != quaygen.KindUnfinished.String() {
			t.Fatalf("after its time was over: %s", kind)
		}
		mended()
		time.Sleep(10 * time.Minute)
		if after, _ := w.service.Robot(viewer, robot); after.Current <= before.Current {
			t.Errorf("generation %d, then %d", before.Current, after.Current)
		}
	})
}

func TestNamesAreThoseThatTheCallerMayHave(t *testing.T) {
	w := newWorld(t)
	w.add(t, "other", "k8s_other", "app")
	w.join("both", "puller", "other")
	w.service.Apply(&quaygen.Settings{Rules: w.rules, Secrets: w.parts})
	for _, test := range []struct {
		caller    policy.Caller
		namespace string
		want      []string
	}{
		{eso, "prod-shop", []string{"both", "puller"}},
		{eso, "dev-shop", nil},
		{everything, "any", []string{"both", "other", "puller"}},
		{manager, "prod-shop", nil},
		{policy.Caller{Name: "everything", Namespace: "team-a"}, "team-b", nil},
	} {
		names, err := w.service.Names(test.caller, test.namespace)
		if diff := cmp.Diff(test.want, names); err != nil || diff != "" {
			t.Errorf("%s in %s: %v\n%s", test.caller.Name, test.namespace, err, diff)
		}
	}
	if _, err := w.service.Names(eso, "Not_A_Namespace"); quaygen.AsError(err).Kind != quaygen.KindInvalid {
		t.Errorf("an impossible namespace: %v", err)
	}
}

func TestACheckSaysWhatARequestWouldSayAndMakesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.add(t, "own", "k8s_own", "app")
		w.specs[1].Scope, w.specs[1].Idle = rotation.PerNamespace, 720*time.Hour
		w.parts["own"] = quaygen.PullSecret{Parts: []quaygen.Part{{Robot: "own", Host: "quay.test", PerNamespace: true}}}
		w.rules = policy.Rules{
			{Clients: []string{"eso"}, Namespaces: []string{"prod-*"}, Names: []string{"puller"}},
			{Clients: []string{"eso"}, Namespaces: []string{"own"}, Names: []string{"own"}},
			{Clients: []string{"eso"}, Namespaces: []string{"all"}, Names: []string{"*"}},
		}
		mended := w.quay.Inject(quaytest.Fault{Operation: "permission.put", Status: 503})
		w.start(t)
		time.Sleep(time.Minute)
		check := func(namespace string) string {
			_, err := w.service.Check(eso, namespace)
			return kindOfError(err)
		}
		if got := check("prod-shop"); got != "not ready" {
			t.Errorf("before there is a credential: %s", got)
		}
		if got := check("own"); got != "done" {
			t.Errorf("what is made when asked for: %s", got)
		}
		if notes, err := w.service.Check(eso, "all"); err != nil || len(notes) != 1 {
			t.Errorf("one of two is not ready: %q, %v", notes, err)
		}
		if got := check("dev-shop"); got != "not allowed" {
			t.Errorf("without a rule: %s", got)
		}
		if got := check(""); got != "done" {
			t.Errorf("without a namespace: %s", got)
		}
		for _, c := range []policy.Caller{{Name: "who"}, manager} {
			if _, err := w.service.Check(c, ""); err == nil {
				t.Errorf("without a namespace, %s is told that all is well", c.Name)
			}
		}
		mended()
		time.Sleep(time.Minute)
		if got := check("prod-shop"); got != "done" {
			t.Errorf("with Quay mended: %s", got)
		}
		for _, r := range w.quay.Ever("myorg") {
			if !strings.HasPrefix(r.Short, "k8s_puller_g") {
				t.Errorf("the check made %s", r.Short)
			}
		}
	})
}
