package quaytest

import (
	"fmt"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"
)

// The audit log; docs/quay-contract.md 4.

const (
	logsPerPage = 20
	pastTheEnd  = -1 // the start of the empty page that follows the last rows
	// webAddress is where people who use the web page sit.
	webAddress = "192.0.2.1"
)

// logRow is one row; performers are known by id, because a robot of the same name may follow.
type logRow struct {
	kind        string
	metadata    object
	ip          string
	at          time.Time
	performer   string
	performerID int64 // of a robot; zero for people
	repo        string
}

// log adds a row for something a person did.
func (ns *namespace) log(at time.Time, kind, performer, ip string, metadata object) {
	row := &logRow{kind: kind, metadata: metadata, ip: ip, at: at, performer: performer}
	for _, f := range metadata {
		if f.key == "repo" {
			row.repo, _ = f.value.(string)
		}
	}
	ns.logs = append(ns.logs, row)
}

// log adds a row for an API call.
func (c *call) log(ns *namespace, kind string, metadata object) {
	ns.log(c.now, kind, c.token.user, address(c.r), append(metadata,
		field{"oauth_token_id", c.token.id},
		field{"oauth_token_application_id", fmt.Sprintf("APPLICATION%09d", c.token.id)},
		field{"oauth_token_application", "quaytest"}))
}

// logRobot adds a row for something a robot did at the registry.
func (b *robot) log(at time.Time, kind, ip string, metadata object) {
	b.ns.log(at, kind, b.username(), ip, metadata)
	b.ns.logs[len(b.ns.logs)-1].performerID = b.id
}

func address(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return "192.0.2.2" // in process
	}
	return host
}

func organizationLogs(c *call, ns *namespace) *answer { return c.logPage(ns.logs) }

func userLogs(c *call) *answer {
	if !c.userAdmin() {
		return c.deny()
	}
	return c.logPage(c.namespaces[c.token.user].logs)
}

func repositoryLogs(c *call, ns, name string, repo *repository) *answer {
	if repo == nil {
		return c.notFound()
	}
	rows := slices.DeleteFunc(slices.Clone(c.namespaces[ns].logs), func(row *logRow) bool { return row.repo != name })
	return c.logPage(rows)
}

// logPage shows rows of the window newest first. There is always one next_page too many.
func (c *call) logPage(rows []*logRow) *answer {
	query := c.r.URL.Query()
	from, until, refusal := c.logWindow()
	if refusal != nil {
		return refusal
	}
	performer := query.Get("performer")
	if performer != "" && !c.isEntity(performer) {
		return internalError()
	}
	shown := []object{}
	next := int64(pastTheEnd)
	start := c.pages.open(query.Get("next_page"), c.now)
	for i := len(rows) - 1; i >= 0 && start != pastTheEnd; i-- {
		row, place := rows[i], int64(i)+1
		if start != 0 && place > start || row.at.Before(from) || !row.at.Before(until) || performer != "" && performer != row.performer {
			continue
		}
		if len(shown) == logsPerPage {
			next = place
			break
		}
		shown = append(shown, c.showLog(row))
	}
	o := object{{"start_time", date(from)}, {"end_time", date(until)}, {"logs", shown}}
	if start != pastTheEnd {
		o = append(o, field{"next_page", c.pages.seal(next, c.now)})
	}
	return ok(o)
}

func (c *call) showLog(row *logRow) object {
	o := object{{"kind", row.kind}, {"metadata", row.metadata}, {"ip", row.ip}, {"datetime", date(row.at)}}
	b := c.robots[row.performer]
	if b != nil && b.id == row.performerID || row.performerID == 0 && c.isEntity(row.performer) {
		o = append(o, field{"performer", object{
			{"kind", "user"},
			{"name", row.performer},
			{"is_robot", isRobotName(row.performer)},
			{"avatar", avatar(row.performer, avatarKind(row.performer))},
		}})
	}
	return o
}

// logWindow reads MM/DD/YYYY; what cannot be read is ignored. The end day is inclusive.
func (c *call) logWindow() (from, until time.Time, refusal *answer) {
	query := c.r.URL.Query()
	from, until = c.now.Add(-24*time.Hour), c.now.Add(24*time.Hour)
	if t, err := time.Parse("01/02/2006", query.Get("starttime")); err == nil {
		from = t
	}
	lastDay := until
	if t, err := time.Parse("01/02/2006", query.Get("endtime")); err == nil {
		lastDay, until = t, t.Add(24*time.Hour)
	}
	if lastDay.Before(from) {
		return from, until, frameworkError(http.StatusBadRequest, badRequestMessage)
	}
	return from, until, nil
}

func aggregateLogs(c *call, ns *namespace) *answer {
	from, until, refusal := c.logWindow()
	if refusal != nil {
		return refusal
	}
	if until.Sub(from) > 31*24*time.Hour {
		return frameworkError(http.StatusBadRequest, "Invalid date range for logs")
	}
	performer := c.r.URL.Query().Get("performer")
	if !c.isEntity(performer) {
		performer = "" // unknown ones are ignored, not refused as in the plain list
	}
	type group struct{ day, kind string }
	counts, days := map[group]int{}, map[string]time.Time{}
	for _, row := range ns.logs {
		if row.at.Before(from) || !row.at.Before(until) || performer != "" && performer != row.performer {
			continue
		}
		day := row.at.UTC().Format(time.DateOnly)
		counts[group{day, row.kind}]++
		days[day] = row.at.UTC().Truncate(24 * time.Hour)
	}
	shown := []object{}
	for _, g := range slices.SortedFunc(maps.Keys(counts), func(a, b group) int { return strings.Compare(a.day+a.kind, b.day+b.kind) }) {
		shown = append(shown, object{{"kind", g.kind}, {"count", counts[g]}, {"datetime", date(days[g.day])}})
	}
	return ok(object{{"aggregated", shown}})
}

// AuditEntry is one row of an audit log.
type AuditEntry struct {
	Kind      string
	Metadata  map[string]any
	IP        string
	At        time.Time
	Performer string // a username, also if that user or robot is gone
}

// AuditLog returns the whole log of a namespace, oldest first.
func (s *Server) AuditLog(ns string) []AuditEntry {
	s.mu.Lock()
	defer s.mu.Unlock()
	var entries []AuditEntry
	for _, row := range s.mustNamespace(ns).logs {
		e := AuditEntry{Kind: row.kind, Metadata: map[string]any{}, IP: row.ip, At: row.at, Performer: row.performer}
		for _, f := range row.metadata {
			e.Metadata[f.key] = f.value
		}
		entries = append(entries, e)
	}
	return entries
}
