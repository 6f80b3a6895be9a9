package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"golang.org/x/crypto/x509roots/fallback/bundle"
)

// file is one of the image's, owned by root. A directory needs no entry: it comes with what is in it.
type file struct {
	path    string // relative
	mode    os.FileMode
	content []byte
}

// baseFiles are what the program wants around it: authorities to check Quay's certificate against, and a name for its
// user. There is no shell, no C library and no data on time zones, since all times are in UTC; nothing is written, so
// there is no /tmp.
func baseFiles() ([]file, error) {
	authorities, err := authorities()
	if err != nil {
		return nil, err
	}
	return []file{
		{path: "etc/group", mode: 0o644, content: []byte("root:x:0:\nnonroot:x:65532:\n")},
		{path: "etc/passwd", mode: 0o644, content: []byte("root:x:0:0:root:/:/sbin/nologin\nnonroot:x:65532:65532:nonroot:/:/sbin/nologin\n")},
		{path: "etc/ssl/certs/ca-certificates.crt", mode: 0o644, content: authorities},
	}, nil
}

// authorities are Mozilla's, as the Go authors publish them in a module, in PEM. One that is trusted for certificates
// of up to some day only is left out, because PEM cannot say so.
func authorities() ([]byte, error) {
	var out bytes.Buffer
	for root := range bundle.Roots() {
		if root.Constraint != nil {
			continue
		}
		certificate, err := x509.ParseCertificate(root.Certificate)
		if err != nil {
			return nil, fmt.Errorf("reading the bundle of authorities: %w", err)
		}
		fmt.Fprintf(&out, "# %s\n", certificate.Subject)
		if err := pem.Encode(&out, &pem.Block{Type: "CERTIFICATE", Bytes: root.Certificate}); err != nil {
			return nil, err
		}
	}
	return out.Bytes(), nil
}

func programFile(b *binary) file {
	return file{path: strings.TrimPrefix(entrypoint, "/"), mode: 0o755, content: b.content}
}

// layerOf packs files. Nothing but their paths, modes and contents, and created, has an influence on the digest.
func layerOf(files []file, created time.Time) (v1.Layer, error) {
	var packed bytes.Buffer
	w := tar.NewWriter(&packed)
	seen := map[string]bool{}
	header := func(h tar.Header) error {
		h.ModTime, h.Format = created, tar.FormatUSTAR
		return w.WriteHeader(&h)
	}
	slices.SortFunc(files, func(a, b file) int { return strings.Compare(a.path, b.path) })
	for _, f := range files {
		for _, dir := range parents(f.path) {
			if seen[dir] {
				continue
			}
			seen[dir] = true
			if err := header(tar.Header{Typeflag: tar.TypeDir, Name: dir + "/", Mode: 0o755}); err != nil {
				return nil, err
			}
		}
		if err := header(tar.Header{Typeflag: tar.TypeReg, Name: f.path, Mode: int64(f.mode.Perm()), Size: int64(len(f.content))}); err != nil {
			return nil, err
		}
		if _, err := w.Write(f.content); err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	opener := func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(packed.Bytes())), nil }
	return tarball.LayerFromOpener(opener, tarball.WithCompressionLevel(gzip.BestCompression), tarball.WithMediaType(types.OCILayer), tarball.WithCompressedCaching)
}

// parents are the directories above name, the outermost first.
func parents(name string) []string {
	var out []string
	for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
		out = append(out, dir)
	}
	slices.Reverse(out)
	return out
}

// writeRoot writes what the image of a platform holds into a directory.
func writeRoot(ctx context.Context, source, platform, out string) error {
	if !slices.Contains(platforms, platform) {
		return fmt.Errorf("-platform %q is none of %s", platform, strings.Join(platforms, ", "))
	}
	if out == "" {
		return errors.New("-out DIRECTORY is needed")
	}
	if err := os.MkdirAll(out, 0o755); err != nil { //nolint:gosec // the image's user reads it
		return err
	}
	if there, err := os.ReadDir(out); err != nil || len(there) > 0 {
		return errors.Join(err, fmt.Errorf("%s is not empty", out))
	}
	program, err := compile(ctx, source, platform)
	if err != nil {
		return err
	}
	files, err := baseFiles()
	if err != nil {
		return err
	}
	for _, f := range append(files, programFile(program)) {
		target := filepath.Join(out, filepath.FromSlash(f.path))
		if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil { //nolint:gosec // as above
			return err
		}
		if err := os.WriteFile(target, f.content, f.mode); err != nil { //nolint:gosec // whoever runs this says where to write
			return err
		}
	}
	return nil
}
