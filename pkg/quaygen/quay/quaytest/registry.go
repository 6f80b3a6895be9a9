package quaytest

import (
	"encoding/json"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// The registry itself, behind its tokens; docs/quay-contract.md 6.1, 6.3.

var registryPath = regexp.MustCompile(`\A/v2/([^/]+)/(.+)/(manifests/[^/]+|blobs/.+|tags/list)\z`)

func (s *Server) serveRegistry(r *http.Request) *answer {
	if r.URL.Path == "/v2" || r.URL.Path == "/v2/" {
		return s.supportsV2(r).set("Docker-Distribution-API-Version", "registry/2.0")
	}
	parts := registryPath.FindStringSubmatch(r.URL.Path)
	if parts == nil {
		return page(http.StatusNotFound)
	}
	repo, refusal := s.admit(r, parts[1], parts[2], parts[3])
	if refusal != nil {
		return refusal.set("Docker-Distribution-API-Version", "registry/2.0")
	}
	a := s.images.serve(r, repo, parts[3])
	if r.Method == http.MethodPut && strings.HasPrefix(parts[3], "manifests/") && a.status == http.StatusCreated {
		s.logPush(r, repo, parts[3])
	}
	return a.set("Docker-Distribution-API-Version", "registry/2.0")
}

// supportsV2 answers the first question of every registry client. The challenge is there even in the good answer.
func (s *Server) supportsV2(r *http.Request) *answer {
	s.mu.Lock()
	defer s.mu.Unlock()
	claims, refusal := s.registryBearer(r, "")
	if refusal != nil {
		return refusal
	}
	status := http.StatusOK
	if claims == nil || !isRobotName(claims.Subject) {
		status = http.StatusUnauthorized
	}
	return newAnswer(status, htmlType, []byte("true")).set("WWW-Authenticate", s.challenge(""))
}

// registryBearer reads the request's registry token; nil if there is none.
func (s *Server) registryBearer(r *http.Request, scope string) (*registryClaims, *answer) {
	if r.Header.Get("Authorization") == "" {
		return nil, nil
	}
	word := bearer(r)
	if word == "" {
		return nil, aborted(http.StatusUnauthorized, "Invalid bearer token format").set("WWW-Authenticate", s.challenge(scope))
	}
	claims, err := s.readToken(word, s.clock())
	if err != nil {
		return nil, aborted(http.StatusUnauthorized, "Could not decode the registry token").set("WWW-Authenticate", s.challenge(scope))
	}
	return claims, nil
}

// admit decides by the signed access list alone, which the database cannot take back; docs/quay-contract.md 6.5.
func (s *Server) admit(r *http.Request, ns, name, rest string) (*repository, *answer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	full := ns + "/" + name
	read := r.Method == http.MethodGet || r.Method == http.MethodHead
	action, scope := "pull", "repository:"+full+":pull"
	if !read {
		action, scope = "push", "repository:"+full+":pull,push"
	}
	claims, refusal := s.registryBearer(r, scope)
	if refusal != nil {
		return nil, refusal
	}
	repo := s.repository(ns, name)
	allowed := read && repo != nil && repo.public || claims != nil && slices.ContainsFunc(claims.Access, func(a registryAccess) bool {
		return a.Type == "repository" && a.Name == full && slices.Contains(a.Actions, action)
	})
	if !allowed {
		return nil, registryError(http.StatusUnauthorized, codeUnauthorized, accessDenied).set("WWW-Authenticate", s.challenge(scope))
	}
	if !read && s.sw.readOnly {
		return nil, registryError(http.StatusMethodNotAllowed, "UNSUPPORTED", readOnlyMessage)
	}
	if repo == nil {
		return nil, registryError(http.StatusNotFound, "NAME_UNKNOWN", "repository name not known to registry")
	}
	if !strings.HasPrefix(rest, "manifests/") || !read || claims == nil || !isRobotName(claims.Subject) {
		return repo, nil
	}
	// Each manifest read writes an audit row, which fails when its robot is gone.
	b := s.robots[claims.Subject]
	if b == nil {
		return nil, modelError(robotMissing)
	}
	if r.Method == http.MethodGet {
		b.log(s.clock(), "pull_repo", address(r), registryRow(r, repo, rest, b.username()))
	}
	return repo, nil
}

func registryRow(r *http.Request, repo *repository, rest, username string) object {
	reference := strings.TrimPrefix(rest, "manifests/")
	key := "tag"
	if strings.Contains(reference, ":") {
		key = "manifest_digest"
	}
	return object{
		{"repo", repo.name},
		{"namespace", repo.namespace},
		{"user-agent", r.UserAgent()},
		{key, reference},
		{"username", username},
		{"is_robot", true},
		{"resolved_ip", object{{"provider", "internet"}}},
	}
}

func (s *Server) logPush(r *http.Request, repo *repository, rest string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	claims, refusal := s.registryBearer(r, "")
	if refusal != nil || claims == nil {
		return
	}
	if b := s.robots[claims.Subject]; b != nil {
		b.log(s.clock(), "push_repo", address(r), registryRow(r, repo, rest, b.username()))
	}
}

// serveWeb answers what needs no token; docs/quay-contract.md 7.
func (s *Server) serveWeb(r *http.Request) *answer {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		return page(http.StatusMethodNotAllowed)
	}
	switch r.URL.Path {
	case "/config":
		return s.config()
	case "/health", "/health/instance":
		services := object{}
		for _, name := range []string{"auth", "database", "disk_space", "registry_gunicorn", "service_key", "web_gunicorn"} {
			services = append(services, field{name, true})
		}
		return newAnswer(http.StatusOK, jsonType, encode(object{{"data", object{{"services", services}}}, {"status_code", 200}}, compact))
	}
	return page(http.StatusNotFound)
}

func (s *Server) config() *answer {
	s.mu.Lock()
	defer s.mu.Unlock()
	state := "normal"
	if s.sw.readOnly {
		state = "readonly"
	}
	config := map[string]any{
		"AUTHENTICATION_TYPE":  "Database",
		"PREFERRED_URL_SCHEME": s.scheme,
		"REGISTRY_STATE":       state,
		"ROBOTS_DISALLOW":      s.sw.robotsDisallow,
		"SERVER_HOSTNAME":      s.hostname,
	}
	features := map[string]bool{
		"ANONYMOUS_ACCESS":     true,
		"RATE_LIMITS":          s.limits.enabled(),
		"USER_LAST_ACCESSED":   !s.sw.lastAccessedOff,
		"SUPER_USERS":          true,
		"AGGREGATED_LOG_COUNT": true,
	}
	return newAnswer(http.StatusOK, jsonType, encode(object{
		{"account_recovery_mode", false},
		{"config", config},
		{"features", features},
		{"registry_state", state},
		{"version_number", "Quay v3.18.0"},
	}, compact))
}

// PushImage puts a small random image into a repository, as somebody with all rights would, and returns its digest.
func (s *Server) PushImage(ns, repo, tag string) string {
	find := func() *repository {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.mustRepository(ns, repo)
	}
	return s.images.push(find(), tag)
}

// storageName names a repository in the image store: by id, so that another of the same name starts empty.
func (r *repository) storageName() string { return "r" + strconv.FormatInt(r.id, 10) }

// rename replaces the storage name in a list of tags.
func rename(body []byte, name string) []byte {
	var tags struct {
		Tags []string `json:"tags"`
	}
	if json.Unmarshal(body, &tags) != nil {
		return body
	}
	return encode(object{{"name", name}, {"tags", tags.Tags}}, compact)
}

// imageTime is when seeded images say they were made.
var imageTime = time.Date(2026, time.January, 1, 0, 0, 0, 0, time.UTC)
