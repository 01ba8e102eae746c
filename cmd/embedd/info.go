package main

import (
	"fmt"

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
	res, err := cl.info.GetInfo(e.ctx, &embeddv1.GetInfoRequest{})
	if err != nil {
		return err
	}
	if c.JSON {
		return printMessage(e.stdout, res)
	}
	m, l, n := res.GetModel(), res.GetLimits(), res.GetCounts()
	t := newTable(e.stdout)
	t.row("version", res.GetVersion())
	t.row("model", m.GetId())
	t.row("fingerprint", m.GetFingerprint())
	t.row("dimension", fmt.Sprint(m.GetDimension()))
	t.row("max tokens", fmt.Sprint(m.GetMaxTokens()))
	t.row("pooling", m.GetPooling())
	t.row("precision", m.GetPrecision())
	t.row("licence", m.GetLicense())
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
	t.row("limits", fmt.Sprintf("k %d, ef %d, papers a call %d, texts a call %d, id %d bytes, text %d bytes, metadata %d bytes, page %d, message %d bytes, authors a paper %d",
		l.GetK(), l.GetEf(), l.GetPapersPerCall(), l.GetTextsPerCall(), l.GetIdBytes(), l.GetTextBytes(), l.GetMetadataBytes(), l.GetPageSize(), l.GetMessageBytes(), l.GetAuthorsPerPaper()))
	return t.flush()
}

// indexLine is the index's parameters in a line.
func indexLine(m, efConstruction int, memory, kernels string) string {
	return fmt.Sprintf("HNSW, M %d, efConstruction %d, memory %s, kernels %s", m, efConstruction, memory, kernels)
}
