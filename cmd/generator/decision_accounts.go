package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/quaygen/quaygen/pkg/quaygen/auth"
	"github.com/quaygen/quaygen/pkg/quaygen/config"
	"github.com/quaygen/quaygen/pkg/quaygen/policy"
)

// explainedAccounts says which ServiceAccounts a client is. Each may ask for its own namespace alone.
type explainedAccounts struct {
	Audience   string   `json:"audience"`   // that their tokens are for
	Namespaces []string `json:"namespaces"` // as they are written; null: all
	Names      []string `json:"names"`      // likewise
	Refused    []string `json:"refused"`    // of the namespace that is asked about, since they are another client's, too; "*": all; null: none

	caller policy.Caller // what one of them, of that namespace, is to the rules
	nobody string        // why there is no such one; "" if there may be
}

// explainAccounts returns nil for a client that is known by something else. Whether a ServiceAccount is the client's is asked
// of the same function as the service asks.
func explainAccounts(c *config.Config, client config.Client, namespace string) *explainedAccounts {
	like := client.ServiceAccount
	if like.IsZero() {
		return nil
	}
	e := &explainedAccounts{Audience: like.Audience, Namespaces: like.Namespaces, Names: like.Names}
	e.caller = policy.Caller{Name: client.Name, Namespace: namespace, Operator: client.Operator, OperatorOnly: client.OperatorOnly}
	all := accountClients(c)
	known := false
	for _, name := range tellingNames(all, like) {
		caller, err := auth.WhoseServiceAccount(all, namespace, name, []string{like.Audience})
		switch {
		case err == nil && caller.Name == client.Name:
			e.caller, known = caller, true
		case err != nil && !errors.Is(err, auth.ErrNoCredential):
			e.Refused = append(e.Refused, name)
		}
	}
	switch {
	case known:
	case len(e.Refused) > 0:
		e.nobody = fmt.Sprintf("every ServiceAccount of namespace %q that could be this client is another client's, too, and so is not authenticated", namespace)
	default:
		e.nobody = fmt.Sprintf("no ServiceAccount of namespace %q is this client, and those of others may not ask for that namespace", namespace)
	}
	if slices.Contains(e.Refused, anyOther) { // another client has all of them
		e.Refused = []string{"*"}
	}
	return e
}

// anyOther stands for the ServiceAccounts that no client names: it is a name that none has, and that only "*" fits.
const anyOther = ""

// tellingNames are names of ServiceAccounts such that any other is treated like one of them.
func tellingNames(all []auth.ServiceAccountClient, like config.ServiceAccount) []string {
	var names []string
	for _, c := range all {
		names = append(names, c.Names...)
	}
	names = slices.DeleteFunc(names, func(name string) bool {
		return name == "*" || len(like.Names) > 0 && !slices.ContainsFunc(like.Names, func(p string) bool { return policy.Match(p, name) })
	})
	if len(like.Names) == 0 || slices.Contains(like.Names, "*") {
		names = append(names, anyOther)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

func (e *explainedAccounts) String() string {
	text := fmt.Sprintf("ServiceAccounts of namespaces: %s; with names: %s; by tokens for the audience %q, each for its own namespace only",
		list(e.Namespaces), list(e.Names), e.Audience)
	if len(e.Refused) > 0 {
		text += "; not, since another client has them, too: " + strings.Join(e.Refused, ", ")
	}
	return text
}
