package quaytest_test

import (
	"net/url"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func (q quayUnderTest) logs() string { return "/api/v1/organization/" + q.org + "/logs" }

// docs/quay-contract.md 4
func TestTheAuditLogNamesRobotsShortAndHoldsNoToken(t *testing.T) {
	q := contract(t)
	short, token := q.newRobot("a")
	repo := q.newRepository("a")
	q.grant(repo, short, "read")
	q.delete(q.grants(repo) + q.username(short)).status(204)
	q.post(q.robotPath(short)+"/regenerate", nil).status(200)
	q.delete(q.robotPath(short)).status(204)

	kinds := []string{}
	for _, row := range q.get(q.logs() + "?performer=" + q.tokenUser()).status(200).items("logs") {
		metadata, _ := row["metadata"].(map[string]any)
		if metadata["robot"] != short && metadata["username"] != q.username(short) {
			continue
		}
		kind, _ := row["kind"].(string)
		kinds = append(kinds, kind)
		if at, _ := row["datetime"].(string); !quayTime.MatchString(at) {
			t.Errorf("datetime %q", at)
		}
		if performer, _ := row["performer"].(map[string]any); performer["name"] != q.tokenUser() || performer["is_robot"] != false {
			t.Errorf("performer %v", performer)
		}
		for _, value := range metadata {
			if value == token {
				t.Error("the log holds a token")
			}
		}
	}
	want := []string{"delete_robot", "regenerate_robot_token", "delete_repo_permission", "change_repo_permission", "create_robot"}
	if !cmp.Equal(kinds, want) {
		t.Errorf("newest first: %v, want %v", kinds, want)
	}
}

// docs/quay-contract.md 4: a login without a scope is logged, in the robot's name; one with a scope is not.
func TestTheAuditLogKnowsLogins(t *testing.T) {
	q := contract(t)
	short, token := q.newRobot("a")
	q.mustLogin(short, token, "repository:"+q.org+"/nosuch"+q.prefix+":pull")
	list := q.logs() + "?performer=" + url.QueryEscape(q.username(short))
	if rows := q.get(list).status(200).items("logs"); len(rows) != 0 {
		t.Errorf("rows %v", rows)
	}
	q.mustLogin(short, token)
	rows := q.get(list).status(200).items("logs")
	if len(rows) != 1 || rows[0]["kind"] != "login_success" {
		t.Fatalf("rows %v", rows)
	}
	if metadata, _ := rows[0]["metadata"].(map[string]any); metadata["robot"] != q.username(short) || metadata["type"] != "v2auth" {
		t.Errorf("metadata %v", metadata)
	}
}

// docs/quay-contract.md 4
func TestTheAuditLogHasOnePageTooMany(t *testing.T) {
	q := contract(t)
	short, token := q.newRobot("a")
	for range 21 {
		q.mustLogin(short, token)
	}
	list := q.logs() + "?performer=" + url.QueryEscape(q.username(short))
	var sizes []int
	page := ""
	for range 10 {
		reply := q.get(list + "&next_page=" + url.QueryEscape(page)).status(200)
		sizes = append(sizes, len(reply.items("logs")))
		if page, _ = reply.object("")["next_page"].(string); page == "" {
			break
		}
	}
	if len(sizes) < 3 || sizes[0] != 20 || sizes[1] != 1 || sizes[2] != 0 {
		t.Errorf("pages of %v rows", sizes)
	}
	if got := q.get(list + "&next_page=garbage").status(200).items("logs"); len(got) != 20 {
		t.Errorf("an unreadable page has %d rows", len(got))
	}
}

// docs/quay-contract.md 0.5, 4
func TestTheAuditLogBreaksOverUnknownPerformers(t *testing.T) {
	q := contract(t)
	short, _ := q.newRobot("a")
	q.get(q.logs() + "?performer=nosuch" + q.prefix).status(500).html()
	q.get(q.logs() + "?performer=" + q.org + "+" + short).status(500).html() // the plus means a space
	q.get(q.logs()+"?starttime=12/02/2026&endtime=12/01/2026").bare(400, "The browser (or proxy) sent a request that this server could not understand.")
	q.get(q.logs() + "?starttime=yesterday").status(200)
}
