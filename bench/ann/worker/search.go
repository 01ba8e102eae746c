package main

import (
	"runtime"
	"time"
)

type searched struct {
	clock
	IDs    []byte `json:"ids"` // k labels a query, uint32 little-endian
	Passes int    `json:"passes"`
}

// search answers all queries once, unmeasured, which gives the labels and warms up; then again and again until the time is
// over, measured. With no time it leaves it at the first. One query after the other, on the calling thread.
func (w *worker) search(r *request) (any, error) {
	x, err := w.index(r)
	if err != nil {
		return nil, err
	}
	f, err := filter(r.Filter)
	if err != nil {
		return nil, err
	}
	queries := w.data.copies(r.Queries)
	out := searched{}
	var labels []uint64
	for _, q := range queries {
		if labels, err = x.answer(q, r, f, labels[:0]); err != nil {
			return nil, err
		}
		out.IDs = appendLabels(out.IDs, labels, r.K)
	}
	if r.Seconds == 0 {
		return out, nil
	}
	runtime.GC() // so that its work is not in the time by chance; what the searches leave behind is
	begin, until := now(), time.Duration(r.Seconds*1e9)
	for out.Passes == 0 || out.Wall < until {
		for _, q := range queries {
			if labels, err = x.answer(q, r, f, labels[:0]); err != nil {
				return nil, err
			}
		}
		out.Passes++
		out.clock = begin.until()
	}
	return out, nil
}
