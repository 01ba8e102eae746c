package server

import (
	"embedd/internal/retrieval"
	embeddv1 "embedd/proto/embedd/v1"
)

// explanationToProto gives nil for nil.
func explanationToProto(x *retrieval.Explanation) *embeddv1.Explanation {
	if x == nil {
		return nil
	}
	out := &embeddv1.Explanation{
		Score: x.Score, Shares: x.Shares, Sentences: sentencesToProto(x.Sentences), Rest: x.Rest,
		QuerySentences: sentencesToProto(x.Query), QueryRest: x.QueryRest,
	}
	if x.Pair {
		out.Best = &embeddv1.SentencePair{QuerySentence: int32(x.BestQuery), Sentence: int32(x.Best), Score: x.BestScore}
	}
	for _, t := range x.Terms {
		out.Terms = append(out.Terms, &embeddv1.SharedTerm{Term: t.Term, Weight: t.Weight, Query: spansToProto(t.Query), Paper: spansToProto(t.Paper)})
	}
	return out
}

func sentencesToProto(all []retrieval.Sentence) []*embeddv1.Sentence {
	var out []*embeddv1.Sentence
	for _, s := range all {
		out = append(out, &embeddv1.Sentence{Text: s.Text, Field: s.Field, Share: s.Share, Score: s.Score, Read: s.Read})
	}
	return out
}

func spansToProto(all []retrieval.Span) []*embeddv1.Span {
	var out []*embeddv1.Span
	for _, s := range all {
		out = append(out, &embeddv1.Span{Field: s.Field, Begin: int32(s.Begin), End: int32(s.End)})
	}
	return out
}
