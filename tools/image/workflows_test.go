package main

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// workflows reads the files of a forge; that they are in form is for `make lint` to say.
func workflows(t *testing.T) map[string]string {
	t.Helper()
	paths, err := filepath.Glob("../../.github/workflows/*.yaml")
	if err != nil || len(paths) < 2 {
		t.Fatalf("%q, %v", paths, err)
	}
	out := map[string]string{}
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		out[filepath.Base(path)] = string(text)
	}
	return out
}

func TestWorkflowsCallTargetsThatTheMakefileHas(t *testing.T) {
	makefile, err := os.ReadFile("../../Makefile")
	if err != nil {
		t.Fatal(err)
	}
	called := 0
	for name, text := range workflows(t) {
		for _, call := range regexp.MustCompile(`(?m)^\s*(?:- run: |run: )?make((?: --?[\w-]+)*) ([a-z0-9-]+)`).FindAllStringSubmatch(text, -1) {
			called++
			if !regexp.MustCompile(`(?m)^` + call[2] + `:`).Match(makefile) {
				t.Errorf("%s calls make %s, which there is not", name, call[2])
			}
		}
	}
	if called < 8 {
		t.Errorf("found %d calls of make alone", called)
	}
}

func TestWorkflowsUseForeignActionsByCommit(t *testing.T) {
	pinned := regexp.MustCompile(`^[\w.-]+/[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$`)
	seen := map[string]string{}
	for name, text := range workflows(t) {
		for _, use := range regexp.MustCompile(`(?m)uses: (.*)$`).FindAllStringSubmatch(text, -1) {
			if !pinned.MatchString(use[1]) {
				t.Errorf("%s uses %s: name a commit, and its version behind it", name, use[1])
			}
			action, _, _ := strings.Cut(use[1], "@")
			if other, there := seen[action]; there && other != use[1] {
				t.Errorf("%s and %s are used", use[1], other)
			}
			seen[action] = use[1]
		}
	}
}

func TestEachJobOfAWorkflowSaysWhichRightsItHas(t *testing.T) {
	for name, text := range workflows(t) {
		if !strings.Contains(text, "\npermissions: {}\n") {
			t.Errorf("%s gives its jobs rights that they do not ask for", name)
		}
		_, jobs, _ := strings.Cut(text, "\njobs:\n")
		for _, job := range regexp.MustCompile(`(?m)^  [\w-]+:$`).Split(jobs, -1)[1:] {
			if !strings.Contains(job, "\n    permissions:\n") || !strings.Contains(job, "\n    timeout-minutes: ") {
				t.Errorf("%s has a job without rights or a time limit:\n%s", name, job)
			}
		}
		if strings.Contains(text, "pull_request_target") {
			t.Errorf("%s runs what strangers write with the rights of this repository", name)
		}
	}
}

// goVersions are what a file says of the version of Go that it builds with.
func goVersions(t *testing.T, path, pattern string) []string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, found := range regexp.MustCompile(pattern).FindAllStringSubmatch(string(text), -1) {
		out = append(out, found[1])
	}
	if len(out) == 0 {
		t.Fatalf("%s names no version of Go", path)
	}
	return out
}

func TestReleasesAreBuiltWithOneExactVersionOfGo(t *testing.T) {
	versions := goVersions(t, "../../Dockerfile", `golang:(\S+) AS`)
	for _, workflow := range []string{"ci", "release"} {
		versions = append(versions, goVersions(t, "../../.github/workflows/"+workflow+".yaml", `go-version: "?([^"\s]+)`)...)
	}
	slices.Sort(versions)
	if versions = slices.Compact(versions); len(versions) != 1 || !regexp.MustCompile(`^1\.\d+\.\d+$`).MatchString(versions[0]) {
		t.Errorf("Dockerfile and workflows build with %q: another version gives another digest", versions)
	}
}
