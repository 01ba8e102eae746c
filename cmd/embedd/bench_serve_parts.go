package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	embeddv1 "embedd/proto/embedd/v1"
)

// related measures related by id against the bare server, and then at half of that load.
func (b *serveBench) related() error {
	var calls, kept atomic.Int64
	ask := func(ctx context.Context, client int) error {
		answer, err := b.clients[client].search.Related(ctx, &embeddv1.RelatedRequest{Id: b.papers[b.next(len(b.papers))].GetId()})
		if err == nil {
			calls.Add(1)
		}
		if answer.GetEffective().GetMaterialised() != nil {
			kept.Add(1)
		}
		return err
	}
	var answers []*embeddv1.RelatedResponse
	for i := range min(101, len(b.papers)) {
		answer, err := b.clients[0].search.Related(b.e.ctx, &embeddv1.RelatedRequest{Id: b.papers[i].GetId()})
		if err != nil {
			return err
		}
		answers = append(answers, answer)
	}
	slices.SortFunc(answers, func(a, b *embeddv1.RelatedResponse) int { return proto.Size(a) - proto.Size(b) })
	middle := answers[len(answers)/2]
	if err := b.prepare(middle); err != nil {
		return err
	}
	var related, bare []float64
	askBare := func(ctx context.Context, client int) error {
		_, err := b.bare[client].Related(ctx, &embeddv1.RelatedRequest{Id: b.papers[b.next(len(b.papers))].GetId()})
		return err
	}
	if err := b.inTurns(b.side(&related, ask), b.side(&bare, askBare)); err != nil {
		return err
	}
	r := &servedRelated{PerSecond: median(related), BarePerSecond: median(bare), AnswerBytes: proto.Size(middle), Ratio: median(ratios(related, bare))}
	var err error
	if r.HalfPerSecond, r.HalfP50, r.HalfP99, err = b.open(r.PerSecond/2, ask); err != nil {
		return err
	}
	if _, _, r.BareHalfP99, err = b.open(r.PerSecond/2, askBare); err != nil {
		return err
	}
	r.Kept = float64(kept.Load()) / float64(max(calls.Load(), 1))
	b.report.Related = r
	b.bar("related by id, of an empty method", r.Ratio, 0.7, true)
	b.bar("related by id at half load, p99 in ms", r.HalfP99, 5, false)
	return nil
}

// http measures related by id over HTTP against the same over gRPC.
func (b *serveBench) http() error {
	clients := make([]*http.Client, b.Clients)
	for i := range clients {
		transport := &http.Transport{DisableCompression: true}
		defer transport.CloseIdleConnections()
		clients[i] = &http.Client{Transport: transport}
	}
	var calls, bytes atomic.Int64
	ask := func(ctx context.Context, client int) error {
		id := b.papers[b.next(len(b.papers))].GetId()
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, b.web+"v1/papers/"+url.PathEscape(id)+":related", nil)
		if err != nil {
			return err
		}
		res, err := clients[client].Do(req)
		if err != nil {
			return err
		}
		n, err := io.Copy(io.Discard, res.Body)
		calls.Add(1)
		bytes.Add(n)
		if res.StatusCode != http.StatusOK {
			err = errors.Join(err, fmt.Errorf("related to %s: %s", printable(id), res.Status))
		}
		return errors.Join(err, res.Body.Close())
	}
	askGRPC := func(ctx context.Context, client int) error {
		_, err := b.clients[client].search.Related(ctx, &embeddv1.RelatedRequest{Id: b.papers[b.next(len(b.papers))].GetId()})
		return err
	}
	var web, grpc []float64
	if err := b.inTurns(b.side(&web, ask), b.side(&grpc, askGRPC)); err != nil {
		return err
	}
	b.report.HTTP = &servedHTTP{PerSecond: median(web), GRPCPerSecond: median(grpc), AnswerBytes: bytes.Load() / max(1, calls.Load()), Ratio: median(ratios(web, grpc))}
	b.bar("related by id over HTTP, of gRPC", b.report.HTTP.Ratio, 0.6, true)
	return nil
}

// open lets calls come at a rate, for as long as all rounds of a side, and gives the rate that came about and percentiles in ms. A call's time
// counts from when it was due.
func (b *serveBench) open(rate float64, call func(ctx context.Context, client int) error) (came, p50, p99 float64, err error) {
	rng := rand.New(rand.NewPCG(3, 3))
	var mu sync.Mutex
	var took []float64
	var first error
	var wg sync.WaitGroup
	begin := time.Now()
	due, calls := begin, 0
	for ; (calls < 100 || due.Sub(begin) < time.Duration(b.Rounds)*b.Phase) && b.e.ctx.Err() == nil; calls++ {
		if wait := time.Until(due); wait > 0 {
			time.Sleep(wait)
		}
		when, client := due, calls%b.Clients
		wg.Go(func() {
			err := call(b.e.ctx, client)
			ms := time.Since(when).Seconds() * 1000
			mu.Lock()
			defer mu.Unlock()
			if status.Code(err) == codes.ResourceExhausted { // which is no answer: as late as the deadline of a search
				b.refused.Add(1)
				ms, err = 10_000, nil
			}
			took = append(took, ms)
			if first == nil {
				first = err
			}
		})
		due = due.Add(time.Duration(rng.ExpFloat64() / rate * float64(time.Second)))
	}
	all := time.Since(begin).Seconds()
	wg.Wait()
	if err := errors.Join(first, b.e.ctx.Err()); err != nil {
		return 0, 0, 0, err
	}
	slices.Sort(took)
	return float64(calls) / all, took[len(took)/2], percentile99(took), nil
}

// text measures searches by text against the bare session, each side of a round with as many texts.
func (b *serveBench) text() error {
	var bare, hybrid, dense []float64
	side := func(rates *[]float64, mode embeddv1.Mode) func() error {
		return b.side(rates, func(_ context.Context, client int) error {
			_, err := b.search(client, &embeddv1.SearchRequest{Query: byText(b.queries[b.next(len(b.queries))]), Mode: mode})
			return err
		})
	}
	limit := func() error { // in pieces, until the phase is over
		texts, all := 0, time.Duration(0)
		for all < b.Phase {
			some := make([]string, 50)
			for i := range some {
				some[i] = b.queries[b.next(len(b.queries))]
			}
			took, err := b.encoder.Bare(b.e.ctx, some, 1)
			if err != nil {
				return err
			}
			texts, all = texts+len(some), all+took
		}
		bare = append(bare, float64(texts)/all.Seconds())
		return nil
	}
	if err := b.inTurns(side(&hybrid, embeddv1.Mode_MODE_HYBRID), limit, side(&dense, embeddv1.Mode_MODE_DENSE)); err != nil {
		return err
	}
	r := &servedText{
		BarePerSecond: median(bare), HybridPerSecond: median(hybrid), DensePerSecond: median(dense),
		HybridRatio: median(ratios(hybrid, bare)), DenseRatio: median(ratios(dense, bare)),
	}
	b.report.Text = r
	b.bar("hybrid search by text, of the bare encoder", r.HybridRatio, 0.75, true)
	b.bar("dense search by text, of the bare encoder", r.DenseRatio, 0.88, true)
	b.bar("dense search by text a second", r.DensePerSecond, 5*pythonPerSecond, true)
	return nil
}

// leastRecall is what a search by vector is to find of the exact answer, and recalls are what is asked for, one after the other, until it does: the
// server keeps them for vectors like those of its papers, and titles are others.
const leastRecall = 0.989

var recalls = []float64{0.99, 0.993, 0.995, 0.997, 0.999}

// vector measures searches by vector, with the first of recalls that finds enough.
func (b *serveBench) vector() error {
	some := b.vectors[:min(len(b.vectors), 500)]
	exact := make([][]string, len(some))
	ids := func(req *embeddv1.SearchRequest) (ids []string, err error) {
		req.View = embeddv1.PaperView_PAPER_VIEW_ID
		r, err := b.search(0, req)
		for _, hit := range r.GetHits() {
			ids = append(ids, hit.GetPaper().GetId())
		}
		return ids, err
	}
	for i, v := range some {
		var err error
		if exact[i], err = ids(&embeddv1.SearchRequest{Query: byVector(v), Exact: true}); err != nil {
			return err
		}
	}
	r := &servedVector{}
	for _, r.Asked = range recalls {
		found, all := 0, 0
		for i, v := range some {
			near, err := ids(&embeddv1.SearchRequest{Query: byVector(v), Recall: &r.Asked})
			if err != nil {
				return err
			}
			all += len(exact[i])
			for _, id := range near {
				if slices.Contains(exact[i], id) {
					found++
				}
			}
		}
		if r.Recall = float64(found) / float64(max(all, 1)); r.Recall >= leastRecall {
			break
		}
	}
	var rates []float64
	err := b.inTurns(b.side(&rates, func(_ context.Context, client int) error {
		v := b.vectors[b.next(len(b.vectors))]
		_, err := b.search(client, &embeddv1.SearchRequest{Query: byVector(v), Recall: &r.Asked, View: embeddv1.PaperView_PAPER_VIEW_ID})
		return err
	}))
	if err != nil {
		return err
	}
	r.PerSecond = median(rates)
	b.report.Vector = r
	b.bar("search by vector a second", r.PerSecond, 4*qdrantPerSecond, true)
	b.bar("search by vector, recall", r.Recall, leastRecall, true)
	return nil
}

// alone makes two kinds of calls in turns, one at a time, for as long as all rounds of two sides, and gives their sorted times in ms.
func (b *serveBench) alone(one, other func(n int) error) (a, c []float64, err error) {
	begin := time.Now()
	for n := 0; (n < 20 || time.Since(begin) < 2*time.Duration(b.Rounds)*b.Phase) && err == nil; n++ {
		sides := []func(){
			func() {
				begin := time.Now()
				e := one(n)
				a, err = append(a, time.Since(begin).Seconds()*1000), errors.Join(err, e)
			},
			func() {
				begin := time.Now()
				e := other(n)
				c, err = append(c, time.Since(begin).Seconds()*1000), errors.Join(err, e)
			},
		}
		if n%2 == 1 {
			slices.Reverse(sides)
		}
		for _, side := range sides {
			side()
		}
	}
	slices.Sort(a)
	slices.Sort(c)
	return a, c, errors.Join(err, b.e.ctx.Err())
}

// filter measures what a filter adds to a search by vector.
func (b *serveBench) filter() error {
	hits := 0
	search := func(n int, filter string) (int, error) {
		r, err := b.search(0, &embeddv1.SearchRequest{Query: byVector(b.vectors[n%len(b.vectors)]), Filter: filter})
		return len(r.GetHits()), err
	}
	plain, filtered, err := b.alone(func(n int) error {
		_, err := search(n, "")
		return err
	}, func(n int) error {
		found, err := search(n, b.Filter)
		hits += found
		return err
	})
	if err != nil {
		return err
	}
	r := &servedFilter{
		Filter: b.Filter, Hits: float64(hits) / float64(len(filtered)), PlainP50: plain[len(plain)/2], PlainP99: percentile99(plain),
		P50: filtered[len(filtered)/2], P99: percentile99(filtered),
	}
	r.AddedP99 = r.P99 - r.PlainP99
	b.report.Filter = r
	b.bar("a filter by category and date, ms added at p99", r.AddedP99, 2, false)
	return nil
}

// explain measures what it adds to a search by text that its ten hits are explained.
func (b *serveBench) explain() error {
	explained := 0
	search := func(n int, explain bool) error {
		r, err := b.search(0, &embeddv1.SearchRequest{Query: byText(b.queries[n%len(b.queries)]), Explain: explain})
		for _, hit := range r.GetHits() {
			if hit.GetExplanation() != nil {
				explained++
			}
		}
		return err
	}
	plain, whole, err := b.alone(func(n int) error { return search(n, false) }, func(n int) error { return search(n, true) })
	if err != nil {
		return err
	}
	r := &servedExplain{PlainP50: plain[len(plain)/2], P50: whole[len(whole)/2], P99: percentile99(whole), Explained: float64(explained) / float64(len(whole))}
	r.AddedP50 = r.P50 - r.PlainP50
	b.report.Explain = r
	if explained > 0 {
		b.bar("explanations of ten hits, ms added", r.AddedP50, 60, false)
	}
	return nil
}

// The papers that are sent again, at most, and in a call.
const ingestMost, ingestAtOnce, writersAtOnce = 20_000, 500, 4

// ingest measures how fast papers that are stored already are sent again.
func (b *serveBench) ingest() error {
	var batches [][]*embeddv1.Paper
	papers := 0
	for token := ""; papers < ingestMost; {
		size := int32(ingestAtOnce)
		page, err := b.clients[0].papers.ListPapers(b.e.ctx, &embeddv1.ListPapersRequest{PageSize: &size, PageToken: token, View: embeddv1.PaperView_PAPER_VIEW_FULL})
		if err != nil {
			return err
		}
		batches, papers = append(batches, page.GetPapers()), papers+len(page.GetPapers())
		if token = page.GetNextPageToken(); token == "" {
			break
		}
	}
	var rates []float64
	err := b.inTurns(func() error {
		calls, ctx := errgroup.WithContext(b.e.ctx)
		calls.SetLimit(writersAtOnce)
		begin := time.Now()
		for i, batch := range batches {
			calls.Go(func() error {
				r, err := b.clients[i%len(b.clients)].papers.UpsertPapers(ctx, &embeddv1.UpsertPapersRequest{Papers: batch})
				for _, result := range r.GetResults() {
					if result.GetOutcome() != embeddv1.UpsertOutcome_UPSERT_OUTCOME_UNCHANGED && err == nil {
						err = fmt.Errorf("paper %s, as it was listed, is %v", result.GetId(), result.GetOutcome())
					}
				}
				return err
			})
		}
		err := calls.Wait()
		rates = append(rates, float64(papers)/time.Since(begin).Seconds())
		return err
	})
	if err != nil {
		return err
	}
	b.report.Ingest = &servedIngest{Papers: papers, PerSecond: median(rates)}
	b.bar("papers sent again a second", b.report.Ingest.PerSecond, 20_000, true)
	return nil
}
