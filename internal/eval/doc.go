// Package eval measures retrieval: how well ranked lists of documents agree with judgments of relevance.
//
//	ReadDataset  a folder in BEIR form -> the queries to ask, and the judgments
//	Evaluate     judgments and a run, the documents found for each query -> Metrics
//
// # Definitions
//
// They are trec_eval's (https://github.com/usnistgov/trec_eval), so that numbers compare with published ones. A judgment
// above 0 is relevant. With r(i) the judgment of the document at rank i, or 0 where that is negative or missing, and R the
// number of all relevant documents of the query, found or not:
//
//	ndcg@10     DCG / ideal DCG, where DCG = Σ r(i) / log2(i+1) for i = 1 … 10, and the ideal is the DCG of the query's
//	            judgments from the highest down                                            trec_eval: ndcg_cut_10
//	recall@100  relevant documents at ranks 1 … 100, divided by R                          trec_eval: recall_100
//	mrr@10      1 / rank of the first relevant document, or 0 if that is above 10          trec_eval: recip_rank -M 10
//	map@100     Σ (relevant documents at ranks 1 … i) / i over the ranks i ≤ 100 that have a relevant document, divided
//	            by R                                                                       trec_eval: map_cut_100
//
// Each is the mean over the queries that have a relevant document. One that the run does not answer counts 0, as with
// trec_eval -c.
//
// # Ranking
//
// The order of a list means nothing: documents are ranked by score, the highest first, and those of equal score by
// identifier in descending byte order, "b" before "a". This is trec_eval's rule too. A score that is not a number ranks
// last. Of a document that is listed twice, the first by this ranking counts and the other is taken out before ranks are
// given; trec_eval refuses such a run.
//
// # Caveats
//
// Gain is linear: some programs take 2^r - 1, which gives other numbers where judgments are graded. Where a query is itself
// a document of the corpus, as in paper to paper, it is for the caller to leave it out of its own list.
package eval
