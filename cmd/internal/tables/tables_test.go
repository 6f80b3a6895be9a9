package tables_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/quaygen/quaygen/cmd/internal/tables"
)

func TestTheTableReplacesTheOneBefore(t *testing.T) {
	begin, end := tables.Marks("chaos")
	path := filepath.Join(t.TempDir(), "doc.md")
	if err := tables.Replace(path, "chaos", "new\n"); err == nil {
		t.Error("no file, no error")
	}
	for content, want := range map[string]string{
		"head\n" + begin + "old\n" + end + "tail\n": "head\n" + begin + "new\n" + end + "tail\n",
		"nothing":   "",
		end + begin: "",
	} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		err := tables.Replace(path, "chaos", "new\n")
		if (err != nil) != (want == "") {
			t.Errorf("%q: %v", content, err)
		}
		data, _ := os.ReadFile(path)
		if want != "" && string(data) != want {
			t.Errorf("%q became %q", content, data)
		}
	}
}
