package grpcapi

import (
	"context"
	"fmt"
	"regexp"
	"regexp/syntax"
	"slices"
	"strings"

	"github.com/quaygen/quaygen/pkg/quaygen"
	providerv1 "github.com/quaygen/quaygen/proto/externalsecrets/provider/v1"
)

// provider answers for stores of the External Secrets Operator (ESO) whose runtimeRef leads here. ESO shows code and message of an error in
// the ExternalSecret's event, so messages are written for whoever reads them there. On NotFound it may delete the Secret.
//
// What a store's providerRef names is not looked at, but for its namespace.
type provider struct {
	providerv1.UnsafeSecretStoreProviderServer
	*Server
}

// clusterStore is the one kind of store whose reference may name another namespace than the caller's.
const clusterStore = "ClusterSecretStore"

// own refuses a namespaced store's reference to another namespace: without its admission webhook ESO passes it on. Key is what
// was asked for.
func (s *provider) own(ctx context.Context, ref *providerv1.ProviderReference, namespace, key string) error {
	err := own(ref, namespace)
	if err == nil {
		return nil
	}
	return s.Service.Refuse(ctx, of(ctx).caller, quaygen.Request{Name: key, Namespace: namespace}, err)
}

func own(ref *providerv1.ProviderReference, namespace string) error {
	if ref.GetStoreRefKind() != clusterStore && ref.GetNamespace() != "" && ref.GetNamespace() != namespace {
		return &quaygen.Error{Kind: quaygen.KindDenied, Detail: fmt.Sprintf("a SecretStore may refer to its own namespace only; its providerRef names %q", quaygen.Clip(ref.GetNamespace()))}
	}
	return nil
}

// get finds a pull secret. The property says which value is meant, and with it the format; none means the default format.
func (s *provider) get(ctx context.Context, ref *providerv1.ProviderReference, remote *providerv1.ExternalSecretDataRemoteRef, namespace string) (*quaygen.Answer, error) {
	c := of(ctx)
	c.name, c.namespace = remote.GetKey(), namespace
	if err := s.own(ctx, ref, namespace, c.name); err != nil {
		return nil, err
	}
	request := quaygen.Request{Name: c.name, Namespace: namespace, Property: remote.GetProperty()}
	format, err := formatOf(request.Property)
	if err != nil {
		return nil, s.Service.Refuse(ctx, c.caller, request, err)
	}
	request.Format = string(format)
	return s.Service.Get(ctx, c.caller, request)
}

// formatOf returns the format whose data has the property.
func formatOf(property string) (quaygen.Format, error) {
	if property == "" {
		return quaygen.FormatDockerConfigJSON, nil
	}
	format, ok := quaygen.FormatWith(property)
	if !ok {
		return "", invalid("a pull secret has no property %q; it has %s", quaygen.Clip(property), strings.Join(quaygen.Properties(), ", "))
	}
	return format, nil
}

// GetSecret returns one value: that of the property, .dockerconfigjson if there is none.
func (s *provider) GetSecret(ctx context.Context, r *providerv1.GetSecretRequest) (*providerv1.GetSecretResponse, error) {
	answer, err := s.get(ctx, r.GetProviderRef(), r.GetRemoteRef(), r.GetSourceNamespace())
	if err != nil {
		return nil, err
	}
	property := r.GetRemoteRef().GetProperty()
	if property == "" {
		property = ".dockerconfigjson"
	}
	response := &providerv1.GetSecretResponse{Value: []byte(answer.Data()[property])}
	if !answer.Valid() { // the last thing before the credential leaves
		return nil, quaygen.ErrExpired(answer.Name())
	}
	return response, nil
}

// GetSecretMap returns all values of a format; with a property that one alone.
func (s *provider) GetSecretMap(ctx context.Context, r *providerv1.GetSecretMapRequest) (*providerv1.GetSecretMapResponse, error) {
	answer, err := s.get(ctx, r.GetProviderRef(), r.GetRemoteRef(), r.GetSourceNamespace())
	if err != nil {
		return nil, err
	}
	response := quaygen.Memo(answer, secretMap)
	if property := r.GetRemoteRef().GetProperty(); property != "" {
		response = &providerv1.GetSecretMapResponse{Secrets: map[string][]byte{property: response.GetSecrets()[property]}}
	}
	if !answer.Valid() { // the last thing before the credential leaves
		return nil, quaygen.ErrExpired(answer.Name())
	}
	return response, nil
}

func secretMap(a *quaygen.Answer) *providerv1.GetSecretMapResponse {
	return &providerv1.GetSecretMapResponse{Secrets: bytesOf(a.Data())}
}

// What bounds a pattern to find names with. It is whoever writes an ExternalSecret that chooses it, and counts such as
// (a?){999} are worked off one by one, for each character of each name.
const (
	maxPattern  = 256  // characters
	maxCounting = 1000 // parts, if each count were written out
)

// GetAllSecrets returns the .dockerconfigjson of each pull secret that the caller may have for the namespace and whose name and
// tags fit, by name. One that is not ready fails the call: ESO would take a missing one for one that was deleted. On an empty
// answer it may delete the Secret, as on NotFound, and whether nothing fits or the caller may not have it is not told apart;
// so it is an error.
func (s *provider) GetAllSecrets(ctx context.Context, r *providerv1.GetAllSecretsRequest) (*providerv1.GetAllSecretsResponse, error) {
	caller, namespace, find := of(ctx).caller, r.GetSourceNamespace(), r.GetFind()
	if err := s.own(ctx, r.GetProviderRef(), namespace, ""); err != nil {
		return nil, err
	}
	names, err := s.Service.Names(caller, namespace)
	if err != nil {
		return nil, err
	}
	pattern, err := namePattern(find)
	if err != nil {
		return nil, err
	}
	names = slices.DeleteFunc(names, func(name string) bool {
		return !pattern.MatchString(name) || !strings.HasPrefix(name, find.GetPath()) || !s.Service.Tagged(name, find.GetTags())
	})
	if len(names) == 0 {
		err := &quaygen.Error{Kind: quaygen.KindDenied, Detail: fmt.Sprintf("there is no pull secret that this client may have for the namespace %q and that fits find", quaygen.Clip(namespace))}
		return nil, s.Service.Refuse(ctx, caller, quaygen.Request{Namespace: namespace}, err)
	}
	answers, err := s.Service.GetAll(ctx, caller, namespace, names)
	if err != nil {
		return nil, err
	}
	response := &providerv1.GetAllSecretsResponse{Secrets: map[string][]byte{}}
	for _, answer := range answers {
		response.Secrets[answer.Name()] = []byte(answer.Data()[".dockerconfigjson"])
	}
	for _, answer := range answers {
		if !answer.Valid() { // the last thing before the credentials leave
			return nil, quaygen.ErrExpired(answer.Name())
		}
	}
	return response, nil
}

func namePattern(find *providerv1.ExternalSecretFind) (*regexp.Regexp, error) {
	text := find.GetName().GetRegexp()
	if len(text) > maxPattern {
		return nil, invalid("find.name.regexp is longer than %d characters", maxPattern)
	}
	parsed, err := syntax.Parse(text, syntax.Perl)
	if err != nil {
		return nil, invalid("find.name.regexp: %v", err)
	}
	if writtenOut(parsed) > maxCounting {
		return nil, invalid("find.name.regexp counts too far: its repetitions come to more than %d parts", maxCounting)
	}
	pattern, err := regexp.Compile(text)
	if err != nil {
		return nil, invalid("find.name.regexp: %v", err)
	}
	return pattern, nil
}

// writtenOut is how many parts a pattern has when what is counted is written as often as it may occur.
func writtenOut(re *syntax.Regexp) int {
	n := 1
	for _, sub := range re.Sub {
		n += writtenOut(sub)
	}
	if re.Op == syntax.OpRepeat {
		n *= max(re.Min, re.Max, 1)
	}
	return n
}

// SecretExists reports whether there is a pull secret of that name; whether it is ready does not matter.
func (s *provider) SecretExists(ctx context.Context, r *providerv1.SecretExistsRequest) (*providerv1.SecretExistsResponse, error) {
	c, namespace, key := of(ctx), r.GetSourceNamespace(), r.GetRemoteRef().GetRemoteKey()
	c.name, c.namespace = key, namespace
	if err := s.own(ctx, r.GetProviderRef(), namespace, key); err != nil {
		return nil, err
	}
	exists, err := s.Service.Exists(ctx, c.caller, quaygen.Request{Name: key, Namespace: namespace})
	if err != nil {
		return nil, err
	}
	return &providerv1.SecretExistsResponse{Exists: exists}, nil
}

// Validate says whether requests from the namespace would be answered, and why not. Of a cluster-wide store ESO names no namespace; then
// what can be said is whether the client may have anything at all.
func (s *provider) Validate(ctx context.Context, r *providerv1.ValidateRequest) (*providerv1.ValidateResponse, error) {
	notes, err := []string(nil), own(r.GetProviderRef(), r.GetSourceNamespace())
	if err == nil {
		notes, err = s.Service.Check(of(ctx).caller, r.GetSourceNamespace())
	}
	if err != nil {
		return &providerv1.ValidateResponse{Error: quaygen.AsError(err).Detail}, nil
	}
	return &providerv1.ValidateResponse{Valid: true, Warnings: notes}, nil
}

// Capabilities says that pull secrets are read, not written.
func (s *provider) Capabilities(context.Context, *providerv1.CapabilitiesRequest) (*providerv1.CapabilitiesResponse, error) {
	return &providerv1.CapabilitiesResponse{Capabilities: providerv1.SecretStoreCapabilities_READ_ONLY}, nil
}

// PushSecret is not offered.
func (s *provider) PushSecret(context.Context, *providerv1.PushSecretRequest) (*providerv1.PushSecretResponse, error) {
	return nil, &quaygen.Error{Kind: quaygen.KindUnsupported, Detail: "quaygen makes its credentials itself; nothing can be pushed to it"}
}

// DeleteSecret is not offered.
func (s *provider) DeleteSecret(context.Context, *providerv1.DeleteSecretRequest) (*providerv1.DeleteSecretResponse, error) {
	return nil, &quaygen.Error{Kind: quaygen.KindUnsupported, Detail: "pull secrets are what quaygen's configuration says; they cannot be deleted from here"}
}
