package config

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
)

// Server is where and how the service listens. Changes need a restart.
type Server struct {
	HTTP  HTTP
	GRPC  GRPC
	Admin Admin
	TLS   TLS
}

// HTTP is the listener for callers.
type HTTP struct {
	Listen         string // host:port; default ":8443"
	AllowPlaintext bool   // serve without TLS beyond the loopback interface
}

// GRPC is the listener for callers that use gRPC.
type GRPC struct {
	Enabled        bool   // server.grpc is written; if not, all else is zero and nothing listens
	Listen         string // host:port; default ":9443"
	Reflection     bool   // tell callers which services and messages there are
	AllowPlaintext bool   // serve without TLS beyond the loopback interface
	TLS            TLS    // instead of Server.TLS; zero: that one (see [Server.GRPCTLS])
}

// Admin is the listener for probes, metrics and the status page: plain HTTP without authentication, without secrets.
type Admin struct {
	Listen string // host:port; default "127.0.0.1:9090"
}

// TLS names the server's certificate, and whom it asks for theirs. CertFile and KeyFile are set, or no field for plaintext.
type TLS struct {
	CertFile     string // PEM, leaf first
	KeyFile      string // PEM
	ClientCAFile string // PEM, the CAs of clients' certificates; empty: clients are not asked for any
}

// GRPCTLS is what the gRPC listener uses.
func (s Server) GRPCTLS() TLS {
	if s.GRPC.TLS != (TLS{}) {
		return s.GRPC.TLS
	}
	return s.TLS
}

// Check returns an error that says what to write if s would serve credentials in plaintext to the network without
// that having been allowed. Whoever replaces HTTP.Listen or GRPC.Listen by something that is not in the file checks again.
func (s Server) Check() error { return errors.Join(s.checkHTTP(), s.checkGRPC()) }

func (s Server) checkHTTP() error {
	return checkPlaintext(s.HTTP.Listen, s.TLS, s.HTTP.AllowPlaintext, "server.tls.certFile and keyFile")
}

func (s Server) checkGRPC() error {
	if !s.GRPC.Enabled {
		return nil
	}
	return checkPlaintext(s.GRPC.Listen, s.GRPCTLS(), s.GRPC.AllowPlaintext, "certFile and keyFile below server.tls or server.grpc.tls")
}

func checkPlaintext(listen string, tls TLS, allowed bool, keys string) error {
	host, port, err := net.SplitHostPort(listen)
	switch {
	case err != nil:
		return fmt.Errorf("%q is not host:port: %w", listen, err)
	case tls != TLS{}, allowed, loopback(host):
		return nil
	}
	return fmt.Errorf("%s would serve credentials in plaintext to the network: write %s, or listen on 127.0.0.1:%s, or, where something in front does TLS, write allowPlaintext: true", listen, keys, port)
}

func loopback(host string) bool {
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && addr.Unmap().IsLoopback()
}

// defaultLimits are generous: see quaygen.DefaultLimits, which is the same for clients that are not configured.
var defaultLimits = Limits{QPS: 1000, Burst: 5000, Concurrent: 1000}

// server also returns the limits of clients that have none of their own; unlike the rest they change without a restart.
func (d *decoder) server(v value) (Server, Limits) {
	o := v.object()
	defer o.end()
	http, admin := o.get("http").object(), o.get("admin").object()
	defer http.end()
	defer admin.end()
	return Server{
		HTTP:  HTTP{Listen: d.listen(http.get("listen"), defaultListen), AllowPlaintext: http.get("allowPlaintext").boolean()},
		GRPC:  d.grpc(o.get("grpc")),
		Admin: Admin{Listen: d.listen(admin.get("listen"), defaultAdmin)},
		TLS:   d.tls(o.get("tls")),
	}, d.limits(o.get("limits"), defaultLimits)
}

func (d *decoder) grpc(v value) GRPC {
	o := v.object()
	defer o.end()
	tls := o.get("tls")
	g := GRPC{
		Enabled:        v.written(),
		Listen:         d.listen(o.get("listen"), defaultGRPC),
		Reflection:     o.get("reflection").boolean(),
		AllowPlaintext: o.get("allowPlaintext").boolean(),
		TLS:            d.tls(tls),
	}
	switch {
	case !g.Enabled:
		return GRPC{}
	case tls.written() && tls.node.Tag == "!!map" && len(tls.node.Content) == 0:
		tls.fail("is empty; write certFile and keyFile, or remove the key for those of server.tls")
	}
	return g
}

func (d *decoder) tls(v value) TLS {
	o := v.object()
	defer o.end()
	cert, key, ca := o.get("certFile"), o.get("keyFile"), o.get("clientCAFile")
	t := TLS{CertFile: cert.file(certificates), KeyFile: key.file(privateKey), ClientCAFile: ca.file(clientCAs)}
	switch {
	case cert.written() && !key.written():
		key.fail("is missing; a certificate needs its key")
	case key.written() && !cert.written():
		cert.fail("is missing; a key needs its certificate")
	case ca.written() && !cert.written():
		cert.fail("is missing; only over TLS, with a certificate of its own, can the server ask clients for theirs")
	}
	return t
}

func (d *decoder) listen(v value, fallback string) string {
	s := v.str()
	if s == "" {
		return fallback
	}
	host, port, err := net.SplitHostPort(s)
	n, portErr := strconv.ParseUint(port, 10, 16)
	_, ipErr := netip.ParseAddr(host)
	switch {
	case err != nil:
		v.fail("%q is not host:port; write for example %q or \"127.0.0.1:8443\"", clip(s), fallback)
	case portErr != nil || strconv.FormatUint(n, 10) != port:
		v.fail("%q has no valid port; write a number of 0 (any free one) to 65535 after the colon", clip(s))
	case host != "" && ipErr != nil && !hostRE.MatchString(host):
		v.fail("%q has no valid host before the colon", clip(s))
	default:
		return s
	}
	return fallback
}

func (d *decoder) checkServer(c *Config) {
	s := c.Server
	ownTLS := d.written("server.grpc.tls")
	if d.written("server.tls.certFile") || d.written("server.tls.keyFile") {
		d.checkAllowed("server.http", s.HTTP.AllowPlaintext, "server.tls")
		if !ownTLS {
			d.checkAllowed("server.grpc", s.GRPC.AllowPlaintext, "server.tls")
		}
	} else {
		if err := s.checkHTTP(); err != nil {
			d.fail("server.http.listen", "%v", err)
		}
		if err := s.checkGRPC(); err != nil && !ownTLS {
			d.fail("server.grpc.listen", "%v", err)
		}
	}
	if ownTLS {
		d.checkAllowed("server.grpc", s.GRPC.AllowPlaintext, "server.grpc.tls")
	}
	d.checkPorts(s)
	d.checkClientCAs(c)
}

func (d *decoder) checkAllowed(listener string, allowed bool, tls string) {
	if allowed {
		d.warn(listener+".allowPlaintext", "has no effect: %s is set, and plaintext is not served; remove it", tls)
	}
}

// checkPorts refuses listeners at one address.
func (d *decoder) checkPorts(s Server) {
	taken := make(map[string]string)
	for _, l := range []struct{ name, listen string }{{"server.http", s.HTTP.Listen}, {"server.grpc", s.GRPC.Listen}, {"server.admin", s.Admin.Listen}} {
		if _, port, _ := net.SplitHostPort(l.listen); l.listen == "" || port == "0" {
			continue
		}
		if first, is := taken[l.listen]; is {
			d.fail(l.name+".listen", "%s is the address of %s already; choose another port", l.listen, first)
			continue
		}
		taken[l.listen] = l.name
	}
}

// checkClientCAs compares who is known by a certificate with where certificates are asked for.
func (d *decoder) checkClientCAs(c *Config) {
	asks := func(tls string) bool { return d.written(tls + ".clientCAFile") }
	first := slices.IndexFunc(c.Clients, func(client Client) bool { return !client.Certificate.IsZero() })
	ownTLS := d.written("server.grpc.tls")
	switch {
	case first >= 0 && !asks("server.tls") && !asks("server.grpc.tls"):
		d.fail(item("clients", first)+".certificate", "no client is asked for its certificate; write clientCAFile below server.tls (or server.grpc.tls), the CAs that sign those of clients")
	case first >= 0 && asks("server.tls") && ownTLS && !asks("server.grpc.tls"):
		d.warn("server.grpc.tls", "has no clientCAFile, and that of server.tls does not count for gRPC: clients are asked for their certificates over HTTP only")
	case first < 0:
		for _, tls := range []string{"server.tls", "server.grpc.tls"} {
			if asks(tls) {
				d.warn(tls+".clientCAFile", "has no effect but to turn certificates of other CAs away: no client is known by its certificate")
			}
		}
	}
}
