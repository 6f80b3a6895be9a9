package rotation

import (
	"strings"
	"testing"
)

// steps is what it plans, with generations called by their hours.
func (d *desk) steps() string {
	var got []string
	for _, s := range d.memory.Plan().Steps {
		got = append(got, short(s.String()))
	}
	return strings.Join(got, ", ")
}

// Rule 6: nothing that a list does not show is handed out in the place of what was deleted, before it is looked at itself.
func TestWhatWasDeletedTogetherWithItsSuccessorIsNotServedInItsPlace(t *testing.T) {
	for _, c := range []struct {
		what string
		look func(d *desk) // at g0, after which it is served or is not
		want bool
	}{
		{"it is gone as well", func(d *desk) { d.memory.Vanished(number(0)) }, false},
		{"the list was behind", func(d *desk) { d.memory.Verified(number(0), d.memory.gens[number(0)].token, false) }, true},
	} {
		t.Run(c.what, func(t *testing.T) {
			d := newDesk(t)
			d.superseded(91)
			d.vanish(0)
			d.vanish(90)
			d.list(91.1)
			if got := d.steps(); got != "verify g90" {
				t.Fatalf("first it plans %q", got)
			}
			d.memory.Vanished(number(90))
			if g, _, why := d.memory.servable(); g != nil || !strings.Contains(why, "is looked at before it is served") {
				t.Errorf("before it is looked at it is served: %v, %s", g != nil, why)
			}
			if got := d.steps(); got != "verify g90, verify g0" && got != "verify g0" {
				t.Fatalf("then it plans %q", got)
			}
			c.look(d)
			if g, _, why := d.memory.servable(); (g != nil) != c.want {
				t.Errorf("looked at, it is served: %v, %s", g != nil, why)
			}
			d.list(91.2) // which is another list, and shows neither
			if g, _, _ := d.memory.servable(); g != nil {
				t.Error("on another list it is served before it is looked at again")
			}
		})
	}
}
