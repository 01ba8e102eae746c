package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"embedd/internal/ingest"
	"embedd/internal/retrieval"
	"embedd/internal/similar"
	embeddv1 "embedd/proto/embedd/v1"
)

type similarCmd struct {
	Files      []string          `arg:"" name:"file" help:"Files with papers, as embedd index reads them, or - for standard input."`
	Find       string            `help:"neighbours, of each paper; pairs, each two neighbours once, the nearest first; duplicates, in clusters; clusters, with names; map." enum:"neighbours,pairs,duplicates,clusters,map" default:"neighbours" env:"EMBEDD_SIMILAR_FIND"`
	Out        string            `help:"Write the result to this file, and others beside it; default: JSON Lines on standard output." placeholder:"FILE" env:"-"`
	As         string            `name:"format" help:"parquet, jsonl or csv; default by the name of --out, else jsonl." placeholder:"FORMAT" env:"EMBEDD_SIMILAR_FORMAT"`
	With       []string          `name:"against" help:"Files with other papers: of each paper of the first files the nearest among these." placeholder:"FILE" env:"EMBEDD_SIMILAR_AGAINST"`
	Columns    map[string]string `help:"Columns of CSV, TSV and Parquet, as title=Title,abstract=Summary,metadata.lang=Language; without it those with the usual names." placeholder:"FIELD=COLUMN" mapsep:"," env:"EMBEDD_SIMILAR_COLUMNS"`
	Neighbours int32             `short:"k" name:"k" help:"Neighbours of each paper; default 10." placeholder:"N" env:"EMBEDD_SIMILAR_K"`
	MinScore   *float32          `help:"Least score of a neighbour, a cosine." placeholder:"COSINE" env:"EMBEDD_SIMILAR_MIN_SCORE"`
	Exact      bool              `help:"Compare each paper with each, for the exact graph; about ten times as long." env:"EMBEDD_SIMILAR_EXACT"`
	Threshold  *float32          `help:"Least cosine of near duplicates; default: told by vectors and words, as calibrated on the collection." placeholder:"COSINE" env:"EMBEDD_SIMILAR_THRESHOLD"`
	DateField  string            `help:"Field of the papers' dates: year, or one of the metadata, as metadata.published." placeholder:"FIELD" env:"EMBEDD_SIMILAR_DATE_FIELD"`

	Engine engineFlags `embed:""`
	JSON   bool        `name:"json" help:"Print what was found, and how well, as JSON." env:"EMBEDD_SIMILAR_JSON"`
}

func (similarCmd) Help() string {
	return `No server and no data directory are needed. While it works, what is done is kept in a folder beside the result, OUT.work: after Ctrl-C the same command goes on from there. It is
removed when the result is written. See docs/jobs.md.

Examples:
  embedd similar abstracts.jsonl --out neighbours.parquet
  embedd similar ours.jsonl --find duplicates --out duplicates.csv
  embedd similar ours.jsonl --against theirs.jsonl --min-score 0.6 > related.jsonl`
}

// AfterApply refuses what does not go together.
func (c *similarCmd) AfterApply() error {
	if len(c.With) > 0 && c.Find != "neighbours" {
		return fmt.Errorf("--against: gives neighbours among other papers; leave out --find %s", c.Find)
	}
	read := slices.Concat(c.Files, c.With)
	if first := slices.Index(read, "-"); first >= 0 && slices.Contains(read[first+1:], "-") {
		return errors.New("- is there twice, and standard input can be read once; give files instead")
	}
	return c.keepsInput(read)
}

// keepsInput refuses a result that would take the place of papers that it is made of.
func (c *similarCmd) keepsInput(read []string) error {
	if c.Out == "" {
		return nil
	}
	ext := filepath.Ext(c.Out)
	if c.As != "" {
		ext = "." + c.As
	}
	for _, to := range []string{c.Out, besides(c.Out, "pairs"+ext), besides(c.Out, "clusters"+ext)} {
		result, err := os.Stat(to)
		if err != nil {
			continue // there is none yet; what else there is, writing it tells
		}
		for _, path := range read {
			if papers, err := os.Stat(path); err == nil && os.SameFile(papers, result) {
				return fmt.Errorf("--out: %s would be overwritten, which has the papers; give another name", path)
			}
		}
	}
	return nil
}

func (c *similarCmd) request() (*embeddv1.CreateJobRequest, error) {
	run := jobRunCmd{Kind: map[string]string{
		"neighbours": string(similar.KnnGraph), "pairs": string(similar.KnnGraph), "duplicates": string(similar.NearDuplicates), "clusters": string(similar.Clusters), "map": string(similar.Map),
	}[c.Find], Out: c.Out, As: c.As, Neighbours: c.Neighbours, MinScore: c.MinScore, Exact: c.Exact, Once: c.Find == "pairs", Threshold: c.Threshold, DateField: c.DateField}
	if len(c.With) > 0 {
		run.Kind, run.With = string(similar.CrossSimilarity), against
	}
	if c.Out == "" {
		run.As = cmp.Or(c.As, "jsonl")
	}
	req, err := run.request()
	if err == nil && !slices.Contains([]string{"parquet", "jsonl", "csv"}, req.GetFormat()) {
		err = fmt.Errorf("--format: is %q; must be one of parquet, jsonl, csv; vectors as NumPy are written by embedd export vectors", req.GetFormat())
	}
	return req, err
}

// against is the collection of the other papers.
const against = "against"

func (c *similarCmd) Run(e *env) (err error) {
	req, err := c.request()
	if err != nil {
		return err
	}
	work, err := c.workFolder()
	if err != nil {
		return err
	}
	job, rejected, err := c.work(e, work, req)
	switch {
	case err == nil || c.Out == "":
		err = errors.Join(err, os.RemoveAll(work))
	case errors.Is(err, retrieval.ErrInUse): // another run of the same is at it
	case e.ctx.Err() != nil:
		fmt.Fprintf(e.stderr, "embedd: what is done is in %s; the same command goes on from there\n", work)
	default:
		fmt.Fprintf(e.stderr, "embedd: what is done is in %s; the same command goes on from there, or remove the folder\n", work)
	}
	if err != nil {
		return err
	}
	if c.JSON && c.Out != "" {
		err = printMessage(e.stdout, job)
	} else {
		fmt.Fprintf(e.stderr, "embedd: %s\n", reportLine(job.GetReport()))
	}
	if err == nil && rejected > 0 {
		err = fmt.Errorf("%d records or files were rejected, as said above, and are not in the result", rejected)
	}
	return err
}

// reportLine is a report on one line.
func reportLine(report map[string]string) string {
	var parts []string
	for name, value := range report {
		parts = append(parts, name+" "+value)
	}
	slices.Sort(parts)
	return strings.Join(parts, ", ")
}

// similarWork is what a folder of work was made for.
type similarWork struct {
	Files   []string          `json:"files"`
	Against []string          `json:"against,omitempty"`
	Model   string            `json:"model"`
	Columns map[string]string `json:"columns,omitempty"`
}

// similarName is the file that says so.
const similarName = "similar.json"

// workFolder makes the folder of work, or finds one that an earlier run of the same command has left.
func (c *similarCmd) workFolder() (string, error) {
	if c.Out == "" {
		return os.MkdirTemp("", "embedd-similar-")
	}
	dir := c.Out + ".work"
	text, err := json.Marshal(similarWork{c.Files, c.With, c.Engine.Model, c.Columns})
	if err != nil {
		return "", err
	}
	switch before, err := os.ReadFile(filepath.Join(dir, similarName)); {
	case err == nil && string(before) == string(text):
		return dir, nil
	case err == nil:
		return "", fmt.Errorf("--out: %s has what a run with other files, columns or another model has done; remove it, or give another --out", dir)
	case !errors.Is(err, fs.ErrNotExist):
		return "", err
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		return "", fmt.Errorf("--out: %w; the work is kept in this folder while it is done", err)
	}
	return dir, os.WriteFile(filepath.Join(dir, similarName), text, 0o600)
}

// work does everything in a folder, and gives the job that is done, whose files have been taken.
func (c *similarCmd) work(e *env, dir string, req *embeddv1.CreateJobRequest) (job *embeddv1.Job, rejected int, err error) {
	none := 0
	o := opening{Warm: true, All: true, Jobs: true, Log: e.logger(slog.LevelWarn), Neighbours: &none}
	data := filepath.Join(dir, "data")
	en, err := openEngine(e.ctx, &c.Engine, data, o)
	if err != nil {
		return nil, 0, err
	}
	cl, err := localClient(en, data, o)
	if err != nil {
		return nil, 0, err
	}
	defer finish(&err, cl.close)
	report, err := indexAll(e, cl, c.Files, c.reading())
	if err != nil {
		return nil, 0, err
	}
	rejected = report.RejectedPapers
	if len(c.With) > 0 {
		more, err := c.indexOthers(e, cl)
		if err != nil {
			return nil, 0, err
		}
		rejected += more
	}
	job, err = c.job(e, cl, dir, req)
	if err != nil {
		return nil, 0, err
	}
	if c.Out != "" {
		return job, rejected, takeFiles(e, cl, job, c.Out)
	}
	return job, rejected, copyFile(e.ctx, cl, job.GetId(), job.GetFiles()[0], e.stdout)
}

// reading is how files are read.
func (c *similarCmd) reading() indexOptions {
	o := indexOptions{mode: embeddv1.WriteMode_WRITE_MODE_UPSERT}
	if len(c.Columns) > 0 {
		o.read = ingest.Options{Columns: c.Columns}
	}
	return o
}

// indexOthers stores the papers that the first ones are compared with.
func (c *similarCmd) indexOthers(e *env, cl *client) (rejected int, err error) {
	_, err = cl.collections.CreateCollection(e.ctx, &embeddv1.CreateCollectionRequest{Name: against, Settings: &embeddv1.Settings{Model: c.Engine.Model}})
	if err != nil && status.Code(err) != codes.AlreadyExists {
		return 0, err
	}
	report, err := indexAll(e, cl.about(against), c.With, c.reading())
	if err != nil {
		return 0, err
	}
	return report.RejectedPapers, nil
}

// job does the job, or goes on with the one that an earlier run has begun.
func (c *similarCmd) job(e *env, cl *client, dir string, req *embeddv1.CreateJobRequest) (*embeddv1.Job, error) {
	list, err := cl.jobs.ListJobs(e.ctx, &embeddv1.ListJobsRequest{})
	if err != nil {
		return nil, err
	}
	for _, old := range list.GetJobs() { // of other parameters, or before papers that have come since
		if _, err := cl.jobs.DeleteJob(e.ctx, &embeddv1.DeleteJobRequest{Id: old.GetId()}); err != nil {
			return nil, err
		}
	}
	res, err := cl.jobs.CreateJob(e.ctx, req)
	if err != nil {
		return nil, err
	}
	job, err := followJob(e, cl, res.GetJob().GetId())
	if err == nil && job.GetState() != embeddv1.JobState_JOB_STATE_DONE {
		err = errors.New(cmp.Or(job.GetError(), "the work was ended"))
	}
	return job, err
}

// copyFile writes a file of a job to w.
func copyFile(ctx context.Context, cl *client, id string, file *embeddv1.JobFile, w io.Writer) error {
	stream, err := cl.jobs.ReadJobFile(ctx, &embeddv1.ReadJobFileRequest{Id: id, Name: file.GetName()})
	if err != nil {
		return err
	}
	var n int64
	for {
		res, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			if n != file.GetBytes() {
				return fmt.Errorf("%s has %d bytes, and %d have come", file.GetName(), file.GetBytes(), n)
			}
			return nil
		}
		if err != nil {
			return err
		}
		n += int64(len(res.GetData()))
		if _, err := w.Write(res.GetData()); err != nil {
			return err
		}
	}
}
