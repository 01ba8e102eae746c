package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"embedd/ann"
	"embedd/internal/ingest"
	"embedd/internal/retrieval"
)

// readPapers reads up to n papers of a corpus, 0 for all, and counts the lines that it had to pass over.
func readPapers(path string, n int) (papers []ingest.Paper, rejected int, err error) {
	r, err := ingest.Open(path)
	if err != nil {
		return nil, 0, err
	}
	return takePapers(r, n)
}

// takePapers reads what readPapers does, and closes the reader.
func takePapers(r *ingest.Reader, n int) (papers []ingest.Paper, rejected int, err error) {
	for n == 0 || len(papers) < n {
		p, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		var line *ingest.LineError
		if errors.As(err, &line) {
			rejected++
			continue
		}
		if err != nil {
			return nil, 0, errors.Join(err, r.Close())
		}
		papers = append(papers, p)
	}
	return papers, rejected, r.Close()
}

// corpusPapers reads what readPapers does, and notes what cannot be read.
func corpusPapers(e *env, path string, n int) ([]ingest.Paper, error) {
	papers, rejected, err := readPapers(path, n)
	noteRejected(e, rejected)
	return papers, err
}

func noteRejected(e *env, rejected int) {
	if rejected > 0 {
		fmt.Fprintf(e.stderr, "embedd: note: %d papers of the corpus cannot be read and are left out\n", rejected)
	}
}

// textOf is the text of a paper that is encoded.
func textOf(p ingest.Paper) string {
	return retrieval.PaperText(&retrieval.Paper{Title: p.Title, Abstract: p.Abstract})
}

// neighbours is how many nearest texts overlap compares.
const neighbours = 10

// overlap is the mean share of a text's ten nearest others that are the same in two lists of unit vectors, which hold the
// same texts in the same order, more than ten.
func overlap(ctx context.Context, one, other [][]float32) (float64, error) {
	a, err := nearest(ctx, one)
	if err != nil {
		return 0, err
	}
	b, err := nearest(ctx, other)
	if err != nil {
		return 0, err
	}
	same := 0
	for i := range a {
		for _, x := range a[i] {
			if slices.Contains(b[i], x) {
				same++
			}
		}
	}
	return float64(same) / float64(neighbours*len(a)), nil
}

// nearest gives the ten nearest others of each vector, by exact search.
func nearest(ctx context.Context, vectors [][]float32) (lists [][]uint64, err error) {
	if len(vectors) <= neighbours {
		return nil, fmt.Errorf("%d texts are too few to compare the %d nearest of each", len(vectors), neighbours)
	}
	// The graph is not used, so it may be a poor one; the vectors are compared as they came.
	index, err := ann.New(len(vectors[0]), &ann.Options{M: 2, EfConstruction: 2, Memory: ann.Fast})
	if err != nil {
		return nil, err
	}
	defer finish(&err, index.Close)
	labels := make([]uint64, len(vectors))
	for i := range labels {
		labels[i] = uint64(i)
	}
	if err := index.InsertAll(ctx, labels, func(i int) ([]float32, error) { return vectors[i], nil }, 0, nil); err != nil {
		return nil, err
	}
	lists = make([][]uint64, len(vectors))
	for i, v := range vectors {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		found, err := index.Exact(v, neighbours+1)
		if err != nil {
			return nil, err
		}
		for _, n := range found {
			if n.Label != uint64(i) && len(lists[i]) < neighbours {
				lists[i] = append(lists[i], n.Label)
			}
		}
	}
	return lists, nil
}
