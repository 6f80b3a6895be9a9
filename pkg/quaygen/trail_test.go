package quaygen_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quaygen/quaygen/pkg/quaygen"
	"github.com/quaygen/quaygen/pkg/quaygen/audit"
	"github.com/quaygen/quaygen/pkg/quaygen/ledger"
	"github.com/quaygen/quaygen/pkg/quaygen/policy"
	"github.com/quaygen/quaygen/pkg/quaygen/rotation"
)

// A paper takes an audit trail, or nothing while it is full.
type paper struct {
	mu   sync.Mutex
	text bytes.Buffer
	full bool
}

func (p *paper) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.full {
		return 0, errors.New("no space left")
	}
	return p.text.Write(b)
}

func (p *paper) fill(full bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.full = full
}

// audited gives a world an audit trail. Call it before it starts.
func (w *world) audited(t testing.TB, block bool) (*paper, *audit.Log) {
	t.Helper()
	p := &paper{}
	trail, err := audit.Open(audit.Config{Stream: p, Block: block})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = trail.Close(context.Background()) })
	w.engine = rotation.New(rotation.Config{Acted: quaygen.AuditActs(trail), Ledger: ledger.NewMemory()})
	w.service = quaygen.New(w.engine, discard)
	w.service.Audit(trail)
	return p, trail
}

var discard = slog.New(slog.DiscardHandler)

type record map[string]any

// records closes a trail, checks that it is whole and holds no token, and returns the records of a type.
func (w *world) records(t testing.TB, p *paper, trail *audit.Log, kind audit.Type) (all []record) {
	t.Helper()
	if err := trail.Close(t.Context()); err != nil { // again is no mistake
		t.Error(err)
	}
	text := p.text.String()
	for _, token := range append(w.quay.Tokens(), w.token) {
		if strings.Contains(text, token) {
			t.Error("a token is in the audit trail")
		}
	}
	report, err := audit.Verify(audit.VerifyOptions{}, audit.Source{Name: "audit", Reader: strings.NewReader(text)})
	if err != nil || len(report.Breaks) > 0 {
		t.Errorf("%v, %v", err, report)
	}
	for line := range strings.Lines(text) {
		var r record
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		if r["type"] == string(kind) {
			all = append(all, r)
		}
	}
	return all
}

// texts returns some fields of records as one line each.
func texts(all []record, fields ...string) (out []string) {
	for _, r := range all {
		var line []string
		for _, f := range fields {
			line = append(line, strings.Trim(string(must(json.Marshal(r[f]))), `"`))
		}
		out = append(out, strings.Join(line, " | "))
	}
	return out
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func TestEveryRequestIsInTheTrailWithWhatBecameOfItAndWhy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		p, trail := w.audited(t, false)
		w.add(t, "other", "k8s_other", "app")
		w.join("both", "puller", "other")
		w.start(t)
		w.get(t, puller)
		first, _ := w.service.Get(t.Context(), everything, quaygen.Request{Name: "both", Namespace: "prod-shop"})
		confined := policy.Caller{Name: "everything", Namespace: "team-a", How: "bearer token", Transport: "http", From: "192.0.2.1:4711"}
		for _, request := range []struct {
			caller policy.Caller
			quaygen.Request
		}{
			{eso, puller},
			{eso, quaygen.Request{Name: "puller", Namespace: "dev"}},
			{confined, quaygen.Request{Name: "puller", Namespace: "team-b"}},
			{policy.Caller{Name: "everything", Namespace: "team-a", Account: "builder", How: "serviceAccount"}, quaygen.Request{Name: "puller", Namespace: "team-a"}},
			{policy.Caller{Name: "nobody"}, puller},
			{eso, quaygen.Request{Name: "ghost-1", Namespace: "prod-shop"}},
			{eso, quaygen.Request{Name: "puller", Namespace: "prod-shop", Property: "made-up"}},
			{eso, quaygen.Request{Name: "<no value>", Namespace: "prod-shop"}},
		} {
			_, _ = w.service.Get(t.Context(), request.caller, request.Request)
		}
		all := w.records(t, p, trail, audit.TypeRequest)
		got := texts(all[2:], "client", "account", "namespace", "name", "decision", "result", "reason")
		for i, want := range []string{
			`eso |  | prod-shop | puller | allowed | OK | permitted by rule 0`,
			`eso |  | dev | puller | denied | NOT_ALLOWED | no rule permits this caller anything in namespace`,
			`everything |  | team-b | puller | denied | NOT_ALLOWED | the caller belongs to namespace`,
			`everything | team-a/builder | team-a | puller | allowed | OK | permitted by rule 1`,
			`nobody |  | prod-shop | puller | no rule | NOT_ALLOWED | no rule speaks of this caller`,
			`eso |  | prod-shop | ghost-1 | allowed | NOT_FOUND | there is no pull secret`,
			`eso |  | prod-shop | puller | allowed | INVALID_REQUEST | there is no property`,
			`eso |  | prod-shop | \u003cno value\u003e |  | INVALID_REQUEST | a template rendered`,
		} {
			if i >= len(got) || !strings.HasPrefix(got[i], want) {
				t.Errorf("want %s\nin   %s", want, strings.Join(got, "\n     "))
			}
		}
		if c := all[4]; c["how"] != "bearer token" || c["transport"] != "http" || c["from"] != "192.0.2.1:4711" {
			t.Errorf("who asked: %v", c)
		}
		credentials := all[1]["credentials"].([]any)
		for i, c := range first.Credentials() {
			told := credentials[i].(map[string]any)
			if told["robot"] != c.Robot || told["registry"] != c.Host || told["generation"] != float64(c.Generation) {
				t.Errorf("handed out %v, told %v", c, told)
			}
			for _, r := range w.quay.Ever("myorg") {
				if "myorg+"+r.Short == c.Robot && told["token"] != r.Token.Fingerprint() {
					t.Errorf("the fingerprint of %s is %v", c.Robot, told["token"])
				}
			}
		}
		for _, r := range all {
			if n := len(r["credentials"].([]any)); n > 0 != (r["result"] == "OK") {
				t.Errorf("%d credentials in %v", n, r)
			}
		}
	})
}

// What limits are against must not cost us more than it costs the client: nobody waits for such a record, and others have
// their place in the queue.
func TestARequestBeyondAClientsLimitsIsInTheTrailAndWaitsForNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		p, trail := w.audited(t, true)
		w.service.Apply(limited(quaygen.Limits{QPS: 1, Burst: 1, Concurrent: 10, Namespaces: 1}))
		p.fill(true)
		start := time.Now()
		admitted(t, w.service, eso, 3)
		if took := time.Since(start); took > 0 {
			t.Errorf("it took %v", took)
		}
		time.Sleep(time.Hour) // what could not be written is dropped
		p.fill(false)
		admitted(t, w.service, eso, 5)
		got := texts(w.records(t, p, trail, audit.TypeRequest), "client", "name", "decision", "result", "reason")
		if len(got) != 4 || got[0] != "eso |  |  | TOO_MANY_REQUESTS | this client asks more than 1 times a second" {
			t.Errorf("%q", got)
		}
	})
}

func TestRequestsForSeveralNamesAreOneRecordEach(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		p, trail := w.audited(t, true)
		w.add(t, "other", "k8s_other", "app")
		w.start(t)
		if _, err := w.service.GetAll(t.Context(), everything, "prod-shop", []string{"puller", "other"}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.service.GetAll(t.Context(), eso, "prod-shop", []string{"puller", "other", "third"}); err == nil {
			t.Error("eso has other")
		}
		got := texts(w.records(t, p, trail, audit.TypeRequest), "client", "name", "result")
		want := []string{"everything | puller | OK", "everything | other | OK", "eso | puller | OK", "eso | other | NOT_ALLOWED"}
		if !slices.Equal(got, want) {
			t.Errorf("%q", got)
		}
	})
}

func TestWithBlockNothingIsHandedOutOrBegunUnrecorded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		p, trail := w.audited(t, true)
		w.start(t)
		w.get(t, puller)
		before, _ := w.service.Robot(viewer, robot)
		p.fill(true)
		calls := map[string]func() error{
			"get": func() error { _, err := w.service.Get(t.Context(), everything, puller); return err },
			"get all": func() error {
				_, err := w.service.GetAll(t.Context(), everything, "prod-a", []string{"puller"})
				return err
			},
			"denied": func() error {
				_, err := w.service.Get(t.Context(), eso, quaygen.Request{Name: "puller", Namespace: "dev"})
				return err
			},
			"rotate": func() error { return w.service.Rotate(t.Context(), manager, robot) },
			"revoke": func() error { _, err := w.service.Revoke(t.Context(), manager, robot, -1); return err },
			"retire": func() error { return w.service.Retire(t.Context(), manager, robot, before.Current) },
		}
		for what, call := range calls {
			if e := quaygen.AsError(call()); e.Kind != quaygen.KindNotReady || e.RetryAfter <= 0 || strings.Contains(e.Detail, "space") {
				t.Errorf("%s: %v", what, e)
			}
		}
		time.Sleep(time.Hour)
		if after, _ := w.service.Robot(viewer, robot); after.Current != before.Current {
			t.Error("an order that is not in the trail was carried out")
		}
		p.fill(false)
		w.get(t, puller)
		_ = w.records(t, p, trail, audit.TypeRequest)
	})
}

func TestWithoutBlockATrailThatCannotBeWrittenHoldsNothingUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		p, trail := w.audited(t, false)
		w.start(t)
		p.fill(true)
		w.get(t, puller)
		time.Sleep(time.Minute)
		start := time.Now()
		w.get(t, puller)
		if took := time.Since(start); took > 0 {
			t.Errorf("it took %v", took)
		}
		p.fill(false)
		time.Sleep(time.Minute)
		if got := w.records(t, p, trail, audit.TypeRequest); len(got) != 2 {
			t.Errorf("%d requests are in the trail", len(got))
		}
	})
}

func TestOrdersAreInTheTrailWhenTheyBeginAndWhenTheyEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		p, trail := w.audited(t, false)
		w.start(t)
		w.get(t, puller)
		first, _ := w.service.Robot(viewer, robot)
		_ = w.service.Rotate(t.Context(), manager, robot)
		_ = w.service.Rotate(t.Context(), manager, rotation.Ref{Name: "nothing"})
		_ = w.service.Retire(t.Context(), viewer, robot, first.Current)
		_, _, _ = w.service.Watch(eso, "")
		if _, err := w.service.Revoke(t.Context(), manager, robot, -1); err != nil {
			t.Fatal(err)
		}
		all := w.records(t, p, trail, audit.TypeOperation)
		got := texts(all, "client", "action", "name", "result")
		want := []string{
			"manager | rotate | puller | STARTED", "manager | rotate | puller | OK", "manager | rotate | nothing | NOT_FOUND",
			"viewer | retire | puller | NOT_ALLOWED", "eso | watch |  | NOT_ALLOWED",
			"manager | revoke | puller | STARTED", "manager | revoke | puller | OK",
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s", strings.Join(got, "\n"))
		}
		if all[5]["through"] != -1.0 || all[6]["through"].(float64) < float64(first.Current) {
			t.Errorf("revoked through %v, then %v", all[5]["through"], all[6]["through"])
		}
	})
}

func TestWhatTheEngineDoesIsInTheTrail(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		p, trail := w.audited(t, false)
		w.specs[0].Permissions.Prune = true
		w.start(t)
		w.get(t, puller)
		first, _ := w.service.Robot(viewer, robot)
		w.quay.Grant("myorg", "lib", first.Plan.Generations[0].Robot.Short(), "write")
		time.Sleep(time.Hour)
		if _, err := w.service.Revoke(t.Context(), manager, robot, -1); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		if err := trail.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		second, _ := w.service.Robot(viewer, robot)
		var got []string
		for _, r := range slices.Concat(w.records(t, p, nil, audit.TypeStep), w.records(t, p, nil, audit.TypeEvent)) {
			number := "second"
			if r["generation"] == float64(first.Current) {
				number = "first"
			} else if r["generation"] != float64(second.Current) {
				t.Errorf("of another generation: %v", r)
			}
			what, _ := r["action"].(string)
			if what == "" {
				what = r["event"].(string)
			}
			if role, _ := r["role"].(string); role != "" {
				what += " " + role
			}
			if repository, _ := r["repository"].(string); repository != "" {
				what += " on " + repository
			}
			got = append(got, what+" "+number)
		}
		want := []string{
			"create first", "grant read on app first", "ungrant on lib first", "create second", "grant read on app second", "delete first",
			"published first", "published second", "superseded first", "retired first",
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s", strings.Join(got, "\n"))
		}
	})
}

func TestOfARegeneratedTokenTheTrailSaysWhichEndedAndWhichCame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		p, trail := w.audited(t, false)
		w.specs[0].Strategy = rotation.Regenerate
		w.start(t)
		w.get(t, puller)
		old := w.quay.Ever("myorg")[0].Token.Fingerprint()
		if err := w.service.Rotate(t.Context(), manager, robot); err != nil {
			t.Fatal(err)
		}
		fresh := w.quay.Ever("myorg")[0].Token.Fingerprint()
		got := texts(w.records(t, p, trail, audit.TypeStep), "action", "robot", "token")
		want := []string{
			"create | myorg+k8s_puller | ", "grant | myorg+k8s_puller | ", "adopted | myorg+k8s_puller | " + old,
			"regenerate | myorg+k8s_puller | " + old, "rotated | myorg+k8s_puller | " + fresh,
		}
		if !slices.Equal(got, want) || old == fresh {
			t.Errorf("%s", strings.Join(got, "\n"))
		}
	})
}

func FuzzEveryRequestIsOneLineOfTheTrail(f *testing.F) {
	f.Add("puller", "prod-shop", "", "", "eso")
	f.Add("a\nb", "\x00\xff", "\u2028</script>", `","result":"OK"}`+"\n"+`{"v":1`, "")
	f.Add(strings.Repeat("ü", 3000), strings.Repeat("\n", 5000), strings.Repeat("\xff", 300), "{}", strings.Repeat("\x00", 5000))
	w := newWorld(f)
	w.service.Apply(&quaygen.Settings{Rules: w.rules, Secrets: w.parts})
	f.Fuzz(func(t *testing.T, name, namespace, property, format, from string) {
		p := &paper{}
		trail, err := audit.Open(audit.Config{Stream: p})
		if err != nil {
			t.Fatal(err)
		}
		service := quaygen.New(rotation.New(rotation.Config{}), discard)
		service.Audit(trail)
		_, _ = service.Get(t.Context(), eso, quaygen.Request{Name: name, Namespace: namespace, Property: property, Format: format})
		service.RefuseStranger("http", from, errors.New(property))
		all := w.records(t, p, trail, audit.TypeRequest)
		if n := strings.Count(p.text.String(), "\n"); n != 3 || len(all) != 1 {
			t.Errorf("%d lines", n)
		}
		if len(p.text.String()) > 20_000 {
			t.Errorf("%d bytes", len(p.text.String()))
		}
		if len(name) < 256 && strings.ToValidUTF8(name, "\uFFFD") == name && all[0]["name"] != name {
			t.Errorf("asked for %q, told %q", name, all[0]["name"])
		}
		if keys := slices.Sorted(maps.Keys(all[0])); len(keys) != 20 {
			t.Errorf("%d fields: %v", len(keys), keys)
		}
	})
}
