package quaytest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode/utf16"
	"unicode/utf8"
)

const (
	jsonType = "application/json"
	htmlType = "text/html; charset=utf-8"
)

// answer is a whole HTTP answer. Answers are complete before any of it is sent, because no lock may be held while a
// client reads, and so that faults can lose or cut them.
type answer struct {
	status int
	header http.Header
	body   []byte
	cut    bool // the connection breaks in the middle of the body
}

func newAnswer(status int, contentType string, body []byte) *answer {
	a := &answer{status: status, header: http.Header{}, body: body}
	if contentType != "" {
		a.header.Set("Content-Type", contentType)
	}
	return a
}

func (a *answer) set(key, value string) *answer {
	a.header.Set(key, value)
	return a
}

// finish adds what Quay's nginx adds to every answer.
func (a *answer) finish(r *http.Request, now time.Time) {
	if _, set := a.header["Date"]; !set { // by a fault
		a.header.Set("Date", now.UTC().Format(http.TimeFormat))
	}
	a.header.Set("Server", "nginx")
	if area := areaOf(r.URL.Path); area != areaOther && r.ProtoMajor < 2 {
		a.header.Set("Connection", "close") // docs/quay-contract.md 5
	}
	if areaOf(r.URL.Path) == areaAPI {
		a.header.Set("Access-Control-Allow-Origin", "*")
		a.header.Set("Vary", "Cookie")
	}
}

func bodyAllowed(r *http.Request, status int) bool {
	return r.Method != http.MethodHead && status != http.StatusNoContent && status != http.StatusNotModified
}

func (a *answer) deliver(w http.ResponseWriter, r *http.Request) {
	for key, values := range a.header {
		w.Header()[key] = values
	}
	if a.header.Get("Content-Type") == "" {
		w.Header()["Content-Type"] = nil // net/http must not guess one
	}
	if !bodyAllowed(r, a.status) {
		w.WriteHeader(a.status)
		return
	}
	w.Header().Set("Content-Length", strconv.Itoa(len(a.body)))
	w.WriteHeader(a.status)
	if a.cut {
		_, _ = w.Write(a.body[:len(a.body)/2])
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}
	_, _ = w.Write(a.body)
}

// response makes of the answer what a client's transport would have read.
func (a *answer) response(r *http.Request) *http.Response {
	resp := &http.Response{
		Status:        fmt.Sprintf("%d %s", a.status, http.StatusText(a.status)),
		StatusCode:    a.status,
		Proto:         "HTTP/2.0",
		ProtoMajor:    2,
		Header:        a.header,
		Body:          http.NoBody,
		ContentLength: 0,
		Request:       r,
	}
	if !bodyAllowed(r, a.status) {
		if n, err := strconv.ParseInt(a.header.Get("Content-Length"), 10, 64); err == nil {
			resp.ContentLength = n
		}
		return resp
	}
	resp.ContentLength = int64(len(a.body))
	resp.Header.Set("Content-Length", strconv.Itoa(len(a.body)))
	if a.cut {
		resp.Body = io.NopCloser(io.MultiReader(bytes.NewReader(a.body[:len(a.body)/2]), brokenReader{}))
	} else {
		resp.Body = io.NopCloser(bytes.NewReader(a.body))
	}
	return resp
}

type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

// The error shapes of docs/quay-contract.md 1.3.

func ok(v any) *answer { return okStatus(http.StatusOK, v) }

func okStatus(status int, v any) *answer { return newAnswer(status, jsonType, encode(v, spaced)) }

func noContent() *answer { return newAnswer(http.StatusNoContent, jsonType, nil) }

// problem is the envelope of Quay's own API exceptions.
func (s *Server) problem(status int, kind, detail string) *answer {
	return okStatus(status, object{
		{"detail", detail},
		{"error_message", detail},
		{"error_type", kind},
		{"title", kind},
		{"type", s.origin() + "/api/v1/error/" + kind},
		{"status", status},
	})
}

func (s *Server) invalidRequest(detail string) *answer {
	return s.problem(http.StatusBadRequest, "invalid_request", detail)
}

func (s *Server) notFound() *answer {
	return s.problem(http.StatusNotFound, "not_found", "Not Found")
}

// modelError is the answer to an exception of Quay's data model that no endpoint caught.
func modelError(message string) *answer {
	return newAnswer(http.StatusBadRequest, jsonType, encode(object{{"message", message}}, compact))
}

// frameworkError is an answer of the web framework below the endpoints.
func frameworkError(status int, message any) *answer {
	return okStatus(status, object{{"message", message}})
}

// aborted is an answer of Quay's abort function: JSON that says it is HTML.
func aborted(status int, message string) *answer {
	return newAnswer(status, htmlType, bytes.TrimSuffix(encode(object{{"error", message}}, spaced), []byte("\n")))
}

const (
	csrfMessage       = "CSRF token was invalid or missing."
	badRequestMessage = "The browser (or proxy) sent a request that this server could not understand."
	forbiddenMessage  = "You don't have the permission to access the requested resource. " +
		"It is either read-protected or not readable by the server."
	wrongTypeMessage = "Did not attempt to load JSON data because the request Content-Type was not 'application/json'."
	wrongMethod      = "The method is not allowed for the requested URL."
	readOnlyMessage  = "System is currently read-only. Pulls will succeed but all write operations are currently suspended."
	robotMissing     = "Could not find robot with specified username"
)

// page is an HTML page, as nginx and the web framework make for failures.
func page(status int) *answer {
	title := http.StatusText(status)
	return newAnswer(status, htmlType, []byte("<!DOCTYPE html>\n<html>\n<head><title>"+title+"</title></head>\n"+
		"<body><h1>"+title+"</h1></body>\n</html>\n"))
}

func internalError() *answer { return page(http.StatusInternalServerError) }

// object is a JSON object whose keys keep their order, which is part of the contract.
type object []field

type field struct {
	key   string
	value any
}

// MarshalJSON serves where an object lies inside something else than objects.
func (o object) MarshalJSON() ([]byte, error) { return encode(o, compact), nil }

type style int

const (
	spaced  style = iota // one space after ':' and ',', as Python's json.dumps
	compact              // no spaces, as Flask's jsonify
)

// encode writes v as Python would: ASCII only, with a newline at the end.
func encode(v any, how style) []byte {
	var b bytes.Buffer
	how.write(&b, v)
	b.WriteByte('\n')
	return b.Bytes()
}

func (how style) write(b *bytes.Buffer, v any) {
	switch v := v.(type) {
	case object:
		b.WriteByte('{')
		for i, f := range v {
			how.separate(b, i > 0, ',')
			how.write(b, f.key)
			how.separate(b, true, ':')
			how.write(b, f.value)
		}
		b.WriteByte('}')
	case []object:
		b.WriteByte('[')
		for i, o := range v {
			how.separate(b, i > 0, ',')
			how.write(b, o)
		}
		b.WriteByte(']')
	case string:
		if strings.IndexFunc(v, needsCare) >= 0 {
			how.writeOther(b, v)
			return
		}
		b.WriteByte('"')
		b.WriteString(v)
		b.WriteByte('"')
	case nil:
		b.WriteString("null")
	default:
		how.writeOther(b, v)
	}
}

func needsCare(c rune) bool { return c < ' ' || c > '~' || c == '"' || c == '\\' }

func (how style) separate(b *bytes.Buffer, needed bool, c byte) {
	if !needed {
		return
	}
	b.WriteByte(c)
	if how == spaced {
		b.WriteByte(' ')
	}
}

// writeOther leaves the JSON to package json, and changes what Python does otherwise.
func (how style) writeOther(out *bytes.Buffer, v any) {
	var plain bytes.Buffer
	e := json.NewEncoder(&plain)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		panic(err) // everything encoded here is made of JSON types
	}
	quoted, escaped := false, false
	for b := bytes.TrimSuffix(plain.Bytes(), []byte("\n")); len(b) > 0; {
		c, n := utf8.DecodeRune(b)
		b = b[n:]
		switch {
		case c >= utf8.RuneSelf:
			for _, unit := range utf16.Encode([]rune{c}) {
				fmt.Fprintf(out, `\u%04x`, unit)
			}
			escaped = false
			continue
		case quoted:
			if c == '"' && !escaped {
				quoted = false
			}
			escaped = c == '\\' && !escaped
		case c == '"':
			quoted = true
		}
		out.WriteRune(c)
		if !quoted && how == spaced && (c == ':' || c == ',') {
			out.WriteByte(' ')
		}
	}
}

// date writes a time as Quay's API does; docs/quay-contract.md 2.10. Zero becomes null.
func date(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return t.UTC().Format("Mon, 02 Jan 2006 15:04:05") + " -0000"
}
