package quaygen

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Metrics measure the requests on all ways in.
type Metrics struct {
	requests *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
	inFlight prometheus.Gauge
	limited  *prometheus.CounterVec
}

// NewMetrics registers them; nil registers them nowhere.
func NewMetrics(registerer prometheus.Registerer) *Metrics {
	m := &Metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "quaygen_requests_total", Help: "Requests answered, by HTTP status or gRPC code. Names that are not configured count as \"other\".",
		}, []string{"transport", "name", "code"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "quaygen_request_duration_seconds", Help: "From the request's headers to the answer's last byte handed over. Watches are not in it, nor are rotations on demand.",
			Buckets: []float64{.0005, .001, .0025, .005, .01, .05, .1, .5, 1, 5, 10},
		}, []string{"transport"}),
		inFlight: prometheus.NewGauge(prometheus.GaugeOpts{Name: "quaygen_requests_in_flight", Help: "Requests that are being answered; watches, rotations on demand and requests for a robot that is being minted wait."}),
		limited: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "quaygen_limited_total", Help: "Requests that were refused because of a limit of their client.",
		}, []string{"client", "reason"}),
	}
	if registerer != nil {
		registerer.MustRegister(m.requests, m.seconds, m.inFlight, m.limited)
	}
	return m
}

// Begin counts a request in.
func (m *Metrics) Begin() { m.inFlight.Inc() }

// End counts it out again: name is what [Service.Label] says, code the transport's own.
func (m *Metrics) End(transport, name, code string, took time.Duration) {
	m.inFlight.Dec()
	m.requests.WithLabelValues(transport, name, code).Inc()
	m.seconds.WithLabelValues(transport).Observe(took.Seconds())
}

// EndWait counts a request out whose time says nothing about us: it waited for what it asked for to come about.
func (m *Metrics) EndWait(transport, name, code string) {
	m.inFlight.Dec()
	m.requests.WithLabelValues(transport, name, code).Inc()
}
