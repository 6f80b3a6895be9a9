package quay

import (
	"bytes"
	"encoding/json"
	"html"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// maxMessage bounds APIError.Message, in bytes.
const maxMessage = 300

// maxRetryAfter bounds what is believed of a Retry-After header.
const maxRetryAfter = time.Hour

// envelope is the union of Quay's forms of an error (docs/quay-contract.md 0.4, 1.3, 6.2).
type envelope struct {
	ErrorMessage json.RawMessage `json:"error_message"`
	Detail       json.RawMessage `json:"detail"`
	Message      json.RawMessage `json:"message"` // a string, or of query errors an object
	Error        json.RawMessage `json:"error"`
	Errors       []struct {
		Message json.RawMessage `json:"message"`
	} `json:"errors"`
	ReadOnly bool `json:"is_readonly"`
}

// parseEnvelope reads an error body, whatever its content type says: abort texts are JSON sent as text/html.
func parseEnvelope(body []byte) (e envelope, isJSON bool) {
	body = bytes.TrimSpace(body)
	if len(body) == 0 || body[0] != '{' {
		return envelope{}, false
	}
	return e, json.Unmarshal(body, &e) == nil
}

// text returns the first present of the fields that hold a reason (docs/quay-contract.md 9).
func (e envelope) text() string {
	fields := []json.RawMessage{e.ErrorMessage, e.Detail, e.Message, e.Error}
	if len(e.Errors) > 0 {
		fields = append(fields, e.Errors[0].Message)
	}
	for _, field := range fields {
		if text := reason(field); text != "" {
			return text
		}
	}
	return ""
}

// reason reads a field that is a string, or an object of strings by parameter name.
func reason(field json.RawMessage) string {
	var text string
	if json.Unmarshal(field, &text) == nil {
		return text
	}
	var byName map[string]string
	if json.Unmarshal(field, &byName) != nil || len(byName) != 1 {
		return ""
	}
	for name, help := range byName {
		text = name + ": " + help
	}
	return text
}

// refusals are the 4xx answers that only their text tells apart (docs/quay-contract.md 2, 3 and 9).
var refusals = []struct {
	text string
	kind Kind
}{
	{"Could not find robot", KindRobotMissing},
	{"Existing robot with name", KindRobotExists},
	{"user_username", KindRobotExists}, // the database's own words to the loser of a race
	{"Robot accounts have been disabled", KindRobotsDisabled},
	{"is being used by a mirror", KindMirrorInUse},
	{"User does not have permission for repo", KindNoPermission},
	{"is already a member of team", KindAlreadyMember},
	{"does not belong to team", KindNotMember},
}

// classify turns an answer that is no success into an error. secrets are removed from its message.
func classify(op, subject string, got reply, secrets []string) *APIError {
	env, isJSON := parseEnvelope(got.body)
	text := env.text()
	e := &APIError{
		Operation:  op,
		Subject:    subject,
		Status:     got.status,
		Kind:       kindOf(op, got.status, env, isJSON, text),
		RetryAfter: retryAfter(got.header),
		Date:       date(got.header),
	}
	switch {
	case e.Kind == KindRedirect:
		text = location(got.header)
	case !isJSON:
		text = title(got.body)
	}
	e.Message = presentable(text, secrets...)
	return e
}

func kindOf(op string, status int, env envelope, isJSON bool, text string) Kind {
	switch {
	case status < 300:
		return KindUnavailable // a web page: something else than the API answered
	case status < 400:
		return KindRedirect
	case status == http.StatusUnauthorized:
		return kindOfUnauthorized(op, isJSON, text)
	case status == http.StatusForbidden && strings.Contains(text, "CSRF token"):
		return KindTokenRejected // docs/quay-contract.md 0.1
	case status == http.StatusForbidden:
		return KindForbidden
	case status == http.StatusTooManyRequests:
		return KindRateLimited
	case status == http.StatusServiceUnavailable && env.ReadOnly:
		return KindReadOnly
	case status >= 500 || status == http.StatusRequestTimeout || !isJSON:
		// A page without JSON comes from something in front of Quay, or from a path that is not the API's; a 404 of
		// that sort must not pass for "this organization does not exist".
		return KindUnavailable
	case status == http.StatusNotFound:
		return KindNotFound
	case status == http.StatusBadRequest:
		for _, r := range refusals {
			if strings.Contains(text, r.text) {
				return r.kind
			}
		}
	}
	return KindInvalid
}

func kindOfUnauthorized(op string, isJSON bool, text string) Kind {
	switch {
	case op != opAuth:
		return KindTokenRejected
	case !isJSON:
		return KindUnavailable // no answer of Quay's: nothing is known about the robot
	case strings.Contains(text, "account have been disabled"), strings.Contains(text, "accounts have been disabled"):
		return KindRobotsDisabled // sic, docs/quay-contract.md 2.11
	}
	return KindLoginRefused
}

// date returns the Date header in UTC; zero if there is none that can be read.
func date(h http.Header) time.Time {
	t, err := http.ParseTime(h.Get("Date"))
	if err != nil {
		return time.Time{}
	}
	return t.UTC()
}

func retryAfter(h http.Header) time.Duration {
	value := h.Get("Retry-After")
	if value == "" {
		return 0
	}
	if seconds, err := strconv.ParseInt(value, 10, 64); err == nil {
		return time.Duration(min(max(seconds, 0), int64(maxRetryAfter/time.Second))) * time.Second
	}
	until, err := http.ParseTime(value)
	if err != nil {
		return 0
	}
	from := date(h)
	if from.IsZero() {
		from = time.Now()
	}
	return min(max(until.Sub(from), 0), maxRetryAfter)
}

// location returns where a redirect leads, without the query, which may carry anything.
func location(h http.Header) string {
	u, err := url.Parse(h.Get("Location"))
	if err != nil || u.String() == "" {
		return ""
	}
	return "to " + (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}).String()
}

// title returns what stands between <title> and </title>.
func title(body []byte) string {
	lower := bytes.ToLower(body)
	start := bytes.Index(lower, []byte("<title>"))
	if start < 0 || len(lower) != len(body) {
		return ""
	}
	start += len("<title>")
	end := bytes.Index(lower[start:], []byte("</title>"))
	if end < 0 {
		return ""
	}
	return html.UnescapeString(string(body[start : start+end]))
}

// Tokens of Quay have 40 letters and digits (OAuth) or 64 (robots); what is longer may be a pair for Basic auth. Others have
// the form of a JWT. Names, identifiers of requests and the like are mostly shorter, or have other characters in them.
var tokenLike = regexp.MustCompile(`eyJ[\w-]+\.[\w-]+(?:\.[\w-]*)?|[A-Za-z0-9]{40,}={0,2}`)

// without removes credentials from a text, should somebody have echoed them: those of the request, and whatever looks
// like another one.
func without(text string, secrets []string) string {
	const redacted = "[redacted]"
	for _, s := range secrets {
		if s != "" {
			text = strings.ReplaceAll(text, s, redacted)
		}
	}
	return tokenLike.ReplaceAllLiteralString(text, redacted)
}

// presentable makes a text of anybody's fit for errors: one line of at most maxMessage bytes, without credentials.
func presentable(text string, secrets ...string) string {
	return shorten(without(oneLine(text), secrets))
}

// oneLine keeps the printable characters of s, and joins white space.
func oneLine(s string) string {
	s = strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r):
			return ' '
		case !unicode.IsPrint(r) || r == utf8.RuneError:
			return -1
		}
		return r
	}, s)
	return strings.Join(strings.Fields(s), " ")
}

func shorten(s string) string {
	if len(s) <= maxMessage {
		return s
	}
	const ellipsis = "..."
	cut := maxMessage - len(ellipsis)
	for cut > 0 && !utf8.RuneStart(s[cut]) {
		cut--
	}
	return s[:cut] + ellipsis
}
