package quay_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quaygen/quaygen/pkg/quaygen/quay"
	"github.com/quaygen/quaygen/pkg/quaygen/quay/quaytest"
)

// A regeneration that comes later than its caller reckons with would end a token that somebody else has made meanwhile.
func TestARegenerationWhoseTurnDoesNotComeInTimeIsNotSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := quaytest.New(quaytest.Options{})
		server.AddUser("admin")
		server.AddOrganization("acme", "admin")
		server.AddRobot("acme", "build", "")
		file := filepath.Join(t.TempDir(), "token")
		if err := os.WriteFile(file, []byte(server.AddToken("admin", "org:admin")), 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := quay.New(quay.Config{URL: "https://quay.test", TokenFile: file, QPS: 0.1, Burst: 1, Transport: server.Transport()})
		if err != nil {
			t.Fatal(err)
		}
		owner, err := quay.ParseOrganization("acme")
		if err != nil {
			t.Fatal(err)
		}
		build, err := quay.NewRobot(owner, "build")
		if err != nil {
			t.Fatal(err)
		}
		before, _, err := c.GetRobot(t.Context(), build) // what the limit lets through at once
		if err != nil {
			t.Fatal(err)
		}
		begun := time.Now()
		if _, _, err := c.RegenerateRobot(t.Context(), build, 9*time.Second); !errors.Is(err, quay.ErrRateLimited) || time.Since(begun) > 9*time.Second {
			t.Errorf("after %v: %v", time.Since(begun), err)
		}
		if robot, _ := server.Robot("acme", "build"); !robot.Token.Equal(before.Token) {
			t.Error("Quay was asked all the same")
		}
		if after, _, err := c.RegenerateRobot(t.Context(), build, 11*time.Second); err != nil || after.Token.Equal(before.Token) {
			t.Errorf("in time: %v", err)
		}
	})
}
