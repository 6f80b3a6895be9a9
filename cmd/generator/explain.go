package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/quaygen/quaygen/pkg/quaygen/grpcapi"
)

// callError is a call to a server that failed, in words for people. It wraps gRPC's error, whose code decides on the exit code.
type callError struct {
	text  string
	cause error
}

func (e *callError) Error() string { return e.text }

func (e *callError) Unwrap() error { return e.cause }

// explain says what went wrong with a call and what to do about it, without gRPC's own words.
func (s *session) explain(err error) error {
	st, ok := status.FromError(err)
	if err == nil || !ok {
		return err
	}
	return &callError{text: s.words(st), cause: err}
}

func (s *session) words(st *status.Status) string {
	if len(st.Details()) == 0 {
		if text, ok := s.ownWords(st); ok {
			return text
		}
	}
	said := clean(st.Message())
	if said == "" {
		said = s.server + " answered with the error " + strings.ToLower(st.Code().String())
	}
	if st.Code() == codes.Unauthenticated && s.tokenFile == "" && s.certFile == "" {
		said += "; say who you are with --token-file, or with --cert-file and --key-file"
	}
	if reason := reasonOf(st); reason != "" {
		said += " (" + clean(reason) + ")"
	}
	if wait := retryOf(st); wait > 0 {
		said += fmt.Sprintf("; it can be repeated in %s, at %s", span(wait), stamp(s.now().Add(wait)))
	}
	return said
}

// ownWords tells about an error that gRPC made, here or at the server, before or after the server's own code had its say.
func (s *session) ownWords(st *status.Status) (string, bool) {
	problem, reached := s.link.state()
	said := clean(st.Message())
	reason := bare(said)
	switch code := st.Code(); {
	case code == codes.Unavailable && problem != nil:
		return s.connectionProblem(problem), true
	case code == codes.Unavailable && !reached:
		return fmt.Sprintf("%s cannot be reached: %s; is the server running, and --server right?", s.server, reason), true
	case code == codes.Unavailable && reason != said:
		return fmt.Sprintf("the connection to %s broke: %s", s.server, reason), true
	case code == codes.DeadlineExceeded:
		return s.server + " did not answer in time", true
	case code == codes.Canceled:
		return "interrupted", true
	case code == codes.Unimplemented:
		return s.server + " does not know this call: it is no quaygen, or an older one; see --server", true
	}
	return "", false
}

// connectionProblem tells about a connection that cannot be used, and which flag may help.
func (s *session) connectionProblem(problem error) string {
	var (
		authority x509.UnknownAuthorityError
		name      x509.HostnameError
		invalid   x509.CertificateInvalidError
		record    tls.RecordHeaderError
		operation *net.OpError
	)
	switch {
	case errors.As(problem, &authority):
		if s.caFile != "" {
			return fmt.Sprintf("the certificate of %s is not from an authority in --ca-file %s", s.server, s.caFile)
		}
		return fmt.Sprintf("the certificate of %s is from an authority that this system does not know: give the authority's certificate with --ca-file", s.server)
	case errors.As(problem, &name):
		return fmt.Sprintf("the certificate of %s is for %s, not for %q: connect to a name that it has, or say with --server-name which one it must have",
			s.server, namesIn(name.Certificate), name.Host)
	case errors.As(problem, &invalid) && invalid.Reason == x509.Expired:
		return fmt.Sprintf("the certificate of %s is valid from %s to %s, which is not now: the server needs another one (server.tls in its configuration), or a clock is wrong; no flag helps",
			s.server, stamp(invalid.Cert.NotBefore), stamp(invalid.Cert.NotAfter))
	case errors.As(problem, &record):
		return fmt.Sprintf("%s does not speak TLS: is --server right? On loopback, --plaintext goes without", s.server)
	case errors.As(problem, &operation) && operation.Op == alert:
		return s.alertText(operation.Err.Error())
	case errors.Is(problem, errSpeaksTLS):
		return s.server + " speaks TLS: leave out --plaintext"
	case errors.Is(problem, errSilent):
		return s.server + " hangs up without a word, as servers do that speak TLS: leave out --plaintext"
	case errors.Is(problem, errSpeaksOther):
		return s.server + " does not speak gRPC: does --server name the port of server.grpc?"
	case errors.Is(problem, errLeavesMachine):
		return fmt.Sprintf("--plaintext is for loopback addresses only, and %s is none on this machine", s.server)
	case errors.Is(problem, context.DeadlineExceeded):
		return s.server + " accepts connections but does not speak TLS: is --server right?"
	}
	return fmt.Sprintf("no secure connection to %s: %s; is --server right?", s.server, clean(problem.Error()))
}

// alertText tells about an alert of the server. Alerts have a number and no type that could be asked for it.
func (s *session) alertText(alert string) string {
	alert = strings.TrimPrefix(alert, "tls: ")
	switch {
	case alert == "no application protocol":
		return s.server + " speaks TLS but not gRPC: does --server name the port of server.grpc?"
	case s.certFile == "":
		return fmt.Sprintf("%s asks for a client certificate: give one with --cert-file and --key-file (it says: %s)", s.server, alert)
	}
	return fmt.Sprintf("%s does not accept the certificate in --cert-file %s (it says: %s)", s.server, s.certFile, alert)
}

func namesIn(c *x509.Certificate) string {
	names := c.DNSNames
	for _, ip := range c.IPAddresses {
		names = append(names, ip.String())
	}
	if len(names) == 0 {
		return "no name at all"
	}
	return strings.Join(names, ", ")
}

// bare takes gRPC's wrapping off a reason: `connection error: desc = "transport: Error while dialing: dial tcp ..."`.
func bare(text string) string {
	for {
		before := text
		for _, prefix := range []string{"last connection error: ", "last resolver error: ", "connection error: desc = ", "transport: ", "Error while dialing: ", "error reading from server: "} {
			text = strings.TrimPrefix(text, prefix)
		}
		if unquoted, err := strconv.Unquote(text); err == nil {
			text = unquoted
		}
		if text == before {
			return text
		}
	}
}

// clean makes what somebody else wrote safe to print on one line of a terminal.
func clean(text string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t':
			return ' '
		case !strconv.IsPrint(r):
			return '\uFFFD'
		}
		return r
	}, strings.TrimSpace(text))
}

// reasonOf returns the reason that a server of ours gives in an error's details; empty where there is none.
func reasonOf(st *status.Status) string {
	for _, d := range st.Details() {
		if info, ok := d.(*errdetails.ErrorInfo); ok && info.GetDomain() == grpcapi.ErrorDomain {
			return info.GetReason()
		}
	}
	return ""
}

// retryOf returns when asking again makes sense; 0 where the server does not say.
func retryOf(st *status.Status) time.Duration {
	for _, d := range st.Details() {
		if info, ok := d.(*errdetails.RetryInfo); ok {
			return max(0, info.GetRetryDelay().AsDuration())
		}
	}
	return 0
}
