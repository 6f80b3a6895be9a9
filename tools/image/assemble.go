package main

import (
	"fmt"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

const entrypoint = "/generator"

// config is how the image is run, but for labels. The Dockerfile says the same, and a test compares.
func config() v1.Config {
	return v1.Config{
		User:         "65532:65532",
		ExposedPorts: map[string]struct{}{"8443/tcp": {}, "9443/tcp": {}, "9090/tcp": {}},
		Entrypoint:   []string{entrypoint},
		Cmd:          []string{"serve", "--config=/etc/quaygen/generator.yaml"},
		WorkingDir:   "/",
	}
}

const annotation = "org.opencontainers.image."

// labels are the keys that registries and scanners read, in the image's configuration and on its index.
func (s stamp) labels() map[string]string {
	return map[string]string{
		annotation + "title":         "quaygen",
		annotation + "description":   "Image pull secrets for private Quay organizations, rotated without breaking a pull",
		annotation + "url":           "https://github.com/quaygen/quaygen",
		annotation + "source":        "https://github.com/quaygen/quaygen",
		annotation + "documentation": "https://github.com/quaygen/quaygen/blob/main/README.md",
		annotation + "licenses":      "Apache-2.0",
		annotation + "version":       s.version,
		annotation + "revision":      s.revision,
		annotation + "created":       s.created.Format(time.RFC3339),
	}
}

// assemble makes the image of one platform: a layer that seldom changes, and the program.
func assemble(base v1.Layer, program *binary, s stamp) (v1.Image, error) {
	layer, err := layerOf([]file{programFile(program)}, s.created)
	if err != nil {
		return nil, err
	}
	image := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	created := v1.Time{Time: s.created}
	image, err = mutate.Append(image,
		mutate.Addendum{Layer: base, MediaType: types.OCILayer, History: v1.History{Created: created, CreatedBy: "certificate authorities, user"}},
		mutate.Addendum{Layer: layer, MediaType: types.OCILayer, History: v1.History{Created: created, CreatedBy: "generator"}},
	)
	if err != nil {
		return nil, err
	}
	was, err := image.ConfigFile()
	if err != nil {
		return nil, err
	}
	file := was.DeepCopy()
	file.OS, file.Architecture, _ = strings.Cut(program.platform, "/")
	file.Created, file.Config = created, config()
	file.Config.Labels = s.labels()
	return mutate.ConfigFile(image, file)
}

// platformImage is an image with its platform, and what goes beside it.
type platformImage struct {
	*binary
	image v1.Image
	bill  []byte // of materials, CycloneDX in JSON
}

// plain is an image that says of itself that it is no artifact; else its descriptor in an index would call it one.
type plain struct{ v1.Image }

func (plain) ArtifactType() (string, error) { return "", nil }

// index holds the images of all platforms: its digest is the digest of what is released.
func index(images []platformImage, s stamp) (v1.ImageIndex, error) {
	out := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for _, i := range images {
		platform, err := v1.ParsePlatform(i.platform)
		if err != nil {
			return nil, err
		}
		out = mutate.AppendManifests(out, mutate.IndexAddendum{Add: plain{i.image}, Descriptor: v1.Descriptor{Platform: platform}})
	}
	annotated, ok := mutate.Annotations(out, s.labels()).(v1.ImageIndex)
	if !ok {
		return nil, fmt.Errorf("annotating the index made something else of it: %T", annotated)
	}
	return annotated, nil
}
