package lexical

// Place is where a stem stands in a text: in bytes, from Begin to before End.
type Place struct {
	Stem       string
	Begin, End int
}

// Places are where the stems of a text stand, in order. The text is valid UTF-8.
func Places(text string) []Place {
	var places []Place
	for _, token := range analyzer.Analyze([]byte(text)) {
		if len(token.Term) > 0 && len(token.Term) <= maxTerm {
			places = append(places, Place{string(token.Term), token.Start, token.End})
		}
	}
	return places
}

// Weights are the inverse document frequencies of stems, with which Search weighs them: 0 for one that no paper has.
func (x *Index) Weights(stems []string) []float64 {
	weights := make([]float64, len(stems))
	x.mu.RLock()
	defer x.mu.RUnlock()
	for i, stem := range stems {
		if df := x.df(stem); df > 0 {
			weights[i] = idf(len(x.places), df)
		}
	}
	return weights
}

// df is how many papers have a word. mu is held.
func (x *Index) df(term string) (n int) {
	for _, c := range x.chunks {
		if at, ok := c.terms[term]; ok {
			n += len(c.lists[at])
		}
	}
	return n
}
