package main

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

// What the documentation says about ServiceAccounts (docs/api.md, and the rule about namespaces in docs/security.md), told
// again like the rest of the oracle.

// matrixAccounts are the ServiceAccounts that a client is; nil of namespaces or names: all.
type matrixAccounts struct {
	audience          string
	namespaces, names []string
}

func (c matrixClient) yaml() string {
	text := fmt.Sprintf("- {name: %s, serviceAccount: {audience: %s", c.name, c.accounts.audience)
	if c.accounts.namespaces != nil {
		text += ", namespaces: " + quoted(c.accounts.namespaces)
	}
	if c.accounts.names != nil {
		text += ", names: " + quoted(c.accounts.names)
	}
	text += "}"
	if c.namespace == "-" {
		text += ", operator: view"
	}
	return text + "}\n"
}

// A matrixAccount is a token, and the ServiceAccount that it says it is of. Forged: the API server has not issued it.
// Expired: it has, but the token has ended by now.
type matrixAccount struct {
	namespace, name string
	audiences       string // with commas between
	forged, expired bool
}

func (a matrixAccount) String() string {
	text := fmt.Sprintf("the ServiceAccount %s/%s with a token for %s", a.namespace, a.name, a.audiences)
	if a.forged {
		text += ", forged"
	}
	if a.expired {
		text += ", expired"
	}
	return text
}

func (r matrixRequest) byAccount() bool { return strings.HasSuffix(r.way, " serviceAccount") }

// whoAsks is the client that a request comes from.
func whoAsks(r matrixRequest) (matrixClient, bool) {
	var all []matrixClient
	for _, c := range matrixClients {
		if r.byAccount() && c.accounts != nil && isOf(*c.accounts, r.account) || !r.byAccount() && c.name == r.client {
			all = append(all, c)
		}
	}
	if len(all) != 1 { // what two clients have is neither's
		return matrixClient{}, false
	}
	if c := all[0]; c.accounts != nil && c.namespace == "" {
		c.namespace = r.account.namespace
		return c, true
	}
	return all[0], true
}

func isOf(client matrixAccounts, a matrixAccount) bool {
	switch {
	case a.forged || a.expired:
		return false
	case !slices.Contains(strings.Split(a.audiences, ","), client.audience):
		return false
	case client.namespaces != nil && !oneFits(client.namespaces, a.namespace):
		return false
	}
	return client.names == nil || oneFits(client.names, a.name)
}

// drawAccount draws among few, since a service has so many tokens reviewed in a second, and no more.
func drawAccount(random *rand.Rand) matrixAccount {
	a := matrixAccount{
		namespace: pick(random, "prod-a", "prod-a", "prod-b", "team-a", "team-a2", "prod-new"),
		name:      pick(random, "builder", "builder", "builder", "deployer", "both", "watcher"),
		audiences: "quaygen",
	}
	if a.name == "builder" && a.namespace != "prod-new" {
		a.audiences = pick(random, "quaygen", "quaygen", "quaygen", "quaygen-team", "quaygen-team", "vault", "vault,quaygen", "quaygen,quaygen-team")
	}
	switch random.IntN(20) {
	case 0:
		a.forged = true
	case 1:
		a.expired = true
	}
	return a
}

// bearer is the token that a request comes with.
func (m *matrix) bearer(r matrixRequest) string {
	if !r.byAccount() {
		return matrixToken(r.client)
	}
	if token := m.tokens[r.account]; token != "" {
		return token
	}
	a, audiences := r.account, strings.Split(r.account.audiences, ",")
	token := accountToken(a.namespace, a.name, "forged", time.Hour, audiences...)
	switch {
	case a.expired:
		token = accountToken(a.namespace, a.name, "expired", -time.Minute, audiences...)
		m.api.issued.Store(token, saidBy(token))
	case !a.forged:
		token = m.api.issue(a.namespace, a.name, "issued", audiences...)
	}
	m.tokens[a] = token
	return token
}
