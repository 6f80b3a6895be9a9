package quaytest_test

import (
	"strings"
	"testing"
)

// docs/quay-contract.md 0.1, 1.3
func TestAReadWithoutAValidTokenIs401(t *testing.T) {
	q := contract(t)
	for _, c := range []client{q.anonymous(), q.as("nosuchtoken"), q.as(strings.Repeat("A", 40)), q.as(q.token[:39] + "?")} {
		c.get(q.robots()).invalidToken()
		c.get(q.robotPath("whatever")).invalidToken()
		c.get("/api/v1/organization/" + q.org + "/prototypes").invalidToken()
		c.get("/api/v1/repository/" + q.org + "/whatever").invalidToken()
	}
}

// docs/quay-contract.md 0.1, 1.3: the check for forged requests comes first, and only a valid token passes it.
func TestAWriteWithoutAValidTokenIsACSRFFailure(t *testing.T) {
	q := contract(t)
	short := q.newName("never")
	for _, c := range []client{q.anonymous(), q.as("nosuchtoken"), q.as(strings.Repeat("A", 40))} {
		c.put(q.robotPath(short), nil).csrf()
		c.delete(q.robotPath(short)).csrf()
		c.post(q.robotPath(short)+"/regenerate", nil).csrf()
		c.put("/api/v1/organization/nosuch"+q.prefix+"/robots/x", nil).csrf()
		c.put(q.grants("whatever")+q.username(short), map[string]any{"role": "read"}).csrf()
	}
}

// docs/quay-contract.md 1.1
func TestTheAuthorizationHeaderIsBearerAndOneWord(t *testing.T) {
	q := contract(t)
	for header, valid := range map[string]bool{
		"Bearer " + q.token:          true,
		"bearer " + q.token:          true,
		"BEARER " + q.token:          true,
		"token " + q.token:           false,
		"Bearer " + q.token + " x":   false,
		"Bearer  " + q.token:         false,
		q.token:                      false,
		"Basic " + q.token:           false,
		"Bearer " + q.token[:20]:     false,
		"Bearer " + q.token + "more": false,
	} {
		r := q.anonymous().request(t.Context(), "GET", q.robots()+"?limit=0", nil)
		r.Header.Set("Authorization", header)
		reply := q.send(r)
		if valid {
			reply.status(200)
		} else {
			reply.invalidToken()
		}
	}
}

// docs/quay-contract.md 1.1
func TestARobotsTokenIsNothingAtTheAPI(t *testing.T) {
	q := contract(t)
	short, token := q.newRobot("a")
	q.as(token).get(q.robotPath(short)).invalidToken()
	r := q.anonymous().request(t.Context(), "GET", q.robotPath(short), nil)
	r.SetBasicAuth(q.username(short), token)
	q.send(r).invalidToken()
}

// docs/quay-contract.md 1.1
func TestAJWTAsBearerIsTakenForSingleSignOn(t *testing.T) {
	q := contract(t)
	short, token := q.newRobot("a")
	c := q.as(q.mustLogin(short, token))
	for _, reply := range []*reply{c.get(q.robots()), c.put(q.robotPath(short), nil), c.delete(q.robotPath(short))} {
		reply.status(401).contentType("text/html").keys("error")
	}
}

// docs/quay-contract.md 1.1
func TestBrowsersMustSayThatTheyUseXHR(t *testing.T) {
	q := contract(t)
	r := q.request(t.Context(), "GET", q.robots()+"?limit=0", nil)
	r.Header.Set("User-Agent", "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0")
	q.send(r).status(400).keys("error")
	r = r.Clone(t.Context())
	r.Header.Set("X-Requested-With", "XMLHttpRequest")
	q.send(r).status(200)
}

// docs/quay-contract.md 0, 1.3
func TestWrongPathsAndMethods(t *testing.T) {
	q := contract(t)
	short, _ := q.newRobot("a")
	for _, path := range []string{"/api/v1/nosuch", q.robotPath(short) + "/regenerate", strings.TrimSuffix(q.grants("x"), "/")} {
		reply := q.get(path).status(308)
		if to := reply.header.Get("Location"); !strings.HasSuffix(to, path+"/") {
			t.Errorf("%s redirects to %q", path, to)
		}
	}
	q.get("/api/v1/nosuch/").status(404).html()
	q.get(q.robotPath(short) + "/").status(404).html()
	q.post(q.robots(), map[string]any{}).bare(405, "The method is not allowed for the requested URL.")
	q.post(q.robotPath(short), map[string]any{}).bare(405, "The method is not allowed for the requested URL.")
}

// docs/quay-contract.md 1.3
func TestAnEscapedSlashSeparatesAll(t *testing.T) {
	q := contract(t)
	q.get("/api/v1/organization/" + q.org + "%2Frobots?limit=0").status(200).keys("robots")
}

// docs/quay-contract.md 1.3
func TestAnswersCarryTheServersDateAndCORS(t *testing.T) {
	q := contract(t)
	header := q.get(q.robots() + "?limit=0").status(200).header
	for key, want := range map[string]string{"Access-Control-Allow-Origin": "*", "Vary": "Cookie"} {
		if !strings.Contains(strings.Join(header.Values(key), ","), want) {
			t.Errorf("%s: %q", key, header.Values(key))
		}
	}
	if header.Get("Date") == "" {
		t.Error("no Date")
	}
}

// docs/quay-contract.md 0.10, 1.4
func TestAnOrganizationIsShownToAnybody(t *testing.T) {
	q := contract(t)
	path := "/api/v1/organization/" + q.org
	full := q.get(path).status(200).object("")
	for _, key := range []string{"name", "email", "avatar", "is_admin", "is_member", "teams", "ordered_teams", "invoice_email", "invoice_email_address", "tag_expiration_s", "is_free_account"} {
		if _, sent := full[key]; !sent {
			t.Errorf("administrators are not shown %q", key)
		}
	}
	if full["is_admin"] != true || full["is_member"] != true {
		t.Error("not an administrator")
	}
	for _, c := range []client{q.anonymous(), q.as("nosuchtoken")} {
		reduced := c.get(path).status(200).object("")
		if len(reduced) != 5 || reduced["is_admin"] != false || reduced["is_member"] != false || reduced["email"] != "" {
			t.Errorf("strangers are shown %v", sortedKeys(reduced))
		}
	}
	q.get("/api/v1/organization/nosuch"+q.prefix).problem(404, "not_found").detail("Not Found")
}

// docs/quay-contract.md 0.2, 1.4
func TestAnUnknownOrganizationIsForbiddenNotMissing(t *testing.T) {
	q := contract(t)
	unknown := "/api/v1/organization/nosuch" + q.prefix
	q.get(unknown + "/robots").insufficientScope()
	q.get(unknown + "/robots/build").insufficientScope()
	q.put(unknown+"/robots/build", nil).insufficientScope()
	q.delete(unknown + "/robots/build").insufficientScope()
	q.post(unknown+"/robots/build/regenerate", nil).insufficientScope()
	q.get(unknown + "/prototypes").insufficientScope()
	q.get(unknown + "/logs").insufficientScope()
	q.get(unknown + "/team/owners/members").insufficientScope()
	q.get(unknown+"/robots/build/permissions").bare(403, "You don't have the permission to access the requested resource. "+
		"It is either read-protected or not readable by the server.")
}

// docs/quay-contract.md 1.3
func TestOrganizationNamesAreCaseSensitiveInRights(t *testing.T) {
	q := contract(t)
	q.get("/api/v1/organization/" + strings.ToUpper(q.org) + "/robots").insufficientScope()
}

// docs/quay-contract.md 7
func TestProbesOfAToken(t *testing.T) {
	q := contract(t)
	q.get("/api/v1/organization/" + q.org + "/prototypes").status(200).keys("prototypes")
	q.get(q.grants("nosuch" + q.prefix)).status(200).exactly(`{"permissions": {}}`)
	q.get("/api/v1/user/robots?limit=0&token=false").status(200).exactly(`{"robots": []}`)
}

// docs/quay-contract.md 7
func TestConfigIsThereForAnybody(t *testing.T) {
	q := contract(t)
	o := q.anonymous().get("/config").status(200).object("")
	config, _ := o["config"].(map[string]any)
	if config["SERVER_HOSTNAME"] != q.host() {
		t.Errorf("SERVER_HOSTNAME is %v, the suite talks to %s", config["SERVER_HOSTNAME"], q.host())
	}
	if _, is := o["features"].(map[string]any)["USER_LAST_ACCESSED"].(bool); !is {
		t.Error("no feature USER_LAST_ACCESSED")
	}
	if o["registry_state"] != "normal" {
		t.Errorf("registry_state %v", o["registry_state"])
	}
	q.anonymous().get("/health/instance").status(200).keys("data", "status_code")
}
