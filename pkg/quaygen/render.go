package quaygen

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/quaygen/quaygen/pkg/quaygen/audit"
	"github.com/quaygen/quaygen/pkg/quaygen/dockerconfig"
	"github.com/quaygen/quaygen/pkg/quaygen/rotation"
)

// Format is the form of an answer's data.
type Format string

// The formats, with the keys of their data.
const (
	FormatDockerConfigJSON Format = "dockerconfigjson" // .dockerconfigjson, for Secrets of type kubernetes.io/dockerconfigjson
	FormatDockerCfg        Format = "dockercfg"        // .dockercfg, the older form
	FormatBasic            Format = "basic"            // username, password, registry; one robot only
)

var formatKeys = map[Format][]string{
	FormatDockerConfigJSON: {".dockerconfigjson"},
	FormatDockerCfg:        {".dockercfg"},
	FormatBasic:            {"username", "password", "registry"},
}

// everyFormat holds all formats.
var everyFormat = []Format{FormatDockerConfigJSON, FormatBasic, FormatDockerCfg}

// Formats returns the names of all formats.
func Formats() []string {
	names := make([]string, len(everyFormat))
	for i, format := range everyFormat {
		names[i] = string(format)
	}
	return names
}

// Properties returns the keys of the data of all formats, sorted.
func Properties() []string {
	var all []string
	for _, keys := range formatKeys {
		all = append(all, keys...)
	}
	slices.Sort(all)
	return all
}

// FormatWith returns the format whose data has the key property; no key is in two of them.
func FormatWith(property string) (Format, bool) {
	for format, keys := range formatKeys {
		if slices.Contains(keys, property) {
			return format, true
		}
	}
	return "", false
}

func parseFormat(r Request, secret PullSecret) (Format, error) {
	f := formatOf(r)
	keys, ok := formatKeys[f]
	switch {
	case !ok:
		return "", &Error{Kind: KindInvalid, Detail: fmt.Sprintf("there is no format %q; there are %s", Clip(r.Format), strings.Join(Formats(), ", "))}
	case f == FormatBasic && len(secret.Parts) > 1:
		return "", &Error{Kind: KindInvalid, Detail: "the format basic holds one user name and password, but this pull secret joins several robots; ask for one of them, or for dockerconfigjson"}
	case r.Property != "" && !slices.Contains(keys, r.Property):
		return "", &Error{Kind: KindInvalid, Detail: fmt.Sprintf("there is no property %q in the format %s; there is %s", Clip(r.Property), f, strings.Join(keys, ", "))}
	}
	return f, nil
}

type renderKey struct {
	name, property string
	format         Format
	namespace      string // only where the answer depends on it
}

// rendering is a finished answer, good for exactly these settings and credentials.
type rendering struct {
	settings    *Settings
	credentials []*rotation.Credential
	name        string
	parts       []Part // as long as credentials
	audited     []audit.Credential
	warnings    []string
	body        []byte
	data        map[string]string
	memos       sync.Map // what transports made of it, by its type; see [Memo]
}

func (r *rendering) of(leases []*rotation.Lease) bool {
	return slices.EqualFunc(r.credentials, leases, func(c *rotation.Credential, l *rotation.Lease) bool { return c == l.Credential })
}

// document is the answer on the wire.
type document struct {
	Name       string     `json:"name"`
	Generation *int64     `json:"generation,omitempty"`
	Robot      string     `json:"robot,omitempty"`
	Registry   string     `json:"registry,omitempty"`
	MintedAt   time.Time  `json:"mintedAt"`            // of the newest part
	RefreshAt  *time.Time `json:"refreshAt,omitempty"` // of the part that is due first; absent if none ever is
	Warnings   []string   `json:"warnings"`
	Parts      []document `json:"parts,omitempty"` // where several robots are joined
	Data       any        `json:"data,omitempty"`
}

func describe(c *rotation.Credential, host string) document {
	d := document{Name: c.Name, Generation: &c.Generation, Robot: c.Robot.Username(), Registry: host, MintedAt: c.Created.UTC(), Warnings: c.Warnings}
	if !c.RefreshAt.IsZero() {
		at := c.RefreshAt.UTC().Truncate(time.Second)
		d.RefreshAt = &at
	}
	if d.Warnings == nil {
		d.Warnings = []string{}
	}
	return d
}

func render(name, property string, format Format, secret PullSecret, leases []*rotation.Lease) (*rendering, error) {
	r := &rendering{name: name, parts: secret.Parts}
	var entries []dockerconfig.Entry
	var parts []document
	for i, part := range secret.Parts {
		c := leases[i].Credential
		r.credentials = append(r.credentials, c)
		parts = append(parts, describe(c, part.Host))
		r.audited = append(r.audited, audit.Credential{Robot: c.Robot.Username(), Registry: part.Host, Generation: c.Generation, Token: c.Token.Fingerprint()})
		entry := dockerconfig.Entry{Host: part.Host, Username: c.Robot.Username(), Password: c.Token, Email: part.Email, Wider: c.InTeams}
		for _, repository := range c.Repositories {
			entry.Paths = append(entry.Paths, c.Robot.Owner().Name()+"/"+repository)
		}
		entries = append(entries, entry)
	}
	scoped := dockerconfig.Scope(entries)
	data, err := encode(format, scoped)
	if err != nil {
		return nil, fmt.Errorf("rendering the pull secret %q: %w", name, err)
	}
	r.data = data
	for i, e := range entries {
		if e.Wider && !wholly(leases[i].Credential, e.Host, scoped) {
			parts[i].Warnings = append(slices.Clone(parts[i].Warnings), unseen)
		}
	}
	doc := parts[0]
	if len(parts) > 1 {
		doc = join(parts)
	}
	doc.Name, doc.Data = name, data
	if property != "" {
		doc.Data = data[property]
	}
	r.warnings = doc.Warnings
	if r.body, err = json.Marshal(doc); err != nil {
		return nil, fmt.Errorf("rendering the pull secret %q: %w", name, err)
	}
	r.body = append(r.body, '\n')
	return r, nil
}

// unseen is what a consumer of several robots should know of one of them.
const unseen = "what it may pull through its teams is not sent to it, since another robot of the organization is asked for what is not known; " +
	"grant it the repositories, or take a pull secret of its own for it"

// wholly reports whether images of the robot's organization that nobody is known to pull are sent to it.
func wholly(c *rotation.Credential, host string, scoped []dockerconfig.Entry) bool {
	return slices.ContainsFunc(scoped, func(e dockerconfig.Entry) bool {
		return e.Host == host && e.Username == c.Robot.Username() && (len(e.Paths) == 0 || slices.Contains(e.Paths, c.Robot.Owner().Name()))
	})
}

func encode(format Format, entries []dockerconfig.Entry) (map[string]string, error) {
	var data []byte
	var err error
	switch format {
	case FormatBasic:
		e := entries[0]
		return map[string]string{"username": e.Username, "password": e.Password.Reveal(), "registry": e.Host}, nil
	case FormatDockerCfg:
		data, err = dockerconfig.EncodeLegacy(entries)
	case FormatDockerConfigJSON:
		data, err = dockerconfig.Encode(entries)
	default:
		return nil, fmt.Errorf("internal error: no way to write the format %q", format)
	}
	if err != nil {
		return nil, err
	}
	return map[string]string{formatKeys[format][0]: string(data)}, nil
}

// join describes several robots as one: as new as the newest, and to be refreshed when the first of them is.
func join(parts []document) document {
	d := document{Parts: parts, Warnings: []string{}}
	seen := map[string]bool{}
	for _, p := range parts {
		if p.MintedAt.After(d.MintedAt) {
			d.MintedAt = p.MintedAt
		}
		if p.RefreshAt != nil && (d.RefreshAt == nil || p.RefreshAt.Before(*d.RefreshAt)) {
			d.RefreshAt = p.RefreshAt
		}
		for _, w := range p.Warnings {
			seen[p.Name+": "+w] = true
		}
	}
	d.Warnings = append(d.Warnings, slices.Sorted(maps.Keys(seen))...)
	return d
}
