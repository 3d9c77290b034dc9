package main

// benchCommand is the group of commands that measure.
type benchCommand struct {
	Serve benchServeCommand `cmd:"" help:"Put load on an OpenAI-compatible server and report how it did."`
}
