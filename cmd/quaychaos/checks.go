package main

import (
	"encoding/base64"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/quaygen/quaygen/pkg/quaygen/secret"
)

// findings are what must not be, each with its traces.
type findings struct {
	failedPulls   []string // under a credential that its consumer might rely on
	doubles       []string // a second generation before the first was due
	heldDead      []string // credentials that a consumer got after their deletion, or might still rely on then
	namesTwice    []string
	leaked        []string // neither current nor draining nor deleted
	touched       []string // robots of others that changed
	newestDeleted []string // without a living, newer, used generation
	tokens        []string // secrets in logs or metrics
	notFound      []string // answers that would make ESO delete the Secret, or that blame the caller
}

// each returns the traces by what they show.
func (f findings) each() map[string][]string {
	return map[string][]string{
		"pulls failed because of a rotation": f.failedPulls, "double rotations": f.doubles, "credentials held after their deletion": f.heldDead,
		"names used twice": f.namesTwice, "robots leaked": f.leaked, "robots of others touched": f.touched,
		"newest generations deleted": f.newestDeleted, "secrets in logs or metrics": f.tokens, "wrong answers to consumers": f.notFound,
	}
}

// evidence is all that the checks look at.
type evidence struct {
	timing
	journal *journal
	robots  []robot // every one there ever was
	foreign []robot // as they were made
	texts   []string
	secrets []string // besides the tokens of robots
	now     time.Time
}

func (e *evidence) check() findings {
	e.journal.mu.Lock()
	defer e.journal.mu.Unlock()
	var f findings
	for _, p := range e.journal.failures {
		if p.covered {
			f.failedPulls = append(f.failedPulls, fmt.Sprintf("%s of %s as %s: %v", p.at.Format(time.StampMilli), p.consumer, p.robot, p.err))
		}
	}
	for _, outcome := range slices.Sorted(maps.Keys(e.journal.outcomes)) {
		if strings.HasPrefix(outcome, "4") {
			f.notFound = append(f.notFound, fmt.Sprintf("%d answers %s", e.journal.outcomes[outcome], outcome))
		}
	}
	f.namesTwice, f.touched = e.names(), e.strangers()
	f.heldDead = e.held()
	for _, chain := range e.chains() {
		f.doubles = append(f.doubles, e.doubled(chain)...)
		f.leaked = append(f.leaked, e.leaks(chain)...)
		f.newestDeleted = append(f.newestDeleted, e.deletedNewest(chain)...)
	}
	fingerprints := map[string]bool{}
	for _, r := range e.robots {
		fingerprints[r.Fingerprint] = true
	}
	for _, s := range e.secrets {
		fingerprints[secret.New(s).Fingerprint()] = true
	}
	for _, text := range e.texts {
		f.tokens = append(f.tokens, secretsIn(text, fingerprints)...)
	}
	return f
}

func (e *evidence) names() []string {
	seen := map[string]bool{}
	var twice []string
	for _, r := range e.robots {
		if seen[r.Name] {
			twice = append(twice, r.Name)
		}
		seen[r.Name] = true
	}
	return twice
}

func (e *evidence) strangers() []string {
	var touched []string
	known := map[string]bool{}
	for _, before := range e.foreign {
		known[before.Name] = true
		i := slices.IndexFunc(e.robots, func(r robot) bool { return r.Name == before.Name })
		if i < 0 {
			touched = append(touched, before.Name+" is not known any more")
			continue
		}
		after := e.robots[i]
		if after.Fingerprint != before.Fingerprint || !after.Created.Equal(before.Created) || !after.LastAccessed.Equal(before.LastAccessed) ||
			!after.Deleted.IsZero() || after.Description != before.Description || !maps.Equal(after.Grants, before.Grants) {
			touched = append(touched, before.Name+" is not as it was")
		}
	}
	for _, r := range e.robots {
		marker := fmt.Sprintf("quaygen/1 instance=%s robot=", instance)
		if base, number, ok := numbered(r); ok {
			marker += fmt.Sprintf("%s generation=%d ", base, number)
		}
		if !known[r.Name] && !strings.HasPrefix(r.Description, marker) {
			touched = append(touched, r.Name+" has no marker, and nobody made it")
		}
	}
	return touched
}

// held finds credentials that were got after their deletion, or that a consumer could still rely on when they were deleted.
func (e *evidence) held() []string {
	deleted := map[string]time.Time{}
	for _, r := range e.robots {
		deleted[r.Name] = r.Deleted
	}
	var dead []string
	for _, s := range e.journal.spans {
		end, known := deleted[s.robot]
		relied := s.got.Add(e.refresh)
		if s.until.Before(relied) {
			relied = s.until
		}
		switch {
		case !known:
			dead = append(dead, fmt.Sprintf("%s got %s, which Quay never had", s.consumer, s.robot))
		case end.IsZero():
		case end.Before(s.asked):
			dead = append(dead, fmt.Sprintf("%s got %s %v after its deletion", s.consumer, s.robot, s.asked.Sub(end)))
		case end.Before(relied):
			dead = append(dead, fmt.Sprintf("%s got %s %v before its deletion and held it then", s.consumer, s.robot, end.Sub(s.got)))
		}
	}
	return dead
}

// beyond counts credentials that were deleted while a consumer held them that had got no answer for maxRefresh.
func (e *evidence) beyond() int {
	e.journal.mu.Lock()
	defer e.journal.mu.Unlock()
	deleted := map[string]time.Time{}
	for _, r := range e.robots {
		deleted[r.Name] = r.Deleted
	}
	n := 0
	for _, s := range e.journal.spans {
		if end := deleted[s.robot]; !end.IsZero() && end.Before(s.until) && end.After(s.got.Add(e.refresh)) {
			n++
		}
	}
	return n
}

var generationName = regexp.MustCompile(`\A[^+]+\+(.+)_g([0-9]+)\z`)

func numbered(r robot) (base string, number int64, ok bool) {
	parts := generationName.FindStringSubmatch(r.Name)
	if parts == nil {
		return "", 0, false
	}
	number, err := strconv.ParseInt(parts[2], 10, 64)
	return parts[1], number, err == nil
}

// chains returns the generations of each configured robot, in order of their numbers; what others made is left out.
func (e *evidence) chains() map[string][]robot {
	chains := map[string][]robot{}
	for _, r := range e.robots {
		base, _, ok := numbered(r)
		if ok && !slices.ContainsFunc(e.foreign, func(f robot) bool { return f.Name == r.Name }) {
			chains[base] = append(chains[base], r)
		}
	}
	for _, chain := range chains {
		slices.SortFunc(chain, func(a, b robot) int {
			_, m, _ := numbered(a)
			_, n, _ := numbered(b)
			return int(m - n)
		})
	}
	return chains
}

// used reports whether anybody ever logged in with a generation, or was handed it.
func (e *evidence) used(r robot) bool {
	_, handed := e.journal.handed[r.Name]
	return handed || !r.LastAccessed.IsZero()
}

// doubled finds generations that were made, and used, long before their predecessor was due.
func (e *evidence) doubled(chain []robot) []string {
	var doubles []string
	var prev robot
	for _, r := range chain {
		if !e.used(r) {
			continue
		}
		// A rotation is due up to a tenth early, and Quay's clock counts whole seconds.
		if prev.Name != "" && r.Created.Sub(prev.Created) < e.every-e.every/10-time.Second {
			doubles = append(doubles, fmt.Sprintf("%s was made %v after %s", r.Name, r.Created.Sub(prev.Created), prev.Name))
		}
		prev = r
	}
	return doubles
}

// regeneratedTwice compares how often Quay was made to regenerate with how many tokens consumers saw. A token that nobody
// saw is excused if it is the robot's present one: consumers were about to see it.
func (e *evidence) regeneratedTwice(regenerated int) []string {
	unseen := 0
	for _, r := range e.robots {
		_, seen := e.journal.handed[r.Name+" with "+r.Fingerprint]
		if !seen && !slices.ContainsFunc(e.foreign, func(f robot) bool { return f.Name == r.Name }) {
			unseen++
		}
	}
	var doubles []string
	for range regenerated - e.journal.rotations - unseen {
		doubles = append(doubles, fmt.Sprintf("%d regenerations, %d tokens seen after the first ones, %d not seen yet", regenerated, e.journal.rotations, unseen))
	}
	return doubles
}

// slack is how much later than their latest end generations may be gone once trouble is over.
func (t timing) slack() time.Duration { return t.refresh + 2*t.settle + 10*t.sync }

// leaks finds generations that live although nothing will ever need them.
func (e *evidence) leaks(chain []robot) []string {
	var leaked []string
	for i, r := range chain {
		if !r.Deleted.IsZero() {
			continue
		}
		if !e.used(r) {
			if e.now.After(e.unusedUntil(chain[i:]).Add(e.slack())) {
				leaked = append(leaked, fmt.Sprintf("%s was never used and still lives %v after it was made", r.Name, e.now.Sub(r.Created)))
			}
			continue
		}
		next := slices.IndexFunc(chain[i+1:], e.used)
		if next >= 0 && e.now.Sub(chain[i+1+next].Created) > e.most+e.slack() {
			leaked = append(leaked, fmt.Sprintf("%s lives %v after %s was made", r.Name, e.now.Sub(chain[i+1+next].Created), chain[i+1+next].Name))
		}
	}
	return leaked
}

// unusedUntil returns when the first of these generations of a robot, which was never used, is given up at the latest. The highest
// one is kept until its number, a minute since 2026, has passed: without it the number could be given out again.
func (e *evidence) unusedUntil(chain []robot) time.Time {
	end := chain[0].Created.Add(e.most - e.overlap + e.settle)
	if slices.ContainsFunc(chain[1:], func(r robot) bool { return r.Deleted.IsZero() }) {
		return end
	}
	_, number, _ := numbered(chain[0])
	passed := time.Date(2026, time.January, 1, 0, 0, 0, 0, time.UTC).Add(time.Duration(number+1) * time.Minute)
	if passed.After(end) {
		return passed
	}
	return end
}

// deletedNewest finds generations in use that were deleted while no newer one that was in use lived.
func (e *evidence) deletedNewest(chain []robot) []string {
	var wrong []string
	for i, r := range chain {
		if r.Deleted.IsZero() || !e.used(r) {
			continue
		}
		replaced := slices.ContainsFunc(chain[i+1:], func(h robot) bool {
			return e.used(h) && h.Created.Before(r.Deleted) && (h.Deleted.IsZero() || h.Deleted.After(r.Deleted))
		})
		if !replaced {
			wrong = append(wrong, r.Name)
		}
	}
	return wrong
}

var (
	tokenLike  = regexp.MustCompile(`[A-Za-z0-9]{40,}`)
	base64Like = regexp.MustCompile(`[A-Za-z0-9+/_-]{60,}`)
	jwtLike    = regexp.MustCompile(`eyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}`)
)

// secretsIn finds secrets with the given fingerprints, plain or in base64, and registry tokens of whatever sort.
func secretsIn(text string, fingerprints map[string]bool) []string {
	var found []string
	for range jwtLike.FindAllString(text, -1) {
		found = append(found, "a registry token")
	}
	for _, word := range tokenLike.FindAllString(text, -1) {
		if fingerprint := secret.New(word).Fingerprint(); fingerprints[fingerprint] {
			found = append(found, "the secret "+fingerprint)
		}
	}
	for _, word := range base64Like.FindAllString(text, -1) {
		for _, encoding := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
			if plain, err := encoding.DecodeString(word); err == nil && strings.Contains(string(plain), ":") {
				found = append(found, secretsIn(string(plain), fingerprints)...)
			}
		}
	}
	return found
}
