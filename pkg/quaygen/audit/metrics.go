package audit

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	records         *prometheus.CounterVec
	dropped, errors prometheus.Counter
}

func newMetrics(registerer prometheus.Registerer) *metrics {
	m := &metrics{
		records: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "quaygen_audit_records_total", Help: "Records written to the audit trail, by type."}, []string{"type"}),
		dropped: prometheus.NewCounter(prometheus.CounterOpts{Name: "quaygen_audit_dropped_total", Help: "Records that are not in the audit trail: the queue was full, or they could not be written."}),
		errors:  prometheus.NewCounter(prometheus.CounterOpts{Name: "quaygen_audit_errors_total", Help: "Attempts to write the audit trail that failed."}),
	}
	if registerer != nil {
		registerer.MustRegister(m.records, m.dropped, m.errors)
	}
	return m
}
