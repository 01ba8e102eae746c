package chaos

import (
	"context"
	"flag"
	"fmt"
	"io/fs"
	"math"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/procfs"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	"embedd/internal/testkit"
	embeddv1 "embedd/proto/embedd/v1"
)

var soak = flag.Duration("soak", 0, "how long TestSoak lets the server be used; 0: not at all")

const (
	soakIDs    = 10000            // three in four are stored; fewer would not let tombstones be taken out before their bar
	soakEvery  = 10 * time.Second // a sample
	soakSlots  = 16               // calls at once, at most
	soakWindow = 10 * time.Second // to find out what the server can do
)

// soakBars are the slopes that a sample may have, per hour. A run of minutes does not tell such slopes from noise: it fails where a
// slope is above its bar by more than twice the error of the fit, a run of less than an hour may grow by what an hour may, and what comes
// in wholes by one.
var soakBars = []struct {
	name  string
	bar   float64 // per hour
	whole bool
}{
	{"heap in use, MiB", 0.5, false},
	{"resident, MiB", 5, false},
	{"resident beside Go's, MiB", 5, false},
	{"goroutines", 0, true},
	{"file descriptors", 0, true},
}

// TestSoak uses the server for a long time at half of what it can do, and looks whether anything grows that should not: memory in and beside
// Go's heap, goroutines, file descriptors, the slowest calls, the disk.
func TestSoak(t *testing.T) {
	if *soak == 0 {
		t.Skip("make soak")
	}
	rng := testkit.Rand(t)
	program, err := ordinary()
	if err != nil {
		t.Fatal(err)
	}
	data := t.TempDir()
	s, err := start(program, data, false, "")
	if err != nil {
		t.Fatal(err)
	}
	defer s.kill()
	if _, err := s.ready(readyLimit); err != nil {
		t.Fatal(err)
	}
	u := &use{s: s, rng: rand.New(rand.NewPCG(rng.Uint64(), 0))}
	for i := 0; i < soakIDs; i += 500 {
		if err := u.fill(i, 500); err != nil {
			t.Fatal(err)
		}
	}
	if err := u.fillMemory(); err != nil {
		t.Fatal(err)
	}
	capacity := u.run(soakWindow, 0)
	u.took = nil
	rate := capacity / 2
	fmt.Printf("the server makes %.0f calls a second; it is used at %.0f for %v\n", capacity, rate, *soak)
	fmt.Printf("%8s %10s %10s %10s %10s %6s %10s %10s %10s\n", "after", "heap MiB", "rss MiB", "beside MiB", "goroutines", "fds", "p99 ms", "disk MiB", "tombstones")
	var samples []soakSample
	begin := time.Now()
	for time.Since(begin) < *soak {
		u.run(soakEvery, rate)
		x, err := u.sample(data, time.Since(begin))
		if err != nil {
			t.Fatal(err)
		}
		samples = append(samples, x)
		fmt.Printf("%8v %10.1f %10.1f %10.1f %10.0f %6.0f %10.2f %10.1f %10.3f\n", x.after.Round(time.Second), x.values[0], x.values[1], x.values[2], x.values[3], x.values[4], x.p99, x.disk, x.tombstones)
	}
	fmt.Printf("%d calls were refused\n", u.refused)
	if u.failed != nil {
		t.Errorf("a call failed: %v", u.failed)
	}
	judge(t, samples)
}

// judge prints the slopes of the samples after the first third, and fails the test where they are beyond their bars.
func judge(t *testing.T, samples []soakSample) {
	samples = samples[len(samples)/3:]
	if len(samples) < 5 {
		t.Fatalf("%d samples are too few", len(samples))
	}
	hours := (samples[len(samples)-1].after - samples[0].after).Hours()
	fit := func(value func(soakSample) float64) (slope, uncertain, mean float64) {
		var x, y []float64
		for _, s := range samples {
			x, y, mean = append(x, s.after.Hours()), append(y, value(s)), mean+value(s)/float64(len(samples))
		}
		slope, uncertain = leastSquares(x, y)
		return slope, uncertain, mean
	}
	for i, b := range soakBars {
		slope, uncertain, mean := fit(func(s soakSample) float64 { return s.values[i] })
		bar := b.bar * max(1, 1/hours)
		if b.whole {
			bar = 1 / hours
		}
		verdict := "held"
		if slope-2*uncertain > bar {
			verdict = "MISSED"
			t.Errorf("%s: grows by %.2f an hour", b.name, slope)
		}
		fmt.Printf("%-28s mean %9.2f, slope %+9.2f ± %.2f an hour, bar %.2f: %s\n", b.name, mean, slope, 2*uncertain, bar, verdict)
	}
	slope, uncertain, mean := fit(func(s soakSample) float64 { return s.p99 })
	drift, error := slope*hours/mean, 2*uncertain*hours/mean
	fmt.Printf("%-28s mean %9.2f, drift %+.1f %% ± %.1f %% over the run, bar 10 %%\n", "p99, ms", mean, 100*drift, 100*error)
	if drift-error > 0.10 {
		t.Errorf("p99 drifts by %.0f %%", 100*drift)
	}
	last := samples[len(samples)-1]
	// Two logs of what is gathered in memory, two snapshots, and what filled the memory are there however few papers are stored.
	const fixed = 256
	fmt.Printf("%-28s %.1f, live data %.1f, bar 2.2 times that and %d\n", "disk, MiB", last.disk, last.live, fixed)
	if last.disk > 2.2*last.live+fixed {
		t.Errorf("%.1f MiB on disk for %.1f MiB of live data", last.disk, last.live)
	}
	for _, s := range samples {
		if s.tombstones >= 0.2 {
			t.Errorf("after %v the share of tombstones is %.2f; bar 0.2", s.after, s.tombstones)
			break
		}
	}
}

// leastSquares fits a line, and gives its slope and the standard error of that.
func leastSquares(x, y []float64) (slope, uncertain float64) {
	n := float64(len(x))
	var mx, my, xx, xy float64
	for i := range x {
		mx, my = mx+x[i]/n, my+y[i]/n
	}
	for i := range x {
		xx, xy = xx+(x[i]-mx)*(x[i]-mx), xy+(x[i]-mx)*(y[i]-my)
	}
	slope = xy / xx
	var rest float64
	for i := range x {
		d := y[i] - my - slope*(x[i]-mx)
		rest += d * d
	}
	return slope, math.Sqrt(rest / (n - 2) / xx)
}

func TestLeastSquares(t *testing.T) {
	slope, uncertain := leastSquares([]float64{0, 1, 2, 3}, []float64{1, 3, 5, 7})
	if math.Abs(slope-2) > 1e-12 || uncertain > 1e-9 {
		t.Errorf("slope %v ± %v, want 2", slope, uncertain)
	}
	if slope, uncertain := leastSquares([]float64{0, 1, 2, 3}, []float64{1, -1, 1, -1}); math.Abs(slope) > 2*uncertain {
		t.Errorf("slope %v ± %v of noise", slope, uncertain)
	}
}

// soakSample is what a server is like at a moment.
type soakSample struct {
	after      time.Duration
	values     [5]float64 // as in soakBars
	p99        float64    // in milliseconds, of the calls since the sample before
	disk, live float64    // in MiB
	tombstones float64    // share of all that is in the graph
}

// use is the server in use.
type use struct {
	s   *server
	rng *rand.Rand

	mu      sync.Mutex
	took    []time.Duration
	refused int
	failed  error
}

// paper has a random text of a random length: up to three times what the model reads.
func (u *use) paper(rng *rand.Rand, id int) *embeddv1.Paper {
	return &embeddv1.Paper{Id: fmt.Sprintf("soak/%06d", id), Title: soakText(rng, 3), Abstract: soakText(rng, 1+rng.IntN(20)), Year: int32(rng.IntN(2000))}
}

func soakText(rng *rand.Rand, words int) string {
	var b strings.Builder
	for range words {
		for range 1 + rng.IntN(9) {
			b.WriteByte(byte('a' + rng.IntN(26)))
		}
		b.WriteByte(' ')
	}
	return b.String()
}

func (u *use) fill(first, n int) error {
	req := &embeddv1.UpsertPapersRequest{}
	for i := range n {
		req.Papers = append(req.Papers, u.paper(u.rng, first+i))
	}
	_, err := u.s.papers.UpsertPapers(context.Background(), req)
	return err
}

// fillMemory writes 96 MiB and deletes them again: three times what the store gathers in memory before it writes a table. Until it has done so
// a few times the server grows by what is written, and by nothing else.
func (u *use) fillMemory() error {
	ctx := context.Background()
	for range 32 {
		req, gone := &embeddv1.UpsertPapersRequest{}, &embeddv1.DeletePapersRequest{}
		for i := range 50 {
			p := u.paper(u.rng, i)
			p.Id = fmt.Sprintf("fill/%02d", i)
			metadata, err := structpb.NewStruct(map[string]any{"fill": strings.Repeat(soakText(u.rng, 10), 30<<10/20)[:30<<10]})
			if err != nil {
				return err
			}
			p.Metadata = metadata
			req.Papers, gone.Ids = append(req.Papers, p), append(gone.Ids, p.Id)
		}
		for range 2 {
			if _, err := u.s.papers.UpsertPapers(ctx, req); err != nil {
				return err
			}
			if _, err := u.s.papers.DeletePapers(ctx, gone); err != nil {
				return err
			}
		}
	}
	return nil
}

// run makes calls for a while, at a rate or as fast as the server answers (0), and gives how many it made a second.
func (u *use) run(long time.Duration, rate float64) (perSecond float64) {
	begin := time.Now()
	ctx, cancel := context.WithTimeout(context.Background(), long)
	defer cancel()
	turns := make(chan time.Time, soakSlots) // when a call was to begin: its time counts from then
	var slots sync.WaitGroup
	for range soakSlots {
		rng := rand.New(rand.NewPCG(u.rng.Uint64(), 0))
		slots.Go(func() {
			for turn := range turns {
				err := u.call(rng)
				u.mu.Lock()
				switch {
				case status.Code(err) == codes.ResourceExhausted:
					u.refused++ // by a limit, for a moment: that is how it should be
				case err != nil && u.failed == nil:
					u.failed = err
				default:
					u.took = append(u.took, time.Since(turn))
				}
				u.mu.Unlock()
			}
		})
	}
	n := 0
	for ; ctx.Err() == nil; n++ {
		turn := time.Now()
		if rate > 0 {
			turn = begin.Add(time.Duration(float64(n) / rate * float64(time.Second)))
			time.Sleep(time.Until(turn))
		}
		select {
		case turns <- turn:
		case <-ctx.Done():
		}
	}
	close(turns)
	slots.Wait()
	return float64(n) / time.Since(begin).Seconds()
}

// call is one call of mixed traffic: half of them search, three in ten write, one in ten deletes, one in ten reads.
func (u *use) call(rng *rand.Rand) error {
	ctx := context.Background()
	id := fmt.Sprintf("soak/%06d", rng.IntN(soakIDs))
	switch pick := rng.IntN(10); {
	case pick < 5:
		query := &embeddv1.Input{Kind: &embeddv1.Input_Text{Text: soakText(rng, 1+rng.IntN(10))}}
		_, err := u.s.search.Search(ctx, &embeddv1.SearchRequest{Query: query, K: proto.Int32(10)})
		return err
	case pick < 8:
		var n int
		fmt.Sscanf(id, "soak/%d", &n)
		_, err := u.s.papers.UpsertPapers(ctx, &embeddv1.UpsertPapersRequest{Papers: []*embeddv1.Paper{u.paper(rng, n)}})
		return err
	case pick < 9:
		_, err := u.s.papers.DeletePapers(ctx, &embeddv1.DeletePapersRequest{Ids: []string{id}})
		return err
	default:
		_, err := u.s.papers.ListPapers(ctx, &embeddv1.ListPapersRequest{PageSize: proto.Int32(10)})
		return err
	}
}

// sample looks at the server.
func (u *use) sample(data string, after time.Duration) (x soakSample, err error) {
	gauges, err := u.s.gauges()
	if err != nil {
		return x, err
	}
	resident, err := residentBytes(u.s.cmd.Process.Pid)
	if err != nil {
		return x, err
	}
	const MiB = 1 << 20
	x.after = after
	// Go has given back what is released: it is in Sys and not resident.
	beside := resident - (gauges["go_memstats_sys_bytes"] - gauges["go_memstats_heap_released_bytes"])
	x.values = [5]float64{gauges["go_memstats_heap_inuse_bytes"] / MiB, resident / MiB, beside / MiB, gauges["go_goroutines"], gauges["process_open_fds"]}
	live, dead := gauges[`embedd_vectors{collection="default"}`], gauges[`embedd_tombstones{collection="default"}`]
	x.tombstones = dead / max(1, live+dead)
	u.mu.Lock()
	slices.Sort(u.took)
	if n := len(u.took); n > 0 {
		x.p99 = float64(u.took[n*99/100].Microseconds()) / 1000
	}
	u.took = u.took[:0]
	u.mu.Unlock()
	x.live = live * 700 / MiB // a record of about 500 bytes, a vector of 32 values, keys
	err = filepath.WalkDir(data, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return nil // it may go meanwhile
		}
		if info, err := d.Info(); err == nil {
			x.disk += float64(info.Size()) / MiB
		}
		return nil
	})
	return x, err
}

// residentBytes is VmRSS of a process.
func residentBytes(pid int) (float64, error) {
	p, err := procfs.NewProc(pid)
	if err != nil {
		return 0, err
	}
	s, err := p.NewStatus()
	return float64(s.VmRSS), err
}
