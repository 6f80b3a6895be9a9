package secrettest_test

import (
	"encoding/base64"
	"fmt"
	"net/url"
	"strings"
	"testing"

	"github.com/quaygen/quaygen/pkg/quaygen/secret/secrettest"
)

func TestASecretIsRevealedInWhateverFormItIsWritten(t *testing.T) {
	const secret = "ABCDEF+0123/456789=ghij"
	std, inURL := base64.StdEncoding, base64.URLEncoding
	texts := map[string]string{
		"as it is": secret, "in a sentence": "the token is " + secret + ".", "in a URL": "https://x.test/?token=" + url.QueryEscape(secret), "in a path": url.PathEscape(secret),
		"in hexadecimal digits": fmt.Sprintf("%x", secret), "in capital ones": fmt.Sprintf("%X", secret), "of %q": fmt.Sprintf("%q", secret),
		"in base64": std.EncodeToString([]byte(secret)), "in base64 for URLs": inURL.EncodeToString([]byte(secret)),
	}
	for n := range 7 {
		user := strings.Repeat("u", n)
		for m := range 4 {
			text := user + ":" + secret + strings.Repeat("?", m)
			texts["in base64 with "+text] = std.EncodeToString([]byte(text))
			texts["in base64 for URLs with "+text] = inURL.WithPadding(base64.NoPadding).EncodeToString([]byte(text))
		}
	}
	for what, text := range texts {
		if !secrettest.Reveals(text, secret) {
			t.Errorf("%s: not found in %s", what, text)
		}
	}
	for what, text := range map[string]string{
		"nothing": "", "another": strings.ToLower(secret), "another in base64": std.EncodeToString([]byte("u:ABCDEF+0123/456788=ghij")), "half of it": secret[:12],
	} {
		if secrettest.Reveals(text, secret) {
			t.Errorf("%s: found in %q", what, text)
		}
	}
	long := strings.Repeat("Q7", 32)
	for what, text := range map[string]string{
		"the whole": long, "its begin": long[:40] + "...", "its end": "..." + long[24:], "its begin, in base64": std.EncodeToString([]byte("user:" + long))[:60],
	} {
		if !secrettest.Reveals(text, long) {
			t.Errorf("%s: not found in %s", what, text)
		}
	}
	if secrettest.Reveals(long[:30], long) {
		t.Error("less than half of it was found")
	}
	if secrettest.Reveals("anything", "") {
		t.Error("no secret is in everything")
	}
}
