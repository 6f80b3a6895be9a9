package quaytest_test

import (
	"crypto/rand"
	"crypto/tls"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/quaygen/quaygen/pkg/quaygen/quay/quaytest"
)

// The contract suite is the tests that begin with a call of [contract]. Each states facts about Quay's HTTP interface and
// cites the section of docs/quay-contract.md they are from. It runs against the double; to run it against a real Quay, set
//
//	QUAY_CONTRACT_URL    https://quay.example.com, the address that is Quay's SERVER_HOSTNAME
//	QUAY_CONTRACT_TOKEN  an API token with the scopes org:admin repo:admin user:admin, of an owner of the organization
//	QUAY_CONTRACT_ORG    the organization
//
// and, for a certificate of an authority unknown to this machine, SSL_CERT_FILE. Everything the suite makes bears a
// random prefix and is deleted in the end. What needs more than a token (Quay's configuration, its clock, faults, other
// organizations, tokens of fewer scopes) is in double_test.go.

// quayUnderTest is a Quay with the prefix of one test.
type quayUnderTest struct {
	client
	org    string
	prefix string
}

func contract(t *testing.T) quayUnderTest {
	t.Helper()
	base, token, org := os.Getenv("QUAY_CONTRACT_URL"), os.Getenv("QUAY_CONTRACT_TOKEN"), os.Getenv("QUAY_CONTRACT_ORG")
	if base == "" {
		return doubleUnderTest(t)
	}
	if token == "" || org == "" {
		t.Fatal("QUAY_CONTRACT_URL without QUAY_CONTRACT_TOKEN and QUAY_CONTRACT_ORG")
	}
	transport := &http.Transport{Proxy: http.ProxyFromEnvironment, TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12}, ForceAttemptHTTP2: true}
	t.Cleanup(transport.CloseIdleConnections)
	q := quayUnderTest{org: org, prefix: randomPrefix()}
	q.client = client{t: t, base: strings.TrimSuffix(base, "/"), token: token, http: &http.Client{Transport: transport, CheckRedirect: stay}}
	return q
}

func doubleUnderTest(t *testing.T) quayUnderTest {
	t.Helper()
	s, c := newDouble(t, quaytest.Options{})
	s.AddRepository("acme", "private-"+randomPrefix())
	return quayUnderTest{client: c, org: "acme", prefix: randomPrefix()}
}

func randomPrefix() string { return "qc" + strings.ToLower(rand.Text()[:8]) }

func (q quayUnderTest) anonymous() client { return q.as("") }

// host is the name images of this Quay begin with.
func (q quayUnderTest) host() string {
	u, err := url.Parse(q.base)
	if err != nil {
		q.t.Fatal(err)
	}
	return u.Host
}

func (q quayUnderTest) robots() string { return "/api/v1/organization/" + q.org + "/robots" }

func (q quayUnderTest) robotPath(short string) string { return q.robots() + "/" + short }

// username is the full name of a robot.
func (q quayUnderTest) username(short string) string { return q.org + "+" + short }

// cleanUp deletes path in the end, whether it still exists or not.
func (q quayUnderTest) cleanUp(path string) {
	q.t.Helper()
	q.t.Cleanup(func() {
		r, err := http.NewRequest(http.MethodDelete, q.base+path, nil)
		if err != nil {
			q.t.Error(err)
			return
		}
		r.Header.Set("Authorization", "Bearer "+q.token)
		resp, err := q.http.Do(r)
		if err != nil {
			q.t.Error(err)
			return
		}
		_ = resp.Body.Close()
	})
}

// newName returns the short name of a robot that does not exist, and deletes it in the end.
func (q quayUnderTest) newName(suffix string) string {
	q.t.Helper()
	short := q.prefix + "_" + suffix
	q.cleanUp(q.robotPath(short))
	return short
}

// newRobot makes a robot and returns its short name and token.
func (q quayUnderTest) newRobot(suffix string) (short, token string) {
	q.t.Helper()
	short = q.newName(suffix)
	return short, q.put(q.robotPath(short), nil).status(201).text("token")
}

// newRepository makes a private repository and returns its name without the organization.
func (q quayUnderTest) newRepository(suffix string) string {
	q.t.Helper()
	name := q.prefix + "-" + suffix
	q.cleanUp("/api/v1/repository/" + q.org + "/" + name)
	q.post("/api/v1/repository", map[string]any{
		"namespace": q.org, "repository": name, "visibility": "private", "description": "",
	}).status(201)
	return name
}

func (q quayUnderTest) grants(repo string) string {
	return fmt.Sprintf("/api/v1/repository/%s/%s/permissions/user/", q.org, repo)
}

func (q quayUnderTest) grant(repo, short, role string) {
	q.t.Helper()
	q.put(q.grants(repo)+q.username(short), map[string]any{"role": role}).status(200)
}

// tokenUser returns the human the API token belongs to.
func (q quayUnderTest) tokenUser() string {
	q.t.Helper()
	return q.get("/api/v1/user/").status(200).text("username")
}

var (
	robotToken = regexp.MustCompile(`\A[A-Z0-9]{64}\z`)
	quayTime   = regexp.MustCompile(`\A(Mon|Tue|Wed|Thu|Fri|Sat|Sun), \d{2} [A-Z][a-z]{2} \d{4} \d{2}:\d{2}:\d{2} -0000\z`)
)
