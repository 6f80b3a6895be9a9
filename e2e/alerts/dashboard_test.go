package alerts

import (
	"encoding/json"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/prometheus/promql/parser"
)

const dashboardFile = "../../manifests/helm/quaygen/files/dashboard.json"

// dashboard is what a dashboard of Grafana asks Prometheus.
type dashboard struct {
	Title         string  `json:"title"`
	SchemaVersion int     `json:"schemaVersion"`
	Panels        []panel `json:"panels"`
	Annotations   struct {
		List []query `json:"list"`
	} `json:"annotations"`
	Templating struct {
		List []struct {
			Name, Type, Definition string
		} `json:"list"`
	} `json:"templating"`
}

type panel struct {
	ID          int                      `json:"id"`
	Type        string                   `json:"type"`
	Title       string                   `json:"title"`
	Description string                   `json:"description"`
	Targets     []query                  `json:"targets"`
	Grid        struct{ H, W, X, Y int } `json:"gridPos"`
}

type query struct {
	Expr       string            `json:"expr"`
	Legend     string            `json:"legendFormat"`
	Datasource map[string]string `json:"datasource"`
}

func loadDashboard(t *testing.T) dashboard {
	t.Helper()
	var d dashboard
	if err := json.Unmarshal([]byte(read(t, dashboardFile)), &d); err != nil {
		t.Fatal(err)
	}
	return d
}

// documented returns the metrics that docs/metrics.md lists, with their labels. That the list is what a running process
// shows is a test of cmd/generator.
func documented(t *testing.T) map[string][]string {
	t.Helper()
	out := map[string][]string{}
	for line := range strings.Lines(read(t, "../../docs/metrics.md")) {
		cells := strings.Split(line, "|")
		if !strings.HasPrefix(line, "| `quaygen_") || len(cells) != 7 {
			continue
		}
		name := strings.Trim(cells[1], " `")
		var labels []string
		for l := range strings.SplitSeq(cells[3], ",") {
			if l = strings.TrimSpace(l); l != "" {
				labels = append(labels, l)
			}
		}
		if strings.TrimSpace(cells[2]) == "histogram" {
			out[name+"_bucket"] = append([]string{"le"}, labels...)
			out[name+"_sum"], out[name+"_count"] = labels, labels
			continue
		}
		out[name] = labels
	}
	if len(out) < 30 {
		t.Fatalf("docs/metrics.md lists %d metrics only", len(out))
	}
	return out
}

// ofEveryProgram are the metrics that the client library adds, and ofPrometheus what a scrape does.
var (
	ofEveryProgram = []string{"process_resident_memory_bytes", "process_cpu_seconds_total", "process_start_time_seconds", "go_goroutines"}
	ofPrometheus   = []string{"up"}
	ofTargets      = []string{"job", "instance", "namespace", "pod"} // labels
)

// uses fails for each metric and label in an expression that nothing shows.
func uses(t *testing.T, where, text string, shown map[string][]string) {
	t.Helper()
	expr, err := parser.NewParser(parser.Options{}).ParseExpr(text)
	if err != nil {
		t.Errorf("%s: %v in %s", where, err, text)
		return
	}
	var all []string // labels of anything that is selected
	var grouped []string
	parser.Inspect(expr, func(n parser.Node, _ []parser.Node) error {
		switch n := n.(type) {
		case *parser.VectorSelector:
			labels, ok := shown[n.Name]
			if !ok && !slices.Contains(ofEveryProgram, n.Name) && !slices.Contains(ofPrometheus, n.Name) {
				t.Errorf("%s uses %s, which is not shown", where, n.Name)
			}
			all = append(all, labels...)
			for _, m := range n.LabelMatchers {
				if m.Name != "__name__" && !slices.Contains(labels, m.Name) && !slices.Contains(ofTargets, m.Name) {
					t.Errorf("%s: %s has no label %s", where, n.Name, m.Name)
				}
			}
		case *parser.AggregateExpr:
			grouped = append(grouped, n.Grouping...)
		case *parser.BinaryExpr:
			if n.VectorMatching != nil {
				grouped = append(grouped, n.VectorMatching.MatchingLabels...)
				grouped = append(grouped, n.VectorMatching.Include...)
			}
		}
		return nil
	})
	for _, l := range grouped {
		if !slices.Contains(all, l) && !slices.Contains(ofTargets, l) {
			t.Errorf("%s: nothing that is selected has the label %s: %s", where, l, text)
		}
	}
}

var (
	variable = regexp.MustCompile(`\$\{?(\w+)`)
	field    = regexp.MustCompile(`{{\s*(\w+)\s*}}`)
)

func TestTheDashboardAsksForWhatIsShownOnly(t *testing.T) {
	d, shown := loadDashboard(t), documented(t)
	variables := []string{"__rate_interval"}
	for _, v := range d.Templating.List {
		variables = append(variables, v.Name)
		for _, m := range regexp.MustCompile(`\w+(?:\{[^}]*\})?,`).FindAllString(v.Definition, -1) {
			uses(t, "variable "+v.Name, placed(strings.TrimSuffix(m, ",")), shown)
		}
	}
	for _, want := range []string{"datasource", "instance", "name"} {
		if !slices.Contains(variables, want) {
			t.Errorf("there is no variable %s", want)
		}
	}
	queries := map[string][]query{}
	for _, p := range d.Panels {
		if p.Type == "row" {
			continue
		}
		if len(p.Targets) == 0 || p.Title == "" {
			t.Errorf("panel %d %q asks for nothing, or has no title", p.ID, p.Title)
		}
		queries[p.Title] = append(queries[p.Title], p.Targets...)
	}
	for _, a := range d.Annotations.List {
		if a.Expr != "" {
			queries["annotations"] = append(queries["annotations"], a)
		}
	}
	read := map[string]bool{}
	for title, targets := range queries {
		for _, q := range targets {
			if q.Datasource["uid"] != "${datasource}" {
				t.Errorf("%s: its data source is fixed", title)
			}
			for _, m := range variable.FindAllStringSubmatch(q.Expr, -1) {
				if !slices.Contains(variables, m[1]) {
					t.Errorf("%s: there is no variable %s", title, m[1])
				}
			}
			uses(t, title, placed(q.Expr), shown)
			for name := range shown {
				if strings.Contains(q.Expr, name) {
					read[name] = true
				}
			}
			for _, m := range field.FindAllStringSubmatch(q.Legend, -1) {
				if !strings.Contains(q.Expr, m[1]) && !slices.Contains(ofTargets, m[1]) && m[1] != "organization" && m[1] != "registry" && m[1] != "lane" {
					t.Errorf("%s: its legend has %s, and its query does not", title, m[1])
				}
			}
		}
	}
	// Whoever adds a metric decides whether somebody on call wants to see it.
	for _, name := range slices.Sorted(maps.Keys(shown)) {
		if unwatched := strings.Contains(name, "client_ca") || strings.HasSuffix(name, "_not_before_timestamp_seconds") || strings.HasSuffix(name, "_seconds_sum") || strings.HasSuffix(name, "_seconds_count") || strings.HasSuffix(name, "_wait_seconds_bucket"); !unwatched && !read[name] {
			t.Errorf("no panel shows %s", name)
		}
	}
}

// placed puts something into each variable, so that the query can be parsed.
func placed(expr string) string {
	expr = strings.ReplaceAll(expr, "$__rate_interval", "5m")
	return variable.ReplaceAllString(expr, ".*")
}

func TestPanelsOfTheDashboardDoNotLieUponEachOther(t *testing.T) {
	taken, ids := map[[2]int]string{}, map[int]bool{}
	for _, p := range loadDashboard(t).Panels {
		if ids[p.ID] {
			t.Errorf("there are two panels %d", p.ID)
		}
		ids[p.ID] = true
		if p.Grid.W < 1 || p.Grid.H < 1 || p.Grid.X+p.Grid.W > 24 {
			t.Errorf("%s is outside of the grid", p.Title)
		}
		for x := p.Grid.X; x < p.Grid.X+p.Grid.W; x++ {
			for y := p.Grid.Y; y < p.Grid.Y+p.Grid.H; y++ {
				if other, is := taken[[2]int{x, y}]; is {
					t.Fatalf("%s lies upon %s", p.Title, other)
				}
				taken[[2]int{x, y}] = p.Title
			}
		}
	}
}

func TestAlertsAskForWhatIsShownOnly(t *testing.T) {
	shown := documented(t)
	for name, r := range alerts(t) {
		uses(t, name, r.Expr, shown)
	}
}
