package quaytest

import (
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// The token service of the registry; docs/quay-contract.md 6.2, 6.5.

const (
	registryTokenLife = time.Hour
	registryTokenMax  = 3660 * time.Second // what the registry accepts; docs/quay-contract.md 6.3
	clockSkew         = 30 * time.Second
	keyID             = "quaytest"

	codeUnauthorized = "UNAUTHORIZED"
	accessDenied     = "access to the requested resource is not authorized"
)

// signingKey is made once per process, because making one is slow. A token of one server is refused by another all
// the same unless both have the same SERVER_HOSTNAME.
var signingKey = sync.OnceValue(func() *rsa.PrivateKey { return must(rsa.GenerateKey(rand.Reader, 2048)) })

// registryClaims are the claims of a registry token.
type registryClaims struct {
	jwt.RegisteredClaims
	Access  []registryAccess `json:"access"`
	Context map[string]any   `json:"context"`
}

type registryAccess struct {
	Type    string   `json:"type"`
	Name    string   `json:"name"`
	Actions []string `json:"actions"`
}

func registryError(status int, code, message string) *answer {
	return newAnswer(status, jsonType, encode(object{{"errors", []object{{{"code", code}, {"detail", object{}}, {"message", message}}}}}, compact))
}

// challenge tells clients where to get a token. It names SERVER_HOSTNAME, whatever address the client dialled.
func (s *Server) challenge(scope string) string {
	text := fmt.Sprintf(`Bearer realm="%s/v2/auth",service="%s"`, s.origin(), s.hostname)
	if scope != "" {
		text += fmt.Sprintf(`,scope="%s"`, scope)
	}
	return text
}

// loginError carries the message of a refused login.
type loginError string

func (e loginError) Error() string { return string(e) }

// login is who asks for a registry token. The zero login is anonymous.
type login struct {
	username string
	robot    *robot // nil for anonymous
}

func (s *Server) serveAuth(r *http.Request) *answer {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		return page(http.StatusMethodNotAllowed)
	}
	claims, refusal := s.decideAuth(r)
	if refusal != nil {
		return refusal
	}
	// Signing takes a millisecond, so it happens without the lock.
	token := jwt.NewWithClaims(jwt.SigningMethodRS256, claims)
	token.Header["kid"] = keyID
	word := must(token.SignedString(signingKey()))
	s.remember(word)
	return newAnswer(http.StatusOK, jsonType, encode(object{{"token", word}}, compact)).
		set("Cache-Control", "no-cache, no-store, must-revalidate")
}

// maxJWTs bounds how many registry tokens are remembered; a long test makes many, of a kilobyte each.
const maxJWTs = 10_000

func (s *Server) remember(word string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.jwts) == maxJWTs {
		s.jwts = slices.Clone(s.jwts[maxJWTs/2:])
	}
	s.jwts = append(s.jwts, word)
}

// decideAuth checks the credentials, then what the scopes may be given.
func (s *Server) decideAuth(r *http.Request) (*registryClaims, *answer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.clock()
	query := r.URL.Query()
	scopes := query["scope"]
	who, err := s.logIn(r, now)
	var refused loginError
	switch {
	case errors.As(err, &refused):
		return nil, s.unauthorized(string(refused))
	case who.robot == nil && len(scopes) == 0:
		return nil, s.unauthorized(accessDenied)
	}
	access := []registryAccess{}
	for _, scope := range scopes {
		granted, refusal := s.decideScope(who, scope, now)
		if refusal != nil {
			return nil, refusal
		}
		access = append(access, granted)
	}
	if who.robot != nil && len(scopes) == 0 {
		who.robot.log(now, "login_success", address(r),
			object{{"kind", "robot"}, {"robot", who.username}, {"type", "v2auth"}, {"useragent", r.UserAgent()}})
	}
	return s.claims(who, query.Get("service"), access, now), nil
}

func (s *Server) unauthorized(message string) *answer {
	return registryError(http.StatusUnauthorized, codeUnauthorized, message).set("WWW-Authenticate", s.challenge(""))
}

// logIn verifies Basic credentials and writes last_accessed, before any scope is looked at.
func (s *Server) logIn(r *http.Request, now time.Time) (login, error) {
	username, password, sent := r.BasicAuth()
	if !sent {
		return login{}, nil
	}
	if !isRobotName(username) {
		return login{}, loginError("Invalid Username or Password") // people have no passwords here
	}
	if s.sw.robotsDisallow && !slices.Contains(s.sw.robotsWhitelist, username) {
		return login{}, loginError("Robot account have been disabled. Please contact your administrator.")
	}
	b := s.robots[username]
	if b == nil {
		return login{}, loginError(robotMissing)
	}
	if claims, err := s.readToken(password, now); err == nil {
		// Any live registry token of the robot serves as its password; docs/quay-contract.md 6.5.
		if claims.Subject != username {
			return login{}, loginError("Token does not match robot")
		}
	} else if password != b.token.now() {
		return login{}, loginError(fmt.Sprintf("Could not find robot with username: %s and supplied password.", username))
	}
	if !b.ns.enabled {
		return login{}, loginError(fmt.Sprintf("Robot %s owner %s is disabled", username, b.ns.name))
	}
	s.touch(b, now)
	return login{username: username, robot: b}, nil
}

// touch writes last_accessed, at most once per threshold; docs/quay-contract.md 2.10.
func (s *Server) touch(b *robot, now time.Time) {
	last := b.lastAccessed.now()
	if s.sw.lastAccessedOff || s.sw.readOnly || !last.IsZero() && now.Sub(last) < s.threshold {
		return
	}
	b.lastAccessed.set(now, now)
}

var scopePattern = regexp.MustCompile(`\Arepository:([A-Za-z0-9._-]+(?::[0-9]+)?(?:/[A-Za-z0-9._-]+)*):((?:push|pull|\*)(?:,(?:push|pull|\*))*)\z`)

// decideScope reduces the wanted actions to those the login has a right to, in the order push, pull, *.
func (s *Server) decideScope(who login, scope string, now time.Time) (registryAccess, *answer) {
	parts := scopePattern.FindStringSubmatch(scope)
	if parts == nil {
		return registryAccess{}, registryError(http.StatusBadRequest, "INVALID_REQUEST", "invalid scope")
	}
	full := strings.TrimPrefix(parts[1], s.hostname+"/")
	ns, name, _ := strings.Cut(full, "/")
	if !quayName.MatchString(ns) || !repositoryName.MatchString(name) {
		return registryAccess{}, registryError(http.StatusBadRequest, "NAME_INVALID", "invalid repository name")
	}
	if n := s.namespaces[ns]; n != nil && !n.enabled {
		return registryAccess{}, registryError(http.StatusMethodNotAllowed, "DENIED", fmt.Sprintf("Namespace %s has been disabled. Please contact a system administrator.", ns))
	}
	wanted := strings.Split(parts[2], ",")
	actions := []string{}
	for _, action := range []string{"push", "pull", "*"} {
		if slices.Contains(wanted, action) && s.mayDo(who, ns, name, action, now) {
			actions = append(actions, action)
		}
	}
	return registryAccess{Type: "repository", Name: full, Actions: actions}, nil
}

// mayDo decides one action. Asking to push to a missing repository makes it, for those who may create some.
func (s *Server) mayDo(who login, ns, name, action string, now time.Time) bool {
	repo := s.repository(ns, name)
	if repo == nil {
		role := s.teamRole(ns, who.username)
		if action != "push" || who.robot == nil || role != "creator" && role != "admin" || s.sw.readOnly {
			return false
		}
		s.addRepository(s.namespaces[ns], name, who.username, false, now)
		return true
	}
	need := map[string]string{"pull": "read", "push": "write", "*": "admin"}[action]
	if action == "pull" && repo.public {
		return true
	}
	return who.robot != nil && roleRank(s.access(who.username, ns, name)) >= roleRank(need)
}

func (s *Server) claims(who login, service string, access []registryAccess, now time.Time) *registryClaims {
	context := map[string]any{"version": 2, "entity_kind": "anonymous", "com.apostille.root": "$disabled"}
	subject := "(anonymous)"
	if who.robot != nil {
		subject = who.username
		context["entity_kind"], context["entity_reference"] = "robot", who.username
		context["kind"], context["user"] = "user", who.username
	}
	c := &registryClaims{
		RegisteredClaims: jwt.RegisteredClaims{
			Issuer:    "quay",
			Subject:   subject,
			IssuedAt:  jwt.NewNumericDate(now),
			NotBefore: jwt.NewNumericDate(now),
			ExpiresAt: jwt.NewNumericDate(now.Add(registryTokenLife)),
		},
		Access:  access,
		Context: context,
	}
	if service != "" {
		c.Audience = jwt.ClaimStrings{service}
	}
	return c
}

// MarshalJSON writes the audience as a string, as Quay does.
func (c *registryClaims) MarshalJSON() ([]byte, error) {
	type fields struct {
		Issuer    string           `json:"iss"`
		Audience  string           `json:"aud"`
		NotBefore int64            `json:"nbf"`
		IssuedAt  int64            `json:"iat"`
		ExpiresAt int64            `json:"exp"`
		Subject   string           `json:"sub"`
		Access    []registryAccess `json:"access"`
		Context   map[string]any   `json:"context"`
	}
	f := fields{c.Issuer, "", c.NotBefore.Unix(), c.IssuedAt.Unix(), c.ExpiresAt.Unix(), c.Subject, c.Access, c.Context}
	if len(c.Audience) > 0 {
		f.Audience = c.Audience[0]
	}
	return json.Marshal(f)
}

// readToken verifies a registry token: signature, audience, times and age.
func (s *Server) readToken(word string, now time.Time) (*registryClaims, error) {
	if strings.Count(word, ".") != 2 {
		return nil, errors.New("no token")
	}
	var c registryClaims
	_, err := jwt.ParseWithClaims(word, &c, func(*jwt.Token) (any, error) { return &signingKey().PublicKey, nil },
		jwt.WithValidMethods([]string{"RS256"}), jwt.WithIssuer("quay"), jwt.WithAudience(s.hostname),
		jwt.WithExpirationRequired(), jwt.WithLeeway(clockSkew), jwt.WithTimeFunc(func() time.Time { return now }))
	if err != nil {
		return nil, err
	}
	if now.Sub(c.IssuedAt.Time) > registryTokenMax+clockSkew {
		return nil, errors.New("token is too old")
	}
	return &c, nil
}
