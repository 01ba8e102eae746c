package retrieval

// Feedback takes the first papers of a search for relevant, and searches once more with what they have in common: pseudo-relevance feedback. The
// vector is that of Rocchio ("Relevance Feedback in Information Retrieval", 1971) without negative papers; the words are the rarest that
// the papers share, as in RM3 (Abdul-Jaleel et al., "UMass at TREC 2004").
type Feedback struct {
	// Papers that are taken for relevant, 1 to MaxFeedbackPapers; 0 is 2.
	Papers int
	// DenseWeight is how much of the second vector is theirs, 0 to 1; nil is 0.2.
	DenseWeight *float64
	// Terms are how many of their words are added, 1 to MaxFeedbackTerms; 0 is 5. TermWeight is what one weighs at most against a word of the
	// query, 0 to 1; nil is 0.2.
	Terms      int
	TermWeight *float64
}

// The defaults, chosen on the training questions of SciFact: see docs/search.md for what they gain, and where they do not.
const (
	feedbackPapers = 2
	feedbackDense  = 0.2
	feedbackTerms  = 5
	feedbackTerm   = 0.2
)

// checked gives feedback with its defaults.
func (f *Feedback) checked() (*Feedback, error) {
	out := *f
	if out.Papers == 0 {
		out.Papers = feedbackPapers
	}
	if out.Terms == 0 {
		out.Terms = feedbackTerms
	}
	for _, w := range []struct {
		name   string
		value  **float64
		absent float64
	}{{"dense_weight", &out.DenseWeight, feedbackDense}, {"term_weight", &out.TermWeight, feedbackTerm}} {
		if *w.value == nil {
			absent := w.absent
			*w.value = &absent
		}
		if v := **w.value; !(v >= 0 && v <= 1) {
			return nil, invalid("feedback."+w.name, "is %v; must be 0 to 1", v)
		}
	}
	switch {
	case out.Papers < 1 || out.Papers > MaxFeedbackPapers:
		return nil, invalid("feedback.papers", "is %d; must be 1 to %d, or 0 for %d", out.Papers, MaxFeedbackPapers, feedbackPapers)
	case out.Terms < 1 || out.Terms > MaxFeedbackTerms:
		return nil, invalid("feedback.terms", "is %d; must be 1 to %d, or 0 for %d", out.Terms, MaxFeedbackTerms, feedbackTerms)
	}
	return &out, nil
}

// feedBack is what to look for after a first search. Words are added where the search is not within the scope of a key, since how rare they are is
// known of all papers.
func (c *Collection) feedBack(l *looking, found []candidate) (*looking, error) {
	again := *l
	var relevant []uint64
	for _, f := range found[:min(len(found), l.feedback.Papers)] {
		relevant = append(relevant, f.ordinal)
	}
	if len(relevant) == 0 {
		return &again, nil
	}
	if l.mode != Lexical {
		theirs := make([]probeVector, 0, len(relevant))
		for _, ordinal := range relevant {
			if v, ok := c.index.Vector(ordinal); ok {
				theirs = append(theirs, probeVector{vector: v, weight: 1})
			}
		}
		if m := mean(theirs, false); m != nil {
			w := *l.feedback.DenseWeight
			for i := range m {
				m[i] = (1-w)*float64(l.vector[i]) + w*m[i]
			}
			if err := scaleTo1("feedback", m); err != nil {
				return nil, err
			}
			again.vector = narrow(m)
		}
	}
	if l.mode != Dense && !l.scoped {
		again.words = c.words.index.Expand(l.words, relevant, l.feedback.Terms, *l.feedback.TermWeight)
	}
	return &again, nil
}
