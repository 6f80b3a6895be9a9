package main

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"time"

	"github.com/quaygen/quaygen/cmd/internal/await"
	"github.com/quaygen/quaygen/cmd/internal/child"
	"github.com/quaygen/quaygen/pkg/quaygen/certificate/certificatetest"
)

// world is Quay and one service, and the credentials of its clients.
type world struct {
	bin, dir      string
	quay, service *child.Process
	http, grpc    string // host:port
	admin         string // URL
	roots         *x509.CertPool
	token         string // of the client that calls as ESO does
	certificate   *tls.Certificate
	client        *http.Client // for the administrator's port
}

// victim is what an attacker knows; it travels to its process as JSON.
type victim struct {
	HTTP, GRPC string
	Token      string // of a client with few rights
}

func newWorld(ctx context.Context, bin string) (*world, error) {
	dir, err := os.MkdirTemp("", "quayflood-")
	if err != nil {
		return nil, err
	}
	w := &world{bin: bin, dir: dir, client: &http.Client{Timeout: 20 * time.Second}}
	starting, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	if err := w.start(ctx, starting); err != nil {
		w.close()
		return nil, err
	}
	return w, nil
}

func (w *world) path(name string) string { return filepath.Join(w.dir, name) }

func (w *world) write(name, content string) error {
	return os.WriteFile(w.path(name), []byte(content), 0o600)
}

// program is one of ours, with the bound on its memory that manifests/base sets.
func (w *world) program(name string) child.Program {
	return child.Program{Dir: w.bin, Name: name, Env: []string{"GOMEMLIMIT=220MiB"}}
}

// start starts what runs until ctx ends, and returns when the service is ready, or an error when starting ends.
func (w *world) start(ctx, starting context.Context) error {
	var err error
	if w.quay, err = w.program("quaydev").Start(ctx, "--json", "--tls", "--ca-out", w.path("quay-ca.crt"), "--token-out", w.path("quay-token")); err != nil {
		return err
	}
	line, err := w.quay.WaitFor(starting, regexp.MustCompile(`(\{.*"url".*\})`))
	if err != nil {
		return err
	}
	var quay struct {
		URL string `json:"url"`
	}
	if err := json.Unmarshal([]byte(line[1]), &quay); err != nil {
		return err
	}
	if err := w.credentials(); err != nil {
		return err
	}
	if err := w.write("generator.yaml", fmt.Sprintf(configuration, quay.URL)); err != nil {
		return err
	}
	if w.service, err = w.program("generator").Start(ctx, "serve", "--config", w.path("generator.yaml")); err != nil {
		return err
	}
	at, err := w.service.WaitFor(starting, regexp.MustCompile(`http=https://(\S+) grpc=(\S+) admin=(http://\S+)`))
	if err != nil {
		return err
	}
	w.http, w.grpc, w.admin = at[1], at[2], at[3]
	return await.True(starting, 100*time.Millisecond, func() bool {
		_, err := w.ask(starting, "/readyz")
		return err == nil
	})
}

const configuration = `apiVersion: quaygen.dev/v1alpha1
kind: GeneratorConfig
instance: flood
registries:
- {name: quay, url: %q, tokenFile: ./quay-token, caFile: ./quay-ca.crt}
robots:
- {name: puller, registry: quay, organization: myorg, robot: k8s_puller, permissions: {repositories: [{name: my-app}]}}
clients:
- {name: eso, bearerTokenFile: ./eso, namespaceFrom: request}
- {name: program, certificate: {commonName: program}, namespaceFrom: request}
- {name: greedy, bearerTokenFile: ./greedy, namespace: greedy, limits: {qps: 50, burst: 50, concurrent: 10}}
rules:
- {clients: [eso, program], namespaces: ["*"], names: [puller]}
- {clients: [greedy], namespaces: [greedy], names: [puller]}
server:
  http: {listen: "127.0.0.1:0"}
  grpc: {listen: "127.0.0.1:0"}
  admin: {listen: "127.0.0.1:0"}
  tls: {certFile: ./server.crt, keyFile: ./server.key, clientCAFile: ./ca.crt}
audit: {file: ./audit.log}
`

// credentials makes a CA with the certificates of the service and of a client, and the tokens of two others.
func (w *world) credentials() error {
	ca := certificatetest.Authority("quayflood")
	w.roots = ca.Pool()
	w.certificate = ca.Client("program")
	server := ca.Issue("quaygen", certificatetest.ForLoopback)
	for name, content := range map[string][]byte{"ca.crt": ca.CertPEM(), "server.crt": server.CertPEM(), "server.key": server.KeyPEM()} {
		if err := w.write(name, string(content)); err != nil {
			return err
		}
	}
	w.token = random()
	if err := w.write("eso", w.token); err != nil {
		return err
	}
	return w.write("greedy", random())
}

func random() string {
	raw := make([]byte, 20)
	_, _ = rand.Read(raw) // never fails
	return hex.EncodeToString(raw)
}

// ask reads a page of the administrator's port.
func (w *world) ask(ctx context.Context, page string) (string, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, w.admin+page, nil)
	if err != nil {
		return "", err
	}
	answer, err := w.client.Do(request)
	if err != nil {
		return "", err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(io.LimitReader(answer.Body, 8<<20))
	if err == nil && answer.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", page, answer.Status)
	}
	return string(body), err
}

func (w *world) close() {
	w.client.CloseIdleConnections()
	for _, p := range []*child.Process{w.service, w.quay} {
		if p != nil {
			p.Stop()
		}
	}
	_ = os.RemoveAll(w.dir)
}
