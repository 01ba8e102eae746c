package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"os"

	"embedd/embed"
)

type benchVectorsCmd struct {
	Corpus string `arg:"" help:"JSONL file or BEIR folder."`
	Out    string `help:"File to write." required:"" type:"path" placeholder:"FILE" env:"-"`
	Papers int    `short:"n" help:"Use the first N papers; 0: all." default:"0" placeholder:"N" env:"-"`

	Engine engineFlags `embed:""`
}

func (benchVectorsCmd) Help() string {
	return `Writes the vectors of a corpus for benchmarks of the index: float32, little-endian, one vector after the other in the
order of the papers, nothing else. An interrupted run goes on where it was, in FILE.part.

Example:
  embedd bench vectors path/to/arxiv --out arxiv.f32`
}

// vectorsPerCall is how many papers are encoded, and then written, at a time.
const vectorsPerCall = 256

func (c *benchVectorsCmd) Run(e *env) (err error) {
	papers, err := corpusPapers(e, c.Corpus, c.Papers)
	if err != nil {
		return err
	}
	if err := c.Engine.resolve(); err != nil {
		return err
	}
	encoder, err := openEncoder(&c.Engine)
	if err != nil {
		return err
	}
	defer finish(&err, encoder.Close)
	if _, err := encoder.WarmUp(e.ctx); err != nil {
		return err
	}
	part := c.Out + ".part"
	f, err := os.OpenFile(part, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	defer func() {
		if f != nil {
			err = errors.Join(err, f.Close())
		}
	}()
	size, err := f.Seek(0, 2)
	if err != nil {
		return err
	}
	row := int64(4 * encoder.Dimension())
	done := int(min(size/row, int64(len(papers))))
	if _, err := f.Seek(int64(done)*row, 0); err != nil {
		return err
	}
	bar := newProgress(e, "encoding", "papers")
	defer bar.Done()
	for done < len(papers) {
		bar.Set(done, len(papers))
		texts := make([]string, min(vectorsPerCall, len(papers)-done))
		for i := range texts {
			texts[i] = textOf(papers[done+i])
		}
		encodings, err := encoder.Encode(e.ctx, embed.Bulk, embed.Document, texts)
		if err != nil {
			return fmt.Errorf("%w; run the same command again to go on after %d papers", err, done)
		}
		var b []byte
		for _, enc := range encodings {
			for _, v := range enc.Vector {
				b = binary.LittleEndian.AppendUint32(b, math.Float32bits(v))
			}
		}
		if _, err := f.Write(b); err != nil {
			return err
		}
		done += len(texts)
	}
	bar.Done()
	if err := errors.Join(f.Truncate(int64(done)*row), f.Close()); err != nil {
		return err
	}
	f = nil
	if err := os.Rename(part, c.Out); err != nil {
		return err
	}
	_, err = fmt.Fprintf(e.stdout, "%d vectors of %d values in %s\n", done, encoder.Dimension(), c.Out)
	return err
}
