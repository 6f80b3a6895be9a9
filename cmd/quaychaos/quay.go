package main

import (
	"bytes"
	"context"
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

	"github.com/quaygen/quaygen/cmd/internal/child"
)

const organization = "myorg" // quaydev's

// embeddedQuay is quaydev at work.
type embeddedQuay struct {
	URL       string   `json:"url"`
	Doors     []string `json:"doors"`
	CAFile    string   `json:"ca_file"`
	TokenFile string   `json:"token_file"`

	token   string
	client  *http.Client
	process *child.Process
}

func startQuay(ctx context.Context, bin, dir string, doors int) (*embeddedQuay, error) {
	p, err := child.Program{Dir: bin, Name: "quaydev"}.Start(ctx, "--json", "--control", "--tls", "--ca-out", filepath.Join(dir, "quay-ca.crt"),
		"--token-out", filepath.Join(dir, "quay-token"), "--last-accessed-threshold", "1s", "--doors", fmt.Sprint(doors))
	if err != nil {
		return nil, err
	}
	q := &embeddedQuay{process: p}
	if err := q.meet(ctx); err != nil {
		p.Kill()
		return nil, err
	}
	return q, nil
}

// meet learns what quaydev prints and writes as it starts.
func (q *embeddedQuay) meet(ctx context.Context) error {
	line, err := q.process.WaitFor(ctx, regexp.MustCompile(`(\{.*"url".*\})`))
	if err != nil {
		return err
	}
	if err := json.Unmarshal([]byte(line[1]), q); err != nil {
		return err
	}
	token, err := os.ReadFile(q.TokenFile)
	if err != nil {
		return err
	}
	q.token = strings.TrimSpace(string(token))
	transport, err := trusting(q.CAFile)
	if err != nil {
		return err
	}
	q.client = &http.Client{Transport: transport}
	return nil
}

// host is where nodes pull.
func (q *embeddedQuay) host() string { return strings.TrimPrefix(q.URL, "https://") }

// do calls the API of Quay, or of quaydev below /quaydev/, as an administrator.
func (q *embeddedQuay) do(ctx context.Context, method, path string, in, out any) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	var body io.Reader
	if in != nil {
		data, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body = bytes.NewReader(data)
	}
	request, err := http.NewRequestWithContext(ctx, method, q.URL+path, body)
	if err != nil {
		return err
	}
	request.Header.Set("Authorization", "Bearer "+q.token)
	if in != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	answer, err := read(q.client, request)
	if err != nil {
		return fmt.Errorf("%s %s: %w", method, path, err)
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(answer, out)
}

// robot is one of Quay's, as quaydev tells of it.
type robot struct {
	Name         string            `json:"name"`
	Fingerprint  string            `json:"token_fingerprint"`
	Created      time.Time         `json:"created"`
	LastAccessed time.Time         `json:"last_accessed"`
	Deleted      time.Time         `json:"deleted"`
	Description  string            `json:"description"`
	Grants       map[string]string `json:"grants"`
}

// everyRobot returns all robots there ever were, in order of creation.
func (q *embeddedQuay) everyRobot(ctx context.Context) ([]robot, error) {
	var all struct{ Robots []robot }
	err := q.do(ctx, http.MethodGet, "/quaydev/robots?ever=true", nil, &all)
	return all.Robots, err
}

// makeRobot makes a robot as a person would, and returns its token.
func (q *embeddedQuay) makeRobot(ctx context.Context, short, description string) (string, error) {
	var made struct{ Token string }
	err := q.do(ctx, http.MethodPut, "/api/v1/organization/"+organization+"/robots/"+short, map[string]string{"description": description}, &made)
	if err != nil {
		return "", err
	}
	return made.Token, q.do(ctx, http.MethodPut, "/api/v1/repository/"+organization+"/my-app/permissions/user/"+organization+"+"+short, map[string]string{"role": "read"}, nil)
}

// statusError is an answer that is no success.
type statusError struct {
	path   string
	status int
}

func (e *statusError) Error() string { return fmt.Sprintf("%s answered %d", e.path, e.status) }

// read sends a request and returns the answer's body.
func read(client *http.Client, request *http.Request) ([]byte, error) {
	response, err := client.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, 64<<20))
	if err != nil {
		return nil, err
	}
	if response.StatusCode/100 != 2 {
		return nil, &statusError{request.URL.Path, response.StatusCode}
	}
	return body, nil
}

func statusOf(err error) int {
	var s *statusError
	if errors.As(err, &s) {
		return s.status
	}
	return 0
}

func trusting(caFile string) (*http.Transport, error) {
	data, err := os.ReadFile(caFile)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(data) {
		return nil, fmt.Errorf("%s holds no certificate", caFile)
	}
	return &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}, ForceAttemptHTTP2: true}, nil
}
