//go:build !unix

package hub

import (
	"errors"
	"os"
)

// errNoCache is the error where the system has no sparse mapped files and no flock.
var errNoCache = errors.New("loading from a URL is not supported on this system: " +
	"download the model and give its folder")

func lockFile(*os.File, bool) error { return errNoCache }

func tryLockFile(*os.File) bool { return false }

func storedBytes(info os.FileInfo) int64 { return info.Size() }

func diskError(err error) error { return err }
