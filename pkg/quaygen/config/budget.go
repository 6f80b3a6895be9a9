package config

import (
	"math"
	"time"

	"github.com/quaygen/quaygen/pkg/quaygen/quay"
	"github.com/quaygen/quaygen/pkg/quaygen/rotation"
)

// load is what one registry is asked by one replica, in calls per second.
type load struct {
	owners map[quay.Owner]bool // each is listed once per sync
	calls  float64             // for rotations, while they are all due within a tenth of their interval
}

// checkBudget warns of a registry whose robots need more than half of its limit: the other half is for restarts
// and for rotations that come together (rule I9 of docs/rotation.md).
func (d *decoder) checkBudget(c *Config) {
	loads := make(map[string]load)
	for _, r := range c.Robots {
		l, ok := loads[r.Registry]
		if !ok {
			l.owners = make(map[quay.Owner]bool)
		}
		l.owners[r.Base.Owner()] = true
		l.calls += rotationCalls(r.Spec)
		loads[r.Registry] = l
	}
	for i, r := range c.Registries {
		l := loads[r.Name]
		need := float64(len(l.owners))/c.Sync.Seconds() + l.calls
		if need <= r.Quay.QPS/2 {
			continue
		}
		d.warn(item("registries", i)+".limits.qps", "listing organizations (%d) every %s and rotating the robots takes up to %.2g calls per second; half of qps %v is less; a qps of %v would do, if Quay bears it, or a longer sync",
			len(l.owners), short(c.Sync), need, r.Quay.QPS, math.Ceil(2*need))
	}
}

// rotationCalls is how many calls per second the rotation of one robot takes when all robots are due within the tenth
// of Every over which rotations are spread: create, login, delete and each grant, and a tenth more for repetitions.
func rotationCalls(s rotation.Spec) float64 {
	if s.Strategy == rotation.None || s.Every <= 0 {
		return 0
	}
	grants := len(s.Permissions.Repositories) + len(s.Permissions.Teams)
	if !s.Permissions.From.IsZero() {
		grants++
	}
	const calls, repetitions, spread = 3, 1.1, 10
	return float64(calls+grants) * repetitions * spread * float64(time.Second) / float64(s.Every)
}
