package quaygen_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const (
	module = "github.com/quaygen/quaygen/"
	core   = module + "pkg/quaygen/"
)

// mayImport is the import direction of the module: for each package, which others of this module its production
// code may import. The leaves may be imported by all. Programs import anything but the doubles.
var mayImport = map[string][]string{
	"secret":                      {},
	"secret/secrettest":           {},
	"glob":                        {},
	"certificate":                 {},
	"certificate/certificatetest": {},
	"audit":                       {},
	"tracing":                     {},
	"tracing/otlp":                {"tracing"},

	"tracing/otlp/otlptest": {},
	"quay":                  {"tracing"},
	"dockerconfig":          {},
	"policy":                {"quay"},
	"ledger":                {"quay"},
	"ledger/ledgertest":     {"ledger", "quay"},
	"ledger/kubeledger":     {"ledger", "quay"},
	"rotation":              {"quay", "ledger", "tracing"},
	"auth":                  {"policy"},
	"":                      {"rotation", "policy", "dockerconfig", "quay", "audit", "tracing"},
	"config":                {"policy", "rotation", "quay", "dockerconfig"},
	"httpapi":               {"", "auth", "tracing"},
	"grpcapi":               {"", "auth", "policy", "rotation", "proto", "tracing"},
	"namespaces":            {"policy"},
	"controllers":           {""},
	"quay/quaytest":         {"quay"},
}

// leaves use nothing but the standard library.
var leaves = []string{"secret", "secret/secrettest", "glob", "certificate", "certificate/certificatetest"}

// mayUseKubernetes and mayUseGRPC list the packages, below pkg/quaygen, whose own code may import these.
var (
	mayUseKubernetes = []string{"auth", "ledger/kubeledger", "namespaces", "controllers"}
	mayUseGRPC       = []string{"grpcapi", "tracing/otlp", "tracing/otlp/otlptest"}
)

// mayUseOTel lists the packages whose own code may import OpenTelemetry's API. Its SDK and exporters are linked by nothing
// but the package that sends traces, and the program.
var mayUseOTel = []string{"tracing", "tracing/otlp", "tracing/otlp/otlptest", "quay", "rotation", "httpapi", "grpcapi"}

// kubernetesFree are the packages that may not even link Kubernetes modules through others.
var kubernetesFree = []string{"secret", "glob", "certificate", "audit", "quay", "dockerconfig", "policy", "ledger", "rotation", "", "config", "quay/quaytest"}

type listed struct {
	ImportPath string
	Imports    []string // of production code alone, not of tests
	Deps       []string // all that is linked
}

// listPackages goes on where a package does not compile (-e): that is for the compiler to report.
func listPackages(t *testing.T) map[string]listed {
	t.Helper()
	list := exec.CommandContext(t.Context(), "go", "list", "-e", "-json=ImportPath,Imports,Deps", module+"...")
	var stderr bytes.Buffer
	list.Stderr = &stderr
	out, err := list.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, stderr.String())
	}
	packages := map[string]listed{}
	decoder := json.NewDecoder(bytes.NewReader(out))
	for {
		var p listed
		if err := decoder.Decode(&p); errors.Is(err, io.EOF) {
			return packages
		} else if err != nil {
			t.Fatalf("reading the answer of go list: %v", err)
		}
		packages[p.ImportPath] = p
	}
}

// below returns the name of a package relative to pkg/quaygen, "" for that one itself; false for others.
func below(importPath string) (string, bool) {
	name, ok := strings.CutPrefix(importPath+"/", core)
	return strings.TrimSuffix(name, "/"), ok
}

func isOneOf(importPath string, prefixes ...string) bool {
	return slices.ContainsFunc(prefixes, func(prefix string) bool {
		return importPath == prefix || strings.HasPrefix(importPath, prefix+"/")
	})
}

func TestImportsPointOneWay(t *testing.T) {
	for path, p := range listPackages(t) {
		name, ok := below(path)
		if !ok {
			continue
		}
		allowed, ok := mayImport[name]
		if !ok {
			t.Errorf("%s is not in the import table: say what it may import, or put its content where it belongs", path)
			continue
		}
		for _, imported := range p.Imports {
			if !strings.HasPrefix(imported, module) {
				continue
			}
			if slices.Contains(leaves, name) {
				t.Errorf("%s imports %s, but is a leaf", path, imported)
			}
			target := strings.TrimPrefix(imported, module)
			if inner, ok := below(imported); ok {
				target = inner
			} else if isOneOf(target, "proto") {
				target = "proto"
			}
			if !slices.Contains(leaves, target) && !slices.Contains(allowed, target) {
				t.Errorf("%s imports %s, against the import direction", path, imported)
			}
		}
	}
}

func TestForeignModulesStayWhereTheyBelong(t *testing.T) {
	for path, p := range listPackages(t) {
		name, ok := below(path)
		if !ok {
			continue
		}
		for _, imported := range p.Imports {
			switch {
			case isOneOf(imported, "k8s.io", "sigs.k8s.io") && !slices.Contains(mayUseKubernetes, name),
				isOneOf(imported, "google.golang.org/grpc", "google.golang.org/protobuf") && !slices.Contains(mayUseGRPC, name),
				isOneOf(imported, "github.com/google/go-containerregistry") && name != "quay/quaytest",
				isOneOf(imported, "go.opentelemetry.io") && !slices.Contains(mayUseOTel, name),
				isOneOf(imported, "testing") && !strings.HasSuffix(name, "test"):
				t.Errorf("%s imports %s", path, imported)
			}
		}
		for _, linked := range p.Deps {
			if !isOneOf(name, "tracing/otlp") && isOneOf(linked, "go.opentelemetry.io/otel/sdk", "go.opentelemetry.io/otel/exporters", "go.opentelemetry.io/proto") {
				t.Errorf("%s links %s", path, linked)
			}
		}
		if !slices.Contains(kubernetesFree, name) {
			continue
		}
		for _, linked := range p.Deps {
			if isOneOf(linked, "k8s.io", "sigs.k8s.io") {
				t.Errorf("%s links %s", path, linked)
			}
		}
	}
}

func TestTheProductionBinaryContainsNoDouble(t *testing.T) {
	generator, ok := listPackages(t)[module+"cmd/generator"]
	if !ok {
		t.Fatal("there is no cmd/generator")
	}
	for _, linked := range generator.Deps {
		if isOneOf(linked, core+"quay/quaytest", core+"ledger/ledgertest", core+"secret/secrettest", core+"certificate/certificatetest", core+"tracing/otlp/otlptest", module+"cmd/quaydev", "github.com/google/go-containerregistry", "testing") {
			t.Errorf("cmd/generator links %s", linked)
		}
	}
}
