package quaytest_test

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// login asks the registry's token service as a robot. The realm's host is the one under test, or nothing would work.
func (q quayUnderTest) login(short, password string, scopes ...string) *reply {
	q.t.Helper()
	return q.loginAs(q.username(short), password, scopes...)
}

func (q quayUnderTest) loginAs(username, password string, scopes ...string) *reply {
	q.t.Helper()
	query := url.Values{"service": {q.host()}, "scope": scopes}
	r := q.anonymous().request(q.t.Context(), "GET", "/v2/auth?"+query.Encode(), nil)
	if username != "" {
		r.SetBasicAuth(username, password)
	}
	return q.send(r)
}

// mustLogin returns the registry token.
func (q quayUnderTest) mustLogin(short, password string, scopes ...string) string {
	q.t.Helper()
	return q.login(short, password, scopes...).status(200).text("token")
}

// registryRefusal checks the registry's error envelope.
func (r *reply) registryRefusal(status int, code string) *reply {
	r.t.Helper()
	r.status(status).contentType("application/json")
	items := r.items("errors")
	if len(items) != 1 || items[0]["code"] != code {
		r.t.Errorf("%s: errors %v, want code %s", r.what, items, code)
	}
	return r
}

func (r *reply) saying(message string) *reply {
	r.t.Helper()
	if items := r.items("errors"); items[0]["message"] != message {
		r.t.Errorf("%s: message %q, want %q", r.what, items[0]["message"], message)
	}
	return r
}

func (q quayUnderTest) challenge(extra string) string {
	return `Bearer realm="` + q.base + `/v2/auth",service="` + q.host() + `"` + extra
}

func (r *reply) challenges(want string) *reply {
	r.t.Helper()
	if got := r.header.Get("WWW-Authenticate"); got != want {
		r.t.Errorf("%s: challenge %q, want %q", r.what, got, want)
	}
	return r
}

type claims struct {
	Issuer    string `json:"iss"`
	Audience  string `json:"aud"`
	Subject   string `json:"sub"`
	IssuedAt  int64  `json:"iat"`
	NotBefore int64  `json:"nbf"`
	ExpiresAt int64  `json:"exp"`
	Access    []struct {
		Type    string   `json:"type"`
		Name    string   `json:"name"`
		Actions []string `json:"actions"`
	} `json:"access"`
	Context map[string]any `json:"context"`
}

func decodeToken(t *testing.T, token string) claims {
	t.Helper()
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		t.Fatal("not a JWT")
	}
	var header struct{ Alg, Kid string }
	var c claims
	for i, into := range []any{&header, &c} {
		data, err := base64.RawURLEncoding.DecodeString(parts[i])
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(data, into); err != nil {
			t.Fatal(err)
		}
	}
	if header.Alg != "RS256" || header.Kid == "" {
		t.Errorf("header %+v", header)
	}
	return c
}

// docs/quay-contract.md 6.1
func TestTheChallenge(t *testing.T) {
	q := contract(t)
	short, token := q.newRobot("a")
	anonymous := q.anonymous()
	anonymous.get("/v2/").status(401).contentType("text/html").exactly("true").challenges(q.challenge(""))
	valid := q.as(q.mustLogin(short, token)).get("/v2/").status(200).exactly("true").challenges(q.challenge(""))
	if got := valid.header.Get("Docker-Distribution-API-Version"); got != "registry/2.0" {
		t.Errorf("version %q", got)
	}
	r := anonymous.request(t.Context(), "GET", "/v2/", nil)
	r.SetBasicAuth(q.username(short), token)
	q.send(r).status(401).exactly(`{"error": "Invalid bearer token format"}`)
	q.as("not.a.jwt").get("/v2/").status(401).keys("error")
	full := q.org + "/nosuch" + q.prefix
	anonymous.get("/v2/"+full+"/manifests/latest").registryRefusal(401, "UNAUTHORIZED").
		challenges(q.challenge(`,scope="repository:` + full + `:pull"`))
}

// docs/quay-contract.md 6.2
func TestTheTokenOfALogin(t *testing.T) {
	q := contract(t)
	short, token := q.newRobot("a")
	reply := q.login(short, token).status(200).contentType("application/json").keys("token")
	if got := reply.header.Get("Cache-Control"); got != "no-cache, no-store, must-revalidate" {
		t.Errorf("Cache-Control %q", got)
	}
	c := decodeToken(t, reply.text("token"))
	if c.Issuer != "quay" || c.Audience != q.host() || c.Subject != q.username(short) || len(c.Access) != 0 ||
		c.ExpiresAt != c.IssuedAt+3600 || c.NotBefore != c.IssuedAt {
		t.Errorf("claims %+v", c)
	}
	for key, want := range map[string]any{"version": 2.0, "entity_kind": "robot", "entity_reference": q.username(short), "kind": "user", "user": q.username(short)} {
		if c.Context[key] != want {
			t.Errorf("context.%s is %v", key, c.Context[key])
		}
	}
}

// docs/quay-contract.md 6.2
func TestRefusedLogins(t *testing.T) {
	q := contract(t)
	short, _ := q.newRobot("a")
	other, otherToken := q.newRobot("b")
	robot := q.username(short)
	for _, row := range []struct{ username, password, message string }{
		{robot, "WRONG", "Could not find robot with username: " + robot + " and supplied password."},
		{q.org + "+nosuch" + q.prefix, "WRONG", "Could not find robot with specified username"},
		{"nosuch" + q.prefix + "+x1", "WRONG", "Could not find robot with specified username"},
		{robot, q.mustLogin(other, otherToken), "Token does not match robot"},
		{q.tokenUser(), "WRONG", "Invalid Username or Password"},
	} {
		q.loginAs(row.username, row.password).registryRefusal(401, "UNAUTHORIZED").saying(row.message).challenges(q.challenge(""))
	}
	q.loginAs("", "").registryRefusal(401, "UNAUTHORIZED").saying("access to the requested resource is not authorized")
	q.loginAs("", "", "repository:"+q.org+"/x:pull").status(200).keys("token")
}

// docs/quay-contract.md 6.2
func TestScopesAreReducedToWhatIsGranted(t *testing.T) {
	q := contract(t)
	short, token := q.newRobot("a")
	readable, writable, closed := q.newRepository("r"), q.newRepository("w"), q.newRepository("c")
	q.grant(readable, short, "read")
	q.grant(writable, short, "write")
	full := func(repo string) string { return q.org + "/" + repo }
	var scopes []string
	for _, repo := range []string{readable, writable, closed, "nosuch" + q.prefix} {
		scopes = append(scopes, "repository:"+full(repo)+":pull,push")
	}
	scopes = append(scopes, "repository:nosuch"+q.prefix+"/x:pull", "repository:"+full(readable)+":pull,push,*")
	got := [][]string{}
	for _, a := range decodeToken(t, q.mustLogin(short, token, scopes...)).Access {
		got = append(got, a.Actions)
	}
	if want := [][]string{{"pull"}, {"push", "pull"}, {}, {}, {}, {"pull"}}; !cmp.Equal(got, want) {
		t.Errorf("actions %v, want %v", got, want)
	}
	q.login(short, token, "registry:catalog:*").registryRefusal(400, "INVALID_REQUEST")
	q.login(short, token, "repository:"+full(readable)+":delete").registryRefusal(400, "INVALID_REQUEST")
	q.login(short, token, "repository:"+q.org+"/Upper:pull").registryRefusal(400, "NAME_INVALID")
	q.anonymous().post("/v2/auth", nil).status(405)
}

// docs/quay-contract.md 2.10
func TestLastAccessedIsWrittenByAuthenticationAndNotAtOnceAgain(t *testing.T) {
	q := contract(t)
	short, token := q.newRobot("a")
	last := func() any { return q.get(q.robotPath(short)).status(200).object("")["last_accessed"] }
	q.login(short, "WRONG").status(401)
	if got := last(); got != nil {
		t.Fatalf("last_accessed %v after a refused login", got)
	}
	// A login that is granted nothing counts.
	q.mustLogin(short, token, "repository:"+q.org+"/nosuch"+q.prefix+":pull")
	first, _ := last().(string)
	if !quayTime.MatchString(first) {
		t.Fatalf("last_accessed %q", first)
	}
	q.mustLogin(short, token)
	if got := last(); got != first {
		t.Errorf("last_accessed %v, %v before", got, first)
	}
}

func (q quayUnderTest) image(repo, tag string) name.Reference {
	q.t.Helper()
	var options []name.Option
	if strings.HasPrefix(q.base, "http://") {
		options = append(options, name.Insecure)
	}
	ref, err := name.ParseReference(q.host()+"/"+q.org+"/"+repo+":"+tag, options...)
	if err != nil {
		q.t.Fatal(err)
	}
	return ref
}

func (q quayUnderTest) pull(ref name.Reference, short, token string) error {
	_, err := remote.Get(ref, remote.WithContext(q.t.Context()), remote.WithTransport(q.http.Transport),
		remote.WithAuth(&authn.Basic{Username: q.username(short), Password: token}))
	return err
}

// statusOf returns the status a registry client's error carries.
func statusOf(err error) int {
	var e *transport.Error
	if !errors.As(err, &e) {
		return 0
	}
	return e.StatusCode
}

// docs/quay-contract.md 6.3
func TestARegistryClientPullsAndIsRefused(t *testing.T) {
	q := contract(t)
	writer, writerToken := q.newRobot("writer")
	reader, readerToken := q.newRobot("reader")
	stranger, strangerToken := q.newRobot("stranger")
	repo := q.newRepository("app")
	q.grant(repo, writer, "write")
	q.grant(repo, reader, "read")
	ref := q.image(repo, "v1")
	image, err := random.Image(256, 2)
	if err != nil {
		t.Fatal(err)
	}
	push := func(short, token string) error {
		return remote.Write(ref, image, remote.WithContext(t.Context()), remote.WithTransport(q.http.Transport),
			remote.WithAuth(&authn.Basic{Username: q.username(short), Password: token}))
	}
	if err := push(reader, readerToken); statusOf(err) != 401 {
		t.Errorf("a reader pushes: %v", err)
	}
	if err := push(writer, writerToken); err != nil {
		t.Fatal(err)
	}
	if err := q.pull(ref, reader, readerToken); err != nil {
		t.Errorf("a reader: %v", err)
	}
	if err := q.pull(ref, stranger, strangerToken); statusOf(err) != 401 {
		t.Errorf("a stranger: %v", err)
	}
	if err := q.pull(ref, reader, "WRONG"); statusOf(err) != 401 {
		t.Errorf("a wrong password: %v", err)
	}
	if err := q.pull(q.image(repo, "v2"), reader, readerToken); statusOf(err) != 404 {
		t.Errorf("a missing tag: %v", err)
	}
	if err := q.pull(q.image("nosuch"+q.prefix, "v1"), reader, readerToken); statusOf(err) != 401 {
		t.Errorf("a missing repository: %v", err)
	}
	pulled, err := remote.Image(ref, remote.WithContext(t.Context()), remote.WithTransport(q.http.Transport),
		remote.WithAuth(&authn.Basic{Username: q.username(reader), Password: readerToken}))
	if err != nil {
		t.Fatal(err)
	}
	wantDigest, _ := image.Digest()
	if digest, err := pulled.Digest(); err != nil || digest != wantDigest {
		t.Errorf("pulled %v, %v", digest, err)
	}
	layers, err := pulled.Layers()
	if err != nil || len(layers) != 2 {
		t.Fatalf("%d layers, %v", len(layers), err)
	}
	if content, err := layers[0].Uncompressed(); err != nil {
		t.Error(err)
	} else {
		_ = content.Close()
	}
}

// docs/quay-contract.md 0.8, 6.5
func TestRegistryTokensOutliveWhatTheyCameFrom(t *testing.T) {
	q := contract(t)
	writer, writerToken := q.newRobot("writer")
	repo := q.newRepository("app")
	q.grant(repo, writer, "write")
	image, err := random.Image(256, 1)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(q.image(repo, "v1"), image, remote.WithContext(t.Context()), remote.WithTransport(q.http.Transport),
		remote.WithAuth(&authn.Basic{Username: q.username(writer), Password: writerToken})); err != nil {
		t.Fatal(err)
	}

	short, token := q.newRobot("reader")
	q.grant(repo, short, "read")
	scope := "repository:" + q.org + "/" + repo + ":pull"
	jwt := q.mustLogin(short, token, scope)
	manifest := "/v2/" + q.org + "/" + repo + "/manifests/v1"
	actions := func(password string) []string {
		t.Helper()
		return decodeToken(t, q.mustLogin(short, password, scope)).Access[0].Actions
	}

	q.post(q.robotPath(short)+"/regenerate", nil).status(200)
	q.login(short, token).status(401)
	q.as(jwt).get(manifest).status(200)
	if got := actions(jwt); !cmp.Equal(got, []string{"pull"}) {
		t.Errorf("the chain gives %v", got)
	}
	next := q.mustLogin(short, jwt, scope)
	q.as(next).get(manifest).status(200)

	q.delete(q.grants(repo) + q.username(short)).status(204)
	q.as(next).get(manifest).status(200)
	if got := actions(next); len(got) != 0 {
		t.Errorf("without a grant the chain gives %v", got)
	}

	q.delete(q.robotPath(short)).status(204)
	q.as(next).get(manifest).bare(400, "Could not find robot with specified username")
	q.login(short, next).status(401)

	q.put(q.robotPath(short), nil).status(201)
	q.as(next).get(manifest).status(200)
	q.mustLogin(short, next)
}
