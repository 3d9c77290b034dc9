//go:build !linux

package host

import "errors"

func bindMemory([]byte, int) error { return errors.New("this system has no way to") }
