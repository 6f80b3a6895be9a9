// Package pull pulls images the way a kubelet does: with what the pull secret
// itself says, read by somebody else's code.
package pull

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/authn/kubernetes"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	corev1 "k8s.io/api/core/v1"
)

// ErrRefused is wrapped when the registry did not take the credential, or does
// not let it pull this image.
var ErrRefused = errors.New("pull refused")

// ErrNoEntry is returned when the secret has nothing for the image.
var ErrNoEntry = errors.New("the pull secret has no entry for the image")

// Entry returns the one entry of a pull secret.
func Entry(secret *corev1.Secret) (authn.AuthConfig, error) {
	var config struct {
		Auths map[string]authn.AuthConfig `json:"auths"`
	}
	// The error of encoding/json shows nothing of what it read but a character.
	if err := json.Unmarshal(secret.Data[corev1.DockerConfigJsonKey], &config); err != nil {
		return authn.AuthConfig{}, fmt.Errorf("reading the pull secret: %w", err)
	}
	all := slices.Collect(maps.Values(config.Auths))
	if len(all) != 1 {
		return authn.AuthConfig{}, fmt.Errorf("the pull secret has %d entries, not one", len(all))
	}
	return all[0], nil
}

// Image pulls an image, every layer of it, with one pull secret, and returns its
// digest. Nothing is tried twice: a pull that would work a moment later failed.
func Image(ctx context.Context, via http.RoundTripper, secret *corev1.Secret, image string) (string, error) {
	ref, err := name.ParseReference(image, name.StrictValidation)
	if err != nil {
		return "", fmt.Errorf("pulling: %w", err)
	}
	auth, err := credential(ctx, secret, ref)
	if err != nil {
		return "", fmt.Errorf("pulling %s: %w", image, err)
	}
	digest, err := pull(ctx, via, auth, ref)
	if refusal, ok := errors.AsType[*transport.Error](err); ok && (refusal.StatusCode == http.StatusUnauthorized || refusal.StatusCode == http.StatusForbidden) {
		err = fmt.Errorf("%w: %w", ErrRefused, err)
	}
	if err != nil {
		return "", fmt.Errorf("pulling %s: %w", image, err)
	}
	return digest, nil
}

// credential finds the entry for an image by the rules of the kubelet.
func credential(ctx context.Context, secret *corev1.Secret, ref name.Reference) (authn.Authenticator, error) {
	keychain, err := kubernetes.NewFromPullSecrets(ctx, []corev1.Secret{*secret})
	if err != nil {
		return nil, fmt.Errorf("reading the pull secret: %w", err)
	}
	auth, err := keychain.Resolve(ref.Context())
	if err != nil {
		return nil, fmt.Errorf("looking into the pull secret: %w", err)
	}
	if auth == authn.Anonymous {
		return nil, ErrNoEntry
	}
	return auth, nil
}

func pull(ctx context.Context, via http.RoundTripper, auth authn.Authenticator, ref name.Reference) (string, error) {
	image, err := remote.Image(ref, remote.WithContext(ctx), remote.WithTransport(via), remote.WithAuth(auth),
		remote.WithRetryStatusCodes(), remote.WithRetryPredicate(func(error) bool { return false }))
	if err != nil {
		return "", err
	}
	layers, err := image.Layers()
	if err != nil {
		return "", err
	}
	for _, layer := range layers {
		content, err := layer.Compressed()
		if err != nil {
			return "", err
		}
		// Reading to the end also checks the digest.
		_, err = io.Copy(io.Discard, content)
		if err := errors.Join(err, content.Close()); err != nil {
			return "", err
		}
	}
	digest, err := image.Digest()
	return digest.String(), err
}
