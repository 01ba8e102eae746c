// Package distil learns an adapter from judgments: a matrix W, near the identity, by which the vectors of a collection rank its papers better.
// A vector v becomes W·v, scaled to norm 1, papers and queries alike: what is stored can be turned without being encoded anew.
//
//	Set    vectors of papers and queries, and what is known of pairs of them
//	Learn  Set -> Result: the matrix, and what it gains on queries that had no part in learning it
//
// It knows nothing of texts, models or files.
//
// # How it learns
//
// For a batch of queries, the papers that are judged for them, and near ones that are not, the softmax of the cosines is drawn towards the
// judgments: InfoNCE with negatives of the batch and hard ones (van den Oord, Li, Vinyals, 2018, arXiv:1807.03748; Karpukhin et al., 2020,
// arXiv:2004.04906), by Adam from the identity on. A teacher's scores are targets for the softmax over the papers that it has scored
// (Liu, Jiao, Massiah, Yilmaz, Havrylov: Trans-Encoder, 2022, arXiv:2109.13059). Learning ends where queries that it does not learn from, the
// validating ones, get no better.
//
// # Promises
//
//  1. No query that measures has a part in learning: a fifth of the queries is held out, and of the rest a fifth validates. Queries of the same vector are
//     one, and where a query is a paper itself, that paper is in no pair of the learning ones, on neither side: judgments between papers go both ways, and
//     would tell what is asked.
//  2. A gain is claimed only where the interval of the bootstrap over queries is above 0: see [Result.Gains].
//  3. The same Set and Options give the same matrix on one kind of CPU, however many cores it has.
//  4. Learn works on copies: the Set is left as it is.
//
// # Caveats
//
// Much of what is learned is about the papers that judgments speak of: an adapter brings them forward for other queries. For papers that no judgment
// speaks of it does less, and [Result.New] says how much. A matrix of the query's side alone was tried, and was better on known papers and worse
// on new ones; so was the closed form, least squares drawn to the identity. Neither could be a model of one graph for both sides, or gained more.
package distil
