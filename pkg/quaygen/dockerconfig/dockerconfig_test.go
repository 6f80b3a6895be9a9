package dockerconfig_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/quaygen/quaygen/pkg/quaygen/dockerconfig"
	"github.com/quaygen/quaygen/pkg/quaygen/secret"
)

var update = flag.Bool("update", false, "rewrite the golden files of this package")

func entry(host, username, password string, paths ...string) dockerconfig.Entry {
	return dockerconfig.Entry{Host: host, Username: username, Password: secret.New(password), Paths: paths}
}

// diff compares entries with their passwords.
func diff(want, got []dockerconfig.Entry) string {
	return cmp.Diff(want, got, cmp.Comparer(func(a, b secret.String) bool { return a.Equal(b) }))
}

var golden = []struct {
	name    string
	entries []dockerconfig.Entry
}{
	{"one", []dockerconfig.Entry{entry("quay.io", "myorg+puller_g469980", "S3CRET")}},
	{"port", []dockerconfig.Entry{entry("quay.example.com:8443", "myorg+puller", "S3CRET")}},
	{"email", []dockerconfig.Entry{{Host: "quay.io", Username: "myorg+puller", Password: secret.New("S3CRET"), Email: "robots@myorg.example.com"}}},
	{"organizations", []dockerconfig.Entry{
		entry("quay.io", "org2+puller", "SECOND", "org2"),
		entry("quay.io", "org+puller", "FIRST", "org"),
		entry("registry.example.com:5000", "org+puller", "THIRD"),
	}},
	{"repositories", []dockerconfig.Entry{
		entry("quay.io", "org+backend", "BACKEND", "org/api", "org/batch/worker"),
		entry("quay.io", "org+frontend", "FRONTEND", "org/web"),
	}},
	{"escapes", []dockerconfig.Entry{entry("quay.io", "a&b", `<p>"\&é/+`)}},
	{"addresses", []dockerconfig.Entry{entry("192.0.2.1", "u", "p"), entry("[2001:db8::1]:443", "u", "p"), entry("localhost:5000", "u", "p")}},
}

func TestGoldenFiles(t *testing.T) {
	for _, form := range []struct {
		suffix string
		encode func([]dockerconfig.Entry) ([]byte, error)
		parse  func([]byte) ([]dockerconfig.Entry, error)
	}{
		{".dockerconfigjson", dockerconfig.Encode, dockerconfig.Parse},
		{".dockercfg", dockerconfig.EncodeLegacy, dockerconfig.ParseLegacy},
	} {
		for _, c := range golden {
			file := filepath.Join("testdata", c.name+form.suffix)
			got, err := form.encode(c.entries)
			if err != nil {
				t.Errorf("%s: %v", file, err)
				continue
			}
			if *update {
				if err := os.WriteFile(file, got, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got, want) {
				t.Errorf("%s: wrote\n%s\nwant\n%s", file, got, want)
			}

			reversed := slices.Clone(c.entries)
			slices.Reverse(reversed)
			if again, err := form.encode(reversed); err != nil || !bytes.Equal(again, got) {
				t.Errorf("%s: the order of entries shows: %v\n%s", file, err, again)
			}

			parsed, err := form.parse(want)
			if err != nil {
				t.Errorf("%s: %v", file, err)
			}
			sorted := slices.Clone(c.entries)
			slices.SortFunc(sorted, func(a, b dockerconfig.Entry) int {
				return strings.Compare(a.Host+strings.Join(a.Paths, " "), b.Host+strings.Join(b.Paths, " "))
			})
			if d := diff(sorted, parsed); d != "" {
				t.Errorf("%s: parsed (-want +got)\n%s", file, d)
			}
		}
	}
}

// What encoding/json makes of it is what clients written in Go see, and "auth" is what they use.
func TestAuthHoldsTheCredential(t *testing.T) {
	data, err := dockerconfig.Encode([]dockerconfig.Entry{entry("quay.io", "myorg+puller", "S3:CRET<&>")})
	if err != nil {
		t.Fatal(err)
	}
	var document struct {
		Auths map[string]map[string]string
	}
	if err := json.Unmarshal(data, &document); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"username": "myorg+puller", "password": "S3:CRET<&>",
		"auth": base64.StdEncoding.EncodeToString([]byte("myorg+puller:S3:CRET<&>")),
	}
	if d := cmp.Diff(want, document.Auths["quay.io"]); d != "" {
		t.Error(d)
	}
	if !bytes.Contains(data, []byte("S3:CRET<&>")) {
		t.Error("HTML characters were escaped")
	}
}

func TestBasic(t *testing.T) {
	got, err := dockerconfig.Basic(entry("quay.io:443", "myorg+puller", "S3CRET"))
	want := map[string]string{"username": "myorg+puller", "password": "S3CRET", "registry": "quay.io:443"}
	if d := cmp.Diff(want, got); d != "" || err != nil {
		t.Error(err, d)
	}
	if _, err := dockerconfig.Basic(entry("quay.io", "", "S3CRET")); !errors.Is(err, dockerconfig.ErrInvalid) {
		t.Error(err)
	}
}

func TestEncodeRefuses(t *testing.T) {
	const token = "S3CRETS3CRET"
	host := func(h string) []dockerconfig.Entry { return []dockerconfig.Entry{entry(h, "u", token)} }
	path := func(p string) []dockerconfig.Entry { return []dockerconfig.Entry{entry("h", "u", token, p)} }
	var many []string
	for i := range 20_000 {
		many = append(many, fmt.Sprintf("org/repository-%d", i))
	}
	for what, c := range map[string]struct {
		entries []dockerconfig.Entry
		want    error
	}{
		"nothing":                    {nil, dockerconfig.ErrInvalid},
		"no host":                    {host(""), dockerconfig.ErrInvalid},
		"scheme":                     {host("https://quay.io"), dockerconfig.ErrInvalid},
		"path in the host":           {host("quay.io/org"), dockerconfig.ErrInvalid},
		"trailing slash":             {host("quay.io/"), dockerconfig.ErrInvalid},
		"glob":                       {host("*.quay.io"), dockerconfig.ErrInvalid},
		"blank":                      {host("quay.io "), dockerconfig.ErrInvalid},
		"line end":                   {host("quay.io\n"), dockerconfig.ErrInvalid},
		"empty label":                {host("quay..io"), dockerconfig.ErrInvalid},
		"no port":                    {host("quay.io:"), dockerconfig.ErrInvalid},
		"port 0":                     {host("quay.io:0"), dockerconfig.ErrInvalid},
		"port with a leading zero":   {host("quay.io:0443"), dockerconfig.ErrInvalid},
		"port too large":             {host("quay.io:65536"), dockerconfig.ErrInvalid},
		"named port":                 {host("quay.io:https"), dockerconfig.ErrInvalid},
		"IPv6 without brackets":      {host("2001:db8::1"), dockerconfig.ErrInvalid},
		"IPv6 without a port":        {host("[2001:db8::1]"), dockerconfig.ErrInvalid},
		"IPv6 with a zone":           {host("[fe80::1%eth0]:443"), dockerconfig.ErrInvalid},
		"brackets around a name":     {host("[quay.io]:443"), dockerconfig.ErrInvalid},
		"user and host":              {host("u@quay.io"), dockerconfig.ErrInvalid},
		"no user":                    {[]dockerconfig.Entry{entry("h", "", token)}, dockerconfig.ErrInvalid},
		"colon in the user":          {[]dockerconfig.Entry{entry("h", "a:b", token)}, dockerconfig.ErrInvalid},
		"control in the user":        {[]dockerconfig.Entry{entry("h", "a\x00", token)}, dockerconfig.ErrInvalid},
		"no password":                {[]dockerconfig.Entry{entry("h", "u", "")}, dockerconfig.ErrInvalid},
		"zero password":              {[]dockerconfig.Entry{{Host: "h", Username: "u"}}, dockerconfig.ErrInvalid},
		"line end in the password":   {[]dockerconfig.Entry{entry("h", "u", token+"\n")}, dockerconfig.ErrInvalid},
		"invalid UTF-8":              {[]dockerconfig.Entry{entry("h", "u", token+"\xff")}, dockerconfig.ErrInvalid},
		"replacement character":      {[]dockerconfig.Entry{entry("h", "u", token+"\uFFFD")}, dockerconfig.ErrInvalid},
		"control in the e-mail":      {[]dockerconfig.Entry{{Host: "h", Username: "u", Password: secret.New(token), Email: "\r"}}, dockerconfig.ErrInvalid},
		"empty path":                 {path(""), dockerconfig.ErrInvalid},
		"path with a slash at end":   {path("org/"), dockerconfig.ErrInvalid},
		"path with a slash at start": {path("/org"), dockerconfig.ErrInvalid},
		"path with two slashes":      {path("org//app"), dockerconfig.ErrInvalid},
		"path with a star":           {path("org/*"), dockerconfig.ErrInvalid},
		"path with dots":             {path("org/../other"), dockerconfig.ErrInvalid},
		"path in capitals":           {path("Org"), dockerconfig.ErrInvalid},
		"path with a tag":            {path("org/app:latest"), dockerconfig.ErrInvalid},
		"path with a percent sign":   {path("org%2fapp"), dockerconfig.ErrInvalid},
		"overlong path":              {path(strings.Repeat("a", 600)), dockerconfig.ErrInvalid},
		"what the kubelet cuts":      {path("v2/app"), dockerconfig.ErrInvalid},
		"same host twice":            {[]dockerconfig.Entry{entry("h", "u", token), entry("h", "v", token)}, dockerconfig.ErrDuplicate},
		"same path twice":            {[]dockerconfig.Entry{entry("h", "u", token, "a", "b"), entry("h", "v", token, "b")}, dockerconfig.ErrDuplicate},
		"same path in one entry":     {[]dockerconfig.Entry{entry("h", "u", token, "a", "a")}, dockerconfig.ErrDuplicate},
		"too large for a Secret":     {[]dockerconfig.Entry{entry("h", "u", token, many...)}, dockerconfig.ErrTooLarge},
	} {
		for _, encode := range []func([]dockerconfig.Entry) ([]byte, error){dockerconfig.Encode, dockerconfig.EncodeLegacy} {
			data, err := encode(c.entries)
			if !errors.Is(err, c.want) || data != nil {
				t.Errorf("%s: %v, %d bytes", what, err, len(data))
			} else if strings.Contains(err.Error(), token) || len(err.Error()) > 500 {
				t.Errorf("%s: %v", what, err)
			}
		}
	}
}

func TestAnOrganizationCalledLikeAnApiVersionCanBeNamedAsAWhole(t *testing.T) {
	if _, err := dockerconfig.Encode([]dockerconfig.Entry{entry("h", "v2+puller", "p", "v2"), entry("h", "u", "p", "v1beta/app")}); err != nil {
		t.Error(err)
	}
}
