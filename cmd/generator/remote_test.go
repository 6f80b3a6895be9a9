package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/protoadapt"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/quaygen/quaygen/pkg/quaygen"
	"github.com/quaygen/quaygen/pkg/quaygen/certificate/certificatetest"
	quaygenv1 "github.com/quaygen/quaygen/proto/quaygen/v1"
)

func TestWrongFlagsAreNamed(t *testing.T) {
	dir := t.TempDir()
	o := &operated{t: t, dir: dir}
	o.write("short", []byte("secret"))
	o.write("empty", nil)
	for args, says := range map[string]string{
		"status --server somewhere":                                      "--server \"somewhere\" is not host:port",
		"status --server https://somewhere:9443":                         "--server",
		"status --server 10.0.0.1:9443 --plaintext":                      "--plaintext is for loopback addresses only",
		"status --server example.com:9443 --plaintext":                   "--plaintext is for loopback addresses only",
		"status --plaintext --ca-file x":                                 "--ca-file has no meaning",
		"status --cert-file x":                                           "--cert-file and --key-file",
		"status --cert-file x --key-file y":                              "--cert-file x, --key-file y",
		"status --ca-file " + o.file("missing"):                          "--ca-file",
		"status --ca-file " + o.file("empty"):                            "holds no certificate",
		"status --token-file " + o.file("missing"):                       "--token-file",
		"status --token-file " + o.file("short"):                         "--token-file",
		"status --output xml":                                            "-o \"xml\"",
		"status --color sometimes":                                       "--color \"sometimes\"",
		"status one two":                                                 "accepts at most 1 arg",
		"watch --srver x":                                                "unknown flag: --srver",
		"rotate":                                                         "accepts 1 arg",
		"rotate prod-puller --through 5":                                 "--through has a meaning with --revoke only",
		"rotate prod-puller --revoke --through -5":                       "--through -5",
		"rotate prod-puller --timeout -5s":                               "--timeout -5s",
		"retire prod-puller":                                             "accepts 2 arg",
		"retire prod-puller oldest":                                      "GENERATION is a number",
		"retire all --config x":                                          "accepts 2 arg",
		"retire --al --config x":                                         "unknown flag: --al",
		"retire --all":                                                   "--all needs --config FILE",
		"retire --all --config x prod-puller 5":                          "--all is for every generation",
		"retire --all --config x --server 127.0.0.1:9443":                "--server is for a running server",
		"retire --all --config x --namespace prod":                       "--namespace is for a running server",
		"retire --all --config x --dry-run --yes":                        "--dry-run deletes nothing",
		"retire --all --config x -o yaml":                                "-o yaml is not for --all",
		"retire prod-puller 5 --dry-run":                                 "--dry-run belongs to --all",
		"retire prod-puller 5 --yes":                                     "--yes belongs to --all",
		"retire prod-puller 5 --config x":                                "--config belongs to --all",
		"retire prod-puller --server=127.0.0.1:1 --timeout=1s -- -12345": "GENERATION is a number",
	} {
		code, stdout, stderr := o.bare(strings.Fields(args)...)
		if code != exitUsage || !strings.Contains(stderr, says) || stdout != "" || strings.Contains(stderr, "secret") {
			t.Errorf("generator %s: %d %s", args, code, stderr)
		}
	}
}

func TestTheEnvironmentStandsForFlagsThatAreNotGiven(t *testing.T) {
	o := operate(t, newScripted(fleet()...), nil)
	t.Setenv("QUAYGEN_SERVER", o.address)
	t.Setenv("QUAYGEN_CA_FILE", o.file("ca.crt"))
	t.Setenv("QUAYGEN_TOKEN_FILE", o.file("token"))
	t.Setenv("QUAYGEN_SERVER_NAME", "")
	if code, _, stderr := o.bare("status"); code != exitOK {
		t.Errorf("%d %s", code, stderr)
	}
	if code, _, stderr := o.bare("status", "--token-file", o.file("missing")); code != exitUsage || !strings.Contains(stderr, "missing") {
		t.Errorf("a flag does not win: %d %s", code, stderr)
	}
	// What the environment says of certificates is not meant where plaintext is asked for by hand.
	if code, _, stderr := o.bare("status", "--plaintext"); code != exitFailed || !strings.Contains(stderr, "leave out --plaintext") {
		t.Errorf("plaintext by hand: %d %s", code, stderr)
	}
	t.Setenv("QUAYGEN_PLAINTEXT", "perhaps")
	if code, _, stderr := o.bare("status"); code != exitUsage || !strings.Contains(stderr, "QUAYGEN_PLAINTEXT (--plaintext)") {
		t.Errorf("%d %s", code, stderr)
	}
	if _, stdout, _ := o.bare("rotate", "--help"); !strings.Contains(stdout, "$QUAYGEN_KEY_FILE") || !strings.Contains(stdout, "wins") {
		t.Errorf("the help does not say so:\n%s", stdout)
	}
}

func TestOnLoopbackPlaintextIsPossible(t *testing.T) {
	o := operate(t, newScripted(fleet()...), func(*certificatetest.Pair, *tls.Config) *tls.Config { return nil })
	_, port, _ := net.SplitHostPort(o.address)
	for _, address := range []string{o.address, "localhost:" + port} {
		if code, _, stderr := o.bare("status", "--server", address, "--plaintext", "--token-file", o.file("token")); code != exitOK {
			t.Errorf("%s: %d %s", address, code, stderr)
		}
	}
}

func TestAConnectionThatCannotBeUsedIsExplainedWithTheFlagThatHelps(t *testing.T) {
	signed := func(changes ...certificatetest.Change) func(*certificatetest.Pair, *tls.Config) *tls.Config {
		return func(a *certificatetest.Pair, c *tls.Config) *tls.Config {
			c.Certificates = []tls.Certificate{*a.Issue("server", changes...).TLS()}
			return c
		}
	}
	asking := func(a *certificatetest.Pair, c *tls.Config) *tls.Config {
		c.ClientAuth, c.ClientCAs = tls.RequireAndVerifyClientCert, a.Pool()
		return c
	}
	asking12 := func(a *certificatetest.Pair, c *tls.Config) *tls.Config {
		c.MaxVersion = tls.VersionTLS12
		return asking(a, c)
	}
	stranger := certificatetest.Authority("stranger")
	expired := certificatetest.Until(time.Now().Add(-time.Minute))
	for name, c := range map[string]struct {
		server func(*certificatetest.Pair, *tls.Config) *tls.Config
		args   string
		says   string // empty: it works
	}{
		"all is well":       {args: "--server ADDRESS --ca-file DIR/ca.crt"},
		"no authority":      {args: "--server ADDRESS", says: "give the authority's certificate with --ca-file"},
		"another authority": {args: "--server ADDRESS --ca-file DIR/stranger.crt", says: "is not from an authority in --ca-file"},
		"another name": {
			server: signed(certificatetest.ForServers(operatedName)), args: "--server ADDRESS --ca-file DIR/ca.crt",
			says: "is for quaygen.example.com, not for \"127.0.0.1\": connect to a name that it has, or say with --server-name",
		},
		"another name that is known": {server: signed(certificatetest.ForServers(operatedName)), args: "--server ADDRESS --ca-file DIR/ca.crt --server-name quaygen.example.com"},
		"expired": {
			server: signed(certificatetest.ForServers(operatedHosts...), expired), args: "--server ADDRESS --ca-file DIR/ca.crt",
			says: "which is not now: the server needs another one",
		},
		"a certificate is asked for":               {server: asking, args: "--server ADDRESS --ca-file DIR/ca.crt", says: "give one with --cert-file and --key-file"},
		"a certificate is asked for, in TLS 1.2":   {server: asking12, args: "--server ADDRESS --ca-file DIR/ca.crt", says: "give one with --cert-file and --key-file"},
		"a certificate is asked for and given":     {server: asking, args: "--server ADDRESS --ca-file DIR/ca.crt --cert-file DIR/client.crt --key-file DIR/client.key"},
		"a certificate of another authority":       {server: asking, args: "--server ADDRESS --ca-file DIR/ca.crt --cert-file DIR/stranger.crt --key-file DIR/stranger.key", says: "does not accept the certificate in --cert-file"},
		"a plaintext server":                       {server: func(*certificatetest.Pair, *tls.Config) *tls.Config { return nil }, args: "--server ADDRESS", says: "does not speak TLS: is --server right? On loopback, --plaintext goes without"},
		"plaintext to a server with TLS":           {args: "--server ADDRESS --plaintext", says: "speak TLS: leave out --plaintext"},
		"no server":                                {args: "--server 127.0.0.1:1", says: "127.0.0.1:1 cannot be reached: dial tcp 127.0.0.1:1: connect: connection refused; is the server running, and --server right?"},
		"a name that leads nowhere":                {args: "--server nowhere.invalid:9443", says: "is the server running, and --server right?"},
		"the port for HTTP":                        {args: "--server HTTP --plaintext", says: "does not speak gRPC: does --server name the port of server.grpc?"},
		"the port for HTTPS":                       {args: "--server HTTPS --ca-file DIR/https.crt", says: "speaks TLS but not gRPC: does --server name the port of server.grpc?"},
		"the port for HTTP, where TLS is expected": {args: "--server HTTP", says: "does not speak TLS"},
	} {
		t.Run(name, func(t *testing.T) {
			o := operate(t, newScripted(fleet()...), c.server)
			plain := httptest.NewServer(http.NotFoundHandler())
			defer plain.Close()
			secure := httptest.NewUnstartedServer(http.NotFoundHandler())
			secure.Config.ErrorLog = log.New(io.Discard, "", 0)
			secure.StartTLS()
			defer secure.Close()
			o.write("https.crt", (&certificatetest.Pair{Certificate: secure.Certificate()}).CertPEM())
			o.write("stranger.crt", stranger.CertPEM())
			if strings.Contains(c.args, "stranger.key") {
				theirs := stranger.Issue("somebody", certificatetest.ForClients)
				o.write("stranger.crt", theirs.CertPEM())
				o.write("stranger.key", theirs.KeyPEM())
			}
			args := strings.NewReplacer("ADDRESS", o.address, "DIR", o.dir, "HTTPS", secure.Listener.Addr().String(), "HTTP", plain.Listener.Addr().String()).Replace(c.args)
			code, stdout, stderr := o.bare(append([]string{"status", "--token-file", o.file("token")}, strings.Fields(args)...)...)
			t.Log(stderr)
			switch {
			case c.says == "" && (code != exitOK || stdout == ""):
				t.Errorf("%d %s", code, stderr)
			case c.says != "" && (code != exitFailed || !strings.Contains(stderr, c.says)):
				t.Errorf("%d %s", code, stderr)
			}
			if noise(stderr) || strings.Count(stderr, "\n") > 1 {
				t.Errorf("this is no sentence: %s", stderr)
			}
		})
	}
}

// noise reports gRPC's own words.
func noise(text string) bool {
	for _, word := range []string{"rpc error", "desc =", "code =", "transport:"} {
		if strings.Contains(text, word) {
			return true
		}
	}
	return false
}

// failing answers everything with one error.
type failing struct {
	quaygenv1.UnimplementedRobotsServer
	err error
}

func (f failing) List(context.Context, *quaygenv1.RobotsListRequest) (*quaygenv1.RobotsListResponse, error) {
	return nil, f.err
}

func TestAServersErrorExitsLikeTheSameErrorHere(t *testing.T) {
	for _, kind := range quaygen.Kinds() {
		var code codes.Code
		if err := code.UnmarshalJSON([]byte(`"` + kind.Row().GRPC + `"`)); err != nil {
			t.Fatal(err)
		}
		o := operate(t, failing{err: detailed(code, kind.Row().Reason, "no")}, nil)
		if got, _, stderr := o.try("status"); got != exitCode(&quaygen.Error{Kind: kind}) {
			t.Errorf("%v of a server exits with %d: %s", kind, got, stderr)
		}
	}
	for code := codes.Code(1); code <= codes.Unauthenticated; code++ {
		want := exitFailed
		switch code {
		case codes.NotFound:
			want = exitNotFound
		case codes.PermissionDenied, codes.Unauthenticated:
			want = exitDenied
		case codes.InvalidArgument:
			want = exitUsage
		default:
		}
		o := operate(t, failing{err: detailed(code, "MOODY", "the robot is not in the mood")}, nil)
		got, stdout, stderr := o.try("status")
		if got != want || stdout != "" || noise(stderr) || strings.Count(stderr, "\n") != 1 {
			t.Errorf("%v exits with %d, not %d: %s", code, got, want, stderr)
		}
		if !strings.Contains(stderr, "not in the mood (MOODY); it can be repeated in 90m, at 2026-11-26T13:30:00Z") {
			t.Errorf("%v: %s", code, stderr)
		}
	}
}

// detailed is an error with all that the contract gives one.
func detailed(code codes.Code, reason, message string) error {
	st, err := status.New(code, message).WithDetails(
		protoadapt.MessageV1Of(&errdetails.ErrorInfo{Domain: "quaygen.dev", Reason: reason}),
		protoadapt.MessageV1Of(&errdetails.RetryInfo{RetryDelay: durationpb.New(90 * time.Minute)}),
	)
	if err != nil {
		return fmt.Errorf("making an error: %w", err)
	}
	return st.Err()
}

func TestWhoDoesNotSayWhoTheyAreLearnsHow(t *testing.T) {
	o := operate(t, newScripted(), nil)
	code, _, stderr := o.bare("status", "--server", o.address, "--ca-file", o.file("ca.crt"))
	if code != exitDenied || !strings.Contains(stderr, "no client has this token; say who you are with --token-file, or with --cert-file and --key-file") {
		t.Errorf("%d %s", code, stderr)
	}
	o.write("token", []byte("another-0123456789abcdef"))
	code, _, stderr = o.try("status")
	if code != exitDenied || stderr != "generator: no client has this token\n" {
		t.Errorf("%d %s", code, stderr)
	}
}
