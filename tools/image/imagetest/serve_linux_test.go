package imagetest

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// patience is for a machine that does a lot at the same time: no test waits that long otherwise.
const patience = 3 * time.Minute

// bearer is the token of the caller that plays ESO.
const bearer = "0123456789abcdef0123"

const configuration = `apiVersion: quaygen.dev/v1alpha1
kind: GeneratorConfig
instance: image-test
registries: [{name: quay, url: %q, tokenFile: /etc/quaygen/quay-token, caFile: /etc/quaygen/quay-ca.crt, limits: {qps: 50, burst: 50}}]
robots:
- {name: puller, registry: quay, organization: myorg, robot: k8s_puller, permissions: {repositories: [{name: my-app}]}}
clients: [{name: eso, bearerTokenFile: /etc/quaygen/eso-token, namespaceFrom: request}]
rules: [{clients: [eso], namespaces: ["prod-*"], names: [puller]}]
server: {http: {listen: "127.0.0.1:0"}, admin: {listen: "127.0.0.1:0"}}
`

// program is a process at work, with what it printed.
type program struct {
	cmd *exec.Cmd

	mu      sync.Mutex
	output  bytes.Buffer
	changed chan struct{} // closed and replaced at each write
}

func (p *program) Write(data []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	close(p.changed)
	p.changed = make(chan struct{})
	return p.output.Write(data)
}

func start(t *testing.T, cmd *exec.Cmd) *program {
	t.Helper()
	p := &program{cmd: cmd, changed: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = p, p
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return p
}

// until waits for a text that the program prints.
func (p *program) until(t *testing.T, pattern string) []string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for {
		p.mu.Lock()
		match, changed := regexp.MustCompile(pattern).FindStringSubmatch(p.output.String()), p.changed
		p.mu.Unlock()
		if match != nil {
			return match
		}
		select {
		case <-changed:
		case <-ctx.Done():
			t.Fatalf("no %q in %s:\n%s", pattern, patience, p.output.String())
		}
	}
}

// end asks the program to end as Kubernetes does.
func (p *program) end(t *testing.T) {
	t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Wait(); err != nil {
		t.Errorf("%s ended with %v:\n%s", p.cmd, err, p.output.String())
	}
}

// serves runs the image against a Quay on loopback.
func serves(t *testing.T, source, root string, labels map[string]string) {
	t.Helper()
	config := t.TempDir()
	build := exec.CommandContext(t.Context(), "go", "build", "-o", filepath.Join(t.TempDir(), "quaydev"), "./cmd/quaydev")
	build.Dir = source
	command(t, build)
	quay := start(t, exec.CommandContext(t.Context(), build.Args[3], "--json", "--tls",
		"--ca-out", filepath.Join(config, "quay-ca.crt"), "--token-out", filepath.Join(config, "quay-token")))
	defer quay.end(t)
	var at struct{ URL string }
	if err := json.Unmarshal([]byte(quay.until(t, `(\{.*"url".*\})`)[1]), &at); err != nil {
		t.Fatal(err)
	}
	write(t, config, "eso-token", bearer)
	write(t, config, "generator.yaml", fmt.Sprintf(configuration, at.URL))
	giveToUser(t, config)

	generator := start(t, contain(t.Context(), root, config, "/generator", "serve", "--config=/etc/quaygen/generator.yaml"))
	defer generator.end(t)
	addresses := generator.until(t, `http=(http://\S+).* admin=(http://\S+)`)
	ready(t, addresses[2])
	hasNoRights(t, generator.cmd.Process.Pid)
	secret := pullSecret(t, addresses[1])
	pulls(t, at.URL, filepath.Join(config, "quay-ca.crt"), secret)
	status, metrics := get(t, addresses[2]+"/metrics", "")
	if want := fmt.Sprintf("revision=%q", labels["org.opencontainers.image.revision"]); status != http.StatusOK || !strings.Contains(metrics, want) {
		t.Errorf("%d: quaygen_build_info has no %s", status, want)
	}
}

func write(t *testing.T, dir, name, content string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// giveToUser lets the image's user read what is mounted, as a pod's fsGroup does.
func giveToUser(t *testing.T, dir string) {
	t.Helper()
	if os.Getuid() != 0 {
		return // it is this user, in a namespace of users
	}
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if err := os.Chown(filepath.Join(dir, f.Name()), 0, user); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(filepath.Join(dir, f.Name()), 0o440); err != nil {
			t.Fatal(err)
		}
	}
}

// hasNoRights asks the kernel who the process is and what it may do.
func hasNoRights(t *testing.T, process int) {
	t.Helper()
	want := map[string]string{"CapEff": "0000000000000000", "CapPrm": "0000000000000000", "NoNewPrivs": "1"}
	if os.Getuid() == 0 {
		id := fmt.Sprint(user)
		want["Uid"] = strings.Join([]string{id, id, id, id}, " ")
		want["Gid"], want["Groups"] = want["Uid"], ""
	}
	for key, value := range want {
		if got := statusOf(t, process, key); got != value {
			t.Errorf("%s is %q, want %q", key, got, value)
		}
	}
	mounts, err := os.ReadFile(fmt.Sprintf("/proc/%d/mountinfo", process))
	if err != nil {
		t.Fatal(err)
	}
	for _, place := range []string{"/", "/etc/quaygen"} {
		if !regexp.MustCompile(`(?m)^\d+ \d+ \S+ \S+ ` + place + ` ro[, ]`).Match(mounts) {
			t.Errorf("%s can be written to:\n%s", place, mounts)
		}
	}
}

func get(t *testing.T, url, token string) (int, string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, 1<<20))
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(body)
}

func ready(t *testing.T, admin string) {
	t.Helper()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	limit := time.After(patience)
	for {
		status, body := get(t, admin+"/readyz?verbose", "")
		if status == http.StatusOK {
			return
		}
		select {
		case <-tick.C:
		case <-limit:
			t.Fatalf("not ready in %s: %s", patience, body)
		}
	}
}

// pullSecret asks as ESO does, and returns the user and its password for the registry.
func pullSecret(t *testing.T, api string) authn.AuthConfig {
	t.Helper()
	status, body := get(t, api+"/v1/pullsecrets/puller?namespace=prod-shop", bearer)
	var secret struct{ Data map[string]string }
	if err := json.Unmarshal([]byte(body), &secret); err != nil || status != http.StatusOK {
		t.Fatalf("%d, %v", status, err) // the body may hold a credential
	}
	var config struct {
		Auths map[string]authn.AuthConfig
	}
	if err := json.Unmarshal([]byte(secret.Data[".dockerconfigjson"]), &config); err != nil || len(config.Auths) != 1 {
		t.Fatalf("%d registries, %v", len(config.Auths), err)
	}
	for _, auth := range config.Auths {
		return auth
	}
	return authn.AuthConfig{}
}

// pulls fetches an image with the credential, by an ordinary client of registries.
func pulls(t *testing.T, quay, caFile string, auth authn.AuthConfig) {
	t.Helper()
	authority, err := os.ReadFile(caFile)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(authority)
	reference, err := name.ParseReference(strings.TrimPrefix(quay, "https://") + "/myorg/my-app:v1.2.3")
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}}
	image, err := remote.Image(reference, remote.WithAuth(authn.FromConfig(auth)), remote.WithTransport(transport), remote.WithContext(t.Context()))
	if err != nil {
		t.Fatalf("pulling %s: %v", reference, err)
	}
	layers, err := image.Layers()
	if err != nil || len(layers) == 0 {
		t.Fatalf("%d layers, %v", len(layers), err)
	}
	for _, layer := range layers {
		content, err := layer.Compressed()
		if err != nil {
			t.Fatal(err)
		}
		_, err = io.Copy(io.Discard, content)
		_ = content.Close()
		if err != nil {
			t.Fatal(err)
		}
	}
}
