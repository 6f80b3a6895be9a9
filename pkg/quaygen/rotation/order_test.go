package rotation_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/quaygen/quaygen/pkg/quaygen/rotation"
)

// A process that starts knows the robot of such a namespace by a hash alone, until the namespace asks.
func TestALeakedCredentialOfANamespaceKnownByItsHashAloneCanBeRevoked(t *testing.T) {
	for _, named := range []string{"the namespace", "the hash"} {
		t.Run("by "+named, func(t *testing.T) {
			namespaced(t, func(t *testing.T, s *scene) {
				one, stopOne := s.start()
				leaked := s.ask(one, "a--b")
				stopOne()
				two, stopTwo := s.start()
				defer stopTwo()
				s.pass(s.spec.Sync)
				ref := rotation.Ref{Name: "puller", Namespace: "a--b"}
				if hash := two.Statuses()[0].Namespace; named == "the hash" {
					ref.Namespace = hash
				}
				if status, ok := two.Status(ref); !ok || status.Current != leaked.Generation || !strings.HasPrefix(status.Namespace, "h_") {
					t.Fatalf("known: %v, as of %q, serving %d", ok, status.Namespace, status.Current)
				}
				if through, err := two.Revoke(t.Context(), ref, -1); err != nil || through != leaked.Generation {
					t.Fatalf("revoked through %d, not %d: %v", through, leaked.Generation, err)
				}
				if s.alive(leaked) || len(s.robots()) != 1 {
					t.Errorf("%s lives, among %v", leaked.Robot, s.robots())
				}
				if _, err := two.Rotate(t.Context(), ref); err != nil {
					t.Errorf("rotating: %v", err)
				}
			})
		})
	}
}

func TestAnOrderBeginsNoRobot(t *testing.T) {
	namespaced(t, func(t *testing.T, s *scene) {
		e, stop := s.start()
		defer stop()
		s.pass(s.spec.Sync)
		for _, namespace := range []string{"", "team-a", "h_0123456789abcdef0123", "No Namespace"} {
			ref := rotation.Ref{Name: "puller", Namespace: namespace}
			if _, err := e.Rotate(t.Context(), ref); !errors.Is(err, rotation.ErrUnknownRobot) {
				t.Errorf("%q: %v", namespace, err)
			}
			if _, known := e.Status(ref); known {
				t.Errorf("%q is known", namespace)
			}
		}
		s.pass(s.spec.Sync)
		if robots := s.robots(); len(robots) > 0 || len(e.Statuses()) > 0 {
			t.Errorf("there is %v", robots)
		}
	})
}
