package auth_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/quaygen/quaygen/pkg/quaygen/auth"
	"github.com/quaygen/quaygen/pkg/quaygen/policy"
)

func finds(name string) auth.Authenticator {
	return func(*http.Request) (policy.Caller, error) { return policy.Caller{Name: name}, nil }
}

func fails(err error) auth.Authenticator {
	return func(*http.Request) (policy.Caller, error) { return policy.Caller{}, err }
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
		caller, err := auth.Chain(c.chain...)(httptest.NewRequest(http.MethodGet, "/", nil))
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
