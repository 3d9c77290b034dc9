package jinja

import (
	"errors"
	"fmt"
)

// ErrLimit is wrapped by errors of templates that need more than Limits allows.
var ErrLimit = errors.New("template limit exceeded")

// Error is a template that cannot be parsed or rendered.
type Error struct {
	Template string // name given to Parse
	Line     int    // 1-based
	Message  string
	Raised   bool  // the template called raise_exception: Message is its own
	Err      error // ErrLimit, or nil
}

func (e *Error) Error() string {
	return fmt.Sprintf("template %s line %d: %s", e.Template, e.Line, e.Message)
}

func (e *Error) Unwrap() error { return e.Err }

// fault carries an error up to the package border.
type fault struct{ err *Error }
