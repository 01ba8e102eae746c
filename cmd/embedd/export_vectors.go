package main

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	tables "embedd/internal/table"
	embeddv1 "embedd/proto/embedd/v1"
)

type exportVectorsCmd struct {
	Filter string   `help:"Which papers, as categories:cs.CL AND year >= 2020; see docs/filters.md." placeholder:"FILTER"`
	Out    outFlags `embed:""`

	clientFlags
}

func (exportVectorsCmd) Help() string {
	return `The vectors are those of the model that the papers are stored with, as embedd export --vectors has them: float32, of length 1. With --out
vectors.npy the ids are in vectors.ids.jsonl, a line of each row. Papers that have several vectors have the one of their whole text here.

Example:
  embedd export vectors --out vectors.npy
  embedd export vectors --out vectors.parquet --filter 'year >= 2020'`
}

func (c *exportVectorsCmd) Run(e *env) (err error) {
	format, packing, err := c.Out.format(tables.NumPy, tables.Parquet, tables.JSONL)
	if err != nil {
		return err
	}
	if format == tables.NumPy && c.Out.stdout() {
		return errors.New("--out: an array of NumPy and its ids are two files; name the first, as vectors.npy")
	}
	cl, err := c.open(e, false)
	if err != nil {
		return err
	}
	defer finish(&err, cl.close)
	return c.export(e, cl, format, packing)
}

func (c *exportVectorsCmd) export(e *env, cl *client, format tables.Format, packing tables.Packing) error {
	info, err := cl.info.GetInfo(e.ctx, &embeddv1.GetInfoRequest{})
	if err != nil {
		return err
	}
	dim := int(info.GetModel().GetDimension())
	out, err := c.Out.open(e, packing)
	if err != nil {
		return err
	}
	var ids *packed
	var vectors *tables.Vectors
	if format == tables.NumPy {
		beside := outFlags{Out: idsBeside(c.Out.Out)}
		if ids, err = beside.open(e, tables.Plain); err != nil {
			return end(e, err, out)
		}
		vectors, err = tables.NewNumPy(out.file, ids, dim)
	} else {
		vectors, err = tables.NewVectors(out, format, dim, map[string]string{
			"model": info.GetModel().GetId(), "fingerprint": info.GetModel().GetFingerprint(), "dimension": strconv.Itoa(dim),
		})
	}
	n := 0
	if err == nil {
		req := &embeddv1.ExportPapersRequest{Filter: c.Filter, View: embeddv1.PaperView_PAPER_VIEW_ID, Vectors: true}
		var names []string
		var values [][]float32
		n, err = exportAll(e, cl, req, func(papers []*embeddv1.Paper) error {
			names, values = names[:0], values[:0]
			for _, p := range papers {
				names, values = append(names, p.GetId()), append(values, p.GetVector().GetValues())
			}
			return vectors.Write(names, values)
		})
		if err == nil || c.Out.stdout() {
			err = errors.Join(err, vectors.Close())
		}
	}
	streams := []*packed{out}
	if ids != nil {
		streams = append(streams, ids)
	}
	err = c.Out.report(e, n, end(e, err, streams...))
	if ids != nil && err == nil {
		_, err = fmt.Fprintf(e.stderr, "embedd: the ids of its rows in %s\n", ids.file.path)
	}
	return err
}

// idsBeside is where the ids of the rows of an array are.
func idsBeside(path string) string {
	for _, ending := range []string{".npy", ".NPY"} {
		if name, ok := strings.CutSuffix(path, ending); ok {
			return name + ".ids.jsonl"
		}
	}
	return fmt.Sprint(path, ".ids.jsonl")
}
