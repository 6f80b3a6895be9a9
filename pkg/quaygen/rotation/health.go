package rotation

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/quaygen/quaygen/pkg/quaygen/quay"
)

// Health is how work with one organization goes.
type Health struct {
	Registry string
	Owner    quay.Owner
	At       time.Time // local time of the last good list; zero: none yet
	Err      error     // what is wrong now: Quay, its token, the organization; nil: nothing
	ReadOnly bool      // Quay's own configuration says that it is read-only: nothing is rotated or retired
	Disabled bool      // Quay's own configuration says that robots may not log in, except for some perhaps
	Serving  int       // robots whose credential can be handed out now
	Awaited  int       // as long as this process starts: robots in use for which it has yet to do what it takes to hand out theirs
}

// Health returns how work with each organization goes, ordered by registry and name.
func (e *Engine) Health() []Health {
	serving := map[organizationKey]int{}
	for _, c := range e.all() {
		if l := c.lease.Load(); l != nil && l.Valid() {
			serving[organizationKey{c.registry, c.spec.Load().Base.Owner()}]++
		}
	}
	e.mu.RLock()
	defer e.mu.RUnlock()
	var out []Health
	for key, o := range e.organizations {
		h := Health{Registry: key.registry, Owner: key.owner, Err: errNotListed}
		if known := o.health.Load(); known != nil {
			h = *known
		}
		h.Serving = serving[key]
		out = append(out, h)
	}
	slices.SortFunc(out, func(a, b Health) int {
		return strings.Compare(a.Registry+"/"+a.Owner.Name(), b.Registry+"/"+b.Owner.Name())
	})
	return out
}

// memoryEnds returns for each organization when the first of the credentials that are handed out now ends, by the local
// clock, unless the organization is listed before. An organization of which nothing is handed out is not in it.
func (e *Engine) memoryEnds() map[organizationKey]time.Time {
	ends := map[organizationKey]time.Time{}
	for _, c := range e.all() {
		if l := c.lease.Load(); l != nil && l.Valid() {
			key := organizationKey{c.registry, c.spec.Load().Base.Owner()}
			ends[key] = earlier(ends[key], l.ends())
		}
	}
	return ends
}

var errNotListed = errors.New("not listed yet")

// healthNow is what is known of the organization apart from how its list went.
func (o *organization) healthNow() Health {
	return Health{Registry: o.key.registry, Owner: o.key.owner, ReadOnly: o.resolver.readOnly, Disabled: o.resolver.disabled}
}

// stillAwaited counts the robots in use that cannot be handed out before steps of this sync are done. Once there were none,
// or a first sync is through, nothing is awaited any more: what cannot be handed out then is not for want of time.
func (o *organization) stillAwaited(chains []*chain, plans []Plan) int {
	if o.begun {
		return 0
	}
	n := 0
	for i, c := range chains {
		if c.lease.Load() == nil && slices.ContainsFunc(plans[i].Steps, c.leads) {
			n++
		}
	}
	o.begun = n == 0
	return n
}

// leads reports whether a step that is yet to be done leads to handing out a credential that is in use.
func (c *chain) leads(s Step) bool {
	g, key := c.memory.gens[s.Generation], s.String()
	return s.Action < Record && g != nil && !g.accessed.IsZero() && !c.tried[key] && c.failed[key] == nil
}

// LedgerHealth is how work with the ledger goes, as of the last sync of each robot that needs it.
type LedgerHealth struct {
	Robots  int   // with the strategy regenerate; no others need a ledger
	Without int   // of these, for which it could not be used
	Err     error // why not, for the first of them by name; nil: there is none
}

// Ledger returns how work with the ledger goes. A robot whose record cannot be read or written is served, but not rotated.
func (e *Engine) Ledger() LedgerHealth {
	var h LedgerHealth
	for _, s := range e.Statuses() {
		if s.Spec.Strategy != Regenerate {
			continue
		}
		h.Robots++
		trouble := s.Ledger
		if e.config.Ledger == nil {
			trouble = errNoLedger.Error() // known before any sync
		}
		if trouble == "" {
			continue
		}
		if h.Without++; h.Without == 1 {
			h.Err = fmt.Errorf("%s: %s", s.Name, trouble)
		}
	}
	return h
}
