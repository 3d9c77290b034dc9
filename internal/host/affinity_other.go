//go:build !linux

package host

import "errors"

func allowedCPUs() ([]int, error) {
	return nil, errors.New("this system has no way to")
}

func bind(...int) {}

// Huge asks for huge pages behind mapped memory; not here.
func Huge([]byte) {}
