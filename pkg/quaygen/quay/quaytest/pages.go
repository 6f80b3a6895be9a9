package quaytest

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"time"
)

// pageLife is how long a next_page may be used; docs/quay-contract.md 3.4.
const pageLife = 48 * time.Hour

// pageSealer makes the opaque next_page words of lists.
type pageSealer struct{ aead cipher.AEAD }

func newPageSealer() pageSealer {
	key := make([]byte, 32)
	_, _ = rand.Read(key) // never fails
	return pageSealer{must(cipher.NewGCM(must(aes.NewCipher(key))))}
}

type pagePosition struct {
	Start int64
	Until time.Time
}

func (p pageSealer) seal(start int64, now time.Time) string {
	plain := must(json.Marshal(pagePosition{start, now.Add(pageLife)}))
	nonce := make([]byte, p.aead.NonceSize())
	_, _ = rand.Read(nonce)
	return base64.RawURLEncoding.EncodeToString(p.aead.Seal(nonce, nonce, plain, nil))
}

// open returns where the page starts. A word that cannot be read means the first page: zero.
func (p pageSealer) open(word string, now time.Time) int64 {
	data, err := base64.RawURLEncoding.DecodeString(word)
	if err != nil || len(data) < p.aead.NonceSize() {
		return 0
	}
	plain, err := p.aead.Open(nil, data[:p.aead.NonceSize()], data[p.aead.NonceSize():], nil)
	var at pagePosition
	if err != nil || json.Unmarshal(plain, &at) != nil || now.After(at.Until) {
		return 0
	}
	return at.Start
}
