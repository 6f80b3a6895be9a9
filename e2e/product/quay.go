package product

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/quaygen/quaygen/e2e/process"
	"github.com/quaygen/quaygen/pkg/quaygen/certificate/certificatetest"
)

// Organization is the one that quaydev makes, Tag the one tag of each image in it.
const (
	Organization = "myorg"
	Tag          = "v1.2.3"
)

// callTimeout bounds one call to quaydev, which answers within milliseconds.
const callTimeout = 15 * time.Second

// Quay is a running quaydev. Kill or Stop ends it, and all it knows with it.
type Quay struct {
	*process.Process
	URL       string
	Host      string // as images name it
	CAFile    string
	TokenFile string // the API token
	// Transport trusts the authority and nothing else.
	Transport *http.Transport
}

// StartQuay starts quaydev with a certificate of ca. It keeps its files in dir,
// its log in dir/quaydev.log.
func (p Programs) StartQuay(ctx context.Context, dir string, ca *certificatetest.Pair) (*Quay, error) {
	own := ca.Issue("quay", certificatetest.ForLoopback)
	path := func(name string) string { return filepath.Join(dir, name) }
	q := &Quay{
		CAFile: path("quay-ca.crt"), TokenFile: path("quay-token"),
		Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: ca.Pool(), MinVersion: tls.VersionTLS12}},
	}
	if err := errors.Join(
		os.WriteFile(q.CAFile, ca.CertPEM(), 0o600),
		os.WriteFile(path("quay.crt"), own.CertPEM(), 0o600),
		os.WriteFile(path("quay.key"), own.KeyPEM(), 0o600),
	); err != nil {
		return nil, err
	}
	var err error
	q.Process, err = p.start("quaydev", path("quaydev.log"), nil, "--json", "--control", "--token-out", q.TokenFile,
		"--tls-cert", path("quay.crt"), "--tls-key", path("quay.key"),
		// Robots here live for seconds; so must be what tells that they are in use.
		"--last-accessed-threshold", "1s")
	if err != nil {
		return nil, err
	}
	if err := q.Ready(ctx, func(context.Context) error { return q.locate() }); err != nil {
		q.Kill()
		return nil, fmt.Errorf("starting quaydev: %w", err)
	}
	return q, nil
}

func (q *Quay) locate() error {
	type line struct {
		URL string `json:"url"`
	}
	l, err := printed(q.Process, func(l line) bool { return l.URL != "" })
	if err != nil {
		return err
	}
	u, err := url.Parse(l.URL)
	if err != nil {
		return fmt.Errorf("quaydev's URL: %w", err)
	}
	q.URL, q.Host = l.URL, u.Host
	return nil
}

// Down makes Quay answer 502 to everything, registry included. Up ends that.
func (q *Quay) Down(ctx context.Context) error {
	return q.call(ctx, http.MethodPost, "/quaydev/down", nil, nil)
}

// Up ends what Down began.
func (q *Quay) Up(ctx context.Context) error {
	return q.call(ctx, http.MethodPost, "/quaydev/up", nil, nil)
}

// AddRepository makes a repository with an image in it, which no robot may pull yet.
func (q *Quay) AddRepository(ctx context.Context, name string) error {
	return q.call(ctx, http.MethodPost, "/quaydev/repositories", map[string]string{"name": name}, nil)
}

// Image is the reference of the image in a repository of the organization.
func (q *Quay) Image(repository string) string {
	return q.Host + "/" + Organization + "/" + repository + ":" + Tag
}

// Robot is a robot account, alive or not.
type Robot struct {
	Name        string    `json:"name"` // organization and short name, joined by "+"
	Fingerprint string    `json:"token_fingerprint"`
	Created     time.Time `json:"created"`
	Deleted     time.Time `json:"deleted"` // zero while it lives
}

// Robots returns every robot that ever was, oldest first.
func (q *Quay) Robots(ctx context.Context) ([]Robot, error) {
	var answer struct {
		Robots []Robot `json:"robots"`
	}
	err := q.call(ctx, http.MethodGet, "/quaydev/robots?ever=true", nil, &answer)
	return answer.Robots, err
}

// APIToken returns the token that quaygen works with.
func (q *Quay) APIToken() (string, error) {
	token, err := os.ReadFile(q.TokenFile)
	return strings.TrimSpace(string(token)), err
}

// call speaks JSON with quaydev's control.
func (q *Quay) call(ctx context.Context, method, path string, ask, answer any) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	var body io.Reader
	if ask != nil {
		content, err := json.Marshal(ask)
		if err != nil {
			return err
		}
		body = strings.NewReader(string(content))
	}
	request, err := http.NewRequestWithContext(ctx, method, q.URL+path, body)
	if err != nil {
		return err
	}
	if ask != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	response, err := q.Transport.RoundTrip(request)
	if err != nil {
		return fmt.Errorf("asking quaydev: %w", err)
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	switch {
	case err != nil:
		return fmt.Errorf("asking quaydev: %w", err)
	case response.StatusCode != http.StatusOK:
		return fmt.Errorf("asking quaydev: %s %s: %s: %s", method, path, response.Status, content)
	case answer == nil:
		return nil
	}
	return json.Unmarshal(content, answer)
}
