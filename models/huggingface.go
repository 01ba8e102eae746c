package models

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// patience says how long and how often a download is tried. There is no limit on the whole: files are large.
type patience struct {
	connect time.Duration // to connect, and again for the TLS handshake
	header  time.Duration // from the request to the header of the answer
	stall   time.Duration // without a byte of the body
	tries   int           // requests for a file
	pause   time.Duration // before the second request; doubled before each further one
	wait    time.Duration // the longest that a server may ask for with Retry-After
}

var patient = patience{connect: 30 * time.Second, header: time.Minute, stall: time.Minute, tries: 5, pause: time.Second, wait: 2 * time.Minute}

// hub downloads files of the Hugging Face Hub, or of a mirror of it.
type hub struct {
	patience
	endpoint *url.URL
	token    string // "" for none
	client   *http.Client
}

// newHub reads the variables that Hugging Face's own programs read: HF_ENDPOINT, HF_TOKEN, HF_TOKEN_PATH, HF_HOME and
// HF_HUB_OFFLINE.
func newHub(p patience) (*hub, error) {
	switch strings.ToLower(os.Getenv("HF_HUB_OFFLINE")) {
	case "1", "true", "yes", "on":
		return nil, errors.New("HF_HUB_OFFLINE is set, so nothing is downloaded; unset it, or name the file in source.folder")
	}
	endpoint, err := url.Parse(strings.TrimRight(os.Getenv("HF_ENDPOINT"), "/"))
	switch {
	case err != nil:
		return nil, errors.New("HF_ENDPOINT is not a URL") // whose text may have a password in it
	case endpoint.String() == "":
		endpoint = &url.URL{Scheme: "https", Host: "huggingface.co"}
	case endpoint.Scheme != "https" && endpoint.Scheme != "http" || endpoint.Host == "":
		return nil, fmt.Errorf("HF_ENDPOINT: %q is not a URL with https:// or http://", endpoint.Redacted())
	}
	token, err := hubToken()
	if err != nil {
		return nil, err
	}
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.DialContext = (&net.Dialer{Timeout: p.connect}).DialContext
	t.TLSHandshakeTimeout = p.connect
	t.ResponseHeaderTimeout = p.header
	return &hub{patience: p, endpoint: endpoint, token: token, client: &http.Client{Transport: t, CheckRedirect: checkRedirect}}, nil
}

// hubToken is the content of HF_TOKEN, else of the file HF_TOKEN_PATH, else of the file that Hugging Face's login writes;
// "" where there is none.
func hubToken() (string, error) {
	if token := strings.TrimSpace(os.Getenv("HF_TOKEN")); token != "" {
		return token, nil
	}
	path := os.Getenv("HF_TOKEN_PATH")
	if path == "" {
		home := os.Getenv("HF_HOME")
		if home == "" {
			cache := os.Getenv("XDG_CACHE_HOME")
			if cache == "" {
				user, err := os.UserHomeDir()
				if err != nil {
					return "", nil // nobody has logged in here
				}
				cache = filepath.Join(user, ".cache")
			}
			home = filepath.Join(cache, "huggingface")
		}
		path = filepath.Join(home, "token")
	}
	token, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("token of the Hugging Face Hub: %w; make it readable, or set HF_TOKEN_PATH or HF_TOKEN", err)
	}
	return strings.TrimSpace(string(token)), nil
}

// errRedirect: a redirect that is not followed.
var errRedirect = errors.New("redirect refused")

// checkRedirect follows ten redirects at most, none from https to http, and takes the token along to the first scheme,
// host and port only. net/http alone would give it to subdomains, other ports and plain http.
func checkRedirect(req *http.Request, via []*http.Request) error {
	if len(via) > 10 {
		return fmt.Errorf("%w: more than 10 in a row", errRedirect)
	}
	if via[len(via)-1].URL.Scheme == "https" && req.URL.Scheme != "https" {
		return fmt.Errorf("%w: from https to %s://%s", errRedirect, req.URL.Scheme, req.URL.Host)
	}
	first := via[0].URL
	elsewhere := func(r *http.Request) bool { return r.URL.Scheme != first.Scheme || r.URL.Host != first.Host }
	if elsewhere(req) || slices.ContainsFunc(via, elsewhere) {
		req.Header.Del("Authorization")
	}
	return nil
}

// again is a failure that another request may not meet, after a pause.
type again struct {
	error
	after time.Duration // that the server asked for; 0 for none
}

func (a *again) Unwrap() error { return a.error }

// fromHub downloads f to path by way of a part in the folder dir.
func (p *puller) fromHub(ctx context.Context, dir, path string, f File) (err error) {
	part, err := openPart(dir, f, func(size int64) { p.Downloaded(f.Path, size, f.Bytes) })
	if err != nil {
		return err
	}
	defer func() {
		switch {
		case errors.Is(err, ErrWrongFile):
			err = fmt.Errorf("%w; correct source, sha256 or bytes in the manifest", err)
		case err != nil && part.size > 0:
			p.Progress(fmt.Sprintf("%s: %d of %d bytes are kept; pulling again goes on from there", f.Path, part.size, f.Bytes))
		}
		err = errors.Join(err, part.close())
	}()
	if p.hub == nil {
		if p.hub, err = newHub(p.patience); err != nil {
			return err
		}
	}
	from := f.Source.HuggingFace
	p.Progress(fmt.Sprintf("downloading %s of %s from %s", from.Path, from.Repository, p.hub.endpoint.Host))
	pause := p.hub.pause
	for try := 1; part.size < f.Bytes; try++ {
		err = p.hub.get(ctx, from, part)
		var transient *again
		switch {
		case err == nil || part.size == f.Bytes: // an error after the last byte does not count
			continue
		case ctx.Err() != nil:
			return ctx.Err()
		case !errors.As(err, &transient):
			return err
		case try == p.hub.tries:
			return fmt.Errorf("%w; gave up after %d requests", err, try)
		case transient.after > p.hub.wait:
			return fmt.Errorf("%w and asks to wait for %s; pull again then", err, transient.after)
		}
		wait := max(pause, transient.after)
		pause *= 2
		p.Progress(fmt.Sprintf("%s: %v; trying again in %s", f.Path, err, wait))
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(wait):
		}
	}
	return part.finish(path)
}

// get makes one request for what is missing of the part and appends what comes.
func (h *hub) get(ctx context.Context, from *HuggingFace, part *part) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	req, err := h.request(ctx, from, part)
	if err != nil {
		return err
	}
	resp, err := h.client.Do(req)
	if err != nil {
		var inURL *url.Error
		if errors.As(err, &inURL) {
			err = inURL.Err // without the URL: a signed one is a secret
		}
		if errors.Is(err, errRedirect) {
			return err
		}
		return &again{error: err}
	}
	defer resp.Body.Close()
	if err := h.accept(resp, from, part); err != nil {
		return err
	}
	part.told(part.size)
	body := &watched{r: resp.Body, ctx: ctx, stall: h.stall}
	body.timer = time.AfterFunc(h.stall, func() { cancel(fmt.Errorf("no byte came for %s", h.stall)) })
	defer body.timer.Stop()
	_, err = io.Copy(part, io.LimitReader(body, part.want.Bytes-part.size+1))
	switch {
	case err != nil:
		return err
	case part.size < part.want.Bytes && resp.StatusCode == http.StatusPartialContent:
		return &again{error: errors.New("the server gave less than what was missing")}
	case part.size != part.want.Bytes:
		return errors.Join(part.want.compare(part.size, part.hash), part.restart(""))
	}
	return nil
}

// request asks for all of the file or, where a part is there, for the rest, if the file is still the same.
func (h *hub) request(ctx context.Context, from *HuggingFace, part *part) (*http.Request, error) {
	u := *h.endpoint
	u.Path, u.RawPath = u.Path+"/"+from.Repository+"/resolve/"+from.Revision+"/"+from.Path, ""
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("User-Agent", "embedd")
	req.Header.Set("Accept-Encoding", "identity") // sizes and ranges are of the file itself
	if h.token != "" {
		req.Header.Set("Authorization", "Bearer "+h.token)
	}
	if part.size > 0 {
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-", part.size))
		if part.etag != "" {
			req.Header.Set("If-Range", part.etag)
		}
	}
	return req, nil
}

// accept returns nil if the body goes on from the end of the part, which it empties where the body is from the beginning.
func (h *hub) accept(resp *http.Response, from *HuggingFace, part *part) error {
	host := resp.Request.URL.Host
	switch resp.StatusCode {
	case http.StatusOK:
		if n := resp.ContentLength; n >= 0 && n != part.want.Bytes { // a page about something else, perhaps: what is there stays
			return fmt.Errorf("%w: %s has %d bytes, must be %d", ErrWrongFile, from.Path, n, part.want.Bytes)
		}
		return part.restart(resp.Header.Get("ETag"))
	case http.StatusPartialContent:
		content := resp.Header.Get("Content-Range")
		if strings.HasPrefix(content, fmt.Sprintf("bytes %d-", part.size)) {
			return nil
		}
		return errors.Join(&again{error: fmt.Errorf("%s sent %q, not from byte %d on", host, content, part.size)}, part.restart(""))
	case http.StatusRequestedRangeNotSatisfiable:
		if part.size == 0 {
			break
		}
		return errors.Join(&again{error: fmt.Errorf("%s has no byte %d", host, part.size)}, part.restart(""))
	}
	failure := fmt.Errorf("%s answered %d %s", host, resp.StatusCode, http.StatusText(resp.StatusCode))
	if resp.StatusCode == http.StatusTooManyRequests || resp.StatusCode >= 500 {
		return &again{error: failure, after: retryAfter(resp.Header.Get("Retry-After"))}
	}
	if host != h.endpoint.Host {
		return failure
	}
	switch resp.StatusCode {
	case http.StatusUnauthorized:
		if h.token == "" {
			return fmt.Errorf("%w: without a token it shows no %s, or there is none; check source.huggingface.repository, and set HF_TOKEN to a token that may read it", failure, from.Repository)
		}
		return fmt.Errorf("%w: the token is not accepted; set HF_TOKEN to one that is valid and may read %s", failure, from.Repository)
	case http.StatusForbidden:
		return fmt.Errorf("%w: the token may not read %s; ask for access on its page, or set HF_TOKEN to a token that may", failure, from.Repository)
	case http.StatusNotFound:
		return fmt.Errorf("%w: no %s at %s of %s; check source.huggingface in the manifest, and set HF_TOKEN if the repository is private", failure, from.Path, from.Revision[:12], from.Repository)
	}
	return failure
}

// retryAfter is the time that a Retry-After header asks for, in seconds or as a date; 0 for none.
func retryAfter(header string) time.Duration {
	if seconds, err := strconv.ParseUint(header, 10, 31); err == nil {
		return time.Duration(seconds) * time.Second
	}
	if at, err := http.ParseTime(header); err == nil {
		return max(0, time.Until(at)).Round(time.Second)
	}
	return 0
}

// watched is a body whose errors are worth another request, and which is cut when no byte comes.
type watched struct {
	r     io.Reader
	ctx   context.Context // which the timer cancels
	timer *time.Timer
	stall time.Duration
}

func (w *watched) Read(b []byte) (int, error) {
	w.timer.Reset(w.stall)
	n, err := w.r.Read(b)
	w.timer.Stop()
	if err == nil || err == io.EOF {
		return n, err
	}
	if cause := context.Cause(w.ctx); cause != nil {
		err = cause
	}
	return n, &again{error: err}
}
