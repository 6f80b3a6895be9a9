package main

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/quaygen/quaygen/pkg/quaygen"
	"github.com/quaygen/quaygen/pkg/quaygen/auth"
	"github.com/quaygen/quaygen/pkg/quaygen/certificate/certificatetest"
	"github.com/quaygen/quaygen/pkg/quaygen/config"
	"github.com/quaygen/quaygen/pkg/quaygen/grpcapi"
	"github.com/quaygen/quaygen/pkg/quaygen/policy"
	"github.com/quaygen/quaygen/pkg/quaygen/rotation"
)

// real is the service's own gRPC server with an engine behind it.
type real struct {
	*grpcapi.Server
	stop context.CancelFunc
	done chan struct{}
}

func (r *real) Stop() {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_ = r.Shutdown(ctx) // watches need not end by themselves
	r.stop()
	<-r.done
}

// newReal looks after the robot of a process' configuration.
func newReal(t *testing.T, p *process, config *config.Config, tls *tls.Config) *real {
	t.Helper()
	robots, err := assignments(config, nil)
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.NewTextHandler(p, nil))
	engine := rotation.New(rotation.Config{Log: log})
	engine.Apply(robots)
	ctx, stop := context.WithCancel(context.Background())
	r := &real{stop: stop, done: make(chan struct{})}
	go func() {
		defer close(r.done)
		_ = engine.Run(ctx) // it ends because it is stopped
	}()
	service := quaygen.New(engine, log)
	service.Apply(settings(config))
	r.Server = grpcapi.New(grpcapi.Config{Service: service, Log: log, TLS: tls, Authenticate: func(p auth.Presented) (policy.Caller, error) {
		if len(p.Authorization) != 1 || p.Authorization[0] != "Bearer "+operatorToken {
			return policy.Caller{}, errors.New("a stranger")
		}
		return policy.Caller{Name: "on-call", How: "bearer", Operator: policy.OperatorManage, OperatorOnly: true}, nil
	}})
	return r
}

func TestAnOperatorSeesAndSteersTheRobotsOfARealServer(t *testing.T) {
	p := newProcess(t)
	p.words = append(p.words, operatorToken)
	cfg, err := config.Load(filepath.Join(p.dir, "generator.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	o := operateWith(t, func(_ *certificatetest.Pair, c *tls.Config) serving { return newReal(t, p, cfg, c) })
	must := func(want int, args ...string) string {
		t.Helper()
		code, stdout, stderr := o.try(args...)
		if code != want {
			t.Fatalf("generator %s: %d\n%s%s", strings.Join(args, " "), code, stdout, stderr)
		}
		return stdout + stderr
	}
	served := func() string {
		found := regexp.MustCompile(`(?m)^  generation +([0-9]+)$`).FindStringSubmatch(must(exitOK, "status", "puller"))
		if found == nil {
			return ""
		}
		return found[1]
	}
	p.until("there is a generation", func() bool { return served() != "" })
	first := served()
	watch := o.start("watch")
	watch.stdout.await(t, "1 robot, 1 of them well")

	if text := must(exitOK, "rotate", "puller"); !strings.Contains(text, "is served, as myorg+k8s_puller_g") || !strings.Contains(text, "generation "+first+" lives on: its overlap runs for another") {
		t.Errorf("a rotation says\n%s", text)
	}
	second := served()
	if text := must(exitFailed, "rotate", "puller"); !strings.Contains(text, "is still alive") || !strings.Contains(text, "(CONFLICT); it can be repeated in ") {
		t.Errorf("another one says\n%s", text)
	}
	o.cut()
	if text := must(exitOK, "retire", "puller", first); !strings.Contains(text, "(ended: "+first+"); generation "+second+" is served") {
		t.Errorf("a retirement says\n%s", text)
	}
	if text := must(exitFailed, "retire", "puller", second); strings.Contains(text, "half done") {
		t.Errorf("retiring what is served says\n%s", text)
	}
	if text := must(exitOK, "rotate", "puller", "--revoke"); !strings.Contains(text, "nothing up to generation "+second+" exists any more (ended: "+second+")\n") || strings.Count(text, "is published") > 1 {
		t.Errorf("a revocation says\n%s", text)
	}
	must(exitNotFound, "status", "nobody")
	must(exitNotFound, "rotate", "nobody", "--revoke")
	must(exitNotFound, "rotate", "puller", "--revoke", "--through", "999999999")

	watch.stdout.await(t, "retired     generation "+second)
	seen := watch.stdout.String()
	for _, line := range []string{"published   generation " + second, "superseded  generation " + first, "retired     generation " + first, "published   generation " + served()} {
		if strings.Count(seen, line) != 1 {
			t.Errorf("not once: %q in\n%s", line, seen)
		}
	}
	if strings.Count(seen, "1 robot,") != 1 {
		t.Errorf("more than one listing:\n%s", seen)
	}
	watch.interrupt()
	if code := watch.code(); code != exitOK {
		t.Errorf("the watch ends with %d", code)
	}
	p.tell("what the command line printed", o.said.String()+seen)
	p.hunt()
}
