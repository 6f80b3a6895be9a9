package dockerconfig

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/quaygen/quaygen/pkg/quaygen/secret"
)

// Parse reads the content of ".dockerconfigjson". Keys of one host with the same credential become one entry; the
// result is sorted, and [Encode] of it means the same as data. An empty "auths" gives no entries.
//
// It refuses (ErrInvalid) unknown, repeated or missing fields, a user name or password that contradicts "auth", and
// keys that Encode would not write: with a scheme, a trailing slash, a glob. It refuses more than [MaxSize] bytes
// (ErrTooLarge).
func Parse(data []byte) ([]Entry, error) {
	return parse(data, func(d *decoder) []keyed {
		var accounts []keyed
		seen := false
		d.object("the document", func(key string) {
			if key != "auths" {
				d.fail("%q has no place beside \"auths\"", clip(key))
				return
			}
			seen = true
			accounts = d.accounts()
		})
		if !seen {
			d.fail("\"auths\" is missing")
		}
		return accounts
	})
}

// ParseLegacy reads the content of ".dockercfg" as [Parse] reads the newer form.
func ParseLegacy(data []byte) ([]Entry, error) {
	return parse(data, (*decoder).accounts)
}

type keyed struct {
	key     string
	account account
}

func parse(data []byte, read func(*decoder) []keyed) ([]Entry, error) {
	if len(data) > MaxSize {
		return nil, fmt.Errorf("%w: %d bytes, at most %d", ErrTooLarge, len(data), MaxSize)
	}
	if !utf8.Valid(data) {
		return nil, fmt.Errorf("%w: invalid UTF-8", ErrInvalid)
	}
	d := &decoder{json: json.NewDecoder(bytes.NewReader(data))}
	accounts := read(d)
	d.end()
	if d.err != nil {
		return nil, d.err
	}
	return entriesOf(accounts)
}

func entriesOf(accounts []keyed) ([]Entry, error) {
	type credential struct{ host, username, password, email string }
	scoped := make(map[credential]int) // → index of its entry with paths
	var entries []Entry
	for _, a := range accounts {
		host, path, hasPath := strings.Cut(a.key, "/")
		e := Entry{Host: host, Username: a.account.Username, Password: secret.New(a.account.Password), Email: a.account.Email}
		if hasPath {
			e.Paths = []string{path}
		}
		if err := e.check(); err != nil {
			return nil, err
		}
		c := credential{host, a.account.Username, a.account.Password, a.account.Email}
		if i, ok := scoped[c]; ok && hasPath {
			entries[i].Paths = append(entries[i].Paths, path)
			continue
		}
		if hasPath {
			scoped[c] = len(entries)
		}
		entries = append(entries, e)
	}
	for i := range entries {
		slices.Sort(entries[i].Paths)
	}
	slices.SortFunc(entries, compareEntries)
	return entries, nil
}

// decoder walks JSON token by token: unlike json.Unmarshal it sees repeated keys, and it takes "Auths" for unknown, as
// do the clients that are not written in Go. The first error stays; after it, nothing more is read.
type decoder struct {
	json *json.Decoder
	err  error
}

func (d *decoder) fail(format string, args ...any) {
	if d.err == nil {
		d.err = fmt.Errorf("%w: "+format, append([]any{ErrInvalid}, args...)...)
	}
}

// token returns nil, which is also JSON's null, after an error. The position alone is reported: the text of a syntax
// error quotes the input, which holds passwords.
func (d *decoder) token() json.Token {
	if d.err != nil {
		return nil
	}
	token, err := d.json.Token()
	if err != nil {
		d.fail("malformed JSON at byte %d", d.json.InputOffset())
	}
	return token
}

func (d *decoder) end() {
	if d.err != nil {
		return
	}
	if _, err := d.json.Token(); !errors.Is(err, io.EOF) {
		d.fail("something follows the document at byte %d", d.json.InputOffset())
	}
}

// object calls field for each key, which has to consume the value or fail.
func (d *decoder) object(what string, field func(key string)) {
	if d.token() != json.Delim('{') {
		d.fail("%s must be an object", what)
		return
	}
	seen := make(map[string]bool)
	for d.err == nil && d.json.More() {
		key, ok := d.token().(string)
		if !ok {
			return // unreachable unless token has failed: the decoder itself insists on strings as keys
		}
		if seen[key] {
			d.fail("%q is there twice", clip(key))
			return
		}
		seen[key] = true
		field(key)
	}
	d.token()
}

func (d *decoder) accounts() []keyed {
	var accounts []keyed
	d.object("the set of credentials", func(key string) {
		accounts = append(accounts, keyed{key, d.account(key)})
	})
	return accounts
}

func (d *decoder) account(key string) account {
	var a account
	what := fmt.Sprintf("the credential for %q", clip(key))
	d.object(what, func(field string) {
		value, ok := d.token().(string)
		if !ok {
			d.fail("%s: %q must be a string", what, clip(field))
		}
		switch field {
		case "username":
			a.Username = value
		case "password":
			a.Password = value
		case "email":
			a.Email = value
		case "auth":
			a.Auth = value
		default:
			d.fail("%s: %q is not supported", what, clip(field))
		}
	})
	if a.Auth == "" {
		return a // an entry without user name or password is refused later
	}
	username, password, err := splitAuth(a.Auth)
	switch {
	case err != nil:
		d.fail("%s: \"auth\" %w", what, err)
	case a.Username != "" && a.Username != username, a.Password != "" && a.Password != password:
		d.fail("%s: \"auth\" says something else than user name and password", what)
	}
	a.Username, a.Password = username, password
	return a
}

var errAuth = errors.New("is not base64 of USER:PASSWORD")

// splitAuth accepts padding and its absence, as the kubelet does. Its error quotes nothing.
func splitAuth(auth string) (username, password string, err error) {
	encoding := base64.RawStdEncoding
	if strings.HasSuffix(auth, "=") {
		encoding = base64.StdEncoding
	}
	// The decoder skips line ends, which is a second spelling of the same thing.
	decoded, err := encoding.Strict().DecodeString(auth)
	if err != nil || strings.ContainsAny(auth, "\r\n") {
		return "", "", errAuth
	}
	username, password, ok := strings.Cut(string(decoded), ":")
	if !ok {
		return "", "", errAuth
	}
	return username, password, nil
}
