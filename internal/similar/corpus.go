package similar

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"

	"embedd/ann"
	"embedd/internal/table"
)

// The files of a frozen corpus in its folder.
const (
	// IndexName is a snapshot of the index.
	IndexName = "index.snapshot"
	// PapersName is a table of Paper, by ascending labels.
	PapersName = "papers.parquet"
)

// Paper is a row of the table of the papers.
type Paper struct {
	// Label is that of its vector; of a paper with several passages the labels of the others follow it.
	Label    int64  `parquet:"label" json:"label"`
	Passages int32  `parquet:"passages" json:"passages"`
	ID       string `parquet:"id" json:"id"`
	Title    string `parquet:"title" json:"title"`
	// Abstract is empty where the task does not read it.
	Abstract string `parquet:"abstract" json:"abstract"`
	// Date is a year or a date, as the paper gives it, or empty; Year 0 where it is not known.
	Date string `parquet:"date" json:"date"`
	Year int32  `parquet:"year" json:"year"`
}

// corpus are the papers of a folder that are in its index, by position: 0 is the one of the lowest label.
type corpus struct {
	index  *ann.Index
	papers []Paper
	// labels are those of the vectors, ascending, at the position of each.
	labels []uint64
	at     []uint32
	// several: there are papers of several passages.
	several bool
}

// open opens a frozen corpus.
func open(root *os.Root, folder string) (_ *corpus, err error) {
	c := &corpus{}
	f, err := root.Open(folder + "/" + IndexName)
	if err != nil {
		return nil, err
	}
	if c.index, _, err = ann.OpenFile(f); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.index.Close())
		}
	}()
	if err := c.index.Verify(context.Background()); err != nil {
		return nil, err
	}
	if err := c.readPapers(root, folder); err != nil {
		return nil, err
	}
	return c, nil
}

func (c *corpus) readPapers(root *os.Root, folder string) error {
	f, err := root.Open(folder + "/" + PapersName)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	_, err = table.Read(f, info.Size(), table.Parquet, func(rows []Paper) error {
		c.papers = append(c.papers, rows...)
		return nil
	})
	if err != nil {
		return fmt.Errorf("%s: %w", PapersName, err)
	}
	c.settle()
	return nil
}

// settle leaves out papers that are not in the index, as those that came after it was kept, and of those that are there twice, while they were
// stored anew, the earlier one.
func (c *corpus) settle() {
	last := make(map[string]int, len(c.papers))
	for i := range c.papers {
		last[c.papers[i].ID] = i
	}
	kept := c.papers[:0]
	for i, p := range c.papers {
		if last[p.ID] == i && c.index.Contains(uint64(p.Label)) {
			kept = append(kept, p)
		}
	}
	c.papers = kept
	for i, p := range c.papers {
		for j := range uint64(max(1, p.Passages)) {
			if label := uint64(p.Label) + j; c.index.Contains(label) {
				c.labels, c.at = append(c.labels, label), append(c.at, uint32(i))
			}
		}
		c.several = c.several || p.Passages > 1
	}
}

func (c *corpus) close() error { return c.index.Close() }

// position gives the position of the paper that a label is of.
func (c *corpus) position(label uint64) (uint32, bool) {
	i, there := slices.BinarySearch(c.labels, label)
	if !there {
		return 0, false
	}
	return c.at[i], true
}

// mostStrangers is the share of the index's vectors that may be of no paper of the corpus, for it to be searched as it is without them; else another is
// built of the papers alone.
const mostStrangers = 0.1

// alone has the index hold the vectors of the corpus' papers and no others. The graph that comes of it is always the same: that of the snapshot
// without some, or one that InsertAll has built.
func (c *corpus) alone(ctx context.Context, threads int, progress func(done, total int)) error {
	strangers := c.index.Len() - len(c.labels)
	if strangers == 0 {
		return nil
	}
	if float64(strangers) <= mostStrangers*float64(c.index.Len()) {
		for label := range c.index.Labels() {
			if _, ours := slices.BinarySearch(c.labels, label); !ours {
				c.index.Delete(label)
			}
		}
		return nil
	}
	o := c.index.Options()
	own, err := ann.New(c.index.Dim(), &ann.Options{M: o.M, EfConstruction: o.EfConstruction, Memory: o.Memory, Code: o.Code, Dir: o.Dir})
	if err != nil {
		return err
	}
	err = own.InsertAll(ctx, c.labels, func(i int) ([]float32, error) {
		v, there := c.index.Vector(c.labels[i])
		if !there {
			return nil, fmt.Errorf("vector %d is not in the index any more", c.labels[i])
		}
		return v, nil
	}, threads, progress)
	if err != nil {
		return errors.Join(err, own.Close())
	}
	whole := c.index
	c.index = own
	return whole.Close()
}
