package rotation

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are those of the engine. Robots appear as labels under their configured names only.
type metrics struct {
	engine *Engine

	rotations *prometheus.CounterVec
	drift     *prometheus.CounterVec
	failures  *prometheus.CounterVec

	info, generation, created, next, unpublished, draining, generations, failing *prometheus.Desc // of robots
	sync, up, refused, ends, readOnly, disabled, ledger                          *prometheus.Desc
}

func newMetrics(registerer prometheus.Registerer, engine *Engine) *metrics {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
	}
	m := &metrics{
		engine:      engine,
		rotations:   counter("quaygen_rotations_total", "Generations published, retired or given up here, what became of regenerations, and tokens and generations that somebody else ended, by outcome.", "name", "outcome"),
		drift:       counter("quaygen_permission_drift_total", "Grants and team memberships of published generations that were mended.", "name"),
		failures:    counter("quaygen_step_failures_total", "Steps that failed, by kind; they are tried again at the next sync.", "name", "step"),
		info:        prometheus.NewDesc("quaygen_robot_info", "Always 1: a robot of the configuration in use.", []string{"name", "registry", "organization", "strategy", "scope"}, nil),
		generation:  prometheus.NewDesc("quaygen_robot_generation", "The generation served; absent while none is.", []string{"name"}, nil),
		created:     prometheus.NewDesc("quaygen_robot_created_timestamp_seconds", "When the generation served was created, in Quay's time.", []string{"name"}, nil),
		next:        prometheus.NewDesc("quaygen_robot_next_rotation_timestamp_seconds", "When the next rotation is due, in Quay's time.", []string{"name"}, nil),
		unpublished: prometheus.NewDesc("quaygen_robot_unpublished_since_timestamp_seconds", "When the oldest generation that is not published yet was created, in Quay's time; absent while there is none.", []string{"name"}, nil),
		draining:    prometheus.NewDesc("quaygen_robot_draining_deadline_timestamp_seconds", "When the first of the superseded generations has to be gone, in Quay's time; absent while there is none.", []string{"name"}, nil),
		generations: prometheus.NewDesc("quaygen_robot_generations", "Generations that exist in Quay, by state.", []string{"name", "state"}, nil),
		failing:     prometheus.NewDesc("quaygen_robot_steps_failing", "Steps that failed when they were last tried, by kind, and are tried again; absent while there is none.", []string{"name", "step"}, nil),
		sync:        prometheus.NewDesc("quaygen_quay_last_sync_timestamp_seconds", "When the organization was last listed; absent before the first time.", []string{"registry", "organization"}, nil),
		up:          prometheus.NewDesc("quaygen_quay_sync_ok", "Whether the last attempt to list the organization succeeded.", []string{"registry", "organization"}, nil),
		refused:     prometheus.NewDesc("quaygen_quay_token_refused", "Whether the last attempt to list the organization failed since Quay refuses the API token, or knows no such organization.", []string{"registry", "organization"}, nil),
		ends:        prometheus.NewDesc("quaygen_quay_memory_ends_timestamp_seconds", "When the first of the credentials handed out now is not handed out any more, unless the organization is listed before; absent while there is none.", []string{"registry", "organization"}, nil),
		readOnly:    prometheus.NewDesc("quaygen_quay_read_only", "Whether Quay says that it is read-only; nothing is rotated or retired meanwhile.", []string{"registry", "organization"}, nil),
		disabled:    prometheus.NewDesc("quaygen_quay_robots_disabled", "Whether Quay says that robots may not log in; those that it excepts are served all the same.", []string{"registry", "organization"}, nil),
		ledger:      prometheus.NewDesc("quaygen_ledger_up", "Whether the ledger can be used for every robot with the strategy regenerate; 0: for one at least it could not be read or written when last tried, or there is none, and that robot is served but not rotated. Absent without such robots.", nil, nil),
	}
	if registerer != nil {
		registerer.MustRegister(m, m.rotations, m.drift, m.failures)
	}
	return m
}

func (m *metrics) failed(name string, a Action) { m.failures.WithLabelValues(name, a.String()).Inc() }

func (m *metrics) did(memory *Memory, s Step) {
	name := memory.spec.Name
	switch s.Action {
	case Prove:
		if memory.spec.Strategy != Overlap {
			return
		}
		m.rotations.WithLabelValues(name, "published").Inc()
	case Delete:
		outcome := "retired"
		if s.Unused {
			outcome = "given_up"
		}
		m.rotations.WithLabelValues(name, outcome).Inc()
	case Grant, Ungrant, Join, Leave:
		if g := memory.gens[s.Generation]; g != nil && g.published {
			m.drift.WithLabelValues(name).Inc()
		}
	case Record:
		m.rotations.WithLabelValues(name, string(s.Kind)).Inc()
	case Create, ReadToken, ReadRoles, Verify, Probe, Intend, RegenerateToken: // counted by what follows
	}
}

// noticed counts what others were seen to do.
func (m *metrics) noticed(memory *Memory) {
	for _, outcome := range memory.noticed {
		m.rotations.WithLabelValues(memory.spec.Name, outcome).Inc()
	}
	memory.noticed = nil
}

// Describe sends what Collect makes up on the spot.
func (m *metrics) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{m.info, m.generation, m.created, m.next, m.unpublished, m.draining, m.generations, m.failing, m.sync, m.up, m.refused, m.ends, m.readOnly, m.disabled, m.ledger} {
		ch <- d
	}
}

var states = []State{StateCurrent, StatePending, StateDraining, StateStray, StateConflict, StateMissing}

// Collect reads the published statuses; it takes no lock that a rotation holds.
func (m *metrics) Collect(ch chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	m.robots(gauge)
	if h := m.engine.Ledger(); h.Robots > 0 {
		gauge(m.ledger, oneIf(h.Without == 0))
	}
	ends := m.engine.memoryEnds()
	for _, h := range m.engine.Health() {
		gauge(m.readOnly, oneIf(h.ReadOnly), h.Registry, h.Owner.Name())
		gauge(m.disabled, oneIf(h.Disabled), h.Registry, h.Owner.Name())
		gauge(m.up, oneIf(h.Err == nil), h.Registry, h.Owner.Name())
		gauge(m.refused, oneIf(refused(h.Err)), h.Registry, h.Owner.Name())
		if !h.At.IsZero() {
			gauge(m.sync, float64(h.At.Unix()), h.Registry, h.Owner.Name())
		}
		if end, ok := ends[organizationKey{h.Registry, h.Owner}]; ok {
			gauge(m.ends, float64(end.Unix()), h.Registry, h.Owner.Name())
		}
	}
}

// ofName is what the robots of one name come to: one robot, or one for each namespace.
type ofName struct {
	count                 map[State]int
	failing               map[Action]int
	unpublished, draining time.Time // the earliest
}

func (m *metrics) robots(gauge func(d *prometheus.Desc, v float64, labels ...string)) {
	for _, a := range m.engine.assignments() {
		gauge(m.info, 1, a.Spec.Name, a.Registry, a.Spec.Base.Owner().Name(), a.Spec.Strategy.String(), a.Spec.Scope.String())
	}
	names := map[string]*ofName{}
	for _, s := range m.engine.Statuses() {
		if names[s.Name] == nil {
			names[s.Name] = &ofName{count: map[State]int{}, failing: map[Action]int{}}
		}
		names[s.Name].add(s)
		if s.Spec.Scope == PerNamespace {
			continue // namespaces are no labels
		}
		for _, g := range s.Plan.Generations {
			if g.Number == s.Current {
				gauge(m.generation, float64(g.Number), s.Name)
				gauge(m.created, float64(g.Created.Unix()), s.Name)
			}
		}
		if !s.Plan.Next.IsZero() {
			gauge(m.next, float64(s.Plan.Next.Unix()), s.Name)
		}
	}
	for name, n := range names {
		for _, state := range states {
			gauge(m.generations, float64(n.count[state]), name, string(state))
		}
		for action, steps := range n.failing {
			gauge(m.failing, float64(steps), name, action.String())
		}
		if !n.unpublished.IsZero() {
			gauge(m.unpublished, float64(n.unpublished.Unix()), name)
		}
		if !n.draining.IsZero() {
			gauge(m.draining, float64(n.draining.Unix()), name)
		}
	}
}

func (n *ofName) add(s Status) {
	for _, g := range s.Plan.Generations {
		n.count[g.State]++
		if g.State == StatePending && !s.Spec.Strategy.fixed() {
			n.unpublished = earlier(n.unpublished, g.Created)
		}
		n.draining = earlier(n.draining, g.Deadline)
	}
	for _, f := range s.Failures {
		n.failing[f.action]++
	}
}

// earlier returns the earlier of two times; a zero one is none.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

func oneIf(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}
