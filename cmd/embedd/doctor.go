package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"embedd/ann"
	"embedd/internal/collections"
	"embedd/internal/memory"
	"embedd/internal/retrieval"
	"embedd/models"
	embeddv1 "embedd/proto/embedd/v1"
)

type doctorCmd struct {
	outputFlags
	Data   string      `help:"Data directory to look at, which no server may have open; default: data in the .embedd folder, if it is there." placeholder:"DIR"`
	Engine engineFlags `embed:""`
}

func (doctorCmd) Help() string {
	return `Looks at the machine, the model and the data directory, and says what to do where something is not well. Nothing is changed. The status is 1
where a check has failed.

Example:
  embedd doctor --data /srv/papers`
}

// verdict is how a check came out.
type verdict string

// The verdicts: doubt is for what may be meant so, broken for what will not hold.
const (
	good   verdict = "ok"
	doubt  verdict = "warn"
	broken verdict = "fail"
)

// finding is the outcome of one check.
type finding struct {
	Check  string  `json:"check"`
	Status verdict `json:"status"`
	Value  string  `json:"value"`
	// Advice says what to do; "" where nothing is.
	Advice string `json:"advice,omitempty"`
}

// unless is a finding that is well but for one thing.
func unless(bad bool, check string, status verdict, value, advice string) finding {
	if !bad {
		return finding{check, good, value, ""}
	}
	return finding{check, status, value, advice}
}

func (c *doctorCmd) Run(e *env) error {
	if err := c.Engine.check(); err != nil {
		return err
	}
	findings := []finding{checkKernels(), checkHugePages(), checkFiles(), checkClock()}
	dir, here, err := c.directory()
	if err != nil {
		return err
	}
	findings = append(findings, checkSync(dir), checkSpace(dir, c.Data))
	model := c.checkModel()
	findings = append(findings, model)
	switch {
	case !here:
		findings = append(findings, finding{"data directory", good, "there are no papers yet", ""})
	case model.Status != broken:
		about, err := c.checkData(e, c.Data, c.Engine)
		if err != nil {
			return err
		}
		findings = append(findings, about...)
	}
	others, err := c.checkCollections(e)
	if err != nil {
		return err
	}
	findings = append(findings, others...)
	return c.report(e, findings)
}

// directory gives the folder whose disk is measured: the data directory, or the nearest one above where that is not there; here tells
// whether it has a store to look into, or should have. c.Data gets its default.
func (c *doctorCmd) directory() (dir string, here bool, err error) {
	asked := c.Data != ""
	if c.Data, err = dataDir(c.Data); err != nil {
		return "", false, err
	}
	err = checkFolder(c.Data)
	if err != nil && asked {
		return "", false, err
	}
	there, err := exists(c.Data)
	here = there || err != nil // opening it says what is wrong
	for dir = c.Data; ; dir = filepath.Dir(dir) {
		if fi, err := os.Stat(dir); err == nil && fi.IsDir() || dir == filepath.Dir(dir) {
			return dir, here, nil
		}
	}
}

func (c *doctorCmd) report(e *env, findings []finding) error {
	failed := 0
	for _, f := range findings {
		if f.Status == broken {
			failed++
		}
	}
	if c.JSON {
		err := printJSON(e.stdout, struct {
			OK     bool      `json:"ok"`
			Checks []finding `json:"checks"`
		}{failed == 0, findings})
		if err != nil {
			return err
		}
	} else {
		t := newTable(e.stdout)
		for _, f := range findings {
			t.row(string(f.Status), f.Check, f.Value)
		}
		if err := t.flush(); err != nil {
			return err
		}
		for _, f := range findings {
			if f.Advice != "" {
				fmt.Fprintf(e.stdout, "\n%s: %s\n", f.Check, f.Advice)
			}
		}
	}
	if failed > 0 {
		return fmt.Errorf("%d of %d checks failed", failed, len(findings))
	}
	return nil
}

// checkModel hashes the files of the model.
func (c *doctorCmd) checkModel() finding {
	const name = "model files"
	if err := c.Engine.resolve(); err != nil {
		return finding{name, broken, err.Error(), "Run make setup, or name the folders with --models and --library."}
	}
	m, err := models.Open(c.Engine.Models, c.Engine.Model)
	if err == nil {
		err = m.Verify()
	}
	if err != nil {
		return finding{name, broken, err.Error(), fmt.Sprintf("Bring the files again: embedd models pull %s", c.Engine.Model)}
	}
	return finding{name, good, fmt.Sprintf("%s: hashes are those of its manifest", m.ID), ""}
}

// checkCollections looks at the collections beside the default one as at that.
func (c *doctorCmd) checkCollections(e *env) (findings []finding, err error) {
	names, err := collections.Names(c.Data)
	if err != nil {
		return []finding{{"collections", broken, err.Error(), "The data directory must be readable for the user that the server runs as."}}, nil
	}
	for _, name := range names {
		engine := c.Engine
		engine.Model, engine.Dimension = models.Default, 0 // it says them itself
		about, err := c.checkData(e, filepath.Join(c.Data, "collections", name), engine)
		if err != nil {
			return nil, err
		}
		for _, f := range about {
			f.Check += ", collection " + name
			findings = append(findings, f)
		}
	}
	return findings, nil
}

// checkData opens the data directory as every command does, and compares the index with exact search.
func (c *doctorCmd) checkData(e *env, dir string, engine engineFlags) ([]finding, error) {
	const name = "data directory"
	f := clientFlags{placeFlags: placeFlags{Data: dir, Engine: engine}}
	cl, err := f.open(e, false)
	switch {
	case e.ctx.Err() != nil:
		return nil, e.ctx.Err()
	case errors.Is(err, retrieval.ErrInUse):
		return []finding{{name, doubt, "a server has it open", "It was not looked into. Stop the server first, or watch its metrics."}}, nil
	case err != nil:
		return []finding{{name, broken, err.Error(), "Where files are damaged, embedd check says which, and embedd restore brings back a backup. Where the model is another, name the right one with --model."}}, nil
	}
	used, unknown := memory.Resident() // with model and index in it, and nothing else
	info, err := cl.info.GetInfo(e.ctx, &embeddv1.GetInfoRequest{})
	if err != nil {
		return nil, errors.Join(err, cl.close())
	}
	n := info.GetCounts()
	findings := []finding{
		unless(n.GetPapers() != n.GetIndexedVectors(), name, broken, fmt.Sprintf("%d papers, %d in the index", n.GetPapers(), n.GetIndexedVectors()),
			"Stop embedd and run embedd repair --drop-derived: the next start makes the index anew from the papers."),
		checkMemory(used, unknown, n.GetPapers()),
	}
	about, err := checkPapers(e.ctx, cl, int(n.GetPapers()))
	if err = errors.Join(err, cl.close()); err != nil {
		return nil, err
	}
	return append(findings, about...), nil
}

// checkPapers reads a sample of the papers and, where they are whole, searches with them.
func checkPapers(ctx context.Context, cl *client, stored int) ([]finding, error) {
	ids, err := someIDs(ctx, cl)
	if err != nil {
		return damaged(err)
	}
	for _, id := range ids { // the vectors are read by the searches
		if _, err := cl.papers.GetPaper(ctx, &embeddv1.GetPaperRequest{Id: id}); err != nil {
			return damaged(err)
		}
	}
	recall, err := checkRecall(ctx, cl, ids)
	if err != nil {
		return damaged(err)
	}
	return []finding{{papersCheck, good, fmt.Sprintf("%d of %d were read with their vectors, and are as they were written; embedd check reads all", len(ids), stored), ""}, recall}, nil
}

const papersCheck = "papers"

// damaged is the finding of papers that were damaged, where that is the error.
func damaged(err error) ([]finding, error) {
	if status.Code(err) != codes.DataLoss {
		return nil, err
	}
	return []finding{{papersCheck, broken, explain(err), "embedd check reads all papers and says which are damaged. Restore a backup; where there is none, see embedd repair --help."}}, nil
}

const (
	// recallPapers are compared at most, out of the first recallAmong.
	recallPapers = 200
	recallAmong  = 10 * retrieval.MaxPageSize
	recallK      = 10
	// Below recallWarn the index does not find what a search asks for by default; below recallFail something is wrong with it.
	recallWarn, recallFail = 0.95, 0.9
)

// checkRecall searches the neighbours of stored papers in the index and exactly.
func checkRecall(ctx context.Context, cl *client, ids []string) (finding, error) {
	const name = "recall@10"
	found, all := 0, 0
	k := int32(recallK)
	for _, id := range ids {
		near := func(exact bool) ([]*embeddv1.Hit, error) {
			res, err := cl.search.Related(ctx, &embeddv1.RelatedRequest{Id: id, K: &k, Exact: exact, View: embeddv1.PaperView_PAPER_VIEW_ID})
			return res.GetHits(), err
		}
		want, err := near(true)
		if err != nil {
			return finding{}, err
		}
		got, err := near(false)
		if err != nil {
			return finding{}, err
		}
		if len(want) == 0 {
			continue
		}
		// Of papers that are as near as the last, any will do.
		least := want[len(want)-1].GetScore() - 1e-4 // the one compares what is stored, the other what the index keeps of it
		all += len(want)
		for _, h := range got {
			if h.GetScore() >= least {
				found++
			}
		}
	}
	if all == 0 {
		return finding{name, good, "too few papers to compare", ""}, nil
	}
	recall := float64(min(found, all)) / float64(all)
	status := doubt
	if recall < recallFail {
		status = broken
	}
	return unless(recall < recallWarn, name, status, fmt.Sprintf("%.4f with %d stored papers as queries, against exact search", recall, len(ids)),
		"Ask for more with --recall, or have the next start make the index anew: embedd repair --drop-derived. Many papers with the same text are found in any order."), nil
}

// someIDs are ids of stored papers, evenly taken from the first of them.
func someIDs(ctx context.Context, cl *client) ([]string, error) {
	var all []string
	size := int32(retrieval.MaxPageSize)
	for token := ""; ; {
		res, err := cl.papers.ListPapers(ctx, &embeddv1.ListPapersRequest{PageSize: &size, PageToken: token, View: embeddv1.PaperView_PAPER_VIEW_ID})
		if err != nil {
			return nil, err
		}
		for _, p := range res.GetPapers() {
			all = append(all, p.GetId())
		}
		if token = res.GetNextPageToken(); token == "" || len(all) >= recallAmong {
			break
		}
	}
	n := min(recallPapers, len(all))
	ids := make([]string, n)
	for i := range ids {
		ids[i] = all[i*len(all)/n]
	}
	return ids, nil
}

// checkKernels says which vector instructions are used.
func checkKernels() finding {
	s := simdLevel()
	return unless(ann.Kernels() == "go", "vector instructions", doubt, fmt.Sprintf("index: %s; encoder: %s", ann.Kernels(), s.Level),
		"The index compares without vector instructions, many times slower. Is this an emulated or a very old CPU?")
}

// checkClock compares the two clocks, and looks whether the year can be right.
func checkClock() finding {
	begin := time.Now()
	time.Sleep(200 * time.Millisecond)
	return clockFinding(begin, time.Since(begin), time.Now().Round(0).Sub(begin.Round(0)))
}

func clockFinding(now time.Time, monotonic, wall time.Duration) finding {
	const name = "clock"
	jump := (wall - monotonic).Abs()
	value := fmt.Sprintf("%s, moved by %v against the monotonic clock in %v", now.UTC().Format(time.RFC3339), jump.Round(time.Microsecond), monotonic.Round(time.Millisecond))
	if year := now.UTC().Year(); year < 2025 || year > 2100 {
		return finding{name, broken, value, "The year cannot be right: certificates and the log's times will not be either. Set the clock, and keep it with NTP."}
	}
	return unless(jump > 50*time.Millisecond, name, doubt, value, "The wall clock was set while it was watched. Keep it with NTP, which slews it.")
}

// checkSync measures how long an append of 4 KiB takes to be on the disk, as each write waits for that.
func checkSync(dir string) finding {
	const name = "sync of the disk"
	times, err := syncTimes(dir, 200, 2*time.Second)
	if err != nil {
		return finding{name, broken, err.Error(), "The data directory must be writable for the user that the server runs as."}
	}
	return syncFinding(times, inMemory(dir))
}

func syncFinding(times []time.Duration, memory bool) finding {
	const name = "sync of the disk"
	p50, p99 := times[len(times)/2], times[len(times)*99/100]
	value := fmt.Sprintf("4 KiB in %.2f ms, 1 of 100 in more than %.2f ms (%d tried)", p50.Seconds()*1e3, p99.Seconds()*1e3, len(times))
	switch {
	case memory:
		return finding{name, doubt, value, "The folder is in memory (tmpfs): what is stored there is gone when the machine stops."}
	case p99 > time.Second:
		return finding{name, broken, value, "The disk takes longer than a second to sync: writes will time out. Is it failing, full, or shared with something heavy?"}
	case p99 > 100*time.Millisecond:
		return finding{name, doubt, value, "Each write waits for a sync. A local SSD takes a few milliseconds; a network disk, or one that is shared, more."}
	case p50 < 20*time.Microsecond:
		return finding{name, doubt, value, "No disk is that fast: it says that data is on it before it is, and a power cut may lose what was acknowledged. Is its write cache kept by a battery?"}
	}
	return finding{name, good, value, ""}
}

// checkSpace compares the free space with what is stored: the store's files and the index's snapshot are written anew before the old
// ones go.
func checkSpace(dir, data string) finding {
	const name = "free space"
	free, err := freeBytes(dir)
	if err != nil {
		return finding{name, broken, err.Error(), "The data directory must be readable for the user that the server runs as."}
	}
	names, err := collections.Names(data)
	if err != nil {
		return finding{name, broken, err.Error(), "The data directory must be readable for the user that the server runs as."}
	}
	store, other := fileBytes(data)
	for _, of := range names {
		s, o := fileBytes(filepath.Join(data, "collections", of))
		store, other = store+s, other+o
	}
	return spaceFinding(free, store+other)
}

func spaceFinding(free, stored int64) finding {
	const least = 256 << 20
	value := fmt.Sprintf("%s free, %s stored", sizeText(free), sizeText(stored))
	const advice = "Files are written anew before the old ones go: keep as much free as is stored, and 256 MiB at least."
	if free < least {
		return finding{"free space", broken, value, advice}
	}
	return unless(free < stored, "free space", doubt, value, advice)
}

// madeOfPaper is about what a server makes of each paper and has in memory beside the index: words, fields for filters, works, 20 kept neighbours and a card, in
// bytes. A command makes none of it before it is asked for.
const madeOfPaper = 2700

// checkMemory compares what this process has taken, with model and index open, and what a server takes beside that, with what it may take where nothing else
// is said.
func checkMemory(used uint64, err error, papers int64) finding {
	limit, unknown := memory.Default()
	if err != nil || unknown != nil {
		return finding{"memory limit", good, "not known on this system", ""}
	}
	return memoryFinding(int64(used)+papers*madeOfPaper, int64(limit))
}

// memoryFinding takes what model, index and what is derived need. The store's cache fills as it is needed, and then stays as large as it may be.
func memoryFinding(used, limit int64) finding {
	const name = "memory limit"
	value := fmt.Sprintf("%s are needed for model, index and what is made of the papers, and up to %s for the store's cache; %s is what a server may take (--memory-limit)",
		sizeText(used), sizeText(retrieval.StoreCacheBytes), sizeText(limit))
	const advice = "Beside the store's cache, calls and writes need half as much again. Raise the limit, or keep the index smaller with --index-memory lean (docs/index.md)."
	if used > limit*9/10 {
		return finding{name, broken, value, advice}
	}
	return unless(used*3/2+retrieval.StoreCacheBytes > limit, name, doubt, value, advice)
}

// checkHugePages says whether the kernel backs the index by huge pages.
func checkHugePages() finding {
	const name = "huge pages"
	text, err := os.ReadFile("/sys/kernel/mm/transparent_hugepage/enabled")
	if err != nil {
		return finding{name, good, "not known on this system", ""}
	}
	_, rest, _ := strings.Cut(string(text), "[")
	mode, _, _ := strings.Cut(rest, "]")
	return unless(mode == "never", name, doubt, cmp.Or(mode, "unknown"),
		"A large index is searched up to twice as fast with huge pages, which it asks for: echo madvise > /sys/kernel/mm/transparent_hugepage/enabled")
}

// checkFiles looks at how many files and connections the process may have open.
func checkFiles() finding {
	const name = "open files"
	limit, err := fileLimit()
	if err != nil {
		return finding{name, good, "not known on this system", ""}
	}
	return filesFinding(limit)
}

func filesFinding(limit uint64) finding {
	const advice = "The store has some hundreds of files open, and each connection is one more: set ulimit -n, or LimitNOFILE of the service, to 65536."
	if limit < 512 {
		return finding{"open files", broken, fmt.Sprintf("%d at most", limit), advice}
	}
	return unless(limit < 4096, "open files", doubt, fmt.Sprintf("%d at most", limit), advice)
}

// sizeText is a number of bytes for people.
func sizeText(n int64) string {
	for _, u := range []struct {
		name  string
		bytes int64
	}{{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}} {
		if n >= u.bytes {
			return fmt.Sprintf("%.1f %s", float64(n)/float64(u.bytes), u.name)
		}
	}
	return fmt.Sprintf("%.1f KiB", float64(n)/1024)
}
