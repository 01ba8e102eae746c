package main

import (
	"fmt"
	"strings"
	"time"

	embeddv1 "embedd/proto/embedd/v1"
)

type infoCmd struct {
	outputFlags
	clientFlags
}

func (infoCmd) Help() string {
	return `Example:
  embedd info --json`
}

func (c *infoCmd) Run(e *env) (err error) {
	cl, err := c.open(e, false)
	if err != nil {
		return err
	}
	defer finish(&err, cl.close)
	res, err := awaitFields(e, cl, fieldsWait)
	if err != nil {
		return err
	}
	if !res.GetFieldsReady() {
		fmt.Fprintln(e.stderr, "embedd: note: the fields are still being read; their figures are of those that have been")
	}
	if c.JSON {
		return printMessage(e.stdout, res)
	}
	m, l, n := res.GetModel(), res.GetLimits(), res.GetCounts()
	t := newTable(e.stdout)
	t.row("version", res.GetVersion())
	t.row("collection", res.GetCollection())
	t.row("model", m.GetId())
	t.row("fingerprint", m.GetFingerprint())
	t.row("dimension", fmt.Sprint(m.GetDimension()))
	t.row("max tokens", fmt.Sprint(m.GetMaxTokens()))
	t.row("pooling", m.GetPooling())
	t.row("precision", m.GetPrecision())
	t.row("licence", m.GetLicense())
	if d := m.GetDimensions(); len(d) > 0 {
		t.row("cut to", strings.Trim(fmt.Sprint(d), "[]"))
	}
	if r := res.GetRerankers(); len(r) > 0 {
		t.row("rerankers", strings.Join(r, ", "))
	}
	t.row("papers", fmt.Sprint(n.GetPapers()))
	t.row("indexed vectors", fmt.Sprintf("%d, %d tombstones", n.GetIndexedVectors(), n.GetTombstones()))
	x := res.GetIndex()
	t.row("index", indexLine(int(x.GetM()), int(x.GetEfConstruction()), x.GetMemory(), x.GetKernels()))
	t.row("index memory", fmt.Sprintf("%d bytes, %.0f a vector; %d in a file; %d free slots", x.GetMemoryBytes(), x.GetBytesPerVector(), x.GetFileBytes(), x.GetFree()))
	calibrated := "not yet; the table of another collection is used"
	if n := x.GetCalibratedVectors(); n > 0 {
		calibrated = fmt.Sprintf("with %d vectors", n)
	}
	t.row("recall measured", calibrated)
	t.row("index version", fmt.Sprint(res.GetIndexVersion()))
	for _, f := range res.GetFields() {
		t.row("field "+printable(f.GetName()), fieldLine(f))
	}
	t.row("limits", fmt.Sprintf("k %d, ef %d, papers a call %d, texts a call %d, id %d bytes, text %d bytes, metadata %d bytes, page %d, message %d bytes, authors a paper %d",
		l.GetK(), l.GetEf(), l.GetPapersPerCall(), l.GetTextsPerCall(), l.GetIdBytes(), l.GetTextBytes(), l.GetMetadataBytes(), l.GetPageSize(), l.GetMessageBytes(), l.GetAuthorsPerPaper()))
	if l.GetMemoryBytes() == 0 { // no server: nobody is kept out
		return t.flush()
	}
	for _, c := range l.GetClasses() {
		t.row("limits, "+strings.ToLower(strings.TrimPrefix(c.GetClass().String(), "CLASS_")), fmt.Sprintf("message %d bytes, deadline %d s, %d running, %d waiting",
			c.GetMessageBytes(), c.GetDeadlineSeconds(), c.GetRunning(), c.GetWaiting()))
	}
	t.row("limits, connections", fmt.Sprintf("%d, %s from one address, %d calls at once on each, headers %d bytes",
		l.GetConnections(), orAny(l.GetConnectionsPerAddress()), l.GetCallsPerConnection(), l.GetHeaderBytes()))
	t.row("limits, memory", fmt.Sprintf("%d MiB; messages at once %d MiB", l.GetMemoryBytes()>>20, l.GetMessageBytesAtOnce()>>20))
	t.row("limits, rate", fmt.Sprintf("%s calls and %s writes a second", orAny(l.GetCallsPerSecond()), orAny(l.GetWritesPerSecond())))
	return t.flush()
}

// fieldsWait is how long is waited for fields that are still being read.
const fieldsWait = 10 * time.Second

// awaitFields asks until the fields are known, which are read when they are asked for first, or it has taken so long.
func awaitFields(e *env, cl *client, most time.Duration) (*embeddv1.GetInfoResponse, error) {
	for begin := time.Now(); ; {
		res, err := cl.info.GetInfo(e.ctx, &embeddv1.GetInfoRequest{})
		if err != nil || res.GetFieldsReady() || time.Since(begin) > most {
			return res, err
		}
		if err := sleep(e.ctx, 100*time.Millisecond); err != nil {
			return nil, err
		}
	}
}

// fieldLine is what filters may find in a field.
func fieldLine(f *embeddv1.Field) string {
	kind := strings.ToLower(strings.TrimPrefix(f.GetType().String(), "FIELD_TYPE_"))
	if f.GetRepeated() {
		kind += ", several"
	}
	return fmt.Sprintf("%s; %d values in %s", kind, f.GetValues(), papersText(f.GetPapers()))
}

// orAny is a limit, where 0 is none.
func orAny[T int32 | float64](n T) string {
	if n == 0 {
		return "any number of"
	}
	return fmt.Sprint(n)
}

// indexLine is the index's parameters in a line.
func indexLine(m, efConstruction int, memory, kernels string) string {
	return fmt.Sprintf("HNSW, M %d, efConstruction %d, memory %s, kernels %s", m, efConstruction, memory, kernels)
}
