package config_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/quaygen/quaygen/pkg/quaygen/config"
)

// expectations reads the comments "# want: path: message" or "# warn: ..." of a fixture: line → beginnings of what is
// to be said about that line.
func expectations(t *testing.T, file, marker string) map[int][]string {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	expected := make(map[int][]string)
	for i, line := range strings.Split(string(data), "\n") {
		for _, comment := range strings.Split(line, " # ")[1:] {
			if text, found := strings.CutPrefix(comment, marker+": "); found {
				expected[i+1] = append(expected[i+1], text)
			}
		}
	}
	return expected
}

// compare demands exactly the expected problems, each on its line.
func compare(t *testing.T, expected map[int][]string, got []config.Problem) {
	t.Helper()
	for _, p := range got {
		text := p.Message
		if p.Path != "" {
			text = p.Path + ": " + p.Message
		}
		rest := expected[p.Line]
		found := false
		for i, beginning := range rest {
			if strings.HasPrefix(text, beginning) {
				expected[p.Line] = append(rest[:i:i], rest[i+1:]...)
				found = true
				break
			}
		}
		if !found {
			t.Errorf("not expected:\n%s", p)
		}
	}
	for line, rest := range expected {
		for _, text := range rest {
			t.Errorf("line %d: missing: %s", line, text)
		}
	}
}

func fixtures(t testing.TB, pattern string) []string {
	t.Helper()
	files, err := filepath.Glob("testdata/" + pattern)
	if err != nil || len(files) == 0 {
		t.Fatalf("no fixtures %s: %v", pattern, err)
	}
	return files
}

// loadFixture looks at the files a fixture names only if the fixture is about that.
func loadFixture(file string) (*config.Config, error) {
	return config.Options{SkipFiles: filepath.Base(file) != "files.bad.yaml"}.Load(file)
}

func TestGoodFixturesLoadWithExactlyTheirWarnings(t *testing.T) {
	for _, file := range fixtures(t, "*.good.yaml") {
		t.Run(filepath.Base(file), func(t *testing.T) {
			c, err := loadFixture(file)
			if err != nil {
				t.Fatal(err)
			}
			compare(t, expectations(t, file, "warn"), c.Warnings())
		})
	}
}

func TestBadFixturesReportExactlyTheirProblems(t *testing.T) {
	for _, file := range fixtures(t, "*.bad.yaml") {
		t.Run(filepath.Base(file), func(t *testing.T) {
			c, err := loadFixture(file)
			var e *config.Error
			if !errors.As(err, &e) {
				t.Fatalf("Load = %v, %v; want an *Error", c, err)
			}
			compare(t, expectations(t, file, "want"), e.Problems)
			for i := range e.Problems[1:] {
				if e.Problems[i].Line > e.Problems[i+1].Line {
					t.Errorf("not in the order of lines: %d before %d", e.Problems[i].Line, e.Problems[i+1].Line)
				}
			}
			for _, secret := range []string{"hunter2", "S3CR3TT0K3N", "not-a-real-token"} {
				if strings.Contains(err.Error(), secret) {
					t.Errorf("%q is quoted", secret)
				}
			}
		})
	}
}

func TestProblemText(t *testing.T) {
	_, err := config.Parse("dir/file.yaml", []byte("apiVersion: quaygen.dev/v1alpha1\nsync: 30d\n"))
	var e *config.Error
	if !errors.As(err, &e) {
		t.Fatal(err)
	}
	var got string
	for _, p := range e.Problems {
		if p.Path == "sync" {
			got = p.String()
		}
	}
	want := `dir/file.yaml:2:1: sync: "30d" is not a duration: the largest unit is h; write 720h`
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if !strings.Contains(err.Error(), "\n"+want) {
		t.Errorf("the error has no line %q:\n%v", want, err)
	}
}
