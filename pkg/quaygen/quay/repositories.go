package quay

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"time"
)

const (
	// maxRepositories bounds a list of repositories.
	maxRepositories = 100_000
	// maxPages bounds its pages, of 100 each when full.
	maxPages = 2 * maxRepositories / 100
)

// RepositoryExists reports whether a repository exists. For a missing one the API token must administer the
// namespace: otherwise the error is [ErrForbidden], and says nothing about existence (docs/quay-contract.md 3.4).
func (c *Client) RepositoryExists(ctx context.Context, repo Repository) (bool, error) {
	path, err := repositoryPath(repo)
	if err != nil {
		return false, err
	}
	_, err = c.do(ctx, call{
		op: opRepositoryGet, subject: repo.String(), method: http.MethodGet, path: path,
		query:  url.Values{"includeTags": {"false"}}, // there may be thousands
		repeat: true,
	}, nil)
	return exists(err)
}

// ListRepositories returns the names, without namespace and sorted, of the container repositories of an owner that
// the API token's user can see. For an unknown owner there are none. More than 100,000, and pages that do not end,
// are [ErrMalformed].
func (c *Client) ListRepositories(ctx context.Context, owner Owner) ([]string, error) {
	if owner.IsZero() {
		return nil, fmt.Errorf("%w: no owner given", ErrName)
	}
	in := call{
		op: opRepositoryList, subject: owner.Name(), method: http.MethodGet, path: "/api/v1/repository",
		query: url.Values{"namespace": {owner.Name()}}, limit: maxListAnswer, repeat: true,
	}
	seen := make(map[string]bool)
	for range maxPages {
		page, answer, err := c.repositoryPage(ctx, in)
		if err != nil {
			return nil, err
		}
		before := len(seen)
		for _, item := range page.Repositories {
			// Names of other namespaces count as well, to notice a page that comes again.
			seen[item.Namespace+"/"+item.Name] = item.Namespace == owner.Name() && item.Kind != "application"
		}
		switch {
		case len(seen) > maxRepositories:
			return nil, malformed(in, answer.Date, fmt.Sprintf("there are more than %d repositories", maxRepositories))
		case page.Next == "":
			return repositoryNames(owner, seen), nil
		case len(page.Repositories) > 0 && len(seen) == before:
			// A page token that Quay cannot read gets the first page again (docs/quay-contract.md 3.4).
			return nil, malformed(in, answer.Date, "the pages of the list begin again")
		}
		in.query.Set("next_page", page.Next)
	}
	return nil, malformed(in, time.Time{}, fmt.Sprintf("the list has more than %d pages", maxPages))
}

type repositoryPage struct {
	Repositories []struct {
		Namespace string `json:"namespace"`
		Name      string `json:"name"`
		Kind      string `json:"kind"`
	} `json:"repositories"`
	Next string `json:"next_page"`
}

func (c *Client) repositoryPage(ctx context.Context, in call) (repositoryPage, Answer, error) {
	var page repositoryPage
	answer, err := c.do(ctx, in, &page)
	if err == nil && page.Repositories == nil {
		err = malformed(in, answer.Date, "there is no list in it")
	}
	return page, answer, err
}

func repositoryNames(owner Owner, seen map[string]bool) []string {
	names := make([]string, 0, len(seen))
	for full, wanted := range seen {
		if wanted {
			names = append(names, full[len(owner.Name())+1:])
		}
	}
	slices.Sort(names)
	return names
}

func repositoryPath(repo Repository) (string, error) {
	if repo == (Repository{}) {
		return "", fmt.Errorf("%w: no repository given", ErrName)
	}
	return "/api/v1/repository/" + repo.String(), nil
}

// exists reads the outcome of looking something up.
func exists(err error) (bool, error) {
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}
