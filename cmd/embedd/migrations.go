package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/term"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"embedd/internal/eval"
	"embedd/internal/retrieval"
	embeddv1 "embedd/proto/embedd/v1"
)

type migrationsCmd struct {
	Start    migrationsStartCmd    `cmd:"" help:"Begin to move a collection to another model, and show how far it is."`
	List     migrationsListCmd     `cmd:"" help:"List the migrations that are under way."`
	Show     migrationsShowCmd     `cmd:"" help:"Show how far a migration is."`
	Report   migrationsReportCmd   `cmd:"" help:"Show how answers change by the new model."`
	Swap     migrationsSwapCmd     `cmd:"" help:"Have the new model be served."`
	Rollback migrationsRollbackCmd `cmd:"" help:"Have the old model be served again."`
	Finish   migrationsFinishCmd   `cmd:"" help:"End a migration after its swap, and remove what the old model had."`
	Cancel   migrationsCancelCmd   `cmd:"" help:"End a migration before its swap, and remove what the new model had."`
}

// migratingFlags are those of a command about the migration of a collection.
type migratingFlags struct {
	outputFlags
	placeFlags
	Name string `arg:"" help:"The collection's own name; default is one."`
}

// openMigrations opens a data directory with its migrations, or connects to a server.
func (f *placeFlags) openMigrations(e *env) (*client, error) {
	local, err := f.local(e)
	if err != nil {
		return nil, err
	}
	if !local {
		return f.connect("")
	}
	neighbours := usualNeighbours // as serve has it: what is migrated now says so from then on
	return f.openData(e, false, opening{All: true, Neighbours: &neighbours})
}

type migrationsStartCmd struct {
	migratingFlags
	To     string `help:"Id of the model to move to." required:"" placeholder:"ID" env:"-"`
	Cut    int32  `help:"Cut vectors to their first N values, at norm 1, where the model was trained for it (embedd info shows to what); 0: all." default:"0" placeholder:"N" env:"-"`
	Across bool   `help:"Have searches by a text go across both models while papers are encoded; otherwise the old one answers until the swap." env:"-"`
	Detach bool   `help:"Do not wait until the new model has all papers." env:"-"`
}

func (migrationsStartCmd) Help() string {
	return `Papers are encoded in the background, behind searches, and what is written meanwhile comes after. Ctrl-C leaves that going on the server. See
docs/migration.md.

Example:
  embedd migrations start default --to all-MiniLM-L6-v2
  embedd migrations report default
  embedd migrations swap default
  embedd migrations finish default --yes`
}

func (c *migrationsStartCmd) Run(e *env) (err error) {
	cl, err := c.openMigrations(e)
	if err != nil {
		return err
	}
	defer finish(&err, cl.close)
	res, err := cl.migrations.StartMigration(e.ctx, &embeddv1.StartMigrationRequest{Name: c.Name, Model: c.To, Dimension: c.Cut, Across: c.Across})
	if err != nil {
		return err
	}
	m := res.GetMigration()
	if !c.Detach {
		if m, err = c.wait(e, cl); err != nil {
			return err
		}
	}
	return c.print(e, m)
}

// place says where, for a command to go on with.
func (f *migratingFlags) place(e *env) string {
	if f.Data != "" {
		return " --data " + shellWord(f.Data)
	}
	if e.flag("server") != nil && f.Server != e.flag("server").Default {
		return " --server " + shellWord(f.Server)
	}
	return ""
}

// lookEvery is how often a migration is asked for how far it is.
const lookEvery = 500 * time.Millisecond

// wait shows how far a migration is until the model that is not served has all papers.
func (f *migratingFlags) wait(e *env, cl *client) (*embeddv1.Migration, error) {
	bar := newProgress(e, "encoding with the new model", "papers")
	defer bar.Done()
	said := ""
	for first := true; ; first = false {
		res, err := cl.migrations.GetMigration(e.ctx, &embeddv1.GetMigrationRequest{Name: f.Name})
		if err == nil {
			m := res.GetMigration()
			if first {
				bar.from = int(m.GetMoved())
			}
			bar.Set(int(m.GetMoved()), int(m.GetPapers()))
			if trouble := troubleOf(m); trouble != said {
				if said = trouble; said != "" {
					fmt.Fprintf(e.stderr, "embedd: note: %s\n", said)
				}
			}
			if s := m.GetStage(); (s == embeddv1.MigrationStage_MIGRATION_STAGE_FOLLOWING || s == embeddv1.MigrationStage_MIGRATION_STAGE_SWAPPED) && m.GetFailed() == "" && (f.Data == "" || m.GetBehind() == 0) {
				return m, nil
			}
			err = sleep(e.ctx, lookEvery)
		}
		if err != nil {
			bar.Done()
			if e.ctx.Err() != nil {
				f.howToGoOn(e)
			}
			return nil, err
		}
	}
}

// troubleOf is why a migration does not get on.
func troubleOf(m *embeddv1.Migration) string {
	switch {
	case m.GetFailed() != "":
		return "the migration does not get on, and is tried again: " + m.GetFailed()
	case m.GetWaiting() != "":
		return "the migration waits: " + m.GetWaiting()
	}
	return ""
}

// howToGoOn says what becomes of a migration that nobody watches any more.
func (f *migratingFlags) howToGoOn(e *env) {
	goesOn := "the migration goes on; to watch it again"
	if f.Data != "" {
		goesOn = "the migration goes on where it was when the data directory is served, or with"
	}
	fmt.Fprintf(e.stderr, "embedd: %s: %s migrations show --wait%s %s\n", goesOn, program(), f.place(e), shellWord(f.Name))
}

type migrationsShowCmd struct {
	migratingFlags
	Wait bool `help:"Wait until the new model has all papers." env:"-"`
}

func (migrationsShowCmd) Help() string {
	return `Example:
  embedd migrations show default --wait`
}

func (c *migrationsShowCmd) Run(e *env) (err error) {
	cl, err := c.openMigrations(e)
	if err != nil {
		return err
	}
	defer finish(&err, cl.close)
	if c.Wait {
		m, err := c.wait(e, cl)
		if err != nil {
			return err
		}
		return c.print(e, m)
	}
	res, err := cl.migrations.GetMigration(e.ctx, &embeddv1.GetMigrationRequest{Name: c.Name})
	if err != nil {
		return err
	}
	return c.print(e, res.GetMigration())
}

// stageName is a stage in a word.
func stageName(m *embeddv1.Migration) string {
	return strings.ToLower(strings.TrimPrefix(m.GetStage().String(), "MIGRATION_STAGE_"))
}

// print shows a migration.
func (f *migratingFlags) print(e *env, m *embeddv1.Migration) error {
	if f.JSON {
		return printMessage(e.stdout, m)
	}
	t := newTable(e.stdout)
	t.row("collection", m.GetName())
	t.row("models", fmt.Sprintf("from %s to %s", m.GetFromModel(), m.GetToModel()))
	t.row("stage", stageName(m)+", started at "+m.GetStarted().AsTime().Format("2006-01-02 15:04:05 MST"))
	moved := fmt.Sprintf("%d of %s", m.GetMoved(), papersText(m.GetPapers()))
	if m.GetRate() > 0 {
		moved += fmt.Sprintf(", %.0f/s", m.GetRate())
	}
	if m.GetLeft() != nil {
		moved += fmt.Sprintf(", %s left", m.GetLeft().AsDuration())
	}
	if m.GetBehind() > 0 {
		moved += fmt.Sprintf(", %d writes behind", m.GetBehind())
	}
	t.row("brought over", moved)
	answers := map[bool]string{false: "the old model", true: "across both models"}[m.GetAcross()]
	if m.GetStage() == embeddv1.MigrationStage_MIGRATION_STAGE_SWAPPED {
		answers = "the new model"
	}
	t.row("answers", answers)
	if b := m.GetBridge(); b != nil {
		t.row("map between them", fmt.Sprintf("fitted on %d papers; on %d others a mean cosine of %.3f, %.0f %% of the 10 nearest the same, the paper itself first %.0f %% of the time",
			b.GetFittedOn(), b.GetMeasuredOn(), b.GetCosine(), 100*b.GetOverlap(), 100*b.GetFirst()))
	}
	if m.GetHeld() != nil {
		t.row("writes waited", m.GetHeld().AsDuration().Round(time.Millisecond/10).String())
	}
	for _, r := range m.GetRefused() {
		t.row("refused "+printable(r.GetId()), r.GetWhy())
	}
	if trouble := troubleOf(m); trouble != "" {
		t.row("trouble", trouble)
	}
	if err := t.flush(); err != nil {
		return err
	}
	_, err := fmt.Fprint(e.stdout, f.next(e, m))
	return err
}

// next are the commands that may come next.
func (f *migratingFlags) next(e *env, m *embeddv1.Migration) string {
	command := func(name, more string) string {
		return fmt.Sprintf("  %s migrations %s%s %s%s\n", program(), name, f.place(e), shellWord(m.GetName()), more)
	}
	switch m.GetStage() {
	case embeddv1.MigrationStage_MIGRATION_STAGE_FOLLOWING:
		return "\nNext:\n" + command("report", "") + command("swap", "")
	case embeddv1.MigrationStage_MIGRATION_STAGE_SWAPPED:
		return "\nNext:\n" + command("rollback", "") + command("finish", " --yes")
	}
	return ""
}

type migrationsListCmd struct {
	outputFlags
	placeFlags
}

func (migrationsListCmd) Help() string {
	return `Example:
  embedd migrations list`
}

func (c *migrationsListCmd) Run(e *env) (err error) {
	cl, err := c.openMigrations(e)
	if err != nil {
		return err
	}
	defer finish(&err, cl.close)
	res, err := cl.migrations.ListMigrations(e.ctx, &embeddv1.ListMigrationsRequest{})
	if err != nil {
		return err
	}
	if c.JSON {
		return printMessage(e.stdout, res)
	}
	if len(res.GetMigrations()) == 0 {
		_, err := fmt.Fprintln(e.stdout, "no migration is under way")
		return err
	}
	t := newTable(e.stdout, "COLLECTION", "FROM", "TO", "STAGE", "PAPERS")
	for _, m := range res.GetMigrations() {
		t.row(m.GetName(), m.GetFromModel(), m.GetToModel(), stageName(m), fmt.Sprintf("%d of %d", m.GetMoved(), m.GetPapers()))
	}
	return t.flush()
}

type migrationsReportCmd struct {
	migratingFlags
	Papers  int32  `help:"Papers to compare the answers of, chosen by chance, up to 5000." default:"500" placeholder:"N" env:"-"`
	Dataset string `help:"A BEIR folder: its queries are asked too, and with its judgments nDCG@10 is measured; see embedd eval." placeholder:"DIR" env:"-"`
	Task    string `help:"Use queries-TASK.jsonl and qrels-TASK.tsv of the folder, where it has several." placeholder:"TASK" env:"-"`
	Hybrid  bool   `help:"Ask these queries by words and vectors, as a search usually does, instead of by vectors alone." env:"-"`
}

func (migrationsReportCmd) Help() string {
	return `Before all papers are encoded there is no answer of the new model to compare with; then what mapped queries find is shown, where there are queries.

Example:
  embedd migrations report default --dataset ../shared/data/scifact`
}

// migrationReport is the result, for programs.
type migrationReport struct {
	Collection string  `json:"collection"`
	From       string  `json:"from"`
	To         string  `json:"to"`
	Stage      string  `json:"stage"`
	Moved      int64   `json:"moved"`
	Of         int64   `json:"of"`
	LeftSec    float64 `json:"left_seconds,omitempty"`
	// Papers that were compared.
	Papers    int64          `json:"papers"`
	Overlap   float64        `json:"top10_overlap"`
	Unchanged float64        `json:"unchanged"`
	Kendall   float64        `json:"kendall_tau_b"`
	Bridge    *bridgeReport  `json:"map,omitempty"`
	Quality   *qualityReport `json:"quality,omitempty"`
	Changes   []changeReport `json:"largest_changes,omitempty"`
}

type bridgeReport struct {
	FittedOn       int64   `json:"fitted_on"`
	MeasuredOn     int64   `json:"measured_on"`
	Cosine         float64 `json:"cosine"`
	Overlap        float64 `json:"top10_overlap"`
	ReciprocalRank float64 `json:"reciprocal_rank"`
	First          float64 `json:"first"`
}

// qualityReport is nDCG@10 of each way to answer; those that there are not are absent.
type qualityReport struct {
	Dataset string  `json:"dataset"`
	Mode    string  `json:"mode"`
	Queries int     `json:"queries"`
	Overlap float64 `json:"top10_overlap"`
	// Metrics by old, new, mapped and bridged.
	NDCG10 map[string]float64 `json:"ndcg10"`
}

type changeReport struct {
	ID      string     `json:"id"`
	Title   string     `json:"title"`
	Overlap float64    `json:"overlap"`
	Kendall float64    `json:"kendall_tau_b"`
	Before  []hitShort `json:"before"`
	After   []hitShort `json:"after"`
}

type hitShort struct {
	ID    string  `json:"id"`
	Title string  `json:"title"`
	Score float32 `json:"score"`
}

// queriesAtOnce are asked in one call, so that it stays small and progress can be shown.
const queriesAtOnce = 50

func (c *migrationsReportCmd) Run(e *env) (err error) {
	if c.Papers < 0 || c.Papers > retrieval.MaxReportPapers {
		return fmt.Errorf("--papers: is %d; must be 0 to %d", c.Papers, retrieval.MaxReportPapers)
	}
	if c.Dataset == "" && (c.Task != "" || c.Hybrid) {
		return errors.New("--task, --hybrid: are about the queries of a --dataset, and none is given")
	}
	var set *eval.Dataset
	if c.Dataset != "" { // before the long work: a folder that is not what was meant fails at once
		if set, err = eval.ReadDataset(c.Dataset, c.Task); err != nil {
			return fmt.Errorf("--dataset: %w", err)
		}
	}
	cl, err := c.openMigrations(e)
	if err != nil {
		return err
	}
	defer finish(&err, cl.close)
	if c.Data != "" { // which nobody has brought up to date until now
		if _, err := c.wait(e, cl); err != nil {
			return err
		}
	}
	res, err := cl.migrations.ReportMigration(e.ctx, &embeddv1.ReportMigrationRequest{Name: c.Name, Papers: &c.Papers})
	if err != nil {
		return err
	}
	out := reportOf(res)
	if set != nil {
		if out.Quality, err = c.quality(e, cl, set); err != nil {
			return err
		}
	}
	if c.JSON {
		return printJSON(e.stdout, out)
	}
	return out.print(e.stdout, c.print(e, res.GetMigration()))
}

// quality asks the queries, and measures the answers.
func (c *migrationsReportCmd) quality(e *env, cl *client, set *eval.Dataset) (*qualityReport, error) {
	mode := embeddv1.Mode_MODE_DENSE
	q := &qualityReport{Dataset: set.Name, Mode: "dense", Queries: len(set.Queries), NDCG10: map[string]float64{}}
	if c.Hybrid {
		mode, q.Mode = embeddv1.Mode_MODE_HYBRID, "hybrid"
	}
	runs := map[string]map[string][]eval.Scored{}
	add := func(way, query string, ids []string) {
		if ids == nil {
			return
		}
		if runs[way] == nil {
			runs[way] = map[string][]eval.Scored{}
		}
		for i, id := range ids {
			runs[way][query] = append(runs[way][query], eval.Scored{ID: id, Score: float32(len(ids) - i)})
		}
	}
	bar := newProgress(e, "asking both models", "queries")
	defer bar.Done()
	none, same, compared := int32(0), 0.0, 0
	for from := 0; from < len(set.Queries); from += queriesAtOnce {
		some := set.Queries[from:min(len(set.Queries), from+queriesAtOnce)]
		req := &embeddv1.ReportMigrationRequest{Name: c.Name, Papers: &none, Mode: mode}
		for _, query := range some {
			req.Queries = append(req.Queries, query.Text)
		}
		res, err := cl.migrations.ReportMigration(e.ctx, req)
		if err != nil {
			return nil, err
		}
		for i, a := range res.GetQueries() {
			id := some[i].ID
			add("old", id, a.GetBefore())
			add("new", id, a.GetAfter())
			add("mapped", id, a.GetMapped())
			add("bridged", id, a.GetBridged())
			if len(a.GetAfter()) > 0 {
				compared++
				same += overlapOf(a.GetBefore(), a.GetAfter())
			}
		}
		bar.Set(from+len(some), len(set.Queries))
	}
	for way, run := range runs {
		if len(run) < len(set.Queries) { // it began to be answered so meanwhile: what is lacking would count as found by nobody
			continue
		}
		q.NDCG10[way] = eval.Evaluate(set.Qrels, run).NDCG10
	}
	if compared > 0 {
		q.Overlap = same / float64(compared)
	}
	return q, nil
}

// overlapOf is the share of two lists that is the same.
func overlapOf(a, b []string) float64 {
	in := map[string]bool{}
	for _, id := range a {
		in[id] = true
	}
	n := 0
	for _, id := range b {
		if in[id] {
			n++
		}
	}
	return float64(n) / float64(max(1, len(a), len(b)))
}

func reportOf(res *embeddv1.ReportMigrationResponse) *migrationReport {
	m := res.GetMigration()
	out := &migrationReport{
		Collection: m.GetName(), From: m.GetFromModel(), To: m.GetToModel(), Stage: stageName(m), Moved: m.GetMoved(), Of: m.GetPapers(), LeftSec: m.GetLeft().AsDuration().Seconds(),
		Papers: res.GetPapers(), Overlap: res.GetOverlap(), Unchanged: res.GetUnchanged(), Kendall: res.GetKendall(),
	}
	if b := m.GetBridge(); b != nil {
		out.Bridge = &bridgeReport{b.GetFittedOn(), b.GetMeasuredOn(), b.GetCosine(), b.GetOverlap(), b.GetReciprocalRank(), b.GetFirst()}
	}
	short := func(hits []*embeddv1.Hit) (all []hitShort) {
		for _, h := range hits {
			all = append(all, hitShort{h.GetPaper().GetId(), h.GetPaper().GetTitle(), h.GetScore()})
		}
		return all
	}
	for _, c := range res.GetChanges() {
		out.Changes = append(out.Changes, changeReport{c.GetPaper().GetId(), c.GetPaper().GetTitle(), c.GetOverlap(), c.GetKendall(), short(c.GetBefore()), short(c.GetAfter())})
	}
	return out
}

// shownChanges are the largest changes that are shown, and shownTitles of the titles before and after.
const shownChanges, shownTitles = 3, 3

// print shows a report behind what is shown of the migration; err is of that.
func (r *migrationReport) print(w io.Writer, err error) error {
	if err != nil {
		return err
	}
	fmt.Fprintln(w)
	t := newTable(w)
	if r.Papers > 0 {
		t.row("papers compared", fmt.Sprint(r.Papers))
		t.row("top-10 overlap", fmt.Sprintf("%.3f", r.Overlap))
		t.row("unchanged", fmt.Sprintf("%.3f of them, all 10 in the same order", r.Unchanged))
		t.row("rank correlation", fmt.Sprintf("%.3f, Kendall's tau-b over what is in either list", r.Kendall))
	} else {
		t.row("papers compared", "none: the new model has not read all papers yet, or none was asked for")
	}
	if q := r.Quality; q != nil {
		t.row("queries", fmt.Sprintf("%d of %s, %s", q.Queries, q.Dataset, q.Mode))
		for _, way := range []struct{ key, name string }{
			{"old", "old model"}, {"new", "new model"}, {"mapped", "mapped queries on the old vectors"}, {"bridged", "both queries on the old vectors"},
		} {
			value, there := q.NDCG10[way.key]
			if !there {
				continue
			}
			line := fmt.Sprintf("%.4f", value)
			if most := q.NDCG10["new"]; most > 0 && way.key != "new" {
				line += fmt.Sprintf(", %.1f %% of the new model's", 100*value/most)
			}
			t.row("nDCG@10, "+way.name, line)
		}
		if _, there := q.NDCG10["new"]; there {
			t.row("their top-10 overlap", fmt.Sprintf("%.3f", q.Overlap))
		}
	}
	if err := t.flush(); err != nil {
		return err
	}
	for _, c := range r.Changes[:min(len(r.Changes), shownChanges)] {
		fmt.Fprintf(w, "\n%s, %s: %.0f %% the same\n", printable(c.ID), printable(c.Title), 100*c.Overlap)
		for i, hits := range [][]hitShort{c.Before, c.After} {
			for _, h := range hits[:min(len(hits), shownTitles)] {
				fmt.Fprintf(w, "  %s %s\n", [...]string{"before", "after "}[i], printable(h.Title))
			}
		}
	}
	return nil
}

type migrationsSwapCmd struct {
	migratingFlags
	LeaveBehind bool `help:"Leave papers behind that the new model does not take; otherwise the swap is refused while there are any." env:"-"`
}

func (migrationsSwapCmd) Help() string {
	return `Searches go on meanwhile; writes wait for the moment. The old model gets what is written from then on, until the migration is finished.

Example:
  embedd migrations swap default`
}

func (c *migrationsSwapCmd) Run(e *env) (err error) {
	cl, err := c.openMigrations(e)
	if err != nil {
		return err
	}
	defer finish(&err, cl.close)
	if c.Data != "" { // which nobody has brought up to date until now
		if _, err := c.wait(e, cl); err != nil && status.Code(err) != codes.NotFound {
			return err
		}
	}
	res, err := cl.migrations.SwapMigration(e.ctx, &embeddv1.SwapMigrationRequest{Name: c.Name, LeaveBehind: c.LeaveBehind})
	if err != nil {
		return err
	}
	return c.print(e, res.GetMigration())
}

type migrationsRollbackCmd struct{ migratingFlags }

func (migrationsRollbackCmd) Help() string {
	return `Nothing that was written since the swap is lost. The migration goes on: swap again, or cancel it.

Example:
  embedd migrations rollback default`
}

func (c *migrationsRollbackCmd) Run(e *env) (err error) {
	cl, err := c.openMigrations(e)
	if err != nil {
		return err
	}
	defer finish(&err, cl.close)
	res, err := cl.migrations.RollBackMigration(e.ctx, &embeddv1.RollBackMigrationRequest{Name: c.Name})
	if err != nil {
		return err
	}
	return c.print(e, res.GetMigration())
}

type migrationsFinishCmd struct {
	placeFlags
	Name string `arg:"" help:"The collection's own name; default is one."`
	Yes  bool   `help:"Do not ask." env:"-"`
}

func (migrationsFinishCmd) Help() string {
	return `After this there is nothing to roll back to. Backups stay.

Example:
  embedd migrations finish default --yes`
}

func (c *migrationsFinishCmd) Run(e *env) (err error) {
	if !c.Yes {
		f, ok := e.stdin.(*os.File)
		if !ok || !term.IsTerminal(int(f.Fd())) {
			return errors.New("this removes what the old model has, for good; add --yes")
		}
		fmt.Fprintf(e.stderr, "Remove what the old model has of collection %s, for good? Type its name to do so: ", c.Name)
		var line string
		if _, err := fmt.Fscanln(e.stdin, &line); err != nil || line != c.Name {
			return errors.New("nothing was removed")
		}
	}
	cl, err := c.openMigrations(e)
	if err != nil {
		return err
	}
	defer finish(&err, cl.close)
	if _, err := cl.migrations.FinishMigration(e.ctx, &embeddv1.FinishMigrationRequest{Name: c.Name}); err != nil {
		return err
	}
	_, err = fmt.Fprintf(e.stdout, "the migration of %s is finished\n", c.Name)
	return err
}

type migrationsCancelCmd struct {
	placeFlags
	Name string `arg:"" help:"The collection's own name; default is one."`
}

func (migrationsCancelCmd) Help() string {
	return `The collection stays as it is; what the new model has read so far is removed.

Example:
  embedd migrations cancel default`
}

func (c *migrationsCancelCmd) Run(e *env) (err error) {
	cl, err := c.openMigrations(e)
	if err != nil {
		return err
	}
	defer finish(&err, cl.close)
	if _, err := cl.migrations.CancelMigration(e.ctx, &embeddv1.CancelMigrationRequest{Name: c.Name}); err != nil {
		return err
	}
	_, err = fmt.Fprintf(e.stdout, "the migration of %s is cancelled\n", c.Name)
	return err
}
