package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// push uploads the index of a layout under its name as the tag, and all that refers to its images, and prints the
// reference by digest. Who it is to the registry is read as docker does, from what `docker login` wrote.
func push(ctx context.Context, from, to string, stdout io.Writer) error {
	repository, err := name.NewRepository(to)
	if err != nil {
		return fmt.Errorf("-to: %w", err)
	}
	all, err := layout.ImageIndexFromPath(from)
	if err != nil {
		return fmt.Errorf("reading what `image build` wrote: %w", err)
	}
	manifest, err := all.IndexManifest()
	if err != nil {
		return err
	}
	options := []remote.Option{remote.WithContext(ctx), remote.WithAuthFromKeychain(authn.DefaultKeychain)}
	var pushed *name.Digest
	for _, d := range manifest.Manifests { // the index is the first: a registry may refuse what refers to nothing
		reference := repository.Digest(d.Digest.String())
		if tag, named := d.Annotations[refName]; named {
			err = pushIndex(all, d.Digest, repository.Tag(tag), options)
			pushed = &reference
		} else {
			err = pushImage(all, d.Digest, reference, options)
		}
		if err != nil {
			return fmt.Errorf("pushing %s: %w", reference, err)
		}
	}
	if pushed == nil {
		return errors.New("the layout holds nothing with a name")
	}
	_, err = fmt.Fprintln(stdout, pushed)
	return err
}

func pushIndex(all v1.ImageIndex, digest v1.Hash, to name.Tag, options []remote.Option) error {
	index, err := all.ImageIndex(digest)
	if err != nil {
		return err
	}
	return remote.WriteIndex(to, index, options...)
}

func pushImage(all v1.ImageIndex, digest v1.Hash, to name.Digest, options []remote.Option) error {
	image, err := all.Image(digest)
	if err != nil {
		return err
	}
	return remote.Write(to, image, options...)
}
