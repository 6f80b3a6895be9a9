package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/quaygen/quaygen/pkg/quaygen/certificate/certificatetest"
	"github.com/quaygen/quaygen/pkg/quaygen/quay/quaytest"
)

// patience bounds how long a test waits for what has to come about.
const patience = 30 * time.Second

// quick has times in which a test sees several syncs; they are safe for nothing else.
const quick = `apiVersion: quaygen.dev/v1alpha1
kind: GeneratorConfig
instance: test
registries: [{name: quay, url: %q, tokenFile: ./token, limits: {qps: 100, burst: 100}}]
robots:
- name: puller
  registry: quay
  organization: myorg
  robot: k8s_puller
  permissions: {repositories: [{name: app}]}
  rotation: {every: 1h, overlap: 9s, drain: {quiet: 4s, max: 20s}}
  maxRefresh: 1s
clients: [{name: eso, bearerTokenFile: ./eso, namespaceFrom: request}]
rules: [{clients: [eso], namespaces: ["prod-*"], names: ["*"]}]
server: {http: {listen: "127.0.0.1:0"}, admin: {listen: "127.0.0.1:0"}, tls: {certFile: ./tls.crt, keyFile: ./tls.key}}
sync: 200ms
safety: {settle: 2s, stepDeadline: 1s, clockAllowance: 1s, allowUnsafeTiming: true}
`

// A process is one generator serve in this process, with all that it ever said.
type process struct {
	t    *testing.T
	dir  string
	quay *quaytest.Server
	away atomic.Bool // Quay breaks every connection

	stop context.CancelFunc
	exit chan int

	mu    sync.Mutex // guards what follows
	log   bytes.Buffer
	heard chan struct{}   // closed and replaced with each line
	said  []utterance     // to everybody but those who may have a credential
	words []string        // tokens of clients that are secret, and were replaced
	shown []string        // the last bearer tokens that requests came with, good or not
	given map[string]bool // files that the process was given, by name; it writes all others in its directory
}

func newProcess(t *testing.T) *process {
	t.Helper()
	return newProcessWith(t, quaytest.Options{})
}

func newProcessWith(t *testing.T, options quaytest.Options) *process {
	t.Helper()
	p := &process{t: t, dir: t.TempDir(), exit: make(chan int, 1), heard: make(chan struct{}), given: map[string]bool{}}
	p.quay = quaytest.New(options)
	p.quay.AddUser("admin")
	p.quay.AddOrganization("myorg", "admin")
	p.quay.AddRepository("myorg", "app")
	listener := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if p.away.Load() {
			panic(http.ErrAbortHandler)
		}
		p.quay.ServeHTTP(w, r)
	}))
	t.Cleanup(listener.Close)
	p.quay.SetHostname("http", strings.TrimPrefix(listener.URL, "http://"))
	p.write("token", p.quay.AddToken("admin", "org:admin", "repo:admin", "user:admin"))
	p.bearer("0123456789abcdef-first")
	p.pair("first")
	p.write("generator.yaml", fmt.Sprintf(quick, listener.URL))
	return p
}

// again is another process, with the same Quay and files; the first has to have ended.
func (p *process) again() *process {
	return &process{t: p.t, dir: p.dir, quay: p.quay, words: p.words, given: p.given, exit: make(chan int, 1), heard: make(chan struct{})}
}

func (p *process) write(name, content string) {
	p.t.Helper()
	path := filepath.Join(p.dir, name)
	p.given[path] = true
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		p.t.Fatal(err)
	}
	// Renamed into place, as everybody does who is careful.
	if err := os.WriteFile(path+".new", []byte(content), 0o600); err != nil {
		p.t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		p.t.Fatal(err)
	}
}

func (p *process) read(name string) string {
	p.t.Helper()
	content, err := os.ReadFile(filepath.Join(p.dir, name))
	if err != nil {
		p.t.Fatal(err)
	}
	return string(content)
}

// edit replaces a text in the configuration.
func (p *process) edit(from, to string) {
	p.t.Helper()
	text := p.read("generator.yaml")
	if !strings.Contains(text, from) {
		p.t.Fatalf("the configuration has no %q", from)
	}
	p.write("generator.yaml", strings.Replace(text, from, to, 1))
}

// bearer gives the client another token.
func (p *process) bearer(token string) {
	p.t.Helper()
	p.mu.Lock()
	p.words = append(p.words, token)
	p.mu.Unlock()
	p.write("eso", token)
}

// pair makes a certificate of its own for loopback.
func (p *process) pair(name string) {
	p.t.Helper()
	own := certificatetest.Authority(name, certificatetest.ForLoopback)
	p.write("tls.crt", string(own.CertPEM()))
	p.write("tls.key", string(own.KeyPEM()))
}

// Write takes in what the process logs.
func (p *process) Write(line []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.log.Write(line)
	close(p.heard)
	p.heard = make(chan struct{})
	return len(line), nil
}

// start runs generator serve until the test has ended or stop is called.
func (p *process) start(args ...string) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(p.t.Context())) // it is looked at once more at the end
	p.stop = cancel
	go func() {
		p.exit <- run(ctx, append([]string{"serve", "--config", filepath.Join(p.dir, "generator.yaml")}, args...), p, p)
	}()
	p.t.Cleanup(func() {
		p.end()
		p.hunt()
	})
}

// end stops the process, as SIGTERM does, and returns its exit code.
func (p *process) end() int {
	p.look()
	p.stop()
	select {
	case code := <-p.exit:
		p.exit <- code
		return code
	case <-time.After(patience):
		p.t.Error("it does not end")
		return -1
	}
}

// logged waits for a line of the log and returns what the expression's group finds in it.
func (p *process) logged(expression string) string {
	p.t.Helper()
	re := regexp.MustCompile(expression)
	timeout := time.After(patience)
	for {
		p.mu.Lock()
		found, heard := re.FindStringSubmatch(p.log.String()), p.heard
		p.mu.Unlock()
		if found != nil {
			return found[len(found)-1]
		}
		select {
		case <-heard:
		case code := <-p.exit:
			p.exit <- code
			p.t.Fatalf("it ended with %d without saying %q:\n%s", code, expression, p.log.String())
		case <-timeout:
			p.t.Fatalf("nothing like %q in\n%s", expression, p.log.String())
		}
	}
}

// until looks again and again whether something has come about.
func (p *process) until(what string, holds func() bool) {
	p.t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	timeout := time.After(patience)
	for !holds() {
		select {
		case <-tick.C:
		case <-timeout:
			p.t.Fatalf("waiting until %s\n%s", what, p.log.String())
		}
	}
}

// admin asks the port for probes and metrics.
func (p *process) admin(path string) (status int, body string) {
	p.t.Helper()
	return p.fetch(&http.Client{Timeout: patience}, p.logged(`msg=serving .*admin=(\S+)`)+path, "")
}

// ask asks for the pull secret as ESO does: over a connection of its own.
func (p *process) ask(token string) (status int, body string) {
	p.t.Helper()
	status, body, _ = p.askOver(p.logged(`msg=serving .*http=(\S+)`), token)
	return status, body
}

func (p *process) askOver(base, token string) (status int, body, certificate string) {
	p.t.Helper()
	return p.askWith(base+"/v1/pullsecrets/puller?namespace=prod-a", token, nil)
}

// askWith asks over a connection of its own, with more headers.
func (p *process) askWith(target, token string, header http.Header) (status int, body, certificate string) {
	p.t.Helper()
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(p.read("tls.crt")))
	transport := &http.Transport{TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots, VerifyConnection: func(s tls.ConnectionState) error {
		certificate = s.PeerCertificates[0].Subject.CommonName
		return nil
	}}, DisableKeepAlives: true}
	status, body = p.fetchAs(&http.Client{Timeout: patience, Transport: transport}, target, token, token != "", header)
	return status, body, certificate
}

// fetch asks with a token, or without one, as somebody who may have no credential then. It returns status 0 where there was no answer.
func (p *process) fetch(client *http.Client, target, token string) (status int, body string) {
	p.t.Helper()
	return p.fetchAs(client, target, token, token != "", nil)
}

// fetchAs is fetch for somebody who may have a credential, or not, whatever the token.
func (p *process) fetchAs(client *http.Client, target, token string, entitled bool, header http.Header) (status int, body string) {
	p.t.Helper()
	r, err := http.NewRequestWithContext(context.WithoutCancel(p.t.Context()), http.MethodGet, target, nil)
	if err != nil {
		p.t.Fatal(err)
	}
	for key, values := range header {
		r.Header[key] = values
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
		p.show(token)
	}
	response, err := client.Do(r)
	if err != nil {
		return 0, err.Error()
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	if err != nil {
		p.t.Fatal(err)
	}
	p.tell("the header of an answer", fmt.Sprint(response.Header))
	if response.StatusCode != http.StatusOK || !entitled {
		p.tell("the answer of "+r.URL.Path, string(content))
	}
	return response.StatusCode, string(content)
}

func (p *process) token() string { return p.words[len(p.words)-1] }

// ready waits until the process says that it is.
func (p *process) ready() {
	p.t.Helper()
	p.until("it is ready", func() bool { status, _ := p.admin("/readyz"); return status == http.StatusOK })
}

func TestServeIsReadyAnswersOverTLSAndTellsNobodyElse(t *testing.T) {
	p := newProcess(t)
	p.start()
	p.ready()
	p.until("there is a pull secret", func() bool { status, _ := p.ask(p.token()); return status == http.StatusOK })
	if _, body := p.ask(p.token()); !strings.Contains(body, `"robot":"myorg+k8s_puller_g`) {
		t.Error("the answer names no robot")
	}
	if status, body := p.ask("not the token of anybody"); status != http.StatusUnauthorized {
		t.Errorf("a stranger: %d %s", status, body)
	}
	for _, path := range []string{"/livez", "/readyz?verbose", "/metrics"} {
		if status, body := p.admin(path); status != http.StatusOK || len(body) == 0 {
			t.Errorf("%s: %d %s", path, status, body)
		}
	}
	if code := p.end(); code != exitOK {
		t.Errorf("exit code %d", code)
	}
	p.logged("msg=stopped")
}

func TestARequestUnderWayIsAnsweredWhenTheProcessIsToldToEnd(t *testing.T) {
	p := newProcess(t)
	p.quay.Inject(quaytest.Fault{Operation: "robot.create", Delay: 700 * time.Millisecond, Times: 1})
	p.start()
	base := p.logged(`msg=serving .*http=(\S+)`)
	answered := make(chan int, 1)
	go func() {
		status, _, _ := p.askOver(base, p.token())
		answered <- status
	}()
	p.until("the request is there", func() bool {
		_, metrics := p.admin("/metrics")
		return strings.Contains(metrics, "quaygen_requests_in_flight 1")
	})
	if code := p.end(); code != exitOK {
		t.Errorf("exit code %d", code)
	}
	if status := <-answered; status != http.StatusOK {
		t.Errorf("the request under way got %d", status)
	}
	if status, _, _ := p.askOver(base, p.token()); status != 0 {
		t.Errorf("after the end a request got %d", status)
	}
}

func TestWithQuayUnreachableAtTheStartItSaysSoAndHeals(t *testing.T) {
	p := newProcess(t)
	p.away.Store(true)
	p.start()
	p.until("it says what is wrong", func() bool {
		status, body := p.admin("/readyz?verbose")
		return status == http.StatusServiceUnavailable && strings.Contains(body, "quay/quay/myorg failed")
	})
	if status, body := p.ask(p.token()); status != http.StatusServiceUnavailable || !strings.Contains(body, "no credential for puller") {
		t.Errorf("a request gets %d %s", status, body)
	}
	if status, _ := p.admin("/livez"); status != http.StatusOK {
		t.Error("it would be restarted, which heals nothing")
	}
	p.away.Store(false)
	p.ready()
	p.until("there is a pull secret", func() bool { status, _ := p.ask(p.token()); return status == http.StatusOK })
}

func TestATokenWithoutAScopeIsReportedByTheNameOfTheScope(t *testing.T) {
	for scope, scopes := range map[string][]string{"repo:admin": {"org:admin", "user:admin"}, "org:admin": {"repo:admin", "user:admin"}} {
		t.Run(scope, func(t *testing.T) {
			p := newProcess(t)
			p.write("token", p.quay.AddToken("admin", scopes...))
			p.start()
			p.until("it names the scope", func() bool {
				status, body := p.admin("/readyz?verbose")
				return status == http.StatusServiceUnavailable && strings.Contains(body, scope) && strings.Contains(body, "myorg")
			})
			p.write("token", p.quay.AddToken("admin", "org:admin", "repo:admin", "user:admin"))
			p.ready()
		})
	}
}

func TestAChangedConfigurationIsTakenUpAndAnInvalidOneIsNot(t *testing.T) {
	p := newProcess(t)
	p.start()
	p.ready()
	robots := p.read("generator.yaml")
	p.edit("robots:\n", "robots:\n- {name: second, registry: quay, organization: myorg, robot: k8s_second, permissions: {repositories: [{name: app}]}, rotation: {strategy: none}}\n")
	p.until("the second robot is there", func() bool { _, ok := p.quay.Robot("myorg", "k8s_second"); return ok })

	p.edit("maxRefresh: 1s", "maxRefresh: soon")
	p.logged(`level=ERROR msg="the new configuration is not used.*generator\.yaml:\d+:\d+: robots\[1\]\.maxRefresh`)
	reloaded := func(want string) func() bool {
		return func() bool {
			_, metrics := p.admin("/metrics")
			return strings.Contains(metrics, "quaygen_config_last_reload_successful "+want)
		}
	}
	p.until("the metric says so", reloaded("0"))
	if status, _ := p.ask(p.token()); status != http.StatusOK {
		t.Errorf("with an invalid file a request gets %d", status)
	}
	if status, body := p.admin("/readyz?verbose"); status != http.StatusOK || !strings.Contains(body, "not valid") {
		t.Errorf("readyz: %d %s", status, body)
	}
	p.write("generator.yaml", robots)
	p.until("the metric says that it is mended", reloaded("1"))
}

func TestARobotThatNeedsALedgerTheProcessHasNotIsServedAndTheProbeSaysSo(t *testing.T) {
	p := newProcess(t)
	p.start()
	p.ready()
	if _, body := p.admin("/readyz?verbose"); strings.Contains(body, "ledger") {
		t.Errorf("no robot needs a ledger, and readyz says\n%s", body)
	}
	p.edit("robots:\n", "ledger: {file: ./ledger.db}\nrobots:\n- {name: fixed, registry: quay, organization: myorg, robot: k8s_fixed, permissions: {repositories: [{name: app}]}, rotation: {strategy: regenerate, every: 1h}, maxRefresh: 1s}\n")
	p.until("the probe says so", func() bool {
		status, body := p.admin("/readyz?verbose")
		return status == http.StatusOK && strings.Contains(body, "[+]ledger ok: robots that need it, and are not rotated: 1 of 1: fixed: this process was started without one")
	})
	p.until("it is served, and the metric says so", func() bool {
		_, metrics := p.admin("/metrics")
		return strings.Contains(metrics, "quaygen_ledger_up 0") && strings.Contains(metrics, `quaygen_robot_generation{name="fixed"} 0`)
	})
}

func TestReplacedTokensAndCertificatesAreTakenUpWithoutARestart(t *testing.T) {
	p := newProcess(t)
	p.start()
	p.ready()
	base := p.logged(`msg=serving .*http=(\S+)`)
	first := p.token()
	p.bearer("0123456789abcdef-second")
	p.until("the new token opens", func() bool { status, _ := p.ask(p.token()); return status == http.StatusOK })
	if status, _ := p.ask(first); status != http.StatusUnauthorized {
		t.Errorf("the old token: %d", status)
	}
	p.pair("second")
	p.until("the new certificate is shown", func() bool {
		status, _, name := p.askOver(base, p.token())
		return status == http.StatusOK && name == "second"
	})
	p.quay.RevokeTokens("admin")
	p.logged(`level=ERROR msg="working with Quay failed".*not accepted`)
	p.write("token", p.quay.AddToken("admin", "org:admin", "repo:admin", "user:admin"))
	p.until("all is well with the new API token", func() bool {
		_, metrics := p.admin("/metrics")
		return strings.Contains(metrics, `quaygen_quay_sync_ok{organization="myorg",registry="quay"} 1`)
	})
}

func TestAnAddressThatIsTakenIsReportedByItsField(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for flag, field := range map[string]string{"--http-listen": "server.http.listen", "--admin-listen": "server.admin.listen"} {
		p := newProcess(t)
		p.start(flag, taken.Addr().String())
		if code := <-p.exit; code != exitFailed || !strings.Contains(p.log.String(), field) {
			t.Errorf("%s: %d\n%s", flag, code, p.log.String())
		}
		p.exit <- 0
	}
}
