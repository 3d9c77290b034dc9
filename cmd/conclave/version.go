package main

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/conclave-serve/conclave/kernels"
)

// versionCommand prints what this binary is.
type versionCommand struct{}

// Run implements kong's command.
func (versionCommand) Run() error {
	version := "devel"
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		version = info.Main.Version
	}
	_, err := fmt.Printf("conclave %s %s %s/%s kernels %s\n",
		version, runtime.Version(), runtime.GOOS, runtime.GOARCH, kernels.Features())
	return err
}
