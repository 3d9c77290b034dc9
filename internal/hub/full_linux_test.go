package hub

import (
	"errors"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// A disk that runs full is an error that says so, and no reason to begin anew.
func TestDiskRunsFull(t *testing.T) {
	cache := t.TempDir()
	if err := unix.Mount("tmpfs", cache, "tmpfs", 0, "size=2m"); err != nil {
		t.Skipf("mounting a small file system takes root: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(cache, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	o := newOrigin(t, 8*mib)
	m := o.open(t, o.config(cache))
	err := m.Fetch(t.Context(), ranges(span{0, 4 * mib}), nil)
	if !errors.Is(err, unix.ENOSPC) || !strings.Contains(err.Error(), "--cache-dir") {
		t.Fatalf("error %v, want one of a full disk", err)
	}
	if err := unix.Mount("tmpfs", cache, "tmpfs", unix.MS_REMOUNT, "size=10m"); err != nil {
		t.Fatal(err)
	}
	before := o.bodyBytes.Load()
	o.mustHold(t, m, span{0, 4 * mib})
	if got := o.bodyBytes.Load() - before; got > 3*mib {
		t.Errorf("%d bytes were read again", got)
	}
}
