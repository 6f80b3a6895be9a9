package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// running is a quaydev under test.
type running struct {
	t      *testing.T
	info   started
	token  string
	client *http.Client
	stop   func() error
}

// start runs quaydev with --json until the test ends.
func start(t *testing.T, args ...string) *running {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	out, in := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		err := run(ctx, append(args, "--json"), in, io.Discard)
		_ = in.CloseWithError(io.EOF)
		ended <- err
	}()
	var err error
	stopped := false
	r := &running{t: t, stop: func() error {
		if !stopped {
			stopped = true
			cancel()
			err = <-ended
		}
		return err
	}}
	t.Cleanup(func() { _ = r.stop() })
	line, readErr := bufio.NewReader(out).ReadBytes('\n')
	if readErr != nil {
		t.Fatalf("no line of JSON: %v; quaydev ended with: %v", readErr, r.stop())
	}
	if err := json.Unmarshal(line, &r.info); err != nil {
		t.Fatal(err)
	}
	go func() { _, _ = io.Copy(io.Discard, out) }()
	r.token = r.info.Token
	if r.info.TokenFile != "" {
		r.token = readFile(t, r.info.TokenFile)
	}
	transport := &http.Transport{ForceAttemptHTTP2: true}
	if r.info.CAFile != "" {
		roots := x509.NewCertPool()
		if !roots.AppendCertsFromPEM([]byte(readFile(t, r.info.CAFile))) {
			t.Fatal("no certificate in the CA file")
		}
		transport.TLSClientConfig = &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
	}
	t.Cleanup(transport.CloseIdleConnections)
	r.client = &http.Client{Transport: transport}
	return r
}

func readFile(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func (r *running) do(method, path string, body any, into any) int {
	r.t.Helper()
	var content io.Reader
	if body != nil {
		data, err := json.Marshal(body)
		if err != nil {
			r.t.Fatal(err)
		}
		content = bytes.NewReader(data)
	}
	request, err := http.NewRequestWithContext(r.t.Context(), method, r.info.URL+path, content)
	if err != nil {
		r.t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+r.token)
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	resp, err := r.client.Do(request)
	if err != nil {
		r.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	if into != nil {
		if err := json.Unmarshal(data, into); err != nil {
			r.t.Fatalf("%s %s: %d: %v", method, path, resp.StatusCode, err)
		}
	}
	return resp.StatusCode
}

func (r *running) must(status int, method, path string, body any, into any) {
	r.t.Helper()
	if got := r.do(method, path, body, into); got != status {
		r.t.Fatalf("%s %s answered %d, want %d", method, path, got, status)
	}
}

const robotsPath = "/api/v1/organization/myorg/robots"

func TestOnlyLoopback(t *testing.T) {
	for _, address := range []string{":0", "0.0.0.0:0", "[::]:0", "192.0.2.1:0", "example.com:0", "8.8.8.8:0"} {
		err := run(t.Context(), []string{"--listen", address}, io.Discard, io.Discard)
		if err == nil || !strings.Contains(err.Error(), "loopback") {
			t.Errorf("%s: %v", address, err)
		}
	}
}

func TestFlagsThatCannotBe(t *testing.T) {
	for _, args := range [][]string{
		{"--tls"}, {"--ca-out", "x"}, {"--tls-cert", "x"}, {"--tls-key", "x"},
		{"--tls", "--ca-out", "x", "--tls-cert", "x", "--tls-key", "x"},
		{"--last-accessed-threshold", "0s"}, {"--doors", "-1"}, {"argument"}, {"--unknown"},
		{"--tls-cert", "nosuch.pem", "--tls-key", "nosuch.pem"},
	} {
		if err := run(t.Context(), args, io.Discard, io.Discard); err == nil {
			t.Errorf("%v passed", args)
		}
	}
}

func TestARobotPullsTheSeededImages(t *testing.T) {
	dir := t.TempDir()
	for title, args := range map[string][]string{
		"http":      nil,
		"localhost": {"--listen", "localhost:0"},
		"https":     {"--tls", "--ca-out", filepath.Join(dir, "ca.pem"), "--token-out", filepath.Join(dir, "token")},
	} {
		t.Run(title, func(t *testing.T) {
			r := start(t, args...)
			var robot struct{ Name, Token string }
			r.must(http.StatusCreated, "PUT", robotsPath+"/reader", nil, &robot)
			for _, repository := range repositories {
				if err := r.pull(repository, robot.Name, robot.Token); err == nil {
					t.Errorf("%s can be pulled without a grant", repository)
				}
				r.must(http.StatusOK, "PUT", "/api/v1/repository/myorg/"+repository+"/permissions/user/"+robot.Name, map[string]string{"role": "read"}, nil)
				if err := r.pull(repository, robot.Name, robot.Token); err != nil {
					t.Errorf("%s: %v", repository, err)
				}
			}
			if err := r.stop(); err != nil {
				t.Errorf("ended with %v", err)
			}
		})
	}
}

func (r *running) pull(repository, username, password string) error {
	scheme, host, _ := strings.Cut(r.info.URL, "://")
	options := []name.Option{name.StrictValidation}
	if scheme == "http" {
		options = append(options, name.Insecure)
	}
	ref, err := name.ParseReference(host+"/myorg/"+repository+":"+imageTag, options...)
	if err != nil {
		return err
	}
	image, err := remote.Image(ref, remote.WithContext(r.t.Context()), remote.WithTransport(r.client.Transport),
		remote.WithAuth(&authn.Basic{Username: username, Password: password}))
	if err != nil {
		return err
	}
	layers, err := image.Layers()
	if err != nil {
		return err
	}
	for _, layer := range layers {
		content, err := layer.Uncompressed()
		if err != nil {
			return err
		}
		if _, err := io.Copy(io.Discard, content); err != nil {
			return err
		}
		_ = content.Close()
	}
	return nil
}

func TestTheTokenFileIsForItsOwnerOnly(t *testing.T) {
	path := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(path, []byte("old"), 0o644); err != nil {
		t.Fatal(err)
	}
	r := start(t, "--token-out", path)
	stat, err := os.Stat(path)
	if err != nil || stat.Mode() != fs.FileMode(0o600) {
		t.Errorf("mode %v, %v", stat.Mode(), err)
	}
	if r.info.Token != "" || r.info.TokenFile != path || len(r.token) < 40 {
		t.Error("the token is printed, or not in the file")
	}
	r.must(http.StatusOK, "GET", robotsPath, nil, nil)
}

func TestReadableOutput(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	out, in := io.Pipe()
	ended := make(chan error, 1)
	go func() { ended <- run(ctx, nil, in, io.Discard) }()
	lines := bufio.NewScanner(out)
	var text []string
	for len(text) < 6 && lines.Scan() {
		text = append(text, lines.Text())
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if !strings.HasPrefix(text[0], "Quay          http://127.0.0.1:") || text[5] != "Image         myorg/worker-service:v1.2.3" {
		t.Errorf("printed %q", text)
	}
}

func TestTheEndDoesNotWaitForHangingRequests(t *testing.T) {
	r := start(t, "--control")
	r.must(http.StatusOK, "POST", "/quaydev/faults", faultRequest{Operation: "robot.list", Hang: true}, nil)
	request, err := http.NewRequest("GET", r.info.URL+robotsPath, nil)
	if err != nil {
		t.Fatal(err)
	}
	answered := make(chan struct{})
	go func() {
		defer close(answered)
		if resp, err := r.client.Do(request); err == nil {
			_ = resp.Body.Close()
			t.Error("answered")
		}
	}()
	counts := map[string]int{}
	for counts["robot.list"] == 0 {
		r.must(http.StatusOK, "GET", "/quaydev/calls", nil, &counts)
	}
	started := time.Now()
	if err := r.stop(); err != nil {
		t.Error(err)
	}
	if took := time.Since(started); took > 10*time.Second {
		t.Errorf("took %v", took)
	}
	<-answered
}

func TestPeopleActThroughTheControl(t *testing.T) {
	r := start(t, "--control", "--token-out", filepath.Join(t.TempDir(), "token"))
	var robot struct{ Name, Token string }
	r.must(201, "PUT", robotsPath+"/reader", map[string]string{"description": "d"}, &robot)
	grant := "/api/v1/repository/myorg/my-app/permissions/user/" + robot.Name
	r.must(200, "PUT", grant, map[string]string{"role": "read"}, nil)

	var shown struct{ Robots []robotView }
	r.must(200, "GET", "/quaydev/robots", nil, &shown)
	if len(shown.Robots) != 1 || shown.Robots[0].Grants["my-app"] != "read" || shown.Robots[0].Fingerprint == "" {
		t.Errorf("robots %+v", shown)
	}
	r.must(200, "POST", "/quaydev/robots/reader/ungrant", map[string]string{"repository": "my-app"}, nil)
	r.must(400, "GET", grant, nil, nil)
	r.must(400, "POST", "/quaydev/robots/reader/ungrant", map[string]string{"repository": "my-app"}, nil)

	r.must(200, "POST", "/quaydev/robots/reader/regenerate", nil, nil)
	if err := r.pull("my-app", robot.Name, robot.Token); err == nil {
		t.Error("the old token works")
	}
	r.must(200, "POST", "/quaydev/robots/reader/delete", nil, nil)
	r.must(400, "POST", "/quaydev/robots/reader/delete", nil, nil)
	r.must(200, "GET", "/quaydev/robots", nil, &shown)
	if len(shown.Robots) != 0 {
		t.Errorf("robots %+v", shown)
	}
	r.must(200, "GET", "/quaydev/robots?ever=true", nil, &shown)
	if len(shown.Robots) != 1 || shown.Robots[0].Deleted.IsZero() {
		t.Errorf("robots ever %+v", shown)
	}

	r.must(200, "POST", "/quaydev/repositories", map[string]string{"name": "new-app"}, nil)
	r.must(200, "GET", "/api/v1/repository/myorg/new-app", nil, nil)
	r.must(200, "POST", "/quaydev/repositories/delete", map[string]string{"name": "new-app"}, nil)
	r.must(404, "GET", "/api/v1/repository/myorg/new-app", nil, nil)
	r.must(400, "POST", "/quaydev/repositories", map[string]string{"name": "Bad Name"}, nil)
	r.must(400, "POST", "/quaydev/repositories", map[string]string{"title": "unknown"}, nil)

	r.must(200, "POST", "/quaydev/token", nil, nil)
	r.must(401, "GET", robotsPath, nil, nil)
	r.token = readFile(t, r.info.TokenFile)
	r.must(200, "GET", robotsPath, nil, nil)
}

func TestFaultsAndSwitchesThroughTheControl(t *testing.T) {
	r := start(t, "--control")
	r.must(200, "POST", "/quaydev/down", nil, nil)
	r.must(502, "GET", robotsPath, nil, nil)
	r.must(200, "POST", "/quaydev/up", nil, nil)
	r.must(200, "GET", robotsPath, nil, nil)

	var fault struct{ ID int }
	r.must(200, "POST", "/quaydev/faults", faultRequest{Operation: "robot.list", Status: 500}, &fault)
	r.must(500, "GET", robotsPath, nil, nil)
	r.must(200, "DELETE", "/quaydev/faults/1", nil, nil)
	r.must(400, "DELETE", "/quaydev/faults/1", nil, nil)
	r.must(200, "GET", robotsPath, nil, nil)
	r.must(200, "POST", "/quaydev/faults", map[string]any{"operation": "robot.list", "status": 429, "header": map[string]string{"Retry-After": "1"}}, nil)
	r.must(429, "GET", robotsPath, nil, nil)
	r.must(200, "DELETE", "/quaydev/faults", nil, nil)
	r.must(200, "GET", robotsPath, nil, nil)
	for _, wrong := range []map[string]any{{"status": 42}, {"delay": "soon"}, {"delay": "-1s"}, {"times": -1}, {"probability": 2}, {"hangs": true}} {
		r.must(400, "POST", "/quaydev/faults", wrong, nil)
	}

	r.must(200, "POST", "/quaydev/switches", map[string]bool{"read_only": true}, nil)
	r.must(503, "PUT", robotsPath+"/reader", nil, nil)
	r.must(200, "POST", "/quaydev/switches", map[string]bool{"read_only": false, "robots_disallow": true}, nil)
	r.must(400, "PUT", robotsPath+"/reader", nil, nil)

	counts := map[string]int{}
	r.must(200, "GET", "/quaydev/calls", nil, &counts)
	if counts["robot.list"] != 5 || counts["robot.create"] != 2 {
		t.Errorf("counts %v", counts)
	}
	r.must(200, "POST", "/quaydev/calls/reset", nil, nil)
	clear(counts)
	r.must(200, "GET", "/quaydev/calls", nil, &counts)
	if len(counts) != 0 {
		t.Errorf("counts %v after a reset", counts)
	}
}

// A door is how the callers of one port get faults that the others do not.
func TestAFaultForOneDoorSparesTheOthersAndCountsItsHits(t *testing.T) {
	r := start(t, "--control", "--doors", "2", "--tls", "--ca-out", filepath.Join(t.TempDir(), "ca.pem"))
	if len(r.info.Doors) != 2 {
		t.Fatalf("doors %v", r.info.Doors)
	}
	door := func(i int) *running {
		through := *r
		through.info.URL = r.info.Doors[i]
		return &through
	}
	_, host, _ := strings.Cut(r.info.Doors[1], "://")
	var fault struct{ ID, Hits int }
	r.must(200, "POST", "/quaydev/faults", faultRequest{Operation: "robot.list", Host: host, Status: 500}, &fault)
	r.must(200, "GET", robotsPath, nil, nil)
	door(0).must(200, "GET", robotsPath, nil, nil)
	r.must(200, "GET", "/quaydev/faults/1?wait=1ns", nil, &fault)
	if fault.Hits != 0 {
		t.Errorf("%d hits through other doors", fault.Hits)
	}
	waited := make(chan int, 1)
	go func() {
		defer close(waited)
		var seen struct{ Hits int }
		r.must(200, "GET", "/quaydev/faults/1?wait=1m", nil, &seen)
		waited <- seen.Hits
	}()
	door(1).must(500, "GET", robotsPath, nil, nil)
	if hits := <-waited; hits != 1 {
		t.Errorf("waited until %d hits", hits)
	}
	door(1).must(500, "GET", robotsPath, nil, nil)
	r.must(400, "GET", "/quaydev/faults/1?wait=soon", nil, nil)
	r.must(200, "DELETE", "/quaydev/faults/1", nil, &fault)
	if fault.Hits != 2 {
		t.Errorf("%d hits, want 2", fault.Hits)
	}
	r.must(400, "GET", "/quaydev/faults/1", nil, nil)
	door(1).must(200, "GET", robotsPath, nil, nil)

	counts := map[string]int{}
	r.must(200, "GET", "/quaydev/calls?status=500", nil, &counts)
	if counts["robot.list"] != 2 {
		t.Errorf("answered 500: %v", counts)
	}
	r.must(400, "GET", "/quaydev/calls?status=many", nil, nil)
	// The control is served at the main door alone.
	door(0).must(403, "GET", "/quaydev/calls", nil, nil)
}

func TestTheControlIsOffUnlessAskedForAndClosedToWebPages(t *testing.T) {
	start(t).must(404, "GET", "/quaydev/calls", nil, nil)

	r := start(t, "--control")
	for _, change := range []func(*http.Request){
		func(q *http.Request) { q.Host = "rebound.example.com" },
		func(q *http.Request) { q.Header.Set("Sec-Fetch-Site", "cross-site") },
		func(q *http.Request) { q.Header.Set("Origin", "https://example.com") },
	} {
		request, err := http.NewRequest("POST", r.info.URL+"/quaydev/down", nil)
		if err != nil {
			t.Fatal(err)
		}
		change(request)
		resp, err := r.client.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != http.StatusForbidden {
			t.Errorf("answered %d", resp.StatusCode)
		}
	}
}

func TestNothingOfTheControlShowsAToken(t *testing.T) {
	r := start(t, "--control")
	var robot struct{ Token string }
	r.must(201, "PUT", robotsPath+"/reader", nil, &robot)
	for _, path := range []string{"/quaydev/robots", "/quaydev/robots?ever=true", "/quaydev/calls"} {
		var raw json.RawMessage
		r.must(200, "GET", path, nil, &raw)
		if slices.ContainsFunc([]string{robot.Token, r.token}, func(token string) bool { return strings.Contains(string(raw), token) }) {
			t.Errorf("%s shows a token", path)
		}
	}
}
