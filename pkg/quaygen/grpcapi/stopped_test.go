package grpcapi_test

import (
	"net"
	"testing"

	"github.com/quaygen/quaygen/pkg/quaygen/grpcapi"
)

// SIGTERM can come while the process still starts.
func TestAServerThatIsShutDownBeforeItServesHasNotFailed(t *testing.T) {
	s := grpcapi.New(grpcapi.Config{})
	check(t, s.Shutdown(t.Context()))
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	check(t, s.Serve(listener))
}
