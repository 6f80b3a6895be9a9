package e2e

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/quaygen/quaygen/e2e/product"
)

// A register knows of every token that Quay gave a robot, by its fingerprint, and
// when it ended.
type register struct {
	mu    sync.Mutex           // guards what follows
	order []string             // oldest first
	now   map[string]string    // the token of each robot that lives
	ended map[string]time.Time // a little later than it happened
}

func newRegister() *register {
	return &register{now: map[string]string{}, ended: map[string]time.Time{}}
}

// note takes in what Quay shows: every robot that ever was, oldest first.
func (r *register) note(robots []product.Robot, at time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, robot := range robots {
		if !slices.Contains(r.order, robot.Fingerprint) {
			known.fingerprint("the token of "+robot.Name, robot.Fingerprint)
			r.order = append(r.order, robot.Fingerprint)
			if old := r.now[robot.Name]; old != "" {
				r.ended[old] = at
			}
			r.now[robot.Name] = robot.Fingerprint
		}
		if !robot.Deleted.IsZero() {
			r.ended[robot.Fingerprint] = robot.Deleted
		}
	}
}

// newest returns the token that Quay made last.
func (r *register) newest() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.order) == 0 {
		return ""
	}
	return r.order[len(r.order)-1]
}

// count returns how many tokens there were.
func (r *register) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.order)
}

// gone tells when a token ended, if it has.
func (r *register) gone(token string) (time.Time, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	at, ok := r.ended[token]
	return at, ok
}

// A promise is what those who ask a replica may rely on.
type promise struct {
	window  time.Duration // for so long after its end a token may be handed out
	refresh time.Duration // for so long after it was handed out a token lives; 0: there is no such promise
}

// A verdict is what a replica's answers come to.
type verdict struct {
	served, refused int
	late            time.Duration // after its end, the latest that a token was handed out
	problems        []string
}

// judge looks at all that a replica answered.
func (r *register) judge(m *member, p promise) verdict {
	r.mu.Lock()
	defer r.mu.Unlock()
	m.mu.Lock()
	defer m.mu.Unlock()
	var v verdict
	for _, a := range m.answers {
		problem := func(format string, args ...any) {
			v.problems = append(v.problems, fmt.Sprintf("at %s: %s", a.got.Format(time.StampMilli), fmt.Sprintf(format, args...)))
		}
		switch a.status {
		case 0: // its process was not there
			continue
		case http.StatusServiceUnavailable:
			v.refused++
			continue
		case http.StatusOK:
			v.served++
		default:
			problem("the answer is %d", a.status)
			continue
		}
		end, ended := r.ended[a.token]
		switch {
		case !slices.Contains(r.order, a.token):
			problem("token %s is none that Quay ever made", a.token)
			continue
		case !ended:
			continue
		}
		v.late = max(v.late, a.asked.Sub(end))
		if late := a.asked.Sub(end); late > p.window {
			problem("token %s is handed out to who asked %v after it had ended; %v are allowed", a.token, late, p.window)
		}
		for _, resumed := range m.resumed {
			if !a.got.Before(resumed) && end.Before(resumed) {
				problem("token %s is handed out %v after a pause during which it ended", a.token, a.got.Sub(resumed))
			}
		}
		if lived := end.Sub(a.got); p.refresh > 0 && lived < p.refresh {
			problem("token %s ended %v after it was handed out; it has to live for %v", a.token, lived, p.refresh)
		}
	}
	if v.served == 0 {
		v.problems = append(v.problems, "nothing was handed out ever")
	}
	return v
}

func TestTheRegisterNoticesWhatMayNotBe(t *testing.T) {
	at := func(seconds float64) time.Time {
		return time.Date(2026, time.March, 1, 0, 0, 0, int(seconds*float64(time.Second)), time.UTC)
	}
	r := newRegister()
	r.note([]product.Robot{{Name: "robot", Fingerprint: "one"}}, at(0))
	r.note([]product.Robot{{Name: "robot", Fingerprint: "two"}}, at(10))
	r.note([]product.Robot{{Name: "robot", Fingerprint: "two"}, {Name: "other", Fingerprint: "three", Deleted: at(20)}}, at(21))
	if end, ended := r.gone("one"); !ended || !end.Equal(at(10)) || r.count() != 3 || r.newest() != "three" {
		t.Fatalf("the register is %+v", r)
	}
	ok := answer{asked: at(1), got: at(1), status: 200, token: "one"}
	for _, tt := range []struct {
		name   string
		answer answer
		want   string // in the problem; empty: none
	}{
		{"in time", ok, ""},
		{"none", answer{asked: at(11), got: at(30)}, ""},
		{"not ready", answer{asked: at(11), got: at(30), status: 503}, ""},
		{"another status", answer{asked: at(11), got: at(30), status: 404}, "404"},
		{"a token of nobody", answer{asked: at(1), got: at(1), status: 200, token: "four"}, "none that Quay ever made"},
		{"just after its end", answer{asked: at(10.5), got: at(10.6), status: 200, token: "one"}, ""},
		{"long after its end", answer{asked: at(12), got: at(12), status: 200, token: "one"}, "2s after it had ended"},
		{"asked in time, answered after the pause", answer{asked: at(9), got: at(15.1), status: 200, token: "one"}, "100ms after a pause"},
		{"a living one after the pause", answer{asked: at(9), got: at(15.1), status: 200, token: "two"}, ""},
	} {
		m := &member{answers: []answer{ok, tt.answer}, resumed: []time.Time{at(15)}}
		text := strings.Join(r.judge(m, promise{window: time.Second}).problems, "\n")
		if (text == "") != (tt.want == "") || !strings.Contains(text, tt.want) {
			t.Errorf("%s: %q, want %q", tt.name, text, tt.want)
		}
	}
	early := &member{answers: []answer{{asked: at(19), got: at(19), status: 200, token: "three"}}}
	if text := strings.Join(r.judge(early, promise{refresh: 2 * time.Second}).problems, "\n"); !strings.Contains(text, "ended 1s after it was handed out") {
		t.Errorf("a token that ended too soon: %q", text)
	}
	if len(r.judge(&member{}, promise{}).problems) != 1 {
		t.Error("a replica that says nothing is not noticed")
	}
}
