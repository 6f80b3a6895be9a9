package quaytest

import (
	"maps"
	"net/http"
	"slices"
)

// getOrganization answers everybody who knows the name, so that it proves nothing about a token;
// docs/quay-contract.md 0.10, 1.4.
func getOrganization(c *call) *answer {
	ns := c.namespaces[c.args[0]]
	if ns == nil || !ns.organization {
		return c.notFound()
	}
	admin, member := c.orgAdmin(ns.name), c.orgMember(ns.name)
	email := ""
	if admin {
		email = "admin@" + ns.name + ".example.com"
	}
	o := object{
		{"name", ns.name},
		{"email", email},
		{"avatar", avatar(ns.name, "org")},
		{"is_admin", admin},
		{"is_member", member},
	}
	if member {
		names := slices.Sorted(maps.Keys(ns.teams))
		teams := object{}
		for _, name := range names {
			t := ns.teams[name]
			teams = append(teams, field{name, object{{"name", name}, {"description", t.description}, {"role", t.role}, {"avatar", avatar(name, "team")}, {"can_view", admin}}})
		}
		o = append(o,
			field{"teams", teams},
			field{"ordered_teams", names},
			field{"invoice_email", false},
			field{"invoice_email_address", nil},
			field{"tag_expiration_s", 1209600},
			field{"is_free_account", true},
		)
	}
	return ok(o)
}

// getUser answers a valid token without the scope exactly as a bad token; docs/quay-contract.md 0.9.
func getUser(c *call) *answer {
	if !c.has(scopeUserRead) && !c.userAdmin() {
		detail := "Requires authentication"
		return okStatus(http.StatusUnauthorized, object{
			{"session_required", false},
			{"detail", detail},
			{"error_message", detail},
			{"error_type", "invalid_token"},
			{"title", "invalid_token"},
			{"type", c.origin() + "/api/v1/error/invalid_token"},
			{"status", http.StatusUnauthorized},
		})
	}
	organizations := []object{}
	for _, name := range slices.Sorted(maps.Keys(c.namespaces)) {
		ns := c.namespaces[name]
		if role := c.teamRole(name, c.token.user); ns.organization && role != "" {
			organizations = append(organizations, object{
				{"name", name},
				{"avatar", avatar(name, "org")},
				{"can_create_repo", role != "member"},
				{"public", false},
				{"is_org_admin", role == "admin"},
			})
		}
	}
	return ok(object{
		{"anonymous", false},
		{"username", c.token.user},
		{"avatar", avatar(c.token.user, "user")},
		{"organizations", organizations},
		{"verified", true},
		{"super_user", false},
	})
}

func describeError(c *call) *answer {
	kind := c.args[0]
	if !slices.Contains([]string{"invalid_token", "insufficient_scope", "not_found", "invalid_request"}, kind) {
		return c.notFound()
	}
	return ok(object{{"type", c.origin() + "/api/v1/error/" + kind}, {"title", kind}, {"description", "The request failed: " + kind}})
}
