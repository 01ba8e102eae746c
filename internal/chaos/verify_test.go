package chaos

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	embeddv1 "embedd/proto/embedd/v1"
)

const (
	sampledPapers = 200
	sampledGone   = 50
)

// findings are what a verification measures rather than demands.
type findings struct {
	papers, searched, found int // found: at rank 1 by the graph
	goroutines, files       float64
}

// verify checks all that a server that has just started must hold against the ledger, and takes over what became of the calls that were
// cut off.
func (l *ledger) verify(s *server, data string, rng *rand.Rand) (f findings, err error) {
	ctx := context.Background()
	info, err := s.info.GetInfo(ctx, &embeddv1.GetInfoRequest{})
	if err != nil {
		return f, err
	}
	stored, err := l.list(ctx, s)
	if err != nil {
		return f, err
	}
	var errs []error
	count := 0
	for i, w := range l.writers {
		errs = append(errs, w.compare(stored[i]))
		count += len(stored[i])
	}
	f.papers = count
	if n := info.GetCounts(); int(n.GetPapers()) != count || int(n.GetIndexedVectors()) != count {
		errs = append(errs, fmt.Errorf("%d papers are listed, %d counted, %d in the index", count, n.GetPapers(), n.GetIndexedVectors()))
	}
	if err := errors.Join(errs...); err != nil {
		return f, err
	}
	if err := l.searchStored(ctx, s, rng, &f); err != nil {
		return f, err
	}
	if err := l.searchGone(ctx, s, rng); err != nil {
		return f, err
	}
	for _, pattern := range []string{"*.new", "store/*.new"} {
		if left, err := filepath.Glob(filepath.Join(data, pattern)); err != nil || len(left) > 0 {
			return f, fmt.Errorf("left over from an earlier start: %v %v", left, err)
		}
	}
	gauges, err := s.gauges()
	if err != nil {
		return f, err
	}
	tables, err := filepath.Glob(filepath.Join(data, "store", "*.sst"))
	f.goroutines, f.files = gauges["go_goroutines"], gauges["process_open_fds"]-float64(len(tables))
	return f, err
}

// list gives what is stored, by writer and id.
func (l *ledger) list(ctx context.Context, s *server) (stored [writerCount]map[string]value, err error) {
	for i := range stored {
		stored[i] = map[string]value{}
	}
	owner := map[string]int{}
	for _, w := range l.writers {
		for _, id := range w.pool {
			owner[id] = w.number
		}
	}
	last := ""
	for token := ""; ; {
		page, err := s.papers.ListPapers(ctx, &embeddv1.ListPapersRequest{PageSize: proto.Int32(1000), PageToken: token, View: embeddv1.PaperView_PAPER_VIEW_FULL})
		if err != nil {
			return stored, err
		}
		for _, p := range page.GetPapers() {
			id := p.GetId()
			if id <= last {
				return stored, fmt.Errorf("%q is listed after %q: twice, or out of order", id, last)
			}
			last = id
			v, err := l.read(p)
			if err != nil {
				return stored, err
			}
			number, pooled := owner[id]
			if !pooled {
				if _, err := fmt.Sscanf(id, "stream/%d/", &number); err != nil || number >= writerCount {
					return stored, fmt.Errorf("%q was never sent", id)
				}
			}
			stored[number][id] = v
		}
		if token = page.GetNextPageToken(); token == "" {
			return stored, nil
		}
	}
}

// searchStored searches for some of what is stored by its own vector: exactly, it is the first; by the graph, nearly always.
func (l *ledger) searchStored(ctx context.Context, s *server, rng *rand.Rand, f *findings) error {
	var ids, texts []string
	for _, w := range l.writers {
		for _, id := range sample(rng, slices.Sorted(maps.Keys(w.acked)), sampledPapers/writerCount) {
			ids, texts = append(ids, id), append(texts, l.text(id, w.acked[id].text))
		}
	}
	if len(ids) == 0 {
		return nil
	}
	vectors, err := s.encode.Encode(ctx, &embeddv1.EncodeRequest{Texts: texts, Role: embeddv1.Role_ROLE_DOCUMENT, Lane: embeddv1.Lane_LANE_BULK})
	if err != nil {
		return err
	}
	for i, id := range ids {
		query := &embeddv1.Input{Kind: &embeddv1.Input_Vector{Vector: vectors.GetEncodings()[i].GetVector()}}
		exact, err := s.search.Search(ctx, &embeddv1.SearchRequest{Query: query, K: proto.Int32(3), Exact: true, View: embeddv1.PaperView_PAPER_VIEW_BASIC})
		if err != nil {
			return err
		}
		hits := exact.GetHits()
		if len(hits) == 0 || hits[0].GetPaper().GetId() != id || hits[0].GetScore() < 0.9999 || hits[0].GetPaper().GetTitle() != texts[i] {
			return fmt.Errorf("an exact search by the vector of %s gives %v", id, hits)
		}
		near, err := s.search.Search(ctx, &embeddv1.SearchRequest{Query: query, K: proto.Int32(3), Recall: proto.Float64(0.999), Plan: embeddv1.Plan_PLAN_GRAPH, View: embeddv1.PaperView_PAPER_VIEW_ID})
		if err != nil {
			return err
		}
		f.searched++
		if hits := near.GetHits(); len(hits) > 0 && hits[0].GetPaper().GetId() == id {
			f.found++
		}
	}
	return nil
}

// searchGone looks for some of what was deleted.
func (l *ledger) searchGone(ctx context.Context, s *server, rng *rand.Rand) error {
	for _, w := range l.writers {
		for _, id := range sample(rng, slices.Sorted(maps.Keys(w.gone)), sampledGone/writerCount) {
			if p, err := s.papers.GetPaper(ctx, &embeddv1.GetPaperRequest{Id: id}); status.Code(err) != codes.NotFound {
				return fmt.Errorf("%s was deleted, and Get gives %v, %v", id, p, err)
			}
			text := &embeddv1.Input{Kind: &embeddv1.Input_Text{Text: l.text(id, w.gone[id].text)}}
			res, err := s.search.Search(ctx, &embeddv1.SearchRequest{Query: text, K: proto.Int32(3), Exact: true, View: embeddv1.PaperView_PAPER_VIEW_ID})
			if err != nil {
				return err
			}
			for _, hit := range res.GetHits() {
				if hit.GetPaper().GetId() == id {
					return fmt.Errorf("%s was deleted, and a search finds it: %v", id, strings.TrimSpace(hit.String()))
				}
			}
		}
	}
	return nil
}

func sample(rng *rand.Rand, all []string, n int) []string {
	rng.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	return all[:min(n, len(all))]
}
