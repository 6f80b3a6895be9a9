package quaytest

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync"

	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
)

// imageStore is a registry without any access control, whose repositories are named by their ids.
type imageStore struct {
	handler http.Handler
	blobs   *blobStore
}

func newImageStore() imageStore {
	blobs := &blobStore{content: map[string][]byte{}}
	return imageStore{
		handler: registry.New(registry.WithBlobHandler(blobs), registry.Logger(slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug))),
		blobs:   blobs,
	}
}

// serve passes a request that was admitted on to the store, and makes the answer look like Quay's.
func (i imageStore) serve(r *http.Request, repo *repository, rest string) *answer {
	inner := r.Clone(r.Context())
	inner.URL = &url.URL{Path: "/v2/" + repo.storageName() + "/" + rest, RawQuery: r.URL.RawQuery}
	w := &capture{header: http.Header{}}
	i.handler.ServeHTTP(w, inner)
	a := &answer{status: max(w.status, http.StatusOK), header: w.header, body: w.body.Bytes()}
	if r.Method != http.MethodHead {
		a.header.Del("Content-Length") // counted anew, as the body may change
	}
	if to := a.header.Get("Location"); to != "" {
		a.header.Set("Location", strings.Replace(to, "/v2/"+repo.storageName()+"/", "/v2/"+repo.full()+"/", 1))
	}
	switch {
	case a.status == http.StatusNotFound && strings.HasPrefix(rest, "manifests/"):
		return registryError(http.StatusNotFound, "MANIFEST_UNKNOWN", "manifest unknown")
	case a.status == http.StatusOK && rest == "tags/list":
		a.body = rename(a.body, repo.full())
	}
	return a
}

func (i imageStore) push(repo *repository, tag string) string {
	image := must(random.Image(512, 1))
	config := must(image.ConfigFile()).DeepCopy()
	config.OS, config.Architecture, config.Created = "linux", "amd64", v1.Time{Time: imageTime}
	image = must(mutate.ConfigFile(image, config))
	for _, layer := range must(image.Layers()) {
		i.blobs.put(repo.storageName(), must(layer.Digest()), must(io.ReadAll(must(layer.Compressed()))))
	}
	i.blobs.put(repo.storageName(), must(image.ConfigName()), must(image.RawConfigFile()))
	manifest := must(image.RawManifest())
	r := &http.Request{
		Method: http.MethodPut,
		URL:    &url.URL{Path: "/v2/" + repo.storageName() + "/manifests/" + tag},
		Header: http.Header{"Content-Type": {string(must(image.MediaType()))}},
		Body:   io.NopCloser(bytes.NewReader(manifest)),
	}
	w := &capture{header: http.Header{}}
	i.handler.ServeHTTP(w, r)
	if w.status != http.StatusCreated {
		panic("quaytest: pushing an image: " + w.body.String())
	}
	return must(image.Digest()).String()
}

// capture is a ResponseWriter that keeps all in memory.
type capture struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (c *capture) Header() http.Header { return c.header }

func (c *capture) WriteHeader(status int) {
	if c.status == 0 {
		c.status = status
	}
}

func (c *capture) Write(p []byte) (int, error) {
	c.WriteHeader(http.StatusOK)
	return c.body.Write(p)
}

// blobStore keeps blobs per repository, so that a digest alone opens nothing in another one.
type blobStore struct {
	mu      sync.Mutex
	content map[string][]byte
}

// blobKey cuts what the registry appends to the repository's name for uploads.
func blobKey(repo string, h v1.Hash) string {
	repo, _, _ = strings.Cut(repo, "/")
	return repo + "@" + h.String()
}

func (b *blobStore) put(repo string, h v1.Hash, data []byte) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.content[blobKey(repo, h)] = data
}

func (b *blobStore) find(repo string, h v1.Hash) ([]byte, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	data, found := b.content[blobKey(repo, h)]
	if !found {
		return nil, registry.ErrNotFound
	}
	return data, nil
}

// Get, Stat and Put are what the registry asks of a blob store.
func (b *blobStore) Get(_ context.Context, repo string, h v1.Hash) (io.ReadCloser, error) {
	data, err := b.find(repo, h)
	if err != nil {
		return nil, err
	}
	return io.NopCloser(bytes.NewReader(data)), nil
}

func (b *blobStore) Stat(_ context.Context, repo string, h v1.Hash) (int64, error) {
	data, err := b.find(repo, h)
	return int64(len(data)), err
}

func (b *blobStore) Put(_ context.Context, repo string, h v1.Hash, r io.ReadCloser) error {
	defer func() { _ = r.Close() }()
	data, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	b.put(repo, h, data)
	return nil
}
