package quay

import (
	"context"
	"fmt"
	"net/http"
)

// RobotGrants returns the grants a robot has itself, not through teams, by repository name without namespace;
// [ErrRobotMissing] if there is no such robot. The API token needs user:admin besides org:admin for it
// (docs/quay-contract.md 1.2); without, it is [ErrForbidden].
func (c *Client) RobotGrants(ctx context.Context, r Robot) (map[string]Role, error) {
	path, err := robotPath(r)
	if err != nil {
		return nil, err
	}
	in := call{op: opRobotPermissions, subject: r.Username(), method: http.MethodGet, path: path + "/permissions", limit: maxListAnswer, repeat: true}
	var out struct {
		Permissions *[]struct {
			Repository named  `json:"repository"`
			Role       string `json:"role"`
		} `json:"permissions"`
	}
	answer, err := c.do(ctx, in, &out)
	if err != nil {
		return nil, err
	}
	if out.Permissions == nil {
		return nil, malformed(in, answer.Date, "there are no permissions in it")
	}
	grants := make(map[string]Role, len(*out.Permissions))
	for _, p := range *out.Permissions {
		grants[p.Repository.Name] = roleOf(p.Role)
	}
	return grants, nil
}

// RepositoryGrants returns the grants of robots, not of people or teams, on a repository, by robot username
// ("<owner>+<short>"). A repository that does not exist has none (docs/quay-contract.md 0.10).
func (c *Client) RepositoryGrants(ctx context.Context, repo Repository) (map[string]Role, error) {
	path, err := permissionsPath(repo)
	if err != nil {
		return nil, err
	}
	in := call{op: opPermissionList, subject: repo.String(), method: http.MethodGet, path: path, limit: maxListAnswer, repeat: true}
	var out struct {
		Permissions map[string]struct {
			Role  string `json:"role"`
			Robot bool   `json:"is_robot"`
		} `json:"permissions"`
	}
	answer, err := c.do(ctx, in, &out)
	if err != nil {
		return nil, err
	}
	if out.Permissions == nil {
		return nil, malformed(in, answer.Date, "there are no permissions in it")
	}
	grants := make(map[string]Role, len(out.Permissions))
	for username, p := range out.Permissions {
		if p.Robot {
			grants[username] = roleOf(p.Role)
		}
	}
	return grants, nil
}

// SetGrant gives a robot a role on a repository, whatever it had before. It fails with [ErrNotFound] if the
// repository does not exist, and with [ErrInvalid] if the robot does not, or belongs to another namespace.
func (c *Client) SetGrant(ctx context.Context, repo Repository, r Robot, role Role) error {
	path, err := grantPath(repo, r)
	if err != nil {
		return err
	}
	if role < RoleRead || role > RoleAdmin {
		return fmt.Errorf("%w: %s is no role to grant", ErrName, role)
	}
	body := struct {
		Role string `json:"role"`
	}{role.String()}
	_, err = c.do(ctx, call{
		op: opPermissionPut, subject: grantSubject(repo, r), method: http.MethodPut, path: path, body: body,
		repeat: true, explain: c.explainGrant(repo),
	}, nil)
	return err
}

// explainGrant tells a grant on a missing repository, which Quay answers with 500, from a passing trouble, such as
// two first grants at once (docs/quay-contract.md 3.1).
func (c *Client) explainGrant(repo Repository) func(context.Context, *APIError) *APIError {
	return func(ctx context.Context, e *APIError) *APIError {
		if e.Status != http.StatusInternalServerError {
			return e
		}
		exists, err := c.RepositoryExists(ctx, repo)
		if err != nil || exists {
			return e
		}
		missing := *e
		missing.Kind, missing.Message = KindNotFound, "the repository does not exist"
		return &missing
	}
}

// RemoveGrant takes a robot's own grant on a repository away. It fails with [ErrNoPermission] if there is none: the
// robot or repository may be missing, or an earlier attempt may have worked without its answer arriving.
func (c *Client) RemoveGrant(ctx context.Context, repo Repository, r Robot) error {
	path, err := grantPath(repo, r)
	if err != nil {
		return err
	}
	_, err = c.do(ctx, call{op: opPermissionDelete, subject: grantSubject(repo, r), method: http.MethodDelete, path: path, repeat: true}, nil)
	return err
}

// roleOf reads a role; one that a later Quay may have is a grant all the same.
func roleOf(s string) Role {
	role, err := ParseRole(s)
	if err != nil {
		return RoleUnknown
	}
	return role
}

func grantSubject(repo Repository, r Robot) string { return r.Username() + " on " + repo.String() }

// permissionsPath ends in a slash: without it Quay redirects (docs/quay-contract.md 1.3).
func permissionsPath(repo Repository) (string, error) {
	path, err := repositoryPath(repo)
	return path + "/permissions/user/", err
}

func grantPath(repo Repository, r Robot) (string, error) {
	if r.IsZero() {
		return "", fmt.Errorf("%w: no robot given", ErrName)
	}
	path, err := permissionsPath(repo)
	return path + r.Username(), err
}
