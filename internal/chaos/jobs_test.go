package chaos

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"embedd/internal/testkit"
	"embedd/internal/testmodels"
	embeddv1 "embedd/proto/embedd/v1"
)

var jobKills = flag.Int("job-kills", 1, "how many times TestKillJobs kills the server in each kind of job")

// jobPapers are enough for a job to take a while. The tiny model has all of them near to each other: more would be more pairs than near duplicates may have.
const jobPapers = 1500

// killedJobs are jobs of each kind; those of the cross-encoder take one.
func killedJobs() map[string]*embeddv1.CreateJobRequest {
	threshold := float32(0.9999) // the tiny model has nearly all texts near to each other
	jobs := map[string]*embeddv1.CreateJobRequest{
		"graph":      {Kind: embeddv1.JobKind_JOB_KIND_KNN_GRAPH, K: 10},
		"chosen":     {Kind: embeddv1.JobKind_JOB_KIND_KNN_GRAPH, K: 5, Filter: "year >= 2010", Format: "csv"},
		"once":       {Kind: embeddv1.JobKind_JOB_KIND_KNN_GRAPH, K: 5, Once: true, Exact: true},
		"duplicates": {Kind: embeddv1.JobKind_JOB_KIND_NEAR_DUPLICATES, Format: "jsonl"},
		"threshold":  {Kind: embeddv1.JobKind_JOB_KIND_NEAR_DUPLICATES, Threshold: &threshold},
		"cross":      {Kind: embeddv1.JobKind_JOB_KIND_CROSS_SIMILARITY, Other: "default", OtherFilter: "year < 2005"},
		"clusters":   {Kind: embeddv1.JobKind_JOB_KIND_CLUSTERS},
		"map":        {Kind: embeddv1.JobKind_JOB_KIND_MAP, Format: "csv"},
		"evaluate":   {Kind: embeddv1.JobKind_JOB_KIND_EVALUATE},
		"export":     {Kind: embeddv1.JobKind_JOB_KIND_EXPORT},
		"vectors":    {Kind: embeddv1.JobKind_JOB_KIND_EXPORT, Vectors: true, Format: "npy"},
		"pairs":      {Kind: embeddv1.JobKind_JOB_KIND_PAIRS, K: 2, Filter: "year = 2000"},
	}
	for i := range 200 {
		id := fmt.Sprint("q", i)
		jobs["evaluate"].Queries = append(jobs["evaluate"].Queries, &embeddv1.JobQuery{Id: id, Text: jobText(rand.New(rand.NewPCG(uint64(i), 1)))})
		jobs["evaluate"].Judgments = append(jobs["evaluate"].Judgments, &embeddv1.JobJudgment{Query: id, Paper: fmt.Sprint("p", i), Grade: 1})
	}
	return jobs
}

// jobText makes a text of words of a topic.
func jobText(rng *rand.Rand) string {
	topic := rng.IntN(12)
	var words []string
	for range 30 {
		words = append(words, fmt.Sprintf("word%d", topic*20+rng.IntN(30)))
	}
	return strings.Join(words, " ")
}

// TestKillJobs kills the server while it does a job, at random moments, and starts it again: the job that was acknowledged is done then, and its
// files are those of one that nothing has happened to, to the byte.
func TestKillJobs(t *testing.T) {
	rng := testkit.Rand(t)
	program, err := ordinary()
	if err != nil {
		t.Fatal(err)
	}
	data := filepath.Join(t.TempDir(), "data")
	k := &jobKilling{t: t, rng: rng, program: program, data: data}
	k.fill()
	jobs := killedJobs()
	for _, name := range slices.Sorted(maps.Keys(jobs)) {
		t.Run(name, func(t *testing.T) {
			k.t, k.more = t, nil
			if *jobKills == 1 && !slices.Contains([]string{"chosen", "cross", "evaluate", "vectors"}, name) {
				t.Skip("run by make test-jobs, with -job-kills 10")
			}
			if name == "pairs" {
				k.more = []string{"--reranker", k.crossEncoder()}
			}
			k.kill(jobs[name])
		})
	}
}

type jobKilling struct {
	t       *testing.T
	rng     *rand.Rand
	program string
	data    string
	more    []string // flags of the server
}

func (k *jobKilling) start() *server {
	k.t.Helper()
	s, err := start(k.program, k.data, false, "", k.more...)
	if err != nil {
		k.t.Fatal(err)
	}
	k.t.Cleanup(s.kill) // where the test has ended before
	if _, err := s.ready(time.Minute); err != nil {
		k.t.Fatal(err)
	}
	return s
}

// fill stores the papers, and has the server save what it has of them.
func (k *jobKilling) fill() {
	s := k.start()
	defer s.kill()
	var papers []*embeddv1.Paper
	for i := range jobPapers {
		rng := rand.New(rand.NewPCG(uint64(i-i%9/8), 1)) // every ninth text is that of the one before
		text := jobText(rng)
		papers = append(papers, &embeddv1.Paper{Id: fmt.Sprint("p", i), Title: strings.Join(strings.Fields(text)[:6], " "), Abstract: text, Year: int32(2000 + i%20)})
	}
	for some := range slices.Chunk(papers, 200) {
		if _, err := s.papers.UpsertPapers(k.t.Context(), &embeddv1.UpsertPapersRequest{Papers: some}); err != nil {
			k.t.Fatal(err)
		}
	}
	if err := s.terminate(); err != nil {
		k.t.Fatal(err)
	}
	if code, err := s.ended(time.Minute); err != nil || code != 0 {
		k.t.Fatal(code, err)
	}
}

// crossEncoder imports one beside the tiny model, and gives its id.
func (k *jobKilling) crossEncoder() string {
	models, err := tinyModels()
	if err != nil {
		k.t.Fatal(err)
	}
	base, err := home()
	if err != nil {
		k.t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(models, "cross")); err == nil {
		return "cross"
	}
	folder := filepath.Join(k.t.TempDir(), "cross")
	if err := testmodels.CrossEncoder(filepath.Join(base, "models"), folder); err != nil {
		k.t.Fatal(err)
	}
	c := exec.Command(k.program, "models", "import", folder, "--id", "cross", "--precision", "fp32", "--models", models)
	c.Env = append(os.Environ(), "EMBEDD_HOME="+base)
	if out, err := c.CombinedOutput(); err != nil {
		k.t.Fatalf("%v\n%s", err, out)
	}
	return "cross"
}

// kill does a job once undisturbed, and then as often as is wanted with a kill at a random moment.
func (k *jobKilling) kill(req *embeddv1.CreateJobRequest) {
	s := k.start()
	began := time.Now()
	want := k.await(s, k.create(s, req))
	takes := time.Since(began)
	s.kill()
	early, cutOff, late := 0, 0, 0
	for range *jobKills {
		s := k.start()
		moment := time.Duration(k.rng.Int64N(int64(takes + takes/10)))
		timer := time.AfterFunc(moment, s.kill)
		res, err := embeddv1.NewJobServiceClient(s.conn).CreateJob(k.t.Context(), proto.CloneOf(req))
		if err != nil && status.Code(err) != codes.Unavailable && status.Code(err) != codes.Canceled {
			k.t.Fatal(err)
		}
		<-s.done
		timer.Stop()
		s = k.start()
		id := res.GetJob().GetId()
		if err != nil { // it was not acknowledged: it may be there or not
			early++
			id = k.create(s, req)
		} else if job := k.get(s, id); job.GetState() == embeddv1.JobState_JOB_STATE_DONE && job.GetEnded().AsTime().Before(time.Now().Add(-time.Second)) {
			late++
		} else {
			cutOff++
		}
		got := k.await(s, id)
		if fmt.Sprint(files(got)) != fmt.Sprint(files(want)) || fmt.Sprint(got.GetReport()) != fmt.Sprint(want.GetReport()) {
			k.t.Errorf("killed after %v: %v, want %v", moment, got, want)
		}
		s.kill()
	}
	k.t.Logf("%v long: %d times killed before it was acknowledged, %d meanwhile, %d behind its end", takes.Round(time.Millisecond), early, cutOff, late)
	entries, err := os.ReadDir(filepath.Join(k.data, "jobs"))
	if err != nil {
		k.t.Fatal(err)
	}
	for _, e := range entries { // what is left of a job that is done is its file and its files
		inside, err := os.ReadDir(filepath.Join(k.data, "jobs", e.Name()))
		if err != nil || len(inside) > 2 {
			k.t.Errorf("%s: %v, %v", e.Name(), inside, err)
		}
	}
	if err := os.RemoveAll(filepath.Join(k.data, "jobs")); err != nil {
		k.t.Fatal(err)
	}
}

func (k *jobKilling) create(s *server, req *embeddv1.CreateJobRequest) string {
	k.t.Helper()
	res, err := embeddv1.NewJobServiceClient(s.conn).CreateJob(k.t.Context(), proto.CloneOf(req))
	if err != nil {
		k.t.Fatal(err)
	}
	return res.GetJob().GetId()
}

func (k *jobKilling) get(s *server, id string) *embeddv1.Job {
	k.t.Helper()
	res, err := embeddv1.NewJobServiceClient(s.conn).GetJob(k.t.Context(), &embeddv1.GetJobRequest{Id: id})
	if err != nil {
		k.t.Fatal(err)
	}
	return res.GetJob()
}

// await gives a job when it is done.
func (k *jobKilling) await(s *server, id string) *embeddv1.Job {
	k.t.Helper()
	ctx, cancel := context.WithTimeout(k.t.Context(), 3*time.Minute)
	defer cancel()
	stream, err := embeddv1.NewJobServiceClient(s.conn).WatchJob(ctx, &embeddv1.WatchJobRequest{Id: id})
	if err != nil {
		k.t.Fatal(err)
	}
	var last *embeddv1.Job
	for {
		res, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			k.t.Fatal(err)
		}
		last = res.GetJob()
	}
	if last.GetState() != embeddv1.JobState_JOB_STATE_DONE || len(last.GetFiles()) == 0 {
		k.t.Fatalf("%v\n%s", last, &s.output)
	}
	return last
}

// files are those of a job, with their hashes.
func files(j *embeddv1.Job) (all []string) {
	for _, f := range j.GetFiles() {
		all = append(all, f.GetName()+" "+f.GetSha256())
	}
	return all
}
