package main

import (
	"crypto/tls"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/quaygen/quaygen/pkg/quaygen/certificate/certificatetest"
	"github.com/quaygen/quaygen/pkg/quaygen/tracing/otlp/otlptest"
)

func TestACollectorThatHangsDelaysNeitherRequestsNorTheEnd(t *testing.T) {
	p := newProcess(t)
	r := p.traced("")
	hung := make(chan struct{})
	defer close(hung)
	r.Refuse(func(http.Header) error { <-hung; return nil })
	p.start()
	p.until("there is a pull secret", func() bool { status, _ := p.ask(p.token()); return status == http.StatusOK })
	p.until("the collector hangs", func() bool { return r.Attempts() > 0 })
	start := time.Now()
	for range 20 {
		if status, _ := p.ask(p.token()); status != http.StatusOK {
			t.Fatalf("a request got %d", status)
		}
	}
	if took := time.Since(start); took > 10*time.Second {
		t.Errorf("20 requests took %v", took)
	}
	start = time.Now()
	if code := p.end(); code != exitOK {
		t.Errorf("exit code %d", code)
	}
	if took := time.Since(start); took > flushTime+5*time.Second {
		t.Errorf("the end took %v", took)
	}
	p.logged(`(the last traces are lost)`)
}

func TestTracesGoOverTLSWithACertificateOfOurOwn(t *testing.T) {
	for _, protocol := range []string{"grpc", "http"} {
		p := newProcess(t)
		t.Setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
		r, ca := securedReceiver(t)
		ours := ca.Issue("quaygen", certificatetest.ForClients)
		p.write("otel-ca.crt", string(ca.CertPEM()))
		p.write("otel.crt", string(ours.CertPEM()))
		p.write("otel.key", string(ours.KeyPEM()))
		endpoint := map[string]string{"grpc": r.GRPC, "http": r.HTTP}[protocol]
		p.edit("robots:\n", fmt.Sprintf("tracing: {otlp: {endpoint: %q, protocol: %s, caFile: ./otel-ca.crt, certFile: ./otel.crt, keyFile: ./otel.key}}\nrobots:\n", endpoint, protocol))
		p.start()
		r.Await(t, "sync", func(s []otlptest.Span) bool { return len(spans(s).named("sync")) > 0 })
		if _, body := p.admin("/readyz?verbose"); !strings.Contains(body, "[+]tracing ok\n") {
			t.Error(body)
		}
		p.end()
	}
}

func TestACollectorThatIsNotTrustedGetsNothingAndTheProbeSaysSo(t *testing.T) {
	p := newProcess(t)
	t.Setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
	t.Setenv("OTEL_BSP_EXPORT_TIMEOUT", "300")
	r, _ := securedReceiver(t)
	p.edit("robots:\n", fmt.Sprintf("tracing: {otlp: {endpoint: %q, caFile: ./tls.crt}}\nrobots:\n", r.GRPC))
	p.start()
	p.until("the probe says so", func() bool {
		status, body := p.admin("/readyz?verbose")
		return status == http.StatusOK && strings.Contains(body, "[+]tracing ok: the last ones could not be sent: ")
	})
	if status, _ := p.ask(p.token()); status != http.StatusOK {
		t.Errorf("a request got %d", status)
	}
	p.end()
	if r.Attempts() != 0 {
		t.Error("it was sent something")
	}
}

// securedReceiver asks for a certificate of the authority that it has its own from.
func securedReceiver(t *testing.T) (*otlptest.Receiver, *certificatetest.Pair) {
	t.Helper()
	ca := certificatetest.Authority("authority")
	own := ca.Issue("collector", certificatetest.ForLoopback)
	return otlptest.New(t, &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{*own.TLS()}, ClientCAs: ca.Pool(), ClientAuth: tls.RequireAndVerifyClientCert}), ca
}
