package main

import (
	"bytes"
	"encoding/json"
	"fmt"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// billType says what a bill of materials is, to those who ask a registry what refers to an image.
const billType = "application/vnd.cyclonedx+json"

const emptyType types.MediaType = "application/vnd.oci.empty.v1+json"

// artifact is a manifest that refers to an image, as OCI 1.1 has it: one blob, and an empty configuration.
type artifact struct {
	manifest []byte
	blob     []byte
}

// refer makes the artifact that says of subject what is in blob.
func refer(subject v1.Image, blob []byte, s stamp) (v1.Image, error) {
	descriptor, err := partial.Descriptor(subject)
	if err != nil {
		return nil, err
	}
	of, _, err := v1.SHA256(bytes.NewReader(blob))
	if err != nil {
		return nil, err
	}
	none, _, err := v1.SHA256(bytes.NewReader([]byte("{}")))
	if err != nil {
		return nil, err
	}
	manifest, err := json.Marshal(v1.Manifest{
		SchemaVersion: 2,
		MediaType:     types.OCIManifestSchema1,
		ArtifactType:  billType,
		Config:        v1.Descriptor{MediaType: emptyType, Size: 2, Digest: none, Data: []byte("{}")},
		Layers:        []v1.Descriptor{{MediaType: billType, Size: int64(len(blob)), Digest: of}},
		Subject:       &v1.Descriptor{MediaType: descriptor.MediaType, Size: descriptor.Size, Digest: descriptor.Digest},
		Annotations:   map[string]string{annotation + "created": s.labels()[annotation+"created"]},
	})
	if err != nil {
		return nil, err
	}
	return partial.CompressedToImage(&artifact{manifest: manifest, blob: blob})
}

// MediaType, RawManifest, RawConfigFile and LayerByDigest are what partial.CompressedToImage asks for.
func (a *artifact) MediaType() (types.MediaType, error) { return types.OCIManifestSchema1, nil }

func (a *artifact) RawManifest() ([]byte, error) { return a.manifest, nil }

func (a *artifact) RawConfigFile() ([]byte, error) { return []byte("{}"), nil }

func (a *artifact) LayerByDigest(h v1.Hash) (partial.CompressedLayer, error) {
	for blob, mediaType := range map[string]types.MediaType{string(a.blob): billType, "{}": emptyType} {
		layer := static.NewLayer([]byte(blob), mediaType)
		if digest, err := layer.Digest(); err != nil || digest == h {
			return layer, err
		}
	}
	return nil, fmt.Errorf("the artifact has no blob %s", h)
}
