package main

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/conclave-serve/conclave/kernels"
)

// versionCommand prints what this binary is.
type versionCommand struct{}

// version is the version of this binary.
func version() string {
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "devel"
}

// Run implements kong's command.
func (versionCommand) Run() error {
	_, err := fmt.Printf("conclave %s %s %s/%s kernels %s\n",
		version(), runtime.Version(), runtime.GOOS, runtime.GOARCH, kernels.Features())
	return err
}
