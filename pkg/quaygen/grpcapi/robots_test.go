package grpcapi_test

import (
	"context"
	"encoding/base64"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/quaygen/quaygen/pkg/quaygen/grpcapi"
	"github.com/quaygen/quaygen/pkg/quaygen/quay/quaytest"
	quaygenv1 "github.com/quaygen/quaygen/proto/quaygen/v1"
)

func (w *world) robotsAs(t testing.TB, client string) quaygenv1.RobotsClient {
	t.Helper()
	return quaygenv1.NewRobotsClient(w.as(t, client))
}

func (w *world) robot(t testing.TB, name, namespace string) *quaygenv1.Robot {
	t.Helper()
	r, err := w.robotsAs(t, "viewer").Get(t.Context(), &quaygenv1.RobotsGetRequest{Name: name, Namespace: namespace})
	check(t, err)
	return r.GetRobot()
}

// detailsOf returns what an error says for programs.
func detailsOf(t testing.TB, err error) (reason string, retry time.Duration) {
	t.Helper()
	for _, detail := range status.Convert(err).Details() {
		switch d := detail.(type) {
		case *errdetails.ErrorInfo:
			reason = d.GetReason()
			if d.GetDomain() != grpcapi.ErrorDomain {
				t.Errorf("the domain is %q", d.GetDomain())
			}
		case *errdetails.RetryInfo:
			retry = d.GetRetryDelay().AsDuration()
		default:
			t.Errorf("a detail of type %T", d)
		}
	}
	return reason, retry
}

func TestAPullSecretInEachFormat(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.robots[1] = w.assignment(t, "partner", "lib", "gone")
		w.engine.Apply(w.robots)
		user, token := login(t, string(w.mint(t, "puller").GetData()[".dockerconfigjson"]))
		c := quaygenv1.NewPullSecretsClient(w.as(t, "all"))
		get := func(name string, format quaygenv1.Format) (*quaygenv1.PullSecret, error) {
			r, err := c.Get(t.Context(), &quaygenv1.PullSecretsGetRequest{Name: name, Namespace: "prod-shop", Format: format})
			return r.GetPullSecret(), err
		}
		for format, keys := range map[quaygenv1.Format]string{
			quaygenv1.Format_FORMAT_UNSPECIFIED: ".dockerconfigjson", quaygenv1.Format_FORMAT_DOCKERCONFIGJSON: ".dockerconfigjson",
			quaygenv1.Format_FORMAT_DOCKERCFG: ".dockercfg", quaygenv1.Format_FORMAT_BASIC: "password registry username",
		} {
			s, err := get("puller", format)
			check(t, err)
			var got []string
			for key := range s.GetData() {
				got = append(got, key)
			}
			slices.Sort(got)
			if strings.Join(got, " ") != keys {
				t.Errorf("%v has %q", format, got)
			}
			if format == quaygenv1.Format_FORMAT_BASIC && (string(s.GetData()["username"]) != user || string(s.GetData()["password"]) != token) {
				t.Errorf("%v is another credential", format)
			}
			part := s.GetCredentials()[0]
			if s.GetName() != "puller" || len(s.GetCredentials()) != 1 || len(s.GetWarnings()) != 0 || part.GetUsername() != user || part.GetRegistry() != "quay.test" ||
				part.GetRobotName() != "puller" || part.GetGeneration() <= 0 || !near(part.GetRefreshTime().AsTime().Sub(part.GetMintTime().AsTime()), 720*time.Hour) {
				t.Errorf("%v: %v, warnings %q", format, part, s.GetWarnings())
			}
		}
		_, err := get("both", quaygenv1.Format_FORMAT_UNSPECIFIED)
		check(t, err)
		pass(time.Minute) // a credential may be there a moment before all that there is to say of it
		both, err := get("both", quaygenv1.Format_FORMAT_UNSPECIFIED)
		check(t, err)
		if len(both.GetCredentials()) != 2 || both.GetCredentials()[1].GetRobotName() != "partner" || len(both.GetWarnings()) != 1 || !strings.Contains(both.GetWarnings()[0], "gone") {
			t.Errorf("both: %v, warnings %q", both.GetCredentials(), both.GetWarnings())
		}
		_, err = get("both", quaygenv1.Format_FORMAT_BASIC)
		is(t, "both as one user", err, codes.InvalidArgument, "joins several")
		_, err = get("puller", 99)
		is(t, "a format of the future", err, codes.InvalidArgument, "99")
		if reason, _ := detailsOf(t, err); reason != "INVALID_REQUEST" {
			t.Errorf("the reason is %q", reason)
		}
	})
}

// near allows for the jitter of rotations.
func near(got, want time.Duration) bool { return got <= want && got > want-want/10 }

func TestPagesShowEveryRobotThatIsThereThroughoutAndNoneTwice(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		rng := rand.New(rand.NewPCG(1, 2))
		crowd := w.crowd(t, 60)
		stays := func(i int) bool { return i%3 == 0 }
		c := w.robotsAs(t, "viewer")
		for range 20 {
			var names []string
			for token := ""; ; {
				some := slices.Clone(crowd)
				for i := len(some) - 1; i >= 0; i-- {
					if !stays(i) && rng.IntN(2) == 0 {
						some = slices.Delete(some, i, i+1)
					}
				}
				w.engine.Apply(some)
				r, err := c.List(t.Context(), &quaygenv1.RobotsListRequest{PageSize: int32(1 + rng.IntN(9)), PageToken: token})
				check(t, err)
				for _, robot := range r.GetRobots() {
					names = append(names, robot.GetName())
				}
				if token = r.GetNextPageToken(); token == "" {
					break
				}
			}
			if !slices.IsSorted(names) || len(slices.Compact(slices.Clone(names))) != len(names) {
				t.Fatalf("out of order, or twice: %q", names)
			}
			for i, robot := range crowd {
				if stays(i) && !slices.Contains(names, robot.Spec.Name) {
					t.Errorf("%s is missing", robot.Spec.Name)
				}
			}
		}
	})
}

func TestPageSizesAndTokens(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.engine.Apply(w.crowd(t, 1100))
		c := w.robotsAs(t, "viewer")
		list := func(size int32, token string) (*quaygenv1.RobotsListResponse, error) {
			return c.List(t.Context(), &quaygenv1.RobotsListRequest{PageSize: size, PageToken: token})
		}
		for size, want := range map[int32]int{0: 100, 7: 7, 1000: 1000, 1 << 30: 1000} {
			if r, err := list(size, ""); err != nil || len(r.GetRobots()) != want || r.GetNextPageToken() == "" {
				t.Errorf("a page of %d has %d robots, %v", size, len(r.GetRobots()), err)
			}
		}
		_, err := list(-1, "")
		is(t, "a negative size", err, codes.InvalidArgument, "page_size")
		for _, token := range []string{"x", "!", "crowd-0001/", base64.RawURLEncoding.EncodeToString([]byte("crowd-0001")), strings.Repeat("A", 1000)} {
			_, err := list(0, token)
			is(t, "the token "+token[:1], err, codes.InvalidArgument, "page_token")
		}
		for last, want := range map[string]int{"crowd-1098/": 1, "crowd-1098": 2, "zzz/": 0, "crowd-1099/x": 0, "/": 100, "\xff\xff/": 0} {
			if !strings.Contains(last, "/") {
				last, want = "crowd-1097/zzz", 2
			}
			r, err := list(0, base64.RawURLEncoding.EncodeToString([]byte(last)))
			if err != nil || len(r.GetRobots()) != want {
				t.Errorf("behind %q there are %d robots, %v", last, len(r.GetRobots()), err)
			}
		}
	})
}

func TestARobotIsShownAsItIs(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.mint(t, "puller")
		w.mint(t, "own")
		served := w.mint(t, "puller").GetCredentials()[0]
		r := w.robot(t, "puller", "")
		if r.GetGeneration() != served.GetGeneration() || r.GetBase() != "myorg+k8s_puller" || r.GetRegistry() != "quay" || r.GetStrategy() != quaygenv1.Strategy_STRATEGY_OVERLAP ||
			r.GetProblem() != "" || len(r.GetGenerations()) != 1 || r.GetNextRotationTime() == nil || r.GetObserveTime() == nil {
			t.Errorf("%v", r)
		}
		if g := r.GetGenerations()[0]; g.GetState() != quaygenv1.GenerationState_GENERATION_STATE_CURRENT || g.GetUsername() != served.GetUsername() || g.GetCreateTime() == nil {
			t.Errorf("%v", g)
		}
		if own := w.robot(t, "own", "prod-shop"); own.GetNamespace() != "prod-shop" || !strings.HasPrefix(own.GetGenerations()[0].GetUsername(), "myorg+k8s_own_") {
			t.Errorf("%v", own)
		}
		c := w.robotsAs(t, "viewer")
		for what, request := range map[string]*quaygenv1.RobotsGetRequest{
			"a name that is not configured": {Name: "nothing"}, "a namespace that did not ask": {Name: "own", Namespace: "prod-other"}, "a shared robot with a namespace": {Name: "puller", Namespace: "prod-shop"},
			"a name beyond measure, in characters of three bytes": {Name: strings.Repeat("\u20ac", 1000)},
		} {
			_, err := c.Get(t.Context(), request)
			is(t, what, err, codes.NotFound, "there is no robot")
			if reason, _ := detailsOf(t, err); reason != "NOT_FOUND" || len(status.Convert(err).Message()) > 200 {
				t.Errorf("%s: reason %q, %d bytes", what, reason, len(status.Convert(err).Message()))
			}
		}
		_, err := c.Get(t.Context(), &quaygenv1.RobotsGetRequest{})
		is(t, "no name", err, codes.InvalidArgument, "name is missing")
		if len(w.quay.Ever("myorg")) != 3 {
			t.Error("a look made a robot")
		}
	})
}

func TestOnlyOperatorsSeeAndSteerRobots(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.mint(t, "puller")
		calls := map[string]func(quaygenv1.RobotsClient) error{
			"List": func(c quaygenv1.RobotsClient) error {
				_, err := c.List(t.Context(), &quaygenv1.RobotsListRequest{})
				return err
			},
			"Get": func(c quaygenv1.RobotsClient) error {
				_, err := c.Get(t.Context(), &quaygenv1.RobotsGetRequest{Name: "puller"})
				return err
			},
			"Watch": func(c quaygenv1.RobotsClient) error {
				stream, err := c.Watch(t.Context(), &quaygenv1.RobotsWatchRequest{})
				check(t, err)
				_, err = stream.Recv()
				return err
			},
			"Rotate": func(c quaygenv1.RobotsClient) error {
				_, err := c.Rotate(t.Context(), &quaygenv1.RobotsRotateRequest{Name: "puller"})
				return err
			},
			"Revoke": func(c quaygenv1.RobotsClient) error {
				_, err := c.Rotate(t.Context(), &quaygenv1.RobotsRotateRequest{Name: "puller", Revoke: true})
				return err
			},
			"Retire": func(c quaygenv1.RobotsClient) error {
				_, err := c.Retire(t.Context(), &quaygenv1.RobotsRetireRequest{Name: "puller", Generation: 1})
				return err
			},
		}
		for method, call := range calls {
			for _, client := range []string{"eso", "all", "team-a", "stranger"} {
				is(t, client+" asks for "+method, call(w.robotsAs(t, client)), codes.PermissionDenied, "operator")
			}
			is(t, "nobody asks for "+method, call(w.robotsAs(t, "")), codes.Unauthenticated)
			want := codes.OK
			if slices.Contains([]string{"Rotate", "Revoke", "Retire"}, method) {
				want = codes.PermissionDenied
			}
			is(t, "the viewer asks for "+method, call(w.robotsAs(t, "viewer")), want)
		}
		if n := len(w.quay.Ever("myorg")); n != 2 {
			t.Errorf("there were %d robots: somebody rotated", n)
		}
	})
}

func TestRotateReturnsWhenTheNewGenerationIsServed(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		before := w.mint(t, "puller").GetCredentials()[0]
		c := w.robotsAs(t, "manager")
		r, err := c.Rotate(t.Context(), &quaygenv1.RobotsRotateRequest{Name: "puller"})
		check(t, err)
		now := w.mint(t, "puller").GetCredentials()[0]
		if r.GetRobot().GetGeneration() <= before.GetGeneration() || now.GetGeneration() != r.GetRobot().GetGeneration() || r.RevokedThrough != nil || len(r.GetRobot().GetGenerations()) != 2 {
			t.Errorf("from %d to %v, served is %d", before.GetGeneration(), r, now.GetGeneration())
		}
		_, err = c.Rotate(t.Context(), &quaygenv1.RobotsRotateRequest{Name: "puller"})
		is(t, "once more", err, codes.FailedPrecondition)
		if reason, retry := detailsOf(t, err); reason != "CONFLICT" || retry < time.Hour || retry > 200*time.Hour {
			t.Errorf("reason %q, retry after %v", reason, retry)
		}
		for what, request := range map[string]*quaygenv1.RobotsRotateRequest{
			"revoke_through alone":    {Name: "puller", RevokeThrough: proto.Int64(1)},
			"revoke_through negative": {Name: "puller", Revoke: true, RevokeThrough: proto.Int64(-1)},
		} {
			_, err := c.Rotate(t.Context(), request)
			is(t, what, err, codes.InvalidArgument, "revoke_through")
		}
		_, err = c.Rotate(t.Context(), &quaygenv1.RobotsRotateRequest{Name: "nothing", Revoke: true})
		is(t, "what is not configured", err, codes.NotFound)
	})
}

func TestRevokeReturnsWhenWhatItEndsIsGone(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		first := w.mint(t, "puller").GetCredentials()[0]
		c := w.robotsAs(t, "manager")
		_, err := c.Rotate(t.Context(), &quaygenv1.RobotsRotateRequest{Name: "puller"})
		check(t, err)
		second := w.mint(t, "puller").GetCredentials()[0]
		r, err := c.Rotate(t.Context(), &quaygenv1.RobotsRotateRequest{Name: "puller", Revoke: true})
		check(t, err)
		left := w.generations("k8s_puller")
		if r.GetRevokedThrough() < second.GetGeneration() || len(left) != 1 || left[0] == first.GetUsername() || left[0] == second.GetUsername() {
			t.Errorf("revoked through %d, left is %q", r.GetRevokedThrough(), left)
		}
		again, err := c.Rotate(t.Context(), &quaygenv1.RobotsRotateRequest{Name: "puller", Revoke: true, RevokeThrough: r.RevokedThrough})
		check(t, err)
		if now := w.generations("k8s_puller"); again.GetRevokedThrough() != r.GetRevokedThrough() || !slices.Equal(left, now) {
			t.Errorf("repeated, it went through %d and left %q", again.GetRevokedThrough(), now)
		}
		_, err = c.Rotate(t.Context(), &quaygenv1.RobotsRotateRequest{Name: "puller", Revoke: true, RevokeThrough: proto.Int64(1 << 60)})
		is(t, "through what cannot exist yet", err, codes.NotFound)
	})
}

func TestRetireEndsWhatIsSupersededAndNothingElse(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		first := w.mint(t, "puller").GetCredentials()[0]
		c := w.robotsAs(t, "manager")
		retire := func(n int64) (*quaygenv1.Robot, error) {
			r, err := c.Retire(t.Context(), &quaygenv1.RobotsRetireRequest{Name: "puller", Generation: n})
			return r.GetRobot(), err
		}
		_, err := retire(first.GetGeneration())
		is(t, "what is served", err, codes.FailedPrecondition)
		if reason, _ := detailsOf(t, err); reason != "CONFLICT" {
			t.Errorf("the reason is %q", reason)
		}
		_, err = retire(1)
		is(t, "what there is not", err, codes.NotFound)
		for _, n := range []int64{0, -5} {
			_, err = retire(n)
			is(t, "no number", err, codes.InvalidArgument, "generation is missing")
		}
		_, err = c.Rotate(t.Context(), &quaygenv1.RobotsRotateRequest{Name: "puller"})
		check(t, err)
		r, err := retire(first.GetGeneration())
		check(t, err)
		if left := w.generations("k8s_puller"); len(left) != 1 || left[0] == first.GetUsername() || len(r.GetGenerations()) != 1 {
			t.Errorf("left is %q: %v", left, r)
		}
	})
}

// generations are the robots in Quay that are made from a name, as users.
func (w *world) generations(short string) []string {
	var out []string
	for _, r := range w.quay.Robots("myorg") {
		if strings.HasPrefix(r.Short, short+"_g") {
			out = append(out, "myorg+"+r.Short)
		}
	}
	return out
}

func TestAnOrderWhoseCallerLeavesIsNoErrorOfOursAndGoesOn(t *testing.T) {
	for _, test := range []struct {
		code  codes.Code
		leave func(context.Context) (context.Context, context.CancelFunc)
	}{
		{codes.DeadlineExceeded, func(ctx context.Context) (context.Context, context.CancelFunc) {
			return context.WithTimeout(ctx, 10*time.Second)
		}},
		{codes.Canceled, func(ctx context.Context) (context.Context, context.CancelFunc) {
			ctx, cancel := context.WithCancel(ctx)
			time.AfterFunc(10*time.Second, cancel)
			return ctx, cancel
		}},
	} {
		inBubble(t, func(t *testing.T, w *world) {
			before := w.mint(t, "puller").GetCredentials()[0]
			mended := w.quay.Inject(quaytest.Fault{Operation: "robot.create", Status: 503})
			ctx, cancel := test.leave(t.Context())
			defer cancel()
			_, err := w.robotsAs(t, "manager").Rotate(ctx, &quaygenv1.RobotsRotateRequest{Name: "puller"})
			is(t, "who leaves", err, test.code)
			pass(time.Second)
			if strings.Contains(w.log.String(), "call failed") {
				t.Error("the log makes a failure of it")
			}
			n := w.requests(t, "puller", "Canceled")
			if test.code == codes.DeadlineExceeded { // the caller says that it leaves at the moment when its time is over
				n += w.requests(t, "puller", "DeadlineExceeded")
			}
			if n != 1 {
				t.Errorf("%v is counted %v times", test.code, n)
			}
			mended()
			pass(10 * time.Minute)
			if now := w.robot(t, "puller", ""); now.GetGeneration() <= before.GetGeneration() {
				t.Error("the rotation did not go on")
			}
		})
	}
}
