package quaygen

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quaygen/quaygen/pkg/quaygen/audit"
	"github.com/quaygen/quaygen/pkg/quaygen/policy"
	"github.com/quaygen/quaygen/pkg/quaygen/rotation"
)

// maxWait bounds how long a request waits for a robot that is being minted. ESO works off one ExternalSecret after the
// other and has no time limit of its own: an answer that says "later" is better than a late one.
const maxWait = 8 * time.Second

// Settings are what a configuration says about answers. They are replaced as a whole.
type Settings struct {
	Rules   policy.Rules
	Secrets map[string]PullSecret // what callers may ask for, by name
	Limits  map[string]Limits     // by client; one that is not in it has [DefaultLimits]

	// Labels says what is known of a namespace's labels; nil: nobody knows any. It is called with each request, and answers
	// from memory.
	Labels func(namespace string) policy.Labels
}

// PullSecret is what callers ask for: one robot, or several joined.
type PullSecret struct {
	Parts []Part
	Tags  map[string]string // by which it can be found; see [Service.Tagged]
}

// Part is one robot's share of a pull secret.
type Part struct {
	Robot string // the robot's configured name
	Host  string // registry host as images name it, with the port if any
	Email string // may be empty

	PerNamespace bool // each namespace has a robot of its own
}

// Request is what a caller asks for.
type Request struct {
	Name      string
	Namespace string // whom the credential is for
	Property  string // one value of the data instead of all; empty: all
	Format    string // see [Formats]; empty: dockerconfigjson
}

// Service answers requests for pull secrets. It is safe for concurrent use.
type Service struct {
	engine   *rotation.Engine
	log      *slog.Logger
	trail    *audit.Log // nil: there is none
	settings atomic.Pointer[Settings]
	rendered sync.Map      // renderKey → *rendering
	tailored atomic.Uint64 // how often one was rendered for a namespace
	door     door
}

// New returns a service that allows nothing yet.
func New(engine *rotation.Engine, log *slog.Logger) *Service {
	s := &Service{engine: engine, log: log}
	s.Apply(&Settings{})
	return s
}

// Apply replaces the settings at once. Answers that were rendered before are dropped.
func (s *Service) Apply(settings *Settings) {
	s.settings.Store(settings)
	s.rendered.Clear()
	s.door.names(settings)
}

// Label returns name if callers may ask for it, else "other": a label of metrics holds nothing that callers make up.
func (s *Service) Label(name string) string {
	if _, ok := s.settings.Load().Secrets[name]; ok {
		return name
	}
	return "other"
}

// Get answers a request of an authenticated caller. The answer comes from memory; only for a robot that is being minted
// right now it waits, together with all others who ask for it. Every error is an [*Error].
func (s *Service) Get(ctx context.Context, caller policy.Caller, r Request) (*Answer, error) {
	answer, decision, err := s.get(ctx, caller, r)
	if err := s.audit(ctx, request(caller, r, decision, answer, err)); err != nil {
		return nil, err
	}
	return answer, err
}

// get is Get without a trace in the audit trail.
func (s *Service) get(ctx context.Context, caller policy.Caller, r Request) (*Answer, policy.Decision, error) {
	settings := s.settings.Load()
	decision, err := s.authorize(ctx, settings, caller, r, formatsOf(r)...)
	if err != nil {
		return nil, decision, err
	}
	answer, err := s.find(ctx, settings, caller, r)
	return answer, decision, err
}

// find answers a request that is allowed.
func (s *Service) find(ctx context.Context, settings *Settings, caller policy.Caller, r Request) (*Answer, error) {
	secret, format, err := settings.meant(r)
	if err != nil {
		return nil, err
	}
	namespace := r.Namespace
	if namespace == "" {
		namespace = caller.Namespace
	}
	if err := s.admitNamespace(settings, caller, secret, namespace); err != nil {
		return nil, err
	}
	leases, err := s.leases(ctx, secret, namespace)
	if err != nil {
		return nil, err
	}
	key := renderKey{name: r.Name, property: r.Property, format: format}
	if slices.ContainsFunc(secret.Parts, func(p Part) bool { return p.PerNamespace }) {
		key.namespace = namespace
	}
	return s.render(settings, key, secret, leases)
}

// meant returns what a request is about, and in which format.
func (settings *Settings) meant(r Request) (PullSecret, Format, error) {
	secret, ok := settings.Secrets[r.Name]
	if !ok {
		return PullSecret{}, "", &Error{Kind: KindUnknown, Detail: fmt.Sprintf("there is no pull secret %q", r.Name)}
	}
	format, err := parseFormat(r, secret)
	return secret, format, err
}

// Check returns why [Service.Get] could answer a request to nobody, whatever Quay says; nil if it may. A caller that has a
// namespace of its own need not name one, and is the only one that Check is too strict for.
func (settings *Settings) Check(r Request) error {
	if err := checkForm(policy.Caller{}, r); err != nil {
		return err
	}
	_, _, err := settings.meant(r)
	return err
}

// formatOf returns the format that a request means, whether or not there is such a one.
func formatOf(r Request) Format {
	if r.Format == "" {
		return FormatDockerConfigJSON
	}
	return Format(r.Format)
}

// formatsOf returns what the rules are asked about. A format that does not exist is told to whoever may have another.
func formatsOf(r Request) []Format {
	for i, format := range everyFormat {
		if format == formatOf(r) {
			return everyFormat[i : i+1]
		}
	}
	return everyFormat
}

// authorize checks the request's form first, since a rule can only be asked about names that mean something. Of several
// formats one that is permitted is enough.
func (s *Service) authorize(ctx context.Context, settings *Settings, caller policy.Caller, r Request, formats ...Format) (policy.Decision, error) {
	if err := checkForm(caller, r); err != nil {
		return policy.Decision{}, err
	}
	// A client with a namespace of its own that names none is denied: its token alone is no proof of the namespace.
	decision := settings.decide(caller, r.Namespace, r.Name, formats...)
	if decision.Outcome == policy.Allowed {
		return decision, nil
	}
	s.log.WarnContext(ctx, "request refused", "client", caller.Name, "how", caller.How, "namespace", r.Namespace, "name", r.Name, "reason", decision.Reason)
	if decision.Outcome == policy.Open {
		return decision, errOpen()
	}
	return decision, &Error{Kind: KindDenied, Detail: "this client may not have this pull secret for this namespace"}
}

func unrendered(s string) bool { return strings.Contains(s, "<no value>") }

func checkForm(caller policy.Caller, r Request) error {
	switch {
	case slices.ContainsFunc([]string{r.Name, r.Namespace, r.Property, r.Format}, unrendered):
		return &Error{Kind: KindInvalid, Detail: `a template rendered "<no value>": it uses a variable that ESO does not set here`}
	case !isName(r.Name):
		return &Error{Kind: KindInvalid, Detail: fmt.Sprintf("%q cannot be the name of a pull secret: lower-case letters, digits, '.', '_' and '-'", Clip(r.Name))}
	case r.Namespace == "" && caller.Namespace == "":
		return &Error{Kind: KindInvalid, Detail: "the namespace is missing: the one that the pull secret is for"}
	case r.Namespace != "" && !IsNamespace(r.Namespace):
		return &Error{Kind: KindInvalid, Detail: fmt.Sprintf("%q cannot be a namespace of Kubernetes", Clip(r.Namespace))}
	}
	return nil
}

// decide asks the rules, for each format in turn until one is permitted. What is not decided for one of them is not for all.
func (settings *Settings) decide(caller policy.Caller, namespace, name string, formats ...Format) (decision policy.Decision) {
	q := policy.Request{Namespace: namespace, Name: name}
	if settings.Labels != nil {
		q.Labels = settings.Labels(namespace)
	}
	for _, format := range formats {
		q.Format = string(format)
		d := settings.Rules.Decide(caller, q)
		if d.Outcome == policy.Allowed {
			return d
		}
		if decision.Outcome != policy.Open {
			decision = d
		}
	}
	return decision
}

// errOpen is the answer where a rule may or may not permit what is asked for.
func errOpen() *Error {
	return &Error{
		Kind: KindNotReady, RetryAfter: time.Second,
		Detail: "whether this client may have this cannot be decided yet: it depends on the labels of the namespace, which are still to be read from Kubernetes",
	}
}

func (s *Service) leases(ctx context.Context, secret PullSecret, namespace string) ([]*rotation.Lease, error) {
	leases := make([]*rotation.Lease, len(secret.Parts))
	missing := false
	for i, part := range secret.Parts {
		lease, err := s.engine.Current(part.ref(namespace))
		leases[i] = lease
		missing = missing || err != nil
	}
	if !missing {
		return leases, nil
	}
	// The context is made only here: the request that finds everything in memory pays nothing for it. All that is missing is
	// being minted by now, so that the waits do not add up.
	waiting, cancel := context.WithTimeout(ctx, maxWait)
	defer cancel()
	for i, part := range secret.Parts {
		if leases[i] != nil {
			continue
		}
		lease, err := s.engine.Await(waiting, part.ref(namespace))
		if err != nil {
			return nil, translate(err)
		}
		leases[i] = lease
	}
	return leases, nil
}

func (p Part) ref(namespace string) rotation.Ref {
	if p.PerNamespace {
		return rotation.Ref{Name: p.Robot, Namespace: namespace}
	}
	return rotation.Ref{Name: p.Robot}
}

func (s *Service) render(settings *Settings, key renderKey, secret PullSecret, leases []*rotation.Lease) (*Answer, error) {
	if found, ok := s.rendered.Load(key); ok {
		if old := found.(*rendering); old.settings == settings && old.of(leases) { //nolint:errcheck,forcetypeassert // only renderings are stored
			return &Answer{rendering: old, leases: leases}, nil
		}
	}
	fresh, err := render(key.name, key.property, key.format, secret, leases)
	if err != nil {
		return nil, err
	}
	fresh.settings = settings // one rendered under replaced settings may still get in here; it is never found good
	s.rendered.Store(key, fresh)
	if key.namespace != "" && s.tailored.Add(1)%sweepEvery == 0 {
		s.sweep(settings)
	}
	return &Answer{rendering: fresh, leases: leases}, nil
}

// sweepEvery is after how many answers for namespaces those are looked for that nobody will ask for again.
const sweepEvery = 256

// sweep drops the answers for namespaces whose robots are not looked after any more: they hold tokens, and clusters make
// namespaces without end.
func (s *Service) sweep(settings *Settings) {
	s.rendered.Range(func(k, _ any) bool {
		key, _ := k.(renderKey)
		gone := func(p Part) bool { return p.PerNamespace && !s.engine.Looks(p.ref(key.namespace)) }
		if key.namespace != "" && slices.ContainsFunc(settings.Secrets[key.name].Parts, gone) {
			s.rendered.Delete(k)
		}
		return true
	})
}

// Answer is a rendered pull secret. Write it only while it is valid.
type Answer struct {
	*rendering
	leases []*rotation.Lease
}

// Body returns the JSON document. It must not be changed.
func (a *Answer) Body() []byte { return a.body }

// Data returns the values alone, by key, as they go into a Secret. It must not be changed.
func (a *Answer) Data() map[string]string { return a.data }

// Name is what was asked for.
func (a *Answer) Name() string { return a.name }

// Warnings is what consumers should know.
func (a *Answer) Warnings() []string { return a.warnings }

// Credential says which robot's credential an answer holds, without the token.
type Credential struct {
	Name       string // the robot's configured name
	Host       string // the registry, as images name it
	Robot      string // user name in Quay
	Generation int64
	MintedAt   time.Time // Quay's time
	RefreshAt  time.Time // Quay's time when the next rotation is due; zero: none is
}

// Credentials says whose credentials the answer holds, in the order of the configuration.
func (a *Answer) Credentials() []Credential {
	out := make([]Credential, len(a.credentials))
	for i, c := range a.credentials {
		out[i] = Credential{Name: c.Name, Host: a.parts[i].Host, Robot: c.Robot.Username(), Generation: c.Generation, MintedAt: c.Created, RefreshAt: c.RefreshAt}
	}
	return out
}

// Memo returns what translate makes of an answer, and keeps it as long as the rendering is kept: a transport translates each
// answer once. What it returns must not be changed.
func Memo[T any](a *Answer, translate func(*Answer) *T) *T {
	key := (*T)(nil) // of one type there is one translation
	if found, ok := a.memos.Load(key); ok {
		if kept, ok := found.(*T); ok {
			return kept
		}
	}
	fresh := translate(a)
	a.memos.Store(key, fresh)
	return fresh
}

// Valid reports whether the answer may still be handed out. A process that was stopped between Get and here finds that
// it may not.
func (a *Answer) Valid() bool {
	return !slices.ContainsFunc(a.leases, func(l *rotation.Lease) bool { return !l.Valid() })
}

// ErrExpired is the answer when a valid one has just ended.
func ErrExpired(name string) *Error {
	return &Error{Kind: KindNotReady, Detail: "the credential of " + name + " may be retired by now; it is being looked up", RetryAfter: time.Second}
}
