//go:build !linux

package hub

// claimSpan claims nothing where the system has no locks of open files: two processes may then read
// the same span.
func claimSpan(string, span) (release func(), got bool, err error) {
	return func() {}, true, nil
}
