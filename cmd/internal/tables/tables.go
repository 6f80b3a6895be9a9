// Package tables writes what a run has measured into the documentation.
package tables

import (
	"fmt"
	"os"
	"strings"
)

// Marks are the lines between which a document has the table of a target of the Makefile.
func Marks(target string) (begin, end string) {
	return "<!-- made by make " + target + ": begin -->\n", "<!-- made by make " + target + ": end -->\n"
}

// Replace writes the table between the marks of a file, which has to have both.
func Replace(path, target, table string) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	begin, end := Marks(target)
	head, rest, begins := strings.Cut(string(data), begin)
	_, tail, ends := strings.Cut(rest, end)
	if !begins || !ends {
		return fmt.Errorf("%s has no place for the table: the lines %q and %q", path, strings.TrimSpace(begin), strings.TrimSpace(end))
	}
	return os.WriteFile(path, []byte(head+begin+table+end+tail), 0o644) //nolint:gosec // documentation
}
