package main

import (
	"encoding/base64"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/quaygen/quaygen/pkg/quaygen/secret"
)

// midnight is when the worlds of these tests begin.
var midnight = time.Date(2026, time.March, 1, 0, 0, 0, 0, time.UTC)

func at(seconds float64) time.Time {
	return midnight.Add(time.Duration(seconds * float64(time.Second)))
}

func marked(number int, created, accessed, deleted float64) robot {
	r := robot{
		Name: fmt.Sprintf("myorg+app_g%d", number), Fingerprint: fmt.Sprint("fingerprint", number), Created: at(created),
		Description: fmt.Sprintf("quaygen/1 instance=chaos robot=app generation=%d overlap=12s max=20s refresh=4s", number),
	}
	if accessed > 0 {
		r.LastAccessed = at(accessed)
	}
	if deleted > 0 {
		r.Deleted = at(deleted)
	}
	return r
}

// peace is a world in which nothing is wrong: 101 was rotated to 102 and deleted, 102 to 103, and 102 drains.
func peace() *evidence {
	foreign := robot{Name: "myorg+app_g7", Fingerprint: "foreign", Created: at(-100), Description: "made by hand", Grants: map[string]string{"my-app": "read"}}
	j := newJournal(scenario{timing: slow})
	j.spans = []span{
		{consumer: "a", robot: "myorg+app_g101", asked: at(20), got: at(21), until: at(23)},
		{consumer: "a", robot: "myorg+app_g102", asked: at(44), got: at(45), until: at(48)},
		{consumer: "a", robot: "myorg+app_g103", asked: at(59), got: at(60), until: at(60)},
	}
	j.failures = []failure{{consumer: "b", robot: "myorg+app_g101", at: at(50), err: errors.New("beyond the promise")}}
	return &evidence{
		timing: slow, journal: j, now: at(60), foreign: []robot{foreign}, secrets: []string{"0123456789012345678901234567890123456789"},
		robots: []robot{foreign, marked(101, 0, 21, 40), marked(102, 24, 46, 0), marked(103, 48, 59, 0)},
		texts:  []string{"level=INFO msg=done robot=app fingerprint101 " + strings.Repeat("A", 64)},
	}
}

func TestAWorldInOrderHasNoFindings(t *testing.T) {
	if f := peace().check(); !reflect.DeepEqual(f, findings{}) {
		t.Errorf("found %+v", f)
	}
	if n := peace().beyond(); n != 0 {
		t.Errorf("%d credentials beyond the promise", n)
	}
}

// The highest number is kept while it could be given out again; of others that is no reason.
func TestANumberThatHasNotPassedIsNoLeak(t *testing.T) {
	minute := int(midnight.Sub(time.Date(2026, time.January, 1, 0, 0, 0, 0, time.UTC)) / time.Minute)
	for _, c := range []struct{ number, leaks int }{{minute - 1, 1}, {minute, 1}, {minute + 1, 0}} {
		e := peace()
		e.now = at(90)
		e.robots = append(e.robots[:3:3], marked(103, 70, 89, 0), marked(c.number, 40, 0, 0))
		if leaked := e.check().leaked; len(leaked) != c.leaks {
			t.Errorf("minute %+d: %q", c.number-minute, leaked)
		}
	}
	e := peace()
	e.now = at(90)
	e.robots = append(e.robots[:3:3], marked(103, 70, 89, 0), marked(minute+1, 40, 0, 0), marked(minute+2, 80, 89, 0))
	if leaked := e.check().leaked; len(leaked) != 1 {
		t.Errorf("below a higher one: %q", leaked)
	}
}

// Each row breaks one thing. Exactly the check for it must speak.
func TestEachCheckNoticesWhatItIsFor(t *testing.T) {
	token := strings.Repeat("Q7", 32)
	leak := func(text string) func(*evidence) {
		return func(e *evidence) {
			e.robots[1].Fingerprint = secret.New(token).Fingerprint()
			e.texts = append(e.texts, text)
		}
	}
	for title, c := range map[string]struct {
		breaks func(*evidence)
		which  func(findings) []string
	}{
		"a pull with a fresh credential is refused": {
			func(e *evidence) { e.journal.failures[0].covered = true },
			func(f findings) []string { return f.failedPulls }},
		"a rotation long before it is due": {
			func(e *evidence) { e.robots[3].Created = at(30) },
			func(f findings) []string { return f.doubles }},
		"a credential is handed out after its deletion": {
			func(e *evidence) { e.journal.spans[0].asked, e.journal.spans[0].got = at(40.1), at(40.2) },
			func(f findings) []string { return f.heldDead }},
		"a credential is deleted while a consumer may rely on it": {
			func(e *evidence) { e.journal.spans[0].got, e.journal.spans[0].until = at(37), at(41) },
			func(f findings) []string { return f.heldDead }},
		"a credential that Quay never had": {
			func(e *evidence) { e.journal.spans[0].robot = "myorg+app_g99" },
			func(f findings) []string { return f.heldDead }},
		"a name comes back": {
			func(e *evidence) {
				once := marked(90, 1, 0, 5)
				e.robots = append(e.robots, once, once)
			},
			func(f findings) []string { return f.namesTwice }},
		"a superseded robot lives on": {
			func(e *evidence) { e.robots[1].Deleted = time.Time{} },
			func(f findings) []string { return f.leaked }},
		"a robot that was never used lives on": {
			func(e *evidence) { e.robots = append(e.robots, marked(90, 1, 0, 0)) },
			func(f findings) []string { return f.leaked }},
		"a robot without marker is deleted": {
			func(e *evidence) { e.robots[0].Deleted = at(5) },
			func(f findings) []string { return f.touched }},
		"a robot without marker is granted something": {
			func(e *evidence) { e.robots[0].Grants = map[string]string{"my-app": "read", "backend-api": "read"} },
			func(f findings) []string { return f.touched }},
		"a robot without marker is logged in with": {
			func(e *evidence) { e.robots[0].LastAccessed = at(5) },
			func(f findings) []string { return f.touched }},
		"a robot without marker is made": {
			func(e *evidence) { e.robots = append(e.robots, robot{Name: "myorg+other", Created: at(5)}) },
			func(f findings) []string { return f.touched }},
		"the newest in use is deleted": {
			func(e *evidence) { e.robots[3].Deleted = at(60) },
			func(f findings) []string { return f.newestDeleted }},
		"a token in a log":       {leak("token=" + token), func(f findings) []string { return f.tokens }},
		"the API token in a log": {leak("Bearer 0123456789012345678901234567890123456789"), func(f findings) []string { return f.tokens }},
		"a token in a header": {
			leak("Basic " + base64.StdEncoding.EncodeToString([]byte("myorg+app_g101:"+token))),
			func(f findings) []string { return f.tokens }},
		"a registry token in a log": {leak("eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJxdWF5In0.c2ln"), func(f findings) []string { return f.tokens }},
		"a consumer is told that there is no such secret": {
			func(e *evidence) { e.journal.outcomes["404"] = 1 },
			func(f findings) []string { return f.notFound }},
	} {
		t.Run(title, func(t *testing.T) {
			e := peace()
			c.breaks(e)
			f := e.check()
			if len(c.which(f)) == 0 {
				t.Error("not noticed")
			}
			total := 0
			for _, traces := range f.each() {
				total += len(traces)
			}
			if total != len(c.which(f)) {
				t.Errorf("others speak as well: %+v", f)
			}
		})
	}
}

func TestACredentialHeldBeyondThePromiseIsCountedApart(t *testing.T) {
	e := peace()
	e.journal.spans[0].got, e.journal.spans[0].until = at(30), at(41)
	if f := e.check(); len(f.heldDead) != 0 {
		t.Errorf("found %q", f.heldDead)
	}
	if n := e.beyond(); n != 1 {
		t.Errorf("%d beyond the promise", n)
	}
}

func TestARegenerationThatNobodySawIsADoubleUnlessItIsTheLast(t *testing.T) {
	e := &evidence{journal: newJournal(scenario{timing: slow, way: wayRegenerate}), robots: []robot{{Name: "myorg+app", Fingerprint: "third"}}}
	c := &consumer{name: "a", secret: "app"}
	e.journal.took(c, nil, content{robot: "myorg+app with first", got: at(1), refreshAt: at(60)})
	e.journal.took(c, nil, content{robot: "myorg+app with second", got: at(60), refreshAt: at(120)})
	if doubles := e.regeneratedTwice(2); len(doubles) != 0 {
		t.Errorf("the present token counts: %q", doubles)
	}
	if doubles := e.regeneratedTwice(3); len(doubles) != 1 {
		t.Errorf("a token that came and went: %q", doubles)
	}
}

func TestTheJournalTellsWhatARotationIs(t *testing.T) {
	j := newJournal(scenario{timing: slow})
	c := &consumer{name: "a", secret: "app"}
	first := content{robot: "myorg+app_g1", asked: at(0), got: at(1), refreshAt: at(24)}
	again := content{robot: "myorg+app_g1", asked: at(3), got: at(4), refreshAt: at(24)}
	second := content{robot: "myorg+app_g2", asked: at(25), got: at(26), refreshAt: at(48)}
	j.took(c, nil, first)
	j.took(c, &first, again)
	j.took(c, &again, second)
	refusal := &statusError{path: "/v2/auth", status: 401}
	j.pulled("a", &again, at(8), false, refusal) // 4 s after the answer: covered
	j.pulled("a", &again, at(9), true, refusal)  // 5 s: not
	j.pulled("a", &second, at(26.5), false, nil) // the end of 18.5 s
	j.pulled("a", &second, at(27), false, errors.New("connection refused"))
	j.end(at(30))
	if h := j.handed["myorg+app_g2"]; h.prev != "myorg+app_g1" || !h.due.Equal(at(24)) || !h.at.Equal(at(26)) || j.rotations != 1 {
		t.Errorf("%d rotations, the last one %+v", j.rotations, h)
	}
	if len(j.spans) != 2 || !j.spans[0].got.Equal(at(4)) || !j.spans[0].until.Equal(at(26)) || !j.spans[1].until.Equal(at(30)) {
		t.Errorf("spans %+v", j.spans)
	}
	if len(j.failures) != 2 || !j.failures[0].covered || j.failures[1].covered || len(j.unreached) != 1 {
		t.Errorf("failures %+v, unreached %v", j.failures, j.unreached)
	}
	if len(j.outages) != 1 || j.outages[0] != 18500*time.Millisecond || j.pulls != 4 || j.foreign != 1 || j.silence != 22*time.Second {
		t.Errorf("outages %v, %d pulls, %d by a client that is not ours, silence %v", j.outages, j.pulls, j.foreign, j.silence)
	}
}

func TestOneSeedIsOneSchedule(t *testing.T) {
	draw := func(seed, stream uint64) []event {
		s := newFaultSchedule(scenario{timing: slow, seed: seed}, stream, "127.0.0.1:1")
		var events []event
		for range 200 {
			events = append(events, s.next())
		}
		return events
	}
	if !reflect.DeepEqual(draw(1, 2), draw(1, 2)) {
		t.Error("one seed draws different faults")
	}
	if reflect.DeepEqual(draw(1, 2), draw(2, 2)) || reflect.DeepEqual(draw(1, 2), draw(1, 3)) {
		t.Error("different seeds draw the same faults")
	}
	seen := map[string]bool{}
	for _, e := range draw(1, 2) {
		seen[e.kind] = true
	}
	if len(seen) != len(kinds)-1 {
		t.Errorf("kinds %v", seen)
	}
	w := &world{scenario: scenario{seed: 5, copies: 3}}
	one, two := w.killRound(w.stream(101)), w.killRound(w.stream(101))
	if !reflect.DeepEqual(one, two) || len(one) != 3*6*2 {
		t.Errorf("one seed kills in different orders, or leaves cases out: %v", one)
	}
	batch, rest := next(one)
	if len(batch)+len(rest) != len(one) || len(batch) < 2 || slices.ContainsFunc(batch, func(c killCase) bool { return c.replica != one[0].replica || slices.Contains(rest, c) }) {
		t.Errorf("a batch of %v leaves %v", batch, rest)
	}
}
