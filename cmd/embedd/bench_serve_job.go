package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	embeddv1 "embedd/proto/embedd/v1"
)

// jobLoad is the share of the calls a second that the server can answer, at which calls come while it does jobs.
const jobLoad = 4

// jobTurns are how often the server is left alone, and has jobs, in turns.
const jobTurns = 3

// job measures how much later answers come while the server does jobs: exact graphs of neighbours, which take all that they get. Every other call is related by id, and a
// dense search by text.
func (b *serveBench) job() error {
	ask := func(ctx context.Context, client int) error {
		n := b.next(1 << 30)
		if n%2 == 0 {
			_, err := b.clients[client].search.Related(ctx, &embeddv1.RelatedRequest{Id: b.papers[n/2%len(b.papers)].GetId()})
			return err
		}
		_, err := b.search(client, &embeddv1.SearchRequest{Query: byText(b.queries[n/2%len(b.queries)]), Mode: embeddv1.Mode_MODE_DENSE})
		return err
	}
	most, err := b.closed(ask)
	if err != nil {
		return err
	}
	r := &servedJob{}
	var p50, p99, beside50, beside99 []float64
	for range jobTurns {
		came, mid, late, err := b.open(most/jobLoad, ask)
		if err != nil {
			return err
		}
		r.PerSecond, p50, p99 = came, append(p50, mid), append(p99, late)
		stop, wait := b.keepJobs(&r.Jobs)
		_, mid, late, err = b.open(most/jobLoad, ask)
		stop()
		if err := errors.Join(err, wait()); err != nil {
			return err
		}
		beside50, beside99 = append(beside50, mid), append(beside99, late)
	}
	r.P50, r.P99, r.BesideP50, r.BesideP99 = median(p50), median(p99), median(beside50), median(beside99)
	r.Ratio = median(ratios(beside99, p99))
	b.report.Job = r
	b.bar("answers beside jobs, p99 of that without", r.Ratio, 2, false)
	return nil
}

// keepJobs has the server do one job after the other until stop, and counts them; wait waits until there is none.
func (b *serveBench) keepJobs(done *int) (stop func(), wait func() error) {
	var stopped atomic.Bool
	var wg sync.WaitGroup
	var failed error
	jobs := b.clients[0].jobs
	wg.Go(func() {
		for !stopped.Load() && failed == nil {
			failed = func() error {
				res, err := jobs.CreateJob(b.e.ctx, &embeddv1.CreateJobRequest{Kind: embeddv1.JobKind_JOB_KIND_KNN_GRAPH, Exact: true})
				if err != nil {
					return err
				}
				id := res.GetJob().GetId()
				stream, err := jobs.WatchJob(b.e.ctx, &embeddv1.WatchJobRequest{Id: id})
				if err != nil {
					return err
				}
				for {
					state, err := stream.Recv()
					if err != nil {
						return err
					}
					switch state.GetJob().GetState() {
					case embeddv1.JobState_JOB_STATE_RUNNING, embeddv1.JobState_JOB_STATE_QUEUED:
						if !stopped.Load() {
							continue
						}
						if _, err := jobs.CancelJob(b.e.ctx, &embeddv1.CancelJobRequest{Id: id}); err != nil {
							return err
						}
						*done++
						return nil
					case embeddv1.JobState_JOB_STATE_DONE:
						*done++
						_, err := jobs.DeleteJob(b.e.ctx, &embeddv1.DeleteJobRequest{Id: id})
						return err
					default:
						return fmt.Errorf("a job is %s: %s", jobStateName(state.GetJob().GetState()), state.GetJob().GetError())
					}
				}
			}()
		}
	})
	return func() { stopped.Store(true) }, func() error {
		wg.Wait()
		return failed
	}
}
