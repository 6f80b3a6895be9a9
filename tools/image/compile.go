package main

import (
	"bytes"
	"context"
	"debug/buildinfo"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"time"
)

// platforms are those that an image is made for.
var platforms = []string{"linux/amd64", "linux/arm64"}

// binary is the program, built for one platform.
type binary struct {
	platform string
	content  []byte
	info     *debug.BuildInfo // as the Go command recorded it in the program
}

// setting is what the Go command recorded under a key, "" where it did not.
func (b *binary) setting(key string) string {
	for _, s := range b.info.Settings {
		if s.Key == key {
			return s.Value
		}
	}
	return ""
}

// stamp is what an image says of its origin.
type stamp struct {
	version  string // the tag of the commit, v1.2.3, or the Go command's version for one without; ends in "+dirty" where files differ from the commit
	revision string
	created  time.Time // of the commit, or SOURCE_DATE_EPOCH
}

// stamp reads what the Go command found in Git. A program without that is refused: nobody could tell what is in it.
func (b *binary) stamp(sourceDateEpoch string) (stamp, error) {
	s := stamp{version: b.info.Main.Version, revision: b.setting("vcs.revision")}
	if s.revision == "" || s.version == "" || s.version == "(devel)" {
		return s, errors.New("the Go command recorded no commit: build from a clone, with git installed")
	}
	if sourceDateEpoch != "" {
		seconds, err := strconv.ParseInt(sourceDateEpoch, 10, 64)
		if err != nil {
			return s, fmt.Errorf("SOURCE_DATE_EPOCH: %w", err)
		}
		s.created = time.Unix(seconds, 0).UTC()
		return s, nil
	}
	created, err := time.Parse(time.RFC3339, b.setting("vcs.time"))
	if err != nil {
		return s, fmt.Errorf("the time of the commit: %w", err)
	}
	s.created = created.UTC()
	return s, nil
}

// tag is the version as a registry takes it: "+" is not allowed there.
func (s stamp) tag() string { return strings.ReplaceAll(s.version, "+", "_") }

// compile builds the program from source. Of the environment it keeps what says where modules come from and go to:
// whatever else changes the program is set here, so that two people get the same.
func compile(ctx context.Context, source, platform string) (*binary, error) {
	system, architecture, _ := strings.Cut(platform, "/")
	env, err := goEnv(ctx, source)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "quaygen-image-")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	path := filepath.Join(dir, "generator")
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=true", "-ldflags=-s -w -buildid=", "-o", path, "./cmd/generator") //nolint:gosec // a constant but for a path
	build.Dir = source
	build.Env = append(env, "GOOS="+system, "GOARCH="+architecture)
	if output, err := build.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("building for %s: %w\n%s", platform, err, output)
	}
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	info, err := buildinfo.Read(bytes.NewReader(content))
	if err != nil {
		return nil, fmt.Errorf("reading the build information of the program for %s: %w", platform, err)
	}
	return &binary{platform: platform, content: content, info: info}, nil
}

// goEnv is the environment of the Go command: that of this process without Go's own variables and what the user's
// settings file says, but for those about modules.
func goEnv(ctx context.Context, source string) ([]string, error) {
	kept := []string{"GOCACHE", "GOMODCACHE", "GONOPROXY", "GONOSUMDB", "GOPRIVATE", "GOPROXY", "GOSUMDB", "GOTOOLCHAIN", "GOVCS"}
	ask := exec.CommandContext(ctx, "go", append([]string{"env", "-json"}, kept...)...) //nolint:gosec // names from above
	ask.Dir = source
	answer, err := ask.Output()
	if err != nil {
		return nil, fmt.Errorf("go env: %w", err)
	}
	values := map[string]string{}
	if err := json.Unmarshal(answer, &values); err != nil {
		return nil, fmt.Errorf("reading the answer of go env: %w", err)
	}
	env := slices.DeleteFunc(os.Environ(), func(s string) bool { //nolint:forbidigo // a program may read the environment
		return strings.HasPrefix(s, "GO") || strings.HasPrefix(s, "CGO_")
	})
	for _, name := range slices.Sorted(maps.Keys(values)) {
		env = append(env, name+"="+values[name])
	}
	return append(env, "GOENV=off", "GOWORK=off", "CGO_ENABLED=0", "GOAMD64=v1", "GOARM64=v8.0"), nil
}
