// Package parts builds the programs that the cluster stories run.
//
// Each comes from a Go module of its own beside this one, because their
// dependencies exclude each other, and is verified against that module's
// go.sum. Built programs are kept under .cache/e2e in the repository, under a
// name that depends on everything that went into them: they are reused when
// present and built when not, and nothing breaks when the directory goes.
package parts

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
)

// Part is a module whose programs are built together.
type Part struct {
	module   string   // its directory below e2e
	packages []string // the mains in it
	ldflags  string
}

// Kubernetes holds etcd, kube-apiserver and kube-controller-manager.
//
// Without the version flags the API server would call itself v0.0.0-master,
// and what depends on its version would take it for an ancient one.
var Kubernetes = Part{
	module:   "kube",
	packages: []string{"./etcd", "./kube-apiserver", "./kube-controller-manager"},
	ldflags: "-X k8s.io/component-base/version.gitVersion=v1.34.4" +
		" -X k8s.io/component-base/version.gitMajor=1" +
		" -X k8s.io/component-base/version.gitMinor=34",
}

// ESO holds eso, the External Secrets Operator.
var ESO = Part{module: "eso", packages: []string{"."}}

// Build returns the directory with p's programs, each under its directory's
// name, after building what is missing. A cold build takes minutes.
func (p Part) Build(ctx context.Context) (string, error) {
	e2e, err := moduleDir(ctx)
	if err != nil {
		return "", err
	}
	src := filepath.Join(e2e, p.module)
	key, err := p.key(src)
	if err != nil {
		return "", fmt.Errorf("hashing part %s: %w", p.module, err)
	}
	cache := filepath.Join(filepath.Dir(e2e), ".cache", "e2e")
	out := filepath.Join(cache, p.module+"-"+key)

	if _, err := os.Stat(out); err == nil {
		return out, nil // nobody has to wait for another part
	}
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return "", fmt.Errorf("making the cache: %w", err)
	}
	// One build at a time, also among test binaries: linking an API server
	// takes more than a gigabyte, and two builds would do the same work twice.
	unlock, err := lock(ctx, filepath.Join(cache, "lock"))
	if err != nil {
		return "", err
	}
	defer unlock()
	if _, err := os.Stat(out); err == nil {
		return out, nil
	}
	if err := p.compile(ctx, src, out); err != nil {
		return "", fmt.Errorf("building part %s: %w", p.module, err)
	}
	return out, nil
}

// compile builds into a temporary directory and renames it, so that a build
// that was interrupted is never mistaken for a finished one.
func (p Part) compile(ctx context.Context, src, out string) error {
	tmp, err := os.MkdirTemp(filepath.Dir(out), p.module+"-building-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	args := append(p.flags(), "-o", tmp+string(filepath.Separator))
	if _, err := goTool(ctx, src, append(args, p.packages...)...); err != nil {
		return err
	}
	// What an earlier version left is some 200 MB that nobody asks for again.
	old, err := filepath.Glob(filepath.Join(filepath.Dir(out), p.module+"-*"))
	if err != nil {
		return err
	}
	if err := os.Rename(tmp, out); err != nil {
		return err
	}
	for _, dir := range old {
		if err := os.RemoveAll(dir); err != nil {
			return err
		}
	}
	return nil
}

// flags: stripped, because that halves the link and nobody debugs a part.
func (p Part) flags() []string {
	return []string{"build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w " + p.ldflags}
}

// key is a hash over everything that decides what is built: the toolchain, the
// flags, go.mod and go.sum, and the module's own few files.
func (p Part) key(src string) (string, error) {
	h := sha256.New()
	fmt.Fprintln(h, runtime.Version(), runtime.GOOS, runtime.GOARCH, p.flags(), p.packages)
	err := filepath.WalkDir(src, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		if name := d.Name(); name != "go.mod" && name != "go.sum" && filepath.Ext(name) != ".go" {
			return nil
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(src, path)
		if err != nil {
			return err
		}
		fmt.Fprintf(h, "%s %d\n%s\n", filepath.ToSlash(rel), len(content), content)
		return nil
	})
	return hex.EncodeToString(h.Sum(nil))[:16], err
}

// Product builds programs of this repository itself, such as ./cmd/generator,
// into dir. It always asks the go command, whose own cache makes that cheap:
// the stories must run the code as it is now.
func Product(ctx context.Context, dir string, packages ...string) error {
	return product(ctx, dir, packages...)
}

// product takes flags before the packages.
func product(ctx context.Context, dir string, args ...string) error {
	e2e, err := moduleDir(ctx)
	if err != nil {
		return err
	}
	all := append([]string{"build", "-o", dir + string(filepath.Separator)}, args...)
	if _, err := goTool(ctx, filepath.Dir(e2e), all...); err != nil {
		return fmt.Errorf("building %s: %w", strings.Join(args, ", "), err)
	}
	return nil
}

// CRDs returns the bundle of ESO's custom resource definitions, as released
// with the very version that ESO is built from.
func CRDs(ctx context.Context) ([]byte, error) {
	e2e, err := moduleDir(ctx)
	if err != nil {
		return nil, err
	}
	// Download first: with the programs in the cache, the module may not be.
	src := filepath.Join(e2e, ESO.module)
	const operator = "github.com/external-secrets/external-secrets"
	if _, err := goTool(ctx, src, "mod", "download", operator); err != nil {
		return nil, fmt.Errorf("fetching ESO's module: %w", err)
	}
	dir, err := goTool(ctx, src, "list", "-m", "-f", "{{.Dir}}", operator)
	if err != nil {
		return nil, fmt.Errorf("locating ESO's module: %w", err)
	}
	bundle, err := os.ReadFile(filepath.Join(dir, "deploy", "crds", "bundle.yaml"))
	if err != nil {
		return nil, fmt.Errorf("reading ESO's CRDs: %w", err)
	}
	return bundle, nil
}

// moduleDir is this module's directory. Tests run in their package's directory,
// so the go command finds it from there.
func moduleDir(ctx context.Context) (string, error) {
	mod, err := goTool(ctx, "", "env", "GOMOD")
	if err != nil {
		return "", fmt.Errorf("locating the e2e module: %w", err)
	}
	dir := filepath.Dir(mod)
	if filepath.Base(dir) != "e2e" {
		return "", fmt.Errorf("locating the e2e module: run from within it, not in %s", dir)
	}
	return dir, nil
}

// goTool runs the go command in dir and returns what it printed.
func goTool(ctx context.Context, dir string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = dir
	// A workspace would put every part back into one build list. Without cgo a
	// part needs no C compiler and is the same everywhere.
	cmd.Env = append(os.Environ(), "GOWORK=off", "CGO_ENABLED=0")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", errors.Join(fmt.Errorf("go %s: %w", strings.Join(args, " "), err),
			errors.New(strings.TrimSpace(stderr.String())))
	}
	return strings.TrimSpace(string(out)), nil
}
