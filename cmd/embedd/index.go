package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"embedd/internal/ingest"
	embeddv1 "embedd/proto/embedd/v1"
)

type indexCmd struct {
	Files []string `arg:"" name:"file" help:"Files, folders, or - for standard input; in gzip or zstd too."`
	Mode  string   `help:"Which papers are taken: all (upsert), only those that are not stored (insert), only those that are (update). The others are rejected." enum:"upsert,insert,update" default:"upsert" env:"EMBEDD_INDEX_MODE"`

	Format    string            `help:"The form of the files: ${formats}. Without it each file's is guessed, and said." placeholder:"FORM" env:"EMBEDD_INDEX_FORMAT"`
	Columns   map[string]string `help:"Columns of CSV, TSV and Parquet, as title=Title,abstract=Summary,metadata.lang=Language; without it those with the usual names." placeholder:"FIELD=COLUMN" mapsep:"," env:"EMBEDD_INDEX_COLUMNS"`
	Abstracts string            `help:"Semantic Scholar's dataset abstracts, a file or a folder, for the papers of its dataset papers, which have none." placeholder:"PATH" env:"EMBEDD_INDEX_ABSTRACTS"`
	Rejects   string            `help:"Write each record that is rejected to this file, as a line of JSON with file, line, reason and text. A file that is there is overwritten, with --skip appended to." placeholder:"FILE" env:"-"`
	Skip      int               `help:"Go over the first N records, as an interrupted run says." placeholder:"N" default:"0" env:"-"`
	DryRun    bool              `help:"Read everything and say what would be indexed, without a server and a data directory." env:"EMBEDD_INDEX_DRY_RUN"`

	outputFlags
	clientFlags
}

func (indexCmd) Help() string {
	return `Papers that are stored already with the same text are not encoded again, so an interrupted run goes on where it was. A server
that is restarted meanwhile is waited for, up to two minutes.
A record that cannot be read is reported and left out; the exit status is then 1. What each form is, and what of it becomes which field of a paper,
is in docs/import.md.

Example:
  embedd index samples/papers.jsonl --data /srv/papers
  embedd index pubmed25n0001.xml.gz references.bib --dry-run
  embedd index table.csv --columns id=Number,title=Title,abstract=Summary --rejects rejected.jsonl`
}

func (c *indexCmd) Run(e *env) (err error) {
	if c.Skip < 0 {
		return fmt.Errorf("--skip is %d; want 0 or more", c.Skip)
	}
	o := indexOptions{mode: ingestModes[c.Mode], read: ingest.Options{Format: c.Format, Columns: c.Columns}, skip: c.Skip}
	if len(c.Columns) == 0 {
		o.read.Columns = nil
	}
	o.read.Opened = sayForms(e)
	if slices.Contains(c.Files, "-") {
		o.read.Stdin = stoppable(e.ctx, e.stdin)
	}
	if c.Rejects != "" {
		if o.rejects, err = openRejects(c.Rejects, c.Files, c.Skip > 0); err != nil {
			return fmt.Errorf("--rejects: %w", err)
		}
		defer func() {
			if closeErr := o.rejects.close(); err == nil && closeErr != nil {
				err = fmt.Errorf("--rejects: %w", closeErr)
			}
		}()
	}
	if c.Abstracts != "" {
		if o.read.Abstracts, err = loadAbstracts(e, c.Abstracts, &o); err != nil {
			return fmt.Errorf("--abstracts: %w", err)
		}
		defer finish(&err, o.read.Abstracts.Close)
	}
	if c.DryRun {
		return c.dryRun(e, &o)
	}
	o.again = func(skip int) string {
		words := program() + " index" + e.again("skip", "json") + fmt.Sprintf(" --skip %d", skip)
		for _, f := range c.Files {
			words += " " + shellWord(f)
		}
		return words
	}
	cl, err := c.open(e, true)
	if err != nil {
		return err
	}
	defer finish(&err, cl.close)
	report, err := indexAll(e, cl, c.Files, o)
	if err != nil {
		return err
	}
	if c.JSON {
		err = printJSON(e.stdout, report)
	} else {
		_, err = fmt.Fprintf(e.stdout, "%d papers in %.1f s, %.0f/s: %d created, %d updated, %d unchanged; %d longer than the model reads\n",
			report.Papers, report.Seconds, report.PapersPerSecond, report.Created, report.Updated, report.Unchanged, report.Truncated)
		if err == nil {
			err = printPassed(e, report.PassedOver)
		}
	}
	if err == nil && o.lines > 0 {
		err = fmt.Errorf("%d lines of --abstracts were rejected%s", o.lines, c.whereRejects())
	}
	if err == nil && report.RejectedPapers > 0 {
		err = fmt.Errorf("%d papers were rejected and are not indexed%s", report.RejectedPapers, c.whereRejects())
	}
	return err
}

// stoppable is a reader whose Read ends with the context, also while it waits for input, as for that of a person. What it waits for is left to the
// end of the process.
func stoppable(ctx context.Context, r io.Reader) io.Reader {
	out, in := io.Pipe()
	go func() {
		_, err := io.Copy(in, r)
		in.CloseWithError(err)
	}()
	context.AfterFunc(ctx, func() { in.CloseWithError(ctx.Err()) })
	return out
}

// whereRejects says where the rejected records are.
func (c *indexCmd) whereRejects() string {
	if c.Rejects == "" {
		return ""
	}
	return "; " + c.Rejects + " has them"
}

// indexOptions say how files are indexed.
type indexOptions struct {
	mode    embeddv1.WriteMode
	read    ingest.Options
	skip    int                   // records that are gone over at the beginning
	rejects *rejectFile           // nil: none is wanted
	lines   int                   // of --abstracts that were rejected
	again   func(skip int) string // the command that goes on; nil: there is none
}

// indexReport says what became of the papers of some files.
type indexReport struct {
	Papers          int            `json:"papers"`
	Created         int            `json:"created"`
	Updated         int            `json:"updated"`
	Unchanged       int            `json:"unchanged"`
	Truncated       int            `json:"truncated"`
	RejectedPapers  int            `json:"rejected_papers"`
	Rejected        []rejection    `json:"rejected"` // the first mostRejections
	PassedOver      map[string]int `json:"passed_over,omitempty"`
	Seconds         float64        `json:"seconds"`
	PapersPerSecond float64        `json:"papers_per_second"`
}

// mostRejections is how many rejected papers a report has.
const mostRejections = 10_000

// rejection is a paper that was left out, and why.
type rejection struct {
	Where  string `json:"where"`
	Reason string `json:"reason"`
}

var ingestModes = map[string]embeddv1.WriteMode{
	"upsert": embeddv1.WriteMode_WRITE_MODE_UPSERT, "insert": embeddv1.WriteMode_WRITE_MODE_INSERT, "update": embeddv1.WriteMode_WRITE_MODE_UPDATE,
}

// indexer sends papers to a server: see ingest.go.
type indexer struct {
	e     *env
	cl    *client
	mode  embeddv1.WriteMode
	o     indexOptions
	bar   *progress
	seen  int   // records of all files that were read or gone over, those that are no papers apart; of who reads
	first int   // records of all files that need not be read again: see ingest
	total int   // papers of all files, where they were counted: not bar.about
	own   *bool // the papers of the collection bring their own vectors; nil: nobody has asked

	mu     sync.Mutex // guards what follows
	report indexReport
	said   time.Time // when it last said that the server has no room
	outage outage
}

// saysBusy is how long a server may have no room, and then how often that is said.
const saysBusy = 5 * time.Second

// busy says that the server has no room, and why, where that lasts; it has waited since a time.
func (x *indexer) busy(err error, since time.Time) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.said.IsZero() {
		x.said = since
	}
	if now := time.Now(); now.Sub(x.said) >= saysBusy {
		x.said = now
		fmt.Fprintf(x.e.stderr, "embedd: still trying: %s\n", explain(err))
	}
}

// indexFiles stores all papers of some files, whose forms are guessed. Rejected papers are in the report and, as they come, on stderr.
func indexFiles(e *env, cl *client, paths []string, mode embeddv1.WriteMode) (*indexReport, error) {
	return indexAll(e, cl, paths, indexOptions{mode: mode})
}

// indexAll is indexFiles with options.
func indexAll(e *env, cl *client, paths []string, o indexOptions) (*indexReport, error) {
	begin := time.Now()
	x := &indexer{e: e, cl: cl, mode: o.mode, o: o, bar: newProgress(e, "indexing", "papers")}
	x.report.Rejected = []rejection{}
	var exact bool
	x.total, exact = countPapers(paths, o.read)
	x.total = max(0, x.total-o.skip)
	x.bar.about = !exact
	if exact {
		x.bar.Set(0, x.total) // so that there is something to see before the first results
	}
	var err error
	for _, path := range paths {
		if err = x.file(path); err != nil {
			break
		}
	}
	x.bar.Done()
	r := &x.report
	r.Seconds = time.Since(begin).Seconds()
	r.Papers = r.Created + r.Updated + r.Unchanged
	r.PapersPerSecond = float64(r.Papers) / r.Seconds
	if err != nil && r.Papers > 0 {
		fmt.Fprintf(e.stderr, "embedd: %d papers were indexed before the end; run the same command again to go on\n", r.Papers)
		if o.again != nil && x.first > 0 {
			fmt.Fprintf(e.stderr, "embedd: without reading what is stored once more, where the files are the same: %s\n", o.again(x.first))
		}
	}
	return r, err
}

// countBytes is the size of files that are read once before, to count their papers. Of larger ones the estimate is near enough.
const countBytes = 16 << 20

// countPapers counts the papers of files, bad lines too. It is not exact where a file cannot be read twice or is large.
func countPapers(paths []string, o ingest.Options) (n int, exact bool) {
	o.Opened = nil
	var size int64
	for _, path := range paths {
		if fi, err := os.Stat(path); err != nil || !fi.Mode().IsRegular() && !fi.IsDir() {
			return 0, false
		}
		r, err := ingest.Open(path, o)
		if err != nil {
			return 0, false
		}
		papers := 0
		if size += r.Size(); size <= countBytes {
			papers, err = r.Count()
		}
		if err := errors.Join(err, r.Close()); err != nil || size > countBytes {
			return 0, false
		}
		n += papers
	}
	return n, true
}

// file sends one file's papers.
func (x *indexer) file(path string) (err error) {
	r, err := ingest.Open(path, x.o.read)
	if err != nil {
		return err
	}
	defer finish(&err, r.Close)
	defer func() {
		for reason, n := range r.Passed() {
			if x.report.PassedOver == nil {
				x.report.PassedOver = map[string]int{}
			}
			x.report.PassedOver[reason] += n
		}
	}()
	before := x.done()
	return x.ingest(func() (*source, error) {
		for {
			if x.seen < x.o.skip {
				if err := x.e.ctx.Err(); err != nil {
					return nil, err
				}
				err := r.Skip()
				var line *ingest.LineError
				if err != nil && !errors.As(err, &line) {
					return nil, err
				}
				x.seen++
				continue
			}
			p, err := r.Next()
			var line *ingest.LineError
			if errors.As(err, &line) {
				x.seen++
				x.reject(lineRejection(line))
				continue
			}
			if err != nil {
				return nil, err
			}
			x.seen++
			s := &source{where: path + ", paper " + p.ID, before: before, seen: x.seen}
			s.file, s.line, s.record = r.Position()
			paper, err := paperOf(p)
			if err != nil {
				x.reject(s.rejection(err.Error(), &embeddv1.Paper{Id: p.ID, Title: p.Title, Abstract: p.Abstract}))
				continue
			}
			if paper.Vector != nil {
				own, err := x.ownVectors()
				if err != nil {
					return nil, err
				}
				if !own {
					paper.Vector = nil
				}
			}
			s.paper = paper
			if size := r.Size(); size > 0 {
				s.fraction = float64(r.BytesRead()) / float64(size)
			}
			return s, nil
		}
	})
}

// ownVectors tells whether vectors of papers are wanted. Where the collection makes them itself, it says once that those of the files are not used.
func (x *indexer) ownVectors() (bool, error) {
	if x.own == nil {
		info, err := x.cl.info.GetInfo(x.e.ctx, &embeddv1.GetInfoRequest{})
		if err != nil {
			return false, err
		}
		own := info.GetSettings().GetOwnVectors()
		x.own = &own
		if !own {
			fmt.Fprintln(x.e.stderr, "embedd: note: vectors of papers are not used: the model makes them anew")
		}
	}
	return *x.own, nil
}

// lineReason is the error of a line without the place, which stands before it.
func lineReason(l *ingest.LineError) string {
	if l.Field == "" {
		return l.Err.Error()
	}
	return l.Field + ": " + l.Err.Error()
}

// outage is the time in which a server that was there before gives no answer: most likely it is restarted. The same papers may be sent again
// then, whether or not the server has stored them.
type outage struct {
	reached bool      // the server was there
	begin   time.Time // zero: there is none
	tries   int
}

const (
	// rideOver is how long a server may be away: as long as a large index that is made anew at its start takes.
	rideOver = 2 * time.Minute
	// firstTry and lastTry are the longest times until the first and the last tries again, between which they double.
	firstTry, lastTry = 200 * time.Millisecond, 5 * time.Second
)

// next is the time to wait after a call that was not answered, and whether to try again at all. The time is random in its second half:
// who waited for one server would otherwise come back all at once.
func (o *outage) next(now time.Time) (wait time.Duration, again bool) {
	if o.begin.IsZero() {
		o.begin, o.tries = now, 0
	}
	if !o.reached || now.Sub(o.begin) >= rideOver {
		return 0, false
	}
	most := min(firstTry<<min(o.tries, 10), lastTry)
	o.tries++
	return most/2 + rand.N(most/2), true
}

// reached says that there is a server. It does not end an outage: a server that takes streams and breaks each of them would be tried for ever.
func (x *indexer) reached() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.outage.reached = true
}

// answered says that the server does answer, for papers.
func (x *indexer) answered() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.outage = outage{reached: true}
}

// unanswered tells whether, and when, to send a call again that a server did not answer. What it does is said once for each outage.
func (x *indexer) unanswered(err error) (wait time.Duration, again bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if status.Code(err) != codes.Unavailable {
		x.outage = outage{reached: true}
		return 0, false
	}
	first := x.outage.begin.IsZero()
	wait, again = x.outage.next(time.Now())
	if first && again {
		fmt.Fprintf(x.e.stderr, "embedd: the server does not answer; trying again for up to %v: %s\n", rideOver, explain(err))
	}
	return wait, again
}

// retryAfter reads the time to wait of a server that has no room for a call at the moment.
func retryAfter(err error) (wait time.Duration, busy bool) {
	st := status.Convert(err)
	if st.Code() != codes.ResourceExhausted {
		return 0, false
	}
	for _, d := range st.Details() {
		if info, ok := d.(*errdetails.RetryInfo); ok {
			return min(max(info.GetRetryDelay().AsDuration(), 50*time.Millisecond), 30*time.Second), true
		}
	}
	return 0, false
}

// sleep waits, or gives the end of the context.
func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// refusedFor reads what of a paper was refused.
func refusedFor(st *status.Status) string {
	for _, d := range st.Details() {
		if bad, ok := d.(*errdetails.BadRequest); ok {
			for _, v := range bad.GetFieldViolations() {
				_, field, _ := strings.Cut(v.GetField(), "].")
				return strings.TrimPrefix(field+": "+v.GetDescription(), ": ")
			}
		}
	}
	return st.Message()
}

func (x *indexer) count(r *embeddv1.UpsertResult) {
	x.mu.Lock()
	defer x.mu.Unlock()
	switch r.GetOutcome() {
	case embeddv1.UpsertOutcome_UPSERT_OUTCOME_CREATED:
		x.report.Created++
	case embeddv1.UpsertOutcome_UPSERT_OUTCOME_UPDATED:
		x.report.Updated++
	case embeddv1.UpsertOutcome_UPSERT_OUTCOME_UNCHANGED:
		x.report.Unchanged++
	}
	if r.GetTextUse().GetTruncated() {
		x.report.Truncated++
	}
}

// done is how many papers were answered for or rejected.
func (x *indexer) done() int {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.report.Created + x.report.Updated + x.report.Unchanged + x.report.RejectedPapers
}

// show moves the progress. Where the papers were not counted, the number of a file's is estimated from the part of it that was read when
// the batch was cut.
func (x *indexer) show(before int, fraction float64) {
	done, total := x.done(), x.total
	if x.bar.about && fraction > 0 {
		total = before + int(float64(done-before)/fraction)
	}
	x.bar.Set(done, max(done, total))
}

// maxRejectionLines is how many rejected papers are shown one by one.
const maxRejectionLines = 20

func (x *indexer) reject(r rejected) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.report.RejectedPapers++
	if len(x.report.Rejected) < mostRejections {
		x.report.Rejected = append(x.report.Rejected, rejection{r.where, r.Reason})
	}
	x.o.rejects.write(r)
	switch n := x.report.RejectedPapers; {
	case n <= maxRejectionLines:
		fmt.Fprintf(x.e.stderr, "embedd: rejected: %s: %s\n", printable(r.where), printable(r.Reason))
	case n == maxRejectionLines+1 && x.o.rejects != nil:
		fmt.Fprintln(x.e.stderr, "embedd: more rejected papers are not shown; the file of --rejects has all")
	case n == maxRejectionLines+1:
		fmt.Fprintln(x.e.stderr, "embedd: more rejected papers are not shown; --rejects FILE writes all to a file")
	}
}

// paperOf puts a paper that was read into the words of the wire.
func paperOf(p ingest.Paper) (*embeddv1.Paper, error) {
	out := &embeddv1.Paper{
		Id: p.ID, Title: p.Title, Abstract: p.Abstract, Authors: p.Authors, Year: p.Year,
		Venue: p.Venue, Doi: p.DOI, ArxivId: p.ArxivID, Url: p.URL,
	}
	if !p.Expires.IsZero() {
		out.Expires = timestamppb.New(p.Expires)
	}
	if p.Vector != nil {
		out.Vector = &embeddv1.Vector{Values: p.Vector}
	}
	if len(p.Metadata) > 0 {
		var members map[string]any
		err := json.Unmarshal(p.Metadata, &members)
		if err == nil {
			out.Metadata, err = structpb.NewStruct(members)
		}
		if err != nil {
			return nil, fmt.Errorf("metadata: %w", err)
		}
	}
	return out, nil
}
