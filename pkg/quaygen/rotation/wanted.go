package rotation

import (
	"maps"
	"slices"

	"github.com/quaygen/quaygen/pkg/quaygen/quay"
)

// Wanted is what a robot's permissions come to in Quay as it is now: patterns resolved, the template's grants copied.
type Wanted struct {
	Grants  map[string]quay.Role // existing repositories only
	Teams   []string
	Missing []string // repositories listed by their exact name that do not exist
	Unknown string   // why the above could not be worked out; "": it could
}

// extras returns what g has and nothing in the configuration asks for, as keys of Memory.unlisted.
func (m *Memory) extras(g *generation) []string {
	if m.wanted.Unknown != "" {
		return nil
	}
	var out []string
	for _, repository := range g.Grants {
		want, ok := m.wanted.Grants[repository]
		switch {
		case !ok && !slices.Contains(m.wanted.Missing, repository):
			out = append(out, extraGrant+repository)
		case ok && g.roles[repository] > want:
			out = append(out, raisedRole+repository)
		}
	}
	for _, team := range g.Teams {
		if !slices.Contains(m.wanted.Teams, team) {
			out = append(out, extraTeam+team)
		}
	}
	return out
}

const (
	extraGrant = "grant "
	raisedRole = "role "
	extraTeam  = "team "
)

// grantsFor returns the roles g shall have. A generation that is not published yet also gets what people granted to
// its predecessor, unless pruning: consumers may rely on it. unknown lists predecessor grants whose role must be
// read before they can be copied.
func (m *Memory) grantsFor(prev, g *generation) (roles map[string]quay.Role, unknown []string) {
	roles = maps.Clone(m.wanted.Grants)
	if roles == nil {
		roles = map[string]quay.Role{}
	}
	if m.spec.Permissions.Prune || prev == nil || g.published {
		return roles, nil
	}
	for _, repository := range prev.Grants {
		role := prev.roles[repository]
		if _, configured := roles[repository]; configured || m.isMissing(repository) {
			continue
		}
		if role == quay.RoleUnknown {
			unknown = append(unknown, repository)
			continue
		}
		roles[repository] = role
	}
	return roles, unknown
}

func (m *Memory) teamsFor(prev, g *generation) []string {
	teams := slices.Clone(m.wanted.Teams)
	if m.spec.Permissions.Prune || prev == nil || g.published {
		return teams
	}
	for _, team := range prev.Teams {
		if !slices.Contains(teams, team) {
			teams = append(teams, team)
		}
	}
	return teams
}

// required returns the grants without which g must not be published: those of its predecessor that are still wanted
// (rule 10). What the predecessor lacked too is reported, not waited for. A first generation waits for everything,
// but only while it settles; one that is already in use waits for nothing.
func (m *Memory) required(prev, g *generation) (roles map[string]quay.Role, teams []string) {
	roles = map[string]quay.Role{}
	want, _ := m.grantsFor(prev, g)
	wantTeams := m.teamsFor(prev, g)
	if prev == nil {
		if g.accessed.IsZero() && m.at.Sub(g.Created) < m.spec.Safety.Settle {
			return want, wantTeams
		}
		return roles, nil
	}
	for _, repository := range prev.Grants {
		role, ok := want[repository]
		if !ok {
			if m.spec.Permissions.Prune || m.isMissing(repository) || m.wanted.Unknown == "" && slices.Contains(m.wanted.Missing, repository) {
				continue
			}
			role = quay.RoleRead // a person's grant whose role is not read yet; its presence is what counts
		}
		if had := prev.roles[repository]; had != quay.RoleUnknown {
			role = min(role, had)
		}
		roles[repository] = role
	}
	for _, team := range prev.Teams {
		if slices.Contains(wantTeams, team) {
			teams = append(teams, team)
		}
	}
	return roles, teams
}

// lacking returns what is missing from g's grants as read back, of what it must have to be published. needRoles
// says that only its roles are not known.
func (m *Memory) lacking(prev, g *generation) (missing []string, needRoles bool) {
	if m.wanted.Unknown != "" && g.accessed.IsZero() {
		return []string{"what it shall have is not known: " + m.wanted.Unknown}, false
	}
	roles, teams := m.required(prev, g)
	for _, repository := range slices.Sorted(maps.Keys(roles)) {
		want := roles[repository]
		_, granted := slices.BinarySearch(g.Grants, repository)
		switch has := g.roles[repository]; {
		case !granted, has != quay.RoleUnknown && has < want:
			missing = append(missing, want.String()+" on "+repository)
		case has == quay.RoleUnknown && want > quay.RoleRead:
			needRoles = true
		}
	}
	for _, team := range teams {
		if !slices.Contains(g.Teams, team) {
			missing = append(missing, "membership of team "+team)
		}
	}
	return missing, needRoles
}

// proofOf returns the repositories that a login as g must be granted pull on: all that its predecessor could pull
// and that are still wanted, or all that a first generation has been granted.
func (m *Memory) proofOf(prev, g *generation) []string {
	roles, _ := m.required(prev, g)
	if prev == nil {
		roles = m.wanted.Grants
	}
	var out []string
	for _, repository := range g.Grants {
		if _, ok := roles[repository]; ok {
			out = append(out, repository)
		}
	}
	return out
}
