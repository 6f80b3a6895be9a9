package config

import (
	"net/mail"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/quaygen/quaygen/pkg/quaygen/dockerconfig"
	"github.com/quaygen/quaygen/pkg/quaygen/policy"
	"github.com/quaygen/quaygen/pkg/quaygen/quay"
	"github.com/quaygen/quaygen/pkg/quaygen/rotation"
)

// config walks the root. The keys it and the functions below get are the format; schema.json says the same to editors,
// and a test compares the two.
func (d *decoder) config(v value, c *Config) {
	root := v.object()
	defer root.end()
	root.require("apiVersion", APIVersion).oneOf("", APIVersion)
	root.require("kind", Kind).oneOf("", Kind)
	c.Instance = root.require("instance", "a short name for this installation, such as prod-eu").matching(instanceRE, instanceRule)

	before := len(d.problems)
	c.Sync = root.get("sync").duration(defaultSync)
	c.Safety = d.safety(root.get("safety"))
	timesOK := len(d.problems) == before

	c.Registries = each(root.require("registries", "at least one Quay").nonEmpty("registry"), d.registry)
	c.Robots = each(root.require("robots", "at least one robot").nonEmpty("robot"), func(v value) Robot { return d.robot(v, c, timesOK) })
	c.PullSecrets = each(root.get("pullSecrets"), d.pullSecret)
	var limits Limits
	c.Server, limits = d.server(root.get("server"))
	c.Clients = each(root.get("clients"), func(v value) Client { return d.client(v, limits) })
	c.Rules = each(root.get("rules"), func(v value) policy.Rule {
		c.lines = append(c.lines, v.node.Line)
		return d.rule(v)
	})
	c.Ledger = d.ledger(root.get("ledger"), c)
	c.Audit = d.audit(root.get("audit"))
	c.Tracing = d.tracing(root.get("tracing"))
}

// nonEmpty reports a list that is written but empty: an empty robots list, say from a template gone wrong, would turn
// every answer into "no such name", upon which consumers may delete their Secrets.
func (v value) nonEmpty(what string) value {
	if v.written() && len(v.node.Content) == 0 && v.node.Tag == "!!seq" {
		v.fail("is empty; at least one %s is needed", what)
	}
	return v
}

var (
	instanceRE  = regexp.MustCompile(`\A[a-z0-9-]{1,63}\z`)
	nameRE      = regexp.MustCompile(`\A[a-z0-9][a-z0-9._-]{0,252}\z`)
	namespaceRE = regexp.MustCompile(`\A[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\z`)
)

const (
	instanceRule  = "1 to 63 lower-case letters, digits and '-'"
	nameRule      = "1 to 253 lower-case letters, digits, '.', '_' and '-', the first a letter or digit"
	namespaceRule = "the name of a Kubernetes namespace: 1 to 63 lower-case letters, digits and, within, '-'"
)

func (v value) name() string { return v.matching(nameRE, nameRule) }

func (d *decoder) safety(v value) rotation.Safety {
	o := v.object()
	defer o.end()
	defaults := rotation.DefaultSafety()
	return rotation.Safety{
		Settle:            o.get("settle").duration(defaults.Settle),
		StepDeadline:      o.get("stepDeadline").duration(defaults.StepDeadline),
		ClockAllowance:    o.get("clockAllowance").duration(defaults.ClockAllowance),
		AllowUnsafeTiming: o.get("allowUnsafeTiming").boolean(),
	}
}

// defaultLedger is where the manifests mount a volume.
const defaultLedger = "/var/lib/quaygen/ledger.db"

func (d *decoder) ledger(v value, c *Config) Ledger {
	o := v.object()
	defer o.end()
	file, kubernetes := o.get("file"), o.get("kubernetes")
	k := kubernetes.object()
	defer k.end()
	l := Ledger{File: file.newFile()}
	if kubernetes.written() {
		l.Kubernetes.Namespace = k.require("namespace", "the namespace in which the Leases are kept").matching(namespaceRE, namespaceRule)
	}
	switch {
	case file.written() && kubernetes.written():
		kubernetes.fail("the ledger is kept in a file or in Kubernetes; remove one of the two keys")
	case l == Ledger{} && slices.ContainsFunc(c.Robots, func(r Robot) bool { return r.Strategy == rotation.Regenerate }):
		l.File = defaultLedger
	}
	return l
}

func (d *decoder) registry(v value) Registry {
	o := v.object()
	defer o.end()
	r := Registry{Name: o.require("name", "the name by which robots refer to this registry").name()}
	r.Quay.URL = d.url(o.require("url", "the address of Quay, such as https://quay.example.com"))
	r.Host = d.host(o.get("host"), r.Quay.URL)
	r.Quay.TokenFile = o.require("tokenFile", "the path of a file that holds an OAuth token of Quay").file(tokenFile)
	r.TokenExpires = d.tokenExpires(o.get("tokenExpires"))
	r.Quay.CAFile = o.get("caFile").file(certificates)

	limits := o.get("limits").object()
	defer limits.end()
	r.Quay.QPS = limits.get("qps").number(defaultQPS, 1000)
	r.Quay.Burst = limits.get("burst").whole(defaultBurst, 10_000)
	return r
}

// tokenExpires reads what no call with the token tells (docs/quay-contract.md 1.6).
func (d *decoder) tokenExpires(v value) time.Time {
	t := v.moment()
	if !t.IsZero() && !t.After(time.Now()) {
		d.warn(v.path, "is over: Quay refuses a token from its end on; write the end of the token that is in tokenFile, or remove the key")
	}
	return t
}

// url reads the address of a Quay. Nothing of an address that could hold a password is quoted.
func (d *decoder) url(v value) string {
	s := v.str()
	if s == "" {
		return ""
	}
	u, err := url.Parse(s)
	switch {
	case err != nil || u.Host == "" || u.Hostname() == "":
		v.fail("is not an address; write one such as https://quay.example.com")
	case u.User != nil:
		v.fail("holds a user name or password; remove it, the token belongs into tokenFile")
	case u.Scheme != "https" && u.Scheme != "http":
		v.fail("starts with %q; write https://%s", clip(u.Scheme)+"://", clip(u.Host))
	case u.Scheme == "http" && !loopback(u.Hostname()):
		v.fail("would send the token in plaintext; write https://%s (http is accepted for loopback addresses only)", clip(u.Host))
	case strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "":
		v.fail("has more than a host in it; write %s://%s", u.Scheme, clip(u.Host))
	case !hostRE.MatchString(u.Host):
		v.fail("%q is not a host name with an optional port", clip(u.Host))
	default:
		return u.Scheme + "://" + u.Host
	}
	return ""
}

// A host as it stands before the first slash of an image name.
var hostRE = regexp.MustCompile(`\A(?:[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?|\[[0-9a-fA-F:.]+\])(?::[0-9]{1,5})?\z`)

func (d *decoder) host(v value, registryURL string) string {
	s := v.str()
	if s == "" {
		s = strings.TrimPrefix(strings.TrimPrefix(registryURL, "https://"), "http://")
		if err := dockerconfig.CheckHost(s); err != nil && s != "" {
			v.fail("is missing, and %q, which the url has, %v; write the host that image names begin with", clip(s), err)
		}
		return s
	}
	if !hostRE.MatchString(s) {
		hint := ""
		if u, err := url.Parse(s); err == nil && u.User == nil && hostRE.MatchString(u.Host) {
			hint = "; write " + u.Host
		}
		v.fail("must be the host, with a port if image names have one, and nothing else%s", hint)
	} else if err := dockerconfig.CheckHost(s); err != nil {
		v.fail("%q %v", clip(s), err)
	}
	return s
}

func (d *decoder) pullSecret(v value) PullSecret {
	o := v.object()
	defer o.end()
	return PullSecret{
		Name:   o.require("name", "the name that callers ask for").name(),
		Robots: d.names(o.require("robots", "the names of the robots to join"), "name of a robot"),
	}
}

// names reads a list of at least one string without repetitions.
func (d *decoder) names(v value, what string) []string {
	return unique(v.nonEmpty(what).items(), value.str)
}

// unique reads each item and reports repetitions. The result is as long as items, whatever is wrong.
func unique(items []value, read func(value) string) []string {
	var all []string
	first := make(map[string]int)
	for i, item := range items {
		s := read(item)
		if j, twice := first[s]; twice && s != "" {
			item.fail("%q is listed twice, first as number %d; remove one", clip(s), j+1)
		} else {
			first[s] = i
		}
		all = append(all, s)
	}
	return all
}

// email reads an address that pull secrets carry. Registries ignore it; it only must not break the JSON's readers.
func (v value) email() string {
	s := v.str()
	if s == "" {
		return ""
	}
	if a, err := mail.ParseAddress(s); err != nil || a.Address != s {
		v.fail("%q is not an e-mail address; write one such as robots@example.com", clip(s))
	}
	return s
}

// teamName reads the name of a team; Quay's rule for it is that for organizations.
func (v value) teamName() string {
	s := v.str()
	if s == "" {
		return ""
	}
	if _, err := quay.ParseOrganization(s); err != nil {
		v.fail("%q is no name of a team: lower-case letters and digits, in groups joined by single '.', '_' or '-', 2 to 255 in all", clip(s))
		return ""
	}
	return s
}
