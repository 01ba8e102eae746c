package chaos

import (
	"fmt"
	"hash/fnv"
	"maps"
	"math/rand/v2"
	"slices"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	embeddv1 "embedd/proto/embedd/v1"
)

const (
	writerCount = 8
	poolSize    = 1000 // ids that are written again and again; each belongs to one writer
)

// value is one version of a paper. Its text is that of the version text: not every version has another text.
type value struct{ version, text int }

// ledger is what the driver knows: it belongs to a data directory.
type ledger struct {
	nonce   uint64 // of this ledger: another's papers are phantoms
	writers [writerCount]*writer
}

func newLedger(rng *rand.Rand) *ledger {
	l := &ledger{nonce: rng.Uint64()}
	for i := range l.writers {
		w := &writer{ledger: l, number: i, rng: rand.New(rand.NewPCG(rng.Uint64(), 0)), acked: map[string]value{}, gone: map[string]value{}}
		for id := i; id < poolSize; id += writerCount {
			w.pool = append(w.pool, fmt.Sprintf("pool/%04d", id))
		}
		l.writers[i] = w
	}
	return l
}

// writer writes ids that no other writes, one call at a time. So what must be stored of them is known to the letter.
type writer struct {
	ledger  *ledger
	number  int
	rng     *rand.Rand
	pool    []string
	version int // the last that was used
	stream  int // ids of the stream that were used

	acked map[string]value // what is stored, by what was acknowledged
	gone  map[string]value // what the deleted papers were
	sent  *call            // in flight, or cut off: all of it happened or nothing

	calls, papers int // acknowledged, ever
}

// call is one write on its way.
type call struct {
	remove bool
	ids    []string
	then   map[string]value // of ids; those that are missing are deleted
}

// next makes up a call and notes it as sent.
func (w *writer) next() *call {
	c := &call{then: map[string]value{}}
	count := 1
	if w.rng.IntN(4) == 0 {
		count += w.rng.IntN(8)
	}
	if w.rng.IntN(7) == 0 { // the stream only grows
		for range count {
			w.stream++
			w.version++
			id := fmt.Sprintf("stream/%d/%08d", w.number, w.stream)
			c.ids, c.then[id] = append(c.ids, id), value{w.version, w.version}
		}
	} else {
		for _, i := range w.rng.Perm(len(w.pool))[:count] {
			c.ids = append(c.ids, w.pool[i])
		}
		if c.remove = w.rng.IntN(5) == 0; !c.remove {
			for _, id := range c.ids {
				w.version++
				v := value{w.version, w.version}
				if old, stored := w.acked[id]; stored && w.rng.IntN(3) == 0 {
					v.text = old.text // the paper keeps its vector
				}
				c.then[id] = v
			}
		}
	}
	w.sent = c
	return c
}

// done notes that the call in flight was acknowledged.
func (w *writer) done() {
	w.apply(w.sent)
	w.calls++
	w.papers += len(w.sent.ids)
	w.sent = nil
}

// apply makes the ledger what it is once the call has happened.
func (w *writer) apply(c *call) {
	for _, id := range c.ids {
		if then, stays := c.then[id]; stays {
			w.acked[id] = then
			delete(w.gone, id)
		} else if old, stored := w.acked[id]; stored {
			w.gone[id] = old
			delete(w.acked, id)
		}
	}
}

// compare checks what is stored of the writer's ids against the ledger, and takes it over. A call that was cut off has happened as a
// whole or not at all.
func (w *writer) compare(stored map[string]value) error {
	sent := w.sent
	w.sent = nil
	if maps.Equal(stored, w.acked) {
		return nil
	}
	if sent != nil && sent.happened(stored) {
		w.apply(sent)
		if maps.Equal(stored, w.acked) {
			return nil
		}
	}
	var wrong []string
	for id, want := range w.acked {
		if got, ok := stored[id]; !ok {
			wrong = append(wrong, fmt.Sprintf("%s is lost: %+v was acknowledged", id, want))
		} else if got != want {
			wrong = append(wrong, fmt.Sprintf("%s has %+v: %+v was acknowledged", id, got, want))
		}
	}
	for id, got := range stored {
		if _, ok := w.acked[id]; !ok {
			wrong = append(wrong, fmt.Sprintf("%s is stored with %+v: its absence was acknowledged, or it was never sent", id, got))
		}
	}
	slices.Sort(wrong)
	return fmt.Errorf("writer %d, with %+v in flight: %d papers are wrong: %s", w.number, sent, len(wrong), wrong[:min(10, len(wrong))])
}

// happened tells whether all that the call was to bring about is stored.
func (c *call) happened(stored map[string]value) bool {
	for _, id := range c.ids {
		got, is := stored[id]
		want, stays := c.then[id]
		if is != stays || got != want {
			return false
		}
	}
	return true
}

// paper is the same for an id and a value, to the last byte, and no other has its text.
func (l *ledger) paper(id string, v value) *embeddv1.Paper {
	metadata, err := structpb.NewStruct(map[string]any{
		"version": float64(v.version), "text": float64(v.text), "nonce": fmt.Sprintf("%016x", l.hash(id, v.version)),
	})
	if err != nil {
		panic(err)
	}
	return &embeddv1.Paper{Id: id, Title: l.text(id, v.text), Year: int32(1900 + v.version%100), Metadata: metadata}
}

func (l *ledger) hash(id string, version int) uint64 {
	h := fnv.New64a()
	fmt.Fprintf(h, "%x %s %d", l.nonce, id, version)
	return h.Sum64()
}

// text is five words of six letters, 30 of the 38 tokens that the tiny model reads.
func (l *ledger) text(id string, version int) string {
	rng := rand.New(rand.NewPCG(l.hash(id, version), 1))
	b := make([]byte, 0, 34)
	for i := range 30 {
		if i > 0 && i%6 == 0 {
			b = append(b, ' ')
		}
		b = append(b, byte('a'+rng.IntN(26)))
	}
	return string(b)
}

// read tells which version a paper is, if it is one of this ledger, whole and unmixed.
func (l *ledger) read(p *embeddv1.Paper) (v value, err error) {
	fields := p.GetMetadata().GetFields()
	v = value{int(fields["version"].GetNumberValue()), int(fields["text"].GetNumberValue())}
	if want := l.paper(p.GetId(), v); !proto.Equal(p, want) {
		return v, fmt.Errorf("paper %s is mixed, or was never sent: it is %v; version %d is %v", p.GetId(), p, v.version, want)
	}
	return v, nil
}
