package rotation

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/quaygen/quaygen/pkg/quaygen/quay"
	"github.com/quaygen/quaygen/pkg/quaygen/secret"
)

// A world is one Quay as far as rotation sees it, with what people and other programs do to it, and it knows what no
// replica can know: who holds which credential, and what really happened. Its time only moves when told.
type world struct {
	now     time.Time     // true time, which is also every replica's local time
	skew    time.Duration // how far Quay's clock is ahead of it
	base    quay.Robot
	robots  map[string]*fake // by short name, those that exist
	ever    []*fake          // in order of creation
	version int              // grows with each change
	past    []shown          // what lists showed, oldest first; lagging lists show these

	repositories map[string]bool
	grantsFail   bool
	readOnly     bool
	noAccess     bool // Quay does not record last_accessed
	noConfig     bool // what Quay records cannot be asked
	keepsDeleted bool // deletions are answered 204 and do nothing (docs/quay-contract.md 2.6)

	consumers []*consumer
	broken    []string // invariants found broken
	log       func(format string, args ...any)
}

// A fake is one robot.
type fake struct {
	robot        quay.Robot
	number       int64 // -1: no generation of the base
	owned        bool
	description  string
	token        secret.String
	created      time.Time // Quay's time
	lastAccessed time.Time // Quay's time
	roles        map[string]quay.Role
	born         time.Time // true time

	published time.Time // true time at which the first replica regarded it as published
	ended     time.Time // true time; zero: exists
	endedBy   string    // "human", or why quaygen ended it: "retired", "revoked", "unused"
	creator   string
	mirror    bool
}

func (f *fake) String() string {
	if f.number >= 0 {
		return fmt.Sprintf("g%d", f.number)
	}
	return f.robot.Short()
}

func (f *fake) live() bool { return f.ended.IsZero() }

type shown struct {
	from   time.Time // true time since when lists could show it
	robots []quay.RobotInfo
}

// lag is how far a list may be behind in these tests: settle must be longer than that and the step deadline (I7).
const lag = 15 * time.Second

var startOfTest = epoch.Add(4 * 30 * 24 * time.Hour)

func newWorld() *world {
	w := &world{
		now: startOfTest, base: testBase, robots: map[string]*fake{},
		repositories: map[string]bool{"app": true, "lib": true}, log: func(string, ...any) {},
	}
	w.remember()
	return w
}

var testBase = mustRobot("acme", "k8s_puller")

func mustRobot(org, short string) quay.Robot {
	owner, err := quay.ParseOrganization(org)
	if err != nil {
		panic(err)
	}
	r, err := quay.NewRobot(owner, short)
	if err != nil {
		panic(err)
	}
	return r
}

// quayNow is the time by Quay's clock, in whole seconds as Quay tells it.
func (w *world) quayNow() time.Time { return w.now.Add(w.skew).Truncate(time.Second) }

func (w *world) fail(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	w.broken = append(w.broken, text)
	w.log("BROKEN: %s", text)
}

// remember keeps what lists show from now on, and forgets what no lagging list can show any more.
func (w *world) remember() {
	w.version++
	state := make([]quay.RobotInfo, 0, len(w.robots))
	for _, short := range slices.Sorted(maps.Keys(w.robots)) {
		f := w.robots[short]
		state = append(state, quay.RobotInfo{
			Robot: f.robot, Created: f.created, LastAccessed: f.lastAccessed, Description: f.description,
			Repositories: slices.Sorted(maps.Keys(f.roles)), HasPermissions: true,
		})
	}
	w.past = append(w.past, shown{w.now, state})
	for len(w.past) > 1 && !w.past[1].from.After(w.now.Add(-lag)) {
		w.past = w.past[1:]
	}
}

// list returns what a list shows that is behind by so much.
func (w *world) list(behind time.Duration) []quay.RobotInfo {
	i := len(w.past) - 1
	for i > 0 && w.past[i].from.After(w.now.Add(-behind)) {
		i--
	}
	if !w.noAccess {
		return w.past[i].robots
	}
	out := slices.Clone(w.past[i].robots)
	for j := range out {
		out[j].LastAccessed = time.Time{}
	}
	return out
}

func (w *world) add(short, description, creator string) *fake {
	f := &fake{
		robot: mustRobot(w.base.Owner().Name(), short), number: -1, description: description, creator: creator,
		created: w.quayNow(), born: w.now, roles: map[string]quay.Role{},
		token: secret.New(fmt.Sprintf("token %d of %s", len(w.ever), short)),
	}
	if n, ok := f.robot.GenerationOf(w.base); ok {
		f.number = n
	}
	_, f.owned = parseMarker(description)
	w.robots[short] = f
	w.ever = append(w.ever, f)
	w.remember()
	return f
}

// create is what a PUT does.
func (w *world) create(robot quay.Robot, description, creator string) (*fake, error) {
	switch {
	case w.readOnly:
		return nil, quay.ErrReadOnly
	case w.robots[robot.Short()] != nil:
		return nil, quay.ErrRobotExists
	}
	for _, f := range w.ever {
		if f.robot == robot {
			w.fail("D: the name %s is used again", robot.Short())
		}
	}
	return w.add(robot.Short(), description, creator), nil
}

func (w *world) end(f *fake, by string) {
	f.ended, f.endedBy = w.now, by
	delete(w.robots, f.robot.Short())
	w.remember()
}

// delete is what a DELETE by a replica does; rests says since when the replica's list may have been out of date.
func (w *world) delete(robot quay.Robot, why, who string, rests time.Time) error {
	f := w.robots[robot.Short()]
	switch {
	case w.readOnly:
		return quay.ErrReadOnly
	case f == nil:
		return quay.ErrRobotMissing
	case f.mirror:
		return quay.ErrMirrorInUse
	case w.keepsDeleted:
		return nil
	case !f.owned || f.number < 0:
		w.fail("%s deletes %s, which is not ours", who, f)
	}
	if !f.published.IsZero() && w.newestPublished() == f && !w.humanDeleted(f.number, rests) {
		w.fail("B: %s deletes %s, the newest published generation", who, f)
	}
	w.end(f, why)
	for _, c := range w.consumers {
		if c.holds == f && why != "revoked" && c.onTime() {
			w.fail("A: %s deletes %s (%s), which %s got %v ago", who, f, why, c.name, w.now.Sub(c.got))
		}
	}
	return nil
}

// humanDeleted reports whether a person deleted a generation above n since, which no replica could know.
func (w *world) humanDeleted(n int64, since time.Time) bool {
	return slices.ContainsFunc(w.ever, func(f *fake) bool {
		return f.number > n && f.endedBy == "human" && !f.ended.Before(since)
	})
}

// newestPublished returns the highest generation that exists and that some replica regards as published.
func (w *world) newestPublished() *fake {
	var newest *fake
	for _, f := range w.robots {
		if f.owned && f.number >= 0 && !f.published.IsZero() && (newest == nil || f.number > newest.number) {
			newest = f
		}
	}
	return newest
}

// generations returns ours that exist, lowest number first.
func (w *world) generations() []*fake {
	var out []*fake
	for _, f := range w.robots {
		if f.owned && f.number >= 0 {
			out = append(out, f)
		}
	}
	slices.SortFunc(out, func(a, b *fake) int { return int(a.number - b.number) })
	return out
}

// unpublished counts the generations ahead of the newest published one.
func (w *world) unpublished() int {
	gens := w.generations()
	n := 0
	for i := len(gens) - 1; i >= 0 && gens[i].published.IsZero(); i-- {
		n++
	}
	return n
}

// login is what /v2/auth does: last_accessed is written even when a pull is denied (docs/quay-contract.md 2.10).
func (w *world) login(f *fake) {
	if now := w.quayNow(); !w.readOnly && !w.noAccess && now.Sub(f.lastAccessed) >= time.Minute {
		f.lastAccessed = now
		w.remember()
	}
}

func (w *world) find(n int64) *fake {
	for _, f := range w.robots {
		if f.number == n {
			return f
		}
	}
	return nil
}

func (w *world) String() string {
	var b strings.Builder
	for _, f := range w.generations() {
		fmt.Fprintf(&b, " %s", f)
		if f.published.IsZero() {
			b.WriteString("?")
		}
	}
	return "{" + strings.TrimSpace(b.String()) + "}"
}

// A consumer asks for the credential again at the latest maxRefresh after it last got one, of any replica that answers.
type consumer struct {
	w     *world
	name  string
	every time.Duration // maxRefresh
	holds *fake
	got   time.Time
}

func (w *world) addConsumer(every time.Duration) *consumer {
	c := &consumer{w: w, name: fmt.Sprintf("consumer %d", len(w.consumers)+1), every: every}
	w.consumers = append(w.consumers, c)
	return c
}

// onTime reports whether the consumer refreshed within the time that is promised to be enough. It is later only
// when no replica answered it.
func (c *consumer) onTime() bool { return c.w.now.Sub(c.got) <= c.every }

// refresh asks one replica, and reports whether it answered.
func (c *consumer) refresh(r *replica) bool {
	f := r.serve()
	if f == nil {
		return false
	}
	if f != c.holds {
		c.w.log("%s gets %s from %s", c.name, f, r.name)
	}
	c.holds, c.got = f, c.w.now
	switch {
	case f.live() || f.endedBy == "human":
	case f.endedBy == "revoked":
		if r.shouldKnow(f) {
			c.w.fail("A: %s gets %s from %s, %v after it was revoked", c.name, f, r.name, c.w.now.Sub(f.ended))
		}
	default:
		c.w.fail("A: %s gets %s from %s, which was deleted (%s) %v ago", c.name, f, r.name, f.endedBy, c.w.now.Sub(f.ended))
	}
	return true
}
