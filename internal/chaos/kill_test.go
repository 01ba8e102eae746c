package chaos

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"embedd/internal/testkit"
)

const (
	readyLimit = 10 * time.Second
	// freshEvery is after how many kills a new data directory is begun: a list of what is stored is read after each.
	freshEvery = 25
	// leastFound is the share of searches by the graph, by a paper's own vector, that must have the paper first.
	leastFound = 0.995
)

// TestKill kills the server at random moments: in the middle of writes, while it stops, while it starts, and where it is halfway through
// something, at failpoints. After each kill it starts again, and must hold to the ledger:
//
//  1. every acknowledged paper is there, as it was last acknowledged, and every acknowledged delete is absent from Get, List and Search;
//  2. a call that was cut off has happened as a whole or not at all; nothing is there that was never sent, and nothing twice;
//  3. the counts agree, and the index has what the store has: an exact search by a paper's own vector has it first, one by the graph nearly always;
//  4. it is ready within 10 seconds, and nothing that a kill left behind stays: no half-written file, no file descriptor, no goroutine.
func TestKill(t *testing.T) {
	rng := testkit.Rand(t)
	if testing.Short() { // building the program once more takes as long as many kills
		program, err := ordinary()
		if err != nil {
			t.Fatal(err)
		}
		newCampaign(t, rng, program, nil).run(min(8, *cycles))
		return
	}
	program, err := withFailpoints()
	if err != nil {
		t.Fatal(err)
	}
	newCampaign(t, rng, program, failpoints).run(*cycles)
}

// campaign is a number of kills.
type campaign struct {
	t       *testing.T
	rng     *rand.Rand
	program string
	points  []failpoint // those that the program has

	data    string
	ledger  *ledger
	earlier []string // data directories

	first           findings
	start, slowest  time.Duration // until it was ready: the latest time, and the worst
	searched, found int
	calls, papers   int // acknowledged, to ledgers that were left
	kinds           map[string]int
	last            string // the kind of the latest kill
	next            int    // failpoint
}

func newCampaign(t *testing.T, rng *rand.Rand, program string, points []failpoint) *campaign {
	return &campaign{t: t, rng: rng, program: program, points: points, start: time.Second, kinds: map[string]int{}}
}

func (c *campaign) run(n int) {
	begin := time.Now()
	root, err := os.MkdirTemp("", "embedd-chaos-data-")
	if err != nil {
		c.t.Fatal(err)
	}
	c.next = c.rng.IntN(1 + len(c.points))
	for i := range n {
		if i%freshEvery == 0 {
			c.count()
			c.data, c.ledger = filepath.Join(root, fmt.Sprint(i)), newLedger(c.rng)
			c.earlier = append(c.earlier, c.data)
			for len(c.earlier) > 3 {
				os.RemoveAll(c.earlier[0])
				c.earlier = c.earlier[1:]
			}
		}
		if err := c.cycle(); err != nil {
			c.t.Fatalf("kill %d (%s): %v\nthe data directories are kept: %v", i+1, c.last, err, c.earlier)
		}
	}
	// What the last kill has left is looked at too.
	s, err := c.open()
	if err == nil {
		err = c.look(s)
		s.kill()
	}
	c.count()
	if share := float64(c.found) / float64(max(1, c.searched)); err == nil && share < leastFound {
		err = fmt.Errorf("%d of %d searches by the graph find the paper whose vector they are given", c.found, c.searched)
	}
	if err != nil {
		c.t.Fatalf("after kill %d (%s): %v\nthe data directories are kept: %v", n, c.last, err, c.earlier)
	}
	os.RemoveAll(root)
	var kinds []string
	for kind, n := range c.kinds {
		kinds = append(kinds, fmt.Sprintf("%s %d", kind, n))
	}
	slices.Sort(kinds)
	c.t.Logf("%d kills in %v (%s): %d calls with %d papers were acknowledged, none was lost; ready after at most %v; the graph found %d of %d",
		n, time.Since(begin).Round(time.Second), strings.Join(kinds, ", "), c.calls, c.papers, c.slowest.Round(time.Millisecond), c.found, c.searched)
}

// count adds up what the ledger, which is about to be left, has had acknowledged.
func (c *campaign) count() {
	if c.ledger == nil {
		return
	}
	for _, w := range c.ledger.writers {
		c.calls += w.calls
		c.papers += w.papers
	}
}

// cycle starts the server, compares it with the ledger, lets it be written to, and kills it.
func (c *campaign) cycle() error {
	s, err := c.open()
	if err != nil {
		return err
	}
	defer s.kill()
	if err := c.look(s); err != nil {
		return err
	}
	traffic := c.ledger.write(s)
	switch pick := c.rng.IntN(10); {
	case pick < 3: // while it starts
		c.kind("while starting")
		c.sleep(50*time.Millisecond, 700*time.Millisecond)
		if err := traffic.cutOff(); err != nil {
			return err
		}
		return c.killStarting()
	case pick < 6 && c.points != nil:
		point := c.points[c.next%len(c.points)]
		c.next++
		return c.killAt(traffic, point)
	case pick < 7: // while it stops
		c.kind("while stopping")
		c.sleep(50*time.Millisecond, time.Second)
		traffic.ending.Store(true)
		if err := s.terminate(); err != nil {
			return err
		}
		if c.rng.IntN(3) == 0 { // this time it may stop by itself
			if status, err := s.ended(30 * time.Second); err != nil || status != 0 {
				return fmt.Errorf("it stopped with status %d, %v\n%s", status, err, &s.output)
			}
		} else {
			c.sleep(0, 300*time.Millisecond)
		}
		return traffic.cutOff()
	default:
		c.kind("while writing")
		c.sleep(50*time.Millisecond, 3*time.Second)
		return traffic.cutOff()
	}
}

func (c *campaign) kind(name string) {
	c.last = name
	c.kinds[name]++
}

func (c *campaign) sleep(least, most time.Duration) {
	time.Sleep(least + time.Duration(c.rng.Int64N(int64(most-least))))
}

// open starts the server and waits until it is ready.
func (c *campaign) open() (*server, error) {
	s, err := start(c.program, c.data, c.points != nil, "")
	if err != nil {
		return nil, err
	}
	if c.start, err = s.ready(readyLimit); err != nil {
		s.kill()
		return nil, err
	}
	c.slowest = max(c.slowest, c.start)
	return s, nil
}

// killStarting kills the server on its way to being ready.
func (c *campaign) killStarting() error {
	s, err := start(c.program, c.data, c.points != nil, "")
	if err != nil {
		return err
	}
	c.sleep(0, c.start)
	s.kill()
	return nil
}

// look compares a server that has just started with the ledger.
func (c *campaign) look(s *server) error {
	f, err := c.ledger.verify(s, c.data, c.rng)
	if err != nil {
		return err
	}
	c.searched += f.searched
	c.found += f.found
	if c.first.goroutines == 0 {
		c.first = f
	}
	// Some that serve calls may be there or not.
	if f.goroutines > c.first.goroutines+15 || f.files > c.first.files+10 {
		return fmt.Errorf("%v goroutines and %v files are open beside the tables; after the first start there were %v and %v", f.goroutines, f.files, c.first.goroutines, c.first.files)
	}
	return nil
}
