package main

import (
	"context"
	"fmt"
	"slices"

	"embedd/ann"
	"embedd/bench/ann/first"
)

// engine is an index that answers with labels, nearest first. answer may use the memory of into.
type engine interface {
	answer(q []float32, r *request, f *ann.Filter, into []uint64) ([]uint64, error)
}

func build(ctx context.Context, r *request, data *vectors) (engine, error) {
	if r.Engine == "first" {
		x := first.New(data.dim, r.M, r.EfConstruction)
		for i := range r.N { // one lock over everything: more threads are no help
			x.Insert(data.row(i))
		}
		return firstIndex{x}, nil
	}
	if r.Engine != "embedd" {
		return nil, fmt.Errorf("no engine %q", r.Engine)
	}
	memory, err := ann.ParseMemory(r.Memory)
	if err != nil {
		return nil, err
	}
	o := &ann.Options{M: r.M, EfConstruction: r.EfConstruction, Memory: memory}
	if r.Bit {
		o.Code = ann.Bit
	}
	x, err := ann.New(data.dim, o)
	if err != nil {
		return nil, err
	}
	labels := make([]uint64, r.N)
	for i := range labels {
		labels[i] = uint64(i)
	}
	return embedd{x}, x.InsertAll(ctx, labels, func(i int) ([]float32, error) { return data.row(i), nil }, r.Threads, nil)
}

type firstIndex struct{ *first.Index }

func (x firstIndex) answer(q []float32, r *request, _ *ann.Filter, into []uint64) ([]uint64, error) {
	for _, label := range x.Search(q, r.K, r.Ef) {
		into = append(into, uint64(label))
	}
	return into, nil
}

type embedd struct{ *ann.Index }

func (x embedd) answer(q []float32, r *request, f *ann.Filter, into []uint64) ([]uint64, error) {
	var near []ann.Neighbor
	var err error
	if r.Plan == "exact" {
		near, err = x.Exact(q, r.K)
	} else {
		var a ann.Answer
		a, err = x.Search(q, ann.Query{K: r.K, Ef: r.Ef, Recall: r.Recall, Filter: f, Plan: plans[r.Plan]})
		near = a.Neighbors
	}
	for _, n := range near {
		into = append(into, n.Label)
	}
	return into, err
}

var plans = map[string]ann.Plan{"": ann.Auto, "auto": ann.Auto, "graph": ann.Graph, "scan": ann.Scan}

// own is the index if it is one of package ann's, for what only that one can do.
func (w *worker) own(r *request) (*ann.Index, error) {
	x, err := w.index(r)
	if err != nil {
		return nil, err
	}
	own, ok := x.(embedd)
	if !ok {
		return nil, fmt.Errorf("index %q is not embedd's", r.Index)
	}
	return own.Index, nil
}

// filter reads the labels of a filter; nil if there is none.
func filter(path string) (*ann.Filter, error) {
	if path == "" {
		return nil, nil
	}
	labels, err := readLabels(path)
	if err != nil {
		return nil, err
	}
	return ann.NewFilter(slices.Values(labels)), nil
}
