package config_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/quaygen/quaygen/pkg/quaygen/certificate/certificatetest"
	"github.com/quaygen/quaygen/pkg/quaygen/config"
)

const withFiles = `
apiVersion: quaygen.dev/v1alpha1
kind: GeneratorConfig
instance: lab
registries:
- {name: quay, url: "https://quay.io", tokenFile: ./token, caFile: ./tls.crt}
robots:
- {name: a, registry: quay, organization: myorg, robot: puller, permissions: {repositories: [{name: app}]}}
server:
  tls: {certFile: ./tls.crt, keyFile: ./tls.key, clientCAFile: ./ca.crt}
  grpc: {tls: {certFile: ./grpc.crt, keyFile: ./grpc.key, clientCAFile: ./ca.crt}}
clients:
- {name: eso, bearerTokenFile: ./eso, certificate: {commonName: eso}, namespaceFrom: request}
- {name: team, bearerTokenFile: ./team, namespace: team}
rules: [{clients: [eso, team], namespaces: ["*"], names: [a]}]
`

func TestLoadLooksAtTheFilesItNames(t *testing.T) {
	own := certificatetest.Authority("server")
	cert, key, otherKey := string(own.CertPEM()), string(own.KeyPEM()), string(certificatetest.Authority("other").KeyPEM())
	for _, c := range []struct{ file, content, want string }{
		{"", "", ""},
		{"tls.key", otherKey, "server.tls.keyFile: is not the key of server.tls.certFile: "},
		{"tls.key", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "server.tls.keyFile: is not the key of server.tls.certFile: "},
		{"grpc.key", otherKey, "server.grpc.tls.keyFile: is not the key of server.grpc.tls.certFile: "},
		{"grpc.crt", "AAAA", "server.grpc.tls.certFile: \"DIR/grpc.crt\" holds no certificate"},
		{"ca.crt", "AAAA", "server.tls.clientCAFile: \"DIR/ca.crt\" cannot be used: it holds no certificate in PEM form"},
		{"ca.crt", cert + key, "server.grpc.tls.clientCAFile: \"DIR/ca.crt\" cannot be used: its PEM block 2 is of type \"PRIVATE KEY\", not CERTIFICATE"},
		{"ca.crt", cert[:len(cert)/2], "server.tls.clientCAFile: \"DIR/ca.crt\" cannot be used: what follows its PEM block 0 is cut off or no PEM"},
		{"tls.crt", key, "server.tls.certFile: \"DIR/tls.crt\" holds no certificate"},
		{"token", " \n", "registries[0].tokenFile: \"DIR/token\" is empty"},
		{"token", strings.Repeat("x", 1<<20+1), "registries[0].tokenFile: \"DIR/token\" is larger than a mebibyte"},
		{"team", "team-token-AAAA-0123456789\n\nteam-token-BBBB-0123456789\n", ""},
		{"team", "team-token-AAAA-0123456789\neso-token-AAAA-0123456789\n", "clients[1].bearerTokenFile: \"DIR/team\" holds the same token as the file of clients[0].bearerTokenFile"},
		{"team", "team-token-AAAA-0123456789\nteam-token-AAAA-0123456789\n", "clients[1].bearerTokenFile: \"DIR/team\" holds the same token twice"},
		{"team", "team-token-AAAA-0123456789\nshort\n", "clients[1].bearerTokenFile: \"DIR/team\" holds a token of 5 characters"},
		{"team", "team-token-AAAA-0123456789\nteam-token-BBBB-0123456789\nteam-token-CCCC-0123456789", "clients[1].bearerTokenFile: \"DIR/team\" holds more than 2 lines"},
		{"team", "short AAAA", "clients[1].bearerTokenFile: \"DIR/team\" holds a token of 10 characters; fewer than 16 can be guessed"},
		{"team", "AAAA with a space in it", "clients[1].bearerTokenFile: \"DIR/team\" holds characters that a bearer token cannot have"},
		{"team", " eso-token-AAAA-0123456789\n", "clients[1].bearerTokenFile: \"DIR/team\" holds the same token as the file of clients[0].bearerTokenFile"},
	} {
		t.Run(c.want, func(t *testing.T) {
			in := newInstallation(t)
			in.write("tls.crt", cert)
			in.write("tls.key", key)
			in.write("grpc.crt", cert)
			in.write("grpc.key", key)
			in.write("ca.crt", cert)
			in.write("eso", "eso-token-AAAA-0123456789")
			in.write("team", "team-token-AAAA-0123456789")
			if c.file != "" {
				in.write(c.file, c.content)
			}
			in.write("config.yaml", withFiles)
			_, err := config.Load(in.path("config.yaml"))
			if c.want == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if want := strings.ReplaceAll(c.want, "DIR", in.dir); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("got %v\nwant %s", err, want)
			}
			if err != nil && strings.Contains(err.Error(), "AAAA") {
				t.Error("the key is quoted")
			}
			if _, err := (config.Options{SkipFiles: true}).Load(in.path("config.yaml")); err != nil {
				t.Errorf("with SkipFiles: %v", err)
			}
		})
	}
}

func TestAFileThatMayNotBeReadIsNamed(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Skip("root may read everything")
	}
	in := newInstallation(t)
	if err := os.Chmod(in.path("token"), 0); err != nil {
		t.Fatal(err)
	}
	_, err := config.Load(in.path("config.yaml"))
	if err == nil || !strings.Contains(err.Error(), "may not be read by this process") {
		t.Errorf("Load: %v", err)
	}
}

func TestAMissingConfigurationIsNotAProblemInIt(t *testing.T) {
	_, err := config.Load(t.TempDir() + "/config.yaml")
	var e *config.Error
	if !errors.Is(err, fs.ErrNotExist) || errors.As(err, &e) {
		t.Errorf("Load: %v", err)
	}
}

func TestContentThatIsNoTextIsRefusedWhereItStopsBeingSo(t *testing.T) {
	for _, c := range []struct{ name, data, want string }{
		{"NUL", "apiVersion: a\nki\x00nd: b\n", "f:2:3: the file is not UTF-8 text: byte 0x00; save it as UTF-8"},
		{"Latin-1", "# Gr\xfc\xdfe\n", "f:1:5: the file is not UTF-8 text: byte 0xfc; save it as UTF-8"},
		{"UTF-16", "\xff\xfea\x00", "f:1:1: the file is not UTF-8 text: byte 0xff; save it as UTF-8"},
		{"too large", strings.Repeat("# 1\n", config.MaxSize/4+1), "f:1:1: the file is larger than 4 MiB"},
		{"nothing", "", "f:1:1: the file is empty; it must start with apiVersion: quaygen.dev/v1alpha1 and kind: GeneratorConfig"},
		{"a list", "- a\n", "f:1:1: expected an object (lines of \"key: value\"), found a list"},
		{"unclosed", "a: [b\n", "f:2:1: not valid YAML: did not find expected ',' or ']'; an indentation, a bracket or a quote does not match here"},
		{"unclosed, further on", "apiVersion: a\n---\nb:\n- [c\n", "f:4:1: not valid YAML: did not find expected ',' or ']'; an indentation, a bracket or a quote does not match here"},
		{"indented too little", "a: 1\nb:\n  c: 1\n d: 2\n", "f:4:1: not valid YAML: did not find expected key; an indentation, a bracket or a quote does not match here"},
		{"indented too far", "a: 1\nb:\n  c: 1\n   d: 2\n", "f:4:1: not valid YAML: mapping values are not allowed in this context"},
		{"anchor", "a: *b\n", "f:1:1: not valid YAML: unknown anchor 'b' referenced"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := config.Parse("f", []byte(c.data))
			if err == nil {
				t.Fatal("accepted")
			}
			if !slices.Contains(strings.Split(err.Error(), "\n"), c.want) {
				t.Errorf("got:\n%v\nwant the line:\n%s", err, c.want)
			}
		})
	}
}

func TestAliasesCannotExplode(t *testing.T) {
	var b strings.Builder
	b.WriteString("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n")
	for i := range 30 {
		fmt.Fprintf(&b, "a%d: &a%d [%s]\n", i+1, i+1, strings.Repeat(fmt.Sprintf("*a%d, ", i), 10))
	}
	b.WriteString("robots: *a30\n")
	_, err := config.Parse("f", []byte(b.String()))
	if err == nil || !strings.Contains(err.Error(), "robots: YAML aliases are not supported") {
		t.Error(err)
	}
}

func TestAHopelessFileIsReportedInBounds(t *testing.T) {
	_, err := config.Parse("f", bytes.Repeat([]byte("- {}\n"), 100))
	if err == nil {
		t.Fatal("accepted")
	}
	var b strings.Builder
	b.WriteString("robots:\n")
	for i := range 20_000 {
		fmt.Fprintf(&b, "- {a%d: 1}\n", i)
	}
	_, err = config.Parse("f", []byte(b.String()))
	var e *config.Error
	if !errors.As(err, &e) {
		t.Fatal(err)
	}
	if n := len(e.Problems); n > 501 {
		t.Errorf("%d problems", n)
	}
	if last := e.Problems[len(e.Problems)-1]; last.Message != "there are more problems than these; mend some first" {
		t.Errorf("the last problem is %s", last)
	}
}

func TestProblemsAsJSON(t *testing.T) {
	_, err := config.Options{SkipFiles: true}.Load("testdata/version.bad.yaml")
	data, jsonErr := json.Marshal(err)
	if jsonErr != nil {
		t.Fatal(jsonErr)
	}
	want := `{"problems":[{"file":"testdata/version.bad.yaml","line":1,"column":1,"path":"apiVersion","message":"\"quaygen.dev/v1\" is not supported; ` +
		`did you mean \"quaygen.dev/v1alpha1\"? (valid values: quaygen.dev/v1alpha1)"}],"warnings":[` +
		`{"file":"testdata/version.bad.yaml","line":1,"column":1,"path":"clients","message":"there are none: nobody will be able to ask for anything"},` +
		`{"file":"testdata/version.bad.yaml","line":1,"column":1,"path":"rules","message":"there are none: everything will be denied"}]}`
	if diff := cmp.Diff(want, string(data)); diff != "" {
		t.Error(diff)
	}
}

func TestAListenerFromElsewhereIsCheckedForPlaintextToo(t *testing.T) {
	tls := config.TLS{CertFile: "/c", KeyFile: "/k"}
	http := config.HTTP{Listen: "127.0.0.1:1"}
	for listen, ok := range map[string]bool{"127.0.0.1:80": true, "[::1]:80": true, "localhost:80": true, "[::ffff:127.0.0.1]:80": true,
		":80": false, "0.0.0.0:80": false, "10.0.0.1:80": false, "[::]:80": false, "localhost.example.com:80": false, "127.0.0.1": false} {
		_, _, malformed := net.SplitHostPort(listen)
		for _, c := range []struct {
			server config.Server
			ok     bool
		}{
			{config.Server{HTTP: config.HTTP{Listen: listen}}, ok},
			{config.Server{HTTP: config.HTTP{Listen: listen, AllowPlaintext: true}}, malformed == nil},
			{config.Server{HTTP: config.HTTP{Listen: listen}, TLS: tls}, malformed == nil},
			{config.Server{HTTP: config.HTTP{Listen: listen}, GRPC: config.GRPC{Enabled: true, Listen: "127.0.0.1:1", TLS: tls}}, ok},
			{config.Server{HTTP: http, GRPC: config.GRPC{Enabled: true, Listen: listen}}, ok},
			{config.Server{HTTP: http, GRPC: config.GRPC{Listen: listen}}, true}, // it does not listen
			{config.Server{HTTP: http, GRPC: config.GRPC{Enabled: true, Listen: listen, AllowPlaintext: true}}, malformed == nil},
			{config.Server{HTTP: http, GRPC: config.GRPC{Enabled: true, Listen: listen, TLS: tls}}, malformed == nil},
			{config.Server{HTTP: http, GRPC: config.GRPC{Enabled: true, Listen: listen}, TLS: tls}, malformed == nil},
		} {
			if err := c.server.Check(); (err == nil) != c.ok {
				t.Errorf("%+v: %v", c.server, err)
			}
		}
	}
}

func TestGRPCUsesTheTLSOfItsOwnAsAWhole(t *testing.T) {
	common := config.TLS{CertFile: "/c", KeyFile: "/k", ClientCAFile: "/ca"}
	own := config.TLS{CertFile: "/grpc/c", KeyFile: "/grpc/k"}
	if got := (config.Server{TLS: common}).GRPCTLS(); got != common {
		t.Errorf("%+v", got)
	}
	if got := (config.Server{TLS: common, GRPC: config.GRPC{Enabled: true, TLS: own}}).GRPCTLS(); got != own {
		t.Errorf("%+v", got)
	}
}

// many returns a configuration of n robots, each allowed by a rule of its own.
func many(n int) []byte {
	var robots, rules strings.Builder
	for i := range n {
		fmt.Fprintf(&robots, "- {name: robot-%d, registry: quay, organization: myorg, robot: k8s_puller_%d, permissions: {repositories: [{name: app-%d}]}, maxRefresh: 2h}\n", i, i, i)
		fmt.Fprintf(&rules, "- {clients: [eso], namespaces: [team-%d], names: [robot-%d]}\n", i, i)
	}
	return []byte(`apiVersion: quaygen.dev/v1alpha1
kind: GeneratorConfig
instance: lab
registries:
- {name: quay, url: "https://quay.io", tokenFile: /run/token}
clients:
- {name: eso, bearerTokenFile: /run/eso, namespaceFrom: request}
server: {tls: {certFile: /run/crt, keyFile: /run/key}}
robots:
` + robots.String() + "rules:\n" + rules.String())
}

func TestTenThousandRobotsFit(t *testing.T) {
	c, err := config.Parse("many.yaml", many(10_000))
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Robots) != 10_000 || len(c.Warnings()) > 0 {
		t.Errorf("%d robots, warnings %v", len(c.Robots), c.Warnings())
	}
}

func BenchmarkParse(b *testing.B) {
	data := many(10_000)
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := config.Parse("many.yaml", data); err != nil {
			b.Fatal(err)
		}
	}
}

// Whatever the bytes, Parse returns a configuration or problems that lie within the file, say something and do not
// quote at length.
func FuzzParse(f *testing.F) {
	for _, pattern := range []string{"*.good.yaml", "*.bad.yaml"} {
		for _, file := range fixtures(f, pattern) {
			data, err := os.ReadFile(file)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(data)
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := config.Parse("fuzz.yaml", data)
		var problems []config.Problem
		if e := (*config.Error)(nil); errors.As(err, &e) {
			problems = append(e.Problems, e.Warnings...)
			if len(e.Problems) == 0 {
				t.Error("an error without a problem")
			}
		} else if err != nil || c == nil {
			t.Fatalf("Parse = %v, %v", c, err)
		} else {
			problems = c.Warnings()
		}
		lines := bytes.Split(data, []byte("\n"))
		for _, p := range problems {
			if p.Line < 1 || p.Line > len(lines) || p.Column < 1 || p.Column > utf8.RuneCount(lines[p.Line-1])+1 {
				t.Errorf("outside of the file: %s", p)
			}
			if p.Message == "" || len(p.Message) > 8000 || strings.Contains(p.Message, "%!") {
				t.Errorf("message %q", p.Message)
			}
		}
	})
}
