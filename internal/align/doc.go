// Package align fits a map from the vectors of one encoder to those of another, on texts that both have encoded, and says what is lost by it.
//
// The idea is that of BT² (Zhou et al., "BT²: Backward-compatible Training with Basis Transformation", ICCV 2023, arXiv:2211.03989): a change of basis
// lets queries of a new model be compared with vectors of the old one. There it is trained with the model; here both models are as they are, and it is fitted.
//
//	Fit      pairs of vectors -> the orthogonal map that comes nearest
//	Apply    a vector of the one encoder -> one of the other, at norm 1
//	Measure  a map, pairs that it was not fitted on -> what is lost
//	FitLine  pairs of scores -> the straight line that comes nearest: brings scores of the one to the scale of the other
//
// # Which map
//
// An orthogonal map keeps the angles between vectors: what was alike stays alike. Least squares with a ridge comes nearer to the vectors, and finds less.
// From all-MiniLM-L6-v2 to paraphrase-MiniLM-L3-v2, fitted on 4,000 abstracts of SciFact, mean cosine of 500 others and nDCG@10 of the 300 mapped
// questions on all abstracts as the old model has them, where the new model alone has 0.647 and the old one 0.513:
//
//	                        cosine   nDCG@10
//	orthogonal              0.646    0.491
//	orthogonal, centred     0.650    0.499
//	ridge 0.01              0.732    0.473
//	ridge 0.1, centred      0.735    0.464
//	ridge 1                 0.714    0.406
//	orthogonal, added to the vector of the old model    0.531
//
// To take the means off first changes nothing that can be told from chance (it is worse on 1,000 pairs); so it is left out. That a mapped query finds less than
// one of the old model is no defect of the fit: what the old vectors do not have, no map brings back. The sum of both finds more than either.
//
// All functions may be called from many goroutines at once; a Map does not change.
package align
