package chaos

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"embedd/internal/testkit"
	embeddv1 "embedd/proto/embedd/v1"
)

// otherModel is the tiny one with another precision, and so with other vectors.
const otherModel = "tiny8"

// twoModels is the folder of models with both.
var twoModels = sync.OnceValues(func() (string, error) {
	root, err := tinyModels()
	if err != nil {
		return "", err
	}
	program, err := ordinary()
	if err != nil {
		return "", err
	}
	base, err := home()
	if err != nil {
		return "", err
	}
	folder := filepath.Join(filepath.Dir(root), "folder")
	papers := filepath.Join(folder, "papers.jsonl")
	for _, args := range [][]string{
		{"models", "import", folder, "--id", otherModel, "--models", root, "--precision", "int8", "--texts", papers},
		{"index", "--data", filepath.Join(filepath.Dir(root), "data8"), "--model", otherModel, "--models", root, papers},
	} {
		c := exec.Command(program, args...)
		c.Env = append(os.Environ(), "EMBEDD_HOME="+base)
		if out, err := c.CombinedOutput(); err != nil {
			return "", fmt.Errorf("embedd %s: %w\n%s", args[0], err, out)
		}
	}
	return root, nil
})

// migrationPoints are places in a migration where the server is killed.
var migrationPoints = []failpoint{
	{"duringMigrationCopy", writing, 0},
	{"beforeGenerationSwap", writing, 0},
	{"afterGenerationSwap", writing, 0},
	{"beforeGenerationRemoval", writing, 0},
}

// TestKillMigration kills the server at random moments of migrations to and fro, swaps, roll-backs, finishes and cancels among them, while papers are written.
// What TestKill demands of the ledger holds throughout, by whichever model is served; and a migration that was under way goes on after each start.
func TestKillMigration(t *testing.T) {
	rng := testkit.Rand(t)
	if _, err := twoModels(); err != nil {
		t.Fatal(err)
	}
	kills, program, points := max(6, *cycles/8), "", migrationPoints
	var err error
	if testing.Short() {
		kills, points = 4, nil
		program, err = ordinary()
	} else {
		program, err = withFailpoints()
	}
	if err != nil {
		t.Fatal(err)
	}
	root, err := os.MkdirTemp("", "embedd-chaos-migrate-")
	if err != nil {
		t.Fatal(err)
	}
	c := newCampaign(t, rng, program, points)
	c.data, c.ledger = filepath.Join(root, "data"), newLedger(rng)
	done := map[string]int{}
	for i := range kills {
		if err := c.migrate(i, done); err != nil {
			t.Fatalf("kill %d (%s): %v\nthe data directory is kept: %s", i+1, c.last, err, c.data)
		}
	}
	s, err := c.open()
	if err != nil {
		t.Fatal(err)
	}
	if _, err = c.ledger.verify(s, c.data, rng); err == nil {
		err = c.end(s)
	}
	if err == nil {
		_, err = c.ledger.verify(s, c.data, rng)
	}
	s.kill()
	if err == nil {
		err = c.check()
	}
	c.count()
	if err != nil {
		t.Fatalf("%v\nthe data directory is kept: %s", err, c.data)
	}
	os.RemoveAll(root)
	t.Logf("%d kills (%v), %v: %d calls with %d papers were acknowledged, none was lost", kills, c.kinds, done, c.calls, c.papers)
	if done["start"] == 0 || done["swap"] == 0 {
		t.Errorf("hardly anything was migrated: %v", done)
	}
}

// migrate starts the server, compares it with the ledger, lets it be written to and migrated, and kills it.
func (c *campaign) migrate(i int, done map[string]int) error {
	s, err := c.open()
	if err != nil {
		return err
	}
	defer s.kill()
	if _, err := c.ledger.verify(s, c.data, c.rng); err != nil {
		return err
	}
	traffic := c.ledger.write(s)
	ctx, cancel := context.WithCancel(context.Background())
	var mover sync.WaitGroup
	var moved error
	rng := rand.New(rand.NewPCG(c.rng.Uint64(), 0))
	mover.Go(func() { moved = move(ctx, s, traffic, rng, done) })
	if c.points != nil && i%2 == 0 {
		p := c.points[i/2%len(c.points)]
		c.last = "at " + p.name
		name := c.last
		c.sleep(0, 200*time.Millisecond)
		if err := s.arm(p, 0, standStill); err != nil {
			cancel()
			return err
		}
		if !s.reached(p, 0, 10*time.Second, func() bool { return false }) {
			name += " (not come by)"
		}
		c.kind(name)
	} else {
		c.kind("at random")
		c.sleep(500*time.Millisecond, 5*time.Second)
	}
	cancel()
	err = traffic.cutOff()
	mover.Wait()
	if err == nil {
		err = moved
	}
	return err
}

// move migrates the default collection to and fro until ctx ends. The error is a call that failed while the server was not being ended.
func move(ctx context.Context, s *server, t *traffic, rng *rand.Rand, done map[string]int) error {
	migrations, collections := embeddv1.NewMigrationServiceClient(s.conn), embeddv1.NewCollectionServiceClient(s.conn)
	for ctx.Err() == nil {
		name, err := "look", error(nil)
		res, look := migrations.GetMigration(ctx, &embeddv1.GetMigrationRequest{Name: "default"})
		m := res.GetMigration()
		switch {
		case status.Code(look) == codes.NotFound:
			name = "start"
			var of *embeddv1.DescribeCollectionResponse
			if of, err = collections.DescribeCollection(ctx, &embeddv1.DescribeCollectionRequest{Name: "default"}); err == nil {
				to := otherModel
				if of.GetCollection().GetModel().GetId() == otherModel {
					to = modelName
				}
				_, err = migrations.StartMigration(ctx, &embeddv1.StartMigrationRequest{Name: "default", Model: to, Across: rng.IntN(2) == 0})
			}
		case look != nil:
			err = look
		case m.GetFailed() != "" || len(m.GetRefused()) > 0:
			return fmt.Errorf("the migration fails: %s, %v\n%s", m.GetFailed(), m.GetRefused(), &s.output)
		case m.GetStage() == embeddv1.MigrationStage_MIGRATION_STAGE_FOLLOWING && rng.IntN(6) == 0:
			name = "cancel"
			_, err = migrations.CancelMigration(ctx, &embeddv1.CancelMigrationRequest{Name: "default"})
		case m.GetStage() == embeddv1.MigrationStage_MIGRATION_STAGE_FOLLOWING:
			name = "swap"
			_, err = migrations.SwapMigration(ctx, &embeddv1.SwapMigrationRequest{Name: "default"})
		case m.GetStage() == embeddv1.MigrationStage_MIGRATION_STAGE_SWAPPED && rng.IntN(2) == 0:
			name = "roll back"
			_, err = migrations.RollBackMigration(ctx, &embeddv1.RollBackMigrationRequest{Name: "default"})
		case m.GetStage() == embeddv1.MigrationStage_MIGRATION_STAGE_SWAPPED:
			name = "finish"
			_, err = migrations.FinishMigration(ctx, &embeddv1.FinishMigrationRequest{Name: "default"})
		}
		if err != nil && status.Code(err) == codes.ResourceExhausted { // too much is written for a moment
			done[name+" put off"]++
			err = nil
		}
		if err != nil {
			time.Sleep(100 * time.Millisecond)
			select {
			case <-s.done:
				return nil
			default:
			}
			if ctx.Err() != nil || t.ending.Load() {
				return nil
			}
			return fmt.Errorf("%s: %w", name, err)
		}
		if name != "look" {
			done[name]++
		}
		time.Sleep(20 * time.Millisecond)
	}
	return nil
}

// end ends the migration that is under way, if there is one.
func (c *campaign) end(s *server) error {
	ctx := context.Background()
	migrations := embeddv1.NewMigrationServiceClient(s.conn)
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		res, err := migrations.GetMigration(ctx, &embeddv1.GetMigrationRequest{Name: "default"})
		switch m := res.GetMigration(); {
		case status.Code(err) == codes.NotFound:
			return nil
		case err != nil:
			return err
		case m.GetStage() == embeddv1.MigrationStage_MIGRATION_STAGE_FOLLOWING:
			if _, err := migrations.SwapMigration(ctx, &embeddv1.SwapMigrationRequest{Name: "default"}); err != nil {
				return err
			}
		case m.GetStage() == embeddv1.MigrationStage_MIGRATION_STAGE_SWAPPED:
			if _, err := migrations.FinishMigration(ctx, &embeddv1.FinishMigrationRequest{Name: "default"}); err != nil {
				return err
			}
		}
	}
	return fmt.Errorf("the migration does not come to its end\n%s", &s.output)
}

// check proves the data directory, in which one generation is left.
func (c *campaign) check() error {
	program, err := ordinary()
	if err != nil {
		return err
	}
	if out, err := exec.Command(program, "check", "--data", c.data).CombinedOutput(); err != nil {
		return fmt.Errorf("embedd check: %w\n%s", err, out)
	}
	stores, err := filepath.Glob(filepath.Join(c.data, "generations", "*", "store"))
	if err != nil {
		return err
	}
	if first, err := filepath.Glob(filepath.Join(c.data, "store")); err != nil || len(stores)+len(first) != 1 {
		return fmt.Errorf("there are the stores %s", strings.Join(append(stores, first...), ", "))
	}
	return nil
}
