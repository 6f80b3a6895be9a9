package config

import (
	"net"
	"net/url"
	"strconv"

	"go.yaml.in/yaml/v3"
)

// Tracing says where traces go, and how many requests begin one. The zero Tracing makes none. Changes need a restart.
type Tracing struct {
	OTLP     OTLP
	Sampling float64 // the share of requests that begin a trace, 0 to 1
}

// OTLP is a collector of traces that speaks the OpenTelemetry protocol.
type OTLP struct {
	Endpoint string // host:port
	Protocol string // ProtocolGRPC or ProtocolHTTP
	CAFile   string // PEM, trusted besides the system's; empty: those alone
	CertFile string // PEM, our own certificate; empty: none is shown
	KeyFile  string // PEM
	Insecure bool   // no TLS
}

// The ways to speak to a collector.
const (
	ProtocolGRPC = "grpc"
	ProtocolHTTP = "http"
)

// Enabled reports whether there are traces.
func (t Tracing) Enabled() bool { return t.OTLP.Endpoint != "" }

const defaultSampling = 1

func (d *decoder) tracing(v value) Tracing {
	o := v.object()
	defer o.end()
	otlp := o.require("otlp", "where the collector is: {endpoint: \"otel-collector:4317\"}")
	t := Tracing{OTLP: d.otlp(otlp), Sampling: o.get("sampling").share(defaultSampling)}
	if !t.Enabled() {
		return Tracing{}
	}
	return t
}

func (d *decoder) otlp(v value) OTLP {
	o := v.object()
	defer o.end()
	ca, cert, key, insecure := o.get("caFile"), o.get("certFile"), o.get("keyFile"), o.get("insecure")
	c := OTLP{
		Endpoint: o.require("endpoint", "the collector's host:port, such as otel-collector:4317").endpoint(),
		Protocol: o.get("protocol").oneOf(ProtocolGRPC, ProtocolGRPC, ProtocolHTTP),
		CAFile:   ca.file(certificates), CertFile: cert.file(certificates), KeyFile: key.file(privateKey),
		Insecure: insecure.boolean(),
	}
	switch {
	case c.Insecure && (ca.written() || cert.written() || key.written()):
		insecure.fail("goes without TLS, and caFile, certFile and keyFile are for TLS; remove one or the other")
	case cert.written() && !key.written():
		key.fail("is missing; a certificate needs its key")
	case key.written() && !cert.written():
		cert.fail("is missing; a key needs its certificate")
	}
	return c
}

// endpoint reads the host and port of a server. What is none is not quoted: an address may hold a password.
func (v value) endpoint() string {
	s := v.str()
	if s == "" {
		return ""
	}
	host, port, err := net.SplitHostPort(s)
	n, portErr := strconv.ParseUint(port, 10, 16)
	if err == nil && portErr == nil && n > 0 && strconv.FormatUint(n, 10) == port && hostRE.MatchString(s) && host != "" {
		return s
	}
	hint := ", such as otel-collector:4317"
	if u, err := url.Parse(s); err == nil && u.User == nil && u.Port() != "" && hostRE.MatchString(u.Host) {
		hint = "; write " + u.Host
	}
	v.fail("must be host:port and nothing else%s", hint)
	return ""
}

// share reads a number from 0 to 1.
func (v value) share(fallback float64) float64 {
	if !v.is(yaml.ScalarNode, "a number from 0 to 1") {
		return fallback
	}
	if v.node.Value == "0" && v.node.Tag == "!!int" {
		return 0
	}
	return v.number(fallback, 1)
}
