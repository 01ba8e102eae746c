// Command worker runs the indexes that are written in Go for bench/ann/run.py: package ann, and the first one. It reads a JSON
// object a line from its input, does what the field op says, and writes one JSON object a line: the answer, or {"error": …}.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"

	"golang.org/x/sys/unix"
)

// request is what every op takes; each uses some of it. Rows are numbers in the loaded file, and a vector's label is its row.
type request struct {
	Op    string `json:"op"`
	Index string `json:"index"` // which index, as a process may hold several; "" is one too

	File string `json:"file"` // load, neighbors: vectors to read, neighbours to write; save, open: a snapshot
	Dim  int    `json:"dim"`

	Engine         string `json:"engine"` // embedd or first
	Memory         string `json:"memory"` // embedd's memory mode
	Bit            bool   `json:"bit"`    // codes of a bit a value
	N              int    `json:"n"`      // build: of the rows 0 to n-1
	Threads        int    `json:"threads"`
	M              int    `json:"m"`
	EfConstruction int    `json:"ef_construction"`

	Queries [2]int  `json:"queries"` // the first row and the one after the last
	K       int     `json:"k"`
	Ef      int     `json:"ef"`
	Recall  float64 `json:"recall"`
	Plan    string  `json:"plan"`    // "", graph, scan or exact
	Filter  string  `json:"filter"`  // a file of labels, uint32 little-endian
	Seconds float64 `json:"seconds"` // how long to measure

	Rounds  int     `json:"rounds"`   // churn: how often every vector is deleted and inserted again
	Share   float64 `json:"share"`    // churn: how much of the vectors is deleted before it is consolidated
	Until   int     `json:"until"`    // writers: they insert the rows n to until-1
	PauseUS int     `json:"pause_us"` // writers: between two searches
	Cold    bool    `json:"cold"`     // open: put the file out of the page cache first
}

type worker struct {
	ctx     context.Context
	data    *vectors
	indexes map[string]engine
}

var ops = map[string]func(*worker, *request) (any, error){
	"load":      (*worker).load,
	"build":     (*worker).build,
	"settle":    (*worker).settle,
	"search":    (*worker).search,
	"calibrate": (*worker).calibrate,
	"check":     (*worker).check,
	"save":      (*worker).save,
	"open":      (*worker).open,
	"neighbors": (*worker).neighbors,
	"churn":     (*worker).churn,
	"writers":   (*worker).writers,
}

func main() {
	if err := serve(); err != nil {
		fmt.Fprintln(os.Stderr, "worker:", err)
		os.Exit(1)
	}
}

func serve() error {
	runtime.LockOSThread() // for the thread's CPU time
	w := &worker{ctx: context.Background(), indexes: map[string]engine{}}
	in, out := bufio.NewScanner(os.Stdin), json.NewEncoder(os.Stdout)
	for in.Scan() {
		r := &request{}
		if err := json.Unmarshal(in.Bytes(), r); err != nil {
			return err
		}
		var answer any
		do, err := ops[r.Op], fmt.Errorf("no op %q", r.Op)
		if do != nil {
			answer, err = do(w, r)
		}
		if err != nil {
			answer = map[string]string{"error": fmt.Sprintf("%s: %v", r.Op, err)}
		}
		if err := out.Encode(answer); err != nil {
			return err
		}
	}
	return in.Err()
}

func (w *worker) load(r *request) (any, error) {
	var err error
	w.data, err = mapVectors(r.File, r.Dim)
	if err != nil {
		return nil, err
	}
	return map[string]any{"rows": w.data.rows(), "go": runtime.Version(), "goamd64": setting("GOAMD64")}, nil
}

func setting(key string) string {
	info, _ := debug.ReadBuildInfo()
	for _, s := range info.Settings {
		if s.Key == key {
			return s.Value
		}
	}
	return ""
}

func (w *worker) build(r *request) (any, error) {
	if w.data == nil || r.N > w.data.rows() {
		return nil, errors.New("no data, or less than n rows")
	}
	begin := now()
	x, err := build(w.ctx, r, w.data)
	if err != nil {
		return nil, err
	}
	w.indexes[r.Index] = x
	return begin.until(), nil
}

// settle gives back what the build left over, and the pages of the vectors that were read, before memory is read from outside.
func (w *worker) settle(*request) (any, error) {
	debug.FreeOSMemory()
	return struct{}{}, unix.Madvise(w.data.mapped, unix.MADV_DONTNEED)
}

func (w *worker) index(r *request) (engine, error) {
	x := w.indexes[r.Index]
	if x == nil {
		return nil, fmt.Errorf("no index %q", r.Index)
	}
	return x, nil
}
