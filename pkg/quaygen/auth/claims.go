package auth

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"time"
)

// account is a ServiceAccount of Kubernetes.
type account struct{ namespace, name string }

// parseAccount reads the user name that Kubernetes gives a ServiceAccount: system:serviceaccount:NAMESPACE:NAME.
func parseAccount(username string) (account, bool) {
	rest, ok := strings.CutPrefix(username, "system:serviceaccount:")
	namespace, name, two := strings.Cut(rest, ":")
	if !ok || !two || namespace == "" || name == "" || strings.Contains(name, ":") {
		return account{}, false
	}
	return account{namespace, name}, true
}

// claims are what a ServiceAccount token says of itself. Nobody has verified them: they only spare the API server tokens
// that it cannot accept for us.
type claims struct {
	account   account
	audiences []string
	expires   time.Time
}

// parseClaims reads a token as the API server issues them on request (TokenRequest): a JWT with an audience and an end.
// The tokens in Secrets of type kubernetes.io/service-account-token have neither, and are none of these.
func parseClaims(token string) (claims, bool) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 || parts[0] == "" || parts[2] == "" {
		return claims{}, false
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return claims{}, false
	}
	var said struct {
		Subject   string   `json:"sub"`
		Audiences audience `json:"aud"`
		Expires   int64    `json:"exp"` // seconds since 1970
	}
	if json.Unmarshal(payload, &said) != nil || len(said.Audiences) == 0 || said.Expires <= 0 {
		return claims{}, false
	}
	who, ok := parseAccount(said.Subject)
	return claims{account: who, audiences: said.Audiences, expires: time.Unix(said.Expires, 0)}, ok
}

func (c claims) isFor(audience string) bool { return slices.Contains(c.audiences, audience) }

// audience is one string, or a list of them (RFC 7519 section 4.1.3).
type audience []string

func (a *audience) UnmarshalJSON(data []byte) error {
	var one string
	if json.Unmarshal(data, &one) == nil {
		*a = audience{one}
		return nil
	}
	var several []string
	if json.Unmarshal(data, &several) != nil {
		return errors.New("aud is neither a string nor a list of strings")
	}
	*a = several
	return nil
}
