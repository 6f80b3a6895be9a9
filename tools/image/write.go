package main

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
)

// refName is the annotation of an index that names what it points to, and imageName the one that containerd reads.
const (
	refName   = "org.opencontainers.image.ref.name"
	imageName = "io.containerd.image.name"
)

// buildAll builds every platform's image and writes below out:
//
//	image/                          OCI layout: the index of all platforms and, referring to its images, their bills of materials
//	release/quaygen-image.tar       the index alone, for skopeo, podman load and docker load
//	release/generator-OS-ARCH       the programs, and beside each its bill of materials, .cdx.json
//	release/SHA256SUMS
func buildAll(ctx context.Context, source, out, sourceDateEpoch string, stdout io.Writer) error {
	images, s, err := makeImages(ctx, source, sourceDateEpoch)
	if err != nil {
		return err
	}
	all, err := index(images, s)
	if err != nil {
		return err
	}
	layoutDir, release := filepath.Join(out, "image"), filepath.Join(out, "release")
	if err := writeLayout(layoutDir, all, images, s); err != nil {
		return err
	}
	if err := writeRelease(release, all, images, s); err != nil {
		return err
	}
	return report(stdout, all, images, s)
}

func makeImages(ctx context.Context, source, sourceDateEpoch string) ([]platformImage, stamp, error) {
	var images []platformImage
	var s stamp
	for _, platform := range platforms {
		program, err := compile(ctx, source, platform)
		if err != nil {
			return nil, s, err
		}
		if s, err = program.stamp(sourceDateEpoch); err != nil {
			return nil, s, err
		}
		images = append(images, platformImage{binary: program})
	}
	files, err := baseFiles()
	if err != nil {
		return nil, s, err
	}
	base, err := layerOf(files, s.created)
	if err != nil {
		return nil, s, err
	}
	authorities, err := authoritiesVersion()
	if err != nil {
		return nil, s, err
	}
	for i := range images {
		if images[i].image, err = assemble(base, images[i].binary, s); err != nil {
			return nil, s, err
		}
		dirs, err := moduleDirs(ctx, source, images[i].info.Deps)
		if err != nil {
			return nil, s, err
		}
		licences := func(module string) []string {
			if module == authorities.Path {
				return []string{"BSD-3-Clause"} // as all of golang.org/x; the certificates are their owners' own
			}
			return licencesIn(dirs[module])
		}
		if images[i].bill, err = billOfMaterials(images[i].binary, s, authorities, licences); err != nil {
			return nil, s, err
		}
	}
	return images, s, nil
}

// authoritiesVersion is what this program itself was built with.
func authoritiesVersion() (debug.Module, error) {
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, m := range info.Deps {
			if m.Path == authoritiesModule {
				return *m, nil
			}
		}
	}
	return debug.Module{}, fmt.Errorf("this program does not know its version of %s", authoritiesModule)
}

// writeLayout replaces the directory.
func writeLayout(dir string, all v1.ImageIndex, images []platformImage, s stamp) error {
	if err := os.RemoveAll(dir); err != nil { //nolint:gosec // whoever runs this says where to write
		return err
	}
	path, err := layout.Write(dir, empty.Index)
	if err != nil {
		return err
	}
	named := layout.WithAnnotations(map[string]string{refName: s.tag(), imageName: "ghcr.io/quaygen/quaygen:" + s.tag()})
	if err := path.AppendIndex(all, named); err != nil {
		return err
	}
	for _, i := range images {
		if i.bill == nil {
			continue // in an archive
		}
		about, err := refer(i.image, i.bill, s)
		if err != nil {
			return err
		}
		if err := path.AppendImage(about); err != nil {
			return err
		}
	}
	// The library's modes depend on the umask.
	return filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error { //nolint:gosec // as above
		if err != nil || entry.IsDir() {
			return err
		}
		return os.Chmod(path, 0o644) //nolint:gosec // there is nothing secret in an image
	})
}

// writeRelease replaces the directory with the files that a release has beside the image.
func writeRelease(dir string, all v1.ImageIndex, images []platformImage, s stamp) error {
	if err := errors.Join(os.RemoveAll(dir), os.MkdirAll(dir, 0o755)); err != nil { //nolint:gosec // for everybody
		return err
	}
	sums := map[string][sha256.Size]byte{}
	write := func(name string, mode os.FileMode, content []byte) error {
		sums[name] = sha256.Sum256(content)
		return os.WriteFile(filepath.Join(dir, name), content, mode) //nolint:gosec // whoever runs this says where to write
	}
	for _, i := range images {
		name := "generator-" + strings.ReplaceAll(i.platform, "/", "-")
		if err := errors.Join(write(name, 0o755, i.content), write(name+".cdx.json", 0o644, i.bill)); err != nil {
			return err
		}
	}
	archive, err := archiveOf(all, images, s)
	if err != nil {
		return err
	}
	if err := write("quaygen-image.tar", 0o644, archive); err != nil {
		return err
	}
	var list strings.Builder
	for _, name := range slices.Sorted(maps.Keys(sums)) {
		fmt.Fprintf(&list, "%x  %s\n", sums[name], name)
	}
	return write("SHA256SUMS", 0o644, []byte(list.String()))
}

// archiveOf packs the layout of the index, without what refers to it: programs that load an archive want one thing in it.
func archiveOf(all v1.ImageIndex, images []platformImage, s stamp) ([]byte, error) {
	parent, err := os.MkdirTemp("", "quaygen-archive-")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(parent) }()
	dir := filepath.Join(parent, "image")
	if err := writeLayout(dir, all, withoutBills(images), s); err != nil {
		return nil, err
	}
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	err = fs.WalkDir(os.DirFS(dir), ".", func(path string, entry fs.DirEntry, err error) error { // in lexical order
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := os.ReadFile(filepath.Join(dir, path))
		if err != nil {
			return err
		}
		header := &tar.Header{Typeflag: tar.TypeReg, Name: path, Mode: 0o644, Size: int64(len(content)), ModTime: s.created, Format: tar.FormatUSTAR}
		if err := w.WriteHeader(header); err != nil {
			return err
		}
		_, err = w.Write(content)
		return err
	})
	if err := errors.Join(err, w.Close()); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

func withoutBills(images []platformImage) []platformImage {
	out := slices.Clone(images)
	for i := range out {
		out[i].bill = nil
	}
	return out
}

// report prints the digest and what each platform's image weighs for those who pull it.
func report(stdout io.Writer, all v1.ImageIndex, images []platformImage, s stamp) error {
	digest, err := all.Digest()
	if err != nil {
		return err
	}
	fmt.Fprintf(stdout, "quaygen %s, commit %s, %s\n%s\n", s.version, s.revision, s.created.Format(time.RFC3339), digest)
	for _, i := range images {
		manifest, err := i.image.Manifest()
		if err != nil {
			return err
		}
		var size int64
		for _, layer := range manifest.Layers {
			size += layer.Size
		}
		own, err := i.image.Digest()
		if err != nil {
			return err
		}
		fmt.Fprintf(stdout, "%s  %s  %.1f MB compressed\n", i.platform, own, float64(size)/1e6)
	}
	return nil
}
