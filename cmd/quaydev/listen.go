package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/quaygen/quaygen/pkg/quaygen/certificate/certificatetest"
)

// listenOnLoopback refuses every address that others can reach: this Quay guards nothing.
func listenOnLoopback(ctx context.Context, address string) (net.Listener, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, fmt.Errorf("--listen %q: %w", address, err)
	}
	if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return nil, fmt.Errorf("--listen %q: quaydev is for this machine alone and listens on loopback only, such as 127.0.0.1:0", address)
	}
	var lc net.ListenConfig
	listener, err := lc.Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("listening: %w", err)
	}
	if tcp, is := listener.Addr().(*net.TCPAddr); !is || !tcp.IP.IsLoopback() {
		_ = listener.Close()
		return nil, fmt.Errorf("--listen %q: the name leads to %s, which is not loopback", address, listener.Addr())
	}
	return listener, nil
}

// advertised is the host and port that clients and image names use.
func advertised(asked string, got net.Addr) string {
	host, _, _ := net.SplitHostPort(asked)
	_, port, _ := net.SplitHostPort(got.String())
	return net.JoinHostPort(host, port)
}

// certificate returns the certificate to serve with: the one in the files, or one made for host.
func (f flags) certificate(host string) (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: []string{"h2", "http/1.1"}}
	var pair tls.Certificate
	var err error
	if f.tls {
		pair, err = f.ownCertificate(host)
	} else {
		pair, err = tls.LoadX509KeyPair(f.tlsCert, f.tlsKey)
	}
	if err != nil {
		return nil, fmt.Errorf("preparing TLS: %w", err)
	}
	config.Certificates = []tls.Certificate{pair}
	return config, nil
}

// ownCertificate makes an authority, whose key is forgotten at once, and a certificate of it for loopback.
func (f flags) ownCertificate(host string) (tls.Certificate, error) {
	name, _, _ := net.SplitHostPort(host)
	ends := certificatetest.Until(time.Now().Add(30 * 24 * time.Hour))
	authority := certificatetest.Authority("quaydev authority", ends)
	if err := writeFile(f.caOut, authority.CertPEM(), 0o644); err != nil {
		return tls.Certificate{}, err
	}
	return *authority.Issue(name, ends, certificatetest.ForLoopback, certificatetest.ForServers(name)).TLS(), nil
}

// writeFile replaces a file as a whole, so that who watches it never reads half of it. Whatever mode an older file had,
// the new one has the given.
func writeFile(path string, data []byte, mode os.FileMode) error {
	temporary, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*")
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(temporary.Name()) }()
	if _, err := temporary.Write(data); err != nil {
		_ = temporary.Close()
		return err
	}
	if err := temporary.Chmod(mode); err != nil {
		_ = temporary.Close()
		return err
	}
	if err := temporary.Close(); err != nil {
		return err
	}
	return os.Rename(temporary.Name(), path)
}
