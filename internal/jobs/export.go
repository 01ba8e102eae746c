package jobs

import (
	"errors"
	"io"
	"os"
	"strconv"
	"time"

	"embedd/internal/retrieval"
	"embedd/internal/sealed"
	"embedd/internal/similar"
	"embedd/internal/table"
)

// ExportedPaper is a row of exported papers. What a paper has not is absent.
type ExportedPaper struct {
	ID       string   `parquet:"id" json:"id"`
	Title    string   `parquet:"title,optional" json:"title,omitempty"`
	Abstract string   `parquet:"abstract,optional" json:"abstract,omitempty"`
	Authors  []string `parquet:"authors,list,optional" json:"authors,omitempty"`
	Year     int32    `parquet:"year,optional" json:"year,omitempty"`
	Venue    string   `parquet:"venue,dict,optional" json:"venue,omitempty"`
	DOI      string   `parquet:"doi,optional" json:"doi,omitempty"`
	ArxivID  string   `parquet:"arxiv_id,optional" json:"arxiv_id,omitempty"`
	URL      string   `parquet:"url,optional" json:"url,omitempty"`
	// Metadata is a JSON object, Expires a time of RFC 3339.
	Metadata string `parquet:"metadata,optional" json:"metadata,omitempty"`
	Expires  string `parquet:"expires,optional" json:"expires,omitempty"`
}

// export writes the papers, or their vectors. It is one step: it reads at the speed of the disk.
func (d *doing) export() ([]string, error) {
	names := []string{"papers." + d.spec.Format}
	if d.spec.Vectors {
		names[0] = "vectors." + d.spec.Format
		if d.spec.Format == "npy" {
			names = append(names, "vectors.ids.jsonl")
		}
	}
	if done, err := d.there(similar.ReportName); done || err != nil {
		return names, err
	}
	if err := d.o.Step("export"); err != nil {
		return nil, err
	}
	c, err := d.o.Set.Get(d.spec.Collection)
	if err != nil {
		return nil, err
	}
	which, err := whichOf("filter", d.spec.Filter)
	if err != nil {
		return nil, err
	}
	meta := map[string]string{"model": c.Model().ID, "fingerprint": c.Model().Fingerprint}
	n := 0
	switch {
	case !d.spec.Vectors:
		n, err = d.exportPapers(c, which, names[0], meta)
	case d.spec.Format == "npy":
		n, err = d.exportNumPy(c, which, names)
	default:
		err = d.write(names[0], func(w io.Writer) error {
			out, err := table.NewVectors(w, table.Format(d.spec.Format), c.Model().Dimension, meta)
			if err != nil {
				return err
			}
			if n, err = d.putVectors(c, which, out); err != nil {
				return err
			}
			return out.Close()
		})
	}
	if err != nil {
		return nil, err
	}
	report := similar.Report{"papers": strconv.Itoa(n), "dimension": strconv.Itoa(c.Model().Dimension)}
	for k, v := range meta {
		report[k] = v
	}
	return names, d.report(report)
}

// eachExported calls fn with the papers, some at a time.
func (d *doing) eachExported(c *retrieval.Collection, which retrieval.Which, vectors bool, fn func([]retrieval.Exported) error) (n int, err error) {
	x, err := c.Export(d.ctx, which, vectors)
	if err != nil {
		return 0, err
	}
	defer x.Close()
	total := 0
	if info, err := c.Info(); err == nil {
		total = info.Papers
	}
	for {
		papers, err := x.Next(d.ctx)
		if errors.Is(err, io.EOF) {
			return n, nil
		}
		if err == nil {
			err = fn(papers)
		}
		if err != nil {
			return n, err
		}
		n += len(papers)
		d.told("exporting", n, max(n, total))
	}
}

func (d *doing) exportPapers(c *retrieval.Collection, which retrieval.Which, name string, meta map[string]string) (n int, err error) {
	err = d.write(name, func(w io.Writer) error {
		out, err := table.NewWriter[ExportedPaper](w, table.Format(d.spec.Format), meta)
		if err != nil {
			return err
		}
		n, err = d.eachExported(c, which, false, func(papers []retrieval.Exported) error {
			rows := make([]ExportedPaper, len(papers))
			for i := range papers {
				p := &papers[i].Paper
				rows[i] = ExportedPaper{p.ID, p.Title, p.Abstract, p.Authors, p.Year, p.Venue, p.DOI, p.ArxivID, p.URL, string(p.Metadata), ""}
				if !p.Expires.IsZero() {
					rows[i].Expires = p.Expires.UTC().Format(time.RFC3339Nano)
				}
			}
			return out.Write(rows)
		})
		if err != nil {
			return err
		}
		return out.Close()
	})
	return n, err
}

func (d *doing) putVectors(c *retrieval.Collection, which retrieval.Which, out *table.Vectors) (int, error) {
	var ids []string
	var vectors [][]float32
	return d.eachExported(c, which, true, func(papers []retrieval.Exported) error {
		ids, vectors = ids[:0], vectors[:0]
		for i := range papers {
			ids, vectors = append(ids, papers[i].Paper.ID), append(vectors, papers[i].Vector)
		}
		return out.Write(ids, vectors)
	})
}

// exportNumPy writes an array, whose number of rows comes into its header at the end, and the ids of the rows beside it.
func (d *doing) exportNumPy(c *retrieval.Collection, which retrieval.Which, names []string) (n int, err error) {
	f, err := d.work.OpenFile(names[0]+".new", os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return 0, err
	}
	err = d.write(names[1], func(ids io.Writer) error {
		out, err := table.NewNumPy(f, ids, c.Model().Dimension)
		if err != nil {
			return err
		}
		if n, err = d.putVectors(c, which, out); err != nil {
			return err
		}
		return out.Close()
	})
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = d.work.Rename(names[0]+".new", names[0])
	}
	if err != nil {
		return n, err
	}
	return n, sealed.SyncFolder(d.work, ".")
}
