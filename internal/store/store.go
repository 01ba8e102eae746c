package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// Identity says which encoder made the vectors.
type Identity struct {
	// Model is its name, for messages only.
	Model string
	// Fingerprint stands for all that a vector depends on; never empty. Two encoders of one fingerprint give the same
	// vectors.
	Fingerprint string
	// Dimension is the number of values of a vector, 1 to 65536.
	Dimension int
}

const maxDimension = 65536

func (id Identity) check() error {
	switch {
	case id.Fingerprint == "":
		return errors.New("the identity has no fingerprint")
	case id.Dimension < 1 || id.Dimension > maxDimension:
		return fmt.Errorf("the identity's dimension is %d; must be 1 to %d", id.Dimension, maxDimension)
	case !utf8.ValidString(id.Model) || !utf8.ValidString(id.Fingerprint):
		return errors.New("the identity is not valid UTF-8")
	}
	return nil
}

// Paper is one document. All strings are valid UTF-8 and come back as they were given.
type Paper struct {
	// ID has 1 to 4096 bytes.
	ID       string   `json:"id"`
	Title    string   `json:"title,omitempty"`
	Abstract string   `json:"abstract,omitempty"`
	Authors  []string `json:"authors,omitempty"` // none comes back as nil
	Year     int32    `json:"year,omitempty"`
	Venue    string   `json:"venue,omitempty"`
	DOI      string   `json:"doi,omitempty"`
	ArxivID  string   `json:"arxiv_id,omitempty"`
	URL      string   `json:"url,omitempty"`
	// Metadata is a JSON object or nil. It comes back without white space between its parts, otherwise byte for byte.
	Metadata json.RawMessage `json:"metadata,omitempty"`
	// Expires, in UTC, is when the paper is to go, to the nanosecond, from 1970 to the year 9999; zero: never. The store keeps it until [Store.Expire].
	Expires time.Time `json:"expires,omitzero"`
	// Vector is for who carries a paper with its vector. It is not part of the record: see [Write].
	Vector []float32 `json:"-"`
}

// Record is what is stored of a paper beside its vector.
type Record struct {
	Paper Paper
	// Content is the hash of what was encoded, for the caller to tell whether the vector is still the paper's. The store
	// does not look at it.
	Content [32]byte
	// Tokens that the encoder read; Truncated says that there were more.
	Tokens    int
	Truncated bool
}

// Write is one paper of a Put.
type Write struct {
	Record Record
	// Vector has the store's dimension and norm 1. Nil keeps the ordinal and the vector that are stored for the id.
	Vector []float32
	// Sentences are kept beside Vector, and go with it. Nil: there are none, or with a nil Vector those that are stored stay.
	Sentences *Sentences
	// Passages, where there are any, are the parts of the text, 2 to MaxPassages; they go with Vector, which is the first one's.
	Passages []NewPassage
	// Keep, with a nil Vector, is the ordinal that the id must have; 0: any.
	Keep uint64
	// Was, when set, is what must be stored of the id, unchanged. Absent: nothing must be.
	Was    *Stored
	Absent bool
	// Moving, when set, is called if the paper moves to a new ordinal: with the old one and what is stored under it, before
	// anybody can see that it is gone. Put may fail after that. It must be quick, and call no method of the Store.
	Moving func(old uint64, as Record)
}

// Placement says where a Put has placed one paper.
type Placement struct {
	Ordinal uint64
	// Replaced is the ordinal that this id had before and lost; 0 for none.
	Replaced uint64
}

// Options tune Open. Nil and the zero value are the defaults.
type Options struct {
	// FS is where the files are. Default: the machine's. Tests put a file system here that crashes or fails.
	FS vfs.FS
	// Root, of OpenRoot or MakeRoot, is a folder that the store is in and that nothing of it leads out of: no path and no link, of the store's
	// directory or below it. It stays open for as long as the Store, and is the caller's to close. Default: the store's directory.
	Root *os.Root
	// CacheBytes is the size of a cache of blocks read for this store alone. Default: one of SharedCacheBytes for all stores of the process, which
	// fills as it is needed. It lies outside Go's heap.
	CacheBytes int64
	// Log is told of damage and failures that no call returns, because they come up in the background. Default:
	// slog.Default().
	Log *slog.Logger
	// Reserve is how many bytes must be free on the disk for Put to store anything. Default: 2 GiB, or a tenth of a smaller disk.
	Reserve uint64
	// Ballast is the size of a file that is kept to be given up when the disk is full, a hundredth of the disk at most. Default: none.
	Ballast int64
	// OnWritable, when set, is called with what Writable returns when that changes from nil or to nil. It must be quick.
	OnWritable func(error)
	// ReadOnly opens a store that is there, and changes nothing. Open may be given no Identity then: of whatever encoder.
	ReadOnly bool
	asItIs   bool // for Repair: with ReadOnly, also where something is missing

	// For tests: the times of the keeper, and of Close.
	markEvery, patience time.Duration
}

// Store is an open directory. All methods may be called from many goroutines at once; readers do not wait for writers.
// Every method but Count, Revision, Identity, UUID, Writable, Figures and Close gives ErrClosed after Close.
type Store struct {
	dir  string
	id   Identity
	uuid string
	has  int // format, when it was opened
	db   *pebble.DB
	root *os.Root     // the store's own; nil: it was given one
	lock *pebble.Lock // on the directory
	log  *logger
	disk disk

	strict *strictFS // Pebble's

	counts    counts
	recovered recovered // set by Open

	readOnly bool
	patience time.Duration

	// write is held by the one change that is put together.
	write sync.Mutex
	// applied is the state that the next change builds upon: it can be read, and may not be on disk yet. Guarded by write.
	applied state
	// removals are told what each change has removed. Guarded by write.
	removals []*Removals
	// state is the last that is on disk.
	state   atomic.Pointer[state]
	flights flights

	// marker is the keeper's while that runs.
	marker *marker
	keeper keeper

	calls calls
	close func() error
}

// Identity returns the identity that the store was created with. Its Model may differ from that given to Open, if the
// same encoder goes by another name now.
func (s *Store) Identity() Identity { return s.id }

// UUID returns the store's random identifier, made when it was created. It tells whether something derived from a store
// was derived from this one.
func (s *Store) UUID() string { return s.uuid }

// Count returns the number of papers.
func (s *Store) Count() int { return int(s.state.Load().count) }

// Revision returns the number of Puts and Deletes that changed something, ever.
func (s *Store) Revision() uint64 { return s.state.Load().revision }

// Close waits for running calls, writes what is only in the log into tables, marks the store as closed, and lets go of the directory. Later calls of
// Close do the same nothing and return the same error. It must not be called from the function given to Vectors or
// Ordinals, for which it would wait.
func (s *Store) Close() error { return s.close() }

func (s *Store) closeOnce() error {
	s.calls.end()
	err := s.shut()
	if s.root != nil {
		err = errors.Join(err, s.root.Close())
	}
	if err != nil {
		return fmt.Errorf("close store %s: %w", s.dir, err)
	}
	return nil
}

func (s *Store) shut() error {
	if s.readOnly {
		return errors.Join(s.db.Close(), s.lock.Close())
	}
	close(s.keeper.stop)
	<-s.keeper.done
	// gofail: var duringShutdownFlush struct{}

	// Pebble does not tell the end of its log from damage in it. After the flush no record depends on the log.
	err := errors.Join(s.flush(), s.db.Close())
	if err == nil {
		err = s.mark(true)
	}
	return errors.Join(err, s.marker.file.Close(), s.lock.Close())
}

// flushPatience is how long the log may take to be written into tables. Pebble would try for ever on a disk that does not take them; the
// log stays then, and is read by the next Open.
const flushPatience = 10 * time.Second

// flush writes what is in the log into tables.
func (s *Store) flush() error {
	done, err := s.db.AsyncFlush()
	if err != nil {
		return err
	}
	timer := time.NewTimer(s.patience)
	defer timer.Stop()
	select {
	case <-done:
		return nil
	case <-timer.C:
		return fmt.Errorf("the log was not written into tables within %v; it stays", s.patience)
	}
}

// calls counts the calls that are using the database, which Pebble must not be closed under. A read-write lock would do
// but for a call inside a call (Vector in the function given to Ordinals), which blocks when Close waits in between.
type calls struct {
	n    atomic.Int64 // below 0 once ended
	idle chan struct{}
}

const callsEnded = -1 << 62

func (c *calls) enter() error {
	if c.n.Add(1) < 0 {
		c.leave()
		return ErrClosed
	}
	return nil
}

func (c *calls) leave() {
	if c.n.Add(-1) == callsEnded {
		select {
		case c.idle <- struct{}{}:
		default: // told already; this call came late, and was turned away
		}
	}
}

// end turns calls away from now on, and returns when none is left. It is called once.
func (c *calls) end() {
	if c.n.Add(callsEnded) > callsEnded {
		<-c.idle
	}
}
