package rotation

import (
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// chain is one configured robot at work. The memory belongs to the organization's loop, which lends it to one
// worker at a time; everything others read is published through atomics.
type chain struct {
	registry     string
	organization *organization
	namespace    atomic.Pointer[string] // whose robot it is, with the scope PerNamespace; the hash that stands for it, until it asks
	memory       *Memory

	failed  map[string]error   // steps that failed in this sync: not tried again before the next
	failing map[string]Failure // what failed when it was tried last, and is planned still; by topic
	deleted map[int64]string   // why this process deleted a generation that lists may still show
	tried   map[string]bool    // steps done in this sync: a list that does not show their effect yet is no reason to repeat them
	orders  []*order           // asked for by operators, waiting for the loop; guarded by the organization's mu
	lost    bool               // no longer looked after; guarded by the organization's mu
	working []*order           // taken up by the loop
	done    []*order           // with their outcome, which is told when readers see what they brought about

	collected int  // the sync in which ledger and token were last read; only with the strategy regenerate
	busy      bool // the last pass did something for it

	asked  atomic.Int64         // local time of the last request, Unix nanoseconds; only with the scope PerNamespace
	ended  atomic.Bool          // given up, since no generation is left and nobody asks
	spec   atomic.Pointer[Spec] // as configured now; the memory follows at the next list
	lease  atomic.Pointer[Lease]
	status atomic.Pointer[Status]

	events  *eventLog
	mu      sync.Mutex
	changed chan struct{} // closed and replaced at each publication of lease or status
}

// Status is what is known of a robot, for people and metrics. It holds no secret.
type Status struct {
	Name      string
	Namespace string // whose robot it is, with the scope PerNamespace
	Registry  string
	Spec      Spec
	Plan      Plan
	At        time.Time // Quay's time of the list it rests on; zero: none yet
	Current   int64     // the generation served; -1: none
	Why       string    // why none is served, or what is wrong with Quay
	Trouble   bool      // the last list failed
	Refused   bool      // Quay refuses this installation
	Failures  []Failure // steps that failed when they were tried last, and are tried again
	Ledger    string    // why the ledger cannot be used for it; empty: it can, or is not needed

	deleted map[int64]string
}

// Failure is a step that failed.
type Failure struct {
	Step   string
	Reason string

	action  Action
	topic   string
	refused bool
}

func (f Failure) String() string { return f.Step + ": " + f.Reason }

func (f Failure) same(g Failure) bool { return f.topic == g.topic }

// newChain begins to look after a robot; namespace is whose it is, nil with the scope Shared.
func newChain(spec Spec, registry string, namespace *string, o *organization) *chain {
	c := &chain{
		registry: registry, organization: o, memory: NewMemory(spec), events: o.engine.events, changed: make(chan struct{}),
		failed: map[string]error{}, failing: map[string]Failure{}, tried: map[string]bool{},
	}
	c.spec.Store(&spec)
	c.namespace.Store(namespace)
	c.events.begin(c, &Status{Name: spec.Name, Namespace: c.whose(), Registry: registry, Spec: spec, Current: -1, Why: notListed})
	return c
}

// notListed is why there is no credential before the first list.
const notListed = "Quay has not been listed yet"

// whose returns the namespace whose robot it is; empty with the scope Shared.
func (c *chain) whose() string {
	if ns := c.namespace.Load(); ns != nil {
		return *ns
	}
	return ""
}

// ask remembers that somebody wants the credential, and reports whether the chain is still looked after.
func (c *chain) ask() bool {
	now := time.Now().UnixNano()
	// Requests come by the thousand; a second more or less does not matter.
	if last := c.asked.Load(); now-last > int64(time.Second) || now < last {
		c.asked.Store(now)
	}
	return !c.ended.Load()
}

// sinceAsked is how long ago somebody last wanted the credential; negative: never.
func (c *chain) sinceAsked() time.Duration {
	last := c.asked.Load()
	if last == 0 {
		return -1
	}
	return max(0, time.Since(time.Unix(0, last)))
}

// publish makes what the memory now knows visible to readers.
func (c *chain) publish(plan Plan) {
	m := c.memory
	g, validity, _ := m.servable()
	if g == nil {
		c.lease.Store(nil)
	} else {
		credential := m.credential(g, c.registry, plan.Warnings)
		credential.traced = c.organization.traced
		if old := c.lease.Load(); old != nil && old.equal(credential) {
			credential = old.Credential
		}
		c.lease.Store(&Lease{Credential: credential, sent: m.sent, validity: validity})
	}
	c.publishStatus(plan, nil)
}

// fail keeps what went wrong with a step.
func (c *chain) fail(s Step, err error) {
	c.failed[s.String()] = err
	c.failing[s.topic()] = Failure{Step: s.String(), Reason: err.Error(), action: s.Action, topic: s.topic(), refused: refused(err)}
}

// drop forgets failures of steps that are not planned any more. A creation is not planned either while the one that failed
// may have succeeded after all.
func (c *chain) drop(plan Plan) {
	if len(c.failing) == 0 {
		return
	}
	planned := map[string]bool{Step{Action: Create}.topic(): c.memory.awaited()}
	for _, s := range plan.Steps {
		planned[s.topic()] = true
	}
	maps.DeleteFunc(c.failing, func(topic string, f Failure) bool { return !planned[topic] && c.failed[f.Step] == nil })
}

// publishStatus tells readers how things stand. With trouble the lease stays what it was: it ends by itself.
func (c *chain) publishStatus(plan Plan, trouble error) {
	m := c.memory
	status := &Status{Name: m.spec.Name, Namespace: c.whose(), Registry: c.registry, Spec: m.spec, Plan: plan, At: m.at, Current: -1}
	g, _, why := m.servable()
	status.Why, status.Ledger = why, m.ledgerTrouble()
	if g != nil {
		status.Current = m.numberOf(g)
	}
	for _, topic := range slices.Sorted(maps.Keys(c.failing)) {
		f := c.failing[topic]
		status.Failures = append(status.Failures, f)
		status.Refused = status.Refused || g == nil && f.refused
	}
	status.deleted = maps.Clone(c.deleted)
	if pub := m.published(); g == nil && pub != nil {
		status.Refused = status.Refused || pub.barred
	}
	if g == nil {
		for _, f := range status.Failures {
			status.Why += "; " + f.String()
		}
	}
	if trouble != nil {
		status.Why, status.Trouble, status.Refused = trouble.Error(), true, refused(trouble)
	}
	c.events.publish(c, status)
	maps.DeleteFunc(c.deleted, func(n int64, _ string) bool { g := m.gens[n]; return g == nil || g.gone }) // it was told
	c.mu.Lock()
	close(c.changed)
	c.changed = make(chan struct{})
	c.mu.Unlock()
}

// wait returns a channel that is closed at the next publication. Take it before looking.
func (c *chain) wait() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.changed
}
