package quay_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/quaygen/quaygen/pkg/quaygen/quay"
)

// pages answers repository lists; next tells the page token after each page, by number from 1.
func pages(next func(n int) string, names func(n int) []string) *fake {
	return &fake{answer: func(n int, r *http.Request) *http.Response {
		type item struct {
			Namespace string `json:"namespace"`
			Name      string `json:"name"`
			Kind      string `json:"kind"`
		}
		page := map[string]any{}
		items := []item{}
		for _, name := range names(n) {
			items = append(items, item{"acme", name, "image"})
		}
		page["repositories"] = append(items, item{"other", "stray", "image"}, item{"acme", "chart", "application"})
		if token := next(n); token != "" {
			page["next_page"] = token
		}
		body, _ := json.Marshal(page)
		return response(200, asJSON, string(body))
	}}
}

func TestRepositoryListReadsAllPages(t *testing.T) {
	rt := pages(
		func(n int) string { return []string{"", "one+/=", "two", ""}[n] },
		func(n int) []string { return [][]string{nil, {"b", "team/a"}, {"c"}, {"a"}}[n] })
	got, err := client(t, rt).ListRepositories(t.Context(), organization(t, "acme"))
	if diff := cmp.Diff([]string{"a", "b", "c", "team/a"}, got); diff != "" || err != nil {
		t.Error(diff, err)
	}
	var queries []string
	for _, s := range rt.requests() {
		queries = append(queries, s.Query)
	}
	want := []string{"namespace=acme", "namespace=acme&next_page=one%2B%2F%3D", "namespace=acme&next_page=two"}
	if diff := cmp.Diff(want, queries); diff != "" {
		t.Error(diff)
	}
}

func TestEmptyPageIsNoLoop(t *testing.T) {
	bodies := []string{
		`{"repositories": [{"namespace": "acme", "name": "a"}], "next_page": "x"}`,
		`{"repositories": [], "next_page": "y"}`,
		`{"repositories": [{"namespace": "acme", "name": "b"}]}`,
	}
	rt := &fake{answer: func(n int, _ *http.Request) *http.Response { return response(200, asJSON, bodies[n-1]) }}
	got, err := client(t, rt).ListRepositories(t.Context(), organization(t, "acme"))
	if diff := cmp.Diff([]string{"a", "b"}, got); diff != "" || err != nil {
		t.Error(diff, err)
	}
}

func TestRepositoryListNoticesThatPagesBeginAgain(t *testing.T) {
	rt := pages(
		func(n int) string { return fmt.Sprint("token", n) },
		func(int) []string { return []string{"a", "b"} })
	_, err := client(t, rt).ListRepositories(t.Context(), organization(t, "acme"))
	if !errors.Is(err, quay.ErrMalformed) || len(rt.requests()) != 2 {
		t.Error(err, len(rt.requests()))
	}
}

func TestRepositoryListIsBounded(t *testing.T) {
	rt := pages(
		func(n int) string { return "more" },
		func(n int) []string {
			names := make([]string, 5000)
			for i := range names {
				names[i] = fmt.Sprintf("r%d-%d", n, i)
			}
			return names
		})
	_, err := client(t, rt).ListRepositories(t.Context(), organization(t, "acme"))
	if !errors.Is(err, quay.ErrMalformed) || len(rt.requests()) > 25 {
		t.Error(err, len(rt.requests()))
	}
}

func TestRepositoryExists(t *testing.T) {
	repo := repository(t, "acme", "app")
	for _, row := range []struct {
		status int
		body   string
		want   bool
		err    error
	}{
		{200, `{"name": "app"}`, true, nil},
		{404, problem(404, "not_found", "Not Found"), false, nil},
		{403, problem(403, "insufficient_scope", "Unauthorized"), false, quay.ErrForbidden},
	} {
		got, err := client(t, answering(row.status, asJSON, row.body)).RepositoryExists(t.Context(), repo)
		if got != row.want || !errors.Is(err, row.err) {
			t.Errorf("%d: %v, %v", row.status, got, err)
		}
	}
}
