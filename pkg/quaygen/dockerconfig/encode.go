package dockerconfig

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
)

// account is a credential as it stands under its key. The kubelet, docker, podman and skopeo all read auth and prefer
// it to the other two, which are there for those who read by eye or by jq.
type account struct {
	Username string `json:"username"`
	Password string `json:"password"`
	Email    string `json:"email,omitempty"`
	Auth     string `json:"auth"`
}

// Encode returns the content of ".dockerconfigjson". It refuses an empty list, entries with missing or impossible
// fields (ErrInvalid), two entries for the same host and path (ErrDuplicate; see [Scope]) and more than [MaxSize] bytes
// (ErrTooLarge).
func Encode(entries []Entry) ([]byte, error) {
	accounts, err := accountsOf(entries)
	if err != nil {
		return nil, err
	}
	return marshal(struct {
		Auths map[string]account `json:"auths"`
	}{accounts})
}

// EncodeLegacy returns the content of ".dockercfg", the older form without "auths". It refuses what [Encode] does.
func EncodeLegacy(entries []Entry) ([]byte, error) {
	accounts, err := accountsOf(entries)
	if err != nil {
		return nil, err
	}
	return marshal(accounts)
}

// The keys of [Basic].
const (
	BasicUsername = "username"
	BasicPassword = "password"
	BasicRegistry = "registry"
)

// Basic returns the three values of which a consumer can make what it likes: user name, password and registry host. It
// refuses an entry as [Encode] does. The map holds the password in the clear.
func Basic(e Entry) (map[string]string, error) {
	if err := e.check(); err != nil {
		return nil, err
	}
	return map[string]string{BasicUsername: e.Username, BasicPassword: e.Password.Reveal(), BasicRegistry: e.Host}, nil
}

func accountsOf(entries []Entry) (map[string]account, error) {
	if len(entries) == 0 {
		return nil, fmt.Errorf("%w: there are none", ErrInvalid)
	}
	accounts := make(map[string]account, len(entries))
	for _, e := range entries {
		if err := e.check(); err != nil {
			return nil, err
		}
		a := account{Username: e.Username, Password: e.Password.Reveal(), Email: e.Email}
		a.Auth = base64.StdEncoding.EncodeToString([]byte(a.Username + ":" + a.Password))
		for _, key := range e.keys() {
			if other, taken := accounts[key]; taken {
				return nil, fmt.Errorf("%w: %s, of %s and %s", ErrDuplicate, key, clip(other.Username), clip(a.Username))
			}
			accounts[key] = a
		}
	}
	return accounts, nil
}

// marshal sorts keys, as encoding/json does with maps, and leaves "<", ">" and "&" as they are.
func marshal(v any) ([]byte, error) {
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(v); err != nil {
		return nil, fmt.Errorf("encoding registry credentials: %w", err)
	}
	data := bytes.TrimSuffix(out.Bytes(), []byte("\n"))
	if len(data) > MaxSize {
		return nil, fmt.Errorf("%w: %d bytes, at most %d", ErrTooLarge, len(data), MaxSize)
	}
	return data, nil
}
