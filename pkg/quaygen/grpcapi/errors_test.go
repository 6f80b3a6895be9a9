package grpcapi_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/quaygen/quaygen/pkg/quaygen"
	"github.com/quaygen/quaygen/pkg/quaygen/auth"
	"github.com/quaygen/quaygen/pkg/quaygen/policy"
	"github.com/quaygen/quaygen/pkg/quaygen/quay/quaytest"
	quaygenv1 "github.com/quaygen/quaygen/proto/quaygen/v1"
)

// failing is a service whose methods do what a test says.
func failing(do func(context.Context) error) *grpc.ServiceDesc { return failingAs("test.Failing", do) }

func failingAs(name string, do func(context.Context) error) *grpc.ServiceDesc {
	return &grpc.ServiceDesc{
		ServiceName: name, HandlerType: (*any)(nil),
		Methods: []grpc.MethodDesc{{MethodName: "Unary", Handler: func(server any, ctx context.Context, decode func(any) error, intercept grpc.UnaryServerInterceptor) (any, error) {
			in := &emptypb.Empty{}
			if err := decode(in); err != nil {
				return nil, err
			}
			return intercept(ctx, in, &grpc.UnaryServerInfo{Server: server, FullMethod: "/" + name + "/Unary"}, func(ctx context.Context, _ any) (any, error) {
				return &emptypb.Empty{}, do(ctx)
			})
		}}},
		Streams: []grpc.StreamDesc{{StreamName: "Stream", ServerStreams: true, Handler: func(_ any, stream grpc.ServerStream) error { return do(stream.Context()) }}},
	}
}

// fail calls both methods of it, and returns the error of both, which is the same.
func (w *world) fail(t testing.TB, client string) error {
	t.Helper()
	c := w.as(t, client)
	unary := c.Invoke(t.Context(), "/test.Failing/Unary", &emptypb.Empty{}, &emptypb.Empty{})
	stream, err := c.NewStream(t.Context(), &grpc.StreamDesc{ServerStreams: true}, "/test.Failing/Stream")
	check(t, err)
	check(t, stream.CloseSend())
	streamed := stream.RecvMsg(&emptypb.Empty{})
	reason, retry := detailsOf(t, unary)
	reasonStreamed, retryStreamed := detailsOf(t, streamed)
	if unary.Error() != streamed.Error() || reason != reasonStreamed || retry != retryStreamed {
		t.Errorf("a call of one answer ends with %v, a stream with %v", unary, streamed)
	}
	return unary
}

func TestEveryKindOfErrorIsToldByCodeReasonAndMessage(t *testing.T) {
	var give error
	inBubble(t, func(t *testing.T, w *world) {
		want := map[quaygen.Kind]codes.Code{
			quaygen.KindInternal: codes.Internal, quaygen.KindInvalid: codes.InvalidArgument, quaygen.KindUnauthenticated: codes.Unauthenticated,
			quaygen.KindDenied: codes.PermissionDenied, quaygen.KindUnknown: codes.NotFound, quaygen.KindConflict: codes.FailedPrecondition, quaygen.KindRefused: codes.FailedPrecondition,
			quaygen.KindNotReady: codes.Unavailable, quaygen.KindUnfinished: codes.DeadlineExceeded, quaygen.KindUnsupported: codes.Unimplemented, quaygen.KindTooMany: codes.ResourceExhausted,
		}
		for _, kind := range quaygen.Kinds() {
			for _, retry := range []time.Duration{0, 1500 * time.Millisecond} {
				e := &quaygen.Error{Kind: kind, Detail: "this is the matter with \u201e" + kind.String() + "\u201c", RetryAfter: retry}
				for _, give = range []error{e, fmt.Errorf("nobody else needs to know: %w", e)} {
					err := w.fail(t, "eso")
					is(t, kind.String(), err, want[kind])
					if message := status.Convert(err).Message(); message != e.Detail {
						t.Errorf("%v: the message is %q", kind, message)
					}
					if reason, after := detailsOf(t, err); reason != kind.Row().Reason || after != retry {
						t.Errorf("%v: reason %q, retry after %v", kind, reason, after)
					}
				}
			}
		}
		if len(want) != len(quaygen.Kinds()) {
			t.Errorf("%d kinds, %d codes here", len(quaygen.Kinds()), len(want))
		}
		is(t, "by nobody", w.fail(t, ""), codes.Unauthenticated)
	}, func(w *world) { w.extra = failing(func(context.Context) error { return give }) })
}

func TestAnErrorOfNoKnownKindIsLoggedAndNotTold(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		err := w.fail(t, "eso")
		is(t, "an unknown error", err, codes.Internal)
		if strings.Contains(err.Error(), "flux") {
			t.Errorf("the caller is told %q", err)
		}
		if !strings.Contains(w.log.String(), "the flux capacitor is empty") {
			t.Error("the log does not say what it was")
		}
		if reason, _ := detailsOf(t, err); reason != "INTERNAL" {
			t.Errorf("the reason is %q", reason)
		}
	}, func(w *world) {
		w.extra = failing(func(context.Context) error { return errors.New("the flux capacitor is empty") })
	})
}

// The framework's own errors, such as that of a stream whose caller went away, are as they are.
func TestAnErrorOfTheFrameworkStaysWhatItIs(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		is(t, "a status", w.fail(t, "eso"), codes.DataLoss, "as it is")
	}, func(w *world) {
		w.extra = failing(func(context.Context) error { return status.Error(codes.DataLoss, "as it is") })
	})
}

func TestAPanicIsAnInternalErrorThatTellsNothing(t *testing.T) {
	const value = "secret-of-the-panic-0123456789"
	for what, do := range map[string]func(context.Context) error{
		"a text":  func(context.Context) error { panic(value) },
		"bytes":   func(context.Context) error { panic([]byte(value)) },
		"a map":   func(context.Context) error { panic(map[string]string{value: value}) },
		"error":   func(context.Context) error { panic(errors.New(value)) },
		"runtime": func(context.Context) error { return fmt.Errorf("%v", []string{value}[len(value):][0]) },
	} {
		inBubble(t, func(t *testing.T, w *world) {
			w.mint(t, "puller")
			err := w.fail(t, "eso")
			is(t, what, err, codes.Internal, "something went wrong inside quaygen")
			log := w.log.String()
			if strings.Contains(err.Error(), value) || strings.Contains(log, value) {
				t.Errorf("%s: its value is told or logged", what)
			}
			if !strings.Contains(log, "panic") || !strings.Contains(log, "errors_test.go") {
				t.Errorf("%s: the log does not say where", what)
			}
			if n := w.requests(t, "other", "Internal"); n != 2 {
				t.Errorf("%s: counted %v times", what, n)
			}
			if n := w.underWay(t); n != 0 {
				t.Errorf("%s: %v requests are under way", what, n)
			}
			is(t, "a call afterwards", getSecret(t, w.as(t, "eso")), codes.OK)
		}, func(w *world) { w.extra = failing(do) })
	}
}

// What anybody may call is code of others, and no reason for the process to end either.
func TestAPanicOfAnOpenServiceIsAnErrorToo(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		unary := w.as(t, "").Invoke(t.Context(), "/grpc.reflection.Broken/Unary", &emptypb.Empty{}, &emptypb.Empty{})
		is(t, "one answer", unary, codes.Internal)
		stream, err := w.as(t, "").NewStream(t.Context(), &grpc.StreamDesc{ServerStreams: true}, "/grpc.reflection.Broken/Stream")
		check(t, err)
		check(t, stream.CloseSend())
		is(t, "many", stream.RecvMsg(&emptypb.Empty{}), codes.Internal)
	}, func(w *world) {
		w.extra = failingAs("grpc.reflection.Broken", func(context.Context) error { panic("broken") })
	})
}

func TestAPanicOfTheAuthenticatorLetsNobodyIn(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		var broken auth.Authenticator = func(auth.Presented) (policy.Caller, error) { panic("broken") }
		w.who.Store(&broken)
		is(t, "a call", getSecret(t, w.as(t, "eso")), codes.Internal)
		_, err := w.watch(t, w.as(t, "viewer"), "").Recv()
		is(t, "a watch", err, codes.Internal)
	})
}

// Whatever the caller makes up is one label, and whatever happens is counted once.
func TestRequestsAreCountedByConfiguredNamesAndCodes(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.mint(t, "puller")
		s := w.store(t, "all", "prod-shop")
		for range 3 {
			_, _ = s.get(t, "puller", "")
		}
		for _, name := range []string{"made-up-1", "made-up-2", "Not A Name", "quay_robots"} {
			_, _ = s.get(t, name, "")
		}
		_, _ = s.exists(t, "partner")
		_, _ = w.robotsAs(t, "manager").Rotate(t.Context(), &quaygenv1.RobotsRotateRequest{Name: "puller"})
		_ = getSecret(t, w.as(t, ""))
		watching := w.watch(t, w.as(t, "viewer"), "")
		watching.listing(t)
		if n := w.underWay(t); n != 1 {
			t.Errorf("%v requests are under way", n)
		}
		watching.cancel()
		pass(time.Second)
		for _, c := range []struct {
			name, code string
			want       float64
		}{{"puller", "OK", 5}, {"partner", "OK", 1}, {"other", "NotFound", 3}, {"other", "InvalidArgument", 1}, {"other", "Unauthenticated", 1}, {"other", "Canceled", 1}} {
			if got := w.requests(t, c.name, c.code); got != c.want {
				t.Errorf("%s %s is counted %v times, not %v", c.name, c.code, got, c.want)
			}
		}
		if n := w.underWay(t); n != 0 {
			t.Errorf("%v requests are under way", n)
		}
	})
}

// What Quay, or a proxy before it, says of a failure comes into what operators are told. A message holds only UTF-8; what
// is none must not end every listing.
func TestWhateverQuaySaysOperatorsAreAnswered(t *testing.T) {
	for _, body := range []string{"\xff\xfe\x00 broken", `{"error_message":"caf` + "\xe9" + `","message":"` + "\xc3" + `"}`, "<html>" + strings.Repeat("\u20ac", 2000), "\x1b[31mred"} {
		for _, operation := range []string{"permission.put", "robot.create", "robot.list"} {
			for _, code := range []int{400, 503} {
				inBubble(t, func(t *testing.T, w *world) {
					pass(2 * time.Minute)
					w.watch(t, w.as(t, "viewer"), "").listing(t)
					list, err := w.robotsAs(t, "viewer").List(t.Context(), &quaygenv1.RobotsListRequest{})
					if err != nil || len(list.GetRobots()) != 2 {
						t.Errorf("%s says %d %q: %v", operation, code, body[:6], err)
					}
					w.robot(t, "puller", "")
					_, err = w.store(t, "eso", "prod-shop").get(t, "puller", "")
					if reason, _ := detailsOf(t, err); err != nil && (reason == "" || reason == "INTERNAL") {
						t.Errorf("%s says %d %q: %v", operation, code, body[:6], err)
					}
				}, func(w *world) {
					w.quay.Inject(quaytest.Fault{Operation: operation, Status: code, Body: body, ContentType: "application/json"})
				})
			}
		}
	}
}
