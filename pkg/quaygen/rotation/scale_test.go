package rotation

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/quaygen/quaygen/pkg/quaygen/quay"
	"github.com/quaygen/quaygen/pkg/quaygen/quay/quaytest"
	"github.com/quaygen/quaygen/pkg/quaygen/secret"
)

// BenchmarkColdStart measures how long a process needs from its first list to answering for every robot, and what it holds
// then, when all robots exist already.
func BenchmarkColdStart(b *testing.B) {
	for _, n := range []int{100, 1_000, 10_000} {
		b.Run(fmt.Sprintf("%s/%d", Shared, n), func(b *testing.B) { benchmarkColdStart(b, Shared, n) })
	}
	b.Run(fmt.Sprintf("%s/%d", PerNamespace, 1_000), func(b *testing.B) { benchmarkColdStart(b, PerNamespace, 1_000) })
}

func benchmarkColdStart(b *testing.B, scope Scope, n int) {
	server := quaytest.New(quaytest.Options{})
	server.AddUser("admin")
	server.AddOrganization("myorg", "admin")
	server.AddRepository("myorg", "app")
	tokenFile := filepath.Join(b.TempDir(), "token")
	if err := os.WriteFile(tokenFile, []byte(server.AddToken("admin", "org:admin", "repo:admin", "user:admin")), 0o600); err != nil {
		b.Fatal(err)
	}
	client, err := quay.New(quay.Config{URL: "http://quay.test", TokenFile: tokenFile, Transport: server.Transport(), QPS: 1e6, Burst: 1e6})
	if err != nil {
		b.Fatal(err)
	}
	owner, err := quay.ParseOrganization("myorg")
	if err != nil {
		b.Fatal(err)
	}
	var robots []Assignment
	var refs []Ref
	for i := range n {
		base, err := quay.NewRobot(owner, fmt.Sprintf("puller_%05d", i))
		if err != nil {
			b.Fatal(err)
		}
		spec := Spec{
			Name: base.Short(), Instance: "bench", Base: base, Strategy: Overlap,
			Every: 720 * time.Hour, Overlap: 24 * time.Hour, Quiet: 2 * time.Hour, Max: 168 * time.Hour, MaxRefresh: time.Hour,
			Sync: 30 * time.Second, Idle: 720 * time.Hour, Scope: scope, Safety: DefaultSafety(),
			Permissions: Permissions{Repositories: []RepositoryGrant{{Pattern: "app", Role: quay.RoleRead}}},
		}
		generation, err := base.Generation(1000)
		if err != nil {
			b.Fatal(err)
		}
		mark := marker{Instance: "bench", Robot: base.Short(), Generation: 1000, Timing: spec.timing()}
		token := server.AddRobot("myorg", generation.Short(), mark.String())
		server.Grant("myorg", "app", generation.Short(), "read")
		if scope == PerNamespace { // one robot of the configuration, whose namespaces these are
			spec.Name, spec.Base = "puller", mustRobot("myorg", "puller")
			refs = append(refs, Ref{Name: "puller", Namespace: strings.TrimPrefix(base.Short(), "puller_")})
			robots = []Assignment{{Spec: spec, Registry: "quay", Client: client}}
		} else {
			refs = append(refs, Ref{Name: spec.Name})
			robots = append(robots, Assignment{Spec: spec, Registry: "quay", Client: client})
		}
		login(b, client, generation, token)
	}
	before := heapHeld()
	b.ResetTimer()
	for b.Loop() {
		e := New(Config{})
		e.Apply(robots)
		ctx, cancel := context.WithCancel(b.Context())
		done := make(chan error, 1)
		go func() { done <- e.Run(ctx) }()
		for _, ref := range refs {
			if _, err := e.Await(ctx, ref); err != nil {
				b.Fatal(err)
			}
		}
		b.StopTimer()
		b.ReportMetric(float64(heapHeld()-before)/1e6, "MB-held")
		cancel()
		if err := <-done; err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
}

func heapHeld() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// login makes the robot a used one, as a published generation is.
func login(b *testing.B, client *quay.Client, robot quay.Robot, token string) {
	b.Helper()
	if _, err := client.Login(b.Context(), robot, secret.New(token), nil); err != nil {
		b.Fatal(err)
	}
}
