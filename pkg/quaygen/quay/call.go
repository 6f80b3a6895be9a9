package quay

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/quaygen/quaygen/pkg/quaygen/secret"
)

const (
	userAgent = "quaygen" // a browser's name would be refused, docs/quay-contract.md 1.1

	maxAnswer      = 1 << 20  // bytes of an answer
	maxListAnswer  = 64 << 20 // bytes of a list: most have no pages
	maxErrorAnswer = 64 << 10 // bytes read of an answer that is no success
)

// call is one request to Quay, sent once or several times.
type call struct {
	op, subject  string
	method, path string
	query        url.Values
	body         any // sent as JSON; nil: none
	as           identity
	robot        Robot         // with asRobot
	password     secret.String // with asRobot
	lane         *lane         // nil: the client's calls
	patience     time.Duration // for how long its turn is waited for; 0: until the context ends
	repeat       bool          // whether sending it again is safe and wanted
	limit        int64         // bytes of a good answer; 0: maxAnswer

	// explain, if set, may give a failed attempt its true name before it is decided whether to repeat.
	explain func(context.Context, *APIError) *APIError
}

// identity is who a call is made as.
type identity int

const (
	asToken identity = iota // the API token
	asRobot                 // a robot, by its password
	asNobody
)

// do sends a call until it succeeds, or must not be repeated. A good answer is decoded into out unless that is nil.
func (c *Client) do(ctx context.Context, in call, out any) (Answer, error) {
	attempts := 1
	if in.repeat {
		attempts = c.attempts
	}
	for n := 1; ; n++ {
		answer, err := c.attempt(ctx, in, out, n)
		if err == nil {
			return answer, nil
		}
		if in.explain != nil {
			err = in.explain(ctx, err)
		}
		if n >= attempts || !err.retryable() || ctx.Err() != nil {
			return answer, err
		}
		if sleepUntil(ctx, time.Now().Add(delay(n, err))) != nil {
			return answer, err
		}
	}
}

// attempt sends a call for the n-th time, when its turn has come.
func (c *Client) attempt(ctx context.Context, in call, out any, n int) (Answer, *APIError) {
	pace, asked := orDefault(in.lane, c.calls), time.Now()
	if err := c.wait(ctx, pace, in.patience); err != nil {
		return Answer{}, in.fail(KindRateLimited, "not sent: waiting for its turn: "+err.Error(), err)
	}
	var token secret.String
	if in.as == asToken {
		var err error
		if token, err = c.token.get(); err != nil {
			return Answer{}, in.fail(KindTokenRejected, shorten(oneLine(err.Error())), err)
		}
	}
	ctx, span := c.trace(ctx, in, n, time.Since(asked))
	answer, status, err := c.exchange(ctx, in, out, token, pace)
	traced(span, status, err)
	return answer, err
}

// exchange sends a call once. The status is that of the answer, 0 if none came.
func (c *Client) exchange(ctx context.Context, in call, out any, token secret.String, pace *lane) (Answer, int, *APIError) {
	attempt, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	attempt, stop := sendOnce(attempt)
	defer stop()
	req, secrets, err := c.request(attempt, in, token)
	if err != nil {
		return Answer{}, 0, in.fail(KindInvalid, shorten(oneLine(err.Error())), nil)
	}

	sent := time.Now()
	got, err := c.send(req, in)
	c.observed(in.op, got.status, err, time.Since(sent))
	answer := Answer{Date: date(got.header), Sent: sent}
	switch {
	case errors.Is(err, errTooLarge):
		return answer, got.status, malformed(in, answer.Date, err.Error())
	case err != nil:
		why, cause := unreachable(ctx, attempt, err)
		e := in.fail(KindUnreachable, presentable(why, secrets...), cause)
		e.Date = answer.Date
		return answer, got.status, e
	}
	e := understand(in, got, out, secrets)
	if e != nil {
		c.learn(e, in, pace)
	}
	return answer, got.status, e
}

// fail is the error of a call that got no answer.
func (in call) fail(kind Kind, message string, cause error) *APIError {
	return &APIError{Operation: in.op, Subject: in.subject, Kind: kind, Message: message, cause: cause}
}

// understand decodes a good answer, and classifies any other.
func understand(in call, got reply, out any, secrets []string) *APIError {
	page := bytes.HasPrefix(bytes.TrimSpace(got.body), []byte("<")) // the success of something else than Quay's API
	switch {
	case !got.success() || page:
		return classify(in.op, in.subject, got, secrets)
	case out == nil || json.Unmarshal(got.body, out) == nil:
		return nil
	}
	e := malformed(in, date(got.header), "it is not the JSON that was expected") // no more: errors of JSON quote it
	e.Status = got.status
	return e
}

// learn draws the consequences of a failure for later calls.
func (c *Client) learn(e *APIError, in call, pace *lane) {
	if e.Kind == KindRateLimited {
		pace.pause(pauseAfter(e))
	}
	if e.Kind == KindTokenRejected && in.as == asToken {
		c.token.rejected()
	}
}

func (c *Client) request(ctx context.Context, in call, token secret.String) (*http.Request, []string, error) {
	u := url.URL{Scheme: c.url.Scheme, Host: c.url.Host, Path: in.path, RawQuery: in.query.Encode()}
	var body io.Reader
	if in.body != nil {
		data, err := json.Marshal(in.body)
		if err != nil {
			return nil, nil, fmt.Errorf("writing the request: %w", err)
		}
		if len(data) > maxAnswer {
			return nil, nil, fmt.Errorf("the request has %d bytes; Quay takes %d", len(data), maxAnswer) // docs/quay-contract.md 2.2
		}
		body = bytes.NewReader(data)
	}
	req, err := http.NewRequestWithContext(ctx, in.method, u.String(), body)
	if err != nil {
		return nil, nil, errors.New("the request cannot be built")
	}
	req.Header.Set("User-Agent", userAgent)
	req.Header.Set("Accept", "application/json")
	if in.body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	switch in.as {
	case asToken:
		req.Header.Set("Authorization", "Bearer "+token.Reveal())
		return req, []string{token.Reveal()}, nil
	case asRobot:
		password := in.password.Reveal()
		req.SetBasicAuth(in.robot.Username(), password)
		pair := base64.StdEncoding.EncodeToString([]byte(in.robot.Username() + ":" + password))
		return req, []string{pair, password}, nil
	default:
		return req, nil, nil
	}
}

var errTooLarge = errors.New("the answer is too large")

// reply is an answer of any sort, fully read, or of one that is no success its first part.
type reply struct {
	status int
	header http.Header
	body   []byte
}

func (r reply) success() bool { return r.status >= 200 && r.status < 300 }

// send sends a request. With an error, status and header may still be there, and the body is not.
func (c *Client) send(req *http.Request, in call) (reply, error) {
	resp, err := c.http.Do(req)
	if err != nil {
		return reply{}, err
	}
	defer resp.Body.Close()
	got := reply{status: resp.StatusCode, header: resp.Header}
	if !got.success() {
		// A cut or endless error page still has its status, which is all that must be known.
		got.body, _ = io.ReadAll(io.LimitReader(resp.Body, maxErrorAnswer))
		return got, nil
	}
	limit := orDefault(in.limit, maxAnswer)
	body, err := io.ReadAll(io.LimitReader(resp.Body, limit+1))
	switch {
	case err != nil:
		return got, fmt.Errorf("reading the answer: %w", err)
	case int64(len(body)) > limit:
		return got, fmt.Errorf("%w: more than %d bytes", errTooLarge, limit)
	}
	got.body = body
	return got, nil
}

// wait returns when it is a call's turn, or why that will not come in time.
func (c *Client) wait(ctx context.Context, l *lane, patience time.Duration) error {
	begun := time.Now()
	if patience > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, patience)
		defer cancel()
	}
	err := l.wait(ctx)
	if c.waited != nil {
		c.waited(l.name, time.Since(begun))
	}
	return err
}

func (c *Client) observed(op string, status int, err error, elapsed time.Duration) {
	if c.observe == nil {
		return
	}
	code := "error"
	if err == nil {
		code = strconv.Itoa(status)
	}
	c.observe(op, code, elapsed)
}

// unreachable tells of a failure of the transport: without the URL, which operation and subject tell already, and
// without passing the end of one attempt off as the end of the caller's context.
func unreachable(caller, attempt context.Context, err error) (message string, cause error) {
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err
	}
	switch {
	case errors.Is(context.Cause(attempt), errReplayed):
		return errReplayed.Error(), errReplayed
	case caller.Err() != nil:
		return caller.Err().Error(), caller.Err()
	case attempt.Err() != nil:
		return "timed out", nil
	}
	return err.Error(), err
}

// malformed is the error for a good status whose answer is not what was asked for.
func malformed(in call, date time.Time, message string) *APIError {
	return &APIError{Operation: in.op, Subject: in.subject, Kind: KindMalformed, Message: message, Date: date}
}
