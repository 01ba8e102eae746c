package retrieval

import (
	"errors"
	"fmt"
	"time"

	"embedd/internal/store"
)

// Kind says what went wrong, for the doors' one table from error to status.
type Kind uint8

const (
	// Internal is a defect or damage: not the caller's doing.
	Internal Kind = iota
	// Invalid is a request that can never succeed as it is; Field says where.
	Invalid
	// NotFound is an id that is not stored.
	NotFound
	// FailedPrecondition is a state that the caller must change first.
	FailedPrecondition
	// Unavailable is a collection that is closing; another try may succeed.
	Unavailable
	// Exhausted is work that there is no room or time for now; RetryAfter says when to try again.
	Exhausted
	// AlreadyExists is an id that is stored, and must not be.
	AlreadyExists
	// Late is work of which a part was done when its time was over; Message says what another try does.
	Late
	// DataLoss is damage on disk that the answer would have depended on.
	DataLoss
)

// ErrInUse is in the error of a data directory that another process has open.
var ErrInUse = store.ErrLocked

// Error is an error about a request.
type Error struct {
	Kind Kind
	// Field is the path of the request's field, as "papers[3].title"; empty if no field is at fault.
	Field string
	// Message says what is wrong, the limit, and what to do, without the field.
	Message string
	// RetryAfter is set for Exhausted.
	RetryAfter time.Duration
	// Err is the cause, if there is one.
	Err error
}

func (e *Error) Error() string {
	if e.Field == "" {
		return e.Message
	}
	return e.Field + ": " + e.Message
}

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Err }

func invalid(field, format string, a ...any) *Error {
	return &Error{Kind: Invalid, Field: field, Message: fmt.Sprintf(format, a...)}
}

func internal(doing string, err error) *Error {
	return &Error{Kind: Internal, Message: doing + ": " + err.Error(), Err: err}
}

// fullRetry is how long it may take until there is room on a disk again.
const fullRetry = 30 * time.Second

// storeError is an error of the store in our words; nil stays nil.
func storeError(doing string, err error) error {
	var mismatch *store.MismatchError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &mismatch), errors.Is(err, store.ErrLocked), errors.Is(err, store.ErrFormat):
		return &Error{Kind: FailedPrecondition, Message: err.Error(), Err: err}
	case errors.Is(err, store.ErrFull), errors.Is(err, store.ErrRoom):
		return &Error{Kind: Exhausted, Message: doing + ": " + err.Error(), RetryAfter: fullRetry, Err: err}
	case errors.Is(err, store.ErrDisk):
		return &Error{Kind: Unavailable, Message: doing + ": " + err.Error() + "; try again", Err: err}
	case errors.Is(err, store.ErrCorrupt), errors.Is(err, store.ErrLoss):
		return &Error{Kind: DataLoss, Message: doing + ": " + err.Error(), Err: err}
	}
	return internal(doing, err)
}

func notFound(field, id string) error {
	return &Error{Kind: NotFound, Field: field, Message: fmt.Sprintf("no paper has the id %q", id)}
}

// KindOf gives the kind of err, Internal for one that this package did not make.
func KindOf(err error) Kind {
	var e *Error
	if errors.As(err, &e) {
		return e.Kind
	}
	return Internal
}
