package server

import (
	"cmp"
	"context"
	"errors"
	"io"
	"math"
	"slices"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"embedd/internal/access"
	"embedd/internal/collections"
	"embedd/internal/jobs"
	"embedd/internal/retrieval"
	"embedd/internal/similar"
	embeddv1 "embedd/proto/embedd/v1"
)

const (
	// jobTold is how often WatchJob says how far a job is.
	jobTold = 200 * time.Millisecond
	// filePiece is how much of a file is sent at a time.
	filePiece = 1 << 20
)

// SetJobs gives the server the jobs of its data directory. They stay the caller's to close, after Stop.
func (s *Server) SetJobs(r *jobs.Runner) { s.jobs.Store(r) }

// runner gives the jobs, or says that there are none.
func (s *Server) runner() (*jobs.Runner, error) {
	if _, err := s.ready(); err != nil {
		return nil, err
	}
	if r := s.jobs.Load(); r != nil {
		return r, nil
	}
	return nil, status.Error(codes.FailedPrecondition, "there are no jobs here: one collection is open by itself; ask a server, or open the data directory that it is in")
}

// mayJob refuses a key that is not for a job's collections.
func (s *Server) mayJob(ctx context.Context, spec *jobs.Spec) error {
	if s.forJob(ctx, spec) {
		return nil
	}
	return s.notForKey()
}

// forJob tells whether a key is for a job's collections: by their own names, or by aliases that stand for them now.
func (s *Server) forJob(ctx context.Context, spec *jobs.Spec) bool {
	only := onlyFor(ctx)
	set := s.set.Load()
	if only == nil || set == nil {
		return only == nil
	}
	named := func(own string) bool {
		return slices.ContainsFunc(only, func(name string) bool {
			c, err := set.Get(name)
			return name == own || err == nil && ownName(c) == own
		})
	}
	return named(cmp.Or(spec.Collection, collections.Default)) && (spec.Other == "" || named(spec.Other))
}

// jobOf gives a job to one who may see it.
func (s *Server) jobOf(ctx context.Context, id string) (*jobs.Runner, jobs.Job, error) {
	r, err := s.runner()
	if err != nil {
		return nil, jobs.Job{}, err
	}
	job, err := r.Get(id)
	if err != nil {
		return nil, jobs.Job{}, err
	}
	return r, job, s.mayJob(ctx, &job.Spec)
}

// CreateJob implements JobService.
func (s *Server) CreateJob(ctx context.Context, req *embeddv1.CreateJobRequest) (*embeddv1.CreateJobResponse, error) {
	r, err := s.runner()
	if err != nil {
		return nil, err
	}
	if _, err := s.collectionOf(ctx, req); err != nil {
		return nil, err
	}
	if req.GetOther() != "" {
		if _, err := s.collectionOf(ctx, otherOf{req}); err != nil {
			return nil, err
		}
	}
	if err := s.room(); err != nil {
		return nil, &retrieval.Error{Kind: retrieval.Exhausted, Message: err.Error(), RetryAfter: memoryWait, Err: err}
	}
	spec, err := specOf(req)
	if err != nil {
		return nil, err
	}
	if spec.Kind == jobs.ReEncode {
		if err := mayMigrate(ctx); err != nil {
			return nil, err
		}
	}
	job, err := r.Create(ctx, spec)
	if err != nil {
		return nil, err
	}
	return &embeddv1.CreateJobResponse{Job: jobToProto(&job, false)}, nil
}

// mayMigrate refuses a re-encoding to who may not begin a migration.
func mayMigrate(ctx context.Context) error {
	if caller, _ := CallerOf(ctx); caller.Key != nil && caller.Key.Role < access.Admin {
		return status.Error(codes.PermissionDenied, "the key may write, and to encode a collection by another model takes one that is an admin's")
	}
	return nil
}

// otherOf is the second collection of a request.
type otherOf struct{ *embeddv1.CreateJobRequest }

// GetCollection gives it.
func (o otherOf) GetCollection() string { return o.GetOther() }

// GetJob implements JobService.
func (s *Server) GetJob(ctx context.Context, req *embeddv1.GetJobRequest) (*embeddv1.GetJobResponse, error) {
	_, job, err := s.jobOf(ctx, req.GetId())
	if err != nil {
		return nil, err
	}
	return &embeddv1.GetJobResponse{Job: jobToProto(&job, true)}, nil
}

// ListJobs implements JobService.
func (s *Server) ListJobs(ctx context.Context, _ *embeddv1.ListJobsRequest) (*embeddv1.ListJobsResponse, error) {
	r, err := s.runner()
	if err != nil {
		return nil, err
	}
	res := &embeddv1.ListJobsResponse{}
	for _, job := range r.List() {
		if !s.forJob(ctx, &job.Spec) {
			continue
		}
		res.Jobs = append(res.Jobs, jobToProto(&job, false))
	}
	return res, nil
}

// WatchJob implements JobService.
func (s *Server) WatchJob(req *embeddv1.WatchJobRequest, stream grpc.ServerStreamingServer[embeddv1.WatchJobResponse]) error {
	ctx := stream.Context()
	r, job, err := s.jobOf(ctx, req.GetId())
	if err != nil {
		return err
	}
	watchedOf(ctx).about(job.Spec.Collection)
	var last jobs.Job
	return r.Watch(ctx, job.ID, func(job jobs.Job) error {
		if job.State != last.State || job.State.Ended() {
			last = job
			return stream.Send(&embeddv1.WatchJobResponse{Job: jobToProto(&job, false)}) // see watched.SendMsg
		}
		if err := sleep(ctx, jobTold); err != nil {
			return err
		}
		now, err := r.Get(job.ID)
		if err != nil || now.State != job.State {
			return err // the next round has it
		}
		return stream.Send(&embeddv1.WatchJobResponse{Job: jobToProto(&now, false)})
	})
}

// CancelJob implements JobService.
func (s *Server) CancelJob(ctx context.Context, req *embeddv1.CancelJobRequest) (*embeddv1.CancelJobResponse, error) {
	r, _, err := s.jobOf(ctx, req.GetId())
	if err != nil {
		return nil, err
	}
	job, err := r.Cancel(req.GetId())
	if err != nil {
		return nil, err
	}
	return &embeddv1.CancelJobResponse{Job: jobToProto(&job, false)}, nil
}

// ResumeJob implements JobService.
func (s *Server) ResumeJob(ctx context.Context, req *embeddv1.ResumeJobRequest) (*embeddv1.ResumeJobResponse, error) {
	r, _, err := s.jobOf(ctx, req.GetId())
	if err != nil {
		return nil, err
	}
	job, err := r.Resume(req.GetId())
	if err != nil {
		return nil, err
	}
	return &embeddv1.ResumeJobResponse{Job: jobToProto(&job, false)}, nil
}

// DeleteJob implements JobService.
func (s *Server) DeleteJob(ctx context.Context, req *embeddv1.DeleteJobRequest) (*embeddv1.DeleteJobResponse, error) {
	r, _, err := s.jobOf(ctx, req.GetId())
	if err != nil {
		return nil, err
	}
	return &embeddv1.DeleteJobResponse{}, r.Delete(req.GetId())
}

// ReadJobFile implements JobService.
func (s *Server) ReadJobFile(req *embeddv1.ReadJobFileRequest, stream grpc.ServerStreamingServer[embeddv1.ReadJobFileResponse]) (err error) {
	ctx := stream.Context()
	r, job, err := s.jobOf(ctx, req.GetId())
	if err != nil {
		return err
	}
	w := watchedOf(ctx)
	w.about(job.Spec.Collection)
	f, _, err := r.OpenFile(job.ID, req.GetName())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	for {
		if err := w.pay(); err != nil {
			return err
		}
		piece := make([]byte, filePiece) // which is the message's until it is sent
		n, err := io.ReadFull(f, piece)
		if n > 0 {
			if err := stream.Send(&embeddv1.ReadJobFileResponse{Data: piece[:n]}); err != nil { // see watched.SendMsg
				return err
			}
		}
		switch {
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
			return nil
		case err != nil:
			return &retrieval.Error{Kind: retrieval.DataLoss, Field: "name", Message: "the file cannot be read; delete the job, and make it anew", Err: err}
		}
	}
}

var jobKinds = map[embeddv1.JobKind]similar.Kind{
	embeddv1.JobKind_JOB_KIND_KNN_GRAPH:        similar.KnnGraph,
	embeddv1.JobKind_JOB_KIND_NEAR_DUPLICATES:  similar.NearDuplicates,
	embeddv1.JobKind_JOB_KIND_CROSS_SIMILARITY: similar.CrossSimilarity,
	embeddv1.JobKind_JOB_KIND_PAIRS:            jobs.Pairs,
	embeddv1.JobKind_JOB_KIND_CLUSTERS:         similar.Clusters,
	embeddv1.JobKind_JOB_KIND_MAP:              similar.Map,
	embeddv1.JobKind_JOB_KIND_EVALUATE:         jobs.Evaluate,
	embeddv1.JobKind_JOB_KIND_EXPORT:           jobs.Export,
	embeddv1.JobKind_JOB_KIND_RE_ENCODE:        jobs.ReEncode,
}

var jobStates = map[jobs.State]embeddv1.JobState{
	jobs.Queued: embeddv1.JobState_JOB_STATE_QUEUED, jobs.Running: embeddv1.JobState_JOB_STATE_RUNNING, jobs.Done: embeddv1.JobState_JOB_STATE_DONE,
	jobs.Failed: embeddv1.JobState_JOB_STATE_FAILED, jobs.Cancelled: embeddv1.JobState_JOB_STATE_CANCELLED, jobs.Interrupted: embeddv1.JobState_JOB_STATE_INTERRUPTED,
}

// specOf reads what is asked for. What it does not know, package jobs refuses.
func specOf(req *embeddv1.CreateJobRequest) (jobs.Spec, error) {
	s := jobs.Spec{
		Task: similar.Task{
			Kind: jobKinds[req.GetKind()], K: int(req.GetK()), MinScore: req.MinScore, Exact: req.GetExact(), Once: req.GetOnce(), Threshold: req.Threshold, Format: req.GetFormat(),
		},
		Collection: req.GetCollection(), Filter: req.GetFilter(), Other: req.GetOther(), OtherFilter: req.GetOtherFilter(), DateField: req.GetDateField(),
		Reranker: req.GetReranker(), Vectors: req.GetVectors(), Model: req.GetModel(), Modes: req.GetModes(),
	}
	for _, q := range req.GetQueries() {
		s.Queries = append(s.Queries, jobs.Query{ID: q.GetId(), Text: q.GetText()})
	}
	for _, j := range req.GetJudgments() {
		s.Judgments = append(s.Judgments, jobs.Judgment{Query: j.GetQuery(), Paper: j.GetPaper(), Grade: int(j.GetGrade())})
	}
	return s, nil
}

// jobToProto puts a job into the words of the wire; whole: with the queries and judgments of an evaluation.
func jobToProto(j *jobs.Job, whole bool) *embeddv1.Job {
	req := &embeddv1.CreateJobRequest{
		Format: j.Spec.Format, Filter: j.Spec.Filter, K: int32(j.Spec.K), MinScore: j.Spec.MinScore, Exact: j.Spec.Exact, Once: j.Spec.Once, Threshold: j.Spec.Threshold, DateField: j.Spec.DateField,
		Other: j.Spec.Other, OtherFilter: j.Spec.OtherFilter, Reranker: j.Spec.Reranker, Vectors: j.Spec.Vectors, Model: j.Spec.Model, Modes: j.Spec.Modes, Collection: j.Spec.Collection,
	}
	for kind, name := range jobKinds {
		if name == j.Spec.Kind {
			req.Kind = kind
		}
	}
	if whole {
		for _, q := range j.Spec.Queries {
			req.Queries = append(req.Queries, &embeddv1.JobQuery{Id: q.ID, Text: q.Text})
		}
		for _, x := range j.Spec.Judgments {
			req.Judgments = append(req.Judgments, &embeddv1.JobJudgment{Query: x.Query, Paper: x.Paper, Grade: int32(x.Grade)})
		}
	}
	out := &embeddv1.Job{
		Id: j.ID, Request: req, State: jobStates[j.State], Created: timestamppb.New(j.Created), Running: durationpb.New(time.Duration(j.Seconds * float64(time.Second))),
		Error: j.Error, Report: j.Report, Stage: j.Progress.Stage, Done: int64(j.Progress.Done), Total: int64(j.Progress.Total),
	}
	if !j.Started.IsZero() {
		out.Started = timestamppb.New(j.Started)
	}
	if !j.Ended.IsZero() {
		out.Ended = timestamppb.New(j.Ended)
	}
	if p := j.Progress.PerSecond; p > 0 && !math.IsInf(p, 0) {
		out.PerSecond = &p
	}
	if j.Progress.Left > 0 {
		out.Left = durationpb.New(j.Progress.Left)
	}
	for _, f := range j.Files {
		out.Files = append(out.Files, &embeddv1.JobFile{Name: f.Name, Bytes: f.Bytes, Sha256: f.SHA256})
	}
	return out
}
