package retrieval

import (
	"context"

	"embedd/internal/lexical"
)

// narrow sees to it that words are weighed by the papers of a scope alone, as they are now, where a search has one and looks for words: how many
// papers there are beyond it, and have a word, would show in every score and in the order.
func (c *Collection) narrow(ctx context.Context, l *looking, w Which) error {
	if w.Scope == nil || l.mode == Dense {
		return nil
	}
	papers, err := c.selected(ctx, Which{Scope: w.Scope})
	if err != nil {
		return err
	}
	l.scope = &lexical.Scope{Name: w.Scope.String(), Version: papers.Version(), Papers: papers}
	return nil
}
