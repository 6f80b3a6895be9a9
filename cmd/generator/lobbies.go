package main

import (
	"log/slog"

	"github.com/prometheus/client_golang/prometheus"
)

// How many connections each listener has at a time, if the process may have as many files open. One costs some 50 KiB. With gRPC
// it is up to 400 where all is sent over it that is taken from somebody who has not authenticated, in calls that do not end.
const (
	mostConnections      = 1024
	mostGRPCConnections  = 512
	mostAdminConnections = 128
	otherFiles           = 256 // with those of the administrator's port
)

// lobbies are in front of the listeners.
type lobbies struct{ http, grpc, admin *lobby }

func newLobbies(log *slog.Logger, registerer prometheus.Registerer) lobbies {
	most := max(16, (openFiles()-otherFiles)/2)
	if most < mostConnections {
		log.Warn("the limit of open files is low", "limit", openFiles(), "connections", most)
	}
	closed := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "quaygen_connections_closed_total", Help: "Connections that were closed because there were too many, or because nobody authenticated over them in time.",
	}, []string{"listener", "reason"})
	registerer.MustRegister(closed)
	lobby := func(c lobbyConfig) *lobby {
		c.log, c.closed = log, func(reason string) { closed.WithLabelValues(c.name, reason).Inc() }
		l := newLobby(c)
		registerer.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "quaygen_connections", Help: "Connections that are open.", ConstLabels: prometheus.Labels{"listener": c.name},
		}, func() float64 { return float64(l.len()) }))
		closed.WithLabelValues(c.name, closedCrowded)
		if !c.anybody {
			closed.WithLabelValues(c.name, closedUnknown)
		}
		return l
	}
	return lobbies{
		http:  lobby(lobbyConfig{name: "http", most: min(most, mostConnections)}),
		grpc:  lobby(lobbyConfig{name: "grpc", most: min(most, mostGRPCConnections)}),
		admin: lobby(lobbyConfig{name: "admin", most: mostAdminConnections, anybody: true}),
	}
}

// over puts the lobbies in front of what is open.
func (l lobbies) over(open listeners) listeners {
	open.http, open.admin = l.http.over(open.http), l.admin.over(open.admin)
	if open.grpc != nil {
		open.grpc = l.grpc.over(open.grpc)
	}
	return open
}
