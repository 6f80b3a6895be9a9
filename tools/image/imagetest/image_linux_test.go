package imagetest

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
)

// mostCompressed is what the image of a platform may weigh at most, in bytes.
const mostCompressed = 25e6

func TestTheImage(t *testing.T) {
	first := clone(t, "a")
	makeImage(t, first)
	t.Run("has the same bytes when built from another directory, with other times of files and an empty cache", func(t *testing.T) {
		second := clone(t, "a/directory/elsewhere")
		touch(t, second, time.Date(2020, 2, 2, 2, 2, 2, 0, time.UTC))
		makeImage(t, second, "GOCACHE="+t.TempDir(), "GOFLAGS=-p=2 -mod=mod", "TZ=Asia/Tokyo", "LANG=C", "GOAMD64=v2", "GOARM64=v8.1")
		if diff := cmp.Diff(sums(t, filepath.Join(first, "bin")), sums(t, filepath.Join(second, "bin"))); diff != "" {
			t.Errorf("first (-) and second (+) build differ:\n%s", diff)
		}
	})
	t.Run("holds a static program and nothing larger than it must be", func(t *testing.T) {
		for _, platform := range []struct {
			architecture string
			machine      elf.Machine
		}{{"amd64", elf.EM_X86_64}, {"arm64", elf.EM_AARCH64}} {
			image := imageFor(t, first, platform.architecture)
			isStatic(t, filepath.Join(unpack(t, image), "generator"), platform.machine)
			if size := compressed(t, image); size > mostCompressed {
				t.Errorf("%s: %d bytes compressed", platform.architecture, size)
			}
		}
	})
	t.Run("says its version, commit and date", func(t *testing.T) {
		image := imageFor(t, first, runtime.GOARCH)
		output, err := contain(t.Context(), unpack(t, image), t.TempDir(), "/generator", "--version").CombinedOutput()
		if want := versionOf(t, image, runtime.GOARCH); err != nil || string(output) != want {
			t.Errorf("%v, printed %q, want %q", err, output, want)
		}
		t.Logf("%s", output)
	})
	t.Run("says the same for arm64, where there is an emulator", func(t *testing.T) {
		emulator, err := exec.LookPath("qemu-aarch64-static")
		if err != nil {
			t.Skip("NOT RUN: the program for arm64, for want of qemu-aarch64-static (Debian's package qemu-user-static)")
		}
		image := imageFor(t, first, "arm64")
		output, err := exec.CommandContext(t.Context(), emulator, filepath.Join(unpack(t, image), "generator"), "--version").CombinedOutput()
		if want := versionOf(t, image, "arm64"); err != nil || string(output) != want {
			t.Errorf("%v, printed %q, want %q", err, output, want)
		}
		t.Logf("%s", output)
	})
	t.Run("serves a pull secret that pulls, as a user without rights on a file system that it cannot write to", func(t *testing.T) {
		serves(t, first, unpack(t, imageFor(t, first, runtime.GOARCH)), labelsOf(t, imageFor(t, first, runtime.GOARCH)))
	})
}

// clone makes a clone of the last commit: what is not committed is not tested here.
func clone(t *testing.T, name string) string {
	t.Helper()
	source, err := filepath.Abs("../../..")
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), name)
	command(t, exec.CommandContext(t.Context(), "git", "clone", "--quiet", "file://"+source, dir))
	return dir
}

func command(t *testing.T, cmd *exec.Cmd) string {
	t.Helper()
	output, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", cmd, err, output)
	}
	return string(output)
}

func makeImage(t *testing.T, dir string, env ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "make", "--no-print-directory", "image")
	cmd.Dir, cmd.Env = dir, append(os.Environ(), env...)
	started := time.Now()
	t.Logf("%s(%s)", command(t, cmd), time.Since(started).Round(time.Second))
}

// touch gives every file that Git knows another time.
func touch(t *testing.T, dir string, at time.Time) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && entry.IsDir() && entry.Name() == ".git" {
			return fs.SkipDir
		}
		return errors.Join(err, os.Chtimes(path, at, at))
	})
	if err != nil {
		t.Fatal(err)
	}
}

// sums is what is in the files below a directory.
func sums(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := os.ReadFile(path)
		out[strings.TrimPrefix(path, dir)] = fmt.Sprintf("%x", sha256.Sum256(content))
		return err
	})
	if err != nil || len(out) < 10 {
		t.Fatalf("%d files below %s: %v", len(out), dir, err)
	}
	return out
}

// imageFor reads the image of an architecture from the layout that a clone's `make image` wrote.
func imageFor(t *testing.T, dir, architecture string) v1.Image {
	t.Helper()
	all, err := layout.ImageIndexFromPath(filepath.Join(dir, "bin", "image"))
	if err != nil {
		t.Fatal(err)
	}
	top, err := all.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	index, err := all.ImageIndex(top.Manifests[0].Digest)
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range manifest.Manifests {
		if d.Platform.Architecture == architecture {
			image, err := index.Image(d.Digest)
			if err != nil {
				t.Fatal(err)
			}
			return image
		}
	}
	t.Fatalf("there is no image for %s", architecture)
	return nil
}

// unpack writes an image's files into a directory, with the places where a runtime mounts.
func unpack(t *testing.T, image v1.Image) string {
	t.Helper()
	root := filepath.Join(t.TempDir(), "root")
	content := mutate.Extract(image)
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
		path := filepath.Join(root, h.Name)
		if h.Typeflag == tar.TypeDir {
			continue
		}
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		file, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_EXCL, h.FileInfo().Mode())
		if err != nil {
			t.Fatal(err)
		}
		_, err = io.Copy(file, r)
		if err := errors.Join(err, file.Close()); err != nil {
			t.Fatal(err)
		}
	}
	for _, place := range []string{"proc", "etc/quaygen"} {
		if err := os.MkdirAll(filepath.Join(root, place), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func isStatic(t *testing.T, path string, machine elf.Machine) {
	t.Helper()
	program, err := elf.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = program.Close() }()
	libraries, _ := program.ImportedLibraries()
	if program.Machine != machine || len(libraries) > 0 || program.Section(".interp") != nil {
		t.Errorf("%s: for %s, with %q", path, program.Machine, libraries)
	}
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	goroot := strings.TrimSpace(command(t, exec.CommandContext(t.Context(), "go", "env", "GOROOT")))
	for _, place := range []string{os.TempDir() + "/", goroot + "/src", mustHome(t) + "/"} {
		if bytes.Contains(content, []byte(place)) {
			t.Errorf("the program contains %q, a path of the machine that built it", place)
		}
	}
}

func mustHome(t *testing.T) string {
	t.Helper()
	home, err := os.UserHomeDir()
	if err != nil {
		t.Fatal(err)
	}
	return home
}

func compressed(t *testing.T, image v1.Image) int64 {
	t.Helper()
	manifest, err := image.Manifest()
	if err != nil {
		t.Fatal(err)
	}
	size := manifest.Config.Size
	for _, layer := range manifest.Layers {
		size += layer.Size
	}
	return size
}

func labelsOf(t *testing.T, image v1.Image) map[string]string {
	t.Helper()
	file, err := image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	return file.Config.Labels
}

// versionOf is what --version has to print, by the labels.
func versionOf(t *testing.T, image v1.Image, architecture string) string {
	t.Helper()
	said := labelsOf(t, image)
	const prefix = "org.opencontainers.image."
	return fmt.Sprintf("generator version %s, commit %s, date %s, %s, linux/%s\n",
		said[prefix+"version"], said[prefix+"revision"], said[prefix+"created"], runtime.Version(), architecture)
}
