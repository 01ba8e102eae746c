package jobs

import (
	"fmt"
	"io"
	"strconv"
	"time"

	"embedd/internal/collections"
	"embedd/internal/retrieval"
	"embedd/internal/similar"
	"embedd/internal/table"
)

// AnswerChange is a row of a re-encoding: a hit of one of the papers whose answers change the most, by the old model or the new one.
type AnswerChange struct {
	Paper string `parquet:"paper" json:"paper"`
	Title string `parquet:"title" json:"title"`
	// Overlap is the share of the paper's ten hits that are the same by both, Kendall the tau-b of their orders.
	Overlap float64 `parquet:"overlap" json:"overlap"`
	Kendall float64 `parquet:"kendall" json:"kendall"`
	Model   string  `parquet:"model" json:"model"`
	Rank    int32   `parquet:"rank" json:"rank"`
	Hit     string  `parquet:"hit" json:"hit"`
	Score   float32 `parquet:"score" json:"score"`
	Found   string  `parquet:"hit_title" json:"hit_title"`
}

const (
	// reportedPapers are compared of a re-encoding.
	reportedPapers = 500
	// migrationTold is how often a re-encoding looks how far it is.
	migrationTold = 250 * time.Millisecond
)

// reEncode begins a migration, or finds the one to the same model that is under way, waits until it could be swapped in, and tells how answers change. The migration
// is durable itself, and stays: to be swapped in, or cancelled.
func (d *doing) reEncode() ([]string, error) {
	name := "changes." + d.spec.Format
	if done, err := d.there(similar.ReportName); done || err != nil {
		return []string{name}, err
	}
	if err := d.o.Step("begin"); err != nil {
		return nil, err
	}
	called := d.spec.Collection
	info, err := d.o.Set.Migration(called)
	if retrieval.KindOf(err) == retrieval.NotFound {
		info, err = d.o.Set.StartMigration(d.ctx, called, d.spec.Model, 0, false)
	}
	if err != nil {
		return nil, err
	}
	if info.To != d.spec.Model {
		return nil, &retrieval.Error{Kind: retrieval.FailedPrecondition, Field: "collection", Message: fmt.Sprintf("%s is being moved to the model %s; finish or cancel that first", called, info.To)}
	}
	for info.Stage < collections.Following {
		stage := "encoding"
		if info.Waiting != "" {
			stage = "waiting: " + info.Waiting
		}
		d.told(stage, info.Moved, max(info.Papers, info.Moved))
		select {
		case <-time.After(migrationTold):
		case <-d.ctx.Done():
			return nil, d.ctx.Err()
		}
		if info, err = d.o.Set.Migration(called); err != nil {
			return nil, err
		}
	}
	if err := d.o.Step("compare"); err != nil {
		return nil, err
	}
	d.told("comparing answers", 0, 0)
	info, moved, err := d.o.Set.Report(d.ctx, called, reportedPapers, nil, retrieval.Dense)
	if err != nil {
		return nil, err
	}
	report := similar.Report{
		"from": info.From, "to": info.To, "papers": strconv.Itoa(info.Papers), "refused": strconv.Itoa(len(info.Refused)), "compared": strconv.Itoa(moved.Papers),
		"top-10 overlap": strconv.FormatFloat(moved.Overlap, 'f', 4, 64), "same order": strconv.FormatFloat(moved.Same, 'f', 4, 64), "kendall": strconv.FormatFloat(moved.Kendall, 'f', 4, 64),
	}
	err = d.write(name, func(w io.Writer) error {
		out, err := table.NewWriter[AnswerChange](w, table.Format(d.spec.Format), report)
		if err != nil {
			return err
		}
		for _, c := range moved.Changes {
			for _, of := range []struct {
				model string
				hits  []retrieval.Hit
			}{{info.From, c.Before}, {info.To, c.After}} {
				for rank, hit := range of.hits {
					row := AnswerChange{c.Paper.ID, c.Paper.Title, c.Overlap, c.Kendall, of.model, int32(rank + 1), hit.Paper.ID, hit.Score, hit.Paper.Title}
					if err := out.Write([]AnswerChange{row}); err != nil {
						return err
					}
				}
			}
		}
		return out.Close()
	})
	if err != nil {
		return nil, err
	}
	return []string{name}, d.report(report)
}
