package quay

import (
	"context"
	"errors"
	"fmt"
	"net/http"
)

// TeamMembers returns the usernames of a team's members, robots among them; [ErrNotFound] if there is no such team.
func (c *Client) TeamMembers(ctx context.Context, owner Owner, team string) ([]string, error) {
	path, err := membersPath(owner, team)
	if err != nil {
		return nil, err
	}
	in := call{op: opTeamMembers, subject: owner.Name() + "/" + team, method: http.MethodGet, path: path, limit: maxListAnswer, repeat: true}
	var out struct {
		Members *[]named `json:"members"`
	}
	answer, err := c.do(ctx, in, &out)
	if err != nil {
		return nil, err
	}
	if out.Members == nil {
		return nil, malformed(in, answer.Date, "there are no members in it")
	}
	names := make([]string, 0, len(*out.Members))
	for _, member := range *out.Members {
		names = append(names, member.Name)
	}
	return names, nil
}

// AddTeamMember makes a robot a member of a team, if it is not one already. It fails with [ErrNotFound] if there is
// no such team, and with [ErrInvalid] if there is no such robot. Quay accepts robots of other organizations too
// (docs/quay-contract.md 3.2).
func (c *Client) AddTeamMember(ctx context.Context, owner Owner, team string, r Robot) error {
	err := c.member(ctx, http.MethodPut, opTeamAdd, owner, team, r)
	if errors.Is(err, ErrAlreadyMember) {
		return nil
	}
	return err
}

// RemoveTeamMember ends a robot's membership, if there is one. It fails with [ErrNotFound] if there is no such team
// or robot.
func (c *Client) RemoveTeamMember(ctx context.Context, owner Owner, team string, r Robot) error {
	err := c.member(ctx, http.MethodDelete, opTeamRemove, owner, team, r)
	if errors.Is(err, ErrNotMember) {
		return nil
	}
	return err
}

func (c *Client) member(ctx context.Context, method, op string, owner Owner, team string, r Robot) error {
	path, err := membersPath(owner, team)
	if err != nil {
		return err
	}
	if r.IsZero() {
		return fmt.Errorf("%w: no robot given", ErrName)
	}
	subject := r.Username() + " in " + owner.Name() + "/" + team
	_, err = c.do(ctx, call{op: op, subject: subject, method: method, path: path + "/" + r.Username(), repeat: true}, nil)
	return err
}

// membersPath checks the name of a team, which follows the rule for robots and organizations.
func membersPath(owner Owner, team string) (string, error) {
	switch {
	case owner.IsZero():
		return "", fmt.Errorf("%w: no owner given", ErrName)
	case owner.IsUser():
		return "", fmt.Errorf("%w: user %s has no teams", ErrName, owner)
	}
	if err := checkName("team", team); err != nil {
		return "", err
	}
	return "/api/v1/organization/" + owner.Name() + "/team/" + team + "/members", nil
}
