package grpcapi_test

import (
	"fmt"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/status"

	"github.com/quaygen/quaygen/pkg/quaygen/secret/secrettest"
)

// failed remembers an error that a caller was told, with its details.
func (w *world) failed(err error) {
	if err != nil {
		_, _ = fmt.Fprintln(&w.errors, err, status.Convert(err).Proto()) // into memory
	}
}

// listenedTo is a stream whose errors are remembered.
type listenedTo struct {
	grpc.ClientStream
	world *world
}

func (l *listenedTo) RecvMsg(m any) error {
	err := l.ClientStream.RecvMsg(m)
	l.world.failed(err)
	return err
}

// hunt looks for tokens where none may be.
func (w *world) hunt(t testing.TB) {
	t.Helper()
	w.noTokens(t, "the log", w.log.String())
	w.noTokens(t, "an error", w.errors.String())
	families, err := w.registry.Gather()
	check(t, err)
	for _, family := range families {
		w.noTokens(t, "a metric", family.String())
	}
}

// noTokens checks that a text holds no token that Quay ever gave out, and none of a client.
func (w *world) noTokens(t testing.TB, what, text string) {
	t.Helper()
	for _, robot := range w.quay.Ever("myorg") {
		if secrettest.Reveals(text, robot.Token.Reveal()) {
			t.Errorf("%s holds the token of %s", what, robot.Short)
		}
	}
	for _, token := range w.quay.Tokens() {
		if secrettest.Reveals(text, token) {
			t.Errorf("%s holds a token of Quay's", what)
		}
	}
	if secrettest.Reveals(text, tokenTail) {
		t.Errorf("%s holds the token of a client", what)
	}
}
