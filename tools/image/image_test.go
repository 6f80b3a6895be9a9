package main

import (
	"archive/tar"
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"log"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/google/go-containerregistry/pkg/v1/validate"
)

var someStamp = stamp{version: "v1.2.3", revision: "0123abcd", created: time.Date(2026, 11, 25, 22, 0, 0, 0, time.UTC)}

// programs stands in for what the Go command would have built.
func programs() []*binary {
	var out []*binary
	for _, platform := range platforms {
		out = append(out, &binary{platform: platform, content: []byte("program for " + platform), info: &debug.BuildInfo{
			GoVersion: "go1.26.8", Main: debug.Module{Path: "github.com/quaygen/quaygen", Version: someStamp.version},
		}})
	}
	return out
}

// made assembles the images of programs.
func made(t *testing.T) (v1.ImageIndex, []platformImage) {
	t.Helper()
	files, err := baseFiles()
	if err != nil {
		t.Fatal(err)
	}
	base, err := layerOf(files, someStamp.created)
	if err != nil {
		t.Fatal(err)
	}
	var images []platformImage
	for _, program := range programs() {
		image, err := assemble(base, program, someStamp)
		if err != nil {
			t.Fatal(err)
		}
		images = append(images, platformImage{binary: program, image: image, bill: []byte(`{"bomFormat":"CycloneDX"} ` + program.platform)})
	}
	all, err := index(images, someStamp)
	if err != nil {
		t.Fatal(err)
	}
	return all, images
}

// written returns the content of all files below a directory.
func written(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := os.ReadFile(path)
		relative, _ := filepath.Rel(dir, path)
		out[relative] = string(content)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestTheSameProgramsGiveTheSameFilesInAnyDirectory(t *testing.T) {
	var results []map[string]string
	for range 2 {
		dir := t.TempDir()
		all, images := made(t)
		if err := writeLayout(filepath.Join(dir, "image"), all, images, someStamp); err != nil {
			t.Fatal(err)
		}
		if err := writeRelease(filepath.Join(dir, "release"), all, images, someStamp); err != nil {
			t.Fatal(err)
		}
		results = append(results, written(t, dir))
	}
	if diff := cmp.Diff(results[0], results[1]); diff != "" {
		t.Error(diff)
	}
	if sums := results[0]["release/SHA256SUMS"]; strings.Count(sums, "\n") != 5 || !strings.Contains(sums, "  generator-linux-arm64.cdx.json\n") {
		t.Errorf("SHA256SUMS:\n%s", sums)
	}
}

func TestTheOrderOfFilesDoesNotChangeALayer(t *testing.T) {
	files := []file{{path: "a/b", mode: 0o644, content: []byte("b")}, {path: "a/c", mode: 0o755, content: []byte("c")}, {path: "d", mode: 0o600}}
	digest := func(files []file) v1.Hash {
		layer, err := layerOf(slices.Clone(files), someStamp.created)
		if err != nil {
			t.Fatal(err)
		}
		h, err := layer.Digest()
		if err != nil {
			t.Fatal(err)
		}
		return h
	}
	first := digest(files)
	slices.Reverse(files)
	if second := digest(files); second != first {
		t.Errorf("%s, and %s in another order", first, second)
	}
}

func TestAnImageIsValidAndSaysWhatItIs(t *testing.T) {
	all, images := made(t)
	dir := t.TempDir()
	if err := writeLayout(dir, all, images, someStamp); err != nil {
		t.Fatal(err)
	}
	if read, err := layout.ImageIndexFromPath(dir); err != nil {
		t.Error(err)
	} else if err := validate.Index(read); err != nil {
		t.Error(err)
	}
	manifest, err := all.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	if manifest.MediaType != types.OCIImageIndex || manifest.Annotations["org.opencontainers.image.version"] != "v1.2.3" {
		t.Errorf("the index: %s, %v", manifest.MediaType, manifest.Annotations)
	}
	for n, d := range manifest.Manifests {
		if d.Platform.String() != images[n].platform || d.ArtifactType != "" || d.MediaType != types.OCIManifestSchema1 {
			t.Errorf("%d: %+v", n, d)
		}
		file, err := images[n].image.ConfigFile()
		if err != nil {
			t.Fatal(err)
		}
		if file.OS+"/"+file.Architecture != images[n].platform || !file.Created.Equal(someStamp.created) {
			t.Errorf("%s: configuration of %s/%s, created %s", images[n].platform, file.OS, file.Architecture, file.Created)
		}
		want := config()
		want.Labels = someStamp.labels()
		if diff := cmp.Diff(want, file.Config); diff != "" {
			t.Error(diff)
		}
	}
}

func TestTheRootFileSystemHoldsTheProgramAndNothingThatOthersMayWrite(t *testing.T) {
	_, images := made(t)
	got := map[string]int64{}
	content := mutate.Extract(images[1].image)
	defer content.Close()
	r := tar.NewReader(content)
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if h.Uid != 0 || h.Gid != 0 || h.Uname != "" || h.Mode&0o022 != 0 {
			t.Errorf("%s belongs to %d:%d, mode %o", h.Name, h.Uid, h.Gid, h.Mode)
		}
		if h.Typeflag == tar.TypeReg {
			got[h.Name] = h.Mode
		}
	}
	want := map[string]int64{"generator": 0o755, "etc/passwd": 0o644, "etc/group": 0o644, "etc/ssl/certs/ca-certificates.crt": 0o644}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestTheAuthoritiesAreCertificatesThatAreTrustedWithoutConditions(t *testing.T) {
	text, err := authorities()
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		t.Fatal("not one certificate")
	}
	count := 0
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil || !c.IsCA {
			t.Errorf("%v: CA %v", err, c.IsCA)
		}
		count++
	}
	if count < 100 {
		t.Errorf("%d authorities: Mozilla has more", count)
	}
	if !strings.Contains(string(text), "ISRG Root X1") {
		t.Error("Let's Encrypt is not among them")
	}
}

func TestAPushKeepsTheDigestAndWhatRefersToTheImages(t *testing.T) {
	server := httptest.NewServer(registry.New(registry.WithReferrersSupport(true), registry.Logger(quiet)))
	defer server.Close()
	dir := t.TempDir()
	all, images := made(t)
	if err := writeLayout(dir, all, images, someStamp); err != nil {
		t.Fatal(err)
	}
	repository := strings.TrimPrefix(server.URL, "http://") + "/quaygen/quaygen"
	var out bytes.Buffer
	if err := push(t.Context(), dir, repository, &out); err != nil {
		t.Fatal(err)
	}
	digest, err := all.Digest()
	if err != nil {
		t.Fatal(err)
	}
	if want := repository + "@" + digest.String() + "\n"; out.String() != want {
		t.Errorf("printed %q, want %q", out.String(), want)
	}
	tag, err := name.NewTag(repository + ":v1.2.3")
	if err != nil {
		t.Fatal(err)
	}
	if pushed, err := remote.Head(tag); err != nil || pushed.Digest != digest {
		t.Errorf("the tag is %v, %v", pushed, err)
	}
	for _, image := range images {
		of, err := image.image.Digest()
		if err != nil {
			t.Fatal(err)
		}
		referrers, err := remote.Referrers(tag.Digest(of.String()))
		if err != nil {
			t.Fatal(err)
		}
		manifest, err := referrers.IndexManifest()
		if err != nil || len(manifest.Manifests) != 1 {
			t.Fatalf("%s: %v, %+v", image.platform, err, manifest)
		}
		if bill := billIn(t, tag.Digest(manifest.Manifests[0].Digest.String())); bill != string(image.bill) {
			t.Errorf("%s: the bill of materials is %q", image.platform, bill)
		}
	}
}

// billIn reads the artifact of a bill of materials.
func billIn(t *testing.T, of name.Digest) string {
	t.Helper()
	artifact, err := remote.Image(of)
	if err != nil {
		t.Fatal(err)
	}
	if manifest, err := artifact.Manifest(); err != nil || manifest.ArtifactType != billType {
		t.Fatalf("%v, %+v", err, manifest)
	}
	layers, err := artifact.Layers()
	if err != nil || len(layers) != 1 {
		t.Fatalf("%d layers, %v", len(layers), err)
	}
	content, err := layers[0].Compressed()
	if err != nil {
		t.Fatal(err)
	}
	defer content.Close()
	text, err := io.ReadAll(content)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestAnArchiveHoldsTheIndexAloneUnderItsName(t *testing.T) {
	all, images := made(t)
	archive, err := archiveOf(all, images, someStamp)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	r := tar.NewReader(bytes.NewReader(archive))
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		content, _ := io.ReadAll(r)
		path := filepath.Join(dir, h.Name)
		_ = os.MkdirAll(filepath.Dir(path), 0o755)
		if err := os.WriteFile(path, content, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	loaded, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := loaded.IndexManifest()
	if err != nil || len(manifest.Manifests) != 1 || manifest.Manifests[0].Annotations[refName] != "v1.2.3" {
		t.Errorf("%v, %+v", err, manifest)
	}
	if images[0].bill == nil {
		t.Error("the bills of materials got lost on the way")
	}
}

var quiet = log.New(io.Discard, "", 0)
