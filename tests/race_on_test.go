//go:build race

package tests

// raceDetector says that the race detector is on, whose bookkeeping allocates.
const raceDetector = true
