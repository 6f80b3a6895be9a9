package alerts

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/template"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/prometheus/prometheus/tsdb/chunks"
	"github.com/prometheus/prometheus/util/annotations"
)

// Prometheus' parser, query engine and templates are used as they are. Its database and its rule manager are not: they bring
// the SDKs of three clouds along, which take longer to build than all the rest. What is here instead is small.

// sample is a value of a series at a time.
type sample struct {
	at int64 // milliseconds
	v  float64
}

func (s sample) T() int64                      { return s.at }
func (s sample) ST() int64                     { return 0 }
func (s sample) F() float64                    { return s.v }
func (s sample) H() *histogram.Histogram       { return nil }
func (s sample) FH() *histogram.FloatHistogram { return nil }
func (s sample) Type() chunkenc.ValueType      { return chunkenc.ValFloat }
func (s sample) Copy() chunks.Sample           { return s }

// store keeps series in memory. It is for one goroutine.
type store struct {
	series map[string]*stored // by labels
	byName map[string][]*stored
}

type stored struct {
	labels  labels.Labels
	samples []chunks.Sample // in the order of time
}

func newStore() *store { return &store{series: map[string]*stored{}, byName: map[string][]*stored{}} }

func (s *store) add(l labels.Labels, at int64, v float64) {
	key := l.String()
	known := s.series[key]
	if known == nil {
		known = &stored{labels: l}
		s.series[key] = known
		name := l.Get(model.MetricNameLabel)
		s.byName[name] = append(s.byName[name], known)
	}
	known.samples = append(known.samples, sample{at, v})
}

// end writes the mark of a series that is not there any more.
func (s *store) end(l labels.Labels, at int64) { s.add(l, at, math.Float64frombits(value.StaleNaN)) }

// Querier lets the engine read what lies between two times, both included.
func (s *store) Querier(mint, maxt int64) (storage.Querier, error) {
	return &reader{s, mint, maxt}, nil
}

type reader struct {
	store      *store
	mint, maxt int64
}

func (r *reader) Select(_ context.Context, _ bool, _ *storage.SelectHints, matchers ...*labels.Matcher) storage.SeriesSet {
	set := &found{}
	for _, m := range matchers {
		if m.Name != model.MetricNameLabel || m.Type != labels.MatchEqual {
			continue
		}
		for _, s := range r.store.byName[m.Value] {
			if !slices.ContainsFunc(matchers, func(m *labels.Matcher) bool { return !m.Matches(s.labels.Get(m.Name)) }) {
				set.list = append(set.list, storage.NewListSeries(s.labels, between(s.samples, r.mint, r.maxt)))
			}
		}
		slices.SortFunc(set.list, func(a, b storage.Series) int { return labels.Compare(a.Labels(), b.Labels()) })
		return set
	}
	return storage.ErrSeriesSet(fmt.Errorf("a selector without the name of a metric: %v", matchers))
}

func between(all []chunks.Sample, mint, maxt int64) []chunks.Sample {
	at := func(s chunks.Sample, t int64) int { return cmp.Compare(s.T(), t) }
	from, _ := slices.BinarySearchFunc(all, mint, at)
	to, _ := slices.BinarySearchFunc(all, maxt+1, at)
	return all[from:to]
}

func (*reader) LabelValues(context.Context, string, *storage.LabelHints, ...*labels.Matcher) ([]string, annotations.Annotations, error) {
	return nil, nil, nil
}

func (*reader) LabelNames(context.Context, *storage.LabelHints, ...*labels.Matcher) ([]string, annotations.Annotations, error) {
	return nil, nil, nil
}

func (*reader) Close() error { return nil }

// found is a set of series.
type found struct {
	list []storage.Series
	next int
}

func (f *found) Next() bool                      { f.next++; return f.next <= len(f.list) }
func (f *found) At() storage.Series              { return f.list[f.next-1] }
func (*found) Err() error                        { return nil }
func (*found) Warnings() annotations.Annotations { return nil }

// evaluator is what a Prometheus does with rules.
type evaluator struct {
	t      *testing.T
	store  *store
	engine *promql.Engine
	alerts map[string]*alert
}

// alert is a rule with its state: since when each of its label sets holds.
type alert struct {
	rule  rulefmt.Rule
	since map[string]time.Time
	shown map[string]labels.Labels // series of ALERTS that were written last
}

// firing is one alert that fires.
type firing struct{ summary, description string }

func newEvaluator(t *testing.T, rules map[string]rulefmt.Rule) *evaluator {
	t.Helper()
	e := &evaluator{t: t, store: newStore(), alerts: map[string]*alert{}}
	e.engine = promql.NewEngine(promql.EngineOpts{MaxSamples: 1_000_000, Timeout: time.Minute, LookbackDelta: 5 * time.Minute, Parser: parser.NewParser(parser.Options{})})
	t.Cleanup(func() { _ = e.engine.Close() })
	for name, r := range rules {
		if r.KeepFiringFor != 0 {
			t.Fatalf("%s: keep_firing_for is not known here", name)
		}
		e.alerts[name] = &alert{rule: r, since: map[string]time.Time{}, shown: map[string]labels.Labels{}}
	}
	return e
}

// ask evaluates an expression, whose result is a vector.
func (e *evaluator) ask(ctx context.Context, expr string, at time.Time) (promql.Vector, error) {
	q, err := e.engine.NewInstantQuery(ctx, e.store, nil, expr, at)
	if err != nil {
		return nil, err
	}
	defer q.Close()
	v, err := q.Exec(ctx).Vector()
	return slices.Clone(v), err
}

// evaluate takes the alerts of these names one step on, writes ALERTS as Prometheus does, and returns which fire.
func (e *evaluator) evaluate(at time.Time, names ...string) map[string]firing {
	e.t.Helper()
	out := map[string]firing{}
	for _, name := range names {
		a := e.alerts[name]
		vector, err := e.ask(e.t.Context(), a.rule.Expr, at)
		if err != nil {
			e.t.Fatalf("%s: %v", name, err)
		}
		holds, shown := map[string]time.Time{}, map[string]labels.Labels{}
		for _, s := range vector {
			b := labels.NewBuilder(s.Metric).Del(model.MetricNameLabel)
			for _, k := range slices.Sorted(maps.Keys(a.rule.Labels)) {
				b.Set(k, a.rule.Labels[k])
			}
			key := b.Labels().String()
			if _, twice := holds[key]; twice {
				e.t.Fatalf("%s: twice %s", name, key)
			}
			holds[key] = at
			if since, already := a.since[key]; already {
				holds[key] = since
			}
			state := "pending"
			if at.Sub(holds[key]) >= time.Duration(a.rule.For) {
				state = "firing"
				out[name] = e.render(a, s, at)
			}
			l := b.Set(model.MetricNameLabel, "ALERTS").Set(labels.AlertName, name).Set("alertstate", state).Labels()
			shown[l.String()] = l
			e.store.add(l, at.UnixMilli(), 1)
		}
		for key, l := range a.shown {
			if _, still := shown[key]; !still {
				e.store.end(l, at.UnixMilli())
			}
		}
		a.since, a.shown = holds, shown
	}
	return out
}

// render fills in summary and description, and fails the test if something is missing in them.
func (e *evaluator) render(a *alert, s promql.Sample, at time.Time) firing {
	e.t.Helper()
	data := template.AlertTemplateData(s.Metric.Map(), nil, "", s)
	expand := func(text string) string {
		const names = "{{$labels := .Labels}}{{$value := .Value}}"
		out, err := template.NewTemplateExpander(e.t.Context(), names+text, a.rule.Alert, data, model.Time(at.UnixMilli()), e.ask, nil, nil).Expand()
		if err != nil || strings.Contains(out, "<no value>") || strings.Contains(out, "  ") || strings.Contains(out, "()") {
			e.t.Errorf("%s reads badly: %q, %v", a.rule.Alert, out, err)
		}
		return out
	}
	return firing{expand(a.rule.Annotations["summary"]), expand(a.rule.Annotations["description"])}
}
