package main

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"time"

	quaygenv1 "github.com/quaygen/quaygen/proto/quaygen/v1"
)

// progress tells people what goes on while a call takes its time: on a terminal in one line that is written over, elsewhere
// in a line for each thing that happens.
type progress struct {
	*screen
	about string
	last  string
	since time.Time
}

func newProgress(out *output, stderr io.Writer, now func() time.Time, about string) *progress {
	p := &progress{screen: out.screen(stderr, now), about: about, since: time.Now()}
	return p
}

// note tells what is now the case.
func (p *progress) note(text string) {
	if text == p.last {
		return
	}
	p.last = text
	if p.width == 0 {
		p.say("%s: %s", p.about, text)
		return
	}
	p.draw()
}

// draw writes the line of a terminal over.
func (p *progress) draw() {
	if p.width == 0 {
		return
	}
	took := " (" + span(time.Since(p.since)) + ")"
	fmt.Fprint(p, "\r\x1b[K"+p.clip(p.about+": "+p.last, len(took)+1)+took)
}

// clear takes the line of a terminal away.
func (p *progress) clear() {
	if p.width > 0 {
		fmt.Fprint(p, "\r\x1b[K")
	}
}

// during makes the call and tells what happens to the robot meanwhile. It returns when the call does: a watch that is
// denied or breaks is not a reason to fail.
func (p *progress) during(ctx context.Context, s *session, name, namespace string, call func(context.Context) error) error {
	watching, stop := context.WithCancel(ctx)
	notes, ended := make(chan string), make(chan struct{})
	go func() {
		defer close(ended)
		_ = s.follow(watching, (&observer{name: name, namespace: namespace, tell: func(text string) {
			select {
			case notes <- text:
			case <-watching.Done():
			}
		}}).take, func(error) {}, func() {})
	}()
	defer func() { stop(); <-ended }()
	answered := make(chan error, 1)
	go func() { answered <- call(ctx) }()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	defer p.clear()
	for {
		select {
		case err := <-answered:
			return err
		case text := <-notes:
			p.note(text)
		case <-tick.C:
			p.draw()
		}
	}
}

// observer puts into words what a watch brings about one robot.
type observer struct {
	name, namespace string
	home            home
	tell            func(string)
}

func (o *observer) take(r *quaygenv1.RobotsWatchResponse) error {
	for _, robot := range r.GetListing().GetRobots() {
		if robot.GetName() == o.name && robot.GetNamespace() == o.namespace {
			o.home = homeOf(robot)
		}
	}
	e := r.GetEvent()
	mine := e.GetName() == o.name && e.GetNamespace() == o.namespace
	if e == nil || !mine && (e.GetName() != "" || home{e.GetRegistry(), e.GetOrganization()} != o.home) {
		return nil
	}
	o.tell(sentence(e))
	return nil
}

// sentence tells an event without naming the robot.
func sentence(e *quaygenv1.Event) string {
	what, _ := eventName(e.GetType())
	text := what
	if e.Generation != nil {
		text = "generation " + strconv.FormatInt(e.GetGeneration(), 10) + " is " + what
		if e.GetType() == quaygenv1.EventType_EVENT_TYPE_FAILED || e.GetType() == quaygenv1.EventType_EVENT_TYPE_RECOVERED {
			text = "generation " + strconv.FormatInt(e.GetGeneration(), 10) + " " + what
		}
	}
	if e.GetReason() != "" {
		text += ": " + clean(e.GetReason())
	}
	return text
}
