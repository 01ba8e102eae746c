package ingest

import (
	"errors"
	"io"
	"testing"

	"embedd/internal/evalsets"
)

// The counts are those of the table in the data folder's README.
func TestEvaluationData(t *testing.T) {
	for _, test := range []struct {
		name      string
		documents int
		blank     []string // documents with neither title nor text
	}{
		{name: "listing51", documents: 51},
		{name: "scifact", documents: 5183},
		{name: "cisi", documents: 1460},
		{name: "scisummnet", documents: 892},
		{name: "cranfield", documents: 1400, blank: []string{"471", "995"}},
		{name: "scitldr", documents: 3229},
		{name: "arxiv", documents: 118747},
		{name: "neardup-dev", documents: 1109},
	} {
		t.Run(test.name, func(t *testing.T) {
			if testing.Short() && test.documents > 100000 {
				t.Skip("large")
			}
			r, err := Open(evalsets.Dir(t, test.name))
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			seen := make(map[string]bool)
			blank := 0
			for {
				p, err := r.Next()
				if err == io.EOF {
					break
				}
				if e, ok := errors.AsType[*LineError](err); ok && e.Field == "text" && blank < len(test.blank) {
					blank++
					continue
				}
				if err != nil {
					t.Fatal(err)
				}
				if seen[p.ID] {
					t.Errorf("%s twice", p.ID)
				}
				seen[p.ID] = true
			}
			for _, id := range test.blank {
				if seen[id] {
					t.Errorf("%s is blank, but was returned", id)
				}
			}
			if len(seen)+blank != test.documents || blank != len(test.blank) {
				t.Errorf("%d papers and %d blank ones, want %d in all, %d blank", len(seen), blank, test.documents, len(test.blank))
			}
			if r.BytesRead() != r.Size() {
				t.Errorf("read %d of %d bytes", r.BytesRead(), r.Size())
			}
		})
	}
	if _, err := Open(evalsets.Dir(t, "glove100-50k")); err == nil {
		t.Error("glove100-50k has no corpus, but was opened")
	}
}
