package main

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
)

// What the documentation says about who may have what, told again in the simplest words there are, by somebody who has not
// read the code: docs/security.md, docs/api.md and the flow in docs/architecture.md.

// A statement is a rule as it is written in the file.
type statement struct {
	clients, namespaces, names, formats []string
	labels                              map[string]string
}

func (s statement) yaml() string {
	out := fmt.Sprintf("- {clients: %s, names: %s", quoted(s.clients), quoted(s.names))
	if s.namespaces != nil {
		out += ", namespaces: " + quoted(s.namespaces)
	}
	if s.labels != nil {
		var all []string
		for _, key := range slices.Sorted(maps.Keys(s.labels)) {
			all = append(all, fmt.Sprintf("%q: %q", key, s.labels[key]))
		}
		out += ", namespaceLabels: {" + strings.Join(all, ", ") + "}"
	}
	if s.formats != nil {
		out += ", formats: " + quoted(s.formats)
	}
	return out + "}\n"
}

func quoted(all []string) string {
	var out []string
	for _, s := range all {
		out = append(out, fmt.Sprintf("%q", s))
	}
	return "[" + strings.Join(out, ", ") + "]"
}

// A matrixClient is a client of the configuration: it says its namespace, has one, or is an operator only ("-").
type matrixClient struct {
	name, namespace string
	accounts        *matrixAccounts // that are this client; nil: it has a token in a file, and a certificate
}

// No client has the name "nobody": whoever comes with it is not authenticated.
var matrixClients = []matrixClient{
	{name: "eso"}, {name: "eso-2"}, {name: "loner"}, {name: "team-a", namespace: "team-a"}, {name: "prod-b", namespace: "prod-b"}, {name: "viewer", namespace: "-"},
	{name: "ci", accounts: &matrixAccounts{audience: "quaygen", names: []string{"builder", "both"}}},
	{name: "ci-prod", accounts: &matrixAccounts{audience: "quaygen", namespaces: []string{"prod-*"}, names: []string{"deployer", "both"}}},
	{name: "ci-team-a", accounts: &matrixAccounts{audience: "quaygen-team", namespaces: []string{"team-a", "*-b"}}},
	{name: "watcher", namespace: "-", accounts: &matrixAccounts{audience: "quaygen", namespaces: []string{"*"}, names: []string{"watcher"}}},
}

// What can be asked for, with the robots behind it.
var matrixSecrets = map[string][]string{"puller": {"puller"}, "partner": {"partner"}, "pull-both": {"puller", "partner"}, "puller-2": {"partner"}}

// The labels of namespaces. Those of prod-new are not known yet, and there is no namespace dev.
var matrixLabels = map[string]map[string]string{"prod-a": {"team": "shop"}, "prod-b": {"team": "shop", "tier": "1"}, "team-a": {}, "team-a2": {"team": "other"}}

// A request is one of the matrix's.
type matrixRequest struct {
	way                             string
	client, namespace, name, format string        // format "": none is named
	account                         matrixAccount // whose token comes with it, where that is the way in; there is no client then
	reference                       string        // of ESO's ways: the namespace that the store's or generator's reference names
}

func (r matrixRequest) String() string {
	who := r.client
	if r.byAccount() {
		who = r.account.String()
	}
	return fmt.Sprintf("%s: %s asks for %q in namespace %q as %q (reference %q)", r.way, who, r.name, r.namespace, r.format, r.reference)
}

// What can come of a request.
const (
	granted         = "granted"
	unauthenticated = "not authenticated"
	malformed       = "invalid request"
	refused         = "not allowed"
	missing         = "not found"
	later           = "not ready"
)

// fits: a star stands for any run of characters, also for none, everything else for itself.
func fits(pattern, s string) bool {
	if pattern == "" {
		return s == ""
	}
	if pattern[0] == '*' {
		return fits(pattern[1:], s) || s != "" && fits(pattern, s[1:])
	}
	return s != "" && pattern[0] == s[0] && fits(pattern[1:], s[1:])
}

func oneFits(patterns []string, s string) bool {
	for _, p := range patterns {
		if fits(p, s) {
			return true
		}
	}
	return false
}

var (
	aNamespace = regexp.MustCompile("^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")
	aName      = regexp.MustCompile("^[a-z0-9][a-z0-9._-]{0,252}$")
)

// oracle says what has to come of a request.
func oracle(rules []statement, r matrixRequest) string {
	client, known := whoAsks(r)
	if !known {
		return unauthenticated
	}
	// The form, before anything else.
	if !aName.MatchString(r.name) || r.namespace != "" && !aNamespace.MatchString(r.namespace) {
		return malformed
	}
	if r.namespace == "" && client.accounts == nil && (client.namespace == "" || client.namespace == "-") {
		return malformed // it says nothing, and nothing is said of it
	}
	// A namespaced store or generator speaks for its own namespace.
	if r.reference != "" && r.reference != r.namespace {
		return refused
	}
	// Whose namespace is fixed has to name it; an operator only has none.
	if client.namespace != "" && client.namespace != r.namespace {
		return refused
	}
	asked := []string{r.format}
	switch r.format {
	case "":
		asked = []string{"dockerconfigjson"}
	case "xml": // it is told that there is no such format, if it may have another
		asked = []string{"dockerconfigjson", "basic", "dockercfg"}
	}
	answers := map[string]bool{}
	for _, format := range asked {
		for _, rule := range rules {
			answers[verdict(rule, client.name, r, format)] = true
		}
	}
	robots, exists := matrixSecrets[r.name]
	switch {
	case !answers[granted] && answers[later]:
		return later
	case !answers[granted]:
		return refused
	case !exists:
		return missing
	case r.format == "xml", r.format == "basic" && len(robots) > 1:
		return malformed
	}
	return granted
}

// verdict is what one rule says.
func verdict(rule statement, client string, r matrixRequest, format string) string {
	if !oneFits(rule.clients, client) || !oneFits(rule.names, r.name) {
		return refused
	}
	if rule.formats != nil && !slices.Contains(rule.formats, format) {
		return refused
	}
	if rule.namespaces != nil && !oneFits(rule.namespaces, r.namespace) {
		return refused
	}
	if rule.labels == nil {
		return granted
	}
	if r.namespace == "prod-new" {
		return later
	}
	has, found := matrixLabels[r.namespace]
	if !found {
		return refused
	}
	for key, value := range rule.labels {
		if v, ok := has[key]; !ok || v != value {
			return refused
		}
	}
	return granted
}

func pick[T any](random *rand.Rand, all ...T) T { return all[random.IntN(len(all))] }

// some draws one to three, without repetitions.
func some(random *rand.Rand, all ...string) []string {
	random.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	return all[:1+random.IntN(min(3, len(all)))]
}

// drawRules draws a set of up to four rules.
func drawRules(random *rand.Rand) []statement {
	var rules []statement
	for range random.IntN(5) {
		s := statement{
			clients: some(random, "eso", "eso", "eso-2", "team-a", "prod-b", "*", "eso*", "team-*", "*-a", "*o*", "ci", "ci*", "ci-prod")[:1],
			names:   some(random, "puller", "partner", "pull-both", "*", "pull*", "*er", "ghost*"),
		}
		if random.IntN(4) == 0 {
			s.clients = append(s.clients, "es*-2")
		}
		which := random.IntN(4)
		if which != 0 {
			s.namespaces = some(random, "prod-a", "team-a", "prod-*", "*", "*-a", "dev", "prod-new", "p*-*w", "prod-b")
		}
		if which < 2 {
			s.labels = pick(random, map[string]string{"team": "shop"}, map[string]string{"team": "shop", "tier": "1"}, map[string]string{"team": "other"})
		}
		if random.IntN(3) == 0 {
			s.formats = some(random, "dockerconfigjson", "basic", "dockercfg")
		}
		rules = append(rules, s)
	}
	return rules
}

// The ways in, with the formats that can be named there.
var matrixWays = map[string][]string{
	"HTTP bearer":         {"", "dockerconfigjson", "basic", "dockercfg", "xml"},
	"HTTP certificate":    {"", "dockerconfigjson", "basic", "dockercfg", "xml"},
	"HTTP serviceAccount": {"", "dockerconfigjson", "basic", "dockercfg", "xml"},
	"gRPC bearer":         {"", "dockerconfigjson", "basic", "dockercfg"},
	"gRPC certificate":    {"", "dockerconfigjson", "basic", "dockercfg"},
	"gRPC serviceAccount": {"", "dockerconfigjson", "basic", "dockercfg"},
	"ESO provider":        {"", "dockerconfigjson", "basic", "dockercfg"},
	"ESO generator":       {""},
}

// drawRequests draws n requests for each way in. Most that come to mind are refused: for half of them there are several
// tries at one that is not.
func drawRequests(random *rand.Rand, rules []statement, n int) []matrixRequest {
	var all []matrixRequest
	for _, way := range slices.Sorted(maps.Keys(matrixWays)) {
		for range n {
			r := drawRequest(random, way)
			for tries := 8 * random.IntN(2); tries > 0 && !slices.Contains([]string{granted, later, missing}, oracle(rules, r)); tries-- {
				r = drawRequest(random, way)
			}
			all = append(all, r)
		}
	}
	return all
}

func drawRequest(random *rand.Rand, way string) matrixRequest {
	r := matrixRequest{
		way: way, client: pick(random, "eso", "eso", "eso-2", "loner", "team-a", "team-a", "prod-b", "viewer", "nobody"),
		namespace: pick(random, "prod-a", "prod-a", "prod-b", "team-a", "team-a2", "dev", "prod-new", "prod-new", ""),
		name:      pick(random, "puller", "puller", "puller-2", "partner", "pull-both", "ghost", "pull"),
		format:    pick(random, matrixWays[way]...),
	}
	if r.byAccount() {
		r.client, r.account = "", drawAccount(random)
		r.namespace = pick(random, r.account.namespace, r.account.namespace, r.account.namespace, r.namespace)
	}
	switch random.IntN(20) {
	case 0:
		r.namespace = pick(random, "Prod-A", "prod-a.", "*", "prod_a", "prod-a ", "-prod")
	case 1:
		r.name = pick(random, "Puller", "*", "pull/er", "puller ", ".puller")
	case 2, 3:
		if strings.HasPrefix(way, "ESO") && r.namespace != "" {
			r.reference = pick(random, r.namespace, "prod-b")
		}
	}
	return r
}
