package alerts

import (
	"errors"
	"io"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/model/textparse"
)

// speed is how much faster time goes for Prometheus than it really does: windows of hours pass in seconds, with the very
// rules that are shipped. What the service shows is taken along: points in time move with it, and rates per second that the
// configuration allows shrink. Nothing else that an alert reads is measured in time (TestAlertsReadNoOtherTimes).
const speed = 120

// interval is that of scrapes and evaluations; 30 s for Prometheus.
const interval = 250 * time.Millisecond

// lapse is a Prometheus that scrapes one target and evaluates every alert.
type lapse struct {
	*evaluator
	origin time.Time                // where both clocks agree
	there  map[string]labels.Labels // series of the last scrape
	last   int64
}

func newLapse(t *testing.T, rules map[string]rulefmt.Rule) *lapse {
	t.Helper()
	return &lapse{evaluator: newEvaluator(t, rules), origin: time.Now(), there: map[string]labels.Labels{}}
}

// now is what Prometheus' clock shows.
func (l *lapse) now() time.Time { return l.origin.Add(time.Since(l.origin) * speed) }

const (
	pointInTime = "_timestamp_seconds"
	perSecond   = "_per_second"
)

// moved is a sample's value in Prometheus' time.
func (l *lapse) moved(metric string, v float64) float64 {
	switch {
	case strings.HasSuffix(metric, pointInTime):
		origin := float64(l.origin.UnixNano()) / 1e9
		return origin + (v-origin)*speed
	case strings.HasSuffix(metric, perSecond):
		return v / speed
	}
	return v
}

// target has the labels that a ServiceMonitor gives.
func target(metric map[string]string) labels.Labels {
	maps.Copy(metric, map[string]string{"instance": "10.0.0.1:9090", "job": "quaygen", "namespace": "quaygen", "pod": "quaygen-0"})
	return labels.FromMap(metric)
}

// take stores one scrape as Prometheus does, and evaluates the alerts. text is nil where the target did not answer. What a
// scrape does not show any more ends at once.
func (l *lapse) take(text []byte) map[string]firing {
	l.t.Helper()
	at := max(l.now().UnixMilli(), l.last+1)
	l.last = at
	samples := map[string]labels.Labels{}
	p := textparse.NewPromParser(text, labels.NewSymbolTable(), false)
	for text != nil {
		entry, err := p.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			l.t.Fatal(err)
		}
		if entry != textparse.EntrySeries {
			continue
		}
		var shown labels.Labels
		p.Labels(&shown)
		if !strings.HasPrefix(shown.Get(model.MetricNameLabel), "quaygen_") {
			continue // of the runtime: no alert reads it
		}
		_, _, v := p.Series()
		s := target(shown.Map())
		samples[s.String()] = s
		l.store.add(s, at, l.moved(s.Get(model.MetricNameLabel), v))
	}
	for key, s := range l.there {
		if _, still := samples[key]; !still {
			l.store.end(s, at)
		}
	}
	l.there = samples
	up := 0.0
	if text != nil {
		up = 1
	}
	l.store.add(target(map[string]string{model.MetricNameLabel: "up"}), at, up)
	return l.evaluate(time.UnixMilli(at), slices.Sorted(maps.Keys(l.alerts))...)
}
