package quay

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
)

// OrganizationExists reports whether an organization exists. It never waits for other calls than lists, since it is
// what makes an empty list of robots believable. Of a user it reports whether the API token is that user's, the only
// user whose robots it can reach; that needs user:admin or user:read, and without is [ErrTokenRejected]
// (docs/quay-contract.md 0.9).
func (c *Client) OrganizationExists(ctx context.Context, owner Owner) (bool, error) {
	switch {
	case owner.IsZero():
		return false, fmt.Errorf("%w: no owner given", ErrName)
	case owner.IsUser():
		return c.isTokensUser(ctx, owner)
	}
	in := call{
		op: opOrganizationGet, subject: owner.Name(), method: http.MethodGet, path: "/api/v1/organization/" + owner.Name(),
		lane: c.lists, limit: maxListAnswer, repeat: true,
	}
	var out named
	answer, err := c.do(ctx, in, &out)
	if err == nil && out.Name != owner.Name() {
		err = malformed(in, answer.Date, "it is about another organization")
	}
	return exists(err)
}

func (c *Client) isTokensUser(ctx context.Context, owner Owner) (bool, error) {
	var out struct {
		Username string `json:"username"`
	}
	_, err := c.do(ctx, call{
		op: opOther, subject: owner.Name(), method: http.MethodGet, path: "/api/v1/user/",
		lane: c.lists, limit: maxListAnswer, repeat: true,
	}, &out)
	return err == nil && out.Username == owner.Name(), err
}

// Scopes tells what the API token may do for an owner: its scopes and the rights of its user taken together.
type Scopes struct {
	OrgAdmin  bool // robots and teams of the organization; false for a user
	RepoAdmin bool // permissions of repositories
	UserAdmin bool // a user's robots, and reading an organization's robots' grants in one call
}

// Scopes finds out by harmless reads what the API token may do (docs/quay-contract.md 7). It fails with
// [ErrTokenRejected] if the token is none at all.
func (c *Client) Scopes(ctx context.Context, owner Owner) (Scopes, error) {
	var s Scopes
	if owner.IsZero() {
		return s, fmt.Errorf("%w: no owner given", ErrName)
	}
	var err error
	if !owner.IsUser() {
		if s.OrgAdmin, err = c.allowed(ctx, opPrototypesList, owner, "/api/v1/organization/"+owner.Name()+"/prototypes", nil); err != nil {
			return Scopes{}, err
		}
	}
	// Need not exist: an administrator of the namespace gets an empty list then.
	probed := "/api/v1/repository/" + owner.Name() + "/quaygen-probe/permissions/user/"
	if s.RepoAdmin, err = c.allowed(ctx, opPermissionList, owner, probed, nil); err != nil {
		return Scopes{}, err
	}
	nothing := url.Values{"limit": {"0"}, "token": {"false"}}
	s.UserAdmin, err = c.allowed(ctx, opUserRobots, owner, "/api/v1/user/robots", nothing)
	if errors.Is(err, ErrTokenRejected) {
		return s, nil // the token is good, as the other probes showed; Quay says 401 for a missing user scope in places
	}
	return s, err
}

// allowed makes a read that succeeds exactly if the API token may administer what it is about.
func (c *Client) allowed(ctx context.Context, op string, owner Owner, path string, query url.Values) (bool, error) {
	_, err := c.do(ctx, call{op: op, subject: owner.Name(), method: http.MethodGet, path: path, query: query, limit: maxListAnswer, repeat: true}, nil)
	if errors.Is(err, ErrForbidden) {
		return false, nil
	}
	return err == nil, err
}

// CheckToken reports what keeps the API token from managing the robots of an owner: [ErrTokenRejected],
// [ErrForbidden] with the name of what is missing, [ErrNotFound] if there is no such organization, or that Quay could
// not be asked. An organization without user:admin is no error, see [Client.Scopes].
func (c *Client) CheckToken(ctx context.Context, owner Owner) error {
	scopes, err := c.Scopes(ctx, owner)
	if err != nil {
		return fmt.Errorf("checking the API token for %s: %w", owner, err)
	}
	var missing []string
	if !scopes.RepoAdmin {
		missing = append(missing, "repo:admin")
	}
	switch {
	case owner.IsUser() && !scopes.UserAdmin:
		missing = append(missing, "user:admin")
	case !owner.IsUser() && !scopes.OrgAdmin:
		missing = append(missing, "org:admin")
	}
	if len(missing) == 0 && !owner.IsUser() {
		return nil
	}
	found, err := c.OrganizationExists(ctx, owner)
	switch {
	case len(missing) == 0 && err != nil:
		return fmt.Errorf("checking the API token for %s: %w", owner, err)
	case err == nil && !found && owner.IsUser():
		return fmt.Errorf("checking the API token for %s: %w: the token is another user's", owner, ErrForbidden)
	case err == nil && !found:
		return fmt.Errorf("checking the API token for %s: %w: there is no such organization", owner, ErrNotFound)
	case len(missing) > 0:
		return fmt.Errorf("checking the API token for %s: %w: it lacks the scope %s, or its user the right",
			owner, ErrForbidden, strings.Join(missing, " and "))
	}
	return nil
}

// Capabilities is what Quay tells of its own configuration: a hint, since that page is no documented interface.
type Capabilities struct {
	Known            bool // false: nothing was learned, and the other fields mean nothing
	LastAccessedOff  bool // robots' last use is not recorded
	RobotsDisallowed bool // no robot can be created
	ReadOnly         bool
	Version          string // such as "Quay v3.18.0"; may be empty
}

// Capabilities asks Quay, without a token, for its configuration (docs/quay-contract.md 7). An answer of another sort
// is no error but leaves Known false.
func (c *Client) Capabilities(ctx context.Context) (Capabilities, error) {
	var out struct {
		Config   map[string]any `json:"config"`
		Features map[string]any `json:"features"`
		State    any            `json:"registry_state"`
		Version  any            `json:"version_number"`
	}
	_, err := c.do(ctx, call{op: opConfig, method: http.MethodGet, path: "/config", as: asNobody, repeat: true}, &out)
	var e *APIError
	switch {
	case errors.As(err, &e) && e.Status != 0 && e.Status < 500 && e.Kind != KindRateLimited:
		return Capabilities{}, nil // there is no such page, or another one in its place
	case err != nil || out.Features == nil:
		return Capabilities{}, err
	}
	version, _ := out.Version.(string)
	return Capabilities{
		Known:            true,
		LastAccessedOff:  out.Features["USER_LAST_ACCESSED"] == false,
		RobotsDisallowed: out.Config["ROBOTS_DISALLOW"] == true,
		ReadOnly:         out.State == "readonly",
		Version:          presentable(version),
	}, nil
}
