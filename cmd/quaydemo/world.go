package main

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/quaygen/quaygen/pkg/quaygen/certificate/certificatetest"
)

type quayInfo struct {
	URL       string `json:"url"`
	CAFile    string `json:"ca_file"`
	TokenFile string `json:"token_file"`
}

type apiInfo struct {
	url    string
	bearer string
	client *http.Client
}

// configuration has times that let a whole rotation be watched. They are not safe for anything but that, and say so.
const configuration = `apiVersion: quaygen.dev/v1alpha1
kind: GeneratorConfig
instance: demo
registries:
- {name: quay, url: %q, tokenFile: %q, caFile: %q, limits: {qps: 50, burst: 50}}
robots:
- name: prod-puller
  registry: quay
  organization: myorg
  robot: k8s_prod_puller
  permissions: {repositories: [{name: my-app, role: read}, {name: "*-service", role: read}]}
  rotation: {strategy: overlap, every: 20s, overlap: 9s, drain: {quiet: 4s, max: 15s}}
  maxRefresh: 2s
clients:
- {name: eso, bearerTokenFile: %q, namespaceFrom: request}
- {name: on-call, bearerTokenFile: %q, operator: view}
rules:
- {clients: [eso], namespaces: ["prod-*"], names: [prod-puller]}
server: {http: {listen: "127.0.0.1:0"}, grpc: {listen: "127.0.0.1:0"}, admin: {listen: "127.0.0.1:0"}, tls: {certFile: %q, keyFile: %q}}
sync: 500ms
safety: {settle: 3s, stepDeadline: 2s, clockAllowance: 1s, allowUnsafeTiming: true}
`

// setUp starts Quay and the service, and waits until the service is ready.
func (d *demo) setUp(ctx context.Context) error {
	if err := d.startQuay(ctx); err != nil {
		return err
	}
	d.say("Quay (embedded) at %s, organization myorg", d.quay.URL)
	files, err := d.certificates()
	if err != nil {
		return err
	}
	bearer, operatorBearer := rand.Text(), rand.Text()
	bearerFile, err := d.write("eso-token", bearer)
	if err != nil {
		return err
	}
	operatorFile, err := d.write("on-call-token", operatorBearer)
	if err != nil {
		return err
	}
	config, err := d.write("generator.yaml", fmt.Sprintf(configuration, d.quay.URL, d.quay.TokenFile, d.quay.CAFile, bearerFile, operatorFile, files.cert, files.key))
	if err != nil {
		return err
	}
	generator, err := d.launch(ctx, "generator", "serve", "--config", config)
	if err != nil {
		return err
	}
	serving, err := generator.WaitFor(ctx, regexp.MustCompile(`http=(https://\S+) grpc=(\S+) admin=(http://\S+)`))
	if err != nil {
		return err
	}
	client, err := trusting(files.ca)
	if err != nil {
		return err
	}
	d.api = apiInfo{url: serving[1], bearer: bearer, client: client}
	d.operator = operator{server: serving[2], caFile: files.ca, tokenFile: operatorFile}
	d.say("generator serve at %s, gRPC at %s, probes at %s", serving[1], serving[2], serving[3])
	return d.ready(ctx, serving[3])
}

func (d *demo) startQuay(ctx context.Context) error {
	d.quay.CAFile, d.quay.TokenFile = filepath.Join(d.dir, "quay-ca.crt"), filepath.Join(d.dir, "quay-token")
	quay, err := d.launch(ctx, "quaydev", "--json", "--tls", "--ca-out", d.quay.CAFile, "--token-out", d.quay.TokenFile, "--last-accessed-threshold", "1s")
	if err != nil {
		return err
	}
	line, err := quay.WaitFor(ctx, regexp.MustCompile(`(\{.*"url".*\})`))
	if err != nil {
		return err
	}
	return json.Unmarshal([]byte(line[1]), &d.quay)
}

func (d *demo) ready(ctx context.Context, admin string) error {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		if body, err := get(ctx, http.DefaultClient, admin+"/readyz", ""); err == nil { //nolint:forbidigo // loopback, plain
			_ = body
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("waiting for the service to be ready: %w", ctx.Err())
		}
	}
}

// pullSecret is what the service answers.
type pullSecret struct {
	Robot      string            `json:"robot"`
	Generation int64             `json:"generation"`
	Data       map[string]string `json:"data"`
}

// fetch asks for the pull secret as ESO's webhook provider does.
func (d *demo) fetch(ctx context.Context) (pullSecret, error) {
	var s pullSecret
	body, err := get(ctx, d.api.client, d.api.url+"/v1/pullsecrets/prod-puller?namespace=prod-shop&property=", d.api.bearer)
	if err != nil {
		return s, fmt.Errorf("fetching the pull secret: %w", err)
	}
	return s, json.Unmarshal(body, &s)
}

func (d *demo) image() string {
	return strings.TrimPrefix(d.quay.URL, "https://") + "/myorg/my-app:v1.2.3"
}

// pull fetches manifest and layers with an ordinary registry client, which reads the pull secret's own content.
func (d *demo) pull(ctx context.Context, s pullSecret) (string, error) {
	ref, err := name.ParseReference(d.image())
	if err != nil {
		return "", err
	}
	var file struct {
		Auths map[string]authn.AuthConfig `json:"auths"`
	}
	if err := json.Unmarshal([]byte(s.Data[".dockerconfigjson"]), &file); err != nil {
		return "", errors.New("the pull secret is not a docker configuration")
	}
	entry, ok := file.Auths[ref.Context().RegistryStr()]
	if !ok {
		return "", fmt.Errorf("the pull secret has no entry for %s", ref.Context().RegistryStr())
	}
	client, err := trusting(d.quay.CAFile)
	if err != nil {
		return "", err
	}
	defer client.CloseIdleConnections()
	image, err := remote.Image(ref, remote.WithContext(ctx), remote.WithAuth(authn.FromConfig(entry)), remote.WithTransport(client.Transport))
	if err != nil {
		return "", err
	}
	layers, err := image.Layers()
	if err != nil {
		return "", err
	}
	for _, layer := range layers {
		content, err := layer.Compressed()
		if err != nil {
			return "", err
		}
		if _, err := io.Copy(io.Discard, content); err != nil {
			return "", errors.Join(err, content.Close())
		}
		if err := content.Close(); err != nil {
			return "", err
		}
	}
	digest, err := image.Digest()
	return digest.String(), err
}

// exists asks Quay's API whether a robot exists.
func (d *demo) exists(ctx context.Context, robot string) (bool, error) {
	token, err := os.ReadFile(d.quay.TokenFile)
	if err != nil {
		return false, err
	}
	client, err := trusting(d.quay.CAFile)
	if err != nil {
		return false, err
	}
	defer client.CloseIdleConnections()
	body, err := get(ctx, client, d.quay.URL+"/api/v1/organization/myorg/robots?token=false", strings.TrimSpace(string(token)))
	return strings.Contains(string(body), `"`+robot+`"`), err
}

func get(ctx context.Context, client *http.Client, url, bearer string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	if bearer != "" {
		request.Header.Set("Authorization", "Bearer "+bearer)
	}
	response, err := client.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, 1<<20))
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s answered %s", request.URL.Path, response.Status)
	}
	return body, err
}

func trusting(caFile string) (*http.Client, error) {
	data, err := os.ReadFile(caFile)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(data) {
		return nil, fmt.Errorf("%s holds no certificate", caFile)
	}
	return &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}}}, nil
}

type certificateFiles struct{ ca, cert, key string }

// certificates makes a certificate for loopback that is its own authority.
func (d *demo) certificates() (certificateFiles, error) {
	own := certificatetest.Authority("quaydemo", certificatetest.ForLoopback)
	cert, err := d.write("tls.crt", string(own.CertPEM()))
	if err != nil {
		return certificateFiles{}, err
	}
	keyFile, err := d.write("tls.key", string(own.KeyPEM()))
	return certificateFiles{ca: cert, cert: cert, key: keyFile}, err
}

func (d *demo) write(file, content string) (string, error) {
	path := filepath.Join(d.dir, file)
	return path, os.WriteFile(path, []byte(content), 0o600)
}
