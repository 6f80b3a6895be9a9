package otlp

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"

	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/quaygen/quaygen/pkg/quaygen/certificate"
)

// exporter speaks to the collector. What the configuration says is given in such a way that the environment changes nothing
// of it: the address as a URL carries path and TLS along.
func (c Config) exporter(ctx context.Context) (*otlptrace.Exporter, error) {
	scheme := "https://"
	if c.Insecure {
		scheme = "http://"
	}
	secured, err := c.tls()
	if err != nil {
		return nil, err
	}
	if c.HTTP {
		return otlptracehttp.New(ctx,
			otlptracehttp.WithEndpointURL(scheme+c.Endpoint+"/v1/traces"), otlptracehttp.WithTLSClientConfig(secured),
			otlptracehttp.WithEncoding(otlptracehttp.EncodingProtobuf), otlptracehttp.WithProxy(proxyFromEnvironment),
		)
	}
	creds := insecure.NewCredentials()
	if secured != nil {
		creds = credentials.NewTLS(secured)
	}
	return otlptracegrpc.New(ctx, otlptracegrpc.WithEndpointURL(scheme+c.Endpoint), otlptracegrpc.WithTLSCredentials(creds))
}

// tls returns nil where there is no TLS.
func (c Config) tls() (*tls.Config, error) {
	if c.Insecure {
		return nil, nil //nolint:nilnil // no TLS is what was asked for
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if c.CAFile != "" {
		pem, err := os.ReadFile(c.CAFile)
		if err != nil {
			return nil, fmt.Errorf("reading the CA certificates: %w", err)
		}
		if config.RootCAs, err = x509.SystemCertPool(); err != nil {
			config.RootCAs = x509.NewCertPool() // a container without certificates of its own
		}
		if !config.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("reading the CA certificates: %s holds none in PEM form", c.CAFile)
		}
	}
	if c.CertFile != "" {
		pair, err := certificate.Load(c.CertFile, c.KeyFile)
		if err != nil {
			return nil, err
		}
		config.GetClientCertificate = pair.ForClient
	}
	return config, nil
}

// proxyFromEnvironment keeps the proxy's address, which may hold a password, out of errors.
func proxyFromEnvironment(req *http.Request) (*url.URL, error) {
	proxy, err := http.ProxyFromEnvironment(req)
	if err != nil {
		return nil, errors.New("the proxy in the environment (HTTPS_PROXY, HTTP_PROXY) is not a valid URL")
	}
	return proxy, nil
}

// answered is an error of gRPC; status.FromError would put the text of what wraps it in the place of its own.
type answered interface {
	error
	GRPCStatus() *status.Status
}

// told reduces an error to what may be logged: its status, and what our own side of the connection has to say. A collector's own
// words could quote what it was sent, headers with tokens among them.
func told(err error) error {
	if _, isURL := errors.AsType[*url.Error](err); !isURL && errors.Is(err, context.Canceled) {
		return errors.New("the process ends")
	}
	if failure, ok := errors.AsType[*url.Error](err); ok {
		return failure.Err
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return errors.New("the collector does not answer in time")
	}
	if answer, ok := errors.AsType[answered](err); ok {
		s := answer.GRPCStatus()
		text := s.Code().String()
		if message := s.Message(); s.Code() == codes.Unavailable && (strings.HasPrefix(message, "connection error:") || strings.HasPrefix(message, "name resolver error:")) {
			text += ": " + message
		}
		return fmt.Errorf("the collector answers %s", text)
	}
	if said, _, ok := strings.Cut(err.Error(), "(body:"); ok {
		if _, said, ok = strings.Cut(said, "failed to send to "); ok {
			return fmt.Errorf("the collector answers: %s", strings.TrimSpace(said))
		}
	}
	return errors.New("the collector does not take them")
}
