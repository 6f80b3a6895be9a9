package main

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/quaygen/quaygen/pkg/quaygen/quay/quaytest"
	"github.com/quaygen/quaygen/pkg/quaygen/tracing/otlp/otlptest"
)

// traced makes the process send its traces to a receiver of its own, soon.
func (p *process) traced(more string) *otlptest.Receiver {
	p.t.Helper()
	p.t.Setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
	r := otlptest.New(p.t, nil)
	p.edit("robots:\n", fmt.Sprintf("tracing: {otlp: {endpoint: %q, insecure: true}%s}\nrobots:\n", r.GRPC, more))
	p.t.Cleanup(func() { p.huntIn(r.Text()) })
	return r
}

// huntIn looks for every secret there ever was in what left the process on another way.
func (p *process) huntIn(text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, word := range append(p.quay.Tokens(), p.words...) {
		for _, form := range []string{word, base64.StdEncoding.EncodeToString([]byte(word)), url.QueryEscape(word)} {
			if strings.Contains(text, form) {
				p.t.Error("a token is in a trace")
			}
		}
	}
	for _, word := range []string{"Bearer", "Authorization", "authorization", "eyJ"} {
		if strings.Contains(text, word) {
			p.t.Errorf("%s is in a trace", word)
		}
	}
}

// askWithin asks as somebody who says that the request belongs to a trace.
func (p *process) askWithin(traceparent, token string) int {
	p.t.Helper()
	base := p.logged(`msg=serving .*http=(\S+)`)
	status, _, _ := p.askWith(base+"/v1/pullsecrets/puller?namespace=prod-a", token, http.Header{"Traceparent": {traceparent}, "Tracestate": {"vendor=tracestate-of-the-caller"}, "Baggage": {"k=baggage-of-the-caller"}})
	return status
}

const (
	callersTrace = "4bf92f3577b34da6a3ce929d0e0e4736"
	callersSpan  = "00f067aa0ba902b7"
	sampled      = "00-" + callersTrace + "-" + callersSpan + "-01"
)

// spans of a trace, or below a span, to find one's way.
type spans []otlptest.Span

func (s spans) with(holds func(otlptest.Span) bool) spans {
	return slices.DeleteFunc(slices.Clone(s), func(x otlptest.Span) bool { return !holds(x) })
}

func (s spans) named(name string) spans {
	return s.with(func(x otlptest.Span) bool { return x.Name == name })
}

func (s spans) below(parent otlptest.Span) spans {
	return s.with(func(x otlptest.Span) bool { return x.Parent == parent.ID && x.Trace == parent.Trace })
}

func (s spans) in(trace string) spans {
	return s.with(func(x otlptest.Span) bool { return x.Trace == trace })
}

func (s spans) of(id string) spans {
	return s.with(func(x otlptest.Span) bool { return x.ID == id })
}

// one returns the only one.
func (s spans) one(t *testing.T) otlptest.Span {
	t.Helper()
	if len(s) != 1 {
		t.Fatalf("%d spans instead of one:\n%s", len(s), otlptest.Tree(s))
	}
	return s[0]
}

const pullSecretSpan = "GET /v1/pullsecrets/{name}"

func TestATraceLeadsFromARequestThatWaitsToTheCallsToQuayThatItWaitsFor(t *testing.T) {
	p := newProcess(t)
	r := p.traced("")
	p.quay.Inject(quaytest.Fault{Operation: "robot.create", Delay: 700 * time.Millisecond, Times: 1})
	p.quay.Inject(quaytest.Fault{Operation: "permission.put", Status: http.StatusInternalServerError, Times: 1})
	p.start()
	if status := p.askWithin(sampled, p.token()); status != http.StatusOK {
		t.Fatalf("the request got %d", status)
	}
	p.end()
	all := spans(r.Spans())
	request := all.named(pullSecretSpan).one(t)
	if request.Trace != callersTrace || request.Parent != callersSpan || request.Kind != "SERVER" {
		t.Errorf("the request's span is not the caller's child: %+v", request)
	}
	for key, want := range map[string]string{
		"http.response.status_code": "200", "http.route": "/v1/pullsecrets/{name}", "quaygen.client": "eso", "quaygen.name": "puller", "quaygen.namespace": "prod-a", "client.address": "127.0.0.1",
	} {
		if got := request.Attributes[key]; got != want {
			t.Errorf("%s of the request is %q, want %q", key, got, want)
		}
	}
	wait := all.below(request).named("wait").one(t)
	if took := wait.End.Sub(wait.Start); took < 300*time.Millisecond {
		t.Errorf("it waited for %v", took)
	}
	if len(wait.Links) != 1 {
		t.Fatalf("the wait has %d links", len(wait.Links))
	}
	pass := all.of(wait.Links[0].ID).one(t)
	sync := all.of(pass.Parent).one(t)
	if pass.Name != "pass" || pass.Trace != wait.Links[0].Trace || sync.Name != "sync" || sync.Parent != "" {
		t.Errorf("what it waited for is %s below %s", pass.Name, sync.Name)
	}
	minted := all.in(sync.Trace)
	for step, calls := range map[string]string{"step create": "quay robot.create", "step grant": "quay permission.put, quay repository.get, quay permission.put", "step prove": "quay auth"} {
		s := minted.named(step).one(t)
		if minted.of(s.Parent).one(t).Name != "pass" || s.Attributes["quaygen.done"] != "true" || s.Attributes["quaygen.name"] != "puller" {
			t.Errorf("%+v", s)
		}
		var names []string
		for _, call := range minted.below(s) {
			names = append(names, call.Name)
			if call.Kind != "CLIENT" || call.Attributes["quaygen.registry"] != "quay" || call.Attributes["http.response.status_code"] == "" {
				t.Errorf("%+v", call)
			}
		}
		if got := strings.Join(names, ", "); got != calls {
			t.Errorf("below %s are %s, not %s", step, got, calls)
		}
	}
	puts := minted.named("quay permission.put")
	if s := puts[0]; s.Attributes["http.response.status_code"] != "500" || !s.Failed || s.Attributes["error.type"] != "the registry is unavailable" || s.Attributes["quaygen.attempt"] != "1" {
		t.Errorf("the attempt that failed: %+v", s)
	}
	if s := puts[1]; s.Failed || s.Attributes["quaygen.attempt"] != "2" || s.Attributes["http.request.resend_count"] != "1" {
		t.Errorf("the attempt that followed: %+v", s)
	}
	if text := r.Text(); strings.Contains(text, "of-the-caller") {
		t.Error("what a caller hands down besides its trace went on")
	}
}

func TestATraceLeadsFromAnOrderAndFromASyncToEachCallOfARotation(t *testing.T) {
	p := newProcess(t)
	r := p.traced("")
	address := p.operatedOver()
	p.start()
	p.ready()
	p.until("there is a pull secret", func() bool { status, _ := p.ask(p.token()); return status == http.StatusOK })
	if code, stdout, stderr := p.operate(address, "rotate", "puller"); code != exitOK {
		t.Fatalf("%d %s%s", code, stdout, stderr)
	}
	p.until("the old one is retired", func() bool { return len(p.quay.Robots("myorg")) == 1 })
	p.end()
	all := spans(r.Spans())
	order := all.named("quaygen.v1.Robots/Rotate").one(t)
	if order.Kind != "SERVER" || order.Attributes["rpc.response.status_code"] != "OK" || order.Attributes["quaygen.client"] != "on-call" {
		t.Errorf("%+v", order)
	}
	wait := all.below(order).named("wait").one(t)
	if len(wait.Links) != 1 || all.of(wait.Links[0].ID).one(t).Name != "pass" {
		t.Fatalf("the order's wait leads to %v", wait.Links)
	}
	rotated := all.in(wait.Links[0].Trace)
	if rotated.named("sync").one(t).Attributes["quaygen.organization"] != "myorg" {
		t.Error("the sync does not say of what")
	}
	for _, step := range []string{"step create", "step grant", "step prove"} {
		if len(rotated.below(rotated.named(step).one(t))) == 0 {
			t.Errorf("no call below %s", step)
		}
	}
	deleted := all.named("step delete").with(func(s otlptest.Span) bool { return s.Attributes["quaygen.done"] == "true" })
	if len(deleted) == 0 || len(all.below(deleted[0]).named("quay robot.delete")) != 1 {
		t.Errorf("the retirement:\n%s", otlptest.Tree(deleted))
	}
	// Every call to Quay has its span, below a pass or a step of one.
	for _, s := range all {
		if !strings.HasPrefix(s.Name, "quay ") {
			continue
		}
		if parent := all.of(s.Parent).one(t).Name; parent != "pass" && !strings.HasPrefix(parent, "step ") {
			t.Errorf("%s is below %s", s.Name, parent)
		}
	}
	sent := 0
	for _, s := range all {
		if s.Name == "quay robot.create" {
			sent++
		}
	}
	if made := len(p.quay.Ever("myorg")); sent != made {
		t.Errorf("%d spans for %d creations", sent, made)
	}
}

// operatedOver adds a gRPC listener and an operator, and returns where it will listen once it is known.
func (p *process) operatedOver() func() string {
	p.t.Helper()
	p.words = append(p.words, operatorToken, p.token()) // the latter stays the last
	p.write("on-call", operatorToken)
	p.edit("clients: [", "clients: [{name: on-call, bearerTokenFile: ./on-call, operator: manage}, ")
	p.edit(`admin: {listen: "127.0.0.1:0"}`, `admin: {listen: "127.0.0.1:0"}, grpc: {listen: "127.0.0.1:0"}`)
	return func() string { return p.logged(`msg=serving .*grpc=(\S+)`) }
}

func (p *process) operate(address func() string, args ...string) (code int, stdout, stderr string) {
	p.t.Helper()
	return try(p.t, append(args, "--server", address(), "--token-file", filepath.Join(p.dir, "on-call"), "--ca-file", filepath.Join(p.dir, "tls.crt"))...)
}

func TestWithoutTracingNothingIsSentWhateverTheEnvironmentSays(t *testing.T) {
	r := otlptest.New(t, nil)
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://"+r.GRPC)
	t.Setenv("OTEL_TRACES_EXPORTER", "otlp")
	t.Setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
	p := newProcess(t)
	p.start()
	p.until("there is a pull secret", func() bool { return p.askWithin(sampled, p.token()) == http.StatusOK })
	p.end()
	if n := r.Attempts(); n != 0 {
		t.Errorf("something was sent %d times", n)
	}
	if strings.Contains(p.log.String(), "trace_id") {
		t.Error("the log speaks of traces")
	}
}

func TestTheEnvironmentCanTurnTracingOff(t *testing.T) {
	t.Setenv("OTEL_SDK_DISABLED", "true")
	p := newProcess(t)
	r := p.traced("")
	p.start()
	p.until("there is a pull secret", func() bool { return p.askWithin(sampled, p.token()) == http.StatusOK })
	p.end()
	if r.Attempts() != 0 {
		t.Error("something was sent")
	}
	p.logged(`(there are no traces: OTEL_SDK_DISABLED is set)`)
}

// A stranger's word about its trace is not taken, and of strangers' requests few are traced, however many come.
func TestStrangersDecideNothingAboutTraces(t *testing.T) {
	for _, share := range []string{"0", "1"} {
		p := newProcess(t)
		r := p.traced(", sampling: " + share)
		p.start()
		p.ready()
		start := time.Now()
		for i := range 60 {
			if status := p.askWithin(sampled, fmt.Sprintf("no-client-has-this-token-%d", i)); status != http.StatusUnauthorized {
				t.Fatalf("a stranger got %d", status)
			}
		}
		allowed := 10 + int(time.Since(start).Seconds()) + 1
		p.until("there is a pull secret", func() bool { return p.askWithin(sampled, p.token()) == http.StatusOK })
		p.end()
		all := spans(r.Spans())
		known := all.in(callersTrace)
		if len(known.named(pullSecretSpan)) == 0 {
			t.Error("a known caller's trace is not gone on with")
		}
		strangers := all.named(pullSecretSpan).with(func(s otlptest.Span) bool { return s.Attributes["quaygen.client"] == "" })
		if share == "0" && len(strangers) != 0 || share == "1" && (len(strangers) == 0 || len(strangers) > allowed) {
			t.Errorf("with a share of %s: %d of 60 strangers are traced", share, len(strangers))
		}
		for _, s := range strangers {
			if s.Trace == callersTrace || s.Parent != "" || s.Attributes["http.response.status_code"] != "401" || s.Attributes["quaygen.name"] != "" {
				t.Errorf("a stranger's span is %+v", s)
			}
		}
	}
}

func TestALineOfTheLogNamesTheTraceOfItsRequest(t *testing.T) {
	p := newProcess(t)
	r := p.traced("")
	p.start()
	p.ready()
	base := p.logged(`msg=serving .*http=(\S+)`)
	status, _, _ := p.askWith(base+"/v1/pullsecrets/puller?namespace=elsewhere", p.token(), nil)
	if status != http.StatusForbidden {
		t.Fatalf("%d", status)
	}
	id := p.logged(`msg="request refused" .*trace_id=([0-9a-f]{32}) span_id=[0-9a-f]{16}`)
	p.askWithin("", "not the token of anybody")
	stranger := p.logged(`msg="caller not authenticated" .*trace_id=([0-9a-f]{32})`)
	step := p.logged(`msg=done .*trace_id=([0-9a-f]{32})`)
	p.end()
	all := spans(r.Spans())
	if s := all.in(id).named(pullSecretSpan).one(t); s.Attributes["http.response.status_code"] != "403" || s.Attributes["quaygen.namespace"] != "elsewhere" {
		t.Errorf("%+v", s)
	}
	if s := all.in(stranger).one(t); s.Attributes["http.response.status_code"] != "401" {
		t.Errorf("%+v", s)
	}
	if len(all.in(step).named("sync")) != 1 {
		t.Error("a step's line leads to no sync")
	}
}

// The hunt at the end of the test finds what of it gets into a span.
func TestErrorsOfQuayThatQuoteTheTokenBringNoneIntoATrace(t *testing.T) {
	p := newProcess(t)
	r := p.traced("")
	quoted := `{"error_message": "the token ` + p.read("token") + ` is not to my liking", "detail": "` + p.read("token") + `"}`
	for operation, status := range map[string]int{
		"robot.list": http.StatusInternalServerError, "robot.create": http.StatusBadRequest, "permission.put": http.StatusForbidden, "robot.get": http.StatusTeapot,
	} {
		p.quay.Inject(quaytest.Fault{Operation: operation, Status: status, Body: quoted, ContentType: "application/json", Times: 1})
	}
	p.quay.Inject(quaytest.Fault{Operation: "auth", Status: http.StatusUnauthorized, Times: 1}) // it carries another credential
	p.quay.Inject(quaytest.Fault{Operation: "robot.list", Status: http.StatusOK, Body: quoted, ContentType: "application/json", Times: 1})
	p.start()
	p.until("there is a pull secret", func() bool { status, _ := p.ask(p.token()); return status == http.StatusOK })
	p.end()
	failed := map[string]bool{}
	for _, s := range r.Spans() {
		if s.Failed && s.Message != "" {
			failed[s.Name] = true
		}
	}
	for _, name := range []string{"quay robot.list", "quay robot.create", "quay permission.put", "quay auth", "pass", "step create", "step grant"} {
		if !failed[name] {
			t.Errorf("no %s failed, so that nothing is proven; %v did", name, failed)
		}
	}
}
