package eval

import (
	"testing"

	"embedd/internal/evalsets"
)

// The counts are those of the table in the data folder's README, and of the folder's own where the table is silent.
func TestEvaluationData(t *testing.T) {
	for _, test := range []struct {
		folder, task       string
		queries, judgments int
	}{
		{"scifact", "", 300, 339},
		{"scifact", "train", 809, 919},
		{"cisi", "cocitation", 857, 3894},
		{"cisi", "", 76, 3114},
		{"scisummnet", "", 820, 3758},
		{"scisummnet", "citance", 1991, 2092},
		{"cranfield", "", 225, 1837},
		{"scitldr", "", 1967, 1967},
		{"scitldr", "train-dev", 3445, 3445},
		{"arxiv", "tldr-zh", 1000, 1000},
	} {
		t.Run(test.folder+"-"+test.task, func(t *testing.T) {
			d, err := ReadDataset(evalsets.Dir(t, test.folder), test.task)
			if err != nil {
				t.Fatal(err)
			}
			judgments := 0
			perfect := make(map[string][]Scored)
			for query, documents := range d.Qrels {
				judgments += len(documents)
				for id, r := range documents {
					perfect[query] = append(perfect[query], Scored{id, float32(r)})
				}
			}
			if len(d.Queries) != test.queries || judgments != test.judgments {
				t.Errorf("%d queries and %d judgments, want %d and %d", len(d.Queries), judgments, test.queries, test.judgments)
			}
			// Recall and MAP are less than 1 where a query has more than 100 relevant documents.
			m := Evaluate(d.Qrels, perfect)
			if m.NDCG10 < 1-1e-12 || m.NDCG10 > 1+1e-12 || m.MRR10 != 1 || m.Queries != test.queries {
				t.Errorf("of a perfect run: %+v", m)
			}
		})
	}
	// These have no such task: scisummnet's main task is from paper to paper already, the others have no main task.
	for _, test := range [][2]string{{"scisummnet", "cocitation"}, {"arxiv", ""}, {"listing51", ""}, {"neardup-dev", ""}, {"glove100-50k", ""}} {
		if d, err := ReadDataset(evalsets.Dir(t, test[0]), test[1]); err == nil {
			t.Errorf("%s has no task %q, but gave %d queries", test[0], test[1], len(d.Queries))
		} else {
			t.Log(err)
		}
	}
}
