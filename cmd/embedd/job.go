package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"embedd/internal/eval"
	"embedd/internal/jobs"
	embeddv1 "embedd/proto/embedd/v1"
)

type jobCmd struct {
	Run     jobRunCmd    `cmd:"" aliases:"create" help:"Begin a job, wait for it, and take its result."`
	List    jobListCmd   `cmd:"" help:"List the jobs, the newest first."`
	Watch   jobWatchCmd  `cmd:"" help:"Show how far a job is, until it ends."`
	Get     jobGetCmd    `cmd:"" help:"Take the result of a job that is done."`
	Cancel  jobCancelCmd `cmd:"" help:"End a job; it can be resumed."`
	Resume  jobResumeCmd `cmd:"" help:"Go on with a job that was cancelled, has failed or was interrupted."`
	Delete  jobDeleteCmd `cmd:"" help:"Remove a job that has ended, and its files."`
	Compute jobsChildCmd `cmd:"" hidden:"" help:"What a job does in a process of its own."`
}

// jobFlags are those of all commands about jobs.
type jobFlags struct {
	outputFlags
	placeFlags
}

type jobRunCmd struct {
	Kind        string   `arg:"" help:"knn-graph, near-duplicates, cross-similarity, pairs, clusters, map, evaluate, export or re-encode." enum:"knn-graph,near-duplicates,cross-similarity,pairs,clusters,map,evaluate,export,re-encode"`
	Out         string   `help:"Write the result to this file, and others beside it; default: it stays on the server, for job get." placeholder:"FILE" env:"-"`
	As          string   `name:"format" help:"parquet, jsonl or csv; npy for vectors; default by the name of --out, else parquet." placeholder:"FORMAT" env:"EMBEDD_JOB_RUN_FORMAT"`
	Detach      bool     `help:"Do not wait; see job watch and job get."`
	Collection  string   `help:"Collection to ask, by its name or an alias; default: the default one." placeholder:"NAME"`
	Filter      string   `help:"Which papers, as categories:cs.CL AND year >= 2020; see docs/filters.md." placeholder:"FILTER"`
	Neighbours  int32    `short:"k" name:"k" help:"Neighbours of each paper; default 10." placeholder:"N" env:"EMBEDD_JOB_RUN_K"`
	MinScore    *float32 `help:"Least score of a neighbour, a cosine." placeholder:"COSINE" env:"EMBEDD_JOB_RUN_MIN_SCORE"`
	Exact       bool     `help:"Compare each paper with each, for the exact graph; about ten times as long." env:"EMBEDD_JOB_RUN_EXACT"`
	Once        bool     `help:"Each two papers of the graph once, the nearest first." env:"EMBEDD_JOB_RUN_ONCE"`
	Threshold   *float32 `help:"Least cosine of near duplicates; default: told by vectors and words, as calibrated on the collection." placeholder:"COSINE" env:"EMBEDD_JOB_RUN_THRESHOLD"`
	DateField   string   `help:"Field of the papers' dates: year, or one of the metadata, as metadata.published." placeholder:"FIELD" env:"EMBEDD_JOB_RUN_DATE_FIELD"`
	With        string   `help:"The collection that the papers are compared with, for cross-similarity." placeholder:"NAME" env:"EMBEDD_JOB_RUN_WITH"`
	WithFilter  string   `help:"Which papers of --with." placeholder:"FILTER" env:"EMBEDD_JOB_RUN_WITH_FILTER"`
	Reranker    string   `name:"cross-encoder" help:"Cross-encoder for pairs, one of --reranker; default: the first." placeholder:"ID" env:"EMBEDD_JOB_RUN_CROSS_ENCODER"`
	Vectors     bool     `help:"With the papers' vectors." env:"EMBEDD_JOB_RUN_VECTORS"`
	To          string   `help:"Id of the model to move to." placeholder:"ID" env:"-"`
	Dataset     string   `help:"A BEIR folder: its queries are asked too, and with its judgments nDCG@10 is measured; see embedd eval." placeholder:"DIR" env:"-"`
	Task        string   `help:"Use queries-TASK.jsonl and qrels-TASK.tsv of the folder, where it has several." placeholder:"TASK" env:"-"`
	SearchModes []string `name:"modes" help:"Ways to search, for evaluate: dense, lexical, hybrid; default all." placeholder:"MODE" env:"EMBEDD_JOB_RUN_MODES"`

	jobFlags
}

func (jobRunCmd) Help() string {
	return `A job is done by the server, behind all calls, and survives a restart. Ctrl-C ends the waiting and leaves the job to the server. With --data it is done in this process; Ctrl-C ends
it then, and job resume goes on from the last step. See docs/jobs.md.

Examples:
  embedd job run knn-graph -k 10 --out neighbours.parquet
  embedd job run near-duplicates --out duplicates.csv --data /srv/papers
  embedd job run cross-similarity --collection mine --with theirs --min-score 0.6 --out related.jsonl`
}

// jobKindNames are the kinds of jobs as they are called in commands.
var jobKindNames = func() map[string]embeddv1.JobKind {
	names := map[string]embeddv1.JobKind{}
	for number, name := range embeddv1.JobKind_name {
		if number > 0 {
			names[strings.ReplaceAll(strings.ToLower(strings.TrimPrefix(name, "JOB_KIND_")), "_", "-")] = embeddv1.JobKind(number)
		}
	}
	return names
}()

func jobKindName(k embeddv1.JobKind) string {
	for name, kind := range jobKindNames {
		if kind == k {
			return name
		}
	}
	return ""
}

func jobStateName(s embeddv1.JobState) string {
	return strings.ToLower(strings.TrimPrefix(s.String(), "JOB_STATE_"))
}

func (c *jobRunCmd) request() (*embeddv1.CreateJobRequest, error) {
	req := &embeddv1.CreateJobRequest{
		Kind: jobKindNames[c.Kind], Format: c.As, Filter: c.Filter, K: c.Neighbours, MinScore: c.MinScore, Exact: c.Exact, Once: c.Once, Threshold: c.Threshold, DateField: c.DateField,
		Other: c.With, OtherFilter: c.WithFilter, Reranker: c.Reranker, Vectors: c.Vectors, Model: c.To, Modes: c.SearchModes, Collection: c.Collection,
	}
	if req.Format == "" && c.Out != "" {
		req.Format = strings.TrimPrefix(filepath.Ext(c.Out), ".")
		if !slices.Contains([]string{"parquet", "jsonl", "csv", "npy"}, req.Format) {
			return nil, fmt.Errorf("--out: %s does not end in .parquet, .jsonl, .csv or .npy; say which with --format", c.Out)
		}
	}
	if (c.Dataset != "") != (c.Kind == jobs.Evaluate) {
		return nil, errors.New("--dataset: is for evaluate, and evaluate needs it: a BEIR folder with queries and judgments")
	}
	if c.Dataset == "" {
		return req, nil
	}
	set, err := eval.ReadDataset(c.Dataset, c.Task)
	if err != nil {
		return nil, err
	}
	for _, q := range set.Queries {
		req.Queries = append(req.Queries, &embeddv1.JobQuery{Id: q.ID, Text: q.Text})
		for _, paper := range slices.Sorted(maps.Keys(set.Qrels[q.ID])) {
			req.Judgments = append(req.Judgments, &embeddv1.JobJudgment{Query: q.ID, Paper: paper, Grade: int32(set.Qrels[q.ID][paper])})
		}
	}
	return req, nil
}

func (c *jobRunCmd) Run(e *env) (err error) {
	req, err := c.request()
	if err != nil {
		return err
	}
	cl, err := c.openJobs(e)
	if err != nil {
		return err
	}
	defer finish(&err, cl.close)
	if c.Detach && c.Data != "" {
		return errors.New("--detach: with --data the job is done in this process; leave one of the two out")
	}
	if c.Detach && c.Out != "" {
		return errors.New("--detach: --out is written when the job is done; take the result with job get")
	}
	res, err := cl.jobs.CreateJob(e.ctx, req)
	if err != nil {
		return err
	}
	if c.Detach {
		return c.show(e, res.GetJob())
	}
	job, err := watchJob(e, cl, &c.placeFlags, res.GetJob().GetId())
	if err != nil {
		return err
	}
	if c.Out != "" {
		if err := takeFiles(e, cl, job, c.Out); err != nil {
			return err
		}
	}
	return c.show(e, job)
}

// show prints a job.
func (f *jobFlags) show(e *env, job *embeddv1.Job) error {
	if f.JSON {
		return printMessage(e.stdout, job)
	}
	t := newTable(e.stdout)
	t.row("id", job.GetId())
	t.row("kind", jobKindName(job.GetRequest().GetKind()))
	t.row("state", jobStateName(job.GetState()))
	if job.GetError() != "" {
		t.row("error", printable(job.GetError()))
	}
	t.row("seconds", fmt.Sprintf("%.1f", job.GetRunning().AsDuration().Seconds()))
	for _, name := range slices.Sorted(maps.Keys(job.GetReport())) {
		t.row(name, printable(job.GetReport()[name]))
	}
	for _, file := range job.GetFiles() {
		t.row("file", fmt.Sprintf("%s, %d bytes", file.GetName(), file.GetBytes()))
	}
	return t.flush()
}

// watchJob shows how far a job is until it has ended, and gives it where it is done.
func watchJob(e *env, cl *client, place *placeFlags, id string) (*embeddv1.Job, error) {
	job, err := followJob(e, cl, id)
	again := "embedd job watch " + id
	if place.Data != "" {
		again = "embedd job resume " + id + " --data " + place.Data
	}
	switch {
	case e.ctx.Err() != nil && place.Data != "":
		fmt.Fprintf(e.stderr, "embedd: the job is interrupted; go on with: %s\n", again)
		return nil, e.ctx.Err()
	case e.ctx.Err() != nil:
		fmt.Fprintf(e.stderr, "embedd: the job goes on at the server; see how far it is with: %s\n", again)
		return nil, e.ctx.Err()
	case err != nil:
		return nil, err
	}
	switch job.GetState() {
	case embeddv1.JobState_JOB_STATE_DONE:
		return job, nil
	case embeddv1.JobState_JOB_STATE_FAILED:
		return nil, fmt.Errorf("job %s: %s", id, job.GetError())
	}
	return nil, fmt.Errorf("job %s is %s; go on with: embedd job resume %s", id, jobStateName(job.GetState()), id)
}

// followJob shows how far a job is. A server that is restarted meanwhile is waited for.
func followJob(e *env, cl *client, id string) (job *embeddv1.Job, err error) {
	var bar *progress
	done := func() {
		if bar != nil {
			bar.Done()
		}
	}
	defer func() { done() }()
	away := outage{}
	for {
		stream, err := cl.jobs.WatchJob(e.ctx, &embeddv1.WatchJobRequest{Id: id})
		for err == nil {
			var res *embeddv1.WatchJobResponse
			if res, err = stream.Recv(); err != nil {
				break
			}
			away = outage{reached: true}
			job = res.GetJob()
			stage := job.GetStage()
			if job.GetState() == embeddv1.JobState_JOB_STATE_QUEUED {
				stage = "waiting for the jobs before it"
			}
			if stage != "" && (bar == nil || bar.what != stage) {
				done()
				bar = newProgress(e, stage, "")
			}
			if bar != nil && job.GetTotal() > 0 {
				bar.Set(int(job.GetDone()), int(job.GetTotal()))
			}
		}
		switch {
		case errors.Is(err, io.EOF) && job != nil && job.GetState() != embeddv1.JobState_JOB_STATE_RUNNING && job.GetState() != embeddv1.JobState_JOB_STATE_QUEUED:
			return job, nil
		case errors.Is(err, io.EOF):
			err = status.Error(codes.Unavailable, "the server has ended the stream before the job")
		case e.ctx.Err() != nil || status.Code(err) != codes.Unavailable:
			return nil, err
		}
		wait, again := away.next(time.Now())
		if !again {
			return nil, err
		}
		if err := sleep(e.ctx, wait); err != nil {
			return nil, err
		}
	}
}

// takeFiles writes the files of a job: the first to the path, the others beside it, with their own names behind its.
func takeFiles(e *env, cl *client, job *embeddv1.Job, path string) error {
	for i, file := range job.GetFiles() {
		to := path
		if i > 0 {
			to = besides(path, file.GetName())
		}
		if err := takeFile(e.ctx, cl, job.GetId(), file, to); err != nil {
			return err
		}
		fmt.Fprintf(e.stderr, "embedd: %s: %d bytes\n", to, file.GetBytes())
	}
	return nil
}

// besides is where another file of a result goes: neighbours.parquet and clusters.parquet make neighbours-clusters.parquet.
func besides(path, name string) string {
	ext := filepath.Ext(path)
	return strings.TrimSuffix(path, ext) + "-" + name
}

// takeFile writes one file, whole before it has its name.
func takeFile(ctx context.Context, cl *client, id string, file *embeddv1.JobFile, to string) error {
	f, err := createBeside(to)
	if err != nil {
		return err
	}
	if err = errors.Join(copyFile(ctx, cl, id, file, f), f.finish()); err == nil {
		err = f.keep()
	}
	if err != nil {
		return errors.Join(err, f.drop())
	}
	return nil
}

type jobListCmd struct {
	jobFlags
}

func (jobListCmd) Help() string {
	return `Example:
  embedd job list`
}

func (c *jobListCmd) Run(e *env) (err error) {
	cl, err := c.openJobs(e)
	if err != nil {
		return err
	}
	defer finish(&err, cl.close)
	res, err := cl.jobs.ListJobs(e.ctx, &embeddv1.ListJobsRequest{})
	if err != nil {
		return err
	}
	if c.JSON {
		return printMessage(e.stdout, res)
	}
	t := newTable(e.stdout)
	t.row("ID", "STATE", "COLLECTION", "CREATED", "SECONDS", "STAGE")
	for _, j := range res.GetJobs() {
		stage := j.GetStage()
		if j.GetTotal() > 0 {
			stage += fmt.Sprintf(", %d of %d", j.GetDone(), j.GetTotal())
		}
		if j.GetError() != "" {
			stage = printable(j.GetError())
		}
		t.row(j.GetId(), jobStateName(j.GetState()), j.GetRequest().GetCollection(), j.GetCreated().AsTime().Format(time.DateTime), fmt.Sprintf("%.1f", j.GetRunning().AsDuration().Seconds()), stage)
	}
	return t.flush()
}

// jobIDArg is a command about one job.
type jobIDArg struct {
	ID string `arg:"" help:"The job, as job list shows it."`

	jobFlags
}

type jobWatchCmd struct{ jobIDArg }

func (jobWatchCmd) Help() string {
	return `Example:
  embedd job watch knn-graph-1f2e3d4c`
}

func (c *jobWatchCmd) Run(e *env) (err error) {
	cl, err := c.openJobs(e)
	if err != nil {
		return err
	}
	defer finish(&err, cl.close)
	job, err := watchJob(e, cl, &c.placeFlags, c.ID)
	if err != nil {
		return err
	}
	return c.show(e, job)
}

type jobGetCmd struct {
	ID  string `arg:"" help:"The job, as job list shows it."`
	Out string `help:"Write the result to this file, and others beside it; default: it stays on the server, for job get." placeholder:"FILE" env:"-"`

	jobFlags
}

func (jobGetCmd) Help() string {
	return `Without --out it shows the job.

Example:
  embedd job get knn-graph-1f2e3d4c --out neighbours.parquet`
}

func (c *jobGetCmd) Run(e *env) (err error) {
	cl, err := c.openJobs(e)
	if err != nil {
		return err
	}
	defer finish(&err, cl.close)
	res, err := cl.jobs.GetJob(e.ctx, &embeddv1.GetJobRequest{Id: c.ID})
	if err != nil {
		return err
	}
	job := res.GetJob()
	if c.Out == "" {
		return c.show(e, job)
	}
	if job.GetState() != embeddv1.JobState_JOB_STATE_DONE {
		return fmt.Errorf("job %s is %s; its files are there when it is done", c.ID, jobStateName(job.GetState()))
	}
	return takeFiles(e, cl, job, c.Out)
}

type jobCancelCmd struct{ jobIDArg }

func (jobCancelCmd) Help() string {
	return `Example:
  embedd job cancel knn-graph-1f2e3d4c`
}

func (c *jobCancelCmd) Run(e *env) (err error) {
	cl, err := c.openJobs(e)
	if err != nil {
		return err
	}
	defer finish(&err, cl.close)
	res, err := cl.jobs.CancelJob(e.ctx, &embeddv1.CancelJobRequest{Id: c.ID})
	if err != nil {
		return err
	}
	return c.show(e, res.GetJob())
}

type jobResumeCmd struct {
	ID  string `arg:"" help:"The job, as job list shows it."`
	Out string `help:"Write the result to this file, and others beside it; default: it stays on the server, for job get." placeholder:"FILE" env:"-"`

	jobFlags
}

func (jobResumeCmd) Help() string {
	return `It waits for the job, as job run does.

Example:
  embedd job resume knn-graph-1f2e3d4c --data /srv/papers --out neighbours.parquet`
}

func (c *jobResumeCmd) Run(e *env) (err error) {
	cl, err := c.openJobs(e)
	if err != nil {
		return err
	}
	defer finish(&err, cl.close)
	if _, err := cl.jobs.ResumeJob(e.ctx, &embeddv1.ResumeJobRequest{Id: c.ID}); err != nil {
		return err
	}
	job, err := watchJob(e, cl, &c.placeFlags, c.ID)
	if err != nil {
		return err
	}
	if c.Out != "" {
		if err := takeFiles(e, cl, job, c.Out); err != nil {
			return err
		}
	}
	return c.show(e, job)
}

type jobDeleteCmd struct{ jobIDArg }

func (jobDeleteCmd) Help() string {
	return `Example:
  embedd job delete knn-graph-1f2e3d4c`
}

func (c *jobDeleteCmd) Run(e *env) (err error) {
	cl, err := c.openJobs(e)
	if err != nil {
		return err
	}
	defer finish(&err, cl.close)
	_, err = cl.jobs.DeleteJob(e.ctx, &embeddv1.DeleteJobRequest{Id: c.ID})
	return err
}
