package namespaces_test

import (
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"k8s.io/client-go/rest"

	"github.com/quaygen/quaygen/pkg/quaygen/namespaces"
	"github.com/quaygen/quaygen/pkg/quaygen/policy"
)

func need(t *testing.T, w *namespaces.Watcher) {
	t.Helper()
	if err := w.Need(); err != nil {
		t.Fatal(err)
	}
	if err := w.Need(); err != nil {
		t.Fatal(err)
	}
}

func TestLabelsAreThoseOfTheNamespaceAsItIs(t *testing.T) {
	inBubble(t, func(t *testing.T, s *apiServer, w *namespaces.Watcher) {
		s.set("a team=shop", "b", "c team=other tier=1", "d", "e team=shop")
		is(t, w, "a", policy.NoLabels)
		synctest.Wait()
		if needed, err := w.Status(); needed || err != nil || s.counted("") > 0 {
			t.Errorf("before anybody needs them: %v, %v, %d requests", needed, err, s.counted(""))
		}
		need(t, w)
		synctest.Wait()
		is(t, w, "a", policy.LabelsKnown, "team=shop")
		is(t, w, "b", policy.LabelsKnown)
		is(t, w, "e", policy.LabelsKnown, "team=shop") // on the third page
		is(t, w, "f", policy.NoLabels)
		is(t, w, "", policy.NoLabels)
		s.tell("MODIFIED", "a team=shop2")
		is(t, w, "a", policy.LabelsKnown, "team=shop2")
		s.tell("MODIFIED", "a")
		is(t, w, "a", policy.LabelsKnown)
		s.tell("ADDED", "f tier=2")
		is(t, w, "f", policy.LabelsKnown, "tier=2")
		s.tell("DELETED", "e team=shop")
		is(t, w, "e", policy.NoLabels)
		is(t, w, "c", policy.LabelsKnown, "team=other", "tier=1")
		if needed, err := w.Status(); !needed || err != nil {
			t.Errorf("%v, %v", needed, err)
		}
	})
}

func TestLabelsAreStillToComeUntilTheFirstListIsComplete(t *testing.T) {
	inBubble(t, func(t *testing.T, s *apiServer, w *namespaces.Watcher) {
		s.set("a team=shop")
		s.fail(http.StatusServiceUnavailable)
		need(t, w)
		synctest.Wait()
		is(t, w, "a", policy.LabelsLater)
		is(t, w, "nobody", policy.LabelsLater)
		if _, err := w.Status(); err == nil || !strings.Contains(err.Error(), "it is 503") {
			t.Errorf("status: %v", err)
		}
		time.Sleep(time.Minute)
		if n := s.counted("limit"); n < 3 || n > 12 {
			t.Errorf("%d tries in a minute", n)
		}
		s.fail(0)
		time.Sleep(namespaces.MaxSilence / 5)
		is(t, w, "a", policy.LabelsKnown, "team=shop")
		if _, err := w.Status(); err != nil {
			t.Errorf("status: %v", err)
		}
	})
}

// A label may be taken away while the API server cannot be heard.
func TestLabelsCountOnlyWhileTheAPIServerIsHeard(t *testing.T) {
	inBubble(t, func(t *testing.T, s *apiServer, w *namespaces.Watcher) {
		s.set("a team=shop")
		need(t, w)
		synctest.Wait()
		for range 30 {
			time.Sleep(time.Minute)
			s.tell("BOOKMARK", "x")
			is(t, w, "a", policy.LabelsKnown, "team=shop")
		}
		s.fail(http.StatusBadGateway)
		s.hangUp(io.ErrUnexpectedEOF)
		time.Sleep(namespaces.MaxSilence - time.Minute)
		is(t, w, "a", policy.LabelsKnown, "team=shop")
		time.Sleep(time.Minute + time.Second)
		is(t, w, "a", policy.LabelsLater)
		s.set("a team=other")
		s.fail(0)
		time.Sleep(time.Minute)
		is(t, w, "a", policy.LabelsKnown, "team=other")
	})
}

func TestAWatchOnWhichNothingIsHeardIsGivenUp(t *testing.T) {
	inBubble(t, func(t *testing.T, s *apiServer, w *namespaces.Watcher) {
		s.set("a team=shop")
		need(t, w)
		synctest.Wait()
		s.set("a team=other") // an event that is lost with its connection
		time.Sleep(3 * time.Minute)
		is(t, w, "a", policy.LabelsKnown, "team=other")
	})
}

func TestAWatchThatEndsGoesOnWhereItWas(t *testing.T) {
	inBubble(t, func(t *testing.T, s *apiServer, w *namespaces.Watcher) {
		s.set("a team=shop")
		need(t, w)
		synctest.Wait()
		time.Sleep(90 * time.Second)
		s.tell("MODIFIED", "a team=other") // at version 11
		s.hangUp(nil)
		synctest.Wait()
		if s.counted("limit") != 1 || s.counted("watch=1") != 2 || s.counted("resourceVersion=11") != 1 {
			t.Errorf("%v", s.requests)
		}
		s.tell("MODIFIED", "a team=third")
		is(t, w, "a", policy.LabelsKnown, "team=third")
		s.hangUp(nil) // at once
		synctest.Wait()
		if s.counted("watch=1") > 3 {
			t.Error("a watch that ends at once is asked for again and again")
		}
	})
}

func TestAnEventThatIsNoneLeadsToANewList(t *testing.T) {
	inBubble(t, func(t *testing.T, s *apiServer, w *namespaces.Watcher) {
		s.set("a team=shop")
		need(t, w)
		synctest.Wait()
		s.set("a team=other")
		s.tell("ERROR", "x")
		time.Sleep(2 * time.Second)
		is(t, w, "a", policy.LabelsKnown, "team=other")
	})
}

func TestMissingRightsAreTold(t *testing.T) {
	inBubble(t, func(t *testing.T, s *apiServer, w *namespaces.Watcher) {
		s.fail(http.StatusForbidden)
		need(t, w)
		synctest.Wait()
		is(t, w, "a", policy.LabelsLater)
		if _, err := w.Status(); err == nil || !strings.Contains(err.Error(), "namespace-labels") || strings.Contains(err.Error(), "of-a-service-account") {
			t.Errorf("%v", err)
		}
	})
}

func TestOutsideOfAClusterNoNamespaceHasLabels(t *testing.T) {
	w := namespaces.New(func() (*rest.Config, error) { return nil, errors.New("no cluster here") }, slog.New(slog.DiscardHandler))
	if err := w.Need(); err == nil || !strings.Contains(err.Error(), "no cluster here") {
		t.Errorf("%v", err)
	}
	is(t, w, "a", policy.NoLabels)
	if needed, err := w.Status(); !needed || err == nil {
		t.Errorf("%v, %v", needed, err)
	}
}
