package retrieval

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"embedd/internal/testkit"
)

var (
	histories  = flag.Int("histories", 10, "how many histories the tests of linearizability check")
	historyOps = flag.Int("ops", 2000, "calls of each")
)

const (
	linearClients = 8
	linearIDs     = 20
)

// A test of linearizability calls a collection from many goroutines at once, and asks of what came back whether it could have come from
// calls made one after the other, each at some moment between its call and its return. Ids do not depend on each other, so each is asked
// about by itself.

// linearCall is a call about one paper.
type linearCall struct {
	Kind  string // upsert, insert, update, set, delete or get
	ID    string
	Paper Paper // of a write; a set is of its year alone
}

// linearReturn is what came back of it. A call that a kill cut off has returned nothing.
type linearReturn struct {
	CutOff  bool
	Refused bool    // because it is stored, or is not
	Outcome Outcome // of an upsert
	Deleted bool
	Got     string // of a get: title and year; empty: it is not stored
}

// content is what a get of a paper gives.
func content(p Paper) string { return fmt.Sprint(p.Title, " ", p.Year) }

// linearModel is one paper's life; a state is its content, empty while it is not stored.
var linearModel = (&porcupine.NondeterministicModel{
	Init: func() []any { return []any{""} },
	Step: func(state, input, output any) []any {
		now, in, out := state.(string), input.(linearCall), output.(linearReturn)
		then, possible := now, false
		switch in.Kind {
		case "upsert":
			then = content(in.Paper)
			switch out.Outcome {
			case Created:
				possible = now == ""
			case Updated:
				possible = now != ""
			case Unchanged:
				possible = now == then
			}
		case "insert":
			then = content(in.Paper)
			if possible = (now == "") != out.Refused; now != "" {
				then = now
			}
		case "update":
			then = content(in.Paper)
			if possible = (now != "") != out.Refused && (out.Outcome != Unchanged || now == then); now == "" {
				then = now
			}
		case "set":
			if possible = (now != "") != out.Refused; now != "" {
				then = now[:strings.LastIndexByte(now, ' ')+1] + fmt.Sprint(in.Paper.Year)
			}
			possible = possible && (out.Outcome != Unchanged || now == then)
		case "delete":
			then, possible = "", out.Deleted == (now != "")
		case "get":
			possible = out.Got == now
		}
		switch {
		case out.CutOff: // it has happened, or never will
			return []any{now, then}
		case possible:
			return []any{then}
		}
		return nil
	},
	Partition: func(history []porcupine.Operation) (parts [][]porcupine.Operation) {
		by := map[string][]porcupine.Operation{}
		for _, op := range history {
			id := op.Input.(linearCall).ID
			by[id] = append(by[id], op)
		}
		for _, part := range by {
			parts = append(parts, part)
		}
		return parts
	},
	DescribeOperation: func(input, output any) string { return fmt.Sprintf("%+v -> %+v", input, output) },
}).ToModel()

// checkHistory fails the test where a history could not have come of calls one after the other. It is kept then, for a browser.
func checkHistory(t *testing.T, history []porcupine.Operation) {
	t.Helper()
	result, info := porcupine.CheckOperationsVerbose(linearModel, history, 2*time.Minute)
	if result == porcupine.Ok {
		return
	}
	name := filepath.Join(os.TempDir(), fmt.Sprintf("embedd-history-%d.html", time.Now().UnixNano()))
	t.Errorf("a history of %d calls is %v; see %s (%v)", len(history), result, name, porcupine.VisualizePath(linearModel, info, name))
}

// linearClient makes calls and tells of their begin and their end.
type linearClient struct {
	number int
	c      *Collection
	rng    *rand.Rand
	begun  func(client int, call linearCall) (id int)
	ended  func(id int, r linearReturn)
}

func (l *linearClient) step(ctx context.Context) error {
	call := linearCall{ID: fmt.Sprint("p", l.rng.IntN(linearIDs))}
	// Few texts and many years: a paper often changes beside its text, and keeps its vector.
	call.Paper = Paper{ID: call.ID, Title: fmt.Sprint(call.ID, " text ", l.rng.IntN(3)), Year: int32(l.rng.IntN(1000))}
	switch l.rng.IntN(13) {
	case 10:
		call.Kind = "insert"
	case 11:
		call.Kind = "update"
	case 12:
		call.Kind = "set"
	case 0, 1, 2, 3:
		call.Kind = "upsert"
		if l.rng.IntN(4) == 0 { // which may be just what is stored
			if p, _, err := l.c.Get(context.Background(), call.ID, Which{}); err == nil {
				call.Paper = p
			}
		}
	case 4, 5:
		call.Kind = "delete"
	default:
		call.Kind = "get"
	}
	id := l.begun(l.number, call)
	var r linearReturn
	switch call.Kind {
	case "upsert":
		results, _, err := l.c.Upsert(ctx, []Paper{call.Paper})
		if err != nil {
			return err
		}
		r.Outcome = results[0].Outcome
	case "insert", "update", "set":
		var results []UpsertResult
		var err error
		switch call.Kind {
		case "insert":
			results, _, err = l.c.Write(ctx, []Paper{call.Paper}, InsertOnly)
		case "update":
			results, _, err = l.c.Write(ctx, []Paper{call.Paper}, UpdateOnly)
		case "set":
			results, _, err = l.c.UpdateMetadata(ctx, []MetadataUpdate{{ID: call.ID, Paper: call.Paper, Mask: []string{"year"}}})
		}
		switch KindOf(err) {
		case AlreadyExists, NotFound:
			r.Refused = true
		default:
			if err != nil {
				return err
			}
			r.Outcome = results[0].Outcome
		}
	case "delete":
		n, _, _, err := l.c.Delete(ctx, []string{call.ID})
		if err != nil {
			return err
		}
		r.Deleted = n == 1
	case "get":
		p, _, err := l.c.Get(context.Background(), call.ID, Which{})
		if err != nil && KindOf(err) != NotFound {
			return err
		}
		if err == nil {
			r.Got = content(p)
		}
	}
	l.ended(id, r)
	return nil
}

// linearHistory is a history on its way. Time is the order in which it was told.
type linearHistory struct {
	mu  sync.Mutex
	now int64
	ops []porcupine.Operation
}

func (h *linearHistory) begun(client int, call linearCall) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.now++
	h.ops = append(h.ops, porcupine.Operation{ClientId: client, Input: call, Call: h.now, Output: linearReturn{CutOff: true}, Return: -1})
	return len(h.ops) - 1
}

func (h *linearHistory) ended(id int, r linearReturn) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.now++
	h.ops[id].Output, h.ops[id].Return = r, h.now
}

// cut says that what has not returned never will: it has happened by now or it does not.
func (h *linearHistory) cut() {
	h.now++
	for i := range h.ops {
		if h.ops[i].Return < 0 {
			h.ops[i].Return = h.now
		}
	}
}

// Upsert, Delete and Get of many clients at once are as if they came one after the other.
func TestLinearizable(t *testing.T) {
	rng := testkit.Rand(t)
	for range fewer(*histories) {
		c := open(t, t.TempDir(), newBag())
		h := &linearHistory{}
		var wg sync.WaitGroup
		for number := range linearClients {
			l := linearClient{number, c, rand.New(rand.NewPCG(rng.Uint64(), 0)), h.begun, h.ended}
			wg.Go(func() {
				for range *historyOps / linearClients {
					if err := l.step(t.Context()); err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		wg.Wait()
		checkHistory(t, h.ops)
		shut(t, c)
	}
}

// A child of this test makes calls for ever on a real directory, and tells of them on its standard output: a line is there before the
// call, and one after it.
const (
	linearChildDir  = "EMBEDD_LINEAR_TEST_DIR"
	linearChildSeed = "EMBEDD_LINEAR_TEST_SEED"
)

// linearLine is what the child says: Call is set at the begin of a call, Return at its end.
type linearLine struct {
	ID, Client int
	Call       *linearCall   `json:",omitempty"`
	Return     *linearReturn `json:",omitempty"`
}

func linearChild(dir string) {
	var seed uint64
	fmt.Sscan(os.Getenv(linearChildSeed), &seed)
	c, err := Open(context.Background(), dir, newBag(), nil)
	if err == nil {
		c.LoadDerived() // which Check proves
	}
	if err != nil {
		panic(err)
	}
	var mu sync.Mutex // guards next, and keeps lines whole
	next := 0
	say := func(line linearLine) {
		text, err := json.Marshal(line)
		if err != nil {
			panic(err)
		}
		os.Stdout.Write(append(text, '\n')) // unbuffered: it survives a kill
	}
	begun := func(client int, call linearCall) int {
		mu.Lock()
		defer mu.Unlock()
		next++
		say(linearLine{ID: next, Client: client, Call: &call})
		return next
	}
	ended := func(id int, r linearReturn) {
		mu.Lock()
		defer mu.Unlock()
		say(linearLine{ID: id, Return: &r})
	}
	for number := range linearClients {
		l := linearClient{number, c, rand.New(rand.NewPCG(seed, uint64(number))), begun, ended}
		go func() {
			for {
				if err := l.step(context.Background()); err != nil {
					panic(err)
				}
			}
		}()
	}
	select {}
}

// The same holds of a history with kills in it: what a call or a get has returned is not taken away by them.
func TestLinearizableThroughKills(t *testing.T) {
	rng := testkit.Rand(t)
	for range fewer(*histories) {
		dir, h := t.TempDir(), &linearHistory{}
		for len(h.ops) < *historyOps {
			if err := linearLife(rng, dir, h, *historyOps/4); err != nil {
				t.Fatal(err)
			}
		}
		// What is left is read once more.
		c, err := Open(t.Context(), dir, newBag(), nil)
		if err != nil {
			t.Fatal(err)
		}
		for i := range linearIDs {
			call := linearCall{Kind: "get", ID: fmt.Sprint("p", i)}
			id := h.begun(0, call)
			p, _, err := c.Get(context.Background(), call.ID, Which{})
			if err != nil && KindOf(err) != NotFound {
				t.Fatal(err)
			}
			var r linearReturn
			if err == nil {
				r.Got = content(p)
			}
			h.ended(id, r)
		}
		shut(t, c)
		checkHistory(t, h.ops)
	}
}

// linearLife runs a child, kills it after about so many calls, and adds what it told to the history.
func linearLife(rng *rand.Rand, dir string, h *linearHistory, calls int) error {
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), linearChildDir+"="+dir, fmt.Sprintf("%s=%d", linearChildSeed, rng.Uint64()))
	child.Stderr = os.Stderr
	out, err := child.StdoutPipe()
	if err != nil {
		return err
	}
	if err := child.Start(); err != nil {
		return err
	}
	kill := calls/2 + rng.IntN(calls)
	ids, begun := map[int]int{}, 0 // by the child's
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		var line linearLine
		if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
			return errors.Join(err, child.Process.Kill(), child.Wait())
		}
		if line.Call != nil {
			ids[line.ID] = h.begun(line.Client, *line.Call)
			if begun++; begun == kill {
				time.AfterFunc(time.Duration(rng.IntN(3000))*time.Microsecond, func() { child.Process.Kill() })
			}
		} else {
			h.ended(ids[line.ID], *line.Return)
		}
	}
	h.cut()
	var exit *exec.ExitError
	if err := child.Wait(); !errors.As(err, &exit) || exit.Exited() || begun < kill {
		return fmt.Errorf("the child was not killed: %v after %d calls", err, begun)
	}
	return nil
}

// The model itself must say no where it should.
func TestLinearModelRefuses(t *testing.T) {
	paper := func(title string) Paper { return Paper{ID: "a", Title: title} }
	upsert := func(at int64, title string, o Outcome, until int64) porcupine.Operation {
		return porcupine.Operation{Input: linearCall{Kind: "upsert", ID: "a", Paper: paper(title)}, Output: linearReturn{Outcome: o, CutOff: o == 0}, Call: at, Return: until}
	}
	get := func(at int64, title string) porcupine.Operation {
		r := linearReturn{}
		if title != "" {
			r.Got = content(paper(title))
		}
		return porcupine.Operation{Input: linearCall{Kind: "get", ID: "a"}, Output: r, Call: at, Return: at + 1}
	}
	for name, history := range map[string][]porcupine.Operation{
		"an acknowledged write is lost":        {upsert(1, "x", Created, 2), get(3, "")},
		"an old version comes back":            {upsert(1, "x", Created, 2), upsert(3, "y", Updated, 4), get(5, "x")},
		"what was seen is taken away":          {upsert(1, "x", 0, 10), get(3, "x"), get(5, "")},
		"a call that was cut off happens late": {upsert(1, "x", 0, 3), get(4, ""), get(6, "x")},
	} {
		if porcupine.CheckOperations(linearModel, history) {
			t.Errorf("%s: accepted", name)
		}
	}
	good := []porcupine.Operation{upsert(1, "x", 0, 3), get(4, "x"), upsert(6, "x", Unchanged, 7)}
	if !porcupine.CheckOperations(linearModel, slices.Clone(good)) {
		t.Error("a good history is refused")
	}
}
