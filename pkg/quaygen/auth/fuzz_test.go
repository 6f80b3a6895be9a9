package auth_test

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/quaygen/quaygen/pkg/quaygen/auth"
)

// Whatever a certificate holds, it is a client's if it has each name that the client's certificate has to have, and is valid now.
func FuzzACertificateIsItsClientsIfItHasAllItsNames(f *testing.F) {
	for _, presented := range []auth.Presented{
		leaf(f, []string{"eso"}, nil, nil), leaf(f, []string{"a", "eso"}, []string{"eso.test", ""}, []string{spiffe}),
		leaf(f, nil, []string{"*.test"}, []string{spiffe, "spiffe://cluster.local/ns/x"}),
	} {
		f.Add(presented.Certificate.Raw, "eso", "eso.test", spiffe)
		f.Add(presented.Certificate.Raw, "", "*.test", "")
		f.Add(presented.Certificate.Raw, "eso", "", "")
		f.Add(presented.Certificate.Raw, "", "", spiffe)
	}
	f.Fuzz(func(t *testing.T, der []byte, commonName, dnsName, uri string) {
		certificate, err := x509.ParseCertificate(der)
		if err != nil {
			return
		}
		client := auth.CertificateClient{Name: "eso", CommonName: commonName}
		if dnsName != "" {
			client.DNSNames = []string{dnsName}
		}
		if uri != "" {
			client.URIs = []string{uri}
		}
		a, err := auth.Certificates([]auth.CertificateClient{client, {Name: "other", CommonName: "another name than any"}})
		if err != nil {
			return // such a client is refused
		}
		var uris []string
		for _, u := range certificate.URIs {
			uris = append(uris, u.String())
		}
		now := time.Now()
		fits := (commonName == "" || slices.Equal(commonNames(t, certificate.RawSubject), []string{commonName})) &&
			(dnsName == "" || slices.Contains(certificate.DNSNames, dnsName)) && (uri == "" || slices.Contains(uris, uri))
		valid := !now.Before(certificate.NotBefore) && !now.After(certificate.NotAfter)
		caller, err := a.Authenticate(auth.Presented{Certificate: certificate})
		if (err == nil) != (fits && valid) || (err == nil) != (caller.Name == "eso") {
			t.Errorf("fits %v, valid %v: %+v, %v", fits, valid, caller, err)
		}
		// Not this client's: another authenticator may know it. This client's and not valid: nobody may.
		if err != nil && (!errors.Is(err, auth.ErrRejected) || errors.Is(err, auth.ErrNoCredential) == fits) {
			t.Errorf("fits %v: %v", fits, err)
		}
	})
}

// commonNames reads all common names of a subject.
func commonNames(t *testing.T, subject []byte) (names []string) {
	t.Helper()
	var rdns pkix.RDNSequence
	if _, err := asn1.Unmarshal(subject, &rdns); err != nil {
		return nil // the standard library takes it for a certificate all the same
	}
	for _, rdn := range rdns {
		for _, attribute := range rdn {
			if attribute.Type.Equal(asn1.ObjectIdentifier{2, 5, 4, 3}) {
				text, ok := attribute.Value.(string)
				if !ok {
					text = "\x00no text"
				}
				names = append(names, text)
			}
		}
	}
	return names
}
