package quay

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/quaygen/quaygen/pkg/quaygen/secret"
)

// maxDescription is what Quay takes of a robot's description, in characters (docs/quay-contract.md 2.2).
const maxDescription = 255

// RobotInfo is what Quay tells of a robot.
type RobotInfo struct {
	Robot Robot
	// Created and LastAccessed are Quay's times in UTC and whole seconds; zero if Quay has none. LastAccessed moves
	// at most once a minute, on logins only, and may be switched off (docs/quay-contract.md 2.10).
	Created, LastAccessed time.Time
	Description           string
	// Metadata is what was given on creation. Lists never carry it.
	Metadata map[string]any
	// Token is the robot's password; zero if it was not sent.
	Token secret.String
	// Repositories has the names, without namespace, of the repositories with a grant of the robot's own, and Teams
	// those of its teams; only if HasPermissions.
	Repositories   []string
	Teams          []string
	HasPermissions bool
}

// CreateOptions is what a robot is born with. Quay cannot change it later.
type CreateOptions struct {
	Description string // at most 255 characters
	Metadata    map[string]any
}

// ListOptions says what to include in a list. Both need administration of the owner.
type ListOptions struct {
	Token       bool // the robots' passwords
	Permissions bool // their teams and repositories; costs Quay a join
}

type named struct {
	Name string `json:"name"`
}

// robotJSON is a robot in Quay's answers (docs/quay-contract.md 2.2, 2.4, 2.5, 2.7).
type robotJSON struct {
	Name         string         `json:"name"`
	Created      *string        `json:"created"`
	LastAccessed *string        `json:"last_accessed"`
	Description  string         `json:"description"`
	Metadata     map[string]any `json:"unstructured_metadata"`
	Token        secret.String  `json:"token"`
	Teams        []named        `json:"teams"`
	Repositories []string       `json:"repositories"`
}

// CreateRobot creates a robot, and is sent once. It fails with [ErrRobotExists] if the name is taken, with
// [ErrRobotsDisabled] or [ErrForbidden]; after [ErrUnreachable], [ErrUnavailable] and [ErrMalformed] the robot may
// exist all the same.
func (c *Client) CreateRobot(ctx context.Context, r Robot, opts CreateOptions) (RobotInfo, Answer, error) {
	if utf8.RuneCountInString(opts.Description) > maxDescription {
		return RobotInfo{}, Answer{}, fmt.Errorf("creating robot %s: %w: its description has more than %d characters", r, ErrInvalid, maxDescription)
	}
	body := struct {
		Description string         `json:"description"`
		Metadata    map[string]any `json:"unstructured_metadata,omitempty"`
	}{opts.Description, opts.Metadata}
	return c.robot(ctx, r, call{op: opRobotCreate, method: http.MethodPut, body: body}, "", true)
}

// GetRobot returns a robot; [ErrRobotMissing] if there is none of the name. The token is absent if the API token may
// only read.
func (c *Client) GetRobot(ctx context.Context, r Robot) (RobotInfo, Answer, error) {
	return c.robot(ctx, r, call{op: opRobotGet, method: http.MethodGet, repeat: true}, "", false)
}

// RegenerateRobot gives a robot a new password, and is sent once, if its turn comes within patience; else it fails with
// [ErrRateLimited]. The old password is refused at once, while registry tokens obtained with it live on (docs/quay-contract.md
// 6.5). After [ErrUnreachable], [ErrUnavailable] and [ErrMalformed] the password may have changed all the same.
func (c *Client) RegenerateRobot(ctx context.Context, r Robot, patience time.Duration) (RobotInfo, Answer, error) {
	return c.robot(ctx, r, call{op: opRobotRegenerate, method: http.MethodPost, patience: patience}, "/regenerate", true)
}

// DeleteRobot deletes a robot with its grants and memberships, and is sent once. Success means that Quay said so; it
// has been seen to say so and keep the robot (docs/quay-contract.md 2.6). It fails with [ErrRobotMissing] or
// [ErrMirrorInUse], among others.
func (c *Client) DeleteRobot(ctx context.Context, r Robot) (Answer, error) {
	path, err := robotPath(r)
	if err != nil {
		return Answer{}, err
	}
	return c.do(ctx, call{op: opRobotDelete, subject: r.Username(), method: http.MethodDelete, path: path}, nil)
}

// ListRobots returns every robot of exactly this owner, in no useful order. It never waits for other calls than
// lists, and is sent once. That it succeeds does not prove that the owner exists, nor that the API token may
// administer it (docs/quay-contract.md 1.4, 7).
func (c *Client) ListRobots(ctx context.Context, owner Owner, opts ListOptions) ([]RobotInfo, Answer, error) {
	path, err := robotsPath(owner)
	if err != nil {
		return nil, Answer{}, err
	}
	in := call{
		op: opRobotList, subject: owner.Name(), method: http.MethodGet, path: path,
		query: url.Values{
			"token":       {strconv.FormatBool(opts.Token)},
			"permissions": {strconv.FormatBool(opts.Permissions)},
		},
		lane: c.lists, limit: maxListAnswer,
	}
	var out struct {
		Robots *[]robotJSON `json:"robots"`
	}
	answer, err := c.do(ctx, in, &out)
	if err != nil {
		return nil, answer, err
	}
	if out.Robots == nil {
		return nil, answer, malformed(in, answer.Date, "there is no list in it")
	}
	infos := make([]RobotInfo, 0, len(*out.Robots))
	for _, j := range *out.Robots {
		// Quay's own match reads '_' as any character and ignores case (docs/quay-contract.md 0.6).
		short, ok := strings.CutPrefix(j.Name, owner.Name()+"+")
		if !ok {
			continue
		}
		r, err := NewRobot(owner, short)
		if err != nil {
			continue // Quay has let stranger names through; nothing here can be called by them
		}
		info, err := j.info(r)
		if err != nil {
			return nil, answer, malformed(in, answer.Date, err.Error())
		}
		info.HasPermissions = opts.Permissions && j.Repositories != nil
		infos = append(infos, info)
	}
	return infos, answer, nil
}

// robot makes a call that is answered by one robot, which must be r.
func (c *Client) robot(ctx context.Context, r Robot, in call, suffix string, wantToken bool) (RobotInfo, Answer, error) {
	path, err := robotPath(r)
	if err != nil {
		return RobotInfo{}, Answer{}, err
	}
	in.subject, in.path = r.Username(), path+suffix
	var out robotJSON
	answer, err := c.do(ctx, in, &out)
	if err != nil {
		return RobotInfo{}, answer, err
	}
	switch {
	case out.Name != r.Username():
		// The user form of the paths means the API token's own user, whoever that is.
		return RobotInfo{}, answer, malformed(in, answer.Date, "it is about another robot")
	case wantToken && out.Token.IsZero():
		return RobotInfo{}, answer, malformed(in, answer.Date, "the robot's token is not in it")
	}
	info, err := out.info(r)
	if err != nil {
		return RobotInfo{}, answer, malformed(in, answer.Date, err.Error())
	}
	return info, answer, nil
}

func (j robotJSON) info(r Robot) (RobotInfo, error) {
	info := RobotInfo{Robot: r, Description: j.Description, Metadata: j.Metadata, Token: j.Token, Repositories: j.Repositories}
	var err error
	if info.Created, err = parseTime(j.Created); err != nil {
		return RobotInfo{}, fmt.Errorf("robot %s: created: %w", r, err)
	}
	if info.LastAccessed, err = parseTime(j.LastAccessed); err != nil {
		return RobotInfo{}, fmt.Errorf("robot %s: last_accessed: %w", r, err)
	}
	for _, team := range j.Teams {
		info.Teams = append(info.Teams, team.Name)
	}
	return info, nil
}

// parseTime reads a time of Quay's, RFC 2822 with the zone -0000 (docs/quay-contract.md 2.10); null is zero.
func parseTime(s *string) (time.Time, error) {
	if s == nil {
		return time.Time{}, nil
	}
	t, err := time.Parse("Mon, 02 Jan 2006 15:04:05 -0700", *s)
	if err != nil {
		return time.Time{}, errors.New("no time in RFC 2822 form")
	}
	return t.UTC(), nil
}

// robotsPath is the path of an owner's robots. A user's are reached as the API token's own.
func robotsPath(owner Owner) (string, error) {
	switch {
	case owner.IsZero():
		return "", fmt.Errorf("%w: no owner given", ErrName)
	case owner.IsUser():
		return "/api/v1/user/robots", nil
	}
	return "/api/v1/organization/" + owner.Name() + "/robots", nil
}

func robotPath(r Robot) (string, error) {
	if r.IsZero() {
		return "", fmt.Errorf("%w: no robot given", ErrName)
	}
	path, err := robotsPath(r.Owner())
	return path + "/" + r.Short(), err
}
