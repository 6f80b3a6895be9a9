package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"strings"
	"testing"

	cdx "github.com/CycloneDX/cyclonedx-go"
	"github.com/google/go-cmp/cmp"
	"github.com/santhosh-tekuri/jsonschema/v6"
)

// schema compiles CycloneDX's own, which lies in the module that writes the bills.
func schema(t *testing.T) *jsonschema.Schema {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}", "github.com/CycloneDX/cyclonedx-go").Output()
	if err != nil {
		t.Fatal(err)
	}
	compiler := jsonschema.NewCompiler()
	for name, path := range map[string]string{"bom-1.6": "bom-1.6.schema.json", "spdx": "spdx.schema.json", "jsf-0.82": "jsf-0.82.schemax.json"} {
		text, err := os.Open(filepath.Join(strings.TrimSpace(string(out)), "schema", path))
		if err != nil {
			t.Fatal(err)
		}
		document, err := jsonschema.UnmarshalJSON(text)
		_ = text.Close()
		if err != nil {
			t.Fatal(err)
		}
		if err := compiler.AddResource("http://cyclonedx.org/schema/"+name+".schema.json", document); err != nil {
			t.Fatal(err)
		}
	}
	compiled, err := compiler.Compile("http://cyclonedx.org/schema/bom-1.6.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	return compiled
}

// ownProgram describes this test as if it were the program: it is linked from modules as well.
func ownProgram(t *testing.T) *binary {
	t.Helper()
	info, ok := debug.ReadBuildInfo()
	if !ok || len(info.Deps) < 10 {
		t.Fatalf("the test does not know its own modules: %v", info)
	}
	return &binary{platform: platforms[0], content: []byte("program"), info: info}
}

func billOf(t *testing.T, program *binary, licences func(string) []string) []byte {
	t.Helper()
	authorities, err := authoritiesVersion()
	if err != nil {
		t.Fatal(err)
	}
	bill, err := billOfMaterials(program, someStamp, authorities, licences)
	if err != nil {
		t.Fatal(err)
	}
	return bill
}

func TestABillOfMaterialsIsValidAndNamesEveryModule(t *testing.T) {
	program := ownProgram(t)
	dirs, err := moduleDirs(t.Context(), ".", program.info.Deps)
	if err != nil {
		t.Fatal(err)
	}
	text := billOf(t, program, func(module string) []string { return licencesIn(dirs[module]) })
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	if err := schema(t).Validate(document); err != nil {
		t.Errorf("not what CycloneDX 1.6 is: %v", err)
	}
	var bill cdx.BOM
	if err := cdx.NewBOMDecoder(bytes.NewReader(text), cdx.BOMFileFormatJSON).Decode(&bill); err != nil {
		t.Fatal(err)
	}
	named := map[string]cdx.Component{}
	for _, c := range *bill.Components {
		named[c.Name] = c
	}
	for _, module := range program.info.Deps {
		c := named[module.Path]
		if c.Version != module.Version || c.PackageURL == "" || c.Hashes == nil || c.Licenses == nil {
			t.Errorf("%s %s: %+v", module.Path, module.Version, c)
		}
	}
	if std := named["stdlib"]; !strings.HasPrefix(std.Version, "1.") || std.PackageURL != "pkg:golang/stdlib@"+std.Version {
		t.Errorf("the standard library: %+v", std)
	}
	if again := billOf(t, program, func(module string) []string { return licencesIn(dirs[module]) }); !bytes.Equal(text, again) {
		t.Errorf("a second bill differs:\n%s", cmp.Diff(string(text), string(again)))
	}
}

func TestAReplacedModuleIsListedAsWhatReplacedIt(t *testing.T) {
	program := &binary{platform: platforms[0], info: &debug.BuildInfo{GoVersion: "go1.26.8", Deps: []*debug.Module{
		{Path: "example.com/a", Version: "v1.0.0", Replace: &debug.Module{Path: "example.com/fork", Version: "v1.0.1", Sum: "h1:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="}},
	}}}
	text := string(billOf(t, program, func(string) []string { return nil }))
	if !strings.Contains(text, "pkg:golang/example.com/fork@v1.0.1") || strings.Contains(text, "example.com/a@") {
		t.Error(text)
	}
}

func TestALicenceIsNamedWhereItsTextIsKnown(t *testing.T) {
	if got := licencesIn("../.."); len(got) != 1 || got[0] != "Apache-2.0" {
		t.Errorf("our own licence is %q", got)
	}
	if got := licencesIn(t.TempDir()); got != nil {
		t.Errorf("a module without a text has %q", got)
	}
}
