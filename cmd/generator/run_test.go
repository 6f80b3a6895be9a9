package main

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/quaygen/quaygen/pkg/quaygen"
	"github.com/quaygen/quaygen/pkg/quaygen/config"
	"github.com/quaygen/quaygen/pkg/quaygen/quay/quaytest"
)

// try runs the program as a person would.
func try(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	code = run(t.Context(), args, &out, &errs)
	return code, out.String(), errs.String()
}

const valid = `apiVersion: quaygen.dev/v1alpha1
kind: GeneratorConfig
instance: test
registries: [{name: quay, url: %q, tokenFile: ./token}]
robots:
- {name: puller, registry: quay, organization: myorg, robot: k8s_puller, permissions: {repositories: [{name: app}]}}
clients: [{name: eso, bearerTokenFile: ./eso, namespaceFrom: request}]
rules: [{clients: [eso], namespaces: ["prod-*"], names: [puller]}]
server: {http: {listen: "127.0.0.1:0"}, admin: {listen: "127.0.0.1:0"}}
`

// configure writes a configuration for a Quay in memory, with one text in it replaced.
func configure(t *testing.T, from, to string) (path string, server *quaytest.Server) {
	t.Helper()
	return configureWith(t, quaytest.Options{}, from, to)
}

func configureWith(t *testing.T, options quaytest.Options, from, to string) (path string, server *quaytest.Server) {
	t.Helper()
	server = quaytest.New(options)
	server.AddUser("admin")
	server.AddOrganization("myorg", "admin")
	server.AddRepository("myorg", "app")
	listener := httptest.NewServer(server)
	t.Cleanup(listener.Close)
	server.SetHostname("http", strings.TrimPrefix(listener.URL, "http://"))
	dir := t.TempDir()
	text := fmt.Sprintf(valid, listener.URL)
	if from != "" && !strings.Contains(text, from) {
		t.Fatalf("there is no %q to replace", from)
	}
	for name, content := range map[string]string{
		"token": server.AddToken("admin", "org:admin", "repo:admin", "user:admin"), "eso": "0123456789abcdef0123",
		"generator.yaml": strings.Replace(text, from, to, 1),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return filepath.Join(dir, "generator.yaml"), server
}

func TestWrongUsageSaysWhatIsWrongAndExitsWith2(t *testing.T) {
	for _, c := range []struct {
		args string
		says string
	}{
		{"srve", "did you mean serve"},
		{"serve", "--config FILE is needed"},
		{"plan --confg x", "unknown flag: --confg"},
		{"mint", "accepts 1 arg"},
		{"--log-level loud plan --config x", "--log-level"},
		{"check-config -o xml x", "neither text nor json"},
	} {
		code, _, stderr := try(t, strings.Fields(c.args)...)
		if code != exitUsage || !strings.Contains(stderr, c.says) {
			t.Errorf("generator %s: %d, %s", c.args, code, stderr)
		}
	}
}

func TestEveryProblemOfAConfigurationHasItsLineAndExitsWith2(t *testing.T) {
	robot := "- {name: puller, registry: quay, organization: myorg, robot: k8s_puller, permissions: {repositories: [{name: app}]}}\n"
	for _, c := range []struct{ from, to, line, says string }{
		{"instance: test", "instnce: test", ":3:", "instance"},
		{"robot: k8s_puller", "robot: k8s__puller", ":6:", "robots[0].robot"},
		{"robot: k8s_puller", "robot: k8s_g7851", ":6:", "generation"},
		{"robot: k8s_puller", "robot: k8s_puller, maxRefresh: soon", ":6:", "robots[0].maxRefresh"},
		{"registry: quay,", "registry: qay,", ":6:", "quay"},
		{"./token", "./missing", ":4:", "does not exist"},
		{robot, robot + robot, ":7:", "puller"},
	} {
		path, _ := configure(t, c.from, c.to)
		code, _, stderr := try(t, "check-config", path)
		if code != exitUsage || !strings.Contains(stderr, path+c.line) || !strings.Contains(stderr, c.says) {
			t.Errorf("%q for %q: %d, %s", c.to, c.from, code, stderr)
		}
	}
	path, _ := configure(t, "", "")
	if code, stdout, stderr := try(t, "check-config", path); code != exitOK || !strings.Contains(stdout, "is valid") {
		t.Errorf("a valid one: %d, %s", code, stderr)
	}
}

func TestAConfigurationThatCannotBeReadOrIsNotValidExitsWith2(t *testing.T) {
	for _, command := range []string{"serve --config", "plan --config", "plan puller --config", "mint puller --config", "retire --all --dry-run --config", "check-config", "check-config --explain eso prod-1 puller"} {
		dir := t.TempDir()
		invalid, _ := configure(t, "instance: test", "instance: t!")
		for _, c := range []struct{ what, path, says string }{
			{"a missing file", filepath.Join(dir, "none.yaml"), "reading the configuration"},
			{"a directory", dir, "reading the configuration"},
			{"an invalid file", invalid, invalid + ":3:"},
		} {
			code, stdout, stderr := try(t, append(strings.Fields(command), c.path)...)
			if code != exitUsage || stdout != "" || !strings.Contains(stderr, c.says) {
				t.Errorf("generator %s with %s: %d, %s%s", command, c.what, code, stdout, stderr)
			}
		}
	}
}

func TestAFlagCannotBringPlaintextBeyondLoopback(t *testing.T) {
	path, _ := configure(t, "", "")
	if code, _, stderr := try(t, "serve", "--config", path, "--http-listen", "0.0.0.0:0"); code != exitUsage || !strings.Contains(stderr, "allowPlaintext") {
		t.Errorf("%d, %s", code, stderr)
	}
}

func TestThePlanTouchesNothing(t *testing.T) {
	path, server := configure(t, "", "")
	code, stdout, stderr := try(t, "plan", "--config", path)
	if code != exitOK || !strings.Contains(stdout, "would create myorg+k8s_puller_g") || !strings.Contains(stdout, "read on app") {
		t.Errorf("%d, %s%s", code, stdout, stderr)
	}
	for _, call := range server.Calls().Entries() {
		if call.Method != "GET" {
			t.Errorf("it called %s %s", call.Method, call.Path)
		}
	}
	if code, _, _ := try(t, "plan", "nobody", "--config", path); code != exitNotFound {
		t.Errorf("an unknown name: %d", code)
	}
}

func TestThePlanSaysWhoseRobotItIs(t *testing.T) {
	robots := "- {name: tenant, registry: quay, organization: myorg, robot: k8s_tenant, scope: namespace, permissions: {repositories: [{name: app}]}}\nclients:"
	path, server := configure(t, "clients:", robots)
	for _, namespace := range []string{"shop", "web", "h_0123456789abcdef0123"} {
		server.AddRobot("myorg", "k8s_tenant_"+namespace+"_g1000", marked("test", "k8s_tenant_"+namespace, 1000))
	}
	code, stdout, stderr := try(t, "plan", "--config", path, "-o", "json")
	var documents []struct{ Name, Namespace string }
	if err := json.Unmarshal([]byte(stdout), &documents); code != exitOK || err != nil {
		t.Fatalf("%d, %v, %s", code, err, stderr)
	}
	want := []struct{ Name, Namespace string }{{"puller", ""}, {"tenant", "h_0123456789abcdef0123"}, {"tenant", "shop"}, {"tenant", "web"}}
	if diff := cmp.Diff(want, documents); diff != "" {
		t.Error(diff)
	}
	if strings.Contains(stdout, `"namespace": ""`) {
		t.Errorf("a robot that is nobody's alone has a namespace:\n%s", stdout)
	}
	_, stdout, _ = try(t, "plan", "--config", path)
	for _, line := range []string{
		`(?m)^puller +- +- +none`, `(?m)^tenant +shop +myorg\+k8s_tenant_shop_g1000 `, `(?m)^tenant +web +myorg\+k8s_tenant_web_g1000 `,
		`(?m)^puller:$`, `(?m)^tenant for namespace shop:$`, `(?m)^tenant for namespace web:$`,
	} {
		if !regexp.MustCompile(line).MatchString(stdout) {
			t.Errorf("no line is %s:\n%s", line, stdout)
		}
	}
}

func TestMintPrintsEachFormOfOneAndTheSameCredential(t *testing.T) {
	path, server := configure(t, "", "")
	outputs := map[string]string{}
	for _, form := range mintOutputs {
		code, stdout, stderr := try(t, "mint", "puller", "--config", path, "-o", form)
		if code != exitOK {
			t.Fatalf("-o %s: %d, %s", form, code, stderr)
		}
		outputs[form] = stdout
		for _, token := range server.Tokens() {
			if strings.Contains(stderr, token) {
				t.Errorf("-o %s: a token in the log", form)
			}
		}
	}
	robots := server.Ever("myorg")
	if len(robots) != 1 {
		t.Fatalf("%d robots were made", len(robots))
	}
	want := "myorg+" + robots[0].Short + ":" + robots[0].Token.Reveal()
	if got, err := base64.StdEncoding.DecodeString(strings.TrimSpace(outputs["auth"])); err != nil || string(got) != want {
		t.Error("-o auth is not the credential")
	}
	if !json.Valid([]byte(outputs["json"])) || !json.Valid([]byte(outputs["dockerconfigjson"])) || !strings.Contains(outputs["secret"], "kubernetes.io/dockerconfigjson") {
		t.Error("a form is not what it says")
	}
}

func TestMintAsksQuayNothingForWhatItCannotPrint(t *testing.T) {
	more := "- {name: tenant, registry: quay, organization: myorg, robot: k8s_tenant, scope: namespace, permissions: {repositories: [{name: app}]}}\n" +
		"- {name: a_b, registry: quay, organization: myorg, robot: k8s_ab, permissions: {repositories: [{name: app}]}}\n" +
		"- {name: a..b, registry: quay, organization: myorg, robot: k8s_dots, permissions: {repositories: [{name: app}]}}\n" +
		"pullSecrets: [{name: joined, robots: [puller, tenant]}]\nclients:"
	path, server := configure(t, "clients:", more)
	for _, c := range []struct {
		args string
		code int
		says string
	}{
		{"joined -o auth", exitUsage, "joins several robots"},
		{"a_b -o secret", exitUsage, "cannot be the name of a Secret"},
		{"a..b -o secret", exitUsage, "cannot be the name of a Secret"},
		{"puller --namespace Prod", exitUsage, "cannot be a namespace"},
		{"puller --namespace=", exitUsage, "the namespace is missing"},
		{"tenant --namespace a_b", exitUsage, "cannot be a namespace"},
		{"nobody", exitNotFound, "no robot or pull secret"},
		{"no_body -o secret", exitNotFound, "no robot or pull secret"},
	} {
		code, stdout, stderr := try(t, append([]string{"mint", "--config", path}, strings.Fields(c.args)...)...)
		if code != c.code || stdout != "" || !strings.Contains(stderr, c.says) {
			t.Errorf("mint %s: %d, %s%s", c.args, code, stdout, stderr)
		}
		if calls := server.Calls().Entries(); len(calls) > 0 {
			t.Fatalf("mint %s: Quay was called: %s %s", c.args, calls[0].Method, calls[0].Path)
		}
	}
	if code, _, stderr := try(t, "mint", "a_b", "--config", path, "-o", "auth"); code != exitOK {
		t.Errorf("a name that is no Secret's, in another form: %d, %s", code, stderr)
	}
}

func TestTheSchemaIsJSON(t *testing.T) {
	if code, stdout, _ := try(t, "config-schema"); code != exitOK || !json.Valid([]byte(stdout)) || !bytes.Equal([]byte(stdout), config.Schema()) {
		t.Error("config-schema does not print the schema")
	}
}

func TestEveryKindOfErrorHasItsExitCode(t *testing.T) {
	want := map[quaygen.Kind]int{
		quaygen.KindInternal: exitFailed, quaygen.KindInvalid: exitUsage, quaygen.KindUnauthenticated: exitDenied, quaygen.KindDenied: exitDenied,
		quaygen.KindUnknown: exitNotFound, quaygen.KindRefused: exitDenied, quaygen.KindNotReady: exitFailed,
	}
	for kind, code := range want {
		if got := exitCode(fmt.Errorf("wrapped: %w", &quaygen.Error{Kind: kind})); got != code {
			t.Errorf("%v exits with %d, not %d", kind, got, code)
		}
	}
}
