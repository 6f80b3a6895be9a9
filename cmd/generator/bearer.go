package main

import (
	"context"
	"fmt"
	"os"
	"sync"

	"github.com/quaygen/quaygen/pkg/quaygen/secret"
)

// bearer sends the token in a file with each call. The file is read again each time, since tokens of ServiceAccounts
// are replaced by the hour; while it cannot be used, the last good one counts.
type bearer struct {
	file   string
	secure bool // never sent without TLS

	mu    sync.Mutex
	token secret.String
}

func newBearer(file string, secure bool) (*bearer, error) {
	b := &bearer{file: file, secure: secure}
	return b, b.read()
}

func (b *bearer) read() error {
	content, err := os.ReadFile(b.file)
	if err != nil {
		return fmt.Errorf("--token-file: %w", err)
	}
	token, err := secret.ParseBearer(content)
	if err != nil {
		return fmt.Errorf("--token-file %s %w", b.file, err)
	}
	b.token = token
	return nil
}

// GetRequestMetadata implements gRPC's credentials of a call.
func (b *bearer) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	_ = b.read() // the last good one counts
	return map[string]string{"authorization": "Bearer " + b.token.Reveal()}, nil
}

// RequireTransportSecurity implements gRPC's credentials of a call.
func (b *bearer) RequireTransportSecurity() bool { return b.secure }
