// Package matrix makes values of the chart in which every two settings meet.
package matrix

import (
	_ "embed"
	"fmt"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"

	"github.com/quaygen/quaygen/manifests/tests/chart"
)

// Config is a GeneratorConfig as values have it, with two robots.
//
//go:embed config.yaml
var Config []byte

//go:embed dimensions.yaml
var dimensions []byte

// A setting is one way to set some values, and what it cannot go with.
type setting struct {
	Name   string         `json:"name"`
	Values map[string]any `json:"values"`
	// Without names settings of other dimensions, as dimension=setting, that this one cannot go with.
	Without []string `json:"without"`
}

// A dimension is a choice between settings. The first one is the chart's default where there is one.
type dimension struct {
	Name     string    `json:"name"`
	Settings []setting `json:"settings"`
}

// Row is one set of values.
type Row struct {
	Name   string         `json:"name"` // its settings, such as "ledger=file replicas=1 ..."
	Values map[string]any `json:"values"`
}

// Has says whether a row has a setting, such as "ledger=file".
func (r Row) Has(setting string) bool { return slices.Contains(strings.Fields(r.Name), setting) }

// choice is a setting for each dimension, by index; -1 where none is chosen yet.
type choice []int

// Rows returns rows in which every setting meets every other that it can go with. They are the same in each run.
func Rows() ([]Row, error) {
	var table []dimension
	if err := yaml.UnmarshalStrict(dimensions, &table); err != nil {
		return nil, fmt.Errorf("reading the dimensions: %w", err)
	}
	m := matrix{table: table, open: map[pair]bool{}}
	for a := range table {
		for b := range a {
			for i := range table[a].Settings {
				for j := range table[b].Settings {
					m.open[pair{b, j, a, i}] = m.fits(a, i, b, j)
				}
			}
		}
	}
	rows := []Row{}
	for {
		c := m.next()
		if c == nil {
			return rows, nil
		}
		row, err := m.row(c)
		if err != nil {
			return nil, err
		}
		rows = append(rows, row)
	}
}

// pair is setting j of dimension b with setting i of dimension a, where b is less than a.
type pair struct{ b, j, a, i int }

type matrix struct {
	table []dimension
	open  map[pair]bool // pairs that have not met yet; false where they have, or cannot
}

func (m *matrix) label(d, s int) string { return m.table[d].Name + "=" + m.table[d].Settings[s].Name }

// fits says whether two settings can go with each other.
func (m *matrix) fits(a, i, b, j int) bool {
	return !slices.Contains(m.table[a].Settings[i].Without, m.label(b, j)) && !slices.Contains(m.table[b].Settings[j].Without, m.label(a, i))
}

// next returns a choice in which pairs meet that have not yet, or nil if there are none that can.
func (m *matrix) next() choice {
	for a := range m.table {
		for b := range a {
			for i := range m.table[a].Settings {
				for j := range m.table[b].Settings {
					if !m.open[pair{b, j, a, i}] {
						continue
					}
					m.open[pair{b, j, a, i}] = false
					if c := m.complete(a, i, b, j); c != nil {
						m.close(c)
						return c
					}
				}
			}
		}
	}
	return nil
}

// complete chooses for all other dimensions what fits and lets most pairs meet; nil if there is nothing that fits.
func (m *matrix) complete(a, i, b, j int) choice {
	c := make(choice, len(m.table))
	for d := range c {
		c[d] = -1
	}
	c[a], c[b] = i, j
	for d := range m.table {
		if c[d] >= 0 {
			continue
		}
		best := -1
		for s := range m.table[d].Settings {
			if gain := m.gain(c, d, s); gain > best {
				best = gain
				c[d] = s
			}
		}
		if best < 0 {
			return nil
		}
	}
	return c
}

// gain counts the pairs that would meet if setting s were chosen for dimension d; -1 if it does not fit.
func (m *matrix) gain(c choice, d, s int) int {
	n := 0
	for other, chosen := range c {
		if other == d || chosen < 0 {
			continue
		}
		if !m.fits(d, s, other, chosen) {
			return -1
		}
		if m.open[ordered(d, s, other, chosen)] {
			n++
		}
	}
	return n
}

func ordered(d, s, other, chosen int) pair {
	if other < d {
		return pair{other, chosen, d, s}
	}
	return pair{d, s, other, chosen}
}

func (m *matrix) close(c choice) {
	for a := range c {
		for b := range a {
			m.open[pair{b, c[b], a, c[a]}] = false
		}
	}
}

// row merges the values of the settings. Lists of config are joined, since several settings add robots, clients and rules.
func (m *matrix) row(c choice) (Row, error) {
	config, err := chart.ParseValues(Config)
	if err != nil {
		return Row{}, err
	}
	row := Row{Values: map[string]any{"config": config}}
	var names []string
	for d, s := range c {
		names = append(names, m.label(d, s))
		values, err := clone(m.table[d].Settings[s].Values)
		if err != nil {
			return Row{}, err
		}
		if more, ok := values["config"].(map[string]any); ok {
			delete(values, "config")
			for key, value := range more {
				list, isList := value.([]any)
				if before, ok := config[key].([]any); ok && isList {
					value = append(before, list...)
				}
				config[key] = value
			}
		}
		chart.Merge(row.Values, values)
	}
	if row.Values["existingConfigMap"] != nil {
		delete(row.Values, "config")
	}
	row.Name = strings.Join(names, " ")
	return row, nil
}

func clone(values map[string]any) (map[string]any, error) {
	content, err := yaml.Marshal(values)
	if err != nil {
		return nil, fmt.Errorf("copying values: %w", err)
	}
	return chart.ParseValues(content)
}
