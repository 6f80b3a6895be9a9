package quaygen

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/quaygen/quaygen/pkg/quaygen/audit"
	"github.com/quaygen/quaygen/pkg/quaygen/policy"
	"github.com/quaygen/quaygen/pkg/quaygen/tracing"
)

// Names returns the pull secrets that caller may have for namespace in the default format, sorted. The error says that the
// namespace is none, or that it cannot be told yet: a list that is short of one would be taken for its deletion.
func (s *Service) Names(caller policy.Caller, namespace string) ([]string, error) {
	return s.names(caller, namespace, FormatDockerConfigJSON)
}

// names returns those that caller may have in one of the formats.
func (s *Service) names(caller policy.Caller, namespace string, formats ...Format) ([]string, error) {
	if !IsNamespace(namespace) {
		return nil, &Error{Kind: KindInvalid, Detail: fmt.Sprintf("%q cannot be a namespace of Kubernetes", Clip(namespace))}
	}
	settings := s.settings.Load()
	var names []string
	for _, name := range slices.Sorted(maps.Keys(settings.Secrets)) {
		switch settings.decide(caller, namespace, name, formats...).Outcome {
		case policy.Allowed:
			names = append(names, name)
		case policy.Open:
			return nil, errOpen()
		default:
		}
	}
	return names, nil
}

// GetAll answers requests for several names of one namespace, in their order; an error if one has none. It waits for all
// that are being minted together, no longer than [Service.Get] does for one.
func (s *Service) GetAll(ctx context.Context, caller policy.Caller, namespace string, names []string) ([]*Answer, error) {
	waiting, cancel := context.WithTimeout(ctx, maxWait)
	defer cancel()
	ended, end := context.WithCancel(tracing.Without(ctx))
	end()
	for _, name := range names {
		// It does not wait, but begins what is made when it is asked for.
		_, _, _ = s.get(ended, caller, Request{Name: name, Namespace: namespace})
	}
	answers := make([]*Answer, len(names))
	var trail []audit.Entry
	var failed error
	for i, name := range names {
		r := Request{Name: name, Namespace: namespace}
		answer, decision, err := s.get(waiting, caller, r)
		answers[i] = answer
		trail = append(trail, request(caller, r, decision, answer, err))
		if failed = err; failed != nil {
			break
		}
	}
	if err := s.audit(ctx, trail...); err != nil {
		return nil, err
	}
	if failed != nil {
		return nil, failed
	}
	return answers, nil
}

// Tagged reports whether a pull secret has all these tags, with these values. Tags say which registry, organization,
// strategy and scope its robots have, where all have the same.
func (s *Service) Tagged(name string, tags map[string]string) bool {
	has := s.settings.Load().Secrets[name].Tags
	for key, value := range tags {
		if v, ok := has[key]; !ok || v != value {
			return false
		}
	}
	return true
}

// Exists reports whether there is a pull secret, to a caller that may have it in whichever format.
func (s *Service) Exists(ctx context.Context, caller policy.Caller, r Request) (bool, error) {
	settings := s.settings.Load()
	if _, err := s.authorize(ctx, settings, caller, r, everyFormat...); err != nil {
		return false, err
	}
	_, ok := settings.Secrets[r.Name]
	return ok, nil
}

// Check says whether requests of caller for namespace would be answered, without making anything: the error is that of a
// request if all would fail. The notes are about pull secrets that are not ready, while others are. Without a namespace it is
// about the caller's own; of a caller that has none, all that is checked is whether some rule speaks of it.
func (s *Service) Check(caller policy.Caller, namespace string) (notes []string, err error) {
	switch {
	case caller.OperatorOnly:
		return nil, &Error{Kind: KindDenied, Detail: "this client looks after robots only; it may not have pull secrets"}
	case namespace != "":
	case caller.Namespace != "":
		namespace = caller.Namespace
		notes = append(notes, fmt.Sprintf("this client may have pull secrets for the namespace %q only", Clip(namespace)))
	case s.settings.Load().decide(caller, "any", "any", everyFormat...).Outcome == policy.NoRule:
		return nil, &Error{Kind: KindDenied, Detail: "no rule of quaygen's configuration speaks of this client"}
	default:
		return nil, nil
	}
	names, err := s.names(caller, namespace, everyFormat...)
	if err != nil {
		return nil, err
	}
	if len(names) == 0 {
		return nil, &Error{Kind: KindDenied, Detail: fmt.Sprintf("no rule of quaygen's configuration lets this client have a pull secret for the namespace %q", Clip(namespace))}
	}
	settings := s.settings.Load()
	var first error
	failed := 0
	for _, name := range names {
		if err := s.ready(settings.Secrets[name], namespace); err != nil {
			if failed++; failed == 1 {
				first = err
			}
			notes = append(notes, name+": "+AsError(err).Detail)
		}
	}
	if failed == len(names) {
		return nil, first
	}
	return notes, nil
}

// ready says why a pull secret could not be handed out now. A namespace's robot that does not exist yet is made when it is
// asked for, so that its absence is no reason.
func (s *Service) ready(secret PullSecret, namespace string) error {
	for _, part := range secret.Parts {
		ref := part.ref(namespace)
		if part.PerNamespace {
			if _, known := s.engine.Status(ref); !known {
				continue
			}
		}
		if _, err := s.engine.Current(ref); err != nil {
			return translate(err)
		}
	}
	return nil
}
