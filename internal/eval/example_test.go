package eval_test

import (
	"encoding/json"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"embedd/internal/eval"
)

// Two queries: one finds its documents at ranks 1 and 3, the other is not answered.
func ExampleEvaluate() {
	qrels := eval.Qrels{
		"q1": {"d1": 2, "d2": 1, "d3": 0},
		"q2": {"d4": 1},
	}
	run := map[string][]eval.Scored{
		"q1": {{ID: "d2", Score: 0.7}, {ID: "d1", Score: 0.9}, {ID: "d3", Score: 0.8}},
	}
	m := eval.Evaluate(qrels, run)
	fmt.Printf("nDCG@10 %.4f, recall@100 %.4f, MRR@10 %.4f, MAP@100 %.4f, %d queries\n",
		m.NDCG10, m.Recall100, m.MRR10, m.MAP100, m.Queries)
	// Output: nDCG@10 0.4751, recall@100 0.5000, MRR@10 0.5000, MAP@100 0.4167, 2 queries
}

// A search engine that answers every query with the same documents.
func ExampleReadDataset() {
	parent, err := os.MkdirTemp("", "eval")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(parent)
	dir := filepath.Join(parent, "library")
	if err := os.Mkdir(dir, 0o700); err != nil {
		log.Fatal(err)
	}
	for name, content := range map[string]string{
		"queries.jsonl": `{"_id": "q1", "text": "how cats purr"}` + "\n" + `{"_id": "q2", "text": "nobody has judged this"}`,
		"qrels.tsv":     "query-id\tcorpus-id\tscore\nq1\td1\t1\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			log.Fatal(err)
		}
	}

	d, err := eval.ReadDataset(dir, "")
	if err != nil {
		log.Fatal(err)
	}
	run := make(map[string][]eval.Scored)
	for _, q := range d.Queries {
		fmt.Printf("%s asks %q\n", d.Name, q.Text)
		run[q.ID] = []eval.Scored{{ID: "d3", Score: 0.9}, {ID: "d2", Score: 0.8}, {ID: "d1", Score: 0.6}}
	}
	report, err := json.Marshal(eval.Evaluate(d.Qrels, run))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(string(report))
	// Output:
	// library asks "how cats purr"
	// {"ndcg@10":0.5,"recall@100":1,"mrr@10":0.3333333333333333,"map@100":0.3333333333333333,"queries":1}
}
