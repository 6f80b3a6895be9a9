package quaygen

import (
	"fmt"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/quaygen/quaygen/pkg/quaygen/policy"
	"github.com/quaygen/quaygen/pkg/quaygen/rotation"
)

// Limits are what one client may ask of this process. They are there for the case that a client goes wrong, or is in the
// wrong hands; nobody who works as meant comes near them.
type Limits struct {
	QPS        float64 // requests a second in the long run
	Burst      int     // requests at once, after a pause
	Concurrent int     // requests that are being answered at the same time; watches and orders count while they last
	Namespaces int     // namespaces that have robots of their own, with the scope namespace
}

// DefaultLimits let two thousand ExternalSecrets that are made together refresh in one second.
func DefaultLimits() Limits {
	return Limits{QPS: 1000, Burst: 5000, Concurrent: 1000, Namespaces: 1000}
}

// maxMinting is for how many namespaces of one client a first robot may be in the making. Each takes several calls to
// Quay, and those of other clients come behind them.
const maxMinting = 200

// The reasons for which a request is refused here, in metrics.
const (
	limitedRate       = "rate"
	limitedConcurrent = "concurrent"
	limitedNamespaces = "namespaces"
	limitedMinting    = "minting"
)

// A door counts who is inside, and how often they came in.
type door struct {
	mu      sync.Mutex // guards what follows
	tenants map[visitor]*bucket
	full    map[string]fullness // by client
	metrics *Metrics

	beginning sync.Mutex // held while a namespace is counted and begun, both of it in memory
}

// A visitor is who limits are for: a client of many namespaces that are proven to it, as ServiceAccounts are, is many.
type visitor struct{ client, namespace string }

func visitorOf(caller policy.Caller) visitor {
	return visitor{client: caller.Name, namespace: caller.Namespace}
}

type bucket struct {
	limits Limits
	rate   *rate.Limiter
	inside int
}

// fullness remembers for a second that a client has too many namespaces, so that asking again costs little.
type fullness struct {
	until  time.Time
	reason string
	err    *Error
}

// maxBuckets is more than there are callers in a large cluster; beyond it those that are full again are forgotten.
const maxBuckets = 4096

// Measure counts refusals. Call it before requests come in.
func (s *Service) Measure(m *Metrics) {
	s.door.mu.Lock()
	s.door.metrics = m
	s.door.mu.Unlock()
	s.door.names(s.settings.Load())
}

// names makes a counter start at zero for each client: a first refusal shows as an increase.
func (d *door) names(settings *Settings) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.full = nil
	if d.metrics == nil {
		return
	}
	for client := range settings.Limits {
		for _, reason := range []string{limitedRate, limitedConcurrent, limitedNamespaces, limitedMinting} {
			d.metrics.limited.WithLabelValues(client, reason)
		}
	}
}

func (d *door) refusedLocked(client, reason string) {
	if d.metrics != nil {
		d.metrics.limited.WithLabelValues(client, reason).Inc()
	}
}

func (settings *Settings) limits(client string) Limits {
	if l, ok := settings.Limits[client]; ok {
		return l
	}
	return DefaultLimits()
}

// Admit lets a request of an authenticated caller in, unless it has asked for too much lately. Call it once for each
// request, whatever comes of it inside, and leave when it is answered. The error is an [*Error].
func (s *Service) Admit(caller policy.Caller) (leave func(), err error) {
	b, err := s.door.enter(visitorOf(caller), s.settings.Load().limits(caller.Name))
	if err != nil {
		s.crowdedOut(caller, err)
		return nil, err
	}
	return func() { s.door.leave(b) }, nil
}

func (d *door) enter(v visitor, limits Limits) (*bucket, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	b := d.bucketLocked(v, limits)
	if b.inside >= limits.Concurrent {
		d.refusedLocked(v.client, limitedConcurrent)
		return nil, &Error{Kind: KindTooMany, Detail: fmt.Sprintf("%d requests of this client are being answered already", limits.Concurrent), RetryAfter: time.Second}
	}
	if !b.rate.Allow() {
		d.refusedLocked(v.client, limitedRate)
		wait := time.Duration(float64(time.Second) / limits.QPS)
		return nil, &Error{Kind: KindTooMany, Detail: fmt.Sprintf("this client asks more than %g times a second", limits.QPS), RetryAfter: max(time.Second, wait)}
	}
	b.inside++
	return b, nil
}

func (d *door) leave(b *bucket) {
	d.mu.Lock()
	defer d.mu.Unlock()
	b.inside--
}

func (d *door) bucketLocked(v visitor, limits Limits) *bucket {
	b := d.tenants[v]
	if b == nil {
		d.sweepLocked()
		b = &bucket{limits: limits, rate: rate.NewLimiter(rate.Limit(limits.QPS), limits.Burst)}
		if d.tenants == nil {
			d.tenants = make(map[visitor]*bucket)
		}
		d.tenants[v] = b
	}
	if b.limits != limits { // the configuration changed
		b.limits = limits
		b.rate.SetLimit(rate.Limit(limits.QPS))
		b.rate.SetBurst(limits.Burst)
	}
	return b
}

// sweepLocked forgets those of whom nothing has to be remembered.
func (d *door) sweepLocked() {
	if len(d.tenants) < maxBuckets {
		return
	}
	for v, b := range d.tenants {
		if b.inside == 0 && b.rate.Tokens() >= float64(b.limits.Burst) {
			delete(d.tenants, v)
		}
	}
}

// admitNamespace begins the namespace's robots of a pull secret, if that makes no more namespaces than the caller may have.
// What counts is how many there are which its rules would let it have, whoever asked for them: so the count is the same
// after a restart, as soon as Quay was listed, and goes down when robots that nobody uses have ended. Those that exist
// are never refused.
func (s *Service) admitNamespace(settings *Settings, caller policy.Caller, secret PullSecret, namespace string) error {
	for _, part := range secret.Parts {
		if ref := part.ref(namespace); part.PerNamespace && !s.engine.Looks(ref) {
			if err := s.begin(settings, caller, ref); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *Service) begin(settings *Settings, caller policy.Caller, ref rotation.Ref) error {
	d := &s.door
	d.beginning.Lock()
	defer d.beginning.Unlock()
	d.mu.Lock()
	known, refused := d.full[caller.Name]
	d.mu.Unlock()
	if !refused || !time.Now().Before(known.until) {
		known = s.fullness(settings, caller)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if known.err != nil {
		if d.full == nil {
			d.full = make(map[string]fullness)
		}
		d.full[caller.Name] = known
		d.refusedLocked(caller.Name, known.reason)
		return known.err
	}
	delete(d.full, caller.Name)
	_, _ = s.engine.Current(ref) // which begins it; what there is to say about it, the request itself will find
	return nil
}

// fullness says whether a client may have one more namespace.
func (s *Service) fullness(settings *Settings, caller policy.Caller) fullness {
	limits := settings.limits(caller.Name)
	namespaces, minting := s.tenants(settings, caller)
	f := fullness{until: time.Now().Add(time.Second)}
	switch {
	case namespaces >= limits.Namespaces:
		f.reason = limitedNamespaces
		f.err = &Error{
			Kind: KindTooMany, RetryAfter: 10 * time.Minute,
			Detail: fmt.Sprintf("there are %d robots of namespaces that this client may have, and it may have no more (maxNamespaces in quaygen's configuration); those that exist go on", namespaces),
		}
	case minting >= maxMinting:
		f.reason = limitedMinting
		f.err = &Error{Kind: KindTooMany, RetryAfter: 10 * time.Second, Detail: fmt.Sprintf("robots are being made for %d namespaces of this client; the next ones have to wait", minting)}
	}
	return f
}

// tenants counts the robots of namespaces that a client may have, and those that are yet to be made.
func (s *Service) tenants(settings *Settings, caller policy.Caller) (namespaces, minting int) {
	if caller.Account != "" { // a client of many who prove their namespaces is counted as a whole
		caller.Namespace = ""
	}
	names := map[string][]string{} // of pull secrets, by robot
	for name, secret := range settings.Secrets {
		for _, part := range secret.Parts {
			if part.PerNamespace {
				names[part.Robot] = append(names[part.Robot], name)
			}
		}
	}
	for robot, secrets := range names {
		for _, tenant := range s.engine.Tenants(robot) {
			if !s.mayHave(settings, caller, tenant.Namespace, secrets) {
				continue
			}
			namespaces++
			if tenant.Minting {
				minting++
			}
		}
	}
	return namespaces, minting
}

// mayHave reports whether rules let a client have any of these for a namespace. One that is known by its hash only counts
// for everybody.
func (s *Service) mayHave(settings *Settings, caller policy.Caller, namespace string, names []string) bool {
	if strings.Contains(namespace, "_") {
		return true
	}
	for _, name := range names {
		switch settings.decide(caller, namespace, name, everyFormat...).Outcome {
		case policy.Allowed, policy.Open: // what cannot be decided yet may turn out to be its own
			return true
		default:
		}
	}
	return false
}
