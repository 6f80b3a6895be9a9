package grpcapi

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/protoadapt"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/quaygen/quaygen/pkg/quaygen"
	"github.com/quaygen/quaygen/pkg/quaygen/auth"
	"github.com/quaygen/quaygen/pkg/quaygen/policy"
	"github.com/quaygen/quaygen/pkg/quaygen/tracing"
)

// ErrorDomain is the domain of the reasons in google.rpc.ErrorInfo.
const ErrorDomain = "quaygen.dev"

// transport is this way in, in metrics and in the audit trail.
const transport = "grpc"

// call is what is known of a call while it is answered.
type call struct {
	caller policy.Caller
	name   string // of the pull secret or robot it is about, once that is known
	waits  bool   // it takes as long as what it asks for takes

	method    string           // as the framework calls it
	namespace string           // it is about, once that is known and if there is one
	traced    *tracing.Request // nil: it is not
}

type callKey struct{}

// of returns the call that a handler's context belongs to.
func of(ctx context.Context) *call {
	c, _ := ctx.Value(callKey{}).(*call)
	if c == nil {
		return &call{} // nobody; may have nothing
	}
	return c
}

// Services that anybody may call: they tell nothing about robots.
var open = []string{"/grpc.health.v1.Health/", "/grpc.reflection."}

func isOpen(method string) bool {
	for _, prefix := range open {
		if strings.HasPrefix(method, prefix) {
			return true
		}
	}
	return false
}

// unary answers one call: it finds out who calls, and translates and counts what comes of it.
func (s *Server) unary(ctx context.Context, request any, info *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
	if isOpen(info.FullMethod) {
		return s.guarded(ctx, &call{}, func() (any, error) { return handle(ctx, request) })
	}
	start := time.Now()
	c := &call{method: info.FullMethod, traced: s.Traces.Begin(start)}
	s.Metrics.Begin()
	answer, err := s.guarded(ctx, c, func() (any, error) {
		ctx, leave, err := s.enter(ctx, c)
		if err != nil {
			return nil, err
		}
		defer leave()
		return handle(context.WithValue(ctx, callKey{}, c), request)
	})
	name, code := s.Service.Label(c.name), status.Code(err).String()
	c.endTrace(name, status.Code(err))
	if c.waits {
		s.Metrics.EndWait(transport, name, code)
	} else {
		s.Metrics.End(transport, name, code, time.Since(start))
	}
	return answer, err
}

// stream does the same for a call whose answers are many.
func (s *Server) stream(server any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handle grpc.StreamHandler) error {
	ctx := stream.Context()
	if isOpen(info.FullMethod) {
		until, cancel := s.untilDrained(ctx) // who watches the server's health would keep it from ending
		defer cancel()
		_, err := s.guarded(ctx, &call{}, func() (any, error) { return nil, handle(server, &known{stream, until}) })
		return err
	}
	c := &call{method: info.FullMethod, traced: s.Traces.Begin(time.Now())}
	s.Metrics.Begin()
	_, err := s.guarded(ctx, c, func() (any, error) {
		ctx, leave, err := s.enter(ctx, c)
		if err != nil {
			return nil, err
		}
		defer leave()
		return nil, handle(server, &known{stream, context.WithValue(ctx, callKey{}, c)})
	})
	c.endTrace(s.Service.Label(c.name), status.Code(err))
	s.Metrics.EndWait(transport, s.Service.Label(""), status.Code(err).String())
	return err
}

// guarded does what a call asks for, and translates its error; a panic is one too.
func (s *Server) guarded(ctx context.Context, c *call, do func() (any, error)) (answer any, err error) {
	defer func() {
		if p := recover(); p != nil {
			answer, err = nil, s.panicked(c.traced.In(ctx), p)
		}
		err = s.told(c.traced.In(ctx), err)
	}()
	return do()
}

// enter lets an authenticated caller in that has not asked for too much, and returns the context for the answer.
func (s *Server) enter(ctx context.Context, c *call) (_ context.Context, leave func(), err error) {
	if c.caller, err = s.who(ctx, c); err != nil {
		return ctx, nil, err
	}
	ctx = c.known(ctx)
	leave, err = s.Service.Admit(c.caller)
	return ctx, leave, err
}

// known is a stream with a context of its own: it says who calls, or when to end.
type known struct {
	grpc.ServerStream
	ctx context.Context //nolint:containedctx // it is how a stream hands its context to the handler
}

func (k *known) Context() context.Context { return k.ctx }

func (s *Server) panicked(ctx context.Context, p any) error {
	// The value could hold anything; where it happened is enough.
	s.Log.ErrorContext(ctx, "a call made the handler panic", "type", fmt.Sprintf("%T", p), "stack", string(debug.Stack()))
	return &quaygen.Error{Kind: quaygen.KindInternal, Detail: "something went wrong inside quaygen; its log says what"}
}

// who finds out who calls, by token or by certificate.
func (s *Server) who(ctx context.Context, c *call) (policy.Caller, error) {
	presented := auth.Presented{Authorization: metadata.ValueFromIncomingContext(ctx, "authorization"), Reviewed: c.traced.Reviewed()}
	from, connected := peer.FromContext(ctx)
	if connected {
		presented.From = from.Addr.String()
		if info, ok := from.AuthInfo.(credentials.TLSInfo); ok && len(info.State.VerifiedChains) > 0 {
			presented.Certificate = info.State.VerifiedChains[0][0]
		}
	}
	address := "unknown"
	if connected {
		address = presented.From
	}
	caller, err := s.Authenticate(presented)
	if err == nil {
		caller.Transport, caller.From = transport, address
		return caller, nil
	}
	ctx = c.stranger(ctx)
	if errors.Is(err, auth.ErrGuessing) { // whoever counts them has told the operator
		return policy.Caller{}, &quaygen.Error{Kind: quaygen.KindTooMany, Detail: "too many failed attempts to authenticate from this address", RetryAfter: auth.GuessAfter}
	}
	s.Log.WarnContext(ctx, "caller not authenticated", "from", address, "reason", err)
	s.Service.RefuseStranger(transport, address, err)
	if errors.Is(err, auth.ErrUnavailable) {
		return policy.Caller{}, &quaygen.Error{Kind: quaygen.KindNotReady, Detail: "the token cannot be checked now; ask again", RetryAfter: auth.RetryAfter}
	}
	return policy.Caller{}, &quaygen.Error{Kind: quaygen.KindUnauthenticated, Detail: "a client certificate or bearer token of a configured client is needed"}
}

// codesByName translates the names in the table of errors.
var codesByName = func() map[string]codes.Code {
	byName := map[string]codes.Code{}
	for _, kind := range quaygen.Kinds() {
		var code codes.Code
		if err := code.UnmarshalJSON([]byte(`"` + kind.Row().GRPC + `"`)); err != nil {
			panic("internal error: " + err.Error())
		}
		byName[kind.Row().GRPC] = code
	}
	return byName
}()

// told translates an error into what the caller is told, whose context this is.
func (s *Server) told(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	if _, ok := status.FromError(err); ok {
		return err // of the framework
	}
	e := quaygen.AsError(err)
	switch ended := ctx.Err(); {
	case errors.Is(ended, context.Canceled), ended != nil && e.Kind == quaygen.KindInternal:
		return status.FromContextError(ended).Err() // the caller went away, or does not wait any longer
	case e.Kind == quaygen.KindUnfinished && s.drained.Err() != nil:
		e = &quaygen.Error{Kind: quaygen.KindNotReady, Detail: "this server ends; " + e.Detail, RetryAfter: time.Second}
	}
	if e.Kind == quaygen.KindInternal {
		s.Log.ErrorContext(ctx, "call failed", "error", err)
	}
	row := e.Kind.Row()
	details := []protoadapt.MessageV1{&errdetails.ErrorInfo{Reason: row.Reason, Domain: ErrorDomain}}
	if e.RetryAfter > 0 {
		details = append(details, &errdetails.RetryInfo{RetryDelay: durationpb.New(e.RetryAfter)})
	}
	st := status.New(codesByName[row.GRPC], e.Detail)
	if detailed, err := st.WithDetails(details...); err == nil {
		st = detailed
	}
	return st.Err()
}
