package config_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/quaygen/quaygen/pkg/quaygen/config"
)

var update = flag.Bool("update", false, "write what configurations that have nothing beside them yet mean")

// docs/compatibility.md: a configuration that a released version took, every later one with the same apiVersion takes, without new
// warnings, and understands alike. The YAML below testdata/compat is never changed; what is beside it changes with names in the code only.
func TestConfigurationsOfVersion0MeanWhatTheyMeant(t *testing.T) {
	for _, file := range fixtures(t, "compat/v*/*.yaml") {
		t.Run(filepath.Base(file), func(t *testing.T) {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			c, err := config.Parse("generator.yaml", data)
			if err != nil {
				t.Fatal(err)
			}
			now := flatten(reflect.ValueOf(*c), "", nil)
			for _, w := range c.Warnings() {
				now = append(now, "warning: "+w.Path)
			}
			beside := strings.TrimSuffix(file, ".yaml") + ".txt"
			if _, err := os.Stat(beside); *update && os.IsNotExist(err) {
				if err := os.WriteFile(beside, []byte(strings.Join(now, "\n")+"\n"), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			text, err := os.ReadFile(beside)
			if err != nil {
				t.Fatal(err)
			}
			was := strings.Split(strings.TrimSpace(string(text)), "\n")
			for _, line := range was {
				if !slices.Contains(now, line) {
					t.Errorf("not any more: %s", line)
				}
			}
			for _, line := range now {
				if strings.HasPrefix(line, "warning: ") && !slices.Contains(was, line) {
					t.Errorf("new: %s", line)
				}
			}
		})
	}
}

// flatten lists all that a configuration says, a line each; what a later version adds is another line.
func flatten(v reflect.Value, path string, lines []string) []string {
	if s, ok := v.Interface().(fmt.Stringer); ok && v.Kind() != reflect.Pointer {
		return append(lines, path+" = "+s.String())
	}
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			if f := v.Type().Field(i); f.IsExported() {
				lines = flatten(v.Field(i), path+"."+f.Name, lines)
			}
		}
	case reflect.Slice:
		for i := range v.Len() {
			lines = flatten(v.Index(i), fmt.Sprintf("%s[%d]", path, i), lines)
		}
	case reflect.Pointer:
		if !v.IsNil() {
			lines = flatten(v.Elem(), path, lines)
		}
	case reflect.Func, reflect.Interface:
	default:
		lines = append(lines, fmt.Sprintf("%s = %v", path, v.Interface()))
	}
	return lines
}
