package alerts

import (
	"fmt"
	"log/slog"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql/parser"
	"go.yaml.in/yaml/v3"
)

const (
	rulesFile    = "../../manifests/helm/quaygen/files/alerts.yaml"
	runbooksFile = "../../docs/runbooks.md"
	runbooksURL  = "https://github.com/quaygen/quaygen/blob/main/docs/runbooks.md"
)

func read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// alerts returns every alert of the file, by name, as Prometheus itself reads it.
func alerts(t *testing.T) map[string]rulefmt.Rule {
	t.Helper()
	groups, errs := rulefmt.ParseFile(rulesFile, false, model.UTF8Validation, parser.NewParser(parser.Options{}), slog.New(slog.DiscardHandler))
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	out := map[string]rulefmt.Rule{}
	for _, g := range groups.Groups {
		for _, r := range g.Rules {
			if _, twice := out[r.Alert]; twice || r.Alert == "" {
				t.Errorf("%s: no alert, or one of a name that there is already: %q", g.Name, r.Alert)
			}
			out[r.Alert] = r
		}
	}
	return out
}

// heading finds the sections of a document and what each says.
var heading = regexp.MustCompile(`(?m)^## (\w+)\n`)

func sections(text string) map[string]string {
	out := map[string]string{}
	marks := heading.FindAllStringSubmatchIndex(text, -1)
	for i, m := range marks {
		end := len(text)
		if i+1 < len(marks) {
			end = marks[i+1][0]
		}
		out[text[m[2]:m[3]]] = text[m[1]:end]
	}
	return out
}

func TestEachAlertSaysHowBadItIsAndWhatToDoAboutIt(t *testing.T) {
	runbooks := sections(read(t, runbooksFile))
	all := alerts(t)
	for name, r := range all {
		if s := r.Labels["severity"]; s != "warning" && s != "critical" {
			t.Errorf("%s: severity %q", name, s)
		}
		if r.Annotations["summary"] == "" || r.Annotations["description"] == "" {
			t.Errorf("%s: summary or description is missing", name)
		}
		if want := runbooksURL + "#" + strings.ToLower(name); r.Annotations["runbook_url"] != want {
			t.Errorf("%s: runbook_url is %q, not %q", name, r.Annotations["runbook_url"], want)
		}
		section, ok := runbooks[name]
		for _, part := range []string{"**Means.**", "**Breaks.**", "**Look.**", "**Do.**"} {
			if !ok || !strings.Contains(section, part) {
				t.Errorf("docs/runbooks.md has no section %s, or no %s in it", name, part)
			}
		}
		if !strings.Contains(section, "("+r.Labels["severity"]+")") {
			t.Errorf("docs/runbooks.md does not say that %s is %s", name, r.Labels["severity"])
		}
	}
	for name := range runbooks {
		if _, ok := all[name]; !ok {
			t.Errorf("docs/runbooks.md has a section %s, and there is no such alert", name)
		}
	}
}

// suite is a file for promtool test rules, as far as it is used here.
type suite struct {
	Interval model.Duration `yaml:"evaluation_interval"`
	Tests    []struct {
		Name     string         `yaml:"name"`
		Interval model.Duration `yaml:"interval"`
		Series   []struct {
			Series string `yaml:"series"`
			Values string `yaml:"values"`
		} `yaml:"input_series"`
		Exprs []struct {
			Expr    string         `yaml:"expr"`
			At      model.Duration `yaml:"eval_time"`
			Samples []struct {
				Labels string  `yaml:"labels"`
				Value  float64 `yaml:"value"`
			} `yaml:"exp_samples"`
		} `yaml:"promql_expr_test"`
	} `yaml:"tests"`
}

func tests(t *testing.T) suite {
	t.Helper()
	var s suite
	if err := yaml.Unmarshal([]byte(read(t, "testdata/alerts.test.yaml")), &s); err != nil {
		t.Fatal(err)
	}
	return s
}

func TestEachAlertIsTestedBothWays(t *testing.T) {
	fires, silent := map[string]bool{}, map[string]bool{}
	for _, test := range tests(t).Tests {
		name, what, _ := strings.Cut(test.Name, " ")
		some := false
		for _, e := range test.Exprs {
			some = some || len(e.Samples) > 0
			if strings.HasPrefix(name, "Quaygen") && !strings.Contains(e.Expr, `alertname="`+name+`"`) {
				t.Errorf("%s: asks for %s", test.Name, e.Expr)
			}
		}
		switch {
		case strings.HasPrefix(what, "fires ") && some:
			fires[name] = true
		case !strings.HasPrefix(what, "fires ") && !some && len(test.Exprs) > 0:
			silent[name] = true
		default:
			t.Errorf("%s: its name says the contrary of what it expects", test.Name)
		}
	}
	for name := range alerts(t) {
		if !fires[name] || !silent[name] {
			t.Errorf("%s: that it fires is tested: %v; that it is silent: %v", name, fires[name], silent[name])
		}
	}
}

// promtool test rules testdata/alerts.test.yaml does the same.
func TestEachAlertFiresWhenItMustAndIsSilentWhenItMust(t *testing.T) {
	rules, suite := alerts(t), tests(t)
	for _, test := range suite.Tests {
		t.Run(test.Name, func(t *testing.T) {
			e := newEvaluator(t, rules)
			for _, s := range test.Series {
				l, values, err := parser.NewParser(parser.Options{}).ParseSeriesDesc(s.Series + " " + s.Values)
				if err != nil {
					t.Fatal(err)
				}
				for i, v := range values {
					if !v.Omitted {
						e.store.add(l, int64(i)*time.Duration(test.Interval).Milliseconds(), v.Value)
					}
				}
			}
			// A test is about the alert that its name begins with, or about all.
			names := slices.Sorted(maps.Keys(rules))
			if name, _, _ := strings.Cut(test.Name, " "); rules[name].Alert != "" {
				names = []string{name}
			}
			var now time.Duration
			for _, x := range test.Exprs {
				for ; now <= time.Duration(x.At); now += time.Duration(suite.Interval) {
					e.evaluate(time.UnixMilli(now.Milliseconds()), names...)
				}
				vector, err := e.ask(t.Context(), x.Expr, time.UnixMilli(time.Duration(x.At).Milliseconds()))
				if err != nil {
					t.Fatal(err)
				}
				var got, want []string
				for _, s := range vector {
					got = append(got, fmt.Sprint(s.Metric, s.F))
				}
				for _, s := range x.Samples {
					l, err := parser.NewParser(parser.Options{}).ParseMetric(s.Labels)
					if err != nil {
						t.Fatal(err)
					}
					want = append(want, fmt.Sprint(l, s.Value))
				}
				slices.Sort(got)
				slices.Sort(want)
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("%s at %v (-want +got):\n%s", x.Expr, x.At, diff)
				}
			}
		})
	}
}

// The time-lapse that alerts are provoked in moves points in time and rates per second, and nothing else.
func TestAlertsReadNoOtherTimes(t *testing.T) {
	for name, r := range alerts(t) {
		expr, err := parser.NewParser(parser.Options{}).ParseExpr(r.Expr)
		if err != nil {
			t.Fatal(err)
		}
		parser.Inspect(expr, func(n parser.Node, _ []parser.Node) error {
			s, ok := n.(*parser.VectorSelector)
			if ok && (strings.HasSuffix(s.Name, "_seconds") && !strings.HasSuffix(s.Name, pointInTime) || strings.HasSuffix(s.Name, "_seconds_sum") || strings.HasSuffix(s.Name, "_bucket")) {
				t.Errorf("%s reads %s, which time-lapse does not move", name, s.Name)
			}
			return nil
		})
	}
}
