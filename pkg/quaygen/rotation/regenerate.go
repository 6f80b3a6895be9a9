package rotation

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/quaygen/quaygen/pkg/quaygen/ledger"
	"github.com/quaygen/quaygen/pkg/quaygen/quay"
)

// Quay has one token per robot, and no call that replaces it only if nobody did so before. With the strategy regenerate
// the ledger therefore decides who asks Quay, and when: an intent is written first, and whoever finds one that is not its
// own, or that it cannot remember asking for, finds out what became of it before it does anything. What a token is, is
// always read from Quay; an answer to the regeneration itself is not needed (docs/rotation.md, "regenerate").

// kept is what a process knows of its robot's record in the ledger.
type kept struct {
	record  ledger.Record
	version ledger.Version // empty: there is no record
	trouble string         // why the ledger could not be read; "": it was
	since   time.Time      // local time at which this version had first been read, or before this process wrote it (G1)
	read    bool           // the robot's token was read after the ledger was
	unkept  string         // why the last write failed, until another version is read; "": it did not

	mine    time.Time // local time just before this process wrote the open intent; zero: it did not
	posted  bool      // Quay was asked to regenerate under that intent, and may have done so
	refused string    // why Quay certainly did not

	alive    time.Time // local time at which a login with the token that was to end first succeeded (G3)
	undone   bool      // another one succeeded settle later: the rotation certainly was not done
	quietTil time.Time // Quay's time before which no rotation is tried again, because Quay refused one
}

// workerTime is for how long Quay may still carry out a request whose client has gone.
func (s Safety) workerTime() time.Duration { return s.Settle }

// lease is for how long the writer of an intent may act on it (I12).
func (s Safety) lease() time.Duration { return s.StepDeadline + s.workerTime() + s.ClockAllowance }

// takeover is how long an intent must have been seen unchanged before another process, or this one after its request was
// lost, may act on it: until then the request may be on its way (G1).
func (s Safety) takeover() time.Duration { return s.lease() + s.StepDeadline + s.workerTime() }

// leaseLeft reports whether an intent written so long ago leaves enough time for a request and for what Quay may do with
// it after its client has gone (G2).
func leaseLeft(s Safety, age time.Duration) bool {
	return age+s.StepDeadline+s.workerTime() <= s.lease()
}

// Remembered takes in what the ledger holds, read after the list before and before the robot's token was; at is the local
// time when its answer was there. ErrNotFound means that the ledger knows nothing yet; with any other error what was known stays.
func (m *Memory) Remembered(r ledger.Record, v ledger.Version, err error, at time.Time) {
	k := &m.kept
	k.read = false
	switch {
	case err == nil:
	case errors.Is(err, ledger.ErrNotFound):
		r, v = ledger.Record{}, ""
	default:
		k.trouble = err.Error()
		return
	}
	k.trouble = ""
	if v != k.version || k.since.IsZero() {
		*k = kept{since: at, quietTil: k.quietTil}
		// Somebody has moved on from the token known here. Should a read that is behind still show it, then what was proven
		// before says nothing.
		if g := m.gens[0]; g != nil && v != "" && g.token.Fingerprint() != r.Fingerprint {
			g.proof, g.proofReason = unproven, ""
		}
	}
	k.record, k.version = r, v
}

// Wrote records that this process has just written r.
func (m *Memory) Wrote(r ledger.Record, v ledger.Version, before time.Time) {
	m.kept = kept{record: r, version: v, since: before, read: m.kept.read, quietTil: m.kept.quietTil}
	if !r.Intent.IsZero() {
		m.kept.mine = before
	}
}

// Written takes in the outcome of this process's write of r, which it began at the local time before: v is the version now,
// or err says why there is none. Somebody else's write in between is not an error: the next pass reads what it was (G4).
func (m *Memory) Written(r ledger.Record, v ledger.Version, err error, before time.Time) (did bool, _ error) {
	switch {
	case err == nil:
		m.Wrote(r, v, before)
		return true, nil
	case errors.Is(err, ledger.ErrExists), errors.Is(err, ledger.ErrConflict), errors.Is(err, ledger.ErrNotFound):
		return true, nil
	}
	m.Unclear(err)
	return false, fmt.Errorf("writing into the ledger: %w", err)
}

// Unclear records that nobody knows what the ledger holds now: it is read again before anything is decided. Should it be
// what it was, then what this process did about it still counts.
func (m *Memory) Unclear(err error) { m.kept.trouble, m.kept.unkept = err.Error(), err.Error() }

// ledgerTrouble says why the ledger could not be read in this sync, or could not be written when that was last tried; "" if
// all is well, or no ledger is needed.
func (m *Memory) ledgerTrouble() string {
	if m.spec.Strategy != Regenerate {
		return ""
	}
	return cmp.Or(m.kept.trouble, m.kept.unkept)
}

// askable is the last look before Quay is asked, with the token read just now: it is the one that the intent names (G5), and
// so long after the intent was written enough of the lease is left (G2).
func (m *Memory) askable(s Step, written time.Duration) bool {
	return m.gens[s.Generation].token.Fingerprint() == s.Token && leaseLeft(m.spec.Safety, written)
}

// Posting records that Quay is about to be asked to regenerate.
func (m *Memory) Posting() { m.kept.posted = true }

// Answered takes in Quay's answer to a regeneration, and returns what there is to report of it.
func (m *Memory) Answered(err error) error {
	switch {
	case err == nil, errors.Is(err, quay.ErrRobotMissing):
		return nil
	case slices.ContainsFunc(clearRefusals, func(refusal error) bool { return errors.Is(err, refusal) }):
		m.Refused(err.Error())
	}
	return err
}

// clearRefusals are the answers after which Quay certainly did nothing.
var clearRefusals = []error{quay.ErrReadOnly, quay.ErrRateLimited, quay.ErrTokenRejected, quay.ErrForbidden, quay.ErrInvalid}

// Refused records that Quay certainly did not regenerate; the intent is closed, and tried again some syncs later.
func (m *Memory) Refused(reason string) {
	m.kept.posted, m.kept.refused = false, reason
	m.kept.quietTil = m.at.Add(refusalSyncs * m.spec.Sync)
}

const refusalSyncs = 10

// Probed takes in the outcome of a login with the token that was to end: at is local time. It returns err if that is no answer.
func (m *Memory) Probed(at time.Time, err error) error {
	k := &m.kept
	switch {
	case errors.Is(err, quay.ErrLoginRefused):
		k.alive, k.undone = time.Time{}, false
	case err != nil:
		return err
	case k.alive.IsZero():
		k.alive = at
	case at.Sub(k.alive) >= m.spec.Safety.Settle:
		k.undone = true
	}
	return nil
}

// rotations is how often the token is known to have changed; -1 while that is not known.
func (m *Memory) rotations() int64 {
	if m.kept.version == "" || !m.kept.record.Intent.IsZero() {
		return -1
	}
	return m.kept.record.Rotations
}

// regenerate plans what the strategy of that name does, one step at a time: each rests on what the one before it showed.
func (p *planner) regenerate() {
	g := p.gens[0]
	missing := g == nil || g.gone
	switch trouble := p.ledgerTrouble(); {
	case trouble == "" || p.onlooker && missing:
	case p.onlooker: // the process that does the work may well be able to read it
		p.warn("its rotations are in the ledger, which was not read: %s; see generator status", trouble)
	default:
		p.warn("the ledger cannot be used: %s; nothing is rotated meanwhile", trouble)
	}
	if missing {
		p.createFixed()
		return
	}
	if !g.present || g.token.IsZero() || !p.kept.read {
		return
	}
	k, intent := &p.kept, p.kept.record.Intent
	fingerprint := g.token.Fingerprint()
	switch {
	case k.trouble == "" && !intent.IsZero() && fingerprint == intent.Fingerprint:
		p.settle(g)
	case g.proof != proven:
		p.step(Step{Action: Prove, Generation: g.Number, Robot: g.Robot, Token: fingerprint, Why: "nothing is served, or recorded, that no login has shown to work"})
	case k.trouble != "": // what is proven is served, and not rotated
	case k.version == "":
		p.remember(ledger.Record{Robot: g.Robot, Fingerprint: fingerprint, Changed: p.at}, RecordFirst, "the ledger does not know the robot yet; its rotations count from now")
	case !intent.IsZero():
		if k.mine.IsZero() && p.observed() < p.spec.Safety.takeover() {
			p.wait("%s has another token; the rotation by %s is its own to finish until %s", g.Robot.Username(), intent.Holder, clock(p.at.Add(p.spec.Safety.takeover()-p.observed())))
			return
		}
		kind := RecordRotated
		if !k.mine.IsZero() && !k.posted {
			kind = RecordElsewhere // a person was faster (G5)
		}
		p.remember(p.changed(fingerprint), kind, "the token is another one than when the rotation was decided on")
	case fingerprint != k.record.Fingerprint:
		p.warn("the token of %s was replaced by somebody else", g.Robot.Username())
		p.remember(p.changed(fingerprint), RecordElsewhere, "no rotation of ours explains that the token is another one")
	default:
		p.intend(g)
	}
}

// observed is for how long this process has seen the ledger's record unchanged.
func (p *planner) observed() time.Duration { return p.sent.Sub(p.kept.since) }

func (p *planner) changed(fingerprint string) ledger.Record {
	r := p.kept.record
	r.Fingerprint, r.Changed, r.Rotations, r.Intent = fingerprint, p.at, r.Rotations+1, ledger.Intent{}
	return r
}

func (p *planner) remember(r ledger.Record, kind RecordKind, why string) {
	p.step(Step{Action: Record, Robot: r.Robot, Token: r.Fingerprint, Record: r, Kind: kind, Why: why})
}

// settle deals with an open intent while Quay still shows the token that was to end.
func (p *planner) settle(g *generation) {
	k, robot, fingerprint := &p.kept, g.Robot.Username(), g.token.Fingerprint()
	notDone := !k.mine.IsZero() && !k.posted || k.undone
	switch {
	case k.refused != "":
		p.drop("Quay refused the regeneration: " + k.refused)
	case notDone && p.frozen != "":
		p.drop(p.frozen) // the token is good, and served again as soon as nothing is intended any more
	case notDone && !k.undone && leaseLeft(p.spec.Safety, p.sent.Sub(k.mine)):
		p.step(Step{Action: RegenerateToken, Generation: g.Number, Robot: g.Robot, Token: k.record.Intent.Fingerprint, Why: k.record.Intent.Reason})
	case notDone:
		p.renew(g, k.record.Intent.Reason)
	case p.observed() < p.spec.Safety.takeover():
		p.wait("whether %s was regenerated is not known: %s intended to at %s; that is looked into at %s", robot, k.record.Intent.Holder,
			clock(k.record.Intent.At), clock(p.at.Add(p.spec.Safety.takeover()-p.observed())))
	case k.alive.IsZero() || p.sent.Sub(k.alive) >= p.spec.Safety.Settle:
		p.step(Step{Action: Probe, Generation: g.Number, Robot: g.Robot, Token: fingerprint, Why: "only a login shows whether the token that was to end still works"})
	default:
		p.wait("the token of %s that was to end still works; another login at %s makes it certain", robot, clock(p.at.Add(p.spec.Safety.Settle-p.sent.Sub(k.alive))))
	}
}

// drop plans the end of an intent that certainly came to nothing.
func (p *planner) drop(why string) {
	r := p.kept.record
	r.Intent = ledger.Intent{}
	p.remember(r, RecordNotDone, why)
}

// held says in the plan why nothing may be rotated now, if so.
func (p *planner) held() bool {
	switch {
	case p.frozen != "":
		p.wait("a rotation is due, but waits: %s", p.frozen)
	case p.at.Before(p.kept.quietTil):
		p.wait("a rotation is due, but Quay refused it; it is tried again at %s", clock(p.kept.quietTil))
	default:
		return false
	}
	return true
}

// Reasons for a rotation that is not due.
const (
	whyForced  = "a rotation was asked for"
	whyRevoked = "the token is being revoked"
)

// intend plans the rotation that is due, or was asked for.
func (p *planner) intend(g *generation) {
	r := p.kept.record
	p.Next = r.Changed.Add(p.spec.Every - p.spec.early())
	var why string
	switch {
	case strings.HasPrefix(g.Conflict, foreignInstance):
		p.warn("%s is not rotated: %s; one installation rotates a robot, the others say strategy: none", g.Robot.Username(), g.Conflict)
		return
	case p.revoke != nil && r.Rotations <= p.revoke.through:
		why = whyRevoked
	case p.forced && p.forcedAt == r.Rotations:
		why = whyForced
	case p.at.Before(p.Next):
		return
	default:
		why = "due since " + clock(p.Next)
	}
	if !p.held() {
		p.renew(g, why)
	}
}

// renew plans an intent of this process, which nobody else then acts on.
func (p *planner) renew(g *generation, why string) {
	r := p.kept.record
	r.Intent = ledger.Intent{Fingerprint: g.token.Fingerprint(), At: p.at, Lease: p.spec.Safety.lease(), Reason: why}
	p.step(Step{Action: Intend, Generation: g.Number, Robot: g.Robot, Token: r.Intent.Fingerprint, Record: r, Why: why})
}

const underWayPrefix = "a rotation is under way: "

// regenerable returns for how long after the last list a robot's token may be served from memory, or why it may not.
//
// While nothing can be read, another process may rotate when the next rotation is due, and the token ends at once. As long
// as lists succeed an open intent is seen at each.
func (m *Memory) regenerable(g *generation) (time.Duration, string) {
	k := &m.kept
	switch {
	case k.version != "" && !k.record.Intent.IsZero():
		return 0, underWayPrefix + k.record.Intent.Reason
	case g.proof != proven:
		why := "its token is not proven by a login"
		if g.proofReason != "" {
			why += ": " + g.proofReason
		}
		return 0, why
	case k.trouble == "" && k.version == "":
		return 0, "its token is not recorded in the ledger yet"
	case k.version != "" && k.trouble == "" && k.record.Fingerprint != g.token.Fingerprint():
		return 0, "its new token is not recorded in the ledger yet"
	}
	validity := 3 * m.spec.Sync
	if k.version != "" {
		due := k.record.Changed.Add(m.spec.Every - m.spec.early())
		validity = max(validity, min(fixedServable, due.Sub(m.at)-m.spec.Safety.ClockAllowance))
	}
	if validity -= m.at.Sub(g.tokenRead); validity <= 0 { // a list says nothing of the token
		return 0, "its token could not be read since " + clock(g.tokenRead)
	}
	return validity, ""
}
