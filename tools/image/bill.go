package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	cdx "github.com/CycloneDX/cyclonedx-go"
	"github.com/google/licensecheck"
)

// authoritiesModule is where the certificate authorities in the image come from.
const authoritiesModule = "golang.org/x/crypto/x509roots/fallback"

// billOfMaterials lists what is in an image, as CycloneDX 1.6 in JSON: the modules that the program says it was built
// from, Go's standard library, and the bundle of authorities. Licences are those of the texts in each module; the
// licence of a module without a known text is left out.
func billOfMaterials(program *binary, s stamp, authorities debug.Module, licences func(module string) []string) ([]byte, error) {
	sum := sha256.Sum256(program.content)
	main := cdx.Component{
		BOMRef: purl(program.info.Main.Path, s.version), Type: cdx.ComponentTypeApplication, Name: program.info.Main.Path, Version: s.version,
		PackageURL: purl(program.info.Main.Path, s.version), Licenses: licenceChoices([]string{"Apache-2.0"}),
		Hashes: &[]cdx.Hash{{Algorithm: cdx.HashAlgoSHA256, Value: hex.EncodeToString(sum[:])}},
		Properties: &[]cdx.Property{
			{Name: "quaygen:platform", Value: program.platform}, {Name: "quaygen:revision", Value: s.revision}, {Name: "quaygen:file", Value: entrypoint},
		},
	}
	goVersion := strings.TrimPrefix(strings.Fields(program.info.GoVersion)[0], "go")
	parts := []cdx.Component{{
		BOMRef: purl("stdlib", goVersion), Type: cdx.ComponentTypeLibrary, Name: "stdlib", Version: goVersion,
		PackageURL: purl("stdlib", goVersion), Licenses: licenceChoices([]string{"BSD-3-Clause"}),
	}}
	for _, module := range append(slices.Clone(program.info.Deps), &authorities) {
		part, err := component(module, licences)
		if err != nil {
			return nil, err
		}
		parts = append(parts, part)
	}
	slices.SortFunc(parts, func(a, b cdx.Component) int { return strings.Compare(a.BOMRef, b.BOMRef) })
	parts = slices.CompactFunc(parts, func(a, b cdx.Component) bool { return a.BOMRef == b.BOMRef })
	refs := make([]string, len(parts))
	for i := range parts {
		refs[i] = parts[i].BOMRef
	}
	bill := cdx.NewBOM()
	bill.SerialNumber = serialNumber(sum)
	bill.Metadata = &cdx.Metadata{Timestamp: s.created.Format(time.RFC3339), Component: &main}
	bill.Components = &parts
	bill.Dependencies = &[]cdx.Dependency{{Ref: main.BOMRef, Dependencies: &refs}}
	var out bytes.Buffer
	if err := cdx.NewBOMEncoder(&out, cdx.BOMFileFormatJSON).SetPretty(true).EncodeVersion(bill, cdx.SpecVersion1_6); err != nil {
		return nil, fmt.Errorf("writing the bill of materials: %w", err)
	}
	return out.Bytes(), nil
}

// component describes a module, as it is in the program: where it was replaced, what replaced it.
func component(module *debug.Module, licences func(module string) []string) (cdx.Component, error) {
	asked := module.Path
	if module.Replace != nil {
		module = module.Replace
	}
	c := cdx.Component{
		BOMRef: purl(module.Path, module.Version), Type: cdx.ComponentTypeLibrary, Name: module.Path, Version: module.Version,
		PackageURL: purl(module.Path, module.Version), Licenses: licenceChoices(licences(asked)),
	}
	// As go.sum has it: of the list of a module's files, each with its own sum.
	if encoded, ok := strings.CutPrefix(module.Sum, "h1:"); ok {
		sum, err := base64.StdEncoding.DecodeString(encoded)
		if err != nil {
			return c, fmt.Errorf("the sum of %s: %w", module.Path, err)
		}
		c.Hashes = &[]cdx.Hash{{Algorithm: cdx.HashAlgoSHA256, Value: hex.EncodeToString(sum)}}
	}
	return c, nil
}

// purl is a package's name for scanners.
func purl(module, version string) string {
	return "pkg:golang/" + module + "@" + strings.ReplaceAll(version, "+", "%2B")
}

// serialNumber is a UUID of version 8, which two builds of the same program share.
func serialNumber(sum [sha256.Size]byte) string {
	id := sum[:16]
	id[6], id[8] = id[6]&0x0f|0x80, id[8]&0x3f|0x80
	return fmt.Sprintf("urn:uuid:%x-%x-%x-%x-%x", id[:4], id[4:6], id[6:8], id[8:10], id[10:])
}

func licenceChoices(ids []string) *cdx.Licenses {
	if len(ids) == 0 {
		return nil
	}
	out := cdx.Licenses{}
	for _, id := range ids {
		out = append(out, cdx.LicenseChoice{License: &cdx.License{ID: id}})
	}
	return &out
}

// moduleDirs says where the source of each module is that quaygen and its authorities were built from.
func moduleDirs(ctx context.Context, source string, modules []*debug.Module) (map[string]string, error) {
	args := []string{"list", "-m", "-f", "{{.Path}}\t{{.Dir}}"}
	for _, m := range modules {
		args = append(args, m.Path)
	}
	list := exec.CommandContext(ctx, "go", args...)
	list.Dir = source
	answer, err := list.Output()
	if err != nil {
		if failed, ok := errors.AsType[*exec.ExitError](err); ok {
			err = fmt.Errorf("%w: %s", err, failed.Stderr)
		}
		return nil, fmt.Errorf("go list -m: %w", err)
	}
	dirs := map[string]string{}
	for line := range strings.Lines(string(answer)) {
		module, dir, _ := strings.Cut(strings.TrimSpace(line), "\t")
		dirs[module] = dir
	}
	return dirs, nil
}

// licencesIn names the licences, by their SPDX identifiers, whose texts make up most of a licence file of the directory.
func licencesIn(dir string) []string {
	const most = 75 // per cent; the rest is names and years
	var ids []string
	for _, pattern := range []string{"LICEN[SC]E*", "COPYING*"} {
		paths, _ := filepath.Glob(filepath.Join(dir, pattern)) // the patterns are right
		for _, path := range paths {
			text, err := os.ReadFile(path)
			if err != nil {
				continue // a directory, say
			}
			found := licensecheck.Scan(text)
			if found.Percent < most {
				continue
			}
			for _, match := range found.Match {
				ids = append(ids, match.ID)
			}
		}
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}
