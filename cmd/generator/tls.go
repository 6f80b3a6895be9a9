package main

import (
	"crypto/tls"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/quaygen/quaygen/pkg/quaygen/certificate"
	"github.com/quaygen/quaygen/pkg/quaygen/config"
	"github.com/quaygen/quaygen/pkg/quaygen/httpapi"
)

// identity is what a listener shows to clients, and whose certificates it accepts of them. Its files are followed.
type identity struct {
	pair      *certificate.Pair
	clientCAs *certificate.Authority // nil: clients are not asked for certificates
}

// loadIdentity returns nil where there is no TLS.
func loadIdentity(files config.TLS) (*identity, error) {
	if files == (config.TLS{}) {
		return nil, nil //nolint:nilnil // plaintext is what was asked for
	}
	pair, err := certificate.Load(files.CertFile, files.KeyFile)
	if err != nil {
		return nil, err
	}
	i := &identity{pair: pair}
	if files.ClientCAFile != "" {
		if i.clientCAs, err = certificate.LoadAuthority(files.ClientCAFile); err != nil {
			return nil, err
		}
	}
	return i, nil
}

func (i *identity) config() *tls.Config { return i.pair.TLSConfig(i.clientCAs) }

// register measures when the certificates end.
func (i *identity) register(registerer prometheus.Registerer, listener string) {
	gauge := func(name, help string, value func() time.Time) {
		registerer.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: name, Help: help, ConstLabels: prometheus.Labels{"listener": listener},
		}, func() float64 { return float64(value().Unix()) }))
	}
	lives := func(name, what string, status func() (notBefore, notAfter time.Time, err error)) {
		gauge(name+"_not_before_timestamp_seconds", "When "+what+" began.", func() time.Time { t, _, _ := status(); return t })
		gauge(name+"_expiry_timestamp_seconds", "When "+what+" ends.", func() time.Time { _, t, _ := status(); return t })
	}
	lives("quaygen_certificate", "the TLS certificate in use", i.pair.Status)
	if i.clientCAs != nil {
		lives("quaygen_client_ca", "the CA of clients' certificates in use that ends last", i.clientCAs.Status)
	}
}

// checks says whether the files as they are now are in use.
func (i *identity) checks(listener string) []httpapi.Check {
	followed := func(name string, status func() (notBefore, notAfter time.Time, err error)) httpapi.Check {
		c := httpapi.Check{Name: name + "/" + listener}
		if _, _, err := status(); err != nil {
			c.Note = "an earlier one is in use: " + firstLine(err)
		}
		return c
	}
	checks := []httpapi.Check{followed("certificate", i.pair.Status)}
	if i.clientCAs != nil {
		checks = append(checks, followed("client-ca", i.clientCAs.Status))
	}
	return checks
}
