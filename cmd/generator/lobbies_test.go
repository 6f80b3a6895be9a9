package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"

	quaygenv1 "github.com/quaygen/quaygen/proto/quaygen/v1"
)

// shows waits until the metrics have a line.
func (p *process) shows(line string) {
	p.t.Helper()
	p.until("the metrics show "+line, func() bool {
		_, text := p.admin("/metrics")
		return strings.Contains(text, "\n"+line+"\n")
	})
}

// Failed attempts without end over one connection, by each way in: of somebody who never authenticates, and of somebody who has.
func TestWhoGuessesOnAndOnLosesTheConnectionUnlessItIsAClients(t *testing.T) {
	p := newProcess(t)
	p.edit("server: {http:", `server: {grpc: {listen: "127.0.0.1:0"}, http:`)
	p.start()
	p.until("there is a pull secret", func() bool { status, _ := p.ask(p.token()); return status == http.StatusOK })
	p.shows(`quaygen_connections{listener="http"} 0`)
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(p.read("tls.crt")))
	trust := &tls.Config{RootCAs: roots}
	target := p.logged(`msg=serving .*http=(\S+)`) + "/v1/pullsecrets/puller?namespace=prod-a"
	overHTTP := func() func(string) bool {
		transport := &http.Transport{TLSClientConfig: trust, ForceAttemptHTTP2: true}
		t.Cleanup(transport.CloseIdleConnections)
		return func(token string) bool {
			status, _ := p.fetchAs(&http.Client{Timeout: patience, Transport: transport}, target, token, token == p.token(), nil)
			return status == http.StatusOK
		}
	}
	address := p.logged(`msg=serving .*grpc=(\S+)`)
	overGRPC := func() func(string) bool {
		connection, err := grpc.NewClient(address, grpc.WithTransportCredentials(credentials.NewTLS(trust)))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = connection.Close() })
		c := quaygenv1.NewPullSecretsClient(connection)
		return func(token string) bool {
			ctx, cancel := context.WithTimeout(metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer "+token), patience)
			defer cancel()
			_, err := c.Get(ctx, &quaygenv1.PullSecretsGetRequest{Name: "puller", Namespace: "prod-a"})
			return err == nil
		}
	}
	for listener, dial := range map[string]func() func(string) bool{"http": overHTTP, "grpc": overGRPC} {
		closed := `quaygen_connections_closed_total{listener="` + listener + `",reason="unknown"} `
		client, stranger := dial(), dial()
		if !client(p.token()) {
			t.Fatalf("%s: a client gets nothing", listener)
		}
		for range 100 {
			if client("0123456789abcdef-wrong") {
				t.Fatalf("%s: a wrong token is taken", listener)
			}
		}
		p.shows(closed + "0")
		p.shows(`quaygen_connections{listener="` + listener + `"} 1`)
		for range unknownGuesses {
			stranger("0123456789abcdef-wrong")
		}
		p.shows(closed + "1")
		if !client(p.token()) {
			t.Errorf("%s: the client's connection is of no use any more", listener)
		}
		p.shows(`quaygen_connections{listener="` + listener + `"} 1`)
	}
	if code := p.end(); code != 0 {
		t.Errorf("exit code %d", code)
	}
}
