package parts

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// productWith builds programs of this repository as Product does, with another text in
// place of one source file.
func productWith(ctx context.Context, dir, source, text string, packages ...string) error {
	replaced, overlay := filepath.Join(dir, filepath.Base(source)), filepath.Join(dir, "overlay.json")
	files, err := json.Marshal(map[string]map[string]string{"Replace": {source: replaced}})
	if err != nil {
		return err
	}
	if err := errors.Join(os.MkdirAll(dir, 0o700), os.WriteFile(replaced, []byte(text), 0o600), os.WriteFile(overlay, files, 0o600)); err != nil {
		return fmt.Errorf("writing another %s: %w", filepath.Base(source), err)
	}
	return product(ctx, dir, append([]string{"-overlay=" + overlay}, packages...)...)
}

const silenceAsItIs = "\nconst MaxSilence = 5 * time.Minute\n"

// ProductForgetful builds programs of this repository as Product does, that believe
// what they know of the labels of namespaces for less time without news: minutes are
// too long for a story.
func ProductForgetful(ctx context.Context, dir string, silence time.Duration, packages ...string) error {
	e2e, err := moduleDir(ctx)
	if err != nil {
		return err
	}
	source := filepath.Join(filepath.Dir(e2e), "pkg", "quaygen", "namespaces", "namespaces.go")
	content, err := os.ReadFile(source)
	if err != nil {
		return fmt.Errorf("reading package namespaces: %w", err)
	}
	if strings.Count(string(content), silenceAsItIs) != 1 {
		return fmt.Errorf("%s has no MaxSilence as expected", source)
	}
	text := strings.Replace(string(content), silenceAsItIs, fmt.Sprintf("\nconst MaxSilence = time.Duration(%d)\n", silence), 1)
	return productWith(ctx, dir, source, text, packages...)
}
