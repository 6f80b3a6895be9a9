package matrix

import (
	"testing"

	"sigs.k8s.io/yaml"
)

func TestEveryTwoSettingsThatGoTogetherMeet(t *testing.T) {
	rows, err := Rows()
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d rows", len(rows))
	var table []dimension
	if err := yaml.UnmarshalStrict(dimensions, &table); err != nil {
		t.Fatal(err)
	}
	m := matrix{table: table}
	for a := range table {
		for b := range a {
			for i := range table[a].Settings {
				for j := range table[b].Settings {
					met := false
					for _, r := range rows {
						met = met || r.Has(m.label(a, i)) && r.Has(m.label(b, j))
					}
					if met != m.fits(a, i, b, j) {
						t.Errorf("%s and %s: meet is %v, want %v", m.label(a, i), m.label(b, j), met, !met)
					}
				}
			}
		}
	}
}

func TestEveryRefusalNamesASettingThatExists(t *testing.T) {
	var table []dimension
	if err := yaml.UnmarshalStrict(dimensions, &table); err != nil {
		t.Fatal(err)
	}
	m := matrix{table: table}
	known := map[string]bool{}
	for d := range table {
		for s := range table[d].Settings {
			known[m.label(d, s)] = true
		}
	}
	for d := range table {
		for _, s := range table[d].Settings {
			for _, name := range s.Without {
				if !known[name] {
					t.Errorf("%s=%s: there is no %s", table[d].Name, s.Name, name)
				}
			}
		}
	}
}
