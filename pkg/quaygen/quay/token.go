package quay

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"sync/atomic"

	"github.com/quaygen/quaygen/pkg/quaygen/secret"
)

// maxTokenFile bounds the file of the API token, in bytes. Tokens have about 40 characters.
const maxTokenFile = 16 << 10

// tokenFile is the API token in its file, which a person or a Secret mount may replace at any time.
type tokenFile struct {
	path string
	last atomic.Pointer[tokenRead] // the last good one; nil before
}

type tokenRead struct {
	token secret.String
	info  fs.FileInfo // nil: to be read again at the next opportunity
}

// get returns the token. A file that cannot be read, or holds no token, leaves the last good one in force, since a
// mount is replaced in more than one step; without a last good one it is an error.
func (f *tokenFile) get() (secret.String, error) {
	last := f.last.Load()
	if last != nil && last.info != nil {
		if info, err := os.Stat(f.path); err == nil && sameFile(info, last.info) {
			return last.token, nil
		}
	}
	read, err := readToken(f.path)
	if err == nil {
		f.last.Store(read)
		return read.token, nil
	}
	if last != nil {
		return last.token, nil
	}
	return secret.String{}, err
}

// rejected has the file read again before the next call, changed or not: some file systems keep times too coarse to
// tell two writings of the same length apart.
func (f *tokenFile) rejected() {
	if last := f.last.Load(); last != nil && last.info != nil {
		f.last.CompareAndSwap(last, &tokenRead{token: last.token})
	}
}

func sameFile(a, b fs.FileInfo) bool {
	return os.SameFile(a, b) && a.Size() == b.Size() && a.ModTime().Equal(b.ModTime())
}

// readToken reads a file that holds one token and perhaps white space after it. Its errors name the file and nothing
// of its content.
func readToken(path string) (*tokenRead, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("reading the API token: %w", err)
	}
	defer func() { _ = file.Close() }()
	info, err := file.Stat()
	if err != nil {
		return nil, fmt.Errorf("reading the API token: %w", err)
	}
	data, err := io.ReadAll(io.LimitReader(file, maxTokenFile+1))
	if err != nil {
		return nil, fmt.Errorf("reading the API token: %w", err)
	}
	if len(data) > maxTokenFile {
		return nil, fmt.Errorf("reading the API token: %s holds more than %d bytes", path, maxTokenFile)
	}
	text := strings.TrimRight(string(data), " \t\r\n")
	if err := checkToken(text); err != nil {
		return nil, fmt.Errorf("reading the API token: %s %w", path, err)
	}
	return &tokenRead{token: secret.New(text), info: info}, nil
}

// checkToken refuses what cannot stand as the second and last word of an Authorization header; Quay would take such
// a call for an anonymous one (docs/quay-contract.md 1.1).
func checkToken(text string) error {
	if text == "" {
		return errors.New("is empty")
	}
	for _, b := range []byte(text) {
		if b <= ' ' || b > '~' {
			return errors.New("holds white space or other characters that no token has")
		}
	}
	return nil
}
