package similar

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strconv"

	"embedd/internal/sealed"
	"embedd/internal/table"
)

// The folders of a job's frozen input.
const (
	// Mine is the corpus that a task is about, Theirs the other one of CrossSimilarity.
	Mine   = "mine"
	Theirs = "theirs"
	// ReportName is the report, a JSON object of strings. It is written last.
	ReportName = "report.json"
)

// Report says what was found, and how well. It stands in the metadata of Parquet files too.
type Report map[string]string

// Files are the result files of a task, the main one first.
func Files(t *Task) []string {
	names := map[Kind][]string{
		KnnGraph: {"neighbours"}, CrossSimilarity: {"neighbours"}, NearDuplicates: {"duplicates", "pairs"}, Clusters: {"papers", "clusters"}, Map: {"papers", "clusters"},
	}[t.Kind]
	if t.Once {
		names = []string{"pairs"}
	}
	files := make([]string, len(names))
	for i, name := range names {
		files[i] = name + "." + t.Format
	}
	return files
}

// Edge is a row of a graph: target is the rank-th nearest of source.
type Edge struct {
	Source string  `parquet:"source" json:"source"`
	Target string  `parquet:"target" json:"target"`
	Rank   int32   `parquet:"rank" json:"rank"`
	Score  float32 `parquet:"score" json:"score"`
}

// Pair is a row of a graph whose pairs stand once: the nearest first, a before b in the order of storing.
type Pair struct {
	A     string  `parquet:"a" json:"a"`
	B     string  `parquet:"b" json:"b"`
	Score float32 `parquet:"score" json:"score"`
}

// Duplicate is a row of the near duplicates: a paper that is in a cluster.
type Duplicate struct {
	// Cluster counts from 1, the largest first.
	Cluster int32  `parquet:"cluster" json:"cluster"`
	ID      string `parquet:"id" json:"id"`
	// Representative of the cluster, and whether this paper is it.
	Representative string `parquet:"representative" json:"representative"`
	Is             bool   `parquet:"is_representative" json:"is_representative"`
	// Copies are how many papers the cluster has, this one included.
	Copies int32 `parquet:"copies" json:"copies"`
	// Date of the paper; First and Last of the cluster. Empty where it is not known.
	Date  string `parquet:"date" json:"date"`
	First string `parquet:"first_date" json:"first_date"`
	Last  string `parquet:"last_date" json:"last_date"`
	// Score is the cosine to the representative.
	Score float32 `parquet:"score" json:"score"`
	Title string  `parquet:"title" json:"title"`
}

// DuplicatePair is two papers of one cluster that are near duplicates.
type DuplicatePair struct {
	A       string  `parquet:"a" json:"a"`
	B       string  `parquet:"b" json:"b"`
	Score   float32 `parquet:"score" json:"score"`
	Cluster int32   `parquet:"cluster" json:"cluster"`
}

// Clustered is a paper and its cluster.
type Clustered struct {
	ID      string `parquet:"id" json:"id"`
	Cluster int32  `parquet:"cluster" json:"cluster"`
	Label   string `parquet:"label" json:"label"`
	Year    int32  `parquet:"year,optional" json:"year,omitempty"`
	Title   string `parquet:"title" json:"title"`
}

// Placed is a paper on a map.
type Placed struct {
	ID      string  `parquet:"id" json:"id"`
	X       float32 `parquet:"x" json:"x"`
	Y       float32 `parquet:"y" json:"y"`
	Cluster int32   `parquet:"cluster" json:"cluster"`
	Label   string  `parquet:"label" json:"label"`
	Year    int32   `parquet:"year,optional" json:"year,omitempty"`
	Title   string  `parquet:"title" json:"title"`
}

// NamedCluster is a cluster.
type NamedCluster struct {
	Cluster int32  `parquet:"cluster" json:"cluster"`
	Label   string `parquet:"label" json:"label"`
	Papers  int32  `parquet:"papers" json:"papers"`
}

// PlacedCluster is a cluster on a map, with its middle.
type PlacedCluster struct {
	Cluster int32   `parquet:"cluster" json:"cluster"`
	Label   string  `parquet:"label" json:"label"`
	Papers  int32   `parquet:"papers" json:"papers"`
	X       float32 `parquet:"x" json:"x"`
	Y       float32 `parquet:"y" json:"y"`
}

// Progress is told how far a run is, from one goroutine at a time. total is 0 where it is not known.
type Progress func(stage string, done, total int)

// Run does a task over the corpora in the folder root, and writes its files there. It is not begun where the report is there: everything is done then.
func Run(ctx context.Context, root *os.Root, t Task, progress Progress) error {
	if err := t.Complete(); err != nil {
		return err
	}
	if _, err := root.Lstat(ReportName); err == nil {
		return nil
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	r := run{ctx: ctx, root: root, t: &t, progress: progress}
	report, err := r.do()
	if err != nil {
		return err
	}
	return sealed.WriteWhole(root, ReportName, func(w io.Writer) error { return json.NewEncoder(w).Encode(report) })
}

type run struct {
	ctx      context.Context
	root     *os.Root
	t        *Task
	mine     *corpus
	progress Progress
}

func (r *run) do() (_ Report, err error) {
	r.progress("reading the papers", 0, 0)
	if r.mine, err = open(r.root, Mine); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.mine.close()) }()
	told := func(done, total int) { r.progress("indexing those that were chosen", done, total) }
	if r.t.Kind != CrossSimilarity { // which reads the vectors of this corpus, and searches in the other one
		if err := r.mine.alone(r.ctx, r.t.Threads, told); err != nil {
			return nil, err
		}
	}
	switch r.t.Kind {
	case KnnGraph:
		return r.graph()
	case CrossSimilarity:
		return r.cross()
	case NearDuplicates:
		return r.duplicates()
	default:
		return r.landscape()
	}
}

func (r *run) graph() (Report, error) {
	k := min(r.t.K, max(1, len(r.mine.papers)-1))
	if n := k * len(r.mine.papers); n > MaxNeighbours {
		return nil, tooMany(n)
	}
	near, err := r.mine.near(r.ctx, k, r.t.Exact, nil, r.t.Threads, func(done, total int) { r.progress("finding neighbours", done, total) })
	if err != nil {
		return nil, err
	}
	share, sample := 1.0, len(r.mine.papers)
	if !r.t.Exact {
		r.progress("measuring recall", 0, 0)
		if share, sample, err = r.mine.recall(r.ctx, near, k, r.t.Threads); err != nil {
			return nil, err
		}
	}
	return r.edges(near, r.mine, Report{"papers": strconv.Itoa(len(r.mine.papers))}, share, sample)
}

func tooMany(n int) error {
	return &FieldError{"k", fmt.Sprintf("%d neighbours of all papers together are more than the limit of %d; choose a smaller k", n, MaxNeighbours)}
}

func (r *run) cross() (_ Report, err error) {
	theirs, err := open(r.root, Theirs)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, theirs.close()) }()
	if err := theirs.alone(r.ctx, r.t.Threads, func(done, total int) { r.progress("indexing those that were chosen", done, total) }); err != nil {
		return nil, err
	}
	k := min(r.t.K, max(1, len(theirs.papers)))
	if n := k * len(r.mine.papers); n > MaxNeighbours {
		return nil, tooMany(n)
	}
	near, err := r.mine.nearIn(r.ctx, theirs, k, r.t.Exact, len(r.mine.papers), r.t.Threads, func(done, total int) { r.progress("finding neighbours", done, total) })
	if err != nil {
		return nil, err
	}
	share, sample := 1.0, len(r.mine.papers)
	if !r.t.Exact {
		r.progress("measuring recall", 0, 0)
		exact, err := r.mine.nearIn(r.ctx, theirs, k, true, sampleSize, r.t.Threads, func(int, int) {})
		if err != nil {
			return nil, err
		}
		share, sample = shareOf(near, exact)
	}
	return r.edges(near, theirs, Report{"papers": strconv.Itoa(len(r.mine.papers)), "other_papers": strconv.Itoa(len(theirs.papers))}, share, sample)
}

// edges writes the neighbours of each paper, which are of a corpus.
func (r *run) edges(near [][]neighbour, of *corpus, report Report, share float64, sample int) (Report, error) {
	n := 0
	for i, list := range near {
		if r.t.MinScore != nil {
			for len(list) > 0 && 1-list[len(list)-1].distance < *r.t.MinScore {
				list = list[:len(list)-1]
			}
			near[i] = list
		}
		n += len(list)
	}
	report["k"], report["exact"] = strconv.Itoa(r.t.K), strconv.FormatBool(r.t.Exact)
	report["neighbours"], report["recall"], report["recall_sample"] = strconv.Itoa(n), strconv.FormatFloat(share, 'f', 4, 64), strconv.Itoa(sample)
	if r.t.MinScore != nil {
		report["min_score"] = fmt.Sprint(*r.t.MinScore)
	}
	if r.t.Once {
		return r.pairs(near, report)
	}
	return report, write(r, Files(r.t)[0], report, func(put func(...Edge) error) error {
		row := make([]Edge, 0, r.t.K)
		for i, list := range near {
			row = row[:0]
			for rank, x := range list {
				row = append(row, Edge{r.mine.papers[i].ID, of.papers[x.to].ID, int32(rank + 1), 1 - x.distance})
			}
			if err := put(row...); err != nil {
				return err
			}
		}
		return nil
	})
}

// pairs writes each two papers of a graph once, the nearest first.
func (r *run) pairs(near [][]neighbour, report Report) (Report, error) {
	var all []link
	for i, list := range near {
		for _, x := range list {
			all = append(all, link{min(uint32(i), x.to), max(uint32(i), x.to), x.distance})
		}
	}
	// The two sides of a pair may differ in the last digits: the nearer one stays.
	slices.SortFunc(all, func(l, o link) int { return cmp.Or(l.compare(o), cmp.Compare(l.distance, o.distance)) })
	all = slices.CompactFunc(all, func(l, o link) bool { return l.compare(o) == 0 })
	slices.SortFunc(all, func(l, o link) int { return cmp.Or(cmp.Compare(l.distance, o.distance), l.compare(o)) })
	report["pairs"] = strconv.Itoa(len(all))
	papers := r.mine.papers
	return report, write(r, Files(r.t)[0], report, func(put func(...Pair) error) error {
		for _, l := range all {
			if err := put(Pair{papers[l.a].ID, papers[l.b].ID, 1 - l.distance}); err != nil {
				return err
			}
		}
		return nil
	})
}

func (r *run) duplicates() (Report, error) {
	c := r.mine
	d, err := c.findDuplicates(r.ctx, r.t, r.progress)
	if err != nil {
		return nil, err
	}
	inside, of := 0, map[uint32]int32{}
	for k, x := range d.clusters {
		inside += len(x.members)
		for _, m := range x.members {
			of[m] = int32(k + 1)
		}
	}
	report := Report{
		"papers": strconv.Itoa(len(c.papers)), "clusters": strconv.Itoa(len(d.clusters)), "papers_in_clusters": strconv.Itoa(inside), "pairs": strconv.Itoa(len(d.links)),
		"calibrated": strconv.FormatBool(d.calibrated), "candidates": strconv.Itoa(d.candidates), "candidates_from": fmt.Sprintf("%.4g", d.from),
	}
	if d.threshold <= 1 { // else no cosine is enough by itself
		report["threshold"] = fmt.Sprintf("%.4f", d.threshold)
	}
	files := Files(r.t)
	err = write(r, files[0], report, func(put func(...Duplicate) error) error {
		for k, x := range d.clusters {
			first, last := c.span(x.members)
			order := append([]uint32{x.representative}, x.members...)
			for i, m := range order {
				if i > 0 && m == x.representative {
					continue
				}
				p := &c.papers[m]
				score, err := c.score(x.representative, m)
				if err != nil {
					return err
				}
				if i == 0 {
					score = 1
				}
				if err := put(Duplicate{int32(k + 1), p.ID, c.papers[x.representative].ID, i == 0, int32(len(x.members)), p.Date, first, last, score, p.Title}); err != nil {
					return err
				}
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return report, write(r, files[1], report, func(put func(...DuplicatePair) error) error {
		for _, l := range d.links {
			if k := of[l.a]; k > 0 && k == of[l.b] {
				if err := put(DuplicatePair{c.papers[l.a].ID, c.papers[l.b].ID, 1 - l.distance, k}); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

// span gives the first and the last date of some papers.
func (c *corpus) span(members []uint32) (first, last string) {
	for _, m := range members {
		d := c.papers[m].Date
		if d == "" {
			continue
		}
		if first == "" || d < first {
			first = d
		}
		last = max(last, d)
	}
	return first, last
}

func (r *run) landscape() (Report, error) {
	c := r.mine
	l, err := c.landscape(r.ctx, r.t.Kind == Map, r.t.Threads, r.progress)
	if err != nil {
		return nil, err
	}
	report := Report{
		"papers": strconv.Itoa(len(c.papers)), "clusters": strconv.Itoa(len(l.sizes)), "neighbours": strconv.Itoa(landscapeNeighbours),
		"recall": strconv.FormatFloat(l.recall, 'f', 4, 64), "recall_sample": strconv.Itoa(l.sample),
	}
	files := Files(r.t)
	if r.t.Kind == Clusters {
		err = write(r, files[0], report, func(put func(...Clustered) error) error {
			for i, k := range l.of {
				p := &c.papers[i]
				if err := put(Clustered{p.ID, int32(k + 1), l.names[k], p.Year, p.Title}); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
		return report, write(r, files[1], report, func(put func(...NamedCluster) error) error {
			for k, size := range l.sizes {
				if err := put(NamedCluster{int32(k + 1), l.names[k], int32(size)}); err != nil {
					return err
				}
			}
			return nil
		})
	}
	err = write(r, files[0], report, func(put func(...Placed) error) error {
		for i, k := range l.of {
			p := &c.papers[i]
			if err := put(Placed{p.ID, l.points[i].X, l.points[i].Y, int32(k + 1), l.names[k], p.Year, p.Title}); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	middles := l.middles()
	return report, write(r, files[1], report, func(put func(...PlacedCluster) error) error {
		for k, size := range l.sizes {
			if err := put(PlacedCluster{int32(k + 1), l.names[k], int32(size), middles[k].X, middles[k].Y}); err != nil {
				return err
			}
		}
		return nil
	})
}

// writeRows is how many rows are given to a table at a time.
const writeRows = 4096

// write writes a result file.
func write[T any](r *run, name string, report Report, rows func(put func(...T) error) error) error {
	r.progress("writing "+name, 0, 0)
	return sealed.WriteWhole(r.root, name, func(w io.Writer) error {
		out, err := table.NewWriter[T](w, table.Format(r.t.Format), report)
		if err != nil {
			return err
		}
		some := make([]T, 0, writeRows)
		flush := func() error {
			err := out.Write(some)
			some = some[:0]
			return errors.Join(err, r.ctx.Err())
		}
		err = rows(func(more ...T) error {
			some = append(some, more...)
			if len(some) < writeRows {
				return nil
			}
			return flush()
		})
		return errors.Join(err, flush(), out.Close())
	})
}
