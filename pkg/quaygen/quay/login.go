package quay

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/quaygen/quaygen/pkg/quaygen/secret"
)

// maxScopes bounds the scopes of one login, for the sake of the URL's length.
const maxScopes = 40

// LoginResult is what a robot's login showed.
type LoginResult struct {
	// Date is Quay's clock at the last answer; zero if it did not say.
	Date time.Time
	// Pull tells of each repository asked about, by name without namespace, whether the robot may pull from it.
	Pull map[string]bool
}

// Login logs a robot in to the registry, as a pulling node would, and learns whether it may pull from the given
// repositories. It fails with [ErrLoginRefused] if the password is wrong, the robot is missing or its owner is
// disabled. It is not repeated. It counts as use of the robot (docs/quay-contract.md 2.10), and without repositories
// it writes a login to the audit log; with more than 40 it is several calls.
func (c *Client) Login(ctx context.Context, r Robot, password secret.String, pull []Repository) (LoginResult, error) {
	if r.IsZero() || password.IsZero() {
		return LoginResult{}, fmt.Errorf("%w: a login needs a robot and its password", ErrName)
	}
	result := LoginResult{Pull: make(map[string]bool, len(pull))}
	for _, repo := range pull {
		if repo.OwnerName() != r.Owner().Name() {
			return LoginResult{}, fmt.Errorf("%w: repository %s is not of the owner of robot %s", ErrName, repo, r)
		}
		result.Pull[repo.Name()] = false
	}
	chunks := slices.Collect(slices.Chunk(pull, maxScopes))
	if len(chunks) == 0 {
		chunks = [][]Repository{nil}
	}
	for _, chunk := range chunks {
		granted, answer, err := c.login(ctx, r, password, chunk)
		if err != nil {
			return LoginResult{}, err
		}
		result.Date = answer.Date
		for _, repo := range chunk {
			result.Pull[repo.Name()] = granted[repo.String()]
		}
	}
	return result, nil
}

func (c *Client) login(ctx context.Context, r Robot, password secret.String, pull []Repository) (map[string]bool, Answer, error) {
	query := url.Values{"service": {c.url.Host}}
	for _, repo := range pull {
		query.Add("scope", "repository:"+repo.String()+":pull")
	}
	in := call{
		op: opAuth, subject: r.Username(), method: http.MethodGet, path: "/v2/auth", query: query,
		as: asRobot, robot: r, password: password, lane: c.logins,
	}
	var out struct {
		Token secret.String `json:"token"`
	}
	answer, err := c.do(ctx, in, &out)
	if err != nil {
		return nil, answer, err
	}
	granted, err := pullable(out.Token)
	if err != nil {
		return nil, answer, malformed(in, answer.Date, err.Error())
	}
	return granted, answer, nil
}

// pullable reads from a registry token which repositories it lets pull from. The signature is the registry's business
// and is not checked: the token came from Quay over the connection just used.
func pullable(token secret.String) (map[string]bool, error) {
	parts := strings.Split(token.Reveal(), ".")
	if len(parts) != 3 {
		return nil, errors.New("there is no registry token in it")
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return nil, errors.New("its registry token cannot be read")
	}
	var claims struct {
		Access []struct {
			Type    string   `json:"type"`
			Name    string   `json:"name"`
			Actions []string `json:"actions"`
		} `json:"access"`
	}
	if json.Unmarshal(payload, &claims) != nil {
		return nil, errors.New("its registry token cannot be read")
	}
	granted := make(map[string]bool, len(claims.Access))
	for _, access := range claims.Access {
		if access.Type == "repository" && (slices.Contains(access.Actions, "pull") || slices.Contains(access.Actions, "*")) {
			granted[access.Name] = true
		}
	}
	return granted, nil
}
