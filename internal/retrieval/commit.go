package retrieval

import (
	"context"
	"errors"
	"fmt"
)

// maxCommits is how many commits are under way at most: where the disk does not answer their callers go, and they stay.
const maxCommits = 64

// commit runs a commit and waits for its end, or for that of ctx: a disk that does not answer holds no caller up. What was begun then goes
// on, and may succeed.
func (c *Collection) commit(ctx context.Context, run func() (uint64, error)) (version uint64, err error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	ended, err := c.writes.admit(ctx)
	if err != nil {
		return 0, err
	}
	select {
	case c.committing <- struct{}{}:
	case <-ctx.Done():
		ended()
		return 0, fmt.Errorf("%d writes wait for the disk, and this one was not begun: %w", cap(c.committing), ctx.Err())
	}
	done := make(chan struct{})
	c.commits.Add(1) // under life, which Close takes before it waits
	var v uint64
	e := errors.New("the write ended in a panic") // which ends the process in a moment, and must not be answered as a success
	go func() {
		defer func() { <-c.committing; c.commits.Done(); ended() }()
		defer close(done)
		v, e = run()
	}()
	select {
	case <-done:
		return v, e
	case <-ctx.Done():
		return 0, fmt.Errorf("the write was begun, and may yet succeed: %w", ctx.Err())
	}
}
