package quaygen_test

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/quaygen/quaygen/pkg/quaygen"
	"github.com/quaygen/quaygen/pkg/quaygen/policy"
)

// ruled returns a world with one rule for eso, which says nothing of namespaces by name, and what is known of labels.
func ruled(t *testing.T, formats []string, labels func(string) policy.Labels) *world {
	t.Helper()
	w := newWorld(t)
	w.start(t)
	w.service.Apply(&quaygen.Settings{Secrets: w.parts, Labels: labels, Rules: policy.Rules{
		{Clients: []string{"eso"}, NamespaceLabels: map[string]string{"team": "shop"}, Names: []string{"puller"}, Formats: formats},
	}})
	return w
}

func always(k policy.Knowledge, labels map[string]string) func(string) policy.Labels {
	return func(string) policy.Labels { return policy.Labels{Knowledge: k, Values: labels} }
}

func TestWhatIsPermittedInOneFormatIsRefusedInOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := ruled(t, []string{"basic"}, always(policy.LabelsKnown, map[string]string{"team": "shop"}))
		basic, other := puller, puller
		basic.Format, other.Format = "basic", "dockercfg"
		if _, err := w.service.Get(t.Context(), eso, basic); err != nil {
			t.Error(err)
		}
		for _, r := range []quaygen.Request{puller, other} { // the default is a format like any other
			if kind := w.kindOf(t, eso, r); kind != quaygen.KindDenied {
				t.Errorf("%q: %v", r.Format, kind)
			}
		}
		if found, err := w.service.Exists(t.Context(), eso, quaygen.Request{Name: "puller", Namespace: "prod-shop"}); err != nil || !found {
			t.Errorf("Exists: %v, %v", found, err)
		}
		if names, err := w.service.Names(eso, "prod-shop"); err != nil || len(names) > 0 {
			t.Errorf("names in the default format: %v, %v", names, err)
		}
		if _, err := w.service.Check(eso, "prod-shop"); err != nil {
			t.Errorf("Check: %v", err)
		}
	})
}

func TestAFormatThatDoesNotExistIsToldToWhoeverMayHaveAnother(t *testing.T) {
	w := ruled(t, []string{"basic"}, always(policy.LabelsKnown, map[string]string{"team": "shop"}))
	r := puller
	r.Format = "xml"
	for client, want := range map[string]quaygen.Kind{"eso": quaygen.KindInvalid, "stranger": quaygen.KindDenied} {
		if kind := w.kindOf(t, policy.Caller{Name: client}, r); kind != want {
			t.Errorf("%s: %v", client, kind)
		}
	}
}

func TestWhatDependsOnLabelsIsNotReadyUntilTheyAreKnownAndNeverDeniedOrUnknown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := ruled(t, nil, always(policy.LabelsLater, nil))
		_, err := w.service.Get(t.Context(), eso, puller)
		if e := quaygen.AsError(err); err == nil || e.Kind != quaygen.KindNotReady || e.RetryAfter <= 0 || strings.Contains(e.Detail, "shop") {
			t.Errorf("Get: %v", err)
		}
		if names, err := w.service.Names(eso, "prod-shop"); err == nil || quaygen.AsError(err).Kind != quaygen.KindNotReady {
			t.Errorf("Names are %v, %v: what is missing there would be deleted", names, err)
		}
		if _, err := w.service.Exists(t.Context(), eso, puller); err == nil || quaygen.AsError(err).Kind != quaygen.KindNotReady {
			t.Errorf("Exists: %v", err)
		}
		if _, err := w.service.Check(eso, "prod-shop"); err == nil || quaygen.AsError(err).Kind != quaygen.KindNotReady {
			t.Errorf("Check: %v", err)
		}
		if kind := w.kindOf(t, everything, puller); kind != quaygen.KindDenied {
			t.Errorf("who no rule speaks of: %v", kind)
		}
	})
}

func TestLabelsDecideAsTheyAreAtThatMoment(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		now := policy.Labels{}
		var asked []string
		w := ruled(t, nil, func(namespace string) policy.Labels {
			asked = append(asked, namespace)
			return now
		})
		if kind := w.kindOf(t, eso, puller); kind != quaygen.KindDenied {
			t.Errorf("nobody knows labels: %v", kind)
		}
		now = policy.Labels{Knowledge: policy.LabelsKnown, Values: map[string]string{"team": "shop"}}
		if _, err := w.service.Get(t.Context(), eso, puller); err != nil {
			t.Errorf("they fit: %v", err)
		}
		now.Values = map[string]string{"team": "other"}
		if kind := w.kindOf(t, eso, puller); kind != quaygen.KindDenied {
			t.Errorf("they fit no longer: %v", kind)
		}
		if slices.ContainsFunc(asked, func(s string) bool { return s != "prod-shop" }) {
			t.Errorf("asked for the labels of %v", asked)
		}
	})
}
