package main

import (
	"maps"
	"sync"
	"time"
)

// journal is what consumers and pullers saw.
type journal struct {
	refresh time.Duration // for so long after an answer its consumer may rely on it; 0: there is no such promise, and all failures count

	mu        sync.Mutex
	handed    map[string]handing   // by robot, when it was first handed out
	newest    map[string]content   // by pull secret
	spans     []span               // that have ended
	open      map[*consumer]span   // that have not
	outcomes  map[string]int       // of refreshes
	silence   time.Duration        // the longest a consumer went without an answer
	pulls     int                  // all
	foreign   int                  // of these, through a registry client that is not ours
	failures  []failure            // refused
	unreached []error              // pulls that never got an answer: trouble of this program or its machine
	since     map[string]time.Time // by consumer: its pulls have failed since
	outages   []time.Duration      // how long pulls of one consumer kept failing
	rotations int
}

// handing is the first time that a generation was handed out.
type handing struct {
	name string    // of the pull secret
	at   time.Time // when the answer came
	due  time.Time // when its predecessor was due for rotation; zero for a first generation
	prev string    // its predecessor
}

// content is what a consumer keeps: the Secret, in a cluster.
type content struct {
	robot     string
	data      string    // .dockerconfigjson
	refreshAt time.Time // when the next rotation is due
	asked     time.Time // when the latest request for it began
	got       time.Time // when the latest answer with it came
}

// span is a time in which a consumer held one credential.
type span struct {
	consumer, robot   string
	asked, got, until time.Time // until is zero while it lasts
}

// failure is a pull that Quay refused.
type failure struct {
	consumer, robot string
	at              time.Time
	covered         bool // the consumer had got the credential, or had it confirmed, within maxRefresh
	err             error
}

func newJournal(s scenario) *journal {
	j := &journal{handed: map[string]handing{}, newest: map[string]content{}, open: map[*consumer]span{}, outcomes: map[string]int{}, since: map[string]time.Time{}}
	if s.way == wayOverlap {
		j.refresh = s.refresh
	}
	return j
}

// took notes that a consumer got content, new or again.
func (j *journal) took(c *consumer, old *content, now content) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.outcomes["answered"]++
	if old != nil {
		j.silence = max(j.silence, now.got.Sub(old.got))
	}
	s, holds := j.open[c]
	if holds && s.robot != now.robot {
		s.until = now.got
		j.spans = append(j.spans, s)
		holds = false
	}
	if !holds {
		s = span{consumer: c.name, robot: now.robot}
	}
	s.asked, s.got = now.asked, now.got
	j.open[c] = s
	j.published(c.secret, now)
}

// published notes when a generation was first seen, and what it follows.
func (j *journal) published(name string, now content) {
	newest, known := j.newest[name]
	if _, seen := j.handed[now.robot]; !seen {
		h := handing{name: name, at: now.got}
		if known {
			h.due, h.prev = newest.refreshAt, newest.robot
			j.rotations++
		}
		j.handed[now.robot] = h
		j.newest[name] = now
	}
}

func (j *journal) refused(outcome string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.outcomes[outcome]++
}

// pulled notes a pull that began at the time and ended so. Every pull ends well, or is refused, or got no answer at all.
func (j *journal) pulled(consumer string, c *content, at time.Time, foreign bool, err error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.pulls++
	if foreign {
		j.foreign++
	}
	since, failing := j.since[consumer]
	switch {
	case err == nil && failing:
		j.outages = append(j.outages, at.Sub(since))
		delete(j.since, consumer)
	case err == nil:
	case statusOf(err) == 0:
		j.unreached = append(j.unreached, err)
	default:
		covered := j.refresh == 0 || at.Sub(c.got) <= j.refresh
		j.failures = append(j.failures, failure{consumer: consumer, robot: c.robot, at: at, covered: covered, err: err})
		if !failing {
			j.since[consumer] = at
		}
	}
}

// progress says how many rotations were seen and pulls done.
func (j *journal) progress() (rotations, pulls, failures int) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.rotations, j.pulls, len(j.failures)
}

// end closes what is open.
func (j *journal) end(now time.Time) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for s := range maps.Values(j.open) {
		s.until = now
		j.spans = append(j.spans, s)
	}
	clear(j.open)
	for since := range maps.Values(j.since) {
		j.outages = append(j.outages, now.Sub(since))
	}
	clear(j.since)
}
