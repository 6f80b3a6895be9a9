package alerts

import (
	"maps"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/rulefmt"
)

// trouble is how one alert comes about.
type trouble struct {
	edits   []string         // of the configuration, in pairs, before the start
	prepare func(s *service) // before the start
	calm    func(s *service) // at each scrape; nil: nothing
	provoke func(s *service) // once
	during  func(s *service) // at each scrape until the alert fires
	heal    func(s *service) // once; nil: it ends by itself
}

// short makes rotations come soon: every 40 min, for Prometheus.
var short = []string{"every: 1h", "every: 20s"}

// seldom returns f for every nth scrape.
func seldom(n int, f func(s *service)) func(s *service) {
	i := 0
	return func(s *service) {
		if i++; i%n == 0 {
			f(s)
		}
	}
}

func asks(s *service) { s.ask(clientToken) }

var inTwelveDays = time.Now().Add(12 * 24 * time.Hour / speed).Format(time.RFC3339)

// troubles has every alert: TestEveryAlertFiresOnTheRunningServiceAndOnlyThen fails for one without.
var troubles = map[string]trouble{
	"QuaygenAbsent":          {provoke: (*service).kill, heal: (*service).start},
	"QuaygenTargetDown":      {provoke: (*service).kill, heal: (*service).start},
	"QuaygenConfigNotLoaded": {provoke: func(s *service) { s.edit("instance: test", "instnce: test") }, heal: func(s *service) { s.edit("instnce: test", "instance: test") }},
	// A certificate is looked at in a handshake. Of 90 days, 5 are left.
	"QuaygenCertificateExpiresSoon": {
		calm:    asks,
		provoke: func(s *service) { s.certificate("tls", -85*24*time.Hour/speed, 5*24*time.Hour/speed) },
		during:  asks,
		heal:    func(s *service) { s.certificate("tls", 0, 90*24*time.Hour/speed) },
	},
	"QuaygenCertificateExpires": {
		calm:    asks,
		provoke: func(s *service) { s.certificate("tls", -89*24*time.Hour/speed, 22*time.Hour/speed) },
		during:  asks,
		heal:    func(s *service) { s.certificate("tls", 0, 90*24*time.Hour/speed) },
	},
	"QuaygenClientCAExpiresSoon": {
		calm:    asks,
		provoke: func(s *service) { s.certificate("ca", -3640*24*time.Hour/speed, 12*24*time.Hour/speed) },
		during:  asks,
		heal:    func(s *service) { s.certificate("ca", 0, 3650*24*time.Hour/speed) },
	},
	// A robot that needs a ledger comes with a reload; the process was started without one.
	"QuaygenLedgerDown": {
		provoke: func(s *service) {
			s.edit("robots:\n", "ledger: {file: ./ledger.db}\nrobots:\n- {name: fixed, registry: quay, organization: myorg, robot: k8s_fixed, permissions: {repositories: [{name: my-app}]}, rotation: {strategy: regenerate, every: 1h}, maxRefresh: 1s}\n")
		},
		heal: func(s *service) { s.kill(); s.start() },
	},
	// Nobody reads the pipe that the trail is written to.
	"QuaygenAuditLosesRecords": {
		edits:   []string{"robots:\n", "audit: {stdout: true, buffer: 16}\nrobots:\n"},
		calm:    asks,
		provoke: func(s *service) { until := make(chan struct{}); s.unread.Store(&until) },
		during: func(s *service) {
			for range 50 {
				s.ask(clientToken)
			}
		},
		heal: func(s *service) { close(*s.unread.Swap(nil)) },
	},
	"QuaygenAuditNotWritten": {
		edits:   []string{"robots:\n", "audit: {file: ./trail/audit.jsonl}\nrobots:\n"},
		prepare: func(s *service) { s.move("", "trail") },
		calm:    asks,
		provoke: func(s *service) { s.move("trail", "away") },
		during:  asks,
		heal:    func(s *service) { s.move("away", "trail") },
	},
	"QuaygenNothingServed": {provoke: gone, heal: (*service).noFaults},
	"QuaygenRequestsFail":  {calm: asks, provoke: gone, during: asks, heal: (*service).noFaults},
	"QuaygenTokensGuessed": {
		calm: asks,
		during: func(s *service) {
			for range 20 {
				s.ask("not the token of anybody")
			}
		},
	},
	"QuaygenClientLimited": {
		edits: []string{"namespaceFrom: request", "namespaceFrom: request, limits: {qps: 10, burst: 10}"},
		calm:  seldom(2, asks),
		provoke: func(s *service) {
			for range 60 {
				s.ask(clientToken)
			}
		},
		during: func(s *service) {
			for range 10 {
				s.ask(clientToken)
			}
		},
	},
	"QuaygenSyncFails": {
		provoke: func(s *service) { s.quay(http.MethodPost, "/quaydev/down", "") },
		heal:    func(s *service) { s.quay(http.MethodPost, "/quaydev/up", "") },
	},
	// What is in memory lasts for about three and a half hours, for Prometheus.
	"QuaygenMemoryRunsOut": {
		edits:   []string{"overlap: 12s, drain: {quiet: 4s, max: 60s}", "overlap: 110s, drain: {quiet: 4s, max: 200s}"},
		provoke: func(s *service) { s.quay(http.MethodPost, "/quaydev/down", "") },
		heal:    func(s *service) { s.quay(http.MethodPost, "/quaydev/up", "") },
	},
	"QuaygenAPITokenRefused": {
		provoke: func(s *service) {
			s.move("token", "token.good")
			s.write("token", "0123456789012345678901234567890123456789")
		},
		heal: func(s *service) { s.move("token.good", "token") },
	},
	"QuaygenAPITokenExpiresSoon": {
		edits:   []string{"tokenFile: ./token", "tokenFile: ./token, tokenExpires: 2094-11-05"},
		provoke: func(s *service) { s.edit("2094-11-05", inTwelveDays) },
		heal:    func(s *service) { s.edit(inTwelveDays, "2094-11-05") },
	},
	"QuaygenQuayLimitsCalls": {provoke: func(s *service) { s.fault(`{"status": 429}`) }, heal: (*service).noFaults},
	// A list each 500 ms, of one each second that is allowed.
	"QuaygenCallBudgetNearlySpent": {
		provoke: func(s *service) { s.edit("{qps: 100, burst: 100}", "{qps: 1, burst: 5}") },
		heal:    func(s *service) { s.edit("{qps: 1, burst: 5}", "{qps: 100, burst: 100}") },
	},
	"QuaygenQuayReadOnly": {
		provoke: func(s *service) { s.quay(http.MethodPost, "/quaydev/switches", `{"read_only": true}`) },
		heal:    func(s *service) { s.quay(http.MethodPost, "/quaydev/switches", `{"read_only": false}`) },
	},
	"QuaygenRobotsDisabled": {
		provoke: func(s *service) { s.quay(http.MethodPost, "/quaydev/switches", `{"robots_disallow": true}`) },
		heal:    func(s *service) { s.quay(http.MethodPost, "/quaydev/switches", `{"robots_disallow": false}`) },
	},
	"QuaygenRotationOverdue": {
		edits:   short,
		provoke: func(s *service) { s.fault(`{"operation": "robot.create", "status": 500}`) },
		heal:    (*service).noFaults,
	},
	"QuaygenGenerationUnpublished": {
		edits:   short,
		provoke: func(s *service) { s.fault(`{"operation": "permission.put", "status": 500}`) },
		heal:    (*service).noFaults,
	},
	"QuaygenDrainingPastItsTime": {
		edits:   append(slices.Clone(short), "max: 60s", "max: 18s"),
		provoke: func(s *service) { s.fault(`{"operation": "robot.delete", "status": 500}`) },
		heal:    (*service).noFaults,
	},
	"QuaygenConflict": {
		provoke: func(s *service) {
			s.quay(http.MethodPut, "/api/v1/organization/myorg/robots/k8s_puller_g7", `{"description": "made by hand"}`)
		},
		heal: func(s *service) { s.quay(http.MethodPost, "/quaydev/robots/k8s_puller_g7/delete", "") },
	},
	// Another program takes the grant away every quarter of an hour, for Prometheus.
	"QuaygenPermissionDriftRepeats": {
		during: seldom(30, func(s *service) {
			s.quay(http.MethodPost, "/quaydev/robots/"+s.newest()+"/ungrant", `{"repository": "my-app"}`)
		}),
	},
	"QuaygenEndedByOthers": {provoke: func(s *service) { s.quay(http.MethodPost, "/quaydev/robots/"+s.newest()+"/delete", "") }},
	"QuaygenStepsFail": {
		provoke: func(s *service) {
			s.fault(`{"operation": "permission.put", "status": 500}`)
			s.quay(http.MethodPost, "/quaydev/robots/"+s.newest()+"/ungrant", `{"repository": "my-app"}`)
		},
		heal: (*service).noFaults,
	},
}

// gone has somebody delete what is handed out, while nothing new can be made.
func gone(s *service) {
	s.fault(`{"operation": "robot.create", "status": 500}`)
	s.quay(http.MethodPost, "/quaydev/robots/"+s.newest()+"/delete", "")
}

// move renames a file; from nothing it makes a directory.
func (s *service) move(from, to string) {
	s.t.Helper()
	do := func() error { return os.Rename(s.path(from), s.path(to)) }
	if from == "" {
		do = func() error { return os.Mkdir(s.path(to), 0o700) }
	}
	if err := do(); err != nil {
		s.t.Fatal(err)
	}
}

func TestEveryAlertFiresOnTheRunningServiceAndOnlyThen(t *testing.T) {
	all := alerts(t)
	for _, name := range slices.Sorted(maps.Keys(all)) {
		how, ok := troubles[name]
		if !ok {
			t.Errorf("nothing here provokes %s", name)
			continue
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			play(t, name, how, all)
		})
	}
	for name := range troubles {
		if _, ok := all[name]; !ok {
			t.Errorf("there is no alert %s", name)
		}
	}
}

// play starts the service, sees that no alert fires while all is well, provokes one, and heals what was done.
func play(t *testing.T, name string, how trouble, rules map[string]rulefmt.Rule) {
	s := newService(t, how.edits...)
	if how.prepare != nil {
		how.prepare(s)
	}
	s.start()
	s.until("there is a pull secret", func() bool { return s.ask(clientToken) == http.StatusOK })
	l := newLapse(t, rules)
	// With Prometheus' clock this takes an hour: longer than each alert waits, and a rotation where they come soon.
	scrapes(s, l, how.calm, 30*time.Second, func(now map[string]firing) bool {
		if len(now) > 0 {
			t.Fatalf("all is well, and there fires %q\n%s", now, s.log)
		}
		return false
	})
	if status := s.ask(clientToken); status != http.StatusOK {
		t.Fatalf("all is well, and a request gets %d\n%s", status, s.log)
	}
	for _, metric := range ofEveryProgram {
		if !strings.Contains(string(s.scrape()), "\n"+metric+" ") {
			t.Errorf("the dashboard uses %s, which is not shown", metric)
		}
	}
	if how.provoke != nil {
		how.provoke(s)
	}
	begun := time.Now()
	var fired firing
	if !scrapes(s, l, how.during, patience, func(now map[string]firing) (ok bool) {
		fired, ok = now[name]
		return ok
	}) {
		t.Fatalf("it does not fire\n%s\n%s", s.scrape(), s.log)
	}
	t.Logf("fires %v after the fault: %s %s", (time.Since(begun) * speed).Round(time.Minute), fired.summary, fired.description)
	if how.heal != nil {
		how.heal(s)
	}
	begun = time.Now()
	var still map[string]firing
	if !scrapes(s, l, how.calm, patience, func(now map[string]firing) bool {
		still = now
		return len(now) == 0
	}) {
		t.Fatalf("the fault is gone, and there still fires %q\n%s", still, s.log)
	}
	t.Logf("silent %v after the fault's end", (time.Since(begun) * speed).Round(time.Minute))
}

// scrapes goes on until done says so, or the time is over; it reports whether done said so.
func scrapes(s *service, l *lapse, also func(*service), long time.Duration, done func(map[string]firing) bool) bool {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for end := time.Now().Add(long); time.Now().Before(end); <-tick.C {
		if also != nil {
			also(s)
		}
		if done(l.take(s.scrape())) {
			return true
		}
	}
	return false
}
