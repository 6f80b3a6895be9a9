package rotation

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/quaygen/quaygen/pkg/quaygen/quay"
	"github.com/quaygen/quaygen/pkg/quaygen/secret"
)

// A desk is one process's memory of one robot and what Quay shows it. Its times are hours since the start of the test, and
// a generation is called after the hour of its creation: g90, or after its distance in minutes: g90+1.
type desk struct {
	t      *testing.T
	spec   Spec
	memory *Memory
	wanted Wanted
	now    float64
	robots []*quay.RobotInfo
}

func newDesk(t *testing.T) *desk {
	d := &desk{t: t, wanted: Wanted{Grants: map[string]quay.Role{"app": quay.RoleRead}}, spec: Spec{
		Name: "puller", Instance: "test", Base: testBase, Strategy: Overlap,
		Every: 100 * time.Hour, Overlap: 24 * time.Hour, Quiet: 2 * time.Hour, Max: 72 * time.Hour, MaxRefresh: time.Hour,
		Sync: 5 * time.Minute, Safety: DefaultSafety(),
	}}
	d.memory = NewMemory(d.spec)
	d.memory.SetAccessTimes(true, true)
	return d
}

func at(hour float64) time.Time {
	return startOfTest.Add(time.Duration(hour * float64(time.Hour))).Round(time.Second)
}

// number is that of a generation created on the hour, or so many minutes later.
func number(hour float64) int64 { return minute(at(hour)) }

// gen lets there be a generation: complete, with a token, and last used when it was created.
func (d *desk) gen(hour float64, change ...func(*quay.RobotInfo)) {
	n := number(hour)
	robot, err := d.spec.Base.Generation(n)
	if err != nil {
		d.t.Fatal(err)
	}
	mark := marker{Instance: d.spec.Instance, Robot: d.spec.Base.Short(), Generation: n, Timing: d.spec.timing()}
	info := &quay.RobotInfo{
		Robot: robot, Created: at(hour), LastAccessed: at(hour), Description: mark.String(), Repositories: []string{"app"}, HasPermissions: true,
		Token: secret.New(fmt.Sprintf("token of %d", n)),
	}
	for _, f := range change {
		f(info)
	}
	d.robots = append(d.robots, info)
}

func bare(r *quay.RobotInfo)    { r.Repositories, r.LastAccessed = nil, time.Time{} }
func unused(r *quay.RobotInfo)  { r.LastAccessed = time.Time{} }
func noToken(r *quay.RobotInfo) { r.Token = secret.String{} }
func with(repositories ...string) func(*quay.RobotInfo) {
	return func(r *quay.RobotInfo) { r.Repositories = repositories }
}
func marked(text string) func(*quay.RobotInfo) {
	return func(r *quay.RobotInfo) { r.Description = text }
}
func created(hour float64) func(*quay.RobotInfo) {
	return func(r *quay.RobotInfo) { r.Created = at(hour) }
}

// published is how Quay shows a generation whose grants are there, and that was logged in with at that hour.
func published(r *quay.RobotInfo, hour float64) *quay.RobotInfo {
	r.Repositories, r.LastAccessed = []string{"app"}, at(hour)
	return r
}

// used changes when Quay shows that a generation was last used.
func (d *desk) used(hour, when float64) { d.find(hour).LastAccessed = at(when) }

func (d *desk) find(hour float64) *quay.RobotInfo {
	for _, r := range d.robots {
		if n, ok := r.Robot.GenerationOf(d.spec.Base); ok && n == number(hour) {
			return r
		}
	}
	d.t.Fatalf("there is no g%v", hour)
	return nil
}

func (d *desk) vanish(hour float64) {
	gone := d.find(hour)
	d.robots = slices.DeleteFunc(d.robots, func(r *quay.RobotInfo) bool { return r == gone })
}

// list lists at that hour.
func (d *desk) list(hour float64) {
	d.now = hour
	l := Listing{At: at(hour), Sent: at(hour)}
	for _, r := range d.robots {
		l.Robots = append(l.Robots, *r)
		if r.LastAccessed.After(l.Used) {
			l.Used = r.LastAccessed
		}
	}
	d.memory.Observe(l, d.wanted)
}

// watch lists at every sync up to that hour.
func (d *desk) watch(hour float64) {
	for d.now+1.0/12 < hour {
		d.list(d.now + 1.0/12)
	}
	d.list(hour)
}

func (d *desk) prove(hour float64, reason string) {
	d.memory.Proved(number(hour), at(d.now), true, reason)
}

// superseded is g0 after g90 was published at hour 90, watched since.
func (d *desk) superseded(until float64, change ...func(*quay.RobotInfo)) {
	d.gen(0)
	d.list(89)
	d.gen(90, change...)
	d.list(90)
	d.watch(until)
}

// unseen is g0, published by this process alone, after g90 was published: Quay was read-only, or records no logins.
func (d *desk) unseen(until float64, change ...func(*quay.RobotInfo)) {
	d.gen(0, unused)
	d.list(0.1)
	d.prove(0, "")
	d.gen(90, change...)
	d.list(90)
	d.watch(until)
}

// unrecorded is g0, published by this process, with g90, which lacks its grants, until Quay begins to record uses at that hour.
func (d *desk) unrecorded(until float64) {
	d.memory.SetAccessTimes(true, false)
	d.gen(0, unused)
	d.list(89)
	d.prove(0, "")
	d.gen(90, bare)
	d.watch(until)
	d.memory.SetAccessTimes(true, true)
}

var generationName = regexp.MustCompile(`(?:acme\+)?k8s_puller_g(\d+)|\bgeneration (\d+)`)

// short calls generations by the hour of their creation.
func short(text string) string {
	return generationName.ReplaceAllStringFunc(text, func(name string) string {
		found := generationName.FindStringSubmatch(name)
		n, err := strconv.ParseInt(found[1]+found[2], 10, 64)
		if err != nil {
			panic(err)
		}
		n -= minute(startOfTest)
		if n%60 == 0 {
			return fmt.Sprintf("g%d", n/60)
		}
		return fmt.Sprintf("g%d+%d", n/60, n%60)
	})
}

func TestWhatIsPlannedInEachSituation(t *testing.T) {
	due := newDesk(t).spec
	dueAfter := (due.Every - due.early()).Hours()
	if due.early() < time.Minute || due.early() > due.Every/10-time.Minute {
		t.Fatalf("rows about rotations that come early rely on a share of the tenth: %v", due.early())
	}
	for _, tt := range []struct {
		rule   string
		story  func(d *desk)
		steps  string // all of them, in order
		states string // of all generations
		says   string // in what is waited for or warned of; "": nothing is
	}{
		// The first generation.
		{"before the first list nothing is known and nothing planned", func(*desk) {}, "", "", ""},
		{"an empty organization gets a first generation", func(d *desk) { d.list(0) }, "create g0", "", "nothing is served: no generation is published yet"},
		{"numbers count minutes of Quay's time", func(d *desk) { d.list(0.55) }, "create g0+33", "", "nothing is served"},
		{"a number never seen in use is stepped over once it was asked for", func(d *desk) { d.memory.Revoke(number(5)); d.list(0) }, "create g5+1", "", "nothing is served"},
		{"what a lost answer may have created is waited for", func(d *desk) { d.list(0); d.memory.Taken(number(0)); d.list(0.01) },
			"", "", "g0 may exist although no list shows it"},
		{"what a lost answer did not create is given up after settle, and its number too", func(d *desk) { d.list(0); d.memory.Taken(number(0)); d.list(0.05) },
			"create g0+3", "", "nothing is served"},
		{"a first generation lacking grants is granted them, and not logged in with", func(d *desk) { d.gen(0, bare); d.list(0.01) },
			"grant g0 read on app", "g0 pending (g0 lacks read on app)", "nothing is served: no generation is published yet: g0 lacks read on app"},
		{"a first generation is logged in with when its grants read back complete", func(d *desk) { d.gen(0, unused); d.list(0.01) },
			"prove g0", "g0 pending", "nothing is served"},
		{"a proven first generation is served, and proven until Quay shows it", func(d *desk) { d.gen(0, unused); d.list(0.01); d.prove(0, "") },
			"prove g0", "g0 current", ""},
		{"a proven generation that Quay shows in use needs nothing", func(d *desk) { d.gen(0, unused); d.list(0.01); d.prove(0, ""); d.used(0, 0.01); d.list(0.1) },
			"", "g0 current", ""},
		{"a fresh process takes what was logged in with and is complete for published", func(d *desk) { d.gen(0); d.list(50) }, "", "g0 current", ""},
		{"a denied proof is repeated", func(d *desk) { d.gen(0, unused); d.list(0.01); d.prove(0, "denied") },
			"prove g0", "g0 pending (g0 is not proven: denied)", "g0 is not proven: denied"},
		{"after a denied own login evidence is not believed before adopt is over", func(d *desk) {
			d.gen(0, unused)
			d.list(0.01)
			d.prove(0, "denied")
			d.used(0, 0.01)
			d.list(0.1)
			d.list(0.25)
		},
			"prove g0", "g0 pending (g0 is not proven: denied)", "nothing is served"},
		{"what others evidently publish is adopted although its proof is denied here", func(d *desk) {
			d.gen(0, unused)
			d.list(0.01)
			d.prove(0, "denied")
			d.used(0, 0.01)
			d.list(0.1)
			d.list(0.3)
		},
			"", "g0 current (served although its proof fails here (denied), because others evidently serve it)", "g0 is served although its proof fails here"},
		{"a token that is not known is read", func(d *desk) { d.gen(0, noToken); d.list(0.01) }, "read token g0", "g0 current", ""},
		{"a first generation waits for all its grants, but only while it settles", func(d *desk) { d.gen(0, bare); d.list(0.02) },
			"grant g0 read on app, prove g0", "g0 pending", "nothing is served"},

		// Rotations.
		{"before it is due nothing happens", func(d *desk) { d.gen(0); d.list(dueAfter - 0.01) }, "", "g0 current", ""},
		{"a rotation is due earlier than every, by the robot's own share", func(d *desk) { d.gen(0); d.list(dueAfter) },
			"create g" + short(fmt.Sprintf("generation %d", number(dueAfter)))[1:], "g0 current", ""},
		{"every rotation gets the higher of the next number and the minute", func(d *desk) { d.gen(0, created(-95)); d.list(0) }, "create g0+1", "g0 current", ""},
		{"one unpublished generation ahead is enough, however long it is due", func(d *desk) { d.gen(0); d.list(91); d.gen(100, bare); d.list(100.1) },
			"grant g100 read on app", "g0 current, g100 pending (g100 lacks read on app)", ""},
		{"a login before the grants read back complete publishes nothing", func(d *desk) { d.gen(0); d.list(89); d.gen(90, with()); d.list(90.01) },
			"grant g90 read on app", "g0 current, g90 pending (g90 lacks read on app)", ""},
		{"a successor must have what its predecessor had and is still wanted", func(d *desk) {
			d.gen(0)
			d.wanted.Grants["lib"] = quay.RoleRead
			d.list(89)
			d.gen(90, bare)
			d.list(90.01)
		}, "grant g0 read on lib, grant g90 read on app, grant g90 read on lib", "g0 current, g90 pending (g90 lacks read on app)", ""},
		{"what the predecessor lacked too is not waited for", func(d *desk) {
			d.wanted.Grants["lib"] = quay.RoleRead
			d.gen(0)
			d.list(89)
			d.gen(90, unused)
			d.list(90.01)
		}, "grant g0 read on lib, grant g90 read on lib, prove g90", "g0 current, g90 pending", ""},
		{"what people granted to the predecessor is copied, with its role read first", func(d *desk) {
			d.gen(0, with("app", "extra"))
			d.list(89)
			d.gen(90, unused)
			d.list(90.01)
		}, "read roles g0", "g0 current, g90 pending (g90 lacks read on extra)", ""},
		{"a repository taken away from Quay does not hold a rotation up", func(d *desk) {
			d.gen(0, with("app", "lib"))
			d.list(89)
			d.gen(90, unused)
			d.wanted.Missing = []string{"lib"}
			d.list(90.01)
		}, "read roles g0, prove g90", "g0 current, g90 pending", "repository lib does not exist"},
		{"a forced rotation is not waited for", func(d *desk) { d.gen(0); d.list(10); d.memory.Force(); d.list(10.1) },
			"create g10+6", "g0 current", ""},
		{"another replica's rotation answers a forced one", func(d *desk) { d.gen(0); d.list(10); d.memory.Force(); d.gen(11); d.list(11.1) },
			"", "g0 draining, g11 current", "g0 is kept: its overlap runs"},
		{"while clocks disagree nothing is created", func(d *desk) { d.gen(0); d.memory.SetFrozen("clocks disagree"); d.list(100) },
			"", "g0 current", "nothing is created: clocks disagree"},
		{"while what to grant is unknown nothing is created", func(d *desk) { d.gen(0); d.wanted = Wanted{Unknown: "no list of repositories"}; d.list(100) },
			"", "g0 current", "what the new generation shall have is not known: no list of repositories"},
		{"while what to grant is unknown grants are left as they are", func(d *desk) {
			d.gen(0, with("extra"))
			d.wanted = Wanted{Unknown: "no list of repositories"}
			d.list(1)
		},
			"", "g0 current", "permissions are left as they are: no list of repositories"},
		{"while what to grant is unknown nothing new is published", func(d *desk) { d.gen(0, unused); d.wanted = Wanted{Unknown: "no list"}; d.list(1) },
			"", "g0 pending (g0 lacks what it shall have is not known: no list)", "nothing is served"},
		{"a repository that does not exist is reported and not waited for", func(d *desk) { d.wanted.Missing = []string{"lib"}; d.gen(0); d.list(1) },
			"", "g0 current", "repository lib does not exist; it is granted as soon as it does"},
		{"a due rotation waits while too many generations live", func(d *desk) {
			d.spec.Every, d.spec.Max = 25*time.Hour, 50*time.Hour // at most four
			d.memory.SetSpec(d.spec)
			for _, hour := range []float64{0, 25, 50, 75} {
				d.gen(hour)
			}
			d.list(99.9)
		}, "", "g0 draining, g25 draining, g50 draining, g75 current", "but 4 generations are alive"},

		// The end of a superseded generation.
		{"within the overlap a generation is kept though unused", func(d *desk) { d.superseded(113.9) },
			"", "g0 draining, g90 current", "g0 is kept: its overlap runs for another"},
		{"after overlap and unused for quiet a generation ends", func(d *desk) { d.superseded(114.1) }, "delete g0", "g0 draining, g90 current", ""},
		{"a generation used within quiet is kept", func(d *desk) { d.superseded(115); d.used(0, 114); d.list(115.1) },
			"", "g0 draining, g90 current", "g0 is kept: it was used at 2026-05-05T18:00:00Z; it ends at 2026-05-07T18:00:00Z at the latest"},
		{"a generation used before quiet ends", func(d *desk) { d.superseded(115); d.used(0, 113); d.list(115.1) }, "delete g0", "g0 draining, g90 current", ""},
		{"never used means unknown, and is kept until max", func(d *desk) { d.unseen(115) }, "", "g0 draining, g90 current", "Quay does not show when it was last used"},
		{"never used ends at max", func(d *desk) { d.unseen(162.1) }, "delete g0", "g0 draining, g90 current", ""},
		{"still used it ends at max", func(d *desk) { d.superseded(161.9); d.used(0, 161.9); d.list(162) }, "delete g0", "g0 draining, g90 current", ""},
		{"still used it is kept until max", func(d *desk) { d.superseded(161); d.used(0, 161); d.list(161.9) }, "", "g0 draining, g90 current", "it was used at"},
		{"a process that starts long after the rotation waits an overlap of its own", func(d *desk) { d.gen(0); d.gen(90); d.list(115); d.watch(138.9) },
			"", "g0 draining, g90 current", "its overlap runs for another"},
		{"a process that starts after max waits for a refresh and a sync", func(d *desk) { d.gen(0); d.gen(90); d.list(163); d.watch(164) },
			"", "g0 draining, g90 current", "its overlap runs for another"},
		{"after max, a refresh and a sync are enough", func(d *desk) { d.gen(0); d.gen(90); d.list(163); d.watch(164.1) }, "delete g0", "g0 draining, g90 current", ""},
		{"time without lists does not count for the overlap", func(d *desk) { d.superseded(100); d.list(130) }, "", "g0 draining, g90 current", "its overlap runs for another"},
		{"a failed list, or Quay read-only, within quiet means that use was not watched", func(d *desk) { d.superseded(114); d.memory.Trouble(); d.watch(115) },
			"", "g0 draining, g90 current", "its use could not be watched until"},
		{"after quiet without trouble it was watched", func(d *desk) { d.superseded(114); d.memory.Trouble(); d.watch(116.2) }, "delete g0", "g0 draining, g90 current", ""},
		{"where use is not recorded nothing ends under a successor that others may not have published", func(d *desk) { d.memory.SetAccessTimes(true, false); d.unseen(180, unused) },
			"prove g90", "g0 draining, g90 current", "g0 is kept: this process has not logged in with its successor yet"},
		{"where use is not recorded max counts from this process's own login", func(d *desk) {
			d.memory.SetAccessTimes(true, false)
			d.unseen(100, unused)
			d.prove(90, "")
			d.watch(171.9)
		},
			"", "g0 draining, g90 current", "g0 is kept: Quay does not show when it was last used; it ends at 2026-05-08T04:00:00Z"},
		{"where use is not recorded max ends it all the same", func(d *desk) {
			d.memory.SetAccessTimes(true, false)
			d.unseen(100, unused)
			d.prove(90, "")
			d.watch(172.1)
		},
			"delete g0", "g0 draining, g90 current", ""},
		{"where use is not recorded an old last use proves nothing", func(d *desk) { d.superseded(115); d.memory.SetAccessTimes(true, false); d.list(115.1) },
			"prove g90", "g0 draining, g90 current", "g0 is kept: Quay does not show when it was last used"},
		{"while clocks disagree nothing ends", func(d *desk) { d.superseded(115); d.memory.SetFrozen("clocks disagree"); d.list(115.1) },
			"", "g0 draining, g90 current", "g0 is kept: clocks disagree"},
		{"one deletion for each list, lowest number first", func(d *desk) { d.gen(0); d.gen(30); d.list(89); d.gen(90); d.watch(115) },
			"delete g0", "g0 draining, g30 draining, g90 current", ""},
		{"what a mirror uses is left for ten minutes, and others end meanwhile", func(d *desk) {
			d.gen(0)
			d.gen(30)
			d.list(89)
			d.gen(90)
			d.watch(115)
			d.memory.NotDeleted(number(0), quay.ErrMirrorInUse)
			d.list(115.1)
		}, "delete g30", "g0 draining, g30 draining, g90 current", "since Quay refused to delete it"},
		{"the newest published generation never ends, whatever is asked", func(d *desk) {
			d.gen(0)
			d.list(1)
			d.memory.Revoke(number(0))
			d.memory.SetFrozen("clocks disagree")
			d.list(1.1)
		},
			"", "g0 current", "nothing is created: clocks disagree"},

		// Revocation.
		{"a revocation mints first", func(d *desk) { d.gen(0); d.list(1); d.memory.Revoke(number(0)); d.list(1.1) }, "create g1+6", "g0 current", ""},
		{"a revocation deletes when a newer generation is published", func(d *desk) { d.gen(0); d.list(1); d.memory.Revoke(number(0)); d.gen(1.1); d.list(1.2) },
			"delete g0", "g0 draining, g1+6 current", ""},
		{"a revocation ends what it names", func(d *desk) {
			d.gen(0)
			d.gen(30)
			d.gen(60)
			d.list(61)
			d.memory.Revoke(number(30))
			d.watch(62)
		},
			"delete g0", "g0 draining, g30 draining, g60 current", ""},
		{"a revocation ends nothing above what it names", func(d *desk) { d.gen(30); d.gen(60); d.list(61); d.memory.Revoke(number(0)); d.watch(62) },
			"", "g30 draining, g60 current", "g30 is kept: its overlap runs"},
		{"a revocation of what is superseded already mints nothing", func(d *desk) { d.gen(0); d.gen(30); d.list(31); d.memory.Revoke(number(0)); d.list(31.1) },
			"delete g0", "g0 draining, g30 current", ""},
		{"not even a revocation deletes what is younger than settle", func(d *desk) { d.gen(0); d.gen(0.017); d.list(0.016); d.memory.Revoke(number(0)); d.list(0.0161) },
			"", "g0 draining, g0+1 current", "so that no delayed creation can bring its name back"},
		{"a revocation passes an unpublished generation that it ends", func(d *desk) { d.gen(0); d.gen(1, bare); d.list(1.1); d.memory.Revoke(number(1)); d.list(1.2) },
			"grant g1 read on app, create g1+12", "g0 current, g1 pending (g1 lacks read on app)", "g1 is kept: it is revoked as soon as a newer generation is published"},
		{"a revocation waits for the generation that is to replace what it ends", func(d *desk) {
			d.gen(0)
			d.gen(1, bare)
			d.list(1.1)
			d.memory.Revoke(number(1))
			d.gen(2, bare)
			d.list(2.1)
		}, "grant g1 read on app, grant g2 read on app, delete g1", "g0 current, g1 pending (g1 lacks read on app), g2 pending (g2 lacks read on app)", ""},
		{"a revocation passes one, and no more of them", func(d *desk) {
			d.gen(0)
			d.gen(1, bare)
			d.gen(2, bare)
			d.list(2.1)
			d.memory.Revoke(number(2))
			d.list(2.2)
		},
			"grant g1 read on app, grant g2 read on app", "g0 current, g1 pending (g1 lacks read on app), g2 pending (g2 lacks read on app)", "g1 is kept: Quay may not"},
		{"a revocation keeps what is served until it is replaced", func(d *desk) { d.gen(0); d.list(1); d.memory.Revoke(number(0)); d.gen(2, bare); d.list(2.1) },
			"grant g2 read on app", "g0 current, g2 pending (g2 lacks read on app)", ""},

		// Generations nobody wants.
		{"a generation created after a higher number and never used is a stray and ends", func(d *desk) { d.gen(0); d.gen(90); d.gen(50, created(91), bare); d.list(91.1); d.list(92) },
			"delete g50", "g0 draining, g50 stray, g90 current", "its overlap runs"},
		{"a stray is kept until it is settle old", func(d *desk) { d.gen(90); d.gen(50, created(91), bare); d.list(90); d.watch(91.01) },
			"", "g50 stray, g90 current", "so that no delayed creation can bring its name back"},
		{"a generation created after a higher number but used is no stray", func(d *desk) { d.gen(90); d.gen(50, created(91)); d.used(50, 91); d.list(92) },
			"", "g50 draining, g90 current", "g50 is kept: its overlap runs"},
		{"what this process created too late ends unused", func(d *desk) {
			d.list(0)
			d.gen(0, bare)
			d.memory.Created(number(0), *d.robots[0], true)
			d.watch(0.3)
		}, "delete g0", "g0 stray", "nothing is served"},
		{"a generation that nobody could publish within its window is given up", func(d *desk) { d.gen(0); d.list(89); d.gen(90, bare); d.watch(138.1) },
			"grant g90 read on app, delete g90", "g0 current, g90 pending (g90 lacks read on app)", ""},
		{"a process that starts gives up nothing before those whom another may have served have asked again", func(d *desk) { d.gen(0); d.gen(90, bare); d.list(140); d.watch(141) },
			"grant g90 read on app", "g0 current, g90 pending (g90 lacks read on app)", ""},
		{"then it does", func(d *desk) { d.gen(0); d.gen(90, bare); d.list(140); d.watch(141.2) },
			"grant g90 read on app, delete g90", "g0 current, g90 pending (g90 lacks read on app)", ""},
		{"within its window it is tried on", func(d *desk) { d.gen(0); d.list(89); d.gen(90, bare); d.watch(137.9) },
			"grant g90 read on app", "g0 current, g90 pending (g90 lacks read on app)", ""},
		{"past its window, but with nothing else in use, it is published late rather than given up", func(d *desk) { d.gen(0, unused); d.list(50); d.watch(51) },
			"prove g0", "g0 pending", "nothing is served: no generation is published yet"},
		{"what existed while no use was recorded is no more given up than it was", func(d *desk) { d.unrecorded(138); d.watch(140) },
			"grant g90 read on app", "g0 current, g90 pending (g90 lacks read on app)", ""},
		{"an overlap later whoever served it would have shown that", func(d *desk) { d.unrecorded(138); d.watch(162.2) },
			"grant g90 read on app, delete g90", "g0 current, g90 pending (g90 lacks read on app)", ""},
		{"what was published later than its window allows leaves its predecessor an overlap", func(d *desk) {
			d.memory.SetAccessTimes(true, false)
			d.gen(0)
			d.list(89)
			d.gen(90, bare)
			d.watch(160)
			d.memory.SetAccessTimes(true, true)
			d.watch(163)
			*d.find(90) = *published(d.find(90), 163)
			d.watch(166)
		}, "", "g0 draining, g90 current", "its overlap runs for another 21h"},
		{"past its window it is not logged in with any more", func(d *desk) { d.gen(0); d.list(89); d.gen(90, unused); d.watch(138.01) },
			"", "g0 current, g90 pending", ""},
		{"after trouble nothing is given up before its use would show", func(d *desk) {
			d.gen(0)
			d.list(89)
			d.gen(90, bare)
			d.watch(138)
			d.memory.Trouble()
			d.watch(138.1)
		},
			"grant g90 read on app", "g0 current, g90 pending (g90 lacks read on app)", "Quay may not have recorded its use until"},

		// Robots that are not ours.
		{"a robot without a marker is left alone and numbers go on above it", func(d *desk) { d.gen(500, marked("made by hand"), bare); d.list(1) },
			"create g500+1", "g500 conflict (it does not carry quaygen's marker)", "robot g500 is in the way: it does not carry quaygen's marker; it is left alone"},
		{"another instance's robot is left alone", func(d *desk) {
			d.gen(500, marked(marker{"other", "k8s_puller", number(500), d.spec.timing()}.String()), bare)
			d.list(1)
		}, "create g500+1", "g500 conflict (it belongs to the instance \"other\", not to \"test\")", "it belongs to the instance \"other\""},
		{"a robot with the marker of another generation is left alone", func(d *desk) {
			d.gen(500, marked(marker{"test", "k8s_puller", number(2), d.spec.timing()}.String()), bare)
			d.list(1)
		}, "create g500+1", "g500 conflict (its marker names g2 of \"k8s_puller\")", "its marker names g2"},
		{"a robot that is not ours does not end what is", func(d *desk) { d.gen(0); d.gen(50, marked("made by hand")); d.list(51); d.watch(60) },
			"", "g0 current, g50 conflict (it does not carry quaygen's marker)", "robot g50 is in the way"},
		{"a robot that is not ours, with a higher number, makes no stray of ours", func(d *desk) { d.gen(500, marked("made by hand"), created(0)); d.gen(50, unused); d.list(50.01) },
			"prove g50", "g50 pending, g500 conflict (it does not carry quaygen's marker)", "robot g500 is in the way"},
		{"the last number there is cannot be followed", func(d *desk) {
			d.gen(0)
			d.robots[0].Robot = mustRobot("acme", fmt.Sprintf("k8s_puller_g%d", int64(quay.MaxGeneration)))
			d.robots[0].Description = "made by hand"
			d.list(1)
		}, "", "g16666663786+39 conflict (it does not carry quaygen's marker)", "no further generation can be named"},

		// Generations that vanish.
		{"one list without a generation ends nothing", func(d *desk) { d.gen(0); d.list(1); d.vanish(0); d.list(1.01); d.list(1.02) },
			"verify g0", "g0 missing", "g0 is not in the last list; nothing is created before it is certain to be gone"},
		{"absent for longer than settle a generation is gone, and a higher one made", func(d *desk) { d.gen(0); d.list(0.01); d.vanish(0); d.list(0.02); d.list(0.04) },
			"create g0+2", "", "nothing is served: no generation is published yet"},
		{"when the newest is gone the one before is served again", func(d *desk) {
			d.gen(0)
			d.list(89)
			d.gen(90)
			d.watch(91)
			d.vanish(90)
			d.watch(91.2)
		},
			"", "g0 current", ""},
		{"the overlap starts again when the successor is gone and another comes", func(d *desk) {
			d.superseded(113)
			d.vanish(90)
			d.watch(113.2)
			d.gen(113.2)
			d.watch(115)
		}, "", "g0 draining, g113+12 current", "its overlap runs for another"},
		{"what was believed gone is never served again", func(d *desk) {
			d.gen(0)
			d.list(89)
			d.gen(90)
			d.watch(91)
			d.vanish(90)
			d.watch(91.2)
			d.gen(90)
			d.list(91.3)
		},
			"", "g0 current, g90 stray", ""},
		{"a robot of the same name with another creation time is another robot", func(d *desk) { d.gen(0); d.list(1); d.vanish(0); d.gen(0, created(1.05)); d.list(1.1) },
			"create g1+6", "g0 stray", "nothing is served"},

		// Permissions.
		{"a grant that was taken away is given again", func(d *desk) { d.gen(0, with()); d.list(1) }, "grant g0 read on app", "g0 current", ""},
		{"a role that is too low is raised", func(d *desk) {
			d.wanted.Grants["app"] = quay.RoleWrite
			d.gen(0)
			d.list(1)
			d.memory.RolesRead(number(0), map[string]quay.Role{"app": quay.RoleRead})
		},
			"grant g0 write on app", "g0 current", ""},
		{"a role that is higher is left, without prune", func(d *desk) {
			d.gen(0)
			d.list(1)
			d.memory.RolesRead(number(0), map[string]quay.Role{"app": quay.RoleAdmin})
			d.list(2)
		},
			"", "g0 current", ""},
		{"superseded generations are mended as well", func(d *desk) { d.gen(0, with()); d.gen(50); d.list(51) }, "grant g0 read on app", "g0 draining, g50 current", "its overlap"},
		{"a team is joined", func(d *desk) { d.wanted.Teams = []string{"pullers"}; d.gen(0); d.list(1) }, "join team g0 pullers", "g0 current", ""},
		{"what people granted is left, without prune", func(d *desk) { d.gen(0, with("app", "extra")); d.list(1); d.watch(2) }, "", "g0 current", ""},
		{"prune waits until a grant has been unlisted for long", func(d *desk) {
			d.spec.Permissions.Prune = true
			d.memory.SetSpec(d.spec)
			d.gen(0, with("app", "extra"))
			d.list(1)
			d.list(1.15)
		},
			"", "g0 current", "grant extra of g0 is not in the configuration and is removed at 2026-05-01T01:10:00Z"},
		{"prune takes away a grant unlisted for long", func(d *desk) {
			d.spec.Permissions.Prune = true
			d.memory.SetSpec(d.spec)
			d.gen(0, with("app", "extra"))
			d.list(1)
			d.list(1.17)
		},
			"remove grant g0 on extra", "g0 current", ""},
		{"prune lowers a role unlisted for long", func(d *desk) {
			d.spec.Permissions.Prune = true
			d.memory.SetSpec(d.spec)
			d.gen(0)
			d.list(1)
			d.memory.RolesRead(number(0), map[string]quay.Role{"app": quay.RoleAdmin})
			d.list(1.1)
			d.list(1.3)
		}, "grant g0 read on app", "g0 current", ""},
		{"prune leaves a team unlisted for long", func(d *desk) {
			d.spec.Permissions.Prune = true
			d.memory.SetSpec(d.spec)
			d.gen(0, func(r *quay.RobotInfo) { r.Teams = []string{"others"} })
			d.list(1)
			d.list(1.2)
		}, "leave team g0 others", "g0 current", ""},
		{"prune starts anew for a grant that came back", func(d *desk) {
			d.spec.Permissions.Prune = true
			d.memory.SetSpec(d.spec)
			d.gen(0, with("app", "extra"))
			d.list(1)
			d.find(0).Repositories = []string{"app"}
			d.list(1.1)
			d.find(0).Repositories = []string{"app", "extra"}
			d.list(1.2)
			d.list(1.3)
		}, "", "g0 current", "grant extra of g0 is not in the configuration"},
		{"prune does not wait for what it takes away", func(d *desk) {
			d.spec.Permissions.Prune = true
			d.memory.SetSpec(d.spec)
			d.gen(0, with("app", "extra"))
			d.list(89)
			d.gen(90, unused)
			d.list(89.01)
		}, "prove g90", "g0 current, g90 pending", "grant extra of g0"},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			d := newDesk(t)
			tt.story(d)
			plan := d.memory.Plan()
			checkPlan(t, plan, tt.steps, tt.states, tt.says)
		})
	}
}

func checkPlan(t *testing.T, plan Plan, steps, states, says string) {
	t.Helper()
	var got []string
	for _, s := range plan.Steps {
		got = append(got, short(s.String()))
		if s.Why == "" {
			t.Errorf("%s has no reason", s)
		}
	}
	if text := strings.Join(got, ", "); text != steps {
		t.Errorf("planned %q, want %q", text, steps)
	}
	got = nil
	for _, g := range plan.Generations {
		text := short(g.Robot.Username()) + " " + string(g.State)
		if g.Note != "" {
			text += " (" + short(g.Note) + ")"
		}
		got = append(got, text)
	}
	if text := strings.Join(got, ", "); text != states {
		t.Errorf("states %q, want %q", text, states)
	}
	said := short(strings.Join(slices.Concat(plan.Waiting, plan.Warnings), "; "))
	if says == "" && said != "" || !strings.Contains(said, says) {
		t.Errorf("says %q, want %q", said, says)
	}
}

func TestARobotThatIsNotRotatedIsMadeOnceAndNeverEnds(t *testing.T) {
	own := func(change ...func(*quay.RobotInfo)) *quay.RobotInfo {
		r := &quay.RobotInfo{Robot: testBase, Created: at(0), Repositories: []string{"app"}, HasPermissions: true, Token: secret.New("x")}
		for _, f := range change {
			f(r)
		}
		return r
	}
	for _, tt := range []struct {
		rule                string
		story               func(d *desk)
		steps, states, says string
	}{
		{"it is created when there is none", func(d *desk) { d.list(0) }, "create acme+k8s_puller", "", "nothing is served"},
		{"one made by hand is used as it is", func(d *desk) { d.robots = append(d.robots, own(marked("made by hand"))); d.list(0) }, "", "acme+k8s_puller current", ""},
		{"its grants are mended", func(d *desk) { d.robots = append(d.robots, own(bare)); d.list(1) }, "grant acme+k8s_puller read on app", "acme+k8s_puller current", ""},
		{"its token is read again at each sync", func(d *desk) {
			d.robots = append(d.robots, own())
			d.list(0)
			d.robots[0].Token = secret.String{}
			d.list(1)
		},
			"read token acme+k8s_puller", "acme+k8s_puller current", ""},
		{"it is never due, and never logged in with", func(d *desk) { d.robots = append(d.robots, own()); d.list(10_000) }, "", "acme+k8s_puller current", ""},
		{"one list without it makes no other", func(d *desk) { d.robots = append(d.robots, own()); d.list(1); d.robots = nil; d.list(1.01) }, "verify acme+k8s_puller", "acme+k8s_puller missing", ""},
		{"gone for longer than settle it is made again", func(d *desk) {
			d.robots = append(d.robots, own())
			d.list(1)
			d.robots = nil
			d.list(1.01)
			d.list(1.03)
		},
			"create acme+k8s_puller", "", "nothing is served"},
		{"made again by a person it is served again", func(d *desk) {
			d.robots = append(d.robots, own())
			d.list(1)
			d.robots = nil
			d.list(1.01)
			d.list(1.03)
			d.robots = append(d.robots, own(created(2)))
			d.list(2.1)
		}, "", "acme+k8s_puller current", ""},
		{"generations of the name are not touched", func(d *desk) { d.robots = append(d.robots, own()); d.gen(1, bare); d.list(500) }, "", "acme+k8s_puller current", ""},
		{"while clocks disagree it is not created", func(d *desk) { d.memory.SetFrozen("clocks disagree"); d.list(0) }, "", "", "acme+k8s_puller is missing, but nothing is created: clocks disagree"},
		{"while what to grant is unknown it is not created", func(d *desk) { d.wanted = Wanted{Unknown: "no list"}; d.list(0) }, "", "", "permissions are left as they are: no list"},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			d := newDesk(t)
			d.spec.Strategy = None
			d.memory.SetSpec(d.spec)
			tt.story(d)
			checkPlan(t, d.memory.Plan(), tt.steps, tt.states, tt.says)
		})
	}
}

func TestPlanningChangesNothing(t *testing.T) {
	for what, story := range map[string]func(*desk){
		"a deletion": func(d *desk) { d.superseded(114.1) },
		"a creation": func(d *desk) { d.gen(0, created(-95)); d.list(0) },
	} {
		d := newDesk(t)
		story(d)
		first := fmt.Sprintf("%+v", d.memory.Plan())
		if second := fmt.Sprintf("%+v", d.memory.Plan()); second != first {
			t.Errorf("%s: planned first %s\nand then %s", what, first, second)
		}
	}
}
