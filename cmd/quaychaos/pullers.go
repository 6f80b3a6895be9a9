package main

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/quaygen/quaygen/cmd/internal/await"
)

const (
	image      = organization + "/my-app"
	tag        = "v1.2.3"
	foreignNth = 50 // one pull in so many goes through a registry client that is not ours
)

// node pulls with what one consumer holds, as a kubelet does: it reads the Secret, and whatever the Secret says is what it uses.
type node struct {
	host   string
	client *http.Client
}

func newNode(q *embeddedQuay) (*node, error) {
	t, err := trusting(q.CAFile)
	if err != nil {
		return nil, err
	}
	return &node{host: q.host(), client: &http.Client{Transport: t, Timeout: 30 * time.Second}}, nil
}

// pulling pulls until ctx ends, about every interval.
func (w *world) pulling(ctx context.Context, c *consumer, n *node, interval time.Duration, draw *rand.Rand) {
	defer n.client.CloseIdleConnections()
	for {
		if await.Time(ctx, time.Duration((0.5+draw.Float64())*float64(interval))) != nil {
			return
		}
		held := c.current.Load()
		if held == nil {
			continue
		}
		pull, foreign := n.pull, draw.IntN(foreignNth) == 0
		if foreign {
			pull = n.pullByLibrary
		}
		at := time.Now()
		err := pull(ctx, held.data)
		if ctx.Err() != nil {
			return
		}
		w.journal.pulled(c.name, held, at, foreign, err)
	}
}

// entry finds the registry's credential in a Secret's content.
func (n *node) entry(data string) (authn.AuthConfig, error) {
	var file struct {
		Auths map[string]authn.AuthConfig `json:"auths"`
	}
	if err := json.Unmarshal([]byte(data), &file); err != nil {
		return authn.AuthConfig{}, errors.New("the pull secret is not a docker configuration")
	}
	entry, ok := file.Auths[n.host]
	if !ok {
		return authn.AuthConfig{}, fmt.Errorf("the pull secret has no entry for %s", n.host)
	}
	return entry, nil
}

// pull exchanges the credential for a registry token, and reads manifest and layer with it.
func (n *node) pull(ctx context.Context, data string) error {
	entry, err := n.entry(data)
	if err != nil {
		return err
	}
	query := url.Values{"service": {n.host}, "scope": {"repository:" + image + ":pull"}}
	var exchanged struct{ Token string }
	basic := "Basic " + base64.StdEncoding.EncodeToString([]byte(entry.Username+":"+entry.Password))
	if err := n.get(ctx, "/v2/auth?"+query.Encode(), basic, &exchanged); err != nil {
		return err
	}
	var manifest struct {
		Layers []struct{ Digest string }
	}
	if err := n.get(ctx, "/v2/"+image+"/manifests/"+tag, "Bearer "+exchanged.Token, &manifest); err != nil {
		return err
	}
	for _, layer := range manifest.Layers {
		if err := n.get(ctx, "/v2/"+image+"/blobs/"+layer.Digest, "Bearer "+exchanged.Token, nil); err != nil {
			return err
		}
	}
	if len(manifest.Layers) == 0 {
		return errors.New("a manifest without layers")
	}
	return nil
}

func (n *node) get(ctx context.Context, path, authorization string, into any) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+n.host+path, nil)
	if err != nil {
		return err
	}
	request.Header.Set("Authorization", authorization)
	request.Header.Set("Accept", "application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json, */*")
	body, err := read(n.client, request)
	if err != nil || into == nil {
		return err
	}
	return json.Unmarshal(body, into)
}

// pullByLibrary does the same through go-containerregistry.
func (n *node) pullByLibrary(ctx context.Context, data string) error {
	entry, err := n.entry(data)
	if err != nil {
		return err
	}
	ref, err := name.ParseReference(n.host + "/" + image + ":" + tag)
	if err != nil {
		return err
	}
	pulled, err := remote.Image(ref, remote.WithContext(ctx), remote.WithAuth(authn.FromConfig(entry)), remote.WithTransport(n.client.Transport))
	if err != nil {
		return byStatus(err)
	}
	layers, err := pulled.Layers()
	if err != nil {
		return byStatus(err)
	}
	for _, layer := range layers {
		content, err := layer.Compressed()
		if err != nil {
			return byStatus(err)
		}
		_, err = io.Copy(io.Discard, content)
		if err := errors.Join(err, content.Close()); err != nil {
			return err
		}
	}
	return nil
}

func byStatus(err error) error {
	var e *transport.Error
	if errors.As(err, &e) {
		return &statusError{path: "go-containerregistry: " + e.Request.URL.Path, status: e.StatusCode}
	}
	return err
}
