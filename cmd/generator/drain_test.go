package main

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net/http"
	"strings"
	"testing"
)

// A caller that has connected and not asked yet, when the process is told to end, was sent here by a Service that did not know.
func TestAConnectionThatIsOpenWhenTheProcessIsToldToEndIsAnswered(t *testing.T) {
	p := newProcess(t)
	p.start()
	p.ready()
	p.until("there is a pull secret", func() bool { status, _ := p.ask(p.token()); return status == http.StatusOK })
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(p.read("tls.crt")))
	dialer := tls.Dialer{Config: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}}
	connection, err := dialer.DialContext(t.Context(), "tcp", strings.TrimPrefix(p.logged(`msg=serving .*http=(\S+)`), "https://"))
	if err != nil {
		t.Fatal(err)
	}
	defer connection.Close()
	p.stop()
	p.logged("msg=(draining)")
	if _, err := io.WriteString(connection, "GET /v1/pullsecrets/puller?namespace=prod-a HTTP/1.1\r\nHost: quaygen\r\nAuthorization: Bearer "+p.token()+"\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	answer, err := http.ReadResponse(bufio.NewReader(connection), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		t.Errorf("it gets %s", answer.Status)
	}
	if code := p.end(); code != exitOK {
		t.Errorf("exit code %d", code)
	}
}
