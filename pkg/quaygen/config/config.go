// Package config reads the configuration file of the generator, strictly, and watches it for changes.
//
// [Load] reports every problem of a file at once, each with its path in the file, its line and what to write
// instead; a value it returns is complete, with defaults filled in and names parsed. [Watch] follows the file and hands
// over each new version that is valid as a whole. Secrets are in the file by path only; their content is looked at to see
// that there is some, and never quoted. [Schema] describes the same file to editors.
package config

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/quaygen/quaygen/pkg/quaygen/policy"
	"github.com/quaygen/quaygen/pkg/quaygen/quay"
	"github.com/quaygen/quaygen/pkg/quaygen/rotation"
)

// The two keys that every configuration file starts with.
const (
	APIVersion = "quaygen.dev/v1alpha1"
	Kind       = "GeneratorConfig"
)

// MaxSize is the largest configuration file that is read, in bytes.
const MaxSize = 4 << 20

// Config is one valid configuration, translated into what the other packages take. Treat it as read-only.
type Config struct {
	Instance    string       // marks the robots that this installation owns; replicas and clusters may share it
	Registries  []Registry   // at least one
	Robots      []Robot      // at least one
	PullSecrets []PullSecret // what joins several robots
	Clients     []Client     // who may call; none: nobody
	Rules       policy.Rules // who may have what; none: nobody may have anything
	Server      Server
	Ledger      Ledger
	Audit       Audit
	Tracing     Tracing
	Sync        time.Duration   // from one list of an organization to the next; default 30 s
	Safety      rotation.Safety // allowances for lag and clocks

	path     string
	options  Options
	digest   digest
	warnings []Problem
	lines    []int // of Rules
}

// Registry is a Quay that robots live in.
type Registry struct {
	Name string
	Host string      // under which images are pulled, with the port if the URL has one; default: that of the URL
	Quay quay.Config // URL, TokenFile, CAFile, QPS and Burst are set

	TokenExpires time.Time // when the token in TokenFile ends, as whoever made it says; zero: not said
}

// Robot is what callers ask for by Name, one robot of Quay in generations.
type Robot struct {
	rotation.Spec
	Registry string // the name of a Registry
	Email    string // goes into the pull secret; may be empty
}

// PullSecret is what callers ask for to have the credentials of several robots in one.
type PullSecret struct {
	Name   string   // shares one name space with the robots
	Robots []string // names of Robots, at least one
}

// Ledger is where is kept when robots with the strategy regenerate were rotated. At most one field is set; the zero Ledger
// is right where there are no such robots. Changes need a restart.
type Ledger struct {
	File       string     // of one replica alone; it is made if it does not exist
	Kubernetes LedgerKube // shared by replicas
}

// LedgerKube keeps the ledger in a cluster, one Lease a robot.
type LedgerKube struct {
	Namespace string // of the Leases; empty: the ledger is not kept in Kubernetes
}

// Warnings returns what is valid but probably not meant, in the order of the file's lines.
func (c *Config) Warnings() []Problem { return c.warnings }

// RuleLine returns the line of the file on which the rule with this index begins.
func (c *Config) RuleLine(i int) int { return c.lines[i] }

// Digest returns 12 hexadecimal digits that identify the file's content, for logs and metrics.
func (c *Config) Digest() string { return hex.EncodeToString(c.digest[:6]) }

// digest identifies the content of a file.
type digest [sha256.Size]byte

// Options change how a file is loaded. The zero value is what a service needs.
type Options struct {
	SkipFiles bool // do not look at token, CA and certificate files: for checks on a machine that has none of them
}

// Load reads, checks and translates a configuration file with the zero [Options].
func Load(path string) (*Config, error) { return Options{}.Load(path) }

// Load reads, checks and translates a configuration file. An error is an [*Error] with every problem when there is
// something wrong with the content, and otherwise wraps why the file could not be read.
func (o Options) Load(path string) (*Config, error) {
	data, err := read(path)
	if err != nil {
		return nil, err
	}
	return o.parse(path, data)
}

// Parse checks and translates the content of a configuration file; name stands for it in messages, and relative paths
// in the file start from its directory. Parse looks at no other file. Every error is an [*Error].
func Parse(name string, data []byte) (*Config, error) {
	return Options{SkipFiles: true}.parse(name, data)
}

// read returns up to one byte more than parse accepts.
func read(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("reading the configuration: %w", err)
	}
	data, err := io.ReadAll(io.LimitReader(f, MaxSize+1))
	if err := errors.Join(err, f.Close()); err != nil {
		return nil, fmt.Errorf("reading the configuration: %w", err)
	}
	return data, nil
}

func (o Options) parse(name string, data []byte) (*Config, error) {
	d := newDecoder(name, data)
	c := &Config{path: name, options: o, digest: sha256.Sum256(data)}
	if root, ok := d.document(data); ok {
		d.config(root, c)
		if !d.full() {
			d.check(c)
		}
	}
	if !o.SkipFiles {
		d.checkFiles()
	}
	sortProblems(d.problems)
	sortProblems(d.warnings)
	if len(d.problems) > 0 {
		return nil, &Error{Problems: d.problems, Warnings: d.warnings}
	}
	c.warnings = d.warnings
	return c, nil
}
