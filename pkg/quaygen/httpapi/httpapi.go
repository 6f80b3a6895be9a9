// Package httpapi is the way in over HTTP: what ESO's webhook provider and webhook generator call, and the
// administrator's port. It decodes a request, asks [quaygen.Service], and writes the answer or a problem document
// (RFC 9457).
package httpapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net/http"
	"net/url"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/quaygen/quaygen/pkg/quaygen"
	"github.com/quaygen/quaygen/pkg/quaygen/auth"
	"github.com/quaygen/quaygen/pkg/quaygen/tracing"
)

// Config is what the handler needs.
type Config struct {
	Service      *quaygen.Service
	Authenticate auth.Authenticator
	Log          *slog.Logger
	Metrics      *quaygen.Metrics  // nil: nothing is measured
	Traces       *tracing.Requests // nil: nothing is traced
}

// Limits of the server around the handler. ESO keeps connections open for ever and sets no time limit of its own
// where its user does not, so the server has to.
const (
	readHeaderTimeout = 5 * time.Second
	readTimeout       = 10 * time.Second
	writeTimeout      = 20 * time.Second
	idleTimeout       = 30 * time.Second
	maxHeaderBytes    = 16 << 10
	maxURLBytes       = 4 << 10
	maxBodyBytes      = 64 << 10
)

// Limits of connections with HTTP/2, which live on after an answer. The standard library reads a frame of any announced size up
// to 1 MiB into memory that it has taken before anything of it came, and waits without end for a client that does not read.
// The age bounds for how long a connection outlives the certificate authority that let it in.
const (
	maxAge        = 30 * time.Minute
	maxStreams    = 100
	maxFrameBytes = 16 << 10 // the least that the protocol allows
	writeStalled  = 20 * time.Second
)

// old reports whether a connection has to end.
func old(r *http.Request) bool {
	c, known := r.Context().Value(connKey{}).(*conn)
	return known && time.Since(c.since) >= maxAge
}

type handler struct{ Config }

// transport is this way in, in metrics and in the audit trail.
const transport = "http"

// New returns the handler for callers.
func New(config Config) http.Handler {
	if config.Metrics == nil {
		config.Metrics = quaygen.NewMetrics(nil)
	}
	return &handler{config}
}

// pullSecretsPath is where pull secrets are; what follows is the name. There is no http.ServeMux on the way: it
// redirects what it takes for unclean paths, and ESO would follow, credentials and all.
const pullSecretsPath = "/v1/pullsecrets/"

// ServeHTTP answers every request, and counts it.
func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	start := time.Now()
	h.Metrics.Begin()
	w.Header().Set("Cache-Control", "no-store")
	if r.ProtoMajor == 1 && r.TLS != nil || old(r) {
		// ESO makes a connection per call where a CA is configured, and never closes it. With HTTP/2 this lets the other
		// requests of the connection end, and says that it takes no new ones.
		w.Header().Set("Connection", "close")
	}
	traced := h.Traces.Begin(start)
	request, code := h.route(w, r, traced) //nolint:contextcheck // the request has it, in the function that recovers as well
	name := h.Service.Label(request.Name)
	if traced != nil {
		endTrace(traced, r, request, name, code)
	}
	h.Metrics.End(transport, name, strconv.Itoa(code), time.Since(start))
}

func (h *handler) route(w http.ResponseWriter, r *http.Request, traced *tracing.Request) (request quaygen.Request, code int) {
	defer func() {
		if p := recover(); p != nil {
			code = h.panicked(w, r.WithContext(traced.In(r.Context())), p)
		}
	}()
	switch path := r.URL.EscapedPath(); {
	case len(r.RequestURI) > maxURLBytes:
		return request, h.problem(w, http.StatusRequestURITooLong, "invalid request", fmt.Sprintf("the URL is longer than %d bytes", maxURLBytes), 0)
	case !strings.HasPrefix(path, pullSecretsPath):
		// Not 404: ESO would take a mistyped path for a pull secret that was deleted.
		return request, h.problem(w, http.StatusBadRequest, "invalid request", "there is nothing here; pull secrets are at /v1/pullsecrets/{name}?namespace=...", 0)
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		w.Header().Set("Allow", "GET, HEAD")
		return request, h.problem(w, http.StatusMethodNotAllowed, "method not allowed", "a pull secret is read with GET", 0)
	}
	return h.answer(w, r, traced)
}

func (h *handler) panicked(w http.ResponseWriter, r *http.Request, p any) int {
	// The value could hold anything; where it happened is enough. The server itself would say it for debugging only.
	h.Log.ErrorContext(r.Context(), "a request made the handler panic", "type", fmt.Sprintf("%T", p), "stack", string(debug.Stack()))
	return h.fail(r, w, &quaygen.Error{Kind: quaygen.KindInternal, Detail: "something went wrong inside quaygen; its log says what"})
}

func (h *handler) answer(w http.ResponseWriter, r *http.Request, traced *tracing.Request) (quaygen.Request, int) {
	presented := auth.FromRequest(r)
	presented.Reviewed = traced.Reviewed()
	caller, err := h.Authenticate(presented)
	if err != nil {
		return quaygen.Request{}, h.notAuthenticated(w, r, traced, err)
	}
	if traced != nil {
		r = known(traced, r, caller.Name, caller.How)
	}
	caller.Transport, caller.From = transport, r.RemoteAddr
	request, malformed := parse(r)
	leave, err := h.Service.Admit(caller)
	if err != nil {
		return request, h.fail(r, w, err)
	}
	defer leave()
	if malformed != nil {
		return request, h.fail(r, w, h.Service.Refuse(r.Context(), caller, request, malformed))
	}
	answer, err := h.Service.Get(r.Context(), caller, request)
	if err != nil {
		return request, h.fail(r, w, err)
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(answer.Body())))
	if !answer.Valid() { // the last thing before the credential leaves
		return request, h.fail(r, w, quaygen.ErrExpired(request.Name))
	}
	if r.Method != http.MethodHead {
		_, _ = w.Write(answer.Body()) // if the caller went away there is nobody to tell
	}
	return request, http.StatusOK
}

// notAuthenticated tells the operator why, and the caller little.
func (h *handler) notAuthenticated(w http.ResponseWriter, r *http.Request, traced *tracing.Request, err error) int {
	if traced != nil {
		r = stranger(traced, r)
	}
	if errors.Is(err, auth.ErrGuessing) { // whoever counts them has told the operator
		return h.fail(r, w, &quaygen.Error{Kind: quaygen.KindTooMany, Detail: "too many failed attempts to authenticate from this address", RetryAfter: auth.GuessAfter})
	}
	h.Log.WarnContext(r.Context(), "caller not authenticated", "from", r.RemoteAddr, "reason", err)
	h.Service.RefuseStranger(transport, r.RemoteAddr, err)
	if errors.Is(err, auth.ErrUnavailable) {
		return h.fail(r, w, &quaygen.Error{Kind: quaygen.KindNotReady, Detail: "the token cannot be checked now; ask again", RetryAfter: auth.RetryAfter})
	}
	w.Header().Set("WWW-Authenticate", `Bearer realm="quaygen"`)
	return h.fail(r, w, &quaygen.Error{Kind: quaygen.KindUnauthenticated, Detail: "the bearer token or the certificate of a configured client is needed"})
}

var parameters = []string{"namespace", "property", "format"}

// parse reads a request strictly: what is ambiguous or unknown is refused rather than guessed.
func parse(r *http.Request) (quaygen.Request, error) {
	invalid := func(format string, args ...any) (quaygen.Request, error) {
		return quaygen.Request{}, &quaygen.Error{Kind: quaygen.KindInvalid, Detail: fmt.Sprintf(format, args...)}
	}
	// ESO escapes names for a query, inside the path too, where the standard parser leaves a plus alone.
	escaped := strings.TrimPrefix(r.URL.EscapedPath(), pullSecretsPath)
	name, err := url.QueryUnescape(escaped)
	if err != nil {
		return invalid("the name in the path is not escaped properly")
	}
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return invalid("the query is not escaped properly")
	}
	if keys := unclear(query); len(keys) > 0 {
		key := slices.Min(keys) // the same one each time
		if slices.Contains(parameters, key) {
			return invalid("the query parameter %s is there twice", key)
		}
		return invalid("there is no query parameter %q; there are %s", quaygen.Clip(key), strings.Join(parameters, ", "))
	}
	return quaygen.Request{Name: name, Namespace: query.Get("namespace"), Property: query.Get("property"), Format: query.Get("format")}, nil
}

// unclear returns the parameters that are unknown, or there more than once.
func unclear(query url.Values) (keys []string) {
	for key, values := range query {
		if len(values) > 1 || !slices.Contains(parameters, key) {
			keys = append(keys, key)
		}
	}
	return keys
}

func (h *handler) fail(r *http.Request, w http.ResponseWriter, err error) int {
	e := quaygen.AsError(err)
	status := e.Kind.Row().HTTP
	if e.Kind == quaygen.KindInternal && !errors.Is(err, context.Canceled) {
		h.Log.ErrorContext(r.Context(), "request failed", "error", err)
	}
	return h.problem(w, status, e.Kind.String(), e.Detail, e.RetryAfter)
}

// problem writes a problem document (RFC 9457) and returns its status.
func (h *handler) problem(w http.ResponseWriter, status int, title, detail string, retryAfter time.Duration) int {
	body, err := json.Marshal(struct {
		Type   string `json:"type"`
		Title  string `json:"title"`
		Status int    `json:"status"`
		Detail string `json:"detail"`
	}{"about:blank", title, status, detail})
	if err != nil {
		body = []byte(`{"type":"about:blank","title":"internal error","status":500}`)
	}
	if retryAfter > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(retryAfter.Seconds()))))
	}
	w.Header().Set("Content-Type", "application/problem+json")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)+1))
	w.WriteHeader(status)
	_, _ = w.Write(append(body, '\n')) // the caller went away: nothing to tell it
	return status
}
