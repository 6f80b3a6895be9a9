package main

import (
	"encoding/json"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// finalStage reads the instructions of a Dockerfile's last stage.
func finalStage(t *testing.T) (base string, instructions map[string]string) {
	t.Helper()
	text, err := os.ReadFile("../../Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	instructions = map[string]string{}
	for line := range strings.Lines(strings.ReplaceAll(string(text), "\\\n", " ")) {
		instruction, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		if instruction == "" || strings.HasPrefix(instruction, "#") {
			continue
		}
		if instruction == "FROM" {
			base, instructions = rest, map[string]string{}
			continue
		}
		instructions[instruction] = rest
	}
	return base, instructions
}

func TestTheDockerfileAndTheImageAgree(t *testing.T) {
	base, said := finalStage(t)
	if base != "scratch" {
		t.Errorf("the last stage is based on %s", base)
	}
	got := v1.Config{User: said["USER"], WorkingDir: said["WORKDIR"], ExposedPorts: map[string]struct{}{}, Labels: map[string]string{}}
	for port := range strings.FieldsSeq(said["EXPOSE"]) {
		got.ExposedPorts[port+"/tcp"] = struct{}{}
	}
	for instruction, list := range map[string]*[]string{"ENTRYPOINT": &got.Entrypoint, "CMD": &got.Cmd} {
		if err := json.Unmarshal([]byte(said[instruction]), list); err != nil {
			t.Errorf("%s %s is not in the form without a shell: %v", instruction, said[instruction], err)
		}
	}
	s := stamp{version: "v1.2.3", revision: "0123abcd", created: time.Unix(1, 0).UTC()}
	filled := strings.NewReplacer("$VERSION", s.version, "$REVISION", s.revision, "$CREATED", s.created.Format(time.RFC3339)).Replace(said["LABEL"])
	for _, label := range regexp.MustCompile(`([\w.]+)="([^"]*)"`).FindAllStringSubmatch(filled, -1) {
		got.Labels[label[1]] = label[2]
	}
	want := config()
	want.Labels = s.labels()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("image (-) and Dockerfile (+) differ:\n%s", diff)
	}
	if said["COPY"] != "--from=build /image/ /" {
		t.Errorf("COPY %s: the root file system is to be what `image root` writes", said["COPY"])
	}
	if _, runs := said["RUN"]; runs {
		t.Error("the last stage runs something, but has no shell")
	}
}
