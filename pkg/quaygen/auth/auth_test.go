package auth_test

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/quaygen/quaygen/pkg/quaygen/auth"
	"github.com/quaygen/quaygen/pkg/quaygen/policy"
)

// finds is an authenticator to which everybody is this client.
func finds(name string) auth.Authenticator {
	return func(auth.Presented) (policy.Caller, error) { return policy.Caller{Name: name}, nil }
}

func fails(err error) auth.Authenticator {
	return func(auth.Presented) (policy.Caller, error) { return policy.Caller{}, err }
}

func TestChain(t *testing.T) {
	errBroken := errors.New("broken")
	unknown := errors.Join(auth.ErrNoCredential, auth.ErrRejected)
	for _, c := range []struct {
		what  string
		chain []auth.Authenticator
		want  string
		is    []error
		isNot []error
	}{
		{"the first caller counts", []auth.Authenticator{finds("a"), finds("b")}, "a", nil, nil},
		{"one that declines passes on", []auth.Authenticator{fails(auth.ErrNoCredential), finds("b")}, "b", nil, nil},
		{"an unknown credential passes on", []auth.Authenticator{fails(unknown), finds("b")}, "b", nil, nil},
		{"a malformed credential does not", []auth.Authenticator{fails(auth.ErrRejected), finds("b")}, "", []error{auth.ErrRejected}, []error{auth.ErrNoCredential}},
		{"nor does a failure", []auth.Authenticator{fails(errBroken), finds("b")}, "", []error{errBroken}, []error{auth.ErrNoCredential, auth.ErrRejected}},
		{"nothing after a caller is asked", []auth.Authenticator{finds("a"), fails(errBroken)}, "a", nil, nil},
		{"all decline", []auth.Authenticator{fails(auth.ErrNoCredential), fails(auth.ErrNoCredential)}, "", []error{auth.ErrNoCredential}, []error{auth.ErrRejected}},
		{"one knew it was wrong", []auth.Authenticator{fails(unknown), fails(auth.ErrNoCredential)}, "", []error{auth.ErrNoCredential, auth.ErrRejected}, nil},
		{"nobody to ask", nil, "", []error{auth.ErrNoCredential}, []error{auth.ErrRejected}},
		{"chains nest", []auth.Authenticator{auth.Chain(fails(unknown)), auth.Chain(), finds("b")}, "b", nil, nil},
		{"no nameless caller", []auth.Authenticator{finds(""), finds("b")}, "", nil, []error{auth.ErrNoCredential}},
	} {
		caller, err := auth.Chain(c.chain...)(auth.Presented{})
		if caller.Name != c.want || (err == nil) != (c.want != "") {
			t.Errorf("%s: %+v, %v", c.what, caller, err)
		}
		for _, sentinel := range c.is {
			if !errors.Is(err, sentinel) {
				t.Errorf("%s: %v is not %v", c.what, err, sentinel)
			}
		}
		for _, sentinel := range c.isNot {
			if errors.Is(err, sentinel) {
				t.Errorf("%s: %v is %v", c.what, err, sentinel)
			}
		}
	}
}

func TestCredentialsOfTwoClientsAreNeither(t *testing.T) {
	errBroken := errors.New("broken")
	unknown := errors.Join(auth.ErrNoCredential, auth.ErrRejected)
	as := func(caller policy.Caller) auth.Authenticator {
		return func(auth.Presented) (policy.Caller, error) { return caller, nil }
	}
	bearer := as(policy.Caller{Name: "a", Namespace: "ns", How: "bearer", Operator: policy.OperatorView})
	certificate := as(policy.Caller{Name: "a", Namespace: "ns", How: "certificate", Operator: policy.OperatorView})
	more := as(policy.Caller{Name: "a", Namespace: "ns", How: "certificate", Operator: policy.OperatorManage})
	for _, c := range []struct {
		what   string
		agreed []auth.Authenticator
		want   policy.Caller
		is     []error
		isNot  []error
	}{
		{"one credential", []auth.Authenticator{finds("a"), fails(auth.ErrNoCredential)}, policy.Caller{Name: "a"}, nil, nil},
		{"the other", []auth.Authenticator{fails(auth.ErrNoCredential), finds("a")}, policy.Caller{Name: "a"}, nil, nil},
		{"both of one client", []auth.Authenticator{bearer, certificate}, policy.Caller{Name: "a", Namespace: "ns", How: "bearer and certificate", Operator: policy.OperatorView}, nil, nil},
		{"of two clients", []auth.Authenticator{finds("a"), finds("b")}, policy.Caller{}, []error{auth.ErrRejected}, []error{auth.ErrNoCredential}},
		{"of one client with other rights", []auth.Authenticator{bearer, more}, policy.Caller{}, nil, []error{auth.ErrRejected, auth.ErrNoCredential}},
		{"the second is unknown", []auth.Authenticator{bearer, fails(unknown)}, policy.Caller{Name: "a", Namespace: "ns", How: "bearer", Operator: policy.OperatorView}, nil, nil},
		{"the first is unknown", []auth.Authenticator{fails(unknown), finds("b")}, policy.Caller{Name: "b"}, nil, nil},
		{"the second is malformed", []auth.Authenticator{finds("a"), fails(auth.ErrRejected)}, policy.Caller{}, []error{auth.ErrRejected}, []error{auth.ErrNoCredential}},
		{"the second fails", []auth.Authenticator{finds("a"), fails(errBroken)}, policy.Caller{}, []error{errBroken}, []error{auth.ErrNoCredential}},
		{"the third contradicts", []auth.Authenticator{bearer, certificate, finds("b")}, policy.Caller{}, []error{auth.ErrRejected}, []error{auth.ErrNoCredential}},
		{"all decline", []auth.Authenticator{fails(auth.ErrNoCredential), fails(unknown)}, policy.Caller{}, []error{auth.ErrNoCredential, auth.ErrRejected}, nil},
		{"nothing presented", []auth.Authenticator{fails(auth.ErrNoCredential), fails(auth.ErrNoCredential)}, policy.Caller{}, []error{auth.ErrNoCredential}, []error{auth.ErrRejected}},
		{"nobody to ask", nil, policy.Caller{}, []error{auth.ErrNoCredential}, []error{auth.ErrRejected}},
		{"a nameless caller", []auth.Authenticator{finds("a"), finds("")}, policy.Caller{}, nil, []error{auth.ErrNoCredential}},
		{"within a chain it ends the matter", []auth.Authenticator{auth.Chain(auth.Agreed(finds("a"), finds("b")), finds("c"))}, policy.Caller{}, []error{auth.ErrRejected}, []error{auth.ErrNoCredential}},
	} {
		caller, err := auth.Agreed(c.agreed...)(auth.Presented{})
		if caller != c.want || (err == nil) != (c.want.Name != "") {
			t.Errorf("%s: %+v, %v", c.what, caller, err)
		}
		for _, sentinel := range c.is {
			if !errors.Is(err, sentinel) {
				t.Errorf("%s: %v is not %v", c.what, err, sentinel)
			}
		}
		for _, sentinel := range c.isNot {
			if errors.Is(err, sentinel) {
				t.Errorf("%s: %v is %v", c.what, err, sentinel)
			}
		}
	}
	if _, err := auth.Agreed(finds("red"), finds("blue"))(auth.Presented{}); !strings.Contains(err.Error(), `"red"`) || !strings.Contains(err.Error(), `"blue"`) {
		t.Errorf("the log would not tell which: %v", err)
	}
}

// PeerCertificates holds whatever a client sends where the server asks for certificates without verifying them.
func TestOnlyAVerifiedCertificateOfARequestCounts(t *testing.T) {
	leaf, other := &x509.Certificate{Raw: []byte("leaf")}, &x509.Certificate{Raw: []byte("CA")}
	for _, c := range []struct {
		what string
		tls  *tls.ConnectionState
		want *x509.Certificate
	}{
		{"plaintext", nil, nil},
		{"none", &tls.ConnectionState{}, nil},
		{"sent and not verified", &tls.ConnectionState{PeerCertificates: []*x509.Certificate{leaf}}, nil},
		{"an empty chain", &tls.ConnectionState{PeerCertificates: []*x509.Certificate{leaf}, VerifiedChains: [][]*x509.Certificate{{}}}, nil},
		{"verified", &tls.ConnectionState{PeerCertificates: []*x509.Certificate{leaf}, VerifiedChains: [][]*x509.Certificate{{leaf, other}}}, leaf},
	} {
		r := &http.Request{Header: http.Header{"Authorization": {"Bearer x"}}, TLS: c.tls}
		if p := auth.FromRequest(r); p.Certificate != c.want || len(p.Authorization) != 1 {
			t.Errorf("%s: %+v", c.what, p)
		}
	}
}
