package main

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"embedd/internal/feed"
	"embedd/internal/links"
	embeddv1 "embedd/proto/embedd/v1"
)

type exportRelatedCmd struct {
	Out    string `arg:"" help:"Folder for a file of each paper, or with --format jsonl the file for all; - is standard output."`
	Format string `help:"json, a file of each paper; jsonl, one file with a line of each; atom, a feed of each, the newest first." enum:"json,jsonl,atom" default:"json"`
	K      *int32 `short:"k" help:"Hits at most; default 10." placeholder:"N"`
	Band   string `help:"Which related papers: all; related or strong, those that are as alike as that." enum:"all,related,strong" default:"all"`
	Filter string `help:"Which papers to write of, as categories:cs.CL AND year >= 2020; see docs/filters.md." placeholder:"FILTER"`
	Base   string `help:"Where the folder will be found, for the addresses in feeds." default:"https://example.org/related/" placeholder:"URL"`

	clientFlags
}

func (exportRelatedCmd) Help() string {
	return `Each file is named by its paper's id: letters, digits, . and - stay, and every other byte becomes _ and two hexadecimal digits, so that DOI:10.1/x is in
DOI_3A10.1_2Fx.json. A name of more than 200 characters is cut there, and ends in _ and the beginning of the id's SHA-256 instead. A file that is there is
replaced; files of papers that are not there any more stay.

Example:
  embedd export related public/related --filter 'year >= 2020'
  embedd export related related.jsonl --format jsonl -k 20`
}

func (c *exportRelatedCmd) Run(e *env) (err error) {
	base, err := url.Parse(c.Base)
	if err != nil || base.Host == "" {
		return fmt.Errorf("--base: %q is no URL; give one as https://example.org/related/", c.Base)
	}
	if c.Out == "-" && c.Format != "jsonl" {
		return errors.New("--format: a file of each paper needs a folder; give one, or --format jsonl")
	}
	write, finished, err := c.writer(e, base)
	if err != nil {
		return err
	}
	cl, err := c.open(e, false)
	if err != nil {
		return err
	}
	defer finish(&err, cl.close)
	n, err := c.each(e, cl, write)
	if err := errors.Join(err, finished(err == nil)); err != nil {
		fmt.Fprintf(e.stderr, "embedd: %s were written before the end\n", papersText(n))
		return err
	}
	_, err = fmt.Fprintf(e.stderr, "embedd: the related papers of %s\n", papersText(n))
	return err
}

// atOnce are the papers whose related ones are asked for at the same time; more do not make it faster.
const atOnce = 8

// each asks for the related papers of each paper, and writes them in the order of storing.
func (c *exportRelatedCmd) each(e *env, cl *client, write func(string, *embeddv1.RelatedResponse) error) (n int, err error) {
	bar := newProgress(e, "exporting", "papers")
	defer bar.Done()
	count, err := cl.papers.CountPapers(e.ctx, &embeddv1.CountPapersRequest{Filter: c.Filter})
	if err != nil {
		return 0, err
	}
	total := int(count.GetPapers())
	stream, err := cl.papers.ExportPapers(e.ctx, &embeddv1.ExportPapersRequest{Filter: c.Filter, View: embeddv1.PaperView_PAPER_VIEW_ID})
	if err != nil {
		return 0, err
	}
	type asked struct {
		id  string
		res chan *embeddv1.RelatedResponse
	}
	group, ctx := errgroup.WithContext(e.ctx)
	queue := make(chan asked, atOnce)
	group.Go(func() error {
		defer close(queue)
		calls, ctx := errgroup.WithContext(ctx)
		calls.SetLimit(atOnce)
		for {
			res, err := stream.Recv()
			if errors.Is(err, io.EOF) {
				return calls.Wait()
			}
			if err != nil {
				return errors.Join(err, calls.Wait())
			}
			for _, p := range res.GetPapers() {
				one := asked{p.GetId(), make(chan *embeddv1.RelatedResponse, 1)}
				select {
				case queue <- one:
				case <-ctx.Done():
					return errors.Join(calls.Wait(), context.Cause(ctx))
				}
				calls.Go(func() error {
					res, err := c.related(ctx, cl, one.id)
					if err == nil {
						one.res <- res
					}
					return err
				})
			}
		}
	})
	group.Go(func() error {
		for one := range queue {
			select {
			case res := <-one.res:
				if res == nil {
					continue
				}
				if err := write(one.id, res); err != nil {
					return err
				}
				n++
				bar.Set(n, max(n, total))
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
		return nil
	})
	return n, group.Wait()
}

// related asks for the related papers of one, as many as are as alike as is wanted.
func (c *exportRelatedCmd) related(ctx context.Context, cl *client, id string) (*embeddv1.RelatedResponse, error) {
	view := embeddv1.PaperView_PAPER_VIEW_BASIC
	if c.Format == "atom" {
		view = embeddv1.PaperView_PAPER_VIEW_FULL
	}
	res, err := cl.search.Related(ctx, &embeddv1.RelatedRequest{Id: id, K: c.K, View: view})
	if status.Code(err) == codes.NotFound { // it has been removed meanwhile
		return nil, nil
	}
	if err != nil || c.Band == "all" {
		return res, err
	}
	least := embeddv1.Band(embeddv1.Band_value["BAND_"+strings.ToUpper(c.Band)])
	for i, hit := range res.GetHits() {
		if hit.GetBand() < least {
			res.Hits = res.Hits[:i]
			break
		}
	}
	return res, nil
}

// relatedFile is what is written of a paper.
type relatedFile struct {
	ID      string        `json:"id"`
	Related []relatedLine `json:"related"`
}

type relatedLine struct {
	ID      string   `json:"id"`
	Score   float32  `json:"score"`
	Band    string   `json:"band,omitempty"`
	Title   string   `json:"title,omitempty"`
	Authors []string `json:"authors,omitempty"`
	Year    int32    `json:"year,omitempty"`
	Venue   string   `json:"venue,omitempty"`
	Link    string   `json:"link,omitempty"`
}

// fileOf is the related papers of one as they are written.
func fileOf(id string, hits []*embeddv1.Hit) relatedFile {
	f := relatedFile{ID: id, Related: []relatedLine{}}
	for _, hit := range hits {
		p := hit.GetPaper()
		line := relatedLine{ID: p.GetId(), Score: hit.GetScore(), Title: p.GetTitle(), Authors: p.GetAuthors(), Year: p.GetYear(), Venue: p.GetVenue(), Link: links.Paper(p)}
		if hit.GetBand() != embeddv1.Band_BAND_UNSPECIFIED {
			line.Band = strings.ToLower(strings.TrimPrefix(hit.GetBand().String(), "BAND_"))
		}
		f.Related = append(f.Related, line)
	}
	return f
}

// fileName is what the file of a paper is called.
func fileName(id, ending string) string {
	var name strings.Builder
	for i := range len(id) {
		switch b := id[i]; {
		case 'a' <= b && b <= 'z', 'A' <= b && b <= 'Z', '0' <= b && b <= '9', b == '-', b == '.' && i > 0:
			name.WriteByte(b)
		default:
			fmt.Fprintf(&name, "_%02X", b)
		}
	}
	text := name.String()
	if len(text) > 200 {
		text = fmt.Sprintf("%s_%x", text[:200], sha256.Sum256([]byte(id)))[:200+1+16]
	}
	return text + ending
}

// writer gives what writes the related papers of one, and what is to be called at the end.
func (c *exportRelatedCmd) writer(e *env, base *url.URL) (write func(string, *embeddv1.RelatedResponse) error, finished func(ok bool) error, err error) {
	if c.Format == "jsonl" {
		return c.lines(e)
	}
	if err := os.MkdirAll(c.Out, 0o755); err != nil {
		return nil, nil, err
	}
	root, err := os.OpenRoot(c.Out)
	if err != nil {
		return nil, nil, err
	}
	var mu sync.Mutex
	return func(id string, res *embeddv1.RelatedResponse) error {
		mu.Lock()
		defer mu.Unlock()
		name, content := fileName(id, ".json"), ""
		if c.Format == "atom" {
			name = fileName(id, ".atom")
			if content, err = feed.Atom("Papers related to "+id, "", res.GetHits(), base.JoinPath(name)); err != nil {
				return err
			}
		} else {
			b, err := json.Marshal(fileOf(id, res.GetHits()))
			if err != nil {
				return err
			}
			content = string(b) + "\n"
		}
		// Another name first: who reads it meanwhile has the one before, or this one.
		if err := root.WriteFile(name+".part", []byte(content), 0o644); err != nil {
			return err
		}
		return root.Rename(name+".part", name)
	}, func(bool) error { return root.Close() }, nil
}

// lines is writer for one file.
func (c *exportRelatedCmd) lines(e *env) (write func(string, *embeddv1.RelatedResponse) error, finished func(ok bool) error, err error) {
	out, done := e.stdout, func(bool) error { return nil }
	if c.Out != "-" {
		f, err := os.CreateTemp(filepath.Dir(c.Out), "."+filepath.Base(c.Out)+"-*")
		if err != nil {
			return nil, nil, err
		}
		out, done = f, func(ok bool) error {
			if err := f.Close(); err != nil || !ok {
				return errors.Join(err, os.Remove(f.Name()))
			}
			return errors.Join(os.Chmod(f.Name(), 0o644), os.Rename(f.Name(), c.Out))
		}
	}
	buffered := bufio.NewWriterSize(out, 64<<10)
	lines := json.NewEncoder(buffered)
	lines.SetEscapeHTML(false)
	return func(id string, res *embeddv1.RelatedResponse) error { return lines.Encode(fileOf(id, res.GetHits())) },
		func(ok bool) error {
			err := buffered.Flush()
			return errors.Join(err, done(ok && err == nil))
		}, nil
}
