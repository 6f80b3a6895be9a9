package auth

import (
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/quaygen/quaygen/pkg/quaygen/secret"
)

// settled is how much older than the look at it a file's time must be before the file is believed not to have changed
// again within the same tick of the file system's clock; some count in seconds.
const settled = 2 * time.Second

// tokenFile is a file as it was read: the hashes of its tokens, not the tokens.
type tokenFile struct {
	hashes [][sha256.Size]byte // one, or two while the client's token is being replaced
	info   os.FileInfo
	read   time.Time
}

// reread reads the file at path if it is not the one that f was read from: another inode, as after a rename or when
// Kubernetes swaps a mounted Secret, another size or another time.
func (f tokenFile) reread(path string) (tokenFile, error) {
	info, err := os.Stat(path)
	if err != nil {
		return f, fmt.Errorf("looking at its token file: %w", err)
	}
	if os.SameFile(info, f.info) && info.Size() == f.info.Size() && info.ModTime().Equal(f.info.ModTime()) &&
		f.read.Sub(info.ModTime()) > settled {
		return f, nil
	}
	return readTokenFile(path)
}

// readTokenFile hashes the tokens in the file at path. White space around a token is not part of it.
func readTokenFile(path string) (tokenFile, error) {
	// Opening a pipe would wait for somebody to write to it.
	if info, err := os.Stat(path); err != nil {
		return tokenFile{}, fmt.Errorf("looking at its token file: %w", err)
	} else if !info.Mode().IsRegular() {
		return tokenFile{}, fmt.Errorf("its token file %s is not a regular file", path)
	}
	read := time.Now()
	file, err := os.Open(path)
	if err != nil {
		return tokenFile{}, fmt.Errorf("opening its token file: %w", err)
	}
	defer func() { _ = file.Close() }() // nothing was written
	// Taken before the content: what is written in between shows as a change at the next look.
	info, err := file.Stat()
	if err != nil {
		return tokenFile{}, fmt.Errorf("looking at its token file: %w", err)
	}
	const surroundings = 1024 // bytes of white space that are put up with
	content, err := io.ReadAll(io.LimitReader(file, secret.MaxBearers*secret.MaxBearer+surroundings+1))
	if err != nil {
		return tokenFile{}, fmt.Errorf("reading its token file: %w", err)
	}
	if len(content) > secret.MaxBearers*secret.MaxBearer+surroundings {
		return tokenFile{}, fmt.Errorf("its token file %s holds more than tokens", path)
	}
	tokens, err := secret.ParseBearers(content)
	if err != nil {
		return tokenFile{}, fmt.Errorf("its token file %s %w", path, err)
	}
	f, around := tokenFile{info: info, read: read}, len(content)
	for _, token := range tokens {
		f.hashes = append(f.hashes, sha256.Sum256([]byte(token.Reveal())))
		around -= len(token.Reveal())
	}
	if around > surroundings {
		return tokenFile{}, fmt.Errorf("its token file %s holds more than tokens", path)
	}
	return f, nil
}
