package alerts

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
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/quaygen/quaygen/pkg/quaygen/certificate/certificatetest"
)

// patience bounds how long a test waits for what has to come about.
const patience = 3 * time.Minute

var made string // a directory with what was built

// binaries builds what is run, once, from the product's own module.
var binaries = sync.OnceValues(func() (dir string, err error) {
	if made, err = os.MkdirTemp("", "quaygen-alerts-"); err != nil {
		return "", err
	}
	build := exec.Command("go", "build", "-trimpath", "-o", made, "./cmd/generator", "./cmd/quaydev")
	build.Dir, build.Stderr, build.Env = "../..", os.Stderr, append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=")
	return made, build.Run()
})

func TestMain(m *testing.M) {
	m.Run()
	if made != "" {
		_ = os.RemoveAll(made)
	}
}

// configuration has times that are short, and in Prometheus' time, at 120 times the speed, are those of a real installation.
const configuration = `apiVersion: quaygen.dev/v1alpha1
kind: GeneratorConfig
instance: test
registries: [{name: quay, url: %q, tokenFile: ./token, limits: {qps: 100, burst: 100}}]
robots:
- name: puller
  registry: quay
  organization: myorg
  robot: k8s_puller
  permissions: {repositories: [{name: my-app}]}
  rotation: {every: 1h, overlap: 12s, drain: {quiet: 4s, max: 60s}}
  maxRefresh: 1s
clients: [{name: eso, bearerTokenFile: ./eso, namespaceFrom: request}]
rules: [{clients: [eso], namespaces: ["prod-*"], names: ["*"]}]
server: {http: {listen: "127.0.0.1:0"}, admin: {listen: "127.0.0.1:0"}, tls: {certFile: ./tls.crt, keyFile: ./tls.key, clientCAFile: ./ca.crt}}
sync: 500ms
safety: {settle: 3s, stepDeadline: 2s, clockAllowance: 1s, allowUnsafeTiming: true}
`

const clientToken = "0123456789abcdef-of-eso"

var client = &http.Client{Timeout: 10 * time.Second}

// service is one generator serve, and the Quay that it works with, as processes.
type service struct {
	t       *testing.T
	dir     string
	bin     string // directory of the programs
	quayURL string
	running *exec.Cmd
	log     *buffer
	unread  atomic.Pointer[chan struct{}] // nobody reads the standard output of the service until it is closed
	api     string                        // where callers ask
	admin   string
}

// buffer takes in what a process says.
type buffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// newService starts a Quay, and prepares the service without starting it.
func newService(t *testing.T, edits ...string) *service {
	t.Helper()
	bin, err := binaries()
	if err != nil {
		t.Fatal(err)
	}
	s := &service{t: t, dir: t.TempDir(), bin: bin}
	quay := exec.CommandContext(t.Context(), filepath.Join(bin, "quaydev"), "--control", "--json", "--token-out", s.path("token"))
	out, err := quay.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	s.run(quay)
	var started struct {
		URL string `json:"url"`
	}
	if err := json.NewDecoder(out).Decode(&started); err != nil {
		t.Fatal(err)
	}
	s.quayURL = started.URL
	s.write("eso", clientToken)
	s.certificate("tls", -time.Minute, 365*24*time.Hour)
	s.certificate("ca", -time.Minute, 365*24*time.Hour)
	s.write("generator.yaml", fmt.Sprintf(configuration, s.quayURL))
	for i := 0; i < len(edits); i += 2 {
		s.edit(edits[i], edits[i+1])
	}
	return s
}

// run starts a process that ends with the test.
func (s *service) run(cmd *exec.Cmd) {
	s.t.Helper()
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
}

func (s *service) path(name string) string { return filepath.Join(s.dir, name) }

func (s *service) read(name string) string { return read(s.t, s.path(name)) }

func (s *service) write(name, content string) {
	s.t.Helper()
	if err := os.WriteFile(s.path(name+".new"), []byte(content), 0o600); err != nil {
		s.t.Fatal(err)
	}
	if err := os.Rename(s.path(name+".new"), s.path(name)); err != nil {
		s.t.Fatal(err)
	}
}

// edit replaces a text in the configuration.
func (s *service) edit(from, to string) {
	s.t.Helper()
	text := s.read("generator.yaml")
	if !strings.Contains(text, from) {
		s.t.Fatalf("the configuration has no %q", from)
	}
	s.write("generator.yaml", strings.Replace(text, from, to, 1))
}

// certificate writes NAME.crt and NAME.key, for loopback, which began and ends so long from now.
func (s *service) certificate(name string, began, ends time.Duration) {
	s.t.Helper()
	now := time.Now()
	own := certificatetest.Authority(name, certificatetest.ForLoopback, certificatetest.From(now.Add(began)), certificatetest.Until(now.Add(ends)))
	s.write(name+".key", string(own.KeyPEM()))
	s.write(name+".crt", string(own.CertPEM()))
}

var serving = regexp.MustCompile(`msg=serving .*http=(\S+) .*admin=(\S+)`)

// start runs the service and waits until it listens.
func (s *service) start() {
	s.t.Helper()
	s.log = &buffer{}
	cmd := exec.CommandContext(s.t.Context(), filepath.Join(s.bin, "generator"), "serve", "--config", s.path("generator.yaml"))
	cmd.Stderr = s.log
	out, err := cmd.StdoutPipe()
	if err != nil {
		s.t.Fatal(err)
	}
	s.run(cmd)
	go s.drain(out)
	s.running = cmd
	s.until("it serves", func() bool {
		found := serving.FindStringSubmatch(s.log.String())
		if found == nil {
			return false
		}
		s.api, s.admin = found[1], found[2]
		return true
	})
}

// drain reads what the service writes to its standard output, while it may.
func (s *service) drain(out io.Reader) {
	piece := make([]byte, 4096)
	for {
		if until := s.unread.Load(); until != nil {
			<-*until
		}
		if _, err := out.Read(piece); err != nil {
			return
		}
	}
}

// kill ends the service without a word.
func (s *service) kill() {
	s.t.Helper()
	if err := s.running.Process.Signal(syscall.SIGKILL); err != nil {
		s.t.Fatal(err)
	}
	_ = s.running.Wait()
}

// until looks again and again whether something has come about.
func (s *service) until(what string, holds func() bool) {
	s.t.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	timeout := time.After(patience)
	for !holds() {
		select {
		case <-tick.C:
		case <-timeout:
			s.t.Fatalf("waiting until %s\n%s", what, s.log)
		}
	}
}

// scrape returns nil where the service does not answer.
func (s *service) scrape() []byte {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), 5*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, s.admin+"/metrics", nil)
	if err != nil {
		s.t.Fatal(err)
	}
	response, err := client.Do(r)
	if err != nil {
		return nil
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		return nil
	}
	return text
}

// ask asks for the pull secret as ESO does: over a connection of its own. It returns 0 where there was no answer.
func (s *service) ask(token string) (status int) {
	s.t.Helper()
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(s.read("tls.crt")))
	transport := &http.Transport{TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots}, DisableKeepAlives: true}
	r, err := http.NewRequestWithContext(s.t.Context(), http.MethodGet, s.api+"/v1/pullsecrets/puller?namespace=prod-a", nil)
	if err != nil {
		s.t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+token)
	response, err := (&http.Client{Timeout: 10 * time.Second, Transport: transport}).Do(r)
	if err != nil {
		return 0
	}
	defer response.Body.Close()
	_, _ = io.Copy(io.Discard, response.Body)
	return response.StatusCode
}

// quay asks the Quay in memory for something: a path below /quaydev/ is a fault or what a person does.
func (s *service) quay(method, path, body string) string {
	s.t.Helper()
	r, err := http.NewRequestWithContext(s.t.Context(), method, s.quayURL+path, strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	if !strings.HasPrefix(path, "/quaydev/") {
		r.Header.Set("Authorization", "Bearer "+strings.TrimSpace(s.read("token")))
	}
	response, err := client.Do(r)
	if err != nil {
		s.t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode >= 300 {
		s.t.Fatalf("%s %s: %d %v", method, path, response.StatusCode, err)
	}
	return string(text)
}

func (s *service) fault(body string) { s.t.Helper(); s.quay(http.MethodPost, "/quaydev/faults", body) }

func (s *service) noFaults() { s.t.Helper(); s.quay(http.MethodDelete, "/quaydev/faults", "") }

// newest returns the short name of the highest generation in Quay.
func (s *service) newest() string {
	s.t.Helper()
	var shown struct {
		Robots []struct {
			Name string `json:"name"`
		} `json:"robots"`
	}
	if err := json.Unmarshal([]byte(s.quay(http.MethodGet, "/quaydev/robots", "")), &shown); err != nil {
		s.t.Fatal(err)
	}
	newest := ""
	for _, r := range shown.Robots {
		if _, short, _ := strings.Cut(r.Name, "+"); strings.HasPrefix(short, "k8s_puller_g") {
			newest = max(newest, short)
		}
	}
	if newest == "" {
		s.t.Fatal("there is no generation")
	}
	return newest
}
