package quaytest

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
)

// The scopes of API tokens; docs/quay-contract.md 1.2.
const (
	scopeRepoRead   = "repo:read"
	scopeRepoWrite  = "repo:write"
	scopeRepoAdmin  = "repo:admin"
	scopeRepoCreate = "repo:create"
	scopeUserRead   = "user:read"
	scopeUserAdmin  = "user:admin"
	scopeOrgAdmin   = "org:admin"
	scopeSuperUser  = "super:user"
)

var knownScopes = []string{scopeRepoRead, scopeRepoWrite, scopeRepoAdmin, scopeRepoCreate, scopeUserRead, scopeUserAdmin, scopeOrgAdmin, scopeSuperUser}

// apiToken is an OAuth token of the REST API.
type apiToken struct {
	id     int64
	user   string
	scopes []string
}

// broken reports whether the scope string holds an unknown word, which empties the set and makes every permission check
// fail with an exception.
func (t *apiToken) broken() bool {
	return slices.ContainsFunc(t.scopes, func(s string) bool { return !slices.Contains(knownScopes, s) })
}

func (t *apiToken) has(scope string) bool {
	switch {
	case slices.Contains(t.scopes, scope):
		return true
	case scope == scopeRepoRead:
		return t.has(scopeRepoWrite)
	case scope == scopeRepoWrite:
		return slices.Contains(t.scopes, scopeRepoAdmin)
	}
	return false
}

// call is one request to a view of the API. Views run with the server's lock held.
type call struct {
	*Server
	r     *http.Request
	body  []byte
	args  []string
	token *apiToken // nil: anonymous
	now   time.Time
	list  view // what lists show
}

// serveAPI runs a view behind the checks that come before it; docs/quay-contract.md 0.1, 1.3.
func (s *Server) serveAPI(r *http.Request, m match, body []byte, staleBy time.Duration) *answer {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := &call{Server: s, r: r, body: body, args: m.args, now: s.clock()}
	if staleBy > 0 {
		c.list.at = c.now.Add(-staleBy)
	}
	write := m.route.method != http.MethodGet
	if !write && fromBrowser(r) {
		return aborted(http.StatusBadRequest, "API calls must be invoked with an X-Requested-With header if called from a browser")
	}
	word := bearer(r)
	if issuer, is := jwtIssuer(word); is {
		return aborted(http.StatusUnauthorized, fmt.Sprintf("Issuer %s not configured", issuer))
	}
	c.token = s.lookUpToken(word)
	switch {
	case write && c.token == nil:
		return aborted(http.StatusForbidden, csrfMessage)
	case write && s.sw.readOnly:
		return newAnswer(http.StatusServiceUnavailable, jsonType, encode(object{{"is_readonly", true}, {"message", readOnlyMessage}}, compact))
	case write && saysJSON(r) && (r.ContentLength > maxJSON || len(body) > maxJSON):
		return internalError()
	case c.token != nil && c.token.broken() && !m.route.anyScope:
		return internalError()
	}
	return m.route.view(c)
}

func (s *Server) lookUpToken(word string) *apiToken {
	t := s.tokens[word]
	if t == nil || !s.namespaces[t.user].enabled {
		return nil
	}
	return t
}

// bearer returns the bearer token of a request: the scheme in any case, exactly two parts.
func bearer(r *http.Request) string {
	scheme, word, found := strings.Cut(r.Header.Get("Authorization"), " ")
	if !found || !strings.EqualFold(scheme, "Bearer") || strings.Contains(word, " ") {
		return ""
	}
	return word
}

// fromBrowser recognizes what BROWSER_API_CALLS_XHR_ONLY keeps out; docs/quay-contract.md 1.1.
func fromBrowser(r *http.Request) bool {
	return strings.HasPrefix(r.UserAgent(), "Mozilla/") && r.Header.Get("X-Requested-With") != "XMLHttpRequest"
}

// jwtIssuer reports whether a bearer token parses as a JWT, and its issuer. Those are taken for tokens of single sign-on.
func jwtIssuer(word string) (string, bool) {
	parts := strings.Split(word, ".")
	if len(parts) != 3 {
		return "", false
	}
	var header struct {
		Alg string `json:"alg"`
	}
	var claims struct {
		Issuer *string `json:"iss"`
	}
	for part, into := range map[string]any{parts[0]: &header, parts[1]: &claims} {
		data, err := base64.RawURLEncoding.DecodeString(part)
		if err != nil || json.Unmarshal(data, into) != nil {
			return "", false
		}
	}
	if claims.Issuer == nil {
		return "None", true
	}
	return *claims.Issuer, true
}

// deny is the answer to a caller without the right: who is nobody is told so.
func (c *call) deny() *answer {
	if c.token == nil {
		return c.problem(http.StatusUnauthorized, "invalid_token", "Requires authentication")
	}
	return c.problem(http.StatusForbidden, "insufficient_scope", "Unauthorized")
}

func (c *call) has(scope string) bool { return c.token != nil && c.token.has(scope) }

// userAdmin is the right to everything below /user/.
func (c *call) userAdmin() bool { return c.has(scopeUserAdmin) }

// orgAdmin is the right to change an organization. Names are compared case-sensitively, and an unknown organization is
// nobody's.
func (c *call) orgAdmin(org string) bool {
	return c.has(scopeOrgAdmin) && c.teamRole(org, c.token.user) == "admin"
}

// orgMember is the right to list an organization's robots. The scope repo:create maps to the role of team creators,
// which is enough.
func (c *call) orgMember(org string) bool {
	return (c.has(scopeOrgAdmin) || c.has(scopeRepoCreate)) && c.teamRole(org, c.token.user) != ""
}

// repoRight is the right to act on a repository, whether it exists or not, in the given role.
func (c *call) repoRight(ns, name, scope, role string) bool {
	return c.has(scope) && roleRank(c.access(c.token.user, ns, name)) >= roleRank(role)
}

func (c *call) repoAdmin(ns, name string) bool { return c.repoRight(ns, name, scopeRepoAdmin, "admin") }

// onOrganization wraps views below /organization/<org>/ that need its administrator.
func onOrganization(view func(c *call, ns *namespace) *answer) func(*call) *answer {
	return func(c *call) *answer {
		if !c.orgAdmin(c.args[0]) {
			return c.deny()
		}
		return view(c, c.namespaces[c.args[0]])
	}
}

// onRepository wraps views below /repository/<namespace>/<name>/ that need its administrator. The repository need not
// exist: name is what the path says, repo is nil if there is none.
func onRepository(view func(c *call, ns, name string, repo *repository) *answer) func(*call) *answer {
	return func(c *call) *answer {
		ns, name, _ := strings.Cut(c.args[0], "/")
		if !c.repoAdmin(ns, name) {
			return c.deny()
		}
		return view(c, ns, name, c.repository(ns, name))
	}
}
