package quaytest

import (
	"net/http"
	"regexp"
	"strings"
)

// Repositories; docs/quay-contract.md 3.4.

// repositoriesPerPage is the size of a page of the repository list.
const repositoriesPerPage = 100

func listRepositories(c *call) *answer {
	query := c.r.URL.Query()
	ns, public := query.Get("namespace"), truth(query["public"], false)
	if ns == "" && !public && !truth(query["starred"], false) {
		return c.invalidRequest("namespace, starred or public are required for this API call")
	}
	start := c.pages.open(query.Get("next_page"), c.now)
	items := []object{}
	for _, r := range c.repositories {
		if r.id < start || ns != "" && r.namespace != ns || truth(query["starred"], false) || !c.list.alive(r.created, r.deleted) || !c.visible(r, public) {
			continue
		}
		if len(items) == repositoriesPerPage {
			return ok(object{{"repositories", items}, {"next_page", c.pages.seal(r.id, c.now)}})
		}
		items = append(items, c.repositoryItem(r, truth(query["last_modified"], false), truth(query["popularity"], false)))
	}
	return ok(object{{"repositories", items}})
}

// visible ignores the token's scopes; docs/quay-contract.md 0.10.
func (c *call) visible(r *repository, public bool) bool {
	if public && r.public {
		return true
	}
	if c.token == nil {
		return false
	}
	return c.teamRole(r.namespace, c.token.user) == "admin" || len(c.roles(c.token.user, r)) > 0
}

func (c *call) repositoryItem(r *repository, lastModified, popularity bool) object {
	o := object{
		{"namespace", r.namespace},
		{"name", r.name},
		{"description", nullable(r.description)},
		{"is_public", r.public},
		{"kind", "image"},
		{"state", "NORMAL"},
		{"is_starred", false},
	}
	if lastModified {
		o = append(o, field{"last_modified", nil})
	}
	if popularity {
		o = append(o, field{"popularity", 0.0})
	}
	return o
}

func nullable(s string) any {
	if s == "" {
		return nil
	}
	return s
}

func getRepository(c *call) *answer {
	ns, name, _ := strings.Cut(c.args[0], "/")
	repo := c.repository(ns, name)
	if !c.repoRight(ns, name, scopeRepoRead, "read") && (repo == nil || !repo.public) {
		return c.deny()
	}
	if repo == nil {
		return c.notFound()
	}
	o := c.repositoryItem(repo, false, false)
	return ok(append(o,
		field{"is_organization", c.namespaces[ns].organization},
		field{"can_write", c.repoRight(ns, name, scopeRepoWrite, "write")},
		field{"can_admin", c.repoAdmin(ns, name)},
	))
}

var repositoryName = regexp.MustCompile(`\A[a-z0-9][a-z0-9._-]*(?:/[a-z0-9][a-z0-9._-]*)*\z`)

func createRepository(c *call) *answer {
	fields, refusal := c.jsonObject()
	if refusal != nil {
		return refusal
	}
	texts := map[string]string{}
	for _, key := range []string{"repository", "visibility", "description"} {
		v, sent := fields[key]
		text, is := v.(string)
		if !sent || !is {
			return c.schemaError(fields, "lacks: '"+key+"' is a required property", "required", "")
		}
		texts[key] = text
	}
	ns, sent := fields["namespace"].(string)
	if !sent {
		ns = c.token.user
	}
	role := c.teamRole(ns, c.token.user)
	name := texts["repository"]
	switch {
	case !c.has(scopeRepoCreate) && !c.has(scopeOrgAdmin) || role != "admin" && role != "creator":
		return c.deny()
	case c.repository(ns, name) != nil:
		return c.invalidRequest("Repository already exists")
	case !repositoryName.MatchString(name) || len(name) > maxUsername:
		return c.invalidRequest("Invalid repository name")
	}
	r := c.addRepository(c.namespaces[ns], name, c.token.user, texts["visibility"] == "public", c.now)
	r.description = texts["description"]
	c.log(c.namespaces[ns], "create_repo", object{{"repo", name}, {"namespace", ns}})
	return okStatus(http.StatusCreated, object{{"namespace", ns}, {"name", name}, {"kind", "image"}})
}

func deleteRepository(c *call, ns, name string, repo *repository) *answer {
	if repo != nil { // what is missing is deleted; docs/quay-contract.md 0
		c.dropRepository(repo, c.now)
		c.log(c.namespaces[ns], "delete_repo", object{{"repo", name}, {"namespace", ns}})
	}
	return noContent()
}
