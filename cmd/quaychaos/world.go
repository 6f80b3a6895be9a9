package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/quaygen/quaygen/cmd/internal/await"
	"github.com/quaygen/quaygen/cmd/internal/child"
	"github.com/quaygen/quaygen/pkg/quaygen/certificate/certificatetest"
)

// world is Quay and the replicas of one scenario, and what is known of them.
type world struct {
	scenario
	bin, dir string
	quay     *embeddedQuay
	bearer   string
	ca       string // of the replicas
	replicas []*replica
	foreign  []robot // made by others; nobody may touch them
	journal  *journal
	scrapes  scrapes

	mu        sync.Mutex
	processes []*child.Process // of replicas, dead ones included
}

// replica is one generator, restarted as often as it is killed.
type replica struct {
	name   string
	door   string // the host through which it reaches Quay
	config string

	mu         sync.Mutex
	process    *child.Process
	url, admin string // of the latest process, which may be dead
}

func (r *replica) where() (url, admin string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.url, r.admin
}

const instance = "chaos"

func newWorld(ctx context.Context, s scenario, bin string) (*world, error) {
	dir, err := os.MkdirTemp("", "quaychaos-")
	if err != nil {
		return nil, err
	}
	w := &world{scenario: s, bin: bin, dir: dir, journal: newJournal(s)}
	if err := w.start(ctx); err != nil {
		w.close()
		return nil, err
	}
	return w, nil
}

func (w *world) start(ctx context.Context) error {
	var err error
	if w.quay, err = startQuay(ctx, w.bin, w.dir, w.copies); err != nil {
		return err
	}
	if w.way == wayScript {
		return nil
	}
	if err := w.addStrangers(ctx); err != nil {
		return err
	}
	raw := make([]byte, 20)
	_, _ = rand.Read(raw) // never fails
	w.bearer = hex.EncodeToString(raw)
	if _, err := w.write("eso-token", w.bearer); err != nil {
		return err
	}
	if err := w.certify(); err != nil {
		return err
	}
	for i, door := range w.quay.Doors {
		_, host, _ := strings.Cut(door, "://")
		r := &replica{name: string(rune('A' + i)), door: host}
		if r.config, err = w.write("generator-"+r.name+".yaml", w.configuration(door)); err != nil {
			return err
		}
		w.replicas = append(w.replicas, r)
	}
	if err := w.checkConfig(ctx); err != nil {
		return err
	}
	for _, r := range w.replicas {
		if err := w.launch(ctx, r); err != nil {
			return err
		}
	}
	return nil
}

// addStrangers makes robots that stand in the way of the service and are not its own: one without a marker under the name
// of a generation, one of another installation, and one that has nothing to do with it.
func (w *world) addStrangers(ctx context.Context) error {
	for short, description := range map[string]string{
		robotName(0) + "_g7": "made by hand",
		robotName(1) + "_g8": fmt.Sprintf("quaygen/1 instance=another robot=%s generation=8 overlap=1s max=2s refresh=1s", robotName(1)),
		"build_farm":         "",
	} {
		if _, err := w.quay.makeRobot(ctx, short, description); err != nil {
			return err
		}
	}
	var err error
	w.foreign, err = w.quay.everyRobot(ctx)
	return err
}

func robotName(i int) string  { return fmt.Sprintf("k8s_puller_%02d", i) }
func publicName(i int) string { return fmt.Sprintf("puller-%02d", i) }

// configuration lets a replica reach Quay through its own door, while nodes pull at the main one.
func (w *world) configuration(door string) string {
	_, host, _ := strings.Cut(w.quay.URL, "://")
	var b strings.Builder
	fmt.Fprintf(&b, "apiVersion: quaygen.dev/v1alpha1\nkind: GeneratorConfig\ninstance: %s\nregistries:\n", instance)
	fmt.Fprintf(&b, "- {name: quay, url: %q, host: %q, tokenFile: %q, caFile: %q, limits: {qps: 400, burst: 400}}\nrobots:\n", door, host, w.quay.TokenFile, w.quay.CAFile)
	for i := range w.robots {
		fmt.Fprintf(&b, "- name: %s\n  registry: quay\n  organization: %s\n  robot: %s\n", publicName(i), organization, robotName(i))
		fmt.Fprintf(&b, "  permissions: {repositories: [{name: my-app}, {name: backend-api}]}\n")
		if w.way == wayRegenerate {
			fmt.Fprintf(&b, "  rotation: {strategy: regenerate, every: %s}\n  maxRefresh: %s\n", w.interval(i), w.refresh)
			continue
		}
		fmt.Fprintf(&b, "  rotation: {strategy: overlap, every: %s, overlap: %s, drain: {quiet: %s, max: %s}}\n  maxRefresh: %s\n", w.interval(i), w.overlap, w.quiet, w.most, w.refresh)
	}
	fmt.Fprintf(&b, "clients:\n- {name: eso, bearerTokenFile: %q, namespaceFrom: request}\nrules:\n- {clients: [eso], namespaces: [\"*\"], names: [\"puller-*\"]}\n", filepath.Join(w.dir, "eso-token"))
	fmt.Fprintf(&b, "server: {http: {listen: \"127.0.0.1:0\"}, admin: {listen: \"127.0.0.1:0\"}, tls: {certFile: %q, keyFile: %q}}\n", w.ca, filepath.Join(w.dir, "tls.key"))
	if w.way == wayRegenerate {
		fmt.Fprintf(&b, "ledger: {file: %q}\n", w.ledger())
	}
	fmt.Fprintf(&b, "sync: %s\nsafety: {settle: %s, stepDeadline: %s, clockAllowance: %s, allowUnsafeTiming: true}\n", w.sync, w.settle, w.deadline, w.clock)
	return b.String()
}

// ledger is where the strategy regenerate remembers its rotations.
func (w *world) ledger() string { return filepath.Join(w.dir, "ledger.db") }

// interval is longer for some robots, by up to a quarter: robots minted together would go on rotating together, and leave
// nothing to disturb in between.
func (w *world) interval(i int) time.Duration {
	return w.every + (w.every * time.Duration(i) / time.Duration(4*w.robots)).Truncate(time.Millisecond)
}

// checkConfig lets the product itself say whether these times keep the promise.
func (w *world) checkConfig(ctx context.Context) error {
	p, err := child.Program{Dir: w.bin, Name: "generator"}.Start(ctx, "check-config", w.replicas[0].config)
	if err != nil {
		return err
	}
	if code := p.ExitCode(); code != 0 {
		return fmt.Errorf("generator check-config refuses the times of this run:\n%s", p.Printed())
	}
	return nil
}

var serving = regexp.MustCompile(`http=(https://\S+) admin=(http://\S+)`)

// launch starts a replica's process, and returns when it listens; it has listed nothing by then.
func (w *world) launch(ctx context.Context, r *replica) error {
	p, err := child.Program{Dir: w.bin, Name: "generator"}.Start(ctx, "serve", "--config", r.config, "--log-level", "debug")
	if err != nil {
		return err
	}
	w.mu.Lock()
	w.processes = append(w.processes, p)
	w.mu.Unlock()
	r.mu.Lock()
	r.process = p
	r.mu.Unlock()
	starting, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	match, err := p.WaitFor(starting, serving)
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.url, r.admin = match[1], match[2]
	return nil
}

func (r *replica) kill() {
	r.mu.Lock()
	p := r.process
	r.mu.Unlock()
	p.Kill()
}

// ready waits until every replica answers for every robot.
func (w *world) ready(ctx context.Context) error {
	client := &http.Client{Timeout: 5 * time.Second}
	for _, r := range w.replicas {
		if err := await.True(ctx, 100*time.Millisecond, func() bool {
			_, admin := r.where()
			request, err := http.NewRequestWithContext(ctx, http.MethodGet, admin+"/readyz", nil)
			if err != nil {
				return false
			}
			_, err = read(client, request)
			return err == nil
		}); err != nil {
			return fmt.Errorf("waiting for replica %s to be ready: %w", r.name, err)
		}
	}
	return nil
}

// printed returns all that the replicas printed, dead ones included.
func (w *world) printed() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var all []string
	for _, p := range w.processes {
		all = append(all, p.Printed())
	}
	return all
}

// ledgers returns what the ledger's files hold.
func (w *world) ledgers() []string {
	var all []string
	files, _ := filepath.Glob(w.ledger() + "*") // the pattern is well-formed
	for _, file := range files {
		if data, err := os.ReadFile(file); err == nil {
			all = append(all, string(data))
		}
	}
	return all
}

func (w *world) stopReplicas() {
	var all sync.WaitGroup
	for _, r := range w.replicas {
		r.mu.Lock()
		p := r.process
		r.mu.Unlock()
		if p != nil {
			all.Go(p.Stop)
		}
	}
	all.Wait()
}

func (w *world) close() {
	w.stopReplicas()
	if w.quay != nil {
		w.quay.process.Stop()
	}
	_ = os.RemoveAll(w.dir)
}

// certify makes a certificate for loopback that is its own authority.
func (w *world) certify() error {
	own := certificatetest.Authority("quaychaos", certificatetest.ForLoopback)
	var err error
	if w.ca, err = w.write("tls.crt", string(own.CertPEM())); err != nil {
		return err
	}
	_, err = w.write("tls.key", string(own.KeyPEM()))
	return err
}

func (w *world) write(file, content string) (string, error) {
	path := filepath.Join(w.dir, file)
	return path, os.WriteFile(path, []byte(content), 0o600)
}
