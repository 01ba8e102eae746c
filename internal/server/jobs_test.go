package server

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"embedd/internal/access"
	embeddv1 "embedd/proto/embedd/v1"
)

// finished watches a job to its end.
func finished(ctx context.Context, t *testing.T, jobs embeddv1.JobServiceClient, id string) *embeddv1.Job {
	t.Helper()
	stream, err := jobs.WatchJob(ctx, &embeddv1.WatchJobRequest{Id: id})
	if err != nil {
		t.Fatal(err)
	}
	var last *embeddv1.Job
	for {
		res, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return last
		}
		if err != nil {
			t.Fatal(err)
		}
		last = res.GetJob()
	}
}

// A key that is for some collections sees the jobs of these alone, and one with a filter none at all.
func TestJobsOfCollections(t *testing.T) {
	admin, all, err := access.New(access.Key{Role: access.Admin}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	limited, mine, err := access.New(access.Key{Role: access.Write, Collections: []string{"mine"}}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	scoped, some, err := access.New(access.Key{Role: access.Read, Filter: "year > 2000"}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	keys, err := access.NewKeys([]access.Key{admin, limited, scoped})
	if err != nil {
		t.Fatal(err)
	}
	r := launchAll(t, Options{Keys: func() *access.Keys { return keys }})
	conn := r.connect(t)
	as := func(secret string) context.Context {
		return metadata.NewOutgoingContext(t.Context(), metadata.Pairs("authorization", "Bearer "+secret))
	}
	jobs, papers := embeddv1.NewJobServiceClient(conn), embeddv1.NewPaperServiceClient(conn)
	if _, err := embeddv1.NewCollectionServiceClient(conn).CreateCollection(as(all), &embeddv1.CreateCollectionRequest{Name: "mine"}); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"", "mine"} {
		req := &embeddv1.UpsertPapersRequest{Collection: name}
		for _, id := range strings.Split("abcdefgh", "") {
			req.Papers = append(req.Papers, &embeddv1.Paper{Id: id, Title: "about " + id})
		}
		if _, err := papers.UpsertPapers(as(all), req); err != nil {
			t.Fatal(err)
		}
	}
	make := func(secret string, req *embeddv1.CreateJobRequest) (*embeddv1.Job, error) {
		res, err := jobs.CreateJob(as(secret), req)
		return res.GetJob(), err
	}
	kind := embeddv1.JobKind_JOB_KIND_KNN_GRAPH
	theirs, err := make(all, &embeddv1.CreateJobRequest{Kind: kind})
	if err != nil {
		t.Fatal(err)
	}
	cross, err := make(all, &embeddv1.CreateJobRequest{Kind: embeddv1.JobKind_JOB_KIND_CROSS_SIMILARITY, Collection: "mine", Other: "default", Format: "jsonl", K: 1})
	if err != nil {
		t.Fatal(err)
	}
	ours, err := make(mine, &embeddv1.CreateJobRequest{Kind: kind, Collection: "mine", Format: "csv", K: 3})
	if err != nil {
		t.Fatal(err)
	}
	for what, call := range map[string]func() error{
		"of another collection": func() error { _, err := make(mine, &embeddv1.CreateJobRequest{Kind: kind}); return err },
		"with another": func() error {
			_, err := make(mine, &embeddv1.CreateJobRequest{Kind: embeddv1.JobKind_JOB_KIND_CROSS_SIMILARITY, Collection: "mine", Other: "default"})
			return err
		},
		"get":       func() error { _, err := jobs.GetJob(as(mine), &embeddv1.GetJobRequest{Id: theirs.GetId()}); return err },
		"get cross": func() error { _, err := jobs.GetJob(as(mine), &embeddv1.GetJobRequest{Id: cross.GetId()}); return err },
		"cancel": func() error {
			_, err := jobs.CancelJob(as(mine), &embeddv1.CancelJobRequest{Id: theirs.GetId()})
			return err
		},
		"resume": func() error {
			_, err := jobs.ResumeJob(as(mine), &embeddv1.ResumeJobRequest{Id: theirs.GetId()})
			return err
		},
		"delete": func() error {
			_, err := jobs.DeleteJob(as(mine), &embeddv1.DeleteJobRequest{Id: theirs.GetId()})
			return err
		},
		"with filter": func() error { _, err := jobs.ListJobs(as(some), &embeddv1.ListJobsRequest{}); return err },
		"read": func() error {
			stream, err := jobs.ReadJobFile(as(mine), &embeddv1.ReadJobFileRequest{Id: theirs.GetId()})
			if err == nil {
				_, err = stream.Recv()
			}
			return err
		},
		"watch": func() error {
			stream, err := jobs.WatchJob(as(mine), &embeddv1.WatchJobRequest{Id: theirs.GetId()})
			if err == nil {
				_, err = stream.Recv()
			}
			return err
		},
	} {
		if err := call(); status.Code(err) != codes.PermissionDenied {
			t.Errorf("%s: %v", what, err)
		}
	}
	if list, err := jobs.ListJobs(as(mine), &embeddv1.ListJobsRequest{}); err != nil || len(list.GetJobs()) != 1 || list.GetJobs()[0].GetId() != ours.GetId() {
		t.Errorf("%v, %v", list, err)
	}
	if job := finished(as(all), t, jobs, cross.GetId()); job.GetState() != embeddv1.JobState_JOB_STATE_DONE || job.GetReport()["neighbours"] != "8" {
		t.Errorf("%v", job)
	}
	if job := finished(as(mine), t, jobs, ours.GetId()); job.GetState() != embeddv1.JobState_JOB_STATE_DONE || job.GetFiles()[0].GetName() != "neighbours.csv" || job.GetRunning().AsDuration() <= 0 {
		t.Errorf("%v", job)
	}
	stream, err := jobs.ReadJobFile(as(mine), &embeddv1.ReadJobFileRequest{Id: ours.GetId()})
	if err != nil {
		t.Fatal(err)
	}
	piece, err := stream.Recv()
	if err != nil || strings.Count(string(piece.GetData()), "\n") != 25 {
		t.Errorf("%v, %v", piece, err)
	}
	if _, err := stream.Recv(); !errors.Is(err, io.EOF) {
		t.Errorf("%v", err)
	}
}

// Queries of an evaluation are asked, and measured, in each mode.
func TestEvaluateJob(t *testing.T) {
	r := launchAll(t, Options{})
	conn := r.connect(t)
	jobs, papers := embeddv1.NewJobServiceClient(conn), embeddv1.NewPaperServiceClient(conn)
	for _, id := range strings.Split("abcdefgh", "") {
		if _, err := papers.UpsertPapers(t.Context(), &embeddv1.UpsertPapersRequest{Papers: []*embeddv1.Paper{{Id: id, Title: "word" + id}}}); err != nil {
			t.Fatal(err)
		}
	}
	res, err := jobs.CreateJob(t.Context(), &embeddv1.CreateJobRequest{
		Kind: embeddv1.JobKind_JOB_KIND_EVALUATE, Format: "jsonl", Modes: []string{"lexical", "dense"},
		Queries:   []*embeddv1.JobQuery{{Id: "1", Text: "worda"}, {Id: "2", Text: "wordb"}},
		Judgments: []*embeddv1.JobJudgment{{Query: "1", Paper: "a", Grade: 1}, {Query: "2", Paper: "b", Grade: 2}},
	})
	if err != nil {
		t.Fatal(err)
	}
	job := finished(t.Context(), t, jobs, res.GetJob().GetId())
	if job.GetState() != embeddv1.JobState_JOB_STATE_DONE || job.GetReport()["lexical ndcg@10"] != "1.0000" || job.GetReport()["dense recall@100"] != "1.0000" || len(job.GetRequest().GetQueries()) > 0 {
		t.Errorf("%v", job)
	}
	whole, err := jobs.GetJob(t.Context(), &embeddv1.GetJobRequest{Id: job.GetId()})
	if err != nil || len(whole.GetJob().GetRequest().GetQueries()) != 2 || len(whole.GetJob().GetRequest().GetJudgments()) != 2 {
		t.Errorf("%v, %v", whole, err)
	}
}
