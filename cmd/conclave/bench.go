package main

// benchCommand is the group of commands that measure.
type benchCommand struct {
	Kernels benchKernelsCommand `cmd:"" help:"Measure this machine's ceilings, and every kernel against them."`
	Serve   benchServeCommand   `cmd:"" help:"Put load on an OpenAI-compatible server and report how it did."`
}
